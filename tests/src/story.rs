//! Story: what happened when, told while it happens and once more at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use app_client::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::counts::Counts;

/// Told on the console. A progress bar stands below it.
pub struct Story {
    began: Instant,
    steps: Vec<(Duration, String, String)>,
    bar: ProgressBar,
}

impl Story {
    /// Begins, with what is counted.
    pub fn begin(input: &Path) -> Self {
        println!("counting the words of {}", input.display());
        // Nothing is drawn before there is something to show.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} splits, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            began: Instant::now(),
            steps: Vec::new(),
            bar,
        }
    }

    /// Something happened.
    pub fn step(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        let (at, what, detail) = (self.began.elapsed(), what.into(), detail.into());
        self.bar.suspend(|| println!("{}", row(at, &what, &detail)));
        self.steps.push((at, what, detail));
    }

    /// How far the application is.
    pub fn shows(&self, progress: &Progress, since: Instant) {
        if self.bar.length().is_none() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        let megabytes = progress.bytes_done as f64 / 1e6;
        let rate = megabytes / since.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!(
            "{megabytes:.0} MB, {rate:.0} MB/s, {} executors, {} slots",
            progress.executors, progress.slots
        ));
    }

    /// Takes the bar away.
    pub fn ended(&self) {
        self.bar.finish_and_clear();
    }

    /// The table at the end. False where the counts differ.
    pub fn tell(&self, counted: &Counts, checked: &Counts) -> bool {
        self.ended();
        println!("\nwhat happened");
        for (at, what, detail) in &self.steps {
            println!("{}", row(*at, what, detail));
        }
        println!("\n  {:<10} {:>16} {:>16}", "", "cluster", "wc");
        for (name, ours, theirs) in [
            ("lines", counted.lines, checked.lines),
            ("words", counted.words, checked.words),
            ("bytes", counted.bytes, checked.bytes),
        ] {
            println!("  {name:<10} {ours:>16} {theirs:>16}");
        }
        match counted == checked {
            true => println!("\nthe counts agree"),
            false => println!("\nTHE COUNTS DIFFER"),
        }
        counted == checked
    }
}

fn row(at: Duration, what: &str, detail: &str) -> String {
    format!("  {:>8.3} s  {what:<44} {detail}", at.as_secs_f64())
}
