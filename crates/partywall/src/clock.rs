//! Time is an argument.

use std::{
    fmt::Debug,
    ops::{Add, Sub},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

mod rfc3339;

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
pub struct SystemClock(Floor);

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.0.at_least(Timestamp(wall.unwrap_or_default().as_secs()))
    }
}

/// The latest reading so far, below which no later one goes.
#[derive(Debug, Default)]
struct Floor(AtomicU64);

impl Floor {
    /// `reading`, or the latest one before it where that is later.
    fn at_least(&self, reading: Timestamp) -> Timestamp {
        let latest = self.0.fetch_max(reading.0, Ordering::Relaxed);
        Timestamp(reading.0.max(latest))
    }
}

/// A clock that stands where it is put: for tests, and for `--now`.
#[derive(Debug)]
pub struct FixedClock(AtomicU64);

impl FixedClock {
    /// Stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(now.0.into())
    }

    /// Moves to `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AccessToken, DeploymentModel,
        testing::{ControlPlane, placed, tenant},
    };
    use std::sync::Arc;

    /// What [`SystemClock`] is to the machine's clock, over one that a test can set.
    #[derive(Debug)]
    struct Floored(Arc<FixedClock>, Floor);

    impl Clock for Floored {
        fn now(&self) -> Timestamp {
            self.1.at_least(self.0.now())
        }
    }

    #[test]
    fn r17_a_clock_set_back_brings_no_token_back() {
        let acme = tenant("acme", placed("main", DeploymentModel::Pool, "eu-1"));
        let control = ControlPlane::new(vec![acme]);
        let machine = Arc::new(FixedClock::at(ControlPlane::START));
        let floored = Arc::new(Floored(Arc::clone(&machine), Floor::default()));
        let walls =
            [floored as Arc<dyn Clock>, Arc::clone(&machine) as Arc<dyn Clock>].map(|clock| {
                let wall = control.builder().clock(clock).build().unwrap();
                wall.accept(control.sign(1, None)).unwrap();
                wall
            });
        let token = control.token("acme", "u:ada");
        let good = || walls.each_ref().map(|wall| wall.verify(AccessToken::new(&token)).is_ok());
        assert_eq!(good(), [true, true], "the control: it is good until it expires");
        machine.set(ControlPlane::START + Duration::from_secs(3600));
        assert_eq!(good(), [false, false], "expired");
        machine.set(ControlPlane::START);
        assert_eq!(good(), [false, true], "set back: only the naive clock brings it back");
        machine.set(ControlPlane::START + Duration::from_secs(3601));
        assert_eq!(walls.map(|wall| wall.clock().now()), [machine.now(), machine.now()]);
    }

    #[test]
    fn r17_the_system_clock_stands_until_the_wall_catches_up() {
        let clock = SystemClock::default();
        let now = clock.now();
        assert!(now > Timestamp(1_700_000_000), "it tells the time");
        let ahead = now + Duration::from_secs(3600);
        clock.0.at_least(ahead);
        assert_eq!(clock.now(), ahead, "the wall is an hour behind what was read before");
    }
}
