//! What waits: calls that are answered later, continuations, `async` handlers; and what becomes of
//! each when the code is replaced or the instance is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(kind = "shop.GetPrice", reply = Price)]
struct GetPrice {
    article: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(kind = "shop.Price")]
struct Price {
    cents: u64,
}

/// What the till keeps in mind while it asks for a price: whom it will tell.
#[derive(Serialize, Deserialize, Message)]
#[message(kind = "till.PriceAsked", continues = GetPrice)]
struct PriceAsked {
    call: CallContext<Price>,
    tip: u64,
}

macro_rules! requests {
    ($($name:ident = $kind:literal),*) => {
        $(#[derive(Debug, Serialize, Deserialize, Message)]
        #[message(kind = $kind, reply = Price)]
        struct $name {})*
    };
}

requests!(
    Keep = "till.Keep",
    Drop = "till.Drop",
    Fail = "till.Fail",
    Pass = "till.Pass",
    Slow = "till.Slow",
    Nap = "till.Nap",
    Both = "till.Both",
    Leak = "till.Leak"
);

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "till.Release")]
struct Release {}

/// A message that should not be: a right to answer cannot travel.
#[derive(Serialize, Deserialize, Message)]
#[message(kind = "till.Stolen")]
struct Stolen {
    call: CallContext<Price>,
}

#[derive(Serialize, Deserialize)]
struct Till {
    kept: Vec<CallContext<Price>>,
    errors: Vec<String>,
    asked: Option<AskId>,
}

macro_rules! till {
    ($till:ident, $version:literal, $state_version:literal, $tip:literal, { $($more:tt)* }) => {
        #[instar_sdk::endpoint(name = "till", version = $version, state_version = $state_version)]
        impl $till {
            #[on_start]
            fn start(_: &mut Context) -> Result<Self, Failure> {
                Ok(Self { kept: vec![], errors: vec![], asked: None })
            }

            #[on_error]
            fn error(&mut self, _: &mut Context, cause: Failure) -> Result<(), Failure> {
                self.errors.push(format!("{}: {}", cause.code, cause.text));
                Ok(())
            }

            #[receive_and_reply]
            fn keep(&mut self, _: &mut Context, _: Keep, call: CallContext<Price>) -> Result<(), Failure> {
                self.kept.push(call);
                Ok(())
            }

            #[receive]
            fn release(&mut self, _: &mut Context, _: Release) -> Result<(), Failure> {
                let release = |call: CallContext<Price>| call.reply(Price { cents: $tip });
                self.kept.drain(..).try_for_each(release)
            }

            #[receive_and_reply]
            fn pass(&mut self, ctx: &mut Context, _: Pass, call: CallContext<Price>) -> Result<(), Failure> {
                let request = GetPrice { article: "tea".into() };
                let then = PriceAsked { call, tip: 1 };
                let timeout = Duration::from_secs(5);
                self.asked = Some(ctx.ask_with_timeout(&EndpointRef::local("shop"), &request, then, timeout)?);
                Ok(())
            }

            #[on_reply]
            fn priced(
                &mut self,
                _: &mut Context,
                pending: PriceAsked,
                outcome: Result<Price, Failure>,
            ) -> Result<(), Failure> {
                match outcome {
                    Ok(price) => pending.call.reply(Price { cents: price.cents + pending.tip + $tip }),
                    Err(failure) => pending.call.fail(failure),
                }
            }

            $($more)*
        }
    };
}

till!(Till, "1.0.0", 1, 0, {
    #[receive_and_reply]
    fn dropped(
        &mut self,
        _: &mut Context,
        _: Drop,
        call: CallContext<Price>,
    ) -> Result<(), Failure> {
        assert_eq!(call.sender_address().unwrap(), "test-caller:7077");
        drop(call);
        Ok(())
    }

    #[receive_and_reply]
    fn fail(&mut self, _: &mut Context, _: Fail, _call: CallContext<Price>) -> Result<(), Failure> {
        Err("the drawer is stuck".into())
    }

    #[receive]
    fn stolen(&mut self, _: &mut Context, _: Stolen) -> Result<(), Failure> {
        Err("a right to answer travelled".into())
    }

    #[receive_and_reply]
    fn leak(
        &mut self,
        ctx: &mut Context,
        _: Leak,
        call: CallContext<Price>,
    ) -> Result<(), Failure> {
        ctx.send(&EndpointRef::local("thief"), &Stolen { call })
    }

    #[receive_and_reply]
    async fn slow(ctx: AsyncContext<Self>, _: Slow) -> Result<Price, Failure> {
        let request = GetPrice {
            article: "slow tea".into(),
        };
        let price = ctx.ask(&EndpointRef::local("shop"), &request).await?;
        ctx.with(|till, _| till.errors.push("no error: slow tea came".into()));
        Ok(price)
    }

    #[receive_and_reply]
    async fn nap(ctx: AsyncContext<Self>, _: Nap) -> Result<Price, Failure> {
        ctx.sleep(Duration::from_secs(1)).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok(Price { cents: 2 })
    }

    #[receive_and_reply]
    async fn both(ctx: AsyncContext<Self>, _: Both) -> Result<Price, Failure> {
        let shop = EndpointRef::local("shop");
        let ask = |article: &str| {
            ctx.ask(
                &shop,
                &GetPrice {
                    article: article.into(),
                },
            )
        };
        let (one, _unused, two) = (ask("one"), ask("unused"), ask("two"));
        Ok(Price {
            cents: one.await?.cents * 10 + two.await?.cents,
        })
    }
});

/// The next version. It has no `async` handlers, and adds a tip of its own.
#[derive(Serialize, Deserialize)]
struct NextTill {
    kept: Vec<CallContext<Price>>,
    errors: Vec<String>,
    asked: Option<AskId>,
}

till!(NextTill, "2.0.0", 2, 100, {
    #[migrate_from(1)]
    fn from_v1(old: Till) -> Result<Self, Failure> {
        Ok(Self {
            kept: old.kept,
            errors: old.errors,
            asked: old.asked,
        })
    }

    #[migrate_to(1)]
    fn to_v1(&self) -> Result<Till, Failure> {
        Ok(Till {
            kept: self
                .kept
                .iter()
                .map(|call| CallContext::from_id(call.id()))
                .collect(),
            errors: self.errors.clone(),
            asked: self.asked,
        })
    }
});

/// Cannot take the state of the others over: its own is larger.
#[derive(Serialize, Deserialize)]
struct Greedy {
    kept: Vec<CallContext<Price>>,
    more: [u64; 9],
}

#[instar_sdk::endpoint(name = "till", version = "3.0.0", state_version = 1)]
impl Greedy {
    #[on_start]
    fn start(_: &mut Context) -> Result<Self, Failure> {
        Ok(Self {
            kept: vec![],
            more: [0; 9],
        })
    }
}

/// Shares no state version with the others.
#[derive(Serialize, Deserialize)]
struct Stranger {}

#[instar_sdk::endpoint(name = "till", version = "9.0.0", state_version = 99)]
impl Stranger {
    #[on_start]
    fn start(_: &mut Context) -> Result<Self, Failure> {
        Ok(Self {})
    }
}

fn errors(till: &TestEndpoint<Till>) -> Vec<String> {
    till.with(|till| till.errors.clone())
}

#[test]
fn a_call_that_is_kept_is_answered_later() {
    let mut till = TestEndpoint::<Till>::start();
    let call = till.call(&Keep {});
    assert!(till.outcome(&call).is_none());
    till.send(&Release {});
    assert_eq!(till.outcome(&call), Some(Ok(Price { cents: 0 })));
}

#[test]
fn a_call_that_is_dropped_fails_at_once() {
    let mut till = TestEndpoint::<Till>::start();
    assert_eq!(till.ask(&Drop {}).unwrap_err().code, Failure::UNANSWERED);
    assert!(errors(&till).is_empty());
}

#[test]
fn a_deferred_handler_that_fails_tells_its_asker_why() {
    let mut till = TestEndpoint::<Till>::start();
    assert_eq!(till.ask(&Fail {}).unwrap_err().text, "the drawer is stuck");
    assert_eq!(errors(&till), ["failed: the drawer is stuck"]);
}

#[test]
fn a_right_to_answer_cannot_be_sent() {
    let mut till = TestEndpoint::<Till>::start();
    let failure = till.ask(&Leak {}).unwrap_err();
    assert!(
        failure.text.contains("`till.Stolen` cannot be encoded"),
        "{failure}"
    );
    assert!(till.sent::<GetPrice>().is_empty());
}

/// Otherwise a peer could close the calls of others by sending ids.
#[test]
fn a_right_to_answer_cannot_be_received() {
    let mut till = TestEndpoint::<Till>::start();
    let call = till.call(&Keep {});
    for id in 0..5 {
        till.send_raw("till.Stolen", &[id]);
    }
    assert!(
        errors(&till)
            .iter()
            .all(|error| error.starts_with("undecodable"))
    );
    assert_eq!(errors(&till).len(), 5);
    assert!(till.outcome(&call).is_none(), "the call is still open");
}

#[test]
fn a_continuation_gets_the_answer_and_the_call_that_it_holds() {
    let mut till = TestEndpoint::<Till>::start();
    let call = till.call(&Pass {});
    let asked = till.asked::<GetPrice>();
    assert_eq!((asked.len(), asked[0].request.article.as_str()), (1, "tea"));
    assert!(
        till.outcome(&call).is_none(),
        "handing the call over does not fail it"
    );
    till.answer(&asked[0], Ok(Price { cents: 40 }));
    assert_eq!(till.outcome(&call), Some(Ok(Price { cents: 41 })));
}

#[test]
fn an_ask_ends_with_its_failure_or_its_timeout() {
    let mut till = TestEndpoint::<Till>::start();
    let (refused, late) = (till.call(&Pass {}), till.call(&Pass {}));
    let asked = till.asked::<GetPrice>();
    till.answer(&asked[0], Err(Failure::with_code("sold-out", "no tea")));
    till.advance(Duration::from_secs(4));
    assert!(till.outcome(&late).is_none());
    till.advance(Duration::from_secs(1));
    assert_eq!(
        till.outcome(&refused).unwrap().unwrap_err().code,
        "sold-out"
    );
    assert_eq!(
        till.outcome(&late).unwrap().unwrap_err().code,
        Failure::TIMEOUT
    );
}

#[test]
fn an_async_handler_goes_on_with_each_answer_and_others_are_handled_meanwhile() {
    let mut till = TestEndpoint::<Till>::start();
    let slow = till.call(&Slow {});
    assert_eq!(till.pending(), 1);
    assert_eq!(till.ask(&Drop {}).unwrap_err().code, Failure::UNANSWERED);
    let asked = till.asked::<GetPrice>();
    till.answer(&asked[0], Ok(Price { cents: 7 }));
    assert_eq!(till.outcome(&slow), Some(Ok(Price { cents: 7 })));
    assert_eq!(till.pending(), 0);
    assert_eq!(errors(&till), ["no error: slow tea came"]);
}

#[test]
fn an_async_handler_that_fails_tells_its_asker_and_on_error() {
    let mut till = TestEndpoint::<Till>::start();
    let slow = till.call(&Slow {});
    let asked = till.asked::<GetPrice>();
    till.answer(&asked[0], Err(Failure::with_code("sold-out", "no tea")));
    assert_eq!(till.outcome(&slow).unwrap().unwrap_err().code, "sold-out");
    assert_eq!(errors(&till), ["sold-out: no tea"]);
}

#[test]
fn an_async_handler_sleeps_by_the_host_s_clock() {
    let mut till = TestEndpoint::<Till>::start();
    let nap = till.call(&Nap {});
    till.advance(Duration::from_millis(1999));
    assert!(till.outcome(&nap).is_none());
    till.advance(Duration::from_millis(1));
    assert_eq!(till.outcome(&nap), Some(Ok(Price { cents: 2 })));
}

#[test]
fn asks_of_one_async_handler_run_together_and_an_unused_one_is_aborted() {
    let mut till = TestEndpoint::<Till>::start();
    let both = till.call(&Both {});
    let asked = till.asked::<GetPrice>();
    assert_eq!(asked.len(), 3);
    till.answer(&asked[2], Ok(Price { cents: 2 }));
    till.answer(&asked[0], Ok(Price { cents: 1 }));
    assert_eq!(till.outcome(&both), Some(Ok(Price { cents: 12 })));
    assert!(
        till.asked::<GetPrice>().is_empty(),
        "the unused one is aborted"
    );
}

#[test]
fn an_upgrade_and_the_way_back_carry_calls_and_asks() {
    let mut till = TestEndpoint::<Till>::start();
    let kept = till.call(&Keep {});
    let passed = till.call(&Pass {});
    let outcome_of_first = {
        let mut next = till.upgrade::<NextTill>().unwrap();
        let asked = next.asked::<GetPrice>();
        next.answer(&asked[0], Ok(Price { cents: 40 }));
        let outcome = next.outcome(&passed);
        till = next.upgrade::<Till>().unwrap();
        outcome
    };
    // Answered by version 2 with the token that version 1 chose.
    assert_eq!(outcome_of_first, Some(Ok(Price { cents: 141 })));
    assert!(
        till.outcome(&kept).is_none(),
        "no upgrade fails a call that is kept"
    );
    let mut next = till.upgrade::<NextTill>().unwrap();
    next.send(&Release {});
    assert_eq!(next.outcome(&kept), Some(Ok(Price { cents: 100 })));
}

#[test]
fn an_upgrade_waits_for_async_handlers() {
    let mut till = TestEndpoint::<Till>::start();
    let slow = till.call(&Slow {});
    let refused = till.upgrade::<NextTill>().err().unwrap();
    assert!(
        refused.reason.contains("1 async handlers still wait"),
        "{}",
        refused.reason
    );
    let mut till = refused.endpoint;
    let asked = till.asked::<GetPrice>();
    till.answer(&asked[0], Ok(Price { cents: 7 }));
    assert_eq!(till.outcome(&slow), Some(Ok(Price { cents: 7 })));
}

#[test]
fn a_state_that_cannot_be_read_names_both_versions_and_the_old_one_goes_on_with_its_calls() {
    let mut till = TestEndpoint::<Till>::start();
    let kept = till.call(&Keep {});

    let refused = till.upgrade::<Stranger>().err().unwrap();
    assert!(
        refused.reason.contains("none in common"),
        "{}",
        refused.reason
    );
    let refused = refused.endpoint.upgrade::<Greedy>().err().unwrap();
    let told = "`till` 3.0.0 (state version 1) cannot read state version 1";
    assert!(refused.reason.contains(told), "{}", refused.reason);

    let mut till = refused.endpoint;
    assert!(
        till.outcome(&kept).is_none(),
        "a failed restore fails no call"
    );
    till.send(&Release {});
    assert_eq!(till.outcome(&kept), Some(Ok(Price { cents: 0 })));
}

#[test]
fn a_snapshot_does_not_disarm_the_calls_in_the_state() {
    let mut till = TestEndpoint::<Till>::start();
    let kept = till.call(&Keep {});
    till.snapshot(1).unwrap();
    assert!(till.snapshot(7).unwrap_err().contains("writes only [1]"));
    till.send(&Release {});
    assert_eq!(till.outcome(&kept), Some(Ok(Price { cents: 0 })));
}

#[test]
fn an_answer_for_an_async_handler_that_is_gone_is_told_and_its_asker_does_not_wait() {
    let mut till = TestEndpoint::<Till>::start();
    let (slow, nap) = (till.call(&Slow {}), till.call(&Nap {}));
    let stale = till.asked::<GetPrice>();
    till.restart();
    let fresh = till.call(&Slow {});
    till.answer(&stale[0], Ok(Price { cents: 1 }));
    till.advance(Duration::from_secs(1));

    assert!(
        till.outcome(&fresh).is_none(),
        "the answer is not taken for that of another ask"
    );
    assert_eq!(
        till.outcome(&slow).unwrap().unwrap_err().code,
        Failure::ABORTED
    );
    assert_eq!(
        till.outcome(&nap).unwrap().unwrap_err().code,
        Failure::ABORTED
    );
    let errors = errors(&till);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("an answer came for an async handler of `till.Slow`"));
    assert!(errors[1].contains("a timer came for an async handler of `till.Nap`"));
}

/// The token is the host's and survives, but what answers may have forgotten what it means.
#[test]
fn a_continuation_that_the_code_does_not_know_is_told() {
    let mut till = TestEndpoint::<Till>::start();
    let _open = till.call(&Pass {});
    let asked = till.asked::<GetPrice>();
    let mut plain = till.upgrade::<Plain>().unwrap();
    plain.answer(&asked[0], Ok(Price { cents: 1 }));
    let log = plain.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].text.contains("`till.PriceAsked`"), "{log:?}");
}

/// The state of the till, and no handlers.
#[derive(Serialize, Deserialize)]
struct Plain {
    kept: Vec<CallContext<Price>>,
    errors: Vec<String>,
    asked: Option<AskId>,
}

#[instar_sdk::endpoint(name = "till", version = "1.0.1")]
impl Plain {
    #[on_start]
    fn start(_: &mut Context) -> Result<Self, Failure> {
        Ok(Self {
            kept: vec![],
            errors: vec![],
            asked: None,
        })
    }
}
