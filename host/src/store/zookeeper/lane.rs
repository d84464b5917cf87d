//! Lane: the writes of one endpoint, in order: which go together, what is on its way, and what became of
//! those that got no answer. Pure; the I/O is `task`.
//!
//! Each commit is one transaction: the fence is there, the folder has the version that the commit before
//! left, the folder gets our [`Tag`], and the writes. So the servers see to it that
//! 1. nothing is written once the fence is gone;
//! 2. a commit is made after the one before it, or never, and at most once, be it sent again or late;
//! 3. what became of a commit whose answer was lost stands in the tag.
//!
//! After a loss of the connection commits may still be on their way that we have given up waiting for. A
//! bar, which is a commit that only makes the folder's version jump, ends them: what they expect of the
//! folder can never be again. What was neither made before the bar nor can be after it is made anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::tag::Tag;
use crate::store::writes::Writes;

/// Commits on their way at once.
pub(super) const WINDOW: usize = 8;

/// By so much a bar moves the version of the folder: beyond all that is on its way.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "8"
)]
pub(super) const BAR: i32 = WINDOW as i32 + 1;

/// Turns go together up to these. A larger turn goes alone.
const GROUP_BYTES_MAX: usize = 256 << 10;
const GROUP_OPERATIONS_MAX: usize = 500;

/// Where the connection is lost so often in a row over the same single turn, and that is large, the turn is
/// why: a server drops the connection of who sends more than it is set to take.
const LOSSES_MAX: u32 = 4;
const LARGE_BYTES: usize = 32 << 10;

/// What one turn wrote.
#[derive(Debug)]
pub(super) struct Turn {
    /// Grows with each turn of the endpoint.
    pub(super) number: u64,
    pub(super) fence: Arc<str>,
    pub(super) writes: Writes,
    /// Nodes were not as they had to be: looked at once more, and not twice.
    pub(super) looked: bool,
    /// The connection was lost over it, alone, so often in a row.
    pub(super) losses: u32,
}

/// What becomes one transaction.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) commit: u64,
    /// What it leaves in the folder.
    pub(super) tag: Tag,
    /// The version of the folder that it is made on.
    pub(super) expects: i32,
    pub(super) turns: Vec<Turn>,
    pub(super) operations: Vec<Operation>,
}

impl Group {
    /// None where the operation deletes.
    pub(super) fn value(&self, operation: &Operation) -> Option<&Bytes> {
        let turn = self.turns.get(operation.turn)?;
        turn.writes.all().get(&operation.name)?.as_ref()
    }
}

/// One write of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// Place of the turn in its group.
    pub(super) turn: usize,
    pub(super) name: String,
    pub(super) action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Set,
    Delete,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    FenceGone,
    /// The folder is not as the commit before left it: that one was not made, or somebody wrote.
    Moved,
    /// This operation cannot be made: its node is there and should not be, or the other way round.
    Surprise {
        operation: usize,
        reason: String,
    },
    /// This operation, or none in particular, is refused.
    Refused {
        operation: Option<usize>,
        reason: String,
    },
    /// Nobody knows.
    Unknown {
        reason: String,
    },
}

/// How a turn ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) turn: Turn,
    pub(super) outcome: Result<(), String>,
}

/// See above.
#[derive(Debug)]
pub(super) struct Lane {
    writer: String,
    /// Number of the last commit that was thought of.
    commit: u64,
    /// Number of the last one that was made.
    made: u64,
    queue: VecDeque<Turn>,
    /// On their way, or lost there; in order.
    sent: VecDeque<Group>,
    /// Names in `sent`: the last commit with it, and whether it is there after that.
    ahead: HashMap<String, (u64, bool)>,
    /// The version that the folder has after all in `sent`. None: look first.
    version: Option<i32>,
    /// The fence of what was first when that was looked at.
    fence: Option<Arc<str>>,
    /// Since the last commit that was made one went wrong: one turn at a time, to see which it is.
    careful: bool,
    ended: Vec<Ended>,
}

impl Lane {
    pub(super) fn new(writer: String) -> Self {
        Self {
            writer,
            commit: 0,
            made: 0,
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            ahead: HashMap::new(),
            version: None,
            fence: None,
            careful: false,
            ended: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, turn: Turn) {
        self.queue.push_back(turn);
    }

    /// Nothing waits, and nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Whether the folder's version is known, and what is next was decided under the leadership under which
    /// it was looked at: another one may have come between.
    pub(super) fn is_open(&self) -> bool {
        let next = self.queue.front().map(|turn| &turn.fence);
        self.version.is_some() && (next.is_none() || next == self.fence.as_ref())
    }

    /// Something went wrong since the last commit that was made.
    pub(super) fn is_careful(&self) -> bool {
        self.careful
    }

    /// The oldest turn that has not ended.
    pub(super) fn oldest(&self) -> Option<u64> {
        let sent = self.sent.iter().flat_map(|group| &group.turns);
        sent.chain(&self.queue).map(|turn| turn.number).next()
    }

    /// Those that have ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    fn tag(&self, commit: u64) -> Tag {
        Tag {
            writer: self.writer.clone(),
            commit,
        }
    }

    /// The next commit, which is on its way from now on. None: there is none, or enough are.
    /// `durable`: whether a name was there before all in `sent`.
    pub(super) fn next(&mut self, durable: impl Fn(&str) -> bool) -> Option<&Group> {
        let expects = self.version?;
        // Between two leaderships somebody else may have moved the folder to just the version that we expect.
        if !self.is_open() {
            return None;
        }
        let window = if self.careful { 1 } else { WINDOW };
        if self.sent.len() >= window {
            return None;
        }
        let mut turns: Vec<Turn> = Vec::new();
        let (mut bytes, mut count) = (0, 0);
        while let Some(turn) = self.queue.front() {
            bytes += turn.writes.bytes();
            count += turn.writes.all().len();
            let fits = match turns.first() {
                None => true,
                Some(_) if self.careful => false,
                Some(first) => {
                    first.fence == turn.fence
                        && bytes <= GROUP_BYTES_MAX
                        && count <= GROUP_OPERATIONS_MAX
                }
            };
            if !fits {
                break;
            }
            turns.extend(self.queue.pop_front());
        }
        if turns.is_empty() {
            return None;
        }
        self.commit += 1;
        let mut operations = Vec::with_capacity(count);
        for (place, turn) in turns.iter().enumerate() {
            for (name, value) in turn.writes.all() {
                let was = match self.ahead.get(name) {
                    Some((_, there)) => *there,
                    None => durable(name),
                };
                let action = match (was, value) {
                    (false, Some(_)) => Action::Create,
                    (true, Some(_)) => Action::Set,
                    (true, None) => Action::Delete,
                    (false, None) => continue,
                };
                self.ahead
                    .insert(name.clone(), (self.commit, value.is_some()));
                operations.push(Operation {
                    turn: place,
                    name: name.clone(),
                    action,
                });
            }
        }
        self.version = Some(expects.wrapping_add(1));
        self.sent.push_back(Group {
            commit: self.commit,
            tag: self.tag(self.commit),
            expects,
            turns,
            operations,
        });
        self.sent.back()
    }

    /// The first that is on its way was answered. False: the folder has to be looked at before anything
    /// else is sent, and answers to the others are of no use.
    pub(super) fn answered(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Done => {
                self.first_is_made();
                return true;
            }
            Answer::FenceGone => {
                // It is the first, so all before it are known.
                if let Some(group) = self.sent.pop_front() {
                    let fence = self.fence_of(&group);
                    self.end_all(group.turns, &over(&fence, NOT_WRITTEN));
                    self.fence_is_gone(&fence, NOT_WRITTEN);
                }
            }
            Answer::Moved => {}
            Answer::Surprise { operation, reason } => {
                let turn = self.turn_of(Some(operation));
                match turn {
                    Some(turn) if !turn.looked => turn.looked = true,
                    _ => self.end_one(Some(operation), &reason),
                }
            }
            Answer::Refused { operation, reason } => self.end_one(operation, &reason),
            Answer::Unknown { .. } => {
                if let Some(Group { turns, .. }) = self.sent.front_mut()
                    && let [turn] = turns.as_mut_slice()
                {
                    turn.losses += 1;
                }
            }
        }
        self.trouble();
        false
    }

    /// Nothing more is known of what is on its way.
    pub(super) fn trouble(&mut self) {
        self.version = None;
        self.careful = true;
    }

    /// What the tag in the folder says of what is on its way. Gives back how many commits were made.
    pub(super) fn resolve(&mut self, tag: Option<&Tag>) -> i32 {
        let Some(tag) = tag.filter(|tag| tag.writer == self.writer) else {
            return 0;
        };
        let mut made = 0;
        while self
            .sent
            .front()
            .is_some_and(|group| group.commit <= tag.commit)
        {
            self.first_is_made();
            made += 1;
        }
        made
    }

    /// A bar is needed before anything else is sent: its fence, and what it leaves in the folder.
    pub(super) fn bar(&self) -> Option<(Arc<str>, Tag)> {
        let first = self.sent.front()?;
        Some((self.fence_of(first), self.tag(self.made)))
    }

    /// The bar was made: nothing of what was on its way can be made any more, so it is made anew.
    pub(super) fn barred(&mut self) {
        let mut again: VecDeque<Turn> = VecDeque::new();
        for group in std::mem::take(&mut self.sent) {
            for turn in group.turns {
                if turn.losses > LOSSES_MAX && turn.writes.bytes() > LARGE_BYTES {
                    let outcome = Err(format!(
                        "the servers break the connection at what this turn persists ({} bytes): is their \
                         `jute.maxbuffer` smaller than {}; {NOT_WRITTEN}",
                        turn.writes.bytes(),
                        super::packet::PACKET_BYTES_MAX,
                    ));
                    self.ended.push(Ended { turn, outcome });
                } else {
                    again.push_back(turn);
                }
            }
        }
        again.append(&mut self.queue);
        self.queue = again;
    }

    /// The fence is gone, and with it all that was decided under it and is not known to be made.
    pub(super) fn lost(&mut self, fence: &Arc<str>) {
        self.fence_is_gone(fence, UNKNOWN);
    }

    /// The servers refuse that anything is looked at or barred: all that waits fails.
    pub(super) fn refused(&mut self, reason: &str) {
        for group in std::mem::take(&mut self.sent) {
            self.end_all(group.turns, &format!("{reason}; {UNKNOWN}"));
        }
        let queue = std::mem::take(&mut self.queue);
        self.end_all(queue, &format!("{reason}; {NOT_WRITTEN}"));
    }

    /// The folder has this version, and nothing is on its way.
    pub(super) fn open_at(&mut self, version: i32) {
        debug_assert!(self.sent.is_empty(), "resolved or barred before");
        self.ahead.clear();
        self.version = Some(version);
        self.fence = self.queue.front().map(|turn| Arc::clone(&turn.fence));
    }

    fn first_is_made(&mut self) {
        let Some(group) = self.sent.pop_front() else {
            return;
        };
        self.made = group.commit;
        self.careful = false;
        for operation in &group.operations {
            if let Some((commit, _)) = self.ahead.get(&operation.name)
                && *commit == group.commit
            {
                self.ahead.remove(&operation.name);
            }
        }
        for turn in group.turns {
            let outcome = Ok(());
            self.ended.push(Ended { turn, outcome });
        }
    }

    fn fence_of(&self, group: &Group) -> Arc<str> {
        let first = group.turns.first();
        first.map_or_else(|| "".into(), |turn| Arc::clone(&turn.fence))
    }

    /// The turn of an operation of the first commit; without one, the first turn.
    fn turn_of(&mut self, operation: Option<usize>) -> Option<&mut Turn> {
        let group = self.sent.front_mut()?;
        let place = match operation {
            Some(operation) => group.operations.get(operation)?.turn,
            None => 0,
        };
        group.turns.get_mut(place)
    }

    /// The turn of this operation fails, or all of its commit.
    fn end_one(&mut self, operation: Option<usize>, reason: &str) {
        let Some(mut group) = self.sent.pop_front() else {
            return;
        };
        let reason = format!("{reason}; {NOT_WRITTEN}");
        let place = operation.and_then(|operation| group.operations.get(operation));
        let place = place.map(|operation| operation.turn);
        match place {
            Some(place) if place < group.turns.len() => {
                let turn = group.turns.remove(place);
                self.end_all([turn], &reason);
                // The others are made anew, without it.
                group.operations.clear();
                if !group.turns.is_empty() {
                    self.sent.push_front(group);
                }
            }
            _ => self.end_all(group.turns, &reason),
        }
    }

    fn end_all(&mut self, turns: impl IntoIterator<Item = Turn>, reason: &str) {
        let ended = turns.into_iter().map(|turn| Ended {
            turn,
            outcome: Err(reason.to_owned()),
        });
        self.ended.extend(ended);
    }

    /// `sent`: what is said of those on their way.
    fn fence_is_gone(&mut self, fence: &Arc<str>, sent: &str) {
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|group| self.fence_of(group) == *fence);
        self.sent = stay.into();
        for group in gone {
            self.end_all(group.turns, &over(fence, sent));
        }
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|turn| turn.fence == *fence);
        self.queue = stay.into();
        self.end_all(gone, &over(fence, NOT_WRITTEN));
    }
}

const NOT_WRITTEN: &str = "nothing of this turn was written";
const UNKNOWN: &str = "it is not known whether this turn was written";

fn over(fence: &str, known: &str) -> String {
    format!(
        "the leadership under which this was decided is over, its node {fence} is gone; {known}"
    )
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
