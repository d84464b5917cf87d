//! Sieve: the primes of a range, in segments that stay in the processor's cache.

use std::ops::Range;

/// Odd numbers of a segment.
const SEGMENT: u64 = 1 << 18;

/// How many primes there are in `range`.
pub fn primes_in(range: Range<u64>) -> u64 {
    let two = u64::from(range.contains(&2));
    let odd_primes = odd_primes_up_to(range.end.saturating_sub(1).isqrt());
    let mut is_composite = vec![false; SEGMENT as usize];
    // The odd number `2 i + 1` is `i`.
    let (mut from, to) = (range.start.max(3) / 2, range.end / 2);
    let mut count = two;
    while from < to {
        let length = SEGMENT.min(to - from);
        let segment = is_composite.get_mut(..length as usize).unwrap_or_default();
        segment.fill(false);
        for prime in &odd_primes {
            let square = prime * prime / 2;
            let first = match square >= from {
                true => square - from,
                // The next odd multiple of it.
                false => (prime + prime / 2 - from % prime) % prime,
            };
            strike(segment, first, *prime);
        }
        count += segment.iter().filter(|composite| !**composite).count() as u64;
        from += length;
    }
    count
}

fn strike(segment: &mut [bool], first: u64, step: u64) {
    let places = segment.iter_mut().skip(first as usize);
    places
        .step_by(step as usize)
        .for_each(|place| *place = true);
}

/// The odd primes that are not greater than `limit`.
fn odd_primes_up_to(limit: u64) -> Vec<u64> {
    let mut is_composite = vec![false; (limit as usize).div_ceil(2)];
    let mut primes = Vec::new();
    for number in (3..=limit).step_by(2) {
        if is_composite.get(number as usize / 2) == Some(&false) {
            primes.push(number);
            strike(&mut is_composite, number * number / 2, number);
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_division(range: Range<u64>) -> u64 {
        let is_prime =
            |n: &u64| *n > 1 && (2..=n.isqrt()).all(|divisor| !n.is_multiple_of(divisor));
        range.filter(is_prime).count() as u64
    }

    #[test]
    fn known_values() {
        for (limit, primes) in [(0, 0), (1, 0), (2, 1), (3, 2), (10, 4), (1_000_000, 78_498)] {
            assert_eq!(primes_in(0..limit + 1), primes, "up to {limit}");
        }
    }

    #[test]
    fn a_range_anywhere_is_what_division_says() {
        for from in (0..400).chain([9_999_990, 1_000_000_000 - 100, 1_000_000_000_000]) {
            for length in [0, 1, 2, 3, 50] {
                let range = from..from + length;
                assert_eq!(
                    primes_in(range.clone()),
                    by_division(range.clone()),
                    "{range:?}"
                );
            }
        }
    }

    #[test]
    fn ranges_that_follow_each_other_add_up() {
        let cuts = [0, 1, 2, 3, 4, 999, 524_288, 524_289, 1_000_001];
        let parts = cuts.windows(2).map(|cut| primes_in(cut[0]..cut[1]));
        assert_eq!(parts.sum::<u64>(), 78_498);
    }
}
