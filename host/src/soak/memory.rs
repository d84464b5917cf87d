//! Memory: how much of this process is resident.

/// Resident memory in bytes; none where the system does not say.
pub(super) fn resident() -> Option<u64> {
    // Unlike `statm`, this needs no page size.
    in_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn in_status(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_what_linux_says() {
        let status = "Name:\tinstar\nVmHWM:\t    900 kB\nVmRSS:\t    632 kB\nThreads:\t3\n";
        assert_eq!(in_status(status), Some(632 * 1024));
        assert_eq!(in_status("Name:\tinstar\n"), None);
        assert_eq!(in_status("VmRSS:\tmuch\n"), None);
    }
}
