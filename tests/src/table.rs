//! Table: medians over all rounds.

use std::time::Duration;

/// What was measured, in the order in which it first was.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, Unit, Vec<f64>)>,
    notes: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    PerSecond,
    Milliseconds,
    Megabytes,
}

impl Table {
    /// So many in so much time.
    pub fn rate(&mut self, name: &str, count: usize, took: Duration) {
        let rate = count as f64 / took.as_secs_f64();
        self.add(name, Unit::PerSecond, [rate]);
    }

    /// Single times.
    pub fn times(&mut self, name: &str, times: &[Duration]) {
        let times = times.iter().map(|time| time.as_secs_f64() * 1e3);
        self.add(name, Unit::Milliseconds, times);
    }

    /// Bytes.
    pub fn keep(&mut self, name: &str, bytes: u64) {
        self.add(name, Unit::Megabytes, [bytes as f64 / 1e6]);
    }

    /// What stands behind a row, for example what it must reach.
    pub fn note(&mut self, name: &str, note: &str) {
        self.notes.push((name.to_owned(), note.to_owned()));
    }

    fn add(&mut self, name: &str, unit: Unit, values: impl IntoIterator<Item = f64>) {
        match self.rows.iter_mut().find(|(known, ..)| known == name) {
            Some((.., all)) => all.extend(values),
            None => self
                .rows
                .push((name.to_owned(), unit, values.into_iter().collect())),
        }
    }

    /// Prints all rows: median, 99th percentile, the largest.
    pub fn print(&mut self) {
        let width = self.rows.iter().map(|(name, ..)| name.chars().count());
        let width = width.max().unwrap_or_default().max(30);
        println!(
            "{:<width$} {:>12} {:>12} {:>12} {:>7}",
            "", "median", "p99", "max", "of"
        );
        for (name, unit, values) in &mut self.rows {
            values.sort_by(f64::total_cmp);
            let at = |part: f64| {
                let index = (values.len().saturating_sub(1) as f64 * part).round() as usize;
                values.get(index).copied().unwrap_or_default()
            };
            let text = |value: f64| match unit {
                Unit::PerSecond => format!("{value:.0}/s"),
                Unit::Milliseconds => format!("{value:.3} ms"),
                Unit::Megabytes => format!("{value:.1} MB"),
            };
            let note = self.notes.iter().find(|(of, _)| of == name);
            let note = note.map_or("", |(_, note)| note);
            let row = format!(
                "{name:<width$} {:>12} {:>12} {:>12} {:>7}  {note}",
                text(at(0.5)),
                text(at(0.99)),
                text(at(1.0)),
                values.len()
            );
            println!("{}", row.trim_end());
        }
    }
}

/// The one in the middle.
pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
