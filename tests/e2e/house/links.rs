//! A page that points at another file of ours points at one that is there.

use std::path::{Component, Path, PathBuf};

/// Every link in a Markdown file that leads to no tracked file or folder.
pub(super) fn broken_in(file: &str, content: &str, tracked: &[&str]) -> Vec<String> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for (number, line) in (1..).zip(content.lines()) {
        for target in links(line) {
            let path = normal(&folder.join(target));
            if !tracked.iter().any(|file| Path::new(file).starts_with(&path)) {
                broken.push(format!("{file}:{number} points at {target}, which is not there"));
            }
        }
    }
    broken
}

/// The relative paths a line links to, without the place inside the page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let paths = targets.map(|(target, _)| target.split_once('#').map_or(target, |(path, _)| path));
    paths.filter(|path| !path.is_empty() && !path.contains(':'))
}

/// The path without its `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

mod tests {
    use super::*;

    const TRACKED: &[&str] = &["README.md", "docs/book/start.md", "docs/decisions/0001-ticket.md"];

    #[test]
    fn a_link_to_nothing_is_named_with_its_line() {
        let content = "fine\nsee [the page](decisions/0002-gone.md) and [this](../README.md)\n";
        let broken = broken_in("docs/index.md", content, TRACKED);
        assert_eq!(
            broken,
            ["docs/index.md:2 points at decisions/0002-gone.md, which is not there"]
        );
    }

    #[test]
    fn links_to_files_folders_places_and_sites_are_fine() {
        let content =
            "[a](book/start.md#run) [b](./decisions/) [c](#here) [d](https://example.com/x)";
        assert_eq!(broken_in("docs/index.md", content, TRACKED), Vec::<String>::new());
    }
}
