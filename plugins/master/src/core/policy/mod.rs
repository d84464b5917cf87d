//! Policy: on which workers new executors and drivers go. Nothing here knows a message or changes a
//! worker: candidates in, grants out, so that another policy is another file.
//!
//! | file | decides |
//! |---|---|
//! | [`selection`] | which workers come first |
//! | [`spread_out`], [`consolidate`] | how many cores of each an application gets |
//! | [`placement`] | which worker runs a driver |
//!
//! Invariants
//! 1. A policy looks at candidates in their order and at no more of them than it grants to, plus those
//!    that cannot take what is needed.
//! 2. No grant exceeds its candidate, and all together exceed neither the cores nor the executors that
//!    the application may have.

pub mod consolidate;

pub mod placement;

pub mod selection;

pub mod spread_out;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::WorkerKey;

/// How executors are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// On as many workers as possible.
    SpreadOut,
    /// On as few workers as possible.
    Consolidate,
}

impl Policy {
    /// The policy of this build.
    pub const OF_THIS_BUILD: Self = if cfg!(feature = "consolidate") {
        Self::Consolidate
    } else {
        Self::SpreadOut
    };

    /// Grants cores to an application. `candidates` are workers that can take one executor at least,
    /// in order of preference.
    pub fn grant(self, need: &Need, candidates: impl Iterator<Item = Candidate>) -> Vec<Grant> {
        match self {
            Self::SpreadOut => spread_out::grant(need, candidates),
            Self::Consolidate => consolidate::grant(need, candidates),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SpreadOut => "spread-out",
            Self::Consolidate => "consolidate",
        })
    }
}

/// What an application wants of one resource profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Cores of each executor. None: one executor on each worker, with as many as it can get.
    pub cores_per_executor: Option<u32>,
    /// Memory of each executor, in MB.
    pub memory_mb: u32,
    /// Cores that it may get.
    pub cores_left: u32,
    /// Executors that it may get.
    pub executors_left: u32,
}

impl Need {
    /// Cores of one step: an executor, or a core more for it.
    pub fn step(&self) -> u32 {
        self.cores_per_executor.unwrap_or(1).max(1)
    }
}

/// A worker that could take an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The worker.
    pub worker: WorkerKey,
    /// Its free cores.
    pub cores: u32,
    /// Its free memory, in MB.
    pub memory_mb: u32,
    /// Executors for which it has other resources.
    pub executors_max: u32,
}

/// What a worker gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The worker.
    pub worker: WorkerKey,
    /// Executors to start there.
    pub executors: u32,
    /// Their cores, all together.
    pub cores: u32,
}

/// What is granted so far: the rules that both policies keep.
struct Granting {
    need: Need,
    grants: Vec<(Candidate, Grant)>,
}

impl Granting {
    fn new(need: &Need) -> Self {
        Self {
            need: *need,
            grants: Vec::new(),
        }
    }

    /// False where nothing can be granted to a worker that has no grant yet.
    fn goes_on(&self) -> bool {
        self.need.cores_left >= self.need.step() && self.need.executors_left > 0
    }

    /// A worker without a grant so far: its first step. Returns its place, or none if it cannot.
    fn first_step(&mut self, candidate: Candidate) -> Option<usize> {
        let place = self.grants.len();
        let grant = Grant {
            worker: candidate.worker,
            executors: 0,
            cores: 0,
        };
        self.grants.push((candidate, grant));
        if self.step(place) {
            return Some(place);
        }
        self.grants.pop();
        None
    }

    /// One step more for a worker. False where it can take none.
    fn step(&mut self, place: usize) -> bool {
        let step = self.need.step();
        let Some((candidate, grant)) = self.grants.get_mut(place) else {
            return false;
        };
        if self.need.cores_left < step || candidate.cores - grant.cores < step {
            return false;
        }
        let starts_one = self.need.cores_per_executor.is_some() || grant.executors == 0;
        if starts_one {
            let after = u64::from(grant.executors) + 1;
            let fits = u64::from(self.need.memory_mb) * after <= u64::from(candidate.memory_mb)
                && grant.executors < candidate.executors_max;
            if !fits || self.need.executors_left == 0 {
                return false;
            }
            self.need.executors_left -= 1;
            grant.executors += 1;
        }
        self.need.cores_left -= step;
        grant.cores += step;
        true
    }

    /// All steps that a worker with a first one can take.
    fn fill(&mut self, place: usize) {
        if self.need.cores_per_executor.is_some() {
            // Each of them is an executor, and with it more work than the step.
            while self.step(place) {}
            return;
        }
        if let Some((candidate, grant)) = self.grants.get_mut(place) {
            let more = self.need.cores_left.min(candidate.cores - grant.cores);
            self.need.cores_left -= more;
            grant.cores += more;
        }
    }

    /// Rounds in which each worker with a first step takes one core more, until there is nothing left
    /// to give: all get the same, as far as they have it, and the first ones one more.
    fn level(&mut self) {
        let room = |(candidate, grant): &(Candidate, Grant)| candidate.cores - grant.cores;
        let left = u64::from(self.need.cores_left);
        let (mut rounds, mut too_many) = (0, u64::from(u32::MAX) + 1);
        while too_many - rounds > 1 {
            let middle = u64::midpoint(rounds, too_many);
            let given = self
                .grants
                .iter()
                .map(|one| u64::from(room(one)).min(middle));
            match given.sum::<u64>() <= left {
                true => rounds = middle,
                false => too_many = middle,
            }
        }
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        for last in [false, true] {
            for one in &mut self.grants {
                let most = if last { 1 } else { rounds };
                let more = room(one).min(most).min(self.need.cores_left);
                self.need.cores_left -= more;
                one.1.cores += more;
            }
        }
    }

    fn done(self) -> Vec<Grant> {
        self.grants.into_iter().map(|(_, grant)| grant).collect()
    }
}
