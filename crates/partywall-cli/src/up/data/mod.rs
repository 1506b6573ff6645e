//! Where the tenants' data lives, and how to ask it directly.

use std::{fmt::Debug, future::Future};

use partywall::{Scoped, Store, TenantContext};

use super::{
    UpError,
    account::{Account, rows},
    tenants::Served,
};

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

impl Attacker<'_> {
    /// Opens the store as the attacker, who must be able to; a failure is noted as one.
    async fn open<S: Store>(&self, store: &S, account: &mut Account) -> Option<Scoped<S>> {
        match self.context.open(store).await {
            Ok(handle) => Some(handle),
            Err(error) => {
                let what = format!("{} opens its store", self.tenant.slug);
                account.note(what, error.to_string(), false);
                None
            }
        }
    }

    /// How many rows the store gave: the attacker's own, which must be there, and the victim's.
    fn note_rows<E: Debug>(
        &self,
        own: Result<i64, E>,
        foreign: Result<i64, E>,
        account: &mut Account,
    ) {
        account.note(
            format!("{} asks the store for {}'s", self.tenant.slug, self.victim.slug),
            match (&own, &foreign) {
                (Ok(own), Ok(foreign)) => format!("{}, and {own} of its own", rows(*foreign)),
                _ => format!("{own:?}, {foreign:?}"),
            },
            matches!((own, foreign), (Ok(1..), Ok(0))),
        );
    }
}
