//! The rules of the house, over what cargo and git say about it. Every rule is also shown a house
//! that breaks it, so that none of them can be true by accident.

mod imports;
mod links;
mod manifests;
mod stores;
mod text;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use imports::House;

/// The top of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What a command prints, run at the top of the repository.
fn output_of(command: &mut Command) -> Vec<u8> {
    let output = command.current_dir(root()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {complaint}");
    output.stdout
}

fn cargo_metadata() -> House {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    serde_json::from_slice(&output_of(Command::new(cargo).args(metadata))).unwrap()
}

/// Fails with every broken rule, one sentence a line.
fn assert_kept(broken: Vec<String>) {
    assert!(broken.is_empty(), "the rules of the house are broken:\n  {}\n", broken.join("\n  "));
}

#[test]
fn every_crate_imports_only_what_its_room_allows() {
    let house = cargo_metadata();
    assert!(house.packages.iter().any(|p| p.name == "partywall"), "cargo did not list the house");
    assert_kept(imports::broken(&house));
}

#[test]
fn m24_no_store_is_without_its_attacks() {
    let registry: Vec<(&str, usize)> = partywall_prove::stores::REGISTRY
        .iter()
        .map(|(name, attacks)| (*name, attacks.len()))
        .collect();
    assert_kept(stores::broken(&cargo_metadata(), &registry));
}

#[test]
fn every_crate_stands_behind_the_lint_wall() {
    let read = |path: PathBuf| toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut broken = manifests::broken_in_workspace(&read(root().join("Cargo.toml")));
    for package in &cargo_metadata().packages {
        broken.extend(manifests::broken_in(&package.name, &read(package.manifest_path.clone())));
    }
    assert_kept(broken);
}

/// Every tracked file that is text, with what is in it now.
fn for_each_text(mut see: impl FnMut(&str, &str, &[&str])) {
    let listed = output_of(Command::new("git").args(["ls-files", "-z"]));
    let listed = std::str::from_utf8(&listed).unwrap();
    let tracked: Vec<&str> = listed.split('\0').filter(|file| !file.is_empty()).collect();
    assert!(tracked.contains(&"Cargo.toml"), "git did not list the files");
    for file in &tracked {
        // Not text, or removed and not yet committed: nothing to read.
        if let Ok(content) = std::fs::read_to_string(root().join(file)) {
            see(file, &content, &tracked);
        }
    }
}

#[test]
fn no_file_silences_a_lint_or_names_a_machine() {
    let mut broken = Vec::new();
    for_each_text(|file, content, _| broken.extend(text::broken_in(file, content)));
    assert_kept(broken);
}

#[test]
fn every_page_points_at_files_that_are_there() {
    let mut broken = Vec::new();
    for_each_text(|file, content, tracked| {
        if file.ends_with(".md") {
            broken.extend(links::broken_in(file, content, tracked));
        }
    });
    assert_kept(broken);
}
