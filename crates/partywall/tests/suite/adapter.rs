//! How an adapter is written, whole: a shelf of keys in memory, pooled by key prefix.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use partywall::{
    DeploymentModel, OpenError, Scoped, Store, StoreName, TenantScope,
    testing::{self, Probe, placed},
};

#[derive(Clone)]
struct Shelf<const SEPARATED: bool> {
    name: StoreName,
    keys: Arc<Mutex<BTreeMap<String, String>>>,
}

impl<const SEPARATED: bool> Shelf<SEPARATED> {
    fn new() -> Self {
        Self { name: "shelf".parse().unwrap(), keys: Arc::default() }
    }
}

struct Section {
    keys: Arc<Mutex<BTreeMap<String, String>>>,
    prefix: String,
}

impl<const SEPARATED: bool> Store for Shelf<SEPARATED> {
    type Handle = Section;
    type Error = Infallible;

    fn name(&self) -> &StoreName {
        &self.name
    }

    async fn open(&self, scope: TenantScope<'_>) -> Result<Section, Infallible> {
        let separator = if SEPARATED { "/" } else { "" };
        let prefix = format!("{}{separator}", scope.tenant());
        Ok(Section { keys: Arc::clone(&self.keys), prefix })
    }
}

impl<const SEPARATED: bool> Probe for Shelf<SEPARATED> {
    async fn residue(&self) -> Result<BTreeMap<String, String>, Infallible> {
        Ok(BTreeMap::new()) // a shelf has no connections to leave anything on
    }

    async fn put(handle: Scoped<Self>, key: &str, value: &str) -> Result<(), Infallible> {
        handle.keys.lock().unwrap().insert(format!("{}{key}", handle.prefix), value.to_owned());
        Ok(())
    }

    async fn dump(handle: Scoped<Self>) -> Result<BTreeMap<String, String>, Infallible> {
        let keys = handle.keys.lock().unwrap();
        let own = keys.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix(&handle.prefix)?.to_owned(), value.clone()))
        });
        Ok(own.collect())
    }
}

#[tokio::test]
async fn m21_a_separated_prefix_isolates() {
    let placements = placed("shelf", DeploymentModel::Pool, "here");
    for seed in 0..50 {
        testing::isolation(&Shelf::<true>::new(), &placements, 200, seed).await;
    }
}

/// The classic slip: `acme` is also a prefix of `acme-2`.
#[tokio::test]
#[should_panic(expected = "reached past the wall")]
async fn m21_a_bare_prefix_does_not() {
    let placements = placed("shelf", DeploymentModel::Pool, "here");
    testing::isolation(&Shelf::<false>::new(), &placements, 200, 7).await;
}

#[tokio::test]
async fn m14_a_tenant_without_a_placement_gets_an_error_and_no_default() {
    let [stranger] = testing::contexts(["acme"], &placed("ledger", DeploymentModel::Pool, "here"));
    let refused = stranger.open(&Shelf::<true>::new()).await;
    assert!(matches!(refused, Err(OpenError::NotPlaced { .. })));
    let [placed] = testing::contexts(["acme"], &placed("shelf", DeploymentModel::Pool, "here"));
    assert!(placed.open(&Shelf::<true>::new()).await.is_ok(), "the control");
}
