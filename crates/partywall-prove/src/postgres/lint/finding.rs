//! What the lint finds, and how bad it is.

use serde::{Deserialize, Serialize};

use super::rules::Rule;

/// How bad a [`Finding`] is, the worst last.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nobody reaches a row by it alone.
    Note,
    /// Weakens the wall, lets a tenant learn that something exists, or opens with the next mistake.
    Warning,
    /// One tenant can reach, change or remove what is another's.
    Error,
}

impl Severity {
    /// `note`, `warning`, `error`, as in SARIF.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something about a database that is not as a wall needs it.
///
/// Serialized as it stands; fields are only ever added.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// [`Rule::id`], or the rule of the tool it was imported from: `pgrls.SEC001`.
    pub rule: String,
    /// How bad it is here.
    pub severity: Severity,
    /// Where, stable between runs: `public.invoices`, `public.invoices policy own_rows`, `role app`.
    pub place: String,
    /// What was found, with names.
    pub what: String,
    /// The statement that puts it right, or the step when no statement does.
    pub fix: String,
    /// What the catalogue says: an expression, a grant, a number. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// The page that explains it.
    pub page: String,
    /// Why it is accepted as it is, in the words of whoever declared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// The tool it was imported from, when it is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Of an imported finding, the rule of ours that looks at the same thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<String>,
}

impl Finding {
    /// A finding of `rule` at a place, as bad as the rule usually is.
    pub fn of(
        rule: &'static Rule,
        place: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            rule: rule.id.to_owned(),
            severity: rule.severity,
            place: place.into(),
            what: what.into(),
            fix: fix.into(),
            evidence: String::new(),
            page: rule.page(),
            accepted: None,
            tool: None,
            ours: None,
        }
    }

    /// The same, as bad as it is here.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The same, with what the catalogue says.
    #[must_use]
    pub fn evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }
}
