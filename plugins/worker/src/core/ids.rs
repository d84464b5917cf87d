//! Ids: of this worker, and the time of day that stands in it.

use super::settings::wrong;

/// Time, host and port.
pub const WORKER_PATTERN: &str = "worker-%s-%s-%d";

/// Checks the pattern of a worker's id: `%s` for the time, `%s` for the host, `%d` for the port, in this
/// order; later ones may be missing. `%%` is a percent sign.
///
/// # Errors
/// Another `%`, or white space: an id is a word.
pub(super) fn pattern(pattern: String) -> Result<String, String> {
    let expected = "`%s` (time), `%s` (host), `%d` (port) in this order, `%%`, and no white space";
    let good = |id: String| !id.is_empty() && !id.contains(char::is_whitespace);
    match format(&pattern, "time", "host", 1) {
        Some(id) if good(id.clone()) => Ok(pattern),
        _ => Err(wrong("worker_id_pattern", &pattern, expected)),
    }
}

/// The id of a worker that starts at `now_ms` (since 1970 UTC). The time is UTC, as a component has no
/// time zone.
pub fn worker_id(pattern: &str, now_ms: u64, host: &str, port: u16) -> String {
    let id = format(pattern, &timestamp(now_ms), host, port);
    // The pattern was checked when it was read.
    id.unwrap_or_else(|| pattern.to_owned())
}

fn format(pattern: &str, time: &str, host: &str, port: u16) -> Option<String> {
    let port = port.to_string();
    let mut values = [('s', time), ('s', host), ('d', port.as_str())].into_iter();
    let mut id = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            id.push(c);
            continue;
        }
        match rest.next()? {
            '%' => id.push('%'),
            wanted => match values.next()? {
                (letter, value) if letter == wanted => id.push_str(value),
                _ => return None,
            },
        }
    }
    Some(id)
}

/// `yyyyMMddHHmmss`, UTC.
fn timestamp(now_ms: u64) -> String {
    let seconds = now_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}{month:02}{day:02}{hour:02}{minute:02}{:02}",
        second % 60
    )
}

/// Year, month, day of a day since 1970-01-01, by Hinnant's `civil_from_days`: a year begins in March,
/// so that the day that is sometimes missing is its last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_year_to_second() {
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_782_399, "20000228235959"),
            (951_782_400, "20000229000000"),
            (951_868_800, "20000301000000"),
            (1_795_532_400, "20261124150000"),
            (4_107_542_400, "21000301000000"),
        ] {
            assert_eq!(timestamp(seconds * 1000), text);
        }
    }
}
