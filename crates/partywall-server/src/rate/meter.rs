//! The generic cell rate algorithm (ITU-T I.371, annex A): a bucket that leaks, in one number.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::config::ConfigError;

/// How often something may be done by one of those it is counted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// In the long run: 1 to 60,000,000.
    pub per_minute: u32,
    /// All at once, after a pause: 1 to 1,000,000.
    pub at_once: u32,
}

impl Rate {
    /// Whether it lets anybody through, and not everybody at once.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Rate`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let sound =
            (1..=60_000_000).contains(&self.per_minute) && (1..=1_000_000).contains(&self.at_once);
        if sound { Ok(()) } else { Err(ConfigError::Rate) }
    }
}

/// More than [`Rate`] allows was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many requests: the next after {} s", self.retry_after().as_secs())]
pub(crate) struct TooFast {
    wait: Duration,
}

impl TooFast {
    /// For `Retry-After`: whole seconds, rounded up.
    pub(crate) fn retry_after(&self) -> Duration {
        Duration::from_secs(self.wait.as_secs() + 1)
    }
}

/// Counts by key, in memory of a fixed size. Keys share a cell now and then; nobody outside knows
/// which do, since the hash is keyed anew in each process.
pub(crate) struct Meter {
    began: Instant,
    rate: Rate,
    hasher: RandomState,
    /// When a cell will have leaked dry, in nanoseconds since `began`.
    cells: Box<[AtomicU64]>,
}

impl Meter {
    /// `cells` is how many keys are told apart; eight bytes each.
    pub(crate) fn new(rate: Rate, cells: usize) -> Self {
        let cells = (0..cells.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { began: Instant::now(), rate, hasher: RandomState::new(), cells }
    }

    /// Counts one more for `key`, or says how long it has to wait. What is refused is not counted.
    pub(crate) fn draw(&self, key: &impl Hash) -> Result<(), TooFast> {
        self.draw_at(key, self.began.elapsed())
    }

    fn draw_at(&self, key: &impl Hash, now: Duration) -> Result<(), TooFast> {
        let Some(cell) = self.cell(key) else { return Ok(()) };
        let now = nanos(now);
        let each = nanos(Duration::from_secs(60)) / u64::from(self.rate.per_minute.max(1));
        let full = each.saturating_mul(u64::from(self.rate.at_once));
        let mut wait = 0;
        let drawn = cell.fetch_update(Relaxed, Relaxed, |dry_at| {
            let then = dry_at.max(now).saturating_add(each);
            wait = (then - now).saturating_sub(full);
            (wait == 0).then_some(then)
        });
        match drawn {
            Ok(_) => Ok(()),
            Err(_) => Err(TooFast { wait: Duration::from_nanos(wait) }),
        }
    }

    fn cell(&self, key: &impl Hash) -> Option<&AtomicU64> {
        let cells = u64::try_from(self.cells.len()).ok()?;
        let at = self.hasher.hash_one(key).checked_rem(cells)?;
        self.cells.get(usize::try_from(at).ok()?)
    }
}

/// Of 584 years, the rest is cut off.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meter(per_minute: u32, at_once: u32) -> Meter {
        Meter::new(Rate { per_minute, at_once }, 4096)
    }

    #[test]
    fn i38_so_many_at_once_and_then_by_the_minute() {
        let meter = meter(60, 5);
        let at = |key: &str, seconds: u64| meter.draw_at(&key, Duration::from_secs(seconds));
        assert!((0..5).all(|_| at("a", 100).is_ok()));
        let refused = at("a", 100).unwrap_err();
        assert_eq!(refused.wait, Duration::from_secs(1));
        assert!(at("b", 100).is_ok(), "another's haste");
        assert!(at("a", 101).is_ok(), "refusals count for nothing");
        assert!(at("a", 101).is_err());
        assert!((0..5).all(|_| at("a", 200).is_ok()), "what leaked meanwhile");
        assert!(at("a", 200).is_err(), "and no more than fits in");
    }

    proptest! {
        #[test]
        fn i38_never_more_than_the_rate_and_what_fits_at_once(
            per_minute in 1_u32..10_000, at_once in 1_u32..50,
            pauses in proptest::collection::vec(0_u64..3_000, 1..400),
        ) {
            let meter = meter(per_minute, at_once);
            let mut now = Duration::ZERO;
            let mut drawn = 0_u64;
            for pause in pauses {
                now += Duration::from_millis(pause);
                drawn += u64::from(meter.draw_at(&"a", now).is_ok());
            }
            let by_rate = now.as_secs_f64() * f64::from(per_minute) / 60.0;
            prop_assert!(drawn as f64 <= f64::from(at_once) + by_rate + 1.0);
        }
    }

    #[test]
    fn i38_many_threads_together_draw_what_one_may() {
        let meter = meter(1, 100);
        let drawn: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100).filter(|_| meter.draw(&"a").is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(drawn, 100);
    }
}
