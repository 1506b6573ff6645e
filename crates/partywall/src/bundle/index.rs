//! From a name to the place of its record: open addressing over one array, so that a look-up
//! touches memory twice, once here and once at the record.

use std::hash::{BuildHasher, RandomState};

use foldhash::fast::FixedState;

/// Numbers by name. Each slot holds the upper half of the name's hash and the number plus one;
/// zero is an empty slot. The names themselves stay where they are.
pub(super) struct Index {
    slots: Box<[u64]>,
    hasher: FixedState,
}

impl Default for Index {
    fn default() -> Self {
        Self::with_room(0)
    }
}

impl Index {
    /// Room for `count` names at no more than half full.
    pub(super) fn with_room(count: usize) -> Self {
        let slots = (count * 2).next_power_of_two().max(2);
        // Seeded anew by the standard library, so that ids cannot be chosen to collide.
        let seed = RandomState::new().hash_one(count);
        Self { slots: vec![0; slots].into(), hasher: FixedState::with_seed(seed) }
    }

    /// Adds a name that is not there yet.
    pub(super) fn insert(&mut self, name: &str, number: u32) {
        let hash = self.hasher.hash_one(name);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == 0 {
                *slot = (hash & TAG) | (u64::from(number) + 1);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// The number of `name`; `same` tells whether a number's record carries it.
    pub(super) fn find(&self, name: &str, same: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            let number = (slot as u32).wrapping_sub(1);
            if slot & TAG == hash & TAG && same(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }
}

const TAG: u64 = 0xffff_ffff_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let names: Vec<String> = (0..10_000).map(|n| format!("tenant-{n}")).collect();
        let mut index = Index::with_room(names.len());
        names.iter().enumerate().for_each(|(n, name)| index.insert(name, n as u32));
        for (n, name) in names.iter().enumerate() {
            assert_eq!(index.find(name, |at| names[at as usize] == *name), Some(n as u32));
        }
        assert_eq!(index.find("tenant-10000", |at| names[at as usize] == "tenant-10000"), None);
        assert_eq!(Index::default().find("tenant-0", |_| true), None);
    }
}
