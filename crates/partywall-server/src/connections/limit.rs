//! How many connections there may be: what the process may open, less what it needs itself.

/// The most connections at once.
pub(crate) fn at_most() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for_files(open_files(&limits).unwrap_or(USUAL_FILES))
}

/// The soft limit of open files (RLIMIT_NOFILE), as proc_pid_limits(5) has it.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// Leaves room for the database, the log and whatever else: a connection too many waits in the
/// listener's queue, a file too many is an error for somebody.
fn for_files(files: usize) -> usize {
    files.saturating_sub(OWN_FILES.min(files / 2)).clamp(1, MAX_CONNECTIONS)
}

/// What systems allow unless told otherwise.
const USUAL_FILES: usize = 1_024;
/// How many files the process may need for itself.
const OWN_FILES: usize = 128;
/// More would be memory rather than service.
const MAX_CONNECTIONS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_connections_leave_files_for_the_rest() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             63338                63338                processes \n\
                 Max open files            {soft}                 1048576              files     \n"
            )
        };
        assert_eq!(open_files(&limits("1024")), Some(1_024));
        assert_eq!(open_files(&limits("unlimited")), Some(usize::MAX));
        assert_eq!(open_files("Max processes 1 1 processes"), None);
        assert!(open_files(&std::fs::read_to_string("/proc/self/limits").unwrap()).is_some());

        assert_eq!(for_files(1_024), 896);
        assert_eq!(for_files(64), 32);
        assert_eq!(for_files(0), 1);
        assert_eq!(for_files(usize::MAX), MAX_CONNECTIONS);
    }
}
