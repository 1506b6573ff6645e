//! Where a tenant's data lives: a model at a *named* target, per store. Never an address, never a
//! secret: those belong to the process that opens the store.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::tenant::{InvalidName, check_name, parsed_name};

/// How much of a store a tenant shares with others (AWS SaaS Lens).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentModel {
    /// Nothing shared: a server of its own.
    Silo,
    /// A shared server, a database or schema of its own.
    Bridge,
    /// Everything shared: rows, items or keys carry the tenant.
    Pool,
}

impl fmt::Display for DeploymentModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silo => "silo",
            Self::Bridge => "bridge",
            Self::Pool => "pool",
        })
    }
}

/// A store, by the name `partywall.toml` gives it (`main`, `ledger`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(Arc<str>);

/// A server or cluster of a store, by the name `partywall.toml` gives it (`eu-1`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target(Arc<str>);

/// A part of the world, by the vendor's name for it (`eu`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Arc<str>);

macro_rules! plain_name {
    ($($name:ident: $kind:literal),+) => {$(
        impl $name {
            /// The name as configured.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                check_name($kind, name)?;
                Ok(Self(name.into()))
            }
        }

        parsed_name!($name);
    )+};
}
plain_name!(StoreName: "store name", Target: "target name", Region: "region");

/// Where one tenant's data lives in one store.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// How the store is shared.
    pub model: DeploymentModel,
    /// At which of the store's configured targets.
    pub target: Target,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.model, self.target)
    }
}

/// One tenant's placement in every store it has data in.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Placements(pub BTreeMap<StoreName, Placement>);

impl Placements {
    /// The placement in `store`, if the tenant has one there.
    pub fn get(&self, store: &StoreName) -> Option<&Placement> {
        self.0.get(store)
    }
}

impl FromIterator<(StoreName, Placement)> for Placements {
    fn from_iter<I: IntoIterator<Item = (StoreName, Placement)>>(placements: I) -> Self {
        Self(placements.into_iter().collect())
    }
}
