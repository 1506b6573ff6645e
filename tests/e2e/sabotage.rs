//! Every sabotaged build still has something to sabotage. Building them is `scripts/sabotage`.

use std::fs;

#[expect(dead_code, reason = "what is built, and how it is named, is the command's business")]
#[path = "../sabotage/list.rs"]
mod list;

use list::{LIST, List};

#[test]
fn r07_every_sabotage_still_finds_its_place() {
    let list = List::read(LIST).unwrap();
    assert!(list.builds.len() >= 25, "{} sabotaged builds", list.builds.len());
    let mut stale = Vec::new();
    for build in &list.builds {
        assert!(build.caught_by.starts_with("-p "), "{}: name the package", build.name);
        assert!(!build.seen.is_empty(), "{}: say what the test must see", build.name);
        for change in &build.changes {
            let text = fs::read_to_string(super::house::root().join(&change.file));
            let applied = match &text {
                Ok(text) => change.apply(text),
                Err(error) => Err(format!("{}: {error}", change.file)),
            };
            stale.extend(applied.err().map(|why| format!("{}: {why}", build.name)));
        }
    }
    assert!(stale.is_empty(), "stale sabotage:\n  {}\n", stale.join("\n  "));
}

#[test]
fn r07_a_sabotage_that_finds_nothing_is_stale() {
    let list = |find: &str| {
        let toml = format!(
            "[[sabotage]]\nname = 'x'\nfault = 'x'\ncaught_by = '-p x'\nseen = 'x'\n[[sabotage.change]]\nfile = 'x'\nfind = '{find}'\nreplace = 'open'"
        );
        List::read(&toml).unwrap().builds.remove(0).changes.remove(0)
    };
    assert_eq!(list("shut").apply("it is shut").unwrap(), "it is open");
    for find in ["gone", "s"] {
        assert!(list(find).apply("it is shut").is_err(), "{find}");
    }
    assert!(list("open").apply("it is open").is_err(), "replaced by itself");
}
