//! Output: text for people, JSON for programs.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

/// How to print.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints a value as JSON, or what `text` makes of it.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        line(&match self.json {
            true => serde_json::to_string_pretty(value)?,
            false => text(value).trim_end().to_owned(),
        })
    }

    /// Prints an error with its causes to stderr.
    pub(super) fn error(self, error: &anyhow::Error, code: u8) {
        let text = match self.json {
            true => json!({ "error": format!("{error:#}"), "exit": code }).to_string(),
            false => format!("instar: {error:#}"),
        };
        aside(&printable(&text));
    }
}

/// Prints a line to stderr. Where it cannot be written, as nobody reads or the disk is full, it is lost: nothing
/// else may be.
pub(super) fn aside(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// What a component or a peer wrote may hold escapes that drive a terminal: they are shown, not
/// obeyed. The form is the one of JSON, so that JSON stays JSON.
fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| match harmless(c) {
        true => c.to_string(),
        false => format!("\\u{:04x}", u32::from(c)),
    });
    Cow::Owned(shown.collect())
}

/// Prints a line to stdout. A reader that has seen enough (`| head`) is no error.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", printable(text)).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Rows with columns as wide as needed. The first row is the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A size for people: `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0 {
        match units.next() {
            Some(next) => unit = Some(next),
            None => break,
        }
        value /= 1024.0;
    }
    format!("{value:.1} {}", unit.unwrap_or(&"KiB"))
}

/// A duration for people: `1.250 ms`, `3 min 20 s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 if seconds < 0.001 => format!("{:.0} us", seconds * 1e6),
        0 => format!("{:.3} ms", seconds * 1e3),
        1..60 => format!("{seconds:.1} s"),
        whole @ 60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        whole => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A duration in its largest unit: `3 min`, `2 d`. For tables.
pub(super) fn brief(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text of at most `most` characters; the last one shows that there was more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Text in lines of at most `columns` characters, `indent` included. A longer word is broken.
pub(super) fn wrap(text: &str, indent: &str, columns: usize) -> Vec<String> {
    let room = columns.saturating_sub(indent.chars().count()).max(1);
    let mut lines: Vec<String> = Vec::new();
    let (mut line, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > room {
            lines.push(std::mem::take(&mut line));
            width = 0;
        }
        if width > 0 {
            line.push(' ');
            width += 1;
        }
        for c in word.chars() {
            if width == room {
                lines.push(std::mem::take(&mut line));
                width = 0;
            }
            line.push(c);
            width += 1;
        }
    }
    lines.push(line);
    lines.iter().map(|line| format!("{indent}{line}")).collect()
}

/// The beginning of a digest, enough to tell versions apart.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["name", "n"], ["a", "1"], ["longer", "22"]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(table(&rows), "name    n\na       1\nlonger  22");
    }

    #[test]
    fn escapes_of_a_terminal_are_shown_and_not_obeyed() {
        assert_eq!(printable("plain é\n"), "plain é\n");
        assert_eq!(
            printable("\x1b[31m\u{9b}2J\r"),
            "\\u001b[31m\\u009b2J\\u000d"
        );
        let json = json!({ "name": "\u{9b}" }).to_string();
        let back: serde_json::Value = serde_json::from_str(&printable(&json)).unwrap();
        assert_eq!(back["name"], "\u{9b}");
    }

    #[test]
    fn long_text_is_wrapped_at_words_and_a_long_word_is_broken() {
        assert_eq!(wrap("aa bb cc", "  ", 7), ["  aa bb", "  cc"]);
        assert_eq!(wrap("abcdefg h", "", 3), ["abc", "def", "g h"]);
        assert_eq!(wrap("", "  ", 7), ["  "]);
        assert_eq!(
            (cut("abcd", 4), cut("abcde", 4)),
            ("abcd".to_owned(), "abc…".to_owned())
        );
    }

    #[test]
    fn sizes_and_durations_are_for_people() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        assert_eq!(duration(Duration::from_micros(250)), "250 us");
        assert_eq!(duration(Duration::from_micros(1250)), "1.250 ms");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(brief(Duration::from_millis(7)), "7 ms");
        assert_eq!(brief(Duration::from_secs(200)), "3 min");
        assert_eq!(brief(Duration::from_secs(200_000)), "2 d");
    }
}
