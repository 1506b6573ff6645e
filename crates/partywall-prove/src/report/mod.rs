//! Reports of a run, for people, for machines and for auditors, and the history of them.
//!
//! ```text
//! run ─┬─► text · html            read by people
//!      ├─► json · junit · sarif   read by machines
//!      └─► json ─► signed record ─► history ─► audit
//! ```
//!
//! Whatever a database, a route or a tenant is called ends up in here, so every string of a run is
//! taken for hostile: it never becomes a tag, an attribute, a colour or a new line.

use std::{fmt, str::FromStr};

use crate::{Attack, Run, catalogue};

mod audit;
pub mod controls;
mod hex;
mod history;
mod html;
mod json;
mod junit;
mod lint;
mod markup;
mod sarif;
pub mod sign;
mod tally;
mod text;
mod visible;

pub use audit::{Audit, Entry, Fault, Gap};
pub use hex::{Digest, InvalidHex, PublicKey};
pub use history::{Appended, History, HistoryError, read_bounded};
pub use html::html;
pub use json::{FORMAT, ReadError, json, read};
pub use junit::junit;
pub use lint::{lint_json, lint_sarif, lint_text};
pub use sarif::sarif;
pub use tally::Tally;
pub use text::{Paint, Tone, text, uncoloured};

/// The forms a report can take.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// For people at a terminal.
    Text,
    /// For machines; the form that is signed, and the only one that can be read back.
    Json,
    /// For build servers, in the form Jenkins and GitLab read.
    Junit,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// One page for auditors, which needs no other file.
    Html,
}

impl Format {
    /// Every format, the first one for people.
    pub const ALL: [Self; 5] = [Self::Text, Self::Json, Self::Junit, Self::Sarif, Self::Html];

    /// `text`, `json`, `junit`, `sarif`, `html`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Html => "html",
        }
    }

    /// The report in this form, without colours.
    pub fn of(self, run: &Run) -> String {
        self.knowing(&known(), run)
    }

    /// [`Format::of`], by whoever knows these attacks and no others. Reports explain the attacks
    /// they know, and name those that were not made.
    pub fn knowing(self, attacks: &[&'static Attack], run: &Run) -> String {
        match self {
            Self::Text => text::write(run, attacks, &uncoloured),
            Self::Json => json::write(run, attacks),
            Self::Junit => junit(run),
            Self::Sarif => sarif::write(run, attacks),
            Self::Html => html::write(run, attacks),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn known() -> Vec<&'static Attack> {
    catalogue().collect()
}

/// Not a [`Format`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("reports are written as text, json, junit, sarif or html")]
pub struct InvalidFormat;

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.as_str() == written).ok_or(InvalidFormat)
    }
}
