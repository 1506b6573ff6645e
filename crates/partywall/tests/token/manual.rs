//! The manual names tests; they exist.

use std::{fs, path::Path};

#[test]
fn the_manuals_tests_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(root.join("src/manual/tokens.rs")).unwrap();
    let folders =
        ["tests/token", "src/token"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let sources: String = folders
        .into_iter()
        .flatten()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    let is_test = |name: &&str| {
        name.split_once('_').is_some_and(|(number, _)| {
            number.len() == 3 && number[1..].bytes().all(|b| b.is_ascii_digit())
        })
    };
    let named: Vec<_> =
        manual.split('`').filter(is_test).filter(|name| !name.ends_with('…')).collect();
    assert!(named.len() > 25, "{}", named.len());
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "the manual names {name}");
    }
}
