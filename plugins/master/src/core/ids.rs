//! Ids of applications and drivers: how they are made, and the small keys that stand for them inside.
//!
//! An id becomes part of endpoint names (executors, drivers), so it has only what those may have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! keys {
    ($($(#[$about:meta])* $name:ident,)+) => {
        $($(#[$about])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub(crate) u32);

        impl $name {
            pub(crate) fn take_next(next: &mut u32) -> Self {
                let key = Self(*next);
                *next = next.saturating_add(1);
                key
            }
        })+
    };
}

keys! {
    /// Stands for a worker, inside. In order of registration; never used again.
    WorkerKey,
    /// Stands for an application, inside. In order of registration; never used again.
    AppKey,
    /// Stands for a driver, inside. In order of submission; never used again.
    DriverKey,
}

/// Longest id: an executor's endpoint name adds two numbers and must stay below 64.
const ID_BYTES_MAX: usize = 42;

/// The pattern of an id: text, `%s` (or `%1$s`) for the time, `%04d` (or `%2$04d`) for the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Piece {
    Text(String),
    Time,
    Number { width: usize },
}

impl IdPattern {
    /// The id of this time (milliseconds since 1970 UTC) and number.
    pub fn id(&self, now: u64, number: u32) -> String {
        let mut id = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => id.push_str(text),
                Piece::Time => id.push_str(&timestamp(now)),
                Piece::Number { width } => id.push_str(&format!("{number:0width$}")),
            }
        }
        id
    }
}

impl FromStr for IdPattern {
    type Err = String;

    fn from_str(pattern: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('%') {
            pieces.push(Piece::Text(text.to_owned()));
            let (piece, after) = placeholder(after)?;
            pieces.push(piece);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        let pattern = Self { pieces };
        let numbers = |piece: &&Piece| matches!(piece, Piece::Number { .. });
        if pattern.pieces.iter().filter(numbers).count() != 1 {
            return Err("the number, `%04d`, has to stand in it once".to_owned());
        }
        check(&pattern.id(0, 9999))?;
        Ok(pattern)
    }
}

fn placeholder(after: &str) -> Result<(Piece, &str), String> {
    if let Some(rest) = after
        .strip_prefix("1$s")
        .or_else(|| after.strip_prefix('s'))
    {
        return Ok((Piece::Time, rest));
    }
    let number = after.strip_prefix("2$").unwrap_or(after);
    if let Some((width, rest)) = number.split_once('d') {
        let width = match width {
            "" => Some(0),
            digits => digits.parse().ok(),
        };
        if let Some(width @ 0..=9) = width {
            return Ok((Piece::Number { width }, rest));
        }
    }
    Err("after `%` comes `s` for the time or `d`, `04d`, ... for the number".to_owned())
}

/// Says what is wrong with an id that would become part of endpoint names.
pub fn check(id: &str) -> Result<(), String> {
    if id.contains(char::is_whitespace) {
        return Err("white space cannot be part of it".to_owned());
    }
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(format!("it has to have 1 to {ID_BYTES_MAX} characters"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.starts_with('.') || !id.chars().all(allowed) {
        return Err("it has letters, digits, `-`, `_`, `.`, and begins with no dot".to_owned());
    }
    Ok(())
}

/// The name of an application as its id: lower case, without white space; what no id may have
/// becomes `_`. May be empty.
pub fn from_name(name: &str) -> String {
    let kept = name
        .chars()
        .filter(|c| !c.is_whitespace())
        .take(ID_BYTES_MAX - 12);
    let plain = kept.map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || "-_.".contains(c) => c,
        _ => '_',
    });
    let id: String = plain.collect();
    id.trim_start_matches('.').to_owned()
}

/// `yyyyMMddHHmmss` in UTC.
fn timestamp(now: u64) -> String {
    let seconds = now / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Date::of(days).to_string() + &format!("{hour:02}{minute:02}{second:02}")
}

struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// Days since 1970-01-01, in the Gregorian calendar: eras of 400 years that begin in March, so
    /// that the leap day is the last of its year.
    fn of(days: u64) -> Self {
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self { year, month, day }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}{:02}{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_a_calendar_does() {
        for (now, text) in [
            (0, "19700101000000"),
            (951_782_400_000, "20000229000000"),
            (1_767_323_045_999, "20260102030405"),
            (4_107_542_399_000, "21000228235959"),
            (4_107_542_400_000, "21000301000000"),
        ] {
            assert_eq!(timestamp(now), text);
        }
    }

    #[test]
    fn a_pattern_has_a_number_and_nothing_that_no_endpoint_name_may_have() {
        for (pattern, id) in [
            ("app-%s-%04d", "app-19700101000000-0007"),
            ("my-driver-%2$05d", "my-driver-00007"),
            ("%d", "7"),
            ("a%1$s.%d_", "a19700101000000.7_"),
        ] {
            assert_eq!(pattern.parse::<IdPattern>().unwrap().id(0, 7), id);
        }
        for (pattern, reason) in [
            ("app %d", "white space"),
            ("app-%s", "number"),
            ("%d%d", "number"),
            ("%x%d", "after `%`"),
            ("a/%d", "letters"),
            (".%d", "no dot"),
            ("%0000000000000099d", "after `%`"),
            (
                "an-application-with-quite-a-long-name-%s-%d",
                "42 characters",
            ),
        ] {
            let found = pattern.parse::<IdPattern>().unwrap_err();
            assert!(found.contains(reason), "{pattern}: {found}");
        }
    }

    #[test]
    fn a_name_becomes_an_id() {
        assert_eq!(from_name("  My App\t2 "), "myapp2");
        assert_eq!(from_name("..wörd/count"), "w_rd_count");
        assert!(check(&from_name(&"x".repeat(500))).is_ok());
    }
}
