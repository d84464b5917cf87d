//! LeaderElectionAgent: between a latch and one endpoint. Whether the latch is in this process or in the
//! parent of it is the same to it.
//!
//! Before it: the wishes of the endpoint, and what the latch tells. After it: [`Leadership`], and orders to
//! the latch. `Agent` decides, [`run`] waits.
//!
//! Invariants
//! 1. A term begins, and is certain, only by an answer to a question that was asked after the latch was
//!    had: the time counts from the moment of the question. So an answer that was read late, because this
//!    process was stopped, proves nothing that is over.
//! 2. A term that nobody confirmed for twice as long as an answer holds is over, be the latch there or not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::latch::{FromLatch, ToLatch};
use super::leadership::{Candidate, Leadership, Participant, Wish};
use crate::moment;

/// How long a term may be taken for certain after a question, until the first answer says it.
const FIRST_LEASE: Duration = Duration::from_secs(4);

/// A leader asks so many times while one answer holds.
const QUESTIONS_IN_A_LEASE: u32 = 4;

/// A term that nobody confirmed for so many leases is given up.
const LEASES_UNTIL_OVER: u32 = 2;

/// Questions that may be unanswered: no more are remembered.
const QUESTIONS_MAX: usize = 64;

/// What leads, as far as the latch knows.
struct Latched {
    node: Arc<str>,
    lease: Duration,
    since: Instant,
    /// The last question that was answered.
    confirmed: Option<Instant>,
}

struct Agent {
    leadership: Arc<Leadership>,
    latched: Option<Latched>,
    /// Number and moment of the questions that wait.
    questions: VecDeque<(u64, Instant)>,
    asked: u64,
    resigned: u64,
    /// As whom it stands.
    stands: Option<Candidate>,
}

impl Agent {
    fn new(leadership: Arc<Leadership>) -> Self {
        Self {
            leadership,
            latched: None,
            questions: VecDeque::new(),
            asked: 0,
            resigned: 0,
            stands: None,
        }
    }

    fn wished(&mut self, wish: Wish) -> Vec<ToLatch> {
        let mut orders = Vec::new();
        if wish.resigned != self.resigned {
            self.resigned = wish.resigned;
            if self.latched.is_some() {
                self.over();
                orders.push(ToLatch::Resign);
            }
        }
        match wish.candidate {
            Some(candidate) => {
                self.stands = Some(candidate.clone());
                orders.push(ToLatch::Contend(candidate));
            }
            None if self.stands.take().is_some() => {
                self.over();
                orders.push(ToLatch::Withdraw);
            }
            None => {}
        }
        orders
    }

    fn told(&mut self, now: Instant, news: FromLatch) -> Option<ToLatch> {
        match news {
            FromLatch::Stands {
                participants,
                place,
            } => {
                self.over();
                self.show(participants, Some(place));
            }
            FromLatch::Leads { node, participants } => {
                self.over();
                self.show(participants, Some(0));
                self.latched = Some(Latched {
                    node: node.into(),
                    lease: FIRST_LEASE,
                    since: now,
                    confirmed: None,
                });
                return Some(self.ask(now));
            }
            FromLatch::Participants(participants) => {
                let place = self.latched.as_ref().map(|_| 0);
                self.show(participants, place);
            }
            FromLatch::Renewed { number, lease } => self.confirmed(number, lease),
            FromLatch::Doubt => self.leadership.doubt(),
            FromLatch::Lost { reason } => {
                if self.latched.is_some() {
                    tracing::warn!(reason, "the latch is lost");
                }
                self.over();
                self.show(Vec::new(), None);
                // Until it stands again.
                self.trouble(Some(reason));
                // A latch that took us for frozen stands no more before it hears of us.
                return self.stands.clone().map(ToLatch::Contend);
            }
            FromLatch::Withdrawn => {
                self.over();
                self.show(Vec::new(), None);
            }
            FromLatch::Unreachable { reason } => self.trouble(Some(reason)),
        }
        None
    }

    /// Looks at the time.
    fn look(&mut self, now: Instant) -> Option<ToLatch> {
        let latched = self.latched.as_ref()?;
        let confirmed = latched.confirmed.unwrap_or(latched.since);
        let silence = now.duration_since(confirmed);
        if silence >= latched.lease * LEASES_UNTIL_OVER {
            tracing::warn!(
                ?silence,
                "nobody confirmed that this host leads: it steps down"
            );
            self.over();
            return Some(ToLatch::Resign);
        }
        let last = self
            .questions
            .back()
            .map(|(_, at)| *at)
            .max(latched.confirmed);
        let due = last
            .is_none_or(|last| now.duration_since(last) >= latched.lease / QUESTIONS_IN_A_LEASE);
        due.then(|| self.ask(now))
    }

    /// When to look next.
    fn wakes(&self, now: Instant) -> Option<Instant> {
        let latched = self.latched.as_ref()?;
        Some(now + latched.lease / (2 * QUESTIONS_IN_A_LEASE))
    }

    fn ask(&mut self, now: Instant) -> ToLatch {
        self.asked += 1;
        let number = self.asked;
        if self.questions.len() == QUESTIONS_MAX {
            self.questions.pop_front();
        }
        self.questions.push_back((number, now));
        ToLatch::Renew { number }
    }

    fn confirmed(&mut self, number: u64, lease: Duration) {
        let Some(latched) = &mut self.latched else {
            return;
        };
        let place = self
            .questions
            .iter()
            .position(|(asked, _)| *asked == number);
        // Of a term before, or too old to be remembered.
        let Some((_, at)) = place.and_then(|place| self.questions.drain(..=place).next_back())
        else {
            return;
        };
        latched.lease = lease;
        let until = at + lease;
        match latched.confirmed.replace(at) {
            None => {
                let fence = Arc::clone(&latched.node);
                tracing::info!(node = &*fence, "this host leads");
                self.leadership.begin(Some(fence), Some(until));
            }
            Some(_) => self.leadership.renew(until),
        }
    }

    fn over(&mut self) {
        self.latched = None;
        self.questions.clear();
        self.leadership.end();
    }

    fn without_a_latch(&mut self) {
        self.over();
        self.trouble(Some(NO_LATCH.to_owned()));
    }

    fn show(&self, participants: Vec<Participant>, place: Option<usize>) {
        self.leadership.show(|shown| {
            shown.participants = participants;
            shown.place = place;
            shown.trouble = None;
        });
    }

    fn trouble(&self, trouble: Option<String>) {
        self.leadership.show(|shown| shown.trouble = trouble);
    }
}

/// Why the latch is not there any more.
const NO_LATCH: &str = "what holds the latch has ended";

/// How long a latch may take to be given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);

/// Runs until the latch ends, or `stop`: then the latch is given back, and waited for.
///
/// # Cancellation
/// The term ends with its time.
pub(super) async fn run(
    leadership: Arc<Leadership>,
    orders: mpsc::Sender<ToLatch>,
    mut news: mpsc::Receiver<FromLatch>,
    stop: CancellationToken,
) {
    let mut wishes = leadership.wishes();
    let mut agent = Agent::new(leadership);
    let first = wishes.borrow_and_update().clone();
    let mut pending = agent.wished(first);
    loop {
        for order in pending {
            if orders.send(order).await.is_err() {
                return agent.without_a_latch();
            }
        }
        let wakes = agent.wakes(Instant::now());
        pending = tokio::select! {
            biased;
            told = news.recv() => match told {
                Some(told) => agent.told(Instant::now(), told).into_iter().collect(),
                None => return agent.without_a_latch(),
            },
            // The agent has the leadership, so there is always somebody who could wish.
            Ok(()) = wishes.changed() => {
                let wish = wishes.borrow_and_update().clone();
                agent.wished(wish)
            }
            () = stop.cancelled() => break,
            () = moment::until(wakes.map(Into::into)) => Vec::new(),
        };
        pending.extend(agent.look(Instant::now()));
    }
    agent.over();
    let given_back = async {
        if orders.send(ToLatch::Withdraw).await.is_ok() {
            while !matches!(news.recv().await, None | Some(FromLatch::Withdrawn)) {}
        }
    };
    if tokio::time::timeout(GIVEN_BACK_WITHIN, given_back)
        .await
        .is_err()
    {
        tracing::warn!(
            "the latch is not given back within {GIVEN_BACK_WITHIN:?}: others may have to wait \
                        for its session to expire"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::leadership::Certainty;

    const LEASE: Duration = FIRST_LEASE;

    fn leads(agent: &mut Agent, now: Instant, node: &str) -> u64 {
        let news = FromLatch::Leads {
            node: node.to_owned(),
            participants: Vec::new(),
        };
        match agent.told(now, news) {
            Some(ToLatch::Renew { number }) => number,
            other => panic!("{other:?}"),
        }
    }

    fn renewed(number: u64) -> FromLatch {
        FromLatch::Renewed {
            number,
            lease: LEASE,
        }
    }

    fn agent() -> (Agent, Arc<Leadership>) {
        let leadership = Leadership::new("test");
        (Agent::new(Arc::clone(&leadership)), leadership)
    }

    #[test]
    fn a_term_begins_with_the_first_answer_and_is_certain_from_its_question_on() {
        let (mut agent, leadership) = agent();
        let now = Instant::now();
        let number = leads(&mut agent, now, "/latch-1");
        assert_eq!(leadership.term(), None, "nothing is proved yet");
        agent.told(now, renewed(number));
        let term = leadership.term().unwrap();
        assert_eq!(term.fence.as_deref(), Some("/latch-1"));
        assert_eq!(leadership.certainty(term.number), Certainty::Certain);
    }

    #[test]
    fn an_answer_that_was_read_late_proves_nothing() {
        let (mut agent, leadership) = agent();
        // Asked so long ago that what it proves is over.
        let then = Instant::now() - LEASE;
        let number = leads(&mut agent, then, "/latch-1");
        agent.told(Instant::now(), renewed(number));
        let term = leadership.term().unwrap();
        assert_eq!(leadership.certainty(term.number), Certainty::Doubt);
    }

    #[test]
    fn an_answer_to_a_question_of_a_term_before_counts_for_nothing() {
        let (mut agent, leadership) = agent();
        let now = Instant::now();
        let before = leads(&mut agent, now, "/latch-1");
        let number = leads(&mut agent, now, "/latch-2");
        agent.told(now, renewed(before));
        assert_eq!(leadership.term(), None);
        agent.told(now, renewed(number));
        assert_eq!(
            leadership.term().unwrap().fence.as_deref(),
            Some("/latch-2")
        );
    }

    #[test]
    fn a_term_that_nobody_confirms_is_given_up() {
        let (mut agent, leadership) = agent();
        let begin = Instant::now();
        let number = leads(&mut agent, begin, "/latch-1");
        agent.told(begin, renewed(number));
        assert!(matches!(
            agent.look(begin + LEASE),
            Some(ToLatch::Renew { .. })
        ));
        assert!(leadership.term().is_some());
        assert!(matches!(
            agent.look(begin + LEASE * 2),
            Some(ToLatch::Resign)
        ));
        assert_eq!(leadership.term(), None);
        assert!(agent.look(begin + LEASE * 4).is_none());
    }

    #[test]
    fn a_latch_that_never_confirms_is_given_up_too() {
        let (mut agent, _leadership) = agent();
        let begin = Instant::now();
        leads(&mut agent, begin, "/latch-1");
        assert!(matches!(
            agent.look(begin + LEASE * 2),
            Some(ToLatch::Resign)
        ));
    }

    #[test]
    fn it_asks_several_times_while_an_answer_holds() {
        let (mut agent, _leadership) = agent();
        let begin = Instant::now();
        let number = leads(&mut agent, begin, "/latch-1");
        agent.told(begin, renewed(number));
        assert!(agent.look(begin + LEASE / 8).is_none());
        assert!(agent.look(begin + LEASE / 4).is_some());
        assert!(agent.look(begin + LEASE / 4).is_none(), "it has just asked");
    }

    #[test]
    fn doubt_ends_with_an_answer_and_loss_ends_the_term() {
        let (mut agent, leadership) = agent();
        let now = Instant::now();
        let number = leads(&mut agent, now, "/latch-1");
        agent.told(now, renewed(number));
        let term = leadership.term().unwrap().number;
        agent.told(now, FromLatch::Doubt);
        assert_eq!(leadership.certainty(term), Certainty::Doubt);
        let Some(ToLatch::Renew { number }) = agent.look(now + LEASE / 4) else {
            panic!("it asks on");
        };
        agent.told(now, renewed(number));
        assert_eq!(leadership.certainty(term), Certainty::Certain);
        let reason = "expired".to_owned();
        agent.told(now, FromLatch::Lost { reason });
        assert_eq!(leadership.certainty(term), Certainty::Over);
    }

    /// Where both were frozen, the latch may be the first to wake up: it gives up for who was silent, and waits.
    #[test]
    fn who_lost_the_latch_says_that_it_still_stands() {
        let (mut agent, _leadership) = agent();
        let lost = || FromLatch::Lost {
            reason: "who leads did not say that it is there".to_owned(),
        };
        assert_eq!(agent.told(Instant::now(), lost()), None);
        let candidate = Candidate::default();
        let mut wish = Wish {
            candidate: Some(candidate.clone()),
            resigned: 0,
        };
        agent.wished(wish.clone());
        let now = Instant::now();
        leads(&mut agent, now, "/latch-1");
        let expected = Some(ToLatch::Contend(candidate));
        assert_eq!(agent.told(now, lost()), expected);
        wish.candidate = None;
        agent.wished(wish);
        assert_eq!(agent.told(now, lost()), None);
    }

    #[test]
    fn wishes_become_orders() {
        let (mut agent, leadership) = agent();
        assert!(agent.wished(Wish::default()).is_empty());
        let candidate = Candidate::default();
        let mut wish = Wish {
            candidate: Some(candidate),
            resigned: 0,
        };
        assert!(matches!(
            agent.wished(wish.clone())[..],
            [ToLatch::Contend(_)]
        ));
        let now = Instant::now();
        let number = leads(&mut agent, now, "/latch-1");
        agent.told(now, renewed(number));
        wish.resigned = 1;
        assert!(matches!(
            agent.wished(wish.clone())[..],
            [ToLatch::Resign, ToLatch::Contend(_)]
        ));
        assert_eq!(leadership.term(), None, "over at once");
        wish.candidate = None;
        assert!(matches!(
            agent.wished(wish.clone())[..],
            [ToLatch::Withdraw]
        ));
        assert!(agent.wished(wish).is_empty(), "once");
    }
}
