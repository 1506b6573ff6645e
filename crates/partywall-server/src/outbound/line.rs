//! What is going on towards one connection's provider, and towards all of one tenant's: so that a
//! slow one holds up nobody but its own tenant.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use partywall::TenantId;
use quick_cache::sync::Cache;
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::Instant,
};

/// On whose behalf an address is called: a tenant, and what of it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Line {
    tenant: TenantId,
    what: Arc<str>,
}

impl Line {
    /// For a connection, by its id.
    pub(crate) fn of(tenant: &TenantId, what: &str) -> Self {
        Self { tenant: tenant.clone(), what: what.into() }
    }
}

/// The lines that were used lately.
pub(super) struct Lines {
    lines: Cache<Line, Arc<State>>,
    tenants: Cache<TenantId, Arc<Semaphore>>,
}

/// One line.
#[derive(Default)]
pub(super) struct State {
    breaker: Mutex<Breaker>,
    /// Held while a document is fetched: there is one at a time.
    pub(super) fetching: AsyncMutex<()>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { lines: Cache::new(REMEMBERED), tenants: Cache::new(REMEMBERED) }
    }

    pub(super) fn line(&self, line: &Line) -> Arc<State> {
        self.lines.get_or_insert_with(line, || Ok::<_, ()>(Arc::default())).unwrap_or_default()
    }

    /// A place for each of a tenant's calls.
    pub(super) fn places(&self, line: &Line) -> Arc<Semaphore> {
        let places = || Arc::new(Semaphore::new(CALLS_OF_A_TENANT));
        let found = self.tenants.get_or_insert_with(&line.tenant, || Ok::<_, ()>(places()));
        found.unwrap_or_else(|()| places())
    }
}

impl State {
    /// Whether it may be called now. What is returned wants to be told how it went.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Option<Pass> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = match breaker.opened {
            None => false,
            Some(opened) if !breaker.on_trial && now >= opened + REST => true,
            Some(_) => return None,
        };
        breaker.on_trial = trial;
        Some(Pass { state: Arc::clone(self), trial })
    }
}

/// Opens when calls fail, and lets one try again after a while.
#[derive(Default)]
struct Breaker {
    failed_in_a_row: u32,
    opened: Option<Instant>,
    on_trial: bool,
}

/// One call. Dropped without a word, for instance because nobody waits for it any more, it says
/// nothing about the provider.
pub(super) struct Pass {
    state: Arc<State>,
    trial: bool,
}

impl Pass {
    pub(super) fn went_well(self) {
        *self.breaker() = Breaker::default();
    }

    /// Too slow for one is too slow for the next; anything else may have been an accident.
    pub(super) fn failed(self, was_slow: bool, now: Instant) {
        let mut breaker = self.breaker();
        breaker.failed_in_a_row += 1;
        if was_slow || self.trial || breaker.failed_in_a_row >= FAILURES {
            breaker.opened = Some(now);
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.state.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.trial {
            self.breaker().on_trial = false;
        }
    }
}

/// How many calls of one tenant may be under way.
pub(super) const CALLS_OF_A_TENANT: usize = 32;
/// How many failures in a row are no accident.
const FAILURES: u32 = 3;
/// How long a provider that failed is left alone.
const REST: Duration = Duration::from_secs(10);
/// How many lines and tenants are remembered. Who is forgotten begins afresh.
const REMEMBERED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Arc<State> {
        Lines::new().line(&Line::of(&"acme".parse().unwrap(), "c-1"))
    }

    #[test]
    fn r38_a_failing_provider_rests_and_one_call_tries_it_again() {
        let (line, now) = (line(), Instant::now());
        for _ in 0..2 {
            line.enter(now).unwrap().failed(false, now);
        }
        line.enter(now).unwrap().went_well();
        for _ in 0..3 {
            line.enter(now).unwrap().failed(false, now);
        }
        assert!(line.enter(now + REST - Duration::from_millis(1)).is_none());
        let later = now + REST;
        let trial = line.enter(later).unwrap();
        assert!(line.enter(later).is_none(), "two at a time tried it");
        trial.failed(false, later);
        assert!(line.enter(later).is_none());
        // A trial that nobody waited for is none.
        drop(line.enter(later + REST).unwrap());
        line.enter(later + REST).unwrap().went_well();
        assert!(line.enter(later + REST).is_some() && line.enter(later + REST).is_some());
    }

    #[test]
    fn r38_one_that_is_too_slow_rests_at_once() {
        let (line, now) = (line(), Instant::now());
        line.enter(now).unwrap().failed(true, now);
        assert!(line.enter(now).is_none());
    }

    #[test]
    fn r38_lines_are_apart() {
        let lines = Lines::new();
        let now = Instant::now();
        let (acme, bond): (TenantId, TenantId) = ("acme".parse().unwrap(), "bond".parse().unwrap());
        lines.line(&Line::of(&acme, "c-1")).enter(now).unwrap().failed(true, now);
        assert!(lines.line(&Line::of(&acme, "c-1")).enter(now).is_none());
        assert!(lines.line(&Line::of(&acme, "c-2")).enter(now).is_some());
        assert!(lines.line(&Line::of(&bond, "c-1")).enter(now).is_some());
        let places = lines.places(&Line::of(&acme, "c-1"));
        let _all = places.try_acquire_many(CALLS_OF_A_TENANT as u32).unwrap();
        assert!(lines.places(&Line::of(&acme, "c-2")).try_acquire().is_err());
        assert!(lines.places(&Line::of(&bond, "c-1")).try_acquire().is_ok());
    }
}
