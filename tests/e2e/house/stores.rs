//! No store without its attacks.

use super::imports::House;

/// A sentence for each crate under `stores/` that nobody attacks. `registry` is
/// `partywall_prove::stores::REGISTRY`, by name and number of attacks.
pub(super) fn broken(house: &House, registry: &[(&str, usize)]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &house.packages {
        if !house.folder_of(package).starts_with("stores") {
            continue;
        }
        let name = package.name.as_str();
        match registry.iter().find(|(of, _)| *of == name) {
            None => broken.push(format!(
                "{name} has no attacks: implement `Besieged` for it in partywall-prove and add it \
                 to REGISTRY"
            )),
            Some((_, 0)) => {
                broken.push(format!("{name} is in REGISTRY without an attack of its own"));
            }
            Some(_) => {}
        }
    }
    for (name, _) in registry {
        if !house.packages.iter().any(|package| package.name == *name) {
            broken.push(format!("{name} is in REGISTRY and no crate of the house"));
        }
    }
    broken
}

mod tests {
    use serde_json::json;

    use super::*;

    fn house(manifests: &[&str]) -> House {
        let package = |manifest: &&str| {
            let name = manifest.split('/').rev().nth(1).unwrap();
            json!({ "name": name, "manifest_path": manifest, "dependencies": [] })
        };
        let packages: Vec<_> = manifests.iter().map(package).collect();
        serde_json::from_value(json!({ "packages": packages, "workspace_root": "/house" })).unwrap()
    }

    #[test]
    fn m24_a_store_without_attacks_is_found() {
        let made_up = house(&[
            "/house/crates/partywall/Cargo.toml",
            "/house/stores/partywall-postgres/Cargo.toml",
            "/house/stores/partywall-redis/Cargo.toml",
        ]);
        assert!(broken(&made_up, &[("partywall-postgres", 3), ("partywall-redis", 1)]).is_empty());
        for (registry, word) in [
            (vec![("partywall-postgres", 3)], "partywall-redis has no attacks"),
            (vec![("partywall-postgres", 0), ("partywall-redis", 1)], "without an attack"),
            (
                vec![("partywall-postgres", 3), ("partywall-redis", 1), ("partywall-gone", 1)],
                "partywall-gone",
            ),
        ] {
            let broken = broken(&made_up, &registry);
            assert!(broken.len() == 1 && broken[0].contains(word), "{registry:?}: {broken:?}");
        }
    }
}
