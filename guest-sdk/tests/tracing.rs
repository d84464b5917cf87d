//! Events of `tracing` reach the host's log with their fields. Needs the feature `tracing`.

use instar_sdk::Level;
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "talker.Talk")]
struct Talk {}

#[derive(Serialize, Deserialize)]
struct Talker {}

#[instar_sdk::endpoint(name = "talker", version = "1.0.0")]
impl Talker {
    #[on_start]
    fn start(_: &mut Context) -> Result<Self, Failure> {
        Ok(Self {})
    }

    #[receive]
    fn talk(&mut self, _: &mut Context, _: Talk) -> Result<(), Failure> {
        let _within = tracing::info_span!("a span is not kept").entered();
        tracing::warn!(target: "talk", lines = 3, who = "me", "said");
        Ok(())
    }
}

#[test]
fn an_event_is_a_line_with_its_fields() {
    let mut talker = TestEndpoint::<Talker>::start();
    talker.send(&Talk {});
    let log = talker.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!((log[0].level, log[0].text.as_str()), (Level::Warn, "said"));
    assert_eq!(log[0].target, "talk");
    let fields = [("lines", "3"), ("who", "me")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(log[0].fields, fields);
}
