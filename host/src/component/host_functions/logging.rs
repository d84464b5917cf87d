//! `logging`: lines of the guest. They are written at once: what a crashed turn said is wanted most.

use crate::component::bindings::instar::endpoint::logging::{Host, Level};
use crate::component::instance::HostState;
use crate::component::surroundings::{LogLevel, LogLine};

/// Longest text that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Fields that are kept.
const FIELDS_MAX: usize = 32;

impl Host for HostState {
    fn enabled(&mut self, level: Level) -> wasmtime::Result<bool> {
        Ok(self.surroundings.log_enabled(level_in(level)))
    }

    fn log(
        &mut self,
        level: Level,
        target: String,
        mut text: String,
        mut fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        cut(&mut text);
        let surplus = fields.len().saturating_sub(FIELDS_MAX);
        fields.truncate(FIELDS_MAX);
        if surplus > 0 {
            fields.push(("cut".to_owned(), format!("{surplus} more fields")));
        }
        for (_, value) in &mut fields {
            cut(value);
        }
        let line = LogLine {
            level: level_in(level),
            target: &target,
            text: &text,
            fields: &fields,
        };
        self.surroundings.log(self.version(), line);
        Ok(())
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let rest = text.len() - TEXT_BYTES_MAX;
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(&format!("... ({rest} bytes cut)"));
    }
}

fn level_in(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_marked() {
        let mut text = "é".repeat(TEXT_BYTES_MAX);
        cut(&mut text);
        assert!(text.len() < TEXT_BYTES_MAX + 40);
        assert!(text.ends_with(" bytes cut)"), "{text}");
        let mut short = "short".to_owned();
        cut(&mut short);
        assert_eq!(short, "short");
    }
}
