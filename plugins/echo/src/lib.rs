//! Echo: the smallest endpoint. It answers with what it was told.

use instar_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Says something, and wants to hear it again.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "echo.Say", reply = Said)]
pub struct Say {
    /// What is said.
    pub text: String,
}

/// What was said.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(kind = "echo.Said")]
pub struct Said {
    /// The text of the request.
    pub text: String,
}

/// An endpoint without state.
#[derive(Serialize, Deserialize)]
pub struct Echo;

#[instar_sdk::endpoint(
    name = "echo",
    version = "1.0.0",
    about = "Answers with what it was told"
)]
impl Echo {
    #[on_start]
    fn start(_ctx: &mut Context) -> Result<Self, Failure> {
        Ok(Self)
    }

    #[receive_and_reply]
    fn say(&mut self, _ctx: &mut Context, say: Say) -> Result<Said, Failure> {
        Ok(Said { text: say.text })
    }
}

instar_sdk::export!(Echo);

#[cfg(test)]
mod tests {
    use instar_sdk::testing::TestEndpoint;

    use super::*;

    #[test]
    fn what_is_said_comes_back() {
        let mut echo = TestEndpoint::<Echo>::start();
        for text in ["hello", "", "na\u{ef}ve \u{1f600}"] {
            let text = text.to_owned();
            let said = echo.ask(&Say { text: text.clone() });
            assert_eq!(said, Ok(Said { text }));
        }
    }
}
