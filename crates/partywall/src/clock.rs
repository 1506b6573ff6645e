//! Time is an argument.

use std::{
    fmt::Debug,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A point in time: whole seconds since 1970-01-01 UTC (RFC 7519 `NumericDate`, without fraction).
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later.as_secs()))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier.as_secs()))
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock, which never goes backwards within one process: a step back leaves it
/// standing until the wall catches up, so no expired token comes to life again.
#[derive(Debug, Default)]
pub struct SystemClock(std::sync::atomic::AtomicU64);

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let latest = self.0.fetch_max(wall, std::sync::atomic::Ordering::Relaxed);
        Timestamp(wall.max(latest))
    }
}

/// A clock that stands where it is put: for tests, and for `--now`.
#[derive(Debug)]
pub struct FixedClock(std::sync::atomic::AtomicU64);

impl FixedClock {
    /// Stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(now.0.into())
    }

    /// Moves to `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}
