//! Progress: a bar for the application that a driver says it works on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use app_client::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::{aside, duration, size};

/// What a person sees while an application runs: a bar, or without a terminal a line on stderr whenever
/// something changes.
pub(super) struct Bar {
    bar: ProgressBar,
    started: Instant,
    said: Mutex<String>,
}

impl Bar {
    pub(super) fn new(what: &str) -> Self {
        let bar = ProgressBar::no_length().with_message(what.to_owned());
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        let bar = Self {
            bar,
            started: Instant::now(),
            said: Mutex::default(),
        };
        bar.line(what);
        bar
    }

    /// Where no bar is seen, says what is not what was said last.
    fn line(&self, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && *said != text {
            aside(text);
            text.clone_into(&mut said);
        }
    }

    /// Shows what is not counted in tasks.
    pub(super) fn says(&self, text: &str) {
        self.line(text);
        self.bar.set_message(text.to_owned());
    }

    /// Shows how far the application is.
    pub(super) fn shows(&self, progress: &Progress) {
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}";
        if let (true, Ok(style)) = (progress.total > 0, ProgressStyle::with_template(template)) {
            self.bar.set_style(style.progress_chars("=> "));
            self.bar.set_length(progress.total);
            self.bar.set_position(progress.done);
        }
        self.line(&format!("{}, {} slots", progress.phase, progress.slots));
        self.bar.set_message(self.text(progress));
    }

    fn text(&self, progress: &Progress) -> String {
        let mut text = format!(
            "{}, {} executors, {} slots",
            progress.phase, progress.executors, progress.slots
        );
        let seconds = self.started.elapsed().as_secs_f64();
        if progress.bytes_done > 0 && seconds > 0.0 {
            let rate = progress.bytes_done as f64 / seconds;
            text = format!(
                "{text}, {} of {}, {}/s",
                size(progress.bytes_done),
                size(progress.bytes_total),
                size(rate as u64)
            );
        }
        text
    }

    /// Takes the bar away; what comes after it says how it ended.
    pub(super) fn ends(&self) -> String {
        self.bar.finish_and_clear();
        duration(self.started.elapsed())
    }
}
