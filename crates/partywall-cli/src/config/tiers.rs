//! `[tiers.<tier>]`: for each tier, where its tenants' data is placed in each store.

use std::collections::BTreeMap;

use partywall::{DeploymentModel, Placement, Placements, StoreName, Target, Tier};
use serde::Serialize;
use toml::Spanned;

use super::{Reading, document::Section};

/// Where the data of a new tenant goes, by its tier.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Tiers(pub(crate) BTreeMap<Tier, Placements>);

const EXAMPLE: &str = r#"main = { model = "pool", target = "shared" }"#;

impl Tiers {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Self {
        let mut tiers = BTreeMap::new();
        for (name, tier) in section.named_sections("[tiers.free]") {
            let placements = read_placements(tier, reading);
            match name.get_ref().parse::<Tier>() {
                Ok(name) => drop(tiers.insert(name, placements)),
                Err(error) => section.fault_at(&name.span(), name.get_ref(), error, "rename it"),
            }
        }
        Self(tiers)
    }
}

fn read_placements(mut tier: Section<'_, '_>, reading: &Reading<'_>) -> Placements {
    let placements: Vec<_> = tier
        .named_sections(EXAMPLE)
        .into_iter()
        .filter_map(|(store, placement)| read_placement(&tier, &store, placement, reading))
        .collect();
    placements.into_iter().collect()
}

fn read_placement(
    tier: &Section<'_, '_>,
    store: &Spanned<String>,
    mut section: Section<'_, '_>,
    reading: &Reading<'_>,
) -> Option<(StoreName, Placement)> {
    let model = section.required::<DeploymentModel>("model", r#"model = "pool""#);
    let target = section.required::<Target>("target", r#"target = "shared""#);
    match reading.targets.get(store.get_ref()) {
        None => {
            let fix = any_of("store", reading.targets.keys());
            tier.fault_at(&store.span(), store.get_ref(), "no store has this name", fix);
        }
        Some(targets) => {
            if let Some(target) = &target {
                check_target(&section, model.as_ref(), target, targets);
            }
        }
    }
    section.finish();
    let placement = Placement { model: model?.into_inner(), target: target?.into_inner() };
    Some((store.get_ref().parse().ok()?, placement))
}

fn check_target(
    section: &Section<'_, '_>,
    model: Option<&Spanned<DeploymentModel>>,
    target: &Spanned<Target>,
    targets: &BTreeMap<String, Vec<DeploymentModel>>,
) {
    let Some(models) = targets.get(target.get_ref().as_str()) else {
        let fix = any_of("target", targets.keys());
        let what = format!("the store has no target {:?}", target.get_ref().as_str());
        section.fault_at(&target.span(), "target", what, fix);
        return;
    };
    if let Some(model) = model
        && !models.contains(model.get_ref())
    {
        let what = format!("the target {} cannot do {}", target.get_ref(), model.get_ref());
        section.fault_at(&model.span(), "model", what, any_of("model", models));
    }
}

/// Which names there are to choose from, or what to do when there is none.
fn any_of<N: std::fmt::Display>(kind: &str, names: impl IntoIterator<Item = N>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.as_slice() {
        [] => format!("configure a {kind} first"),
        [only] => format!("use {only}"),
        names => format!("use one of {}", names.join(", ")),
    }
}
