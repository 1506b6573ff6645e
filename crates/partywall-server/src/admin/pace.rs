//! How fast one caller may ask.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use partywall::Timestamp;

/// Counts requests by caller, within one second and on this server.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Mutex<Second>>);

#[derive(Default)]
struct Second {
    at: Timestamp,
    /// No larger than what came within the second.
    asked: HashMap<String, u32>,
}

impl Pace {
    pub(super) fn allows(&self, caller: &str, now: Timestamp) -> bool {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.at != now {
            *second = Second { at: now, asked: HashMap::new() };
        }
        let asked = second.asked.entry(caller.to_owned()).or_default();
        *asked += 1;
        *asked <= A_SECOND
    }
}

const A_SECOND: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_callers_haste_is_no_others_wait() {
        let pace = Pace::default();
        let now = Timestamp(1);
        assert!((0..A_SECOND).all(|_| pace.allows("a", now)));
        assert!(!pace.allows("a", now));
        assert!(pace.allows("b", now));
        assert!(pace.allows("a", Timestamp(2)));
    }
}
