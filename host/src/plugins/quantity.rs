//! Quantities as people write them in a sidecar: `64 MiB`, `10s`.
//!
//! Pure text to number. Not here: which key wants what, and its bounds ([`super::sidecar`]).

use std::time::Duration;

/// What a size looks like, for messages.
pub(crate) const SIZE: &str = "bytes as a number, or text like \"64 MiB\" (units B, KiB, MiB, GiB)";

/// What a duration looks like, for messages.
pub(crate) const DURATION: &str = "text like \"10s\" (units ms, s, min, h)";

/// Reads a size in bytes. `None`: it is no size, or larger than a `u64`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        // `MB` is left out on purpose: half of its writers mean 10^6, the other half 2^20.
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads a duration. A bare number is refused: its unit would be a guess.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Writes a size as [`size`] reads it, in the largest unit that fits without a fraction.
pub(crate) fn size_text(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// Writes a duration as [`duration`] reads it, in the largest unit that fits without a fraction.
pub(crate) fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let whole = |(unit, _): &&(u128, &str)| milliseconds > 0 && milliseconds.is_multiple_of(*unit);
    match units.iter().find(whole) {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// Splits `64 MiB` into 64 and `MiB`. Signs and fractions are refused.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_size_is_a_number_with_a_binary_unit() {
        for (text, bytes) in [
            ("64 MiB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            (" 1 GiB ", Some(1 << 30)),
            ("7 KiB", Some(7 << 10)),
            ("12 B", Some(12)),
            ("12", Some(12)),
            ("64 MB", None),
            ("-1 B", None),
            ("1.5 MiB", None),
            ("MiB", None),
            ("", None),
            ("18446744073709551616", None),
            ("18446744073709551615 GiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_bound_is_written_as_people_write_it() {
        for (bytes, text) in [
            (0, "0 B"),
            (64 << 10, "64 KiB"),
            (5 << 30, "5 GiB"),
            (1_114_112, "1088 KiB"),
            (1025, "1025 B"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
        for (milliseconds, text) in [
            (0, "0ms"),
            (1500, "1500ms"),
            (60_000, "1min"),
            (86_400_000, "24h"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(milliseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(bytes: u64, milliseconds: u32) {
            let time = Duration::from_millis(milliseconds.into());
            prop_assert_eq!(size(&size_text(bytes)), Some(bytes));
            prop_assert_eq!(duration(&duration_text(time)), Some(time));
        }
    }

    #[test]
    fn a_duration_needs_its_unit() {
        for (text, milliseconds) in [
            ("10s", Some(10_000)),
            ("250 ms", Some(250)),
            ("2min", Some(120_000)),
            ("1 h", Some(3_600_000)),
            ("10", None),
            ("10 m", None),
            ("ten s", None),
        ] {
            assert_eq!(
                duration(text),
                milliseconds.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = (size(&text), duration(&text));
        }

        #[test]
        fn a_written_size_reads_back(bytes in 0u64..1 << 40) {
            prop_assert_eq!(size(&format!("{bytes} B")), Some(bytes));
        }
    }
}
