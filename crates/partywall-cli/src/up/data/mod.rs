//! Where the tenants' data lives, and how it is attacked directly.

use std::future::Future;

use partywall::Store;
use partywall_prove::stores::Besieged;

use super::{UpError, tenants::Served};

pub(super) mod postgres;
pub(super) mod sqlite;

/// A kind of data: its servers or files, and what it takes to attack it.
pub(super) trait Data {
    /// The store it becomes.
    type Store: Store;
    /// The attacks on it.
    type Siege: Besieged<Store = Self::Store>;

    /// What it is, in a few words.
    fn describe(&self) -> String;

    /// Makes what the tenants need, each where it is placed. May be repeated.
    fn provision(
        &mut self,
        tenants: &[Served],
    ) -> impl Future<Output = Result<Self::Store, UpError>> + Send;

    /// The store under siege.
    fn siege(&self, store: &Self::Store) -> Result<Self::Siege, UpError>;

    /// Stops what was started for it.
    fn stop(self) -> impl Future<Output = ()>;
}
