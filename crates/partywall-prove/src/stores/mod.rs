//! The attacks on each store crate, through its own handles.
//!
//! A store crate plugs in by [`Besieged`]: what its tenants hold, which mistakes can be made in its
//! configuration, and the attacks only it can suffer. [`besiege`] then tries every ordered pair of
//! tenants, whatever the models they are placed in, with the attacks every store must stand and
//! with the store's own. [`REGISTRY`] names the crates that do; a crate under `stores/` that is not
//! in it does not merge.

use std::future::Future;

use partywall::{OpenError, Placement, Scoped, Store, Target, TenantContext};

use crate::{Attack, Control, Log, Observation};

mod attacks;
mod general;
pub mod postgres;
pub mod sqlite;

/// What a store crate's attacks implement.
///
/// Implemented here, apart from the store, over its public handles and nothing else.
pub trait Besieged: Sync {
    /// The crate, by its name.
    const CRATE: &'static str;
    /// The attacks only this store can suffer: at least one.
    const ATTACKS: &'static [&'static Attack];

    /// The store.
    type Store: Store;

    /// The store as it is configured.
    fn store(&self) -> &Self::Store;

    /// The store with one mistake made in its configuration; `None` where this one cannot be made,
    /// or where nobody said how the store is put together.
    fn mistaken(&self, mistake: &Mistake<'_>) -> Option<Result<Self::Store, String>>;

    /// What it means that the store could not be opened: a denial, or an accident.
    fn refusal(error: &<Self::Store as Store>::Error) -> Observation;

    /// Rows that are certainly this tenant's, found through its own handle: at most one per table.
    ///
    /// # Errors
    ///
    /// Why they cannot be found, in words for the report.
    fn holdings(
        &self,
        own: &TenantContext,
    ) -> impl Future<Output = Result<Vec<Holding>, String>> + Send;

    /// Looks for one such row through a handle, whoever's it is.
    fn look(
        &self,
        handle: &mut Scoped<Self::Store>,
        holding: &Holding,
    ) -> impl Future<Output = Observation> + Send;

    /// Whether a tenant has a row of its own that could be taken for `holding`; then finding one
    /// shows nothing.
    ///
    /// # Errors
    ///
    /// Why that cannot be known.
    fn owns_alike(&self, own: &TenantContext, holding: &Holding) -> Result<bool, String> {
        let _ = (own, holding);
        Ok(false)
    }

    /// Makes the store's own attacks, by one tenant on another.
    fn siege(&self, pair: &Pair<'_>, log: &mut Log<'_>) -> impl Future<Output = ()> + Send;
}

/// A mistake in how a store is configured, after which the attacker's placement leads elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum Mistake<'a> {
    /// The target the attacker is placed at is configured as the victim's is.
    Swapped {
        /// The attacker's target.
        at: &'a Target,
        /// The victim's.
        to: &'a Target,
    },
    /// The attacker's target is of its own model still, and has the address of the victim's data.
    Misdirected {
        /// The one that is sent astray, where it is placed.
        attacker: (&'a TenantContext, &'a Placement),
        /// Where it is sent.
        victim: (&'a TenantContext, &'a Placement),
    },
    /// There is no target of the attacker's name.
    NoTarget,
    /// The store has a name under which nobody is placed.
    OtherName,
}

/// One row of a tenant's, and how to find it again.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The table, as reports name it.
    pub table: String,
    /// A query that counts this very row, in the store's language; whoever gets more than 0 has
    /// reached it.
    pub query: String,
    /// What only this row has, for answers it must not appear in; empty where there is no such.
    pub marker: String,
}

/// A tenant of the running system, as the siege sees it.
#[derive(Clone, Debug)]
pub struct Resident {
    /// What reports call it: its slug or its id.
    pub name: String,
    /// From a token that was verified.
    pub context: TenantContext,
}

/// One tenant attacking another.
pub struct Pair<'a> {
    /// `main: pool → silo`.
    pub place: String,
    /// Who attacks.
    pub attacker: &'a Resident,
    /// Where the attacker's data is.
    pub attacker_at: &'a Placement,
    /// Who is attacked.
    pub victim: &'a Resident,
    /// Where the victim's data is.
    pub victim_at: &'a Placement,
    /// The victim's rows.
    pub holdings: &'a [Holding],
    /// That the victim reaches them, and the attacker its own.
    pub control: &'a Control,
}

impl Pair<'_> {
    /// Begins the account of one attack by this pair.
    pub fn trial(&self, attack: &'static Attack) -> crate::Draft {
        crate::Trial::of(attack, &*self.place).between(&*self.attacker.name, &*self.victim.name)
    }

    /// Whether both are at one target and in one model.
    pub fn together(&self) -> bool {
        self.attacker_at == self.victim_at
    }
}

/// The crates whose attacks are written, with their attacks.
pub const REGISTRY: &[(&str, &[&Attack])] =
    &[(postgres::CRATE, postgres::ATTACKS), (sqlite::CRATE, sqlite::ATTACKS)];

/// A name no tenant is placed under.
const NOWHERE: &str = "partywall-prove-nowhere";

/// The attacks of this module.
pub(crate) const CATALOGUE: &[&Attack] = attacks::ALL;

/// Makes every attack on a store, by each tenant on each other one.
pub async fn besiege<B: Besieged>(besieged: &B, residents: &[Resident], log: &mut Log<'_>) {
    general::besiege(besieged, residents, log).await;
}

/// What it means that a context could not open a store.
pub fn opening<B: Besieged>(error: &OpenError<<B::Store as Store>::Error>) -> Observation {
    match error {
        OpenError::Store(error) => B::refusal(error),
        OpenError::NotPlaced { .. } => Observation::refused(error.to_string()),
        other => Observation::unclear(other.to_string()),
    }
}
