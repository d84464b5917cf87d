//! Plan: what is done in which step. Follows from the seed alone.

use super::mode::{Mode, Proving};
use super::rng::Rng;

/// Senders of the endpoint's own host: 0 and 1. The others are on another host.
pub const LOCAL_SENDERS: u32 = 2;
/// All senders.
pub const SENDERS: u32 = 4;
/// Messages of one sender in one step, at most.
const BURST_MAX: u64 = 14;
/// Messages after which the fragile version traps, at least. Not less, so that it does not trap more
/// often than the host restarts it.
const FRAGILE_LEAST: u64 = 35;
/// The same where it traps in one generation of the state only, and so only once.
const ONCE_MAX: u64 = 25;
/// Crashes without a swap or restart between them. Not more, since the pauses before the next start
/// double, and the sixth is the end.
pub(super) const CRASHES_MAX: u32 = 3;

/// The versions that are good.
pub const GOOD: [&str; 3] = ["load-v1", "load-v2", "load-v3"];
/// The version that is good until it traps.
pub const FRAGILE: &str = "load-fragile";
/// Bad in itself first; the last ones only show it when they get a state.
const BAD: [&str; 5] = [
    BAD_IN_ITSELF[0],
    BAD_IN_ITSELF[1],
    BAD_IN_ITSELF[2],
    "bad-trap-in-restore",
    "bad-refuse-in-restore",
];
const BAD_IN_ITSELF: [&str; 3] = [
    "bad-unreadable-state",
    "bad-wrong-version",
    "bad-trap-at-load",
];

/// What a sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// One way.
    Send,
    /// One way, and from the endpoint on to another one.
    Pass,
    /// A call that is answered at once.
    Count,
    /// A call that is answered by a timer after so many milliseconds, or with the next release.
    Keep(Option<u64>),
    /// A call that is answered when another endpoint has answered.
    Forward(Option<u64>),
}

/// What happens beside the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A swap to a good version.
    Swap(&'static str),
    /// A swap that must be refused.
    Bad(&'static str),
    /// A swap to a version that traps at the message of this number; only once or again and again.
    Fragile(u64, Again),
    /// A swap that ends what does not end by itself.
    Force(&'static str),
    /// The running code in another instance.
    Refresh,
    /// A swap of the endpoint and of the other one, as one.
    Together(&'static str),
    /// The same, but the version for the other one is bad.
    TogetherBad(&'static str),
    /// A swap is tried on copies.
    Rehearse(&'static str),
    /// A swap has to wait for async work, and meanwhile a timer panics.
    CrashInDrain(&'static str),
    /// Back to the version before.
    Rollback,
    /// A message that panics.
    Crash,
    /// A call that panics.
    CrashAsked,
    /// An operator restarts the endpoint.
    Restart,
    /// All connections between the hosts are cut.
    Cut,
    /// The other host ends, and another one comes.
    NewPeer,
    /// The endpoint answers the calls that it kept.
    Release,
    /// The other endpoint does.
    ReleaseOther,
}

/// Whether a version traps again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// In the first instance only.
    Never,
    /// In every instance, also in a replay.
    Always,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// What each sender sends, in order.
    pub bursts: Vec<(u32, Vec<What>)>,
    /// What happens meanwhile, one after the other, each after so many turns of the scheduler.
    pub happenings: Vec<(u64, Happening)>,
}

/// All steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is switched on.
    pub mode: Mode,
    /// In order.
    pub steps: Vec<Planned>,
}

/// What the planner has to know of what it planned.
struct State {
    mode: Mode,
    running: &'static str,
    before: Option<&'static str>,
    crashes: u32,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64, steps: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mode = Mode::of(seed);
        let mut state = State {
            mode,
            running: GOOD[0],
            before: None,
            crashes: 0,
        };
        let steps = (0..steps).map(|_| state.step(&mut rng)).collect();
        Self { mode, steps }
    }
}

impl State {
    fn step(&mut self, rng: &mut Rng) -> Planned {
        let bursts = (0..SENDERS)
            .filter(|_| rng.below(4) > 0)
            .collect::<Vec<_>>();
        let bursts = bursts
            .into_iter()
            .map(|sender| {
                let count = 1 + rng.below(BURST_MAX);
                (sender, (0..count).map(|_| what(rng)).collect())
            })
            .collect();
        let count = rng.choose(&[(3, 0), (12, 1), (5, 2)]).unwrap_or(1);
        let mut happenings = Vec::new();
        // A version that traps again and again is not left to it.
        if self.running == FRAGILE {
            happenings.push((rng.below(60), self.leave_fragile(rng)));
        }
        while happenings.len() < count && self.running != FRAGILE {
            if let Some(happening) = self.happening(&happenings, rng) {
                happenings.push((rng.below(60), happening));
            }
        }
        Planned { bursts, happenings }
    }

    fn runs(&mut self, next: &'static str) {
        self.before = Some(self.running);
        self.running = next;
        self.crashes = 0;
    }

    fn leave_fragile(&mut self, rng: &mut Rng) -> Happening {
        match self.before {
            Some(before) if rng.below(2) == 0 => {
                self.runs(before);
                Happening::Rollback
            }
            _ => {
                let good = rng.one_of(&GOOD).unwrap_or(GOOD[0]);
                self.runs(good);
                Happening::Swap(good)
            }
        }
    }

    /// When the fragile version traps. One that traps once may do so early; but only where it is on
    /// probation, and it is not where it begins without a state.
    fn fragile(&self, stateless: bool, rng: &mut Rng) -> Happening {
        let once = self.mode.proving == Proving::Long && !stateless && rng.below(4) > 0;
        match once {
            true => Happening::Fragile(1 + rng.below(ONCE_MAX), Again::Never),
            false => Happening::Fragile(FRAGILE_LEAST + rng.below(30), Again::Always),
        }
    }

    fn happening(&mut self, before: &[(u64, Happening)], rng: &mut Rng) -> Option<Happening> {
        let any = |sort: fn(&Happening) -> bool| before.iter().any(|(_, one)| sort(one));
        let crashed = any(Happening::is_crash);
        let in_drain = any(|one| matches!(one, Happening::CrashInDrain(_)));
        // Between a crash or a restart and the next start there is no state to be given.
        let stateless = crashed || any(|one| matches!(one, Happening::Restart));
        let bad = match stateless {
            true => rng.one_of(&BAD_IN_ITSELF)?,
            false => rng.one_of(&BAD)?,
        };
        let good: Vec<_> = GOOD.into_iter().filter(|v| *v != self.running).collect();
        let good = rng.one_of(&good)?;
        let back = u64::from(self.before.is_some_and(|before| before != FRAGILE));
        let crash = u64::from(self.crashes < CRASHES_MAX);
        let fragile = self.fragile(stateless, rng);
        let proves = u64::from(self.mode.proving == Proving::Long);
        let rehearsed = rng.one_of(&[GOOD[0], GOOD[1], GOOD[2], FRAGILE, BAD[3]])?;
        let happening = rng.choose(&[
            (6, Happening::Swap(good)),
            (3, Happening::Bad(bad)),
            (1 + 3 * proves, fragile),
            (1, Happening::Force(good)),
            (1, Happening::Refresh),
            (1, Happening::Together(good)),
            (1, Happening::TogetherBad(good)),
            (1, Happening::Rehearse(rehearsed)),
            (crash * u64::from(!crashed), Happening::CrashInDrain(good)),
            (2 * back, Happening::Rollback),
            (2 * crash, Happening::Crash),
            (crash, Happening::CrashAsked),
            // It could take the timer with it that panics, before the version that came back has it.
            (u64::from(!in_drain), Happening::Restart),
            (2, Happening::Cut),
            (1, Happening::NewPeer),
            (2, Happening::Release),
            (2, Happening::ReleaseOther),
        ])?;
        match happening {
            Happening::Swap(good) | Happening::Force(good) | Happening::Together(good) => {
                self.runs(good);
            }
            Happening::Fragile(..) => self.runs(FRAGILE),
            Happening::Rollback => {
                let before = self.before?;
                self.runs(before);
            }
            Happening::Restart => self.crashes = 0,
            // Whether anything comes of the swap depends on when the timer fires.
            Happening::Crash | Happening::CrashAsked | Happening::CrashInDrain(_) => {
                self.crashes += 1;
            }
            _ => {}
        }
        Some(happening)
    }
}

impl Happening {
    /// Something panics.
    pub(super) fn is_crash(&self) -> bool {
        matches!(self, Self::Crash | Self::CrashAsked | Self::CrashInDrain(_))
    }
}

fn what(rng: &mut Rng) -> What {
    let ms = Some(rng.below(8));
    rng.choose(&[
        (6, What::Send),
        (3, What::Pass),
        (2, What::Count),
        (1, What::Keep(None)),
        (1, What::Keep(ms)),
        (1, What::Forward(None)),
        (1, What::Forward(ms)),
    ])
    .unwrap_or(What::Send)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(Plan::new(1, 60), Plan::new(1, 60));
        assert_ne!(Plan::new(1, 60), Plan::new(2, 60));
    }

    #[test]
    fn every_sort_of_trouble_is_planned_sooner_or_later() {
        let steps: Vec<_> = (0..20).flat_map(|seed| Plan::new(seed, 60).steps).collect();
        let names: std::collections::BTreeSet<_> = steps
            .iter()
            .flat_map(|step| &step.happenings)
            .map(|(_, happening)| std::mem::discriminant(happening))
            .map(|sort| format!("{sort:?}"))
            .collect();
        assert_eq!(names.len(), 17);
    }

    #[test]
    fn a_fragile_version_is_left_in_the_next_step() {
        for seed in 0..50 {
            let mut fragile = false;
            for step in Plan::new(seed, 60).steps {
                let first = step.happenings.first().map(|(_, happening)| *happening);
                let left = matches!(first, Some(Happening::Swap(_) | Happening::Rollback));
                assert!(!fragile || left, "seed {seed}: {step:?}");
                let last = step.happenings.last().map(|(_, happening)| *happening);
                fragile = matches!(last, Some(Happening::Fragile(..)));
            }
        }
    }
}
