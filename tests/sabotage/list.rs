//! The sabotaged builds, as `builds.toml` lists them.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The file.
pub(crate) const LIST: &str = include_str!("builds.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    #[serde(rename = "sabotage")]
    pub(crate) builds: Vec<Sabotage>,
}

/// One fault, put into our own code on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sabotage {
    pub(crate) name: String,
    /// What is wrong with it, for people.
    pub(crate) fault: String,
    /// What must fail: arguments of `cargo test`.
    pub(crate) caught_by: String,
    /// What it must say: that the attack went through, and not that its control did not.
    pub(crate) seen: String,
    #[serde(rename = "change")]
    pub(crate) changes: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// From the top of the repository.
    pub(crate) file: String,
    find: String,
    replace: String,
}

impl List {
    pub(crate) fn read(toml: &str) -> Result<Self, String> {
        let list: Self = toml::from_str(toml).map_err(|error| error.to_string())?;
        let mut names = BTreeSet::new();
        match list.builds.iter().find(|build| !names.insert(build.name.as_str())) {
            Some(twice) => Err(format!("{} is there twice", twice.name)),
            None => Ok(list),
        }
    }
}

impl Change {
    /// The file's text with the fault in it. What does not stand there exactly once is stale: the
    /// code has moved on, and the fault must move with it.
    pub(crate) fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 if self.find != self.replace => Ok(text.replacen(&self.find, &self.replace, 1)),
            1 => Err(format!("{}: {:?} is replaced by itself", self.file, self.find)),
            count => Err(format!(
                "{}: {:?} stands there {count} times, and must once: put the fault where the check is now",
                self.file, self.find
            )),
        }
    }
}
