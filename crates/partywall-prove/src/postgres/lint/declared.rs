//! What partywall.toml says about a store against what the store can do (M-20).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Finding, rules};

/// The stores Partywall knows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// PostgreSQL: row security, roles, databases.
    Postgres,
    /// Redis: ACL users with key patterns.
    Redis,
    /// MongoDB: roles per database and collection.
    MongoDb,
    /// Amazon DynamoDB: IAM conditions on leading keys.
    DynamoDb,
    /// Amazon S3 and what speaks like it: IAM and session policies on prefixes.
    S3,
    /// SQLite: a library in the application's own process, with no user of its own.
    Sqlite,
}

impl StoreKind {
    /// The permission model it has, and how to use it; `None` where there is none.
    pub fn own_model(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Postgres => Some((
                "row security, roles and databases",
                "wall its tables with `partywall postgres init`, or give each tenant a database",
            )),
            Self::Redis => Some((
                "ACL users with key patterns",
                "give each tenant a user: ACL SETUSER t_acme on >… resetkeys ~acme:* resetchannels &acme:* -@all +@read +@write -@dangerous -@scripting",
            )),
            Self::MongoDb => Some((
                "roles per database and collection",
                "give each tenant a user whose role reads and writes its own database only",
            )),
            Self::DynamoDb => Some((
                "IAM conditions on leading keys",
                "assume a role per request with a session policy on dynamodb:LeadingKeys",
            )),
            Self::S3 => Some((
                "IAM and session policies on prefixes",
                "assume a role per request with a session policy on the tenant's prefix",
            )),
            Self::Sqlite => None,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::MongoDb => "MongoDB",
            Self::DynamoDb => "DynamoDB",
            Self::S3 => "S3",
            Self::Sqlite => "SQLite",
        })
    }
}

/// The finding on a store declared to be kept apart by the application alone (M-20); `None` where
/// the store has no permission model of its own.
///
/// ```
/// use partywall_prove::postgres::lint::{StoreKind, application_only};
///
/// assert!(application_only("cache", StoreKind::Redis).is_some());
/// assert!(application_only("local", StoreKind::Sqlite).is_none());
/// ```
pub fn application_only(store: &str, kind: StoreKind) -> Option<Finding> {
    let (model, fix) = kind.own_model()?;
    let what = format!(
        "store {store} is declared application-only, and {kind} has {model}: a forgotten filter is all it takes"
    );
    Some(Finding::of(&rules::APPLICATION_ONLY, format!("store {store}"), what, fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::lint::Severity;

    #[test]
    fn m20_a_store_with_permissions_of_its_own_is_not_left_to_the_application() {
        use StoreKind::{DynamoDb, MongoDb, Postgres, Redis, S3, Sqlite};
        for kind in [Postgres, Redis, MongoDb, DynamoDb, S3] {
            let finding = application_only("main", kind).unwrap();
            assert_eq!(finding.severity, Severity::Error);
            assert_eq!(finding.rule, "store-lint.application-only");
            assert!(finding.what.contains(&kind.to_string()));
        }
        assert_eq!(application_only("main", Sqlite), None);
    }
}
