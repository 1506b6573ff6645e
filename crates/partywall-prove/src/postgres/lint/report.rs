//! What one look at a database came to.

use serde::{Deserialize, Serialize};

use super::{Finding, Severity};
use crate::{Exception, Note};

/// What one look at a database came to.
///
/// Serialized as it stands; fields are only ever added.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LintReport {
    /// The database.
    pub database: String,
    /// The server, as it calls itself: `15.20`.
    pub server: String,
    /// Who looked.
    pub looked_as: String,
    /// The tables taken for tenant tables.
    pub tables: Vec<TenantTable>,
    /// The roles taken for the application's.
    pub roles: Vec<RuntimeRole>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What was left out or taken for granted.
    pub notes: Vec<Note>,
}

/// A table with rows of several tenants.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TenantTable {
    /// Its qualified name.
    pub name: String,
    /// The column that names the tenant.
    pub column: String,
    /// Why that column, when nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guessed: Option<String>,
}

/// A role the application logs in as.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuntimeRole {
    /// Its name.
    pub name: String,
    /// Whether it was found by its grants, rather than named.
    pub guessed: bool,
}

impl LintReport {
    /// How many findings of this severity are not accepted.
    pub fn count(&self, severity: Severity) -> usize {
        let open = |f: &&Finding| f.severity == severity && f.accepted.is_none();
        self.findings.iter().filter(open).count()
    }

    /// Whether nothing is left to do; warnings count only when `strict`.
    pub fn is_clean(&self, strict: bool) -> bool {
        self.count(Severity::Error) == 0 && (!strict || self.count(Severity::Warning) == 0)
    }

    /// Takes in what another tool found, and puts everything in order again.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by(|a, b| {
            let key = |f: &Finding| (f.tool.clone(), f.place.clone(), f.rule.clone());
            b.severity.cmp(&a.severity).then_with(|| key(a).cmp(&key(b)))
        });
    }

    /// Marks what was declared acceptable, and notes every exception that nothing came of: it
    /// accepts what is no longer there, and should go.
    pub(super) fn accept(&mut self, exceptions: &[Exception]) {
        let mut used = vec![false; exceptions.len()];
        for finding in &mut self.findings {
            let matching = exceptions.iter().zip(&mut used);
            for (exception, used) in matching {
                if exception.accepts(&finding.rule, &finding.place) {
                    *used = true;
                    finding.accepted.get_or_insert_with(|| exception.reason().to_owned());
                }
            }
        }
        for (exception, _) in exceptions.iter().zip(used).filter(|(_, used)| !used) {
            let text = "accepted, and not seen in this run: remove the exception".to_owned();
            self.notes.push(Note { place: exception.to_string(), text });
        }
    }
}
