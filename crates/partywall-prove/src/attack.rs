//! What an attack is, apart from any place where it is made.

use serde::{Deserialize, Serialize};

/// A way to reach across, described once; every trial points here.
#[derive(Debug, Serialize)]
pub struct Attack {
    /// Stable and dotted, from the layer down: `postgres.read`, `token.audience`. Reports, accepted
    /// exceptions and the page `docs/book/attacks.md` go by it; it is never reused.
    pub id: &'static str,
    /// The layer whose wall it tries.
    pub layer: Layer,
    /// A few words for a line on a screen: `read another's rows`.
    pub title: &'static str,
    /// How it works and whom it fools, in a sentence or two.
    pub about: &'static str,
    /// What an attacker gains.
    pub weight: Weight,
    /// What to do when it leaks.
    pub fix: &'static str,
    /// What it shows and where it comes from: requirement numbers, CVE, CWE.
    pub references: &'static [&'static str],
    /// Controls of published frameworks that evidence of it supports, as `framework:control`:
    /// `soc2:CC6.1`, `iso27001:A.8.3`, `asvs5:8.2.2`, `lens:SEC2`. Supports, never certifies.
    pub supports: &'static [&'static str],
}

/// Where in a system a wall stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// What a token proves.
    Token,
    /// What a request says about its tenant beside the token: host, path, header.
    Hint,
    /// The application's own interface.
    Http,
    /// Work that runs later, elsewhere.
    Job,
    /// Where the data is.
    Store,
}

/// What an attacker gains by it, the worst last.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Learns that something exists, or how much of it.
    Existence,
    /// Reads another tenant's data.
    Read,
    /// Changes, adds to or removes another tenant's data.
    Write,
    /// Becomes another tenant, and can do all of the above.
    Identity,
}

impl Layer {
    /// Every layer, in the order a request meets them.
    pub const ALL: [Self; 5] = [Self::Token, Self::Hint, Self::Http, Self::Job, Self::Store];

    /// `token`, `hint`, `http`, `job`, `store`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Hint => "hint",
            Self::Http => "http",
            Self::Job => "job",
            Self::Store => "store",
        }
    }
}

/// Every attack there is, in the order reports list them.
pub fn catalogue() -> impl Iterator<Item = &'static Attack> {
    let parts: [&[&'static Attack]; 4] = [
        crate::system::CATALOGUE,
        crate::postgres::CATALOGUE,
        crate::stores::CATALOGUE,
        crate::declared::CATALOGUE,
    ];
    parts.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn m24_every_attack_is_named_once_and_explained() {
        let mut ids = BTreeSet::new();
        for attack in catalogue() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
            assert!(attack.id.chars().all(plain), "{}", attack.id);
            assert!(ids.insert(attack.id), "{} stands twice", attack.id);
            for text in [attack.title, attack.about, attack.fix] {
                assert!(text.len() > 8, "{}: {text:?} explains nothing", attack.id);
            }
            assert!(attack.supports.iter().all(|control| control.contains(':')), "{}", attack.id);
        }
    }
}
