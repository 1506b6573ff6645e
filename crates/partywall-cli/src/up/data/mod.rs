//! Where the tenants' data lives, and how to ask it directly.

use std::future::Future;

use partywall::{Store, TenantContext};

use super::{UpError, account::Account, tenants::Served};

pub(super) mod postgres;
pub(super) mod sqlite;

/// A kind of data: its servers or files, and what it takes to reach across in it.
pub(super) trait Data {
    /// The store it becomes.
    type Store: Store;

    /// What it is, in a few words.
    fn describe(&self) -> String;

    /// Makes what the tenants need, each where it is placed. May be repeated.
    fn provision(
        &mut self,
        tenants: &[Served],
    ) -> impl Future<Output = Result<Self::Store, UpError>> + Send;

    /// Asks the store itself, past the application, for another tenant's invoice.
    fn reach_across(
        &self,
        store: &Self::Store,
        attacker: &Attacker<'_>,
        account: &mut Account,
    ) -> impl Future<Output = Result<(), UpError>>;

    /// Stops what was started for it.
    fn stop(self) -> impl Future<Output = ()>;
}

/// A tenant with the run of its own session, and what it is after.
pub(super) struct Attacker<'a> {
    pub(super) context: &'a TenantContext,
    pub(super) tenant: &'a Served,
    pub(super) victim: &'a Served,
    /// The victim's invoice, by its id.
    pub(super) invoice: &'a str,
}
