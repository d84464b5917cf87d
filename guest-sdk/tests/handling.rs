//! What happens to a message: the right handler, or a failure that says why there is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use instar_sdk::prelude::*;
use instar_sdk::testing::{Observed, TestEndpoint};
use instar_sdk::{Level, metadata_of};
use serde::{Deserialize, Serialize};

/// Notes a text.
///
/// This paragraph is for programmers only.
#[derive(Serialize, Deserialize, Message)]
#[message(kind = "desk.Note")]
struct Note {
    text: String,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "desk.Refuse")]
struct Refuse {
    text: String,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "desk.GetNotes", reply = Notes)]
struct GetNotes {}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(kind = "desk.Notes")]
struct Notes {
    lines: Vec<String>,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "desk.Demand", reply = Notes)]
struct Demand {}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "desk.Unknown", reply = Notes)]
struct Unknown {}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(kind = "desk.Tick")]
struct Tick {
    name: String,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "desk.Report")]
struct Report {}

#[derive(Serialize, Deserialize)]
struct Desk {
    lines: Vec<String>,
    periodic: Option<TimerId>,
}

#[instar_sdk::endpoint(
    name = "desk",
    version = "1.2.3",
    about = "Keeps notes",
    rights = ["registry"]
)]
impl Desk {
    #[on_start]
    fn start(ctx: &mut Context) -> Result<Self, Failure> {
        let limit: Option<u32> = ctx.config_as("limit")?;
        Ok(Self {
            lines: limit.iter().map(|limit| format!("limit {limit}")).collect(),
            periodic: None,
        })
    }

    #[on_stop]
    fn stop(&mut self, _: &mut Context) -> Result<(), Failure> {
        self.lines.push("stop".into());
        Err("stopping is not nice".into())
    }

    #[on_error]
    fn error(&mut self, _: &mut Context, cause: Failure) -> Result<(), Failure> {
        self.lines
            .push(format!("error {}: {}", cause.code, cause.text));
        match cause.text.as_str() {
            "twice" => Err("the error handler fails, too".into()),
            _ => Ok(()),
        }
    }

    #[on_connected]
    fn up(&mut self, _: &mut Context, address: String) -> Result<(), Failure> {
        self.lines.push(format!("up {address}"));
        Ok(())
    }

    #[on_disconnected]
    fn down(&mut self, _: &mut Context, address: String) -> Result<(), Failure> {
        self.lines.push(format!("down {address}"));
        Ok(())
    }

    #[on_network_error]
    fn broken(&mut self, _: &mut Context, address: String, why: String) -> Result<(), Failure> {
        self.lines.push(format!("broken {address}: {why}"));
        Ok(())
    }

    #[receive]
    fn note(&mut self, ctx: &mut Context, note: Note) -> Result<(), Failure> {
        match note.text.as_str() {
            "start timers" => {
                let tick = |name: &str| Tick { name: name.into() };
                ctx.start_timer(Duration::from_millis(30), tick("late"))?;
                ctx.start_timer(Duration::from_millis(10), tick("early"))?;
                let (delay, period) = (Duration::from_millis(5), Duration::from_millis(15));
                self.periodic = Some(ctx.start_periodic_timer(delay, period, tick("again"))?);
            }
            "cancel" => {
                let timer = self.periodic.take().ok_or("no timer runs")?;
                self.lines
                    .push(format!("cancelled {}", ctx.cancel_timer(timer)));
            }
            _ => self.lines.push(note.text),
        }
        Ok(())
    }

    #[receive]
    fn refuse(&mut self, _: &mut Context, refuse: Refuse) -> Result<(), Failure> {
        Err(refuse.text.into())
    }

    #[receive]
    fn report(&mut self, ctx: &mut Context, _: Report) -> Result<(), Failure> {
        ctx.counter("desk.reports").add(2);
        ctx.counter("desk.reports").add(3);
        ctx.gauge("desk.size").set(1.5);
        ctx.histogram("desk.length").record(4.0);
        log::warn!(target: "desk", "by {}", "log");
        ctx.stop_self();
        let me = ctx.self_ref();
        self.lines.push(format!("I am {}", me.name));
        self.lines.extend(ctx.registry().names());
        Ok(())
    }

    #[receive_and_reply]
    fn notes(&mut self, _: &mut Context, _: GetNotes) -> Result<Notes, Failure> {
        Ok(Notes {
            lines: self.lines.clone(),
        })
    }

    #[receive_and_reply]
    fn demand(&mut self, _: &mut Context, _: Demand) -> Result<Notes, Failure> {
        Err(Failure::with_code("desk-closed", "come back tomorrow"))
    }

    #[on_timer]
    fn tick(&mut self, _: &mut Context, tick: Tick) -> Result<(), Failure> {
        self.lines.push(tick.name);
        Ok(())
    }
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

fn lines(desk: &TestEndpoint<Desk>) -> Vec<String> {
    desk.with(|desk| desk.lines.clone())
}

#[test]
fn messages_are_handled_in_order() {
    let mut desk = TestEndpoint::<Desk>::start();
    desk.send(&note("a"));
    desk.send(&note("b"));
    let lines = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(desk.ask(&GetNotes {}), Ok(Notes { lines }));
}

#[test]
fn a_handler_that_fails_tells_its_asker_and_on_error() {
    let mut desk = TestEndpoint::<Desk>::start();
    let failure = Failure::with_code("desk-closed", "come back tomorrow");
    assert_eq!(desk.ask(&Demand {}), Err(failure));
    desk.send(&Refuse { text: "no".into() });
    assert_eq!(
        lines(&desk),
        ["error desk-closed: come back tomorrow", "error failed: no"]
    );
}

#[test]
fn an_error_handler_that_fails_is_logged() {
    let mut desk = TestEndpoint::<Desk>::start();
    desk.error(Failure::new("twice"));
    let log = desk.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0].level, Level::Error);
    assert_eq!(log[0].text, "the error handler fails, too");
}

#[test]
fn an_unknown_kind_fails_with_its_name_and_the_endpoint_s() {
    let mut desk = TestEndpoint::<Desk>::start();
    let failure = desk.ask(&Unknown {}).unwrap_err();
    assert_eq!(failure.code, Failure::UNSUPPORTED);
    assert!(failure.text.contains("`desk.Unknown`") && failure.text.contains("`desk`"));

    desk.send_raw("desk.Nonsense", b"x");
    let lines = lines(&desk);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("error unsupported") && lines[1].contains("`desk.Nonsense`"));
}

/// A request is no one-way message, and the other way round: both would be answered wrongly.
#[test]
fn a_kind_that_is_sent_in_the_wrong_way_is_unsupported() {
    let mut desk = TestEndpoint::<Desk>::start();
    desk.send(&GetNotes {});
    assert!(
        lines(&desk)[0].contains("error unsupported"),
        "{:?}",
        lines(&desk)
    );
}

#[test]
fn a_body_that_does_not_decode_is_told_and_reaches_no_handler() {
    for (body, reason) in [
        (&b"\x05ab"[..], "end"),
        (b"\x01ax", "1 bytes are left over"),
        (b"", "end"),
    ] {
        let mut desk = TestEndpoint::<Desk>::start();
        desk.send_raw("desk.Note", body);
        let lines = lines(&desk);
        assert_eq!(lines.len(), 1);
        let told = lines[0].to_lowercase();
        assert!(told.contains("error undecodable: `desk.note`"), "{told}");
        assert!(told.contains(reason), "{told}");
    }
}

#[test]
fn notices_reach_their_handlers() {
    let mut desk = TestEndpoint::<Desk>::start();
    desk.connected("h:1");
    desk.network_error("h:1", "reset");
    desk.disconnected("h:1");
    desk.stop();
    let expected = [
        "up h:1",
        "broken h:1: reset",
        "down h:1",
        "stop",
        "error failed: stopping is not nice",
    ];
    assert_eq!(lines(&desk), expected);
}

#[test]
fn timers_fire_in_order_until_they_are_cancelled() {
    let mut desk = TestEndpoint::<Desk>::start();
    desk.send(&note("start timers"));
    desk.advance(Duration::from_millis(4));
    assert!(lines(&desk).is_empty());
    desk.advance(Duration::from_millis(31));
    assert_eq!(lines(&desk), ["again", "early", "again", "late", "again"]);
    desk.send(&note("cancel"));
    desk.advance(Duration::from_secs(10));
    assert_eq!(lines(&desk).last().unwrap(), "cancelled true");
    assert_eq!(desk.timers(), 0);
}

#[test]
fn configuration_is_read_as_what_it_is_and_a_wrong_value_names_key_and_value() {
    let desk = TestEndpoint::<Desk>::start_with(&[("limit", "12")]);
    assert_eq!(lines(&desk), ["limit 12"]);
    let failure = TestEndpoint::<Desk>::try_start(&[("limit", "many")])
        .err()
        .unwrap();
    assert!(failure.text.contains("`limit` is `many`"), "{failure}");
}

#[test]
#[should_panic(expected = "`limit` is `many`")]
fn a_start_that_fails_is_loud() {
    TestEndpoint::<Desk>::start_with(&[("limit", "many")]);
}

#[test]
fn metrics_log_and_the_host_s_names_are_there() {
    let mut desk = TestEndpoint::<Desk>::start();
    desk.register("echo", metadata_of::<Desk>());
    desk.send(&Report {});
    assert_eq!(desk.metric("desk.reports"), Some(Observed::Counter(5)));
    assert_eq!(desk.metric("desk.size"), Some(Observed::Gauge(1.5)));
    assert_eq!(
        desk.metric("desk.length"),
        Some(Observed::Histogram(vec![4.0]))
    );
    assert_eq!(lines(&desk), ["I am desk", "echo"]);
    assert!(desk.asked_to_stop());

    let log = desk.log();
    assert_eq!(
        (log[0].level, log[0].text.as_str()),
        (Level::Warn, "by log")
    );
    assert_eq!(log[0].target, "desk");
}

#[test]
fn an_endpoint_describes_itself() {
    let described = metadata_of::<Desk>();
    assert_eq!(
        (described.name.as_str(), described.version.as_str()),
        ("desk", "1.2.3")
    );
    assert_eq!(described.about, "Keeps notes");
    assert_eq!(described.rights, ["registry"]);
    assert_eq!(
        (described.state.version, described.state.reads.as_slice()),
        (1, &[1][..])
    );
    assert!(described.built_with.starts_with("instar-sdk "));
    let kinds: Vec<_> = described
        .handles
        .iter()
        .map(|h| h.request.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "desk.Note",
            "desk.Refuse",
            "desk.Report",
            "desk.GetNotes",
            "desk.Demand"
        ]
    );
    assert_eq!(described.handles[0].request.about, "Notes a text.");
    assert!(described.handles[0].reply.is_none());
    assert_eq!(
        described.handles[3].reply.as_ref().unwrap().kind,
        "desk.Notes"
    );
}
