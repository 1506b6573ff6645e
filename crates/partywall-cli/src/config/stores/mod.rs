//! `[stores.<store>]`: where data can live, as named targets.

use std::{collections::BTreeMap, path::PathBuf};

use partywall::{DeploymentModel, StoreName, Target};
use partywall_prove::postgres::lint::{StoreKind, application_only};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Reading, document::Section, values::OneOrMore};
pub(crate) use postgres::{PostgresPlace, PostgresTarget, TicketMode, Tls};
pub(crate) use sqlite::SqliteTarget;

mod postgres;
mod sqlite;

/// The stores, by name.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Stores(pub(crate) BTreeMap<StoreName, Store>);

/// One store: its driver and its targets.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Store {
    /// PostgreSQL servers.
    Postgres {
        /// The servers.
        targets: BTreeMap<Target, PostgresTarget>,
    },
    /// Directories of SQLite files.
    Sqlite {
        /// The application's tables, a file for each step; without it nobody but the application
        /// can open the store.
        schema: Vec<PathBuf>,
        /// The directories.
        targets: BTreeMap<Target, SqliteTarget>,
    },
}

const KIND: &str = r#"kind = "postgres""#;
const TARGET: &str = "[stores.main.targets.shared]";
const EVERY_MODEL: [DeploymentModel; 3] =
    [DeploymentModel::Pool, DeploymentModel::Bridge, DeploymentModel::Silo];

impl Stores {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &mut Reading<'_>) -> Self {
        let mut stores = BTreeMap::new();
        for (name, store) in section.named_sections("[stores.main]") {
            let (store, targets) = Store::read(store, reading);
            reading.targets.insert(name.get_ref().clone(), targets);
            match (name.get_ref().parse::<StoreName>(), store) {
                (Ok(name), Some(store)) => drop(stores.insert(name, store)),
                (Ok(_), None) => {}
                (Err(error), _) => {
                    section.fault_at(&name.span(), name.get_ref(), error, "rename it");
                }
            }
        }
        Self(stores)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Postgres,
    Sqlite,
}

/// M-20: a store with a permission model of its own must not be left to the application alone.
fn check_model(section: &mut Section<'_, '_>, kind: Option<Kind>) {
    let alone = section.optional::<bool>("application_only", "application_only = false");
    let Some(alone) = alone.filter(|alone| *alone.get_ref()) else { return };
    let kind = match kind {
        Some(Kind::Postgres) => StoreKind::Postgres,
        Some(Kind::Sqlite) => StoreKind::Sqlite,
        None => return,
    };
    let path = section.path_of("");
    let name = path.trim_start_matches("stores.").trim_end_matches('.');
    if let Some(finding) = application_only(name, kind) {
        section.fault_at(&alone.span(), "application_only", finding.what, finding.fix);
    }
}

/// The models of each target that was named, whether or not it could be read.
type Models = BTreeMap<String, Vec<DeploymentModel>>;

impl Store {
    fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> (Option<Self>, Models) {
        let kind = section.required::<Kind>("kind", KIND).map(Spanned::into_inner);
        check_model(&mut section, kind);
        let schema = match kind {
            Some(Kind::Sqlite) => {
                section.optional::<OneOrMore>("schema", r#"schema = "schema.sql""#)
            }
            Some(Kind::Postgres) | None => None,
        };
        let schema: Vec<PathBuf> = schema
            .map(|files| files.into_inner().into_vec())
            .unwrap_or_default()
            .iter()
            .map(|file| reading.path(file))
            .collect();
        let targets = section.section("targets", TARGET);
        if targets.is_none() {
            let fix = format!("add `[{}.shared]`", section.path_of("targets"));
            section.fault("a store without targets", fix);
        }
        let mut models = Models::new();
        let targets = targets.map(|mut targets| (targets.named_sections(TARGET), targets));
        section.finish();
        let Some((named, section)) = targets else { return (None, models) };
        let mut postgres = BTreeMap::new();
        let mut sqlite = BTreeMap::new();
        for (name, target) in named {
            let written = name.get_ref().clone();
            let parsed = name.get_ref().parse::<Target>();
            if let Err(error) = &parsed {
                section.fault_at(&name.span(), &written, error, "rename it");
            }
            let can = match kind {
                Some(Kind::Postgres) => PostgresTarget::read(target, reading).map(|read| {
                    let can = vec![read.model()];
                    parsed.ok().and_then(|name| postgres.insert(name, read));
                    can
                }),
                Some(Kind::Sqlite) => SqliteTarget::read(target, reading).map(|read| {
                    let can = read.models.clone();
                    parsed.ok().and_then(|name| sqlite.insert(name, read));
                    can
                }),
                None => None,
            };
            models.insert(written, can.unwrap_or_else(|| EVERY_MODEL.to_vec()));
        }
        let store = kind.map(|kind| match kind {
            Kind::Postgres => Self::Postgres { targets: postgres },
            Kind::Sqlite => Self::Sqlite { schema, targets: sqlite },
        });
        (store, models)
    }
}
