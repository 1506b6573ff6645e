//! Every crate inherits the workspace's lints, and the lints are those we agreed on.

use toml::Table;

/// Lints no change may weaken: without them a stranger's bytes can end a process.
const DENIED: &[&str] = &[
    "unwrap_used",
    "expect_used",
    "panic",
    "indexing_slicing",
    "todo",
    "unimplemented",
    "unreachable",
    "allow_attributes",
    "allow_attributes_without_reason",
];

/// What is wrong with the workspace's own manifest.
pub(super) fn broken_in_workspace(manifest: &Table) -> Vec<String> {
    let level = |tool: &str, lint: &str| {
        let lints = manifest.get("workspace")?.get("lints")?;
        lints.get(tool)?.get(lint)?.as_str().map(str::to_owned)
    };
    let mut broken = Vec::new();
    if level("rust", "unsafe_code").as_deref() != Some("forbid") {
        broken
            .push("Cargo.toml: lint `unsafe_code` must be forbidden for the workspace".to_owned());
    }
    for lint in DENIED {
        if !matches!(level("clippy", lint).as_deref(), Some("deny" | "forbid")) {
            broken.push(format!(
                "Cargo.toml: lint `clippy::{lint}` must be denied for the workspace"
            ));
        }
    }
    broken
}

/// What is wrong with one crate's manifest.
pub(super) fn broken_in(name: &str, manifest: &Table) -> Vec<String> {
    let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if inherits.and_then(toml::Value::as_bool) == Some(true) {
        return Vec::new();
    }
    vec![format!(
        "{name} stands outside the lint wall: add `[lints] workspace = true` to its Cargo.toml"
    )]
}

mod tests {
    use super::*;

    fn table(toml: &str) -> Table {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn a_crate_outside_the_lint_wall_is_named() {
        assert!(broken_in("inside", &table("[lints]\nworkspace = true")).is_empty());
        for outside in ["", "[lints]\nworkspace = false", "[lints.rust]\nunsafe_code = 'allow'"] {
            let broken = broken_in("outside", &table(outside));
            assert_eq!(broken.len(), 1, "{outside:?}");
        }
    }

    #[test]
    fn a_weakened_lint_is_named() {
        let denied: String = DENIED.iter().map(|lint| format!("{lint} = 'deny'\n")).collect();
        let wall = |code: &str, clippy: &str| {
            table(&format!(
                "[workspace.lints.rust]\nunsafe_code = '{code}'\n[workspace.lints.clippy]\n{clippy}"
            ))
        };
        assert!(broken_in_workspace(&wall("forbid", &denied)).is_empty());
        // `deny` can be lifted again inside a crate; `forbid` cannot.
        assert_eq!(broken_in_workspace(&wall("deny", &denied)).len(), 1);
        let weakened = denied.replace("unwrap_used = 'deny'", "unwrap_used = 'warn'");
        assert_eq!(broken_in_workspace(&wall("forbid", &weakened)).len(), 1);
        assert_eq!(broken_in_workspace(&table("")).len(), 1 + DENIED.len());
    }
}
