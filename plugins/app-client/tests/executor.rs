//! A slot made with `executor!`, against a driver that the test plays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use app_client::{RunTask, SlotAnswer, SlotNoted, SlotReady, Task};
use instar_sdk::prelude::*;
use instar_sdk::testing::TestEndpoint;
use serde::{Deserialize, Serialize};

/// Counts its tasks, and fails when it is told to.
#[derive(Default, Serialize, Deserialize)]
struct Counts {
    tasks: u8,
}

impl Task for Counts {
    fn run(&mut self, _: &mut Context, body: &[u8]) -> Result<Vec<u8>, Failure> {
        if body == b"fail" {
            return Err(Failure::with_code(Failure::NETWORK, "no file"));
        }
        self.tasks += 1;
        Ok(vec![self.tasks])
    }
}

app_client::executor! {
    #[instar_sdk::endpoint(name = "app-1.2.3", version = "1.0.0")]
    struct Executor(Counts);
}

const DRIVER: &str = "d1:7077";
const ANNOUNCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(10);

fn started() -> TestEndpoint<Executor> {
    TestEndpoint::start_with(&[
        ("driver", "instar://adds@d1:7077"),
        ("app_id", "app-1"),
        ("executor_id", "2"),
    ])
}

/// The one announcement that is on its way gets this answer.
fn answer(slot: &mut TestEndpoint<Executor>, answer: Result<SlotAnswer, Failure>) {
    let asked = slot.asked::<SlotReady>();
    assert_eq!(asked.len(), 1, "one announcement is on its way");
    slot.answer(&asked[0], answer.map(|answer| SlotNoted { answer }));
}

fn announces(slot: &TestEndpoint<Executor>) -> bool {
    !slot.asked::<SlotReady>().is_empty()
}

fn gone() -> Result<SlotAnswer, Failure> {
    Err(Failure::with_code(Failure::NETWORK, "refused"))
}

#[test]
fn it_says_who_it_is_and_takes_its_number_from_its_name() {
    let slot = started();
    let asked = slot.asked::<SlotReady>();
    assert_eq!(asked[0].to.to_string(), "instar://adds@d1:7077");
    let expected = SlotReady {
        app_id: "app-1".to_owned(),
        executor_id: 2,
        slot: 3,
        reference: EndpointRef::remote("app-1.2.3", "test-host:7077"),
    };
    assert_eq!(asked[0].request, expected);
}

#[test]
fn it_does_one_task_after_the_other_and_keeps_its_state_through_a_swap() {
    let mut slot = started();
    let run = |body: &str| RunTask {
        task: 7,
        attempt: 1,
        body: body.into(),
    };
    assert_eq!(&*slot.ask(&run("x")).unwrap().body, [1]);
    let mut slot = slot.upgrade::<Executor>().unwrap();
    assert_eq!(&*slot.ask(&run("x")).unwrap().body, [2]);
}

#[test]
fn a_failed_task_has_the_code_failed_whatever_its_own_code_was() {
    let mut slot = started();
    let failure = slot.ask(&RunTask {
        task: 7,
        attempt: 1,
        body: "fail".into(),
    });
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, Failure::FAILED);
    assert_eq!(failure.text, "no file (network)");
}

#[test]
fn once_noted_it_says_so_again_now_and_then() {
    let mut slot = started();
    for _ in 0..3 {
        answer(&mut slot, Ok(SlotAnswer::Noted));
        assert!(!announces(&slot));
        slot.advance(ANNOUNCE);
    }
    assert!(!slot.asked_to_stop());
}

#[test]
fn a_driver_that_does_not_know_it_is_asked_again_until_it_does() {
    let mut slot = started();
    for _ in 0..3 {
        answer(&mut slot, Ok(SlotAnswer::Unknown));
        slot.advance(RETRY);
    }
    answer(&mut slot, Ok(SlotAnswer::Noted));
    slot.advance(GRACE);
    assert!(!slot.asked_to_stop());
}

#[test]
fn a_driver_that_is_done_ends_it_at_once() {
    let mut slot = started();
    answer(&mut slot, Ok(SlotAnswer::Ended));
    assert!(slot.asked_to_stop());
}

#[test]
fn a_lost_driver_may_come_back_within_the_grace_time() {
    let mut slot = started();
    answer(&mut slot, Ok(SlotAnswer::Noted));
    slot.disconnected("elsewhere:1");
    assert!(!announces(&slot), "that was not the driver");
    slot.disconnected(DRIVER);
    for _ in 0..9 {
        answer(&mut slot, gone());
        slot.advance(RETRY);
    }
    answer(&mut slot, Ok(SlotAnswer::Noted));
    slot.advance(ANNOUNCE);
    answer(&mut slot, Ok(SlotAnswer::Noted));
    assert!(!slot.asked_to_stop(), "the grace time was called off");
}

#[test]
fn a_lost_driver_that_does_not_come_back_ends_it_when_the_grace_time_is_over() {
    let mut slot = started();
    answer(&mut slot, Ok(SlotAnswer::Noted));
    slot.disconnected(DRIVER);
    slot.disconnected(DRIVER);
    let asked = slot.asked::<SlotReady>();
    for ask in asked {
        slot.answer(&ask, Err(Failure::with_code(Failure::NETWORK, "refused")));
    }
    slot.advance(GRACE - Duration::from_millis(1));
    assert!(!slot.asked_to_stop());
    slot.advance(Duration::from_millis(1));
    assert!(slot.asked_to_stop());
}

#[test]
fn a_driver_that_is_merely_busy_is_not_gone() {
    let mut slot = started();
    for code in [Failure::TIMEOUT, Failure::INBOX_FULL, Failure::CRASHED] {
        answer(&mut slot, Err(Failure::with_code(code, "so")));
        slot.advance(RETRY);
    }
    slot.advance(GRACE * 2);
    assert!(!slot.asked_to_stop());
}

#[test]
fn an_endpoint_with_another_name_or_configuration_does_not_start() {
    for (missing, expected) in [
        ("driver", "setting `driver` is missing"),
        ("app_id", "setting `app_id` is missing"),
        ("executor_id", "setting `executor_id` is missing"),
    ] {
        let config = [
            ("driver", "instar://adds@d1:7077"),
            ("app_id", "app-1"),
            ("executor_id", "2"),
        ];
        let config: Vec<_> = config
            .into_iter()
            .filter(|(key, _)| *key != missing)
            .collect();
        let Err(failure) = TestEndpoint::<Executor>::try_start(&config) else {
            panic!("started without {missing}");
        };
        assert!(failure.text.contains(expected), "{failure}");
    }
}
