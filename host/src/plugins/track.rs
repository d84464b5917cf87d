//! Track: what is known of one file from one look to the next. Is it at rest? Is it gone?
//!
//! Pure: time comes in as the moment of each look. Both questions are answered by looks alone, so
//! a file that changed and changed back between two looks was, for us, at rest.

use std::time::{Duration, SystemTime};

/// What tells one content of a file from another without reading it.
///
/// The change time is left out: it moves with every rename and every `chmod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Time of the last write; `None` if the file system keeps none.
    pub(crate) modified: Option<SystemTime>,
    /// Device and inode of the file itself, behind all links: a renamed file is another file.
    pub(crate) identity: (u64, u64),
}

/// What a look found under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A regular file, or a link to one.
    File(Stamp),
    /// Something that could not be looked at, and why.
    Unreadable(String),
}

/// One file in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// What lies there.
    pub(crate) seen: Seen,
    /// It was last written long enough ago that nobody is writing it any more.
    pub(crate) quiet: bool,
    /// It was renamed into the directory since the last look, so it is whole. It is also read even if
    /// its stamp is known: inodes are used again, and clocks of file systems tick in milliseconds.
    pub(crate) renamed_in: bool,
}

/// Whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It was never seen, or is gone for good.
    Absent,
    /// The last look saw it.
    There,
    /// It vanished; it counts as gone from this moment on.
    Missing(Duration),
}

/// The memory of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    seen: Option<Seen>,
    since: Duration,
    quiet: bool,
    renamed_in: bool,
    missing_since: Option<Duration>,
}

impl Track {
    /// Takes in what the look at `at` found.
    pub(crate) fn look(&mut self, at: Duration, glance: Option<Glance>) {
        let Some(Glance {
            seen,
            quiet,
            renamed_in,
        }) = glance
        else {
            if self.seen.is_some() {
                self.missing_since.get_or_insert(at);
            }
            return;
        };
        self.missing_since = None;
        self.renamed_in |= renamed_in;
        let quiet = quiet || renamed_in;
        if self.seen.as_ref() == Some(&seen) {
            self.quiet |= quiet;
        } else {
            (self.seen, self.since, self.quiet) = (Some(seen), at, quiet);
        }
    }

    /// Whether it is there at `at`. A file that was missing for `gone_after` is forgotten here.
    pub(crate) fn presence(&mut self, at: Duration, gone_after: Duration) -> Presence {
        match (&self.seen, self.missing_since) {
            (None, _) => Presence::Absent,
            (Some(_), None) => Presence::There,
            (Some(_), Some(since)) if at < since + gone_after => {
                Presence::Missing(since + gone_after)
            }
            (Some(_), Some(_)) => {
                *self = Self::default();
                Presence::Absent
            }
        }
    }

    /// What was seen last; stays while the file is missing but not yet gone.
    pub(crate) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// True between vanishing and being gone.
    pub(crate) fn is_missing(&self) -> bool {
        self.missing_since.is_some()
    }

    /// Since when it looks as it does.
    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    /// When it may be read: now (`None`), or not before the given moment. What is not there is at rest.
    pub(crate) fn at_rest(&self, at: Duration, settle: Duration) -> Option<Duration> {
        let moment = self.since + settle;
        (self.seen.is_some() && !self.quiet && at < moment).then_some(moment)
    }

    /// Whether it was renamed in since it was read.
    pub(crate) fn is_news(&self) -> bool {
        self.renamed_in
    }

    /// It is read now.
    pub(crate) fn no_news(&mut self) {
        self.renamed_in = false;
    }

    /// It was no longer `expected` when it was read: waiting begins anew, unless a look saw the new
    /// one already.
    pub(crate) fn disturb(&mut self, at: Duration, expected: Option<&Seen>) {
        if self.seen.as_ref() == expected {
            (self.since, self.quiet) = (at, false);
        }
    }

    /// We wrote it ourselves, whole.
    pub(crate) fn written(&mut self, at: Duration, seen: Seen) {
        *self = Self {
            seen: Some(seen),
            since: at,
            quiet: true,
            renamed_in: false,
            missing_since: None,
        };
    }
}
