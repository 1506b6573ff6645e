//! Which controls of published frameworks the evidence of a run supports.
//!
//! Supports, never certifies: whether a control is met is for the auditor, who looks at more than
//! one run and at more than software. Numbers are as published; titles are shortened, in our words
//! where the text is not free.

use serde::Serialize;

use super::tally::Tally;
use crate::{Attack, Run, Trial, catalogue};

/// A control, criterion, requirement or question of a published framework.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Clause {
    /// As [`Attack::supports`] names it: `soc2:CC6.1`.
    pub id: &'static str,
    /// The framework and its edition.
    pub framework: &'static str,
    /// What it asks for, in short.
    pub title: &'static str,
}

impl Clause {
    /// The clause of this id.
    pub fn find(id: &str) -> Option<&'static Self> {
        CLAUSES.iter().find(|clause| clause.id == id)
    }

    /// Its number within the framework: `CC6.1`.
    pub fn number(&self) -> &'static str {
        self.id.split_once(':').map_or(self.id, |(_, number)| number)
    }
}

/// What the trials of a run say to a clause.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Attacks were blocked, and none leaked or stayed open.
    Supported,
    /// An attack leaked, accepted or not.
    Contradicted,
    /// None leaked, and one could not be decided.
    Open,
    /// No attack that would support it was made.
    NoEvidence,
}

impl Standing {
    /// `supported`, `contradicted`, `open`, `no evidence`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Contradicted => "contradicted",
            Self::Open => "open",
            Self::NoEvidence => "no evidence",
        }
    }

    fn of(tally: &Tally) -> Self {
        match tally {
            Tally { leaked: 1.., .. } => Self::Contradicted,
            Tally { undecided: 1.., .. } => Self::Open,
            Tally { blocked: 1.., .. } => Self::Supported,
            _ => Self::NoEvidence,
        }
    }
}

/// One row of the matrix: a clause, and the trials whose evidence supports it or speaks against.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Support {
    /// The clause.
    #[serde(flatten)]
    pub clause: &'static Clause,
    /// What the trials say to it.
    pub standing: Standing,
    /// The trials, counted.
    pub counts: Tally,
    /// The attacks they were trials of.
    pub attacks: Vec<&'static str>,
}

/// Every clause that some attack we know can support, with what this run says to it.
pub fn matrix(run: &Run) -> Vec<Support> {
    matrix_of(run, &catalogue().collect::<Vec<_>>())
}

/// [`matrix`], of the attacks of a catalogue.
pub(super) fn matrix_of(run: &Run, catalogue: &[&'static Attack]) -> Vec<Support> {
    let row = |clause: &'static Clause| {
        let supports = |attack: &&&Attack| attack.supports.contains(&clause.id);
        let known: Vec<_> = catalogue.iter().filter(supports).map(|attack| attack.id).collect();
        let is_of = |trial: &&Trial| known.contains(&trial.attack.as_str());
        let trials: Vec<_> = run.trials.iter().filter(is_of).collect();
        let made = |id: &&str| trials.iter().any(|trial| trial.attack == *id);
        let attacks: Vec<_> = known.iter().copied().filter(made).collect();
        let counts = Tally::of(trials);
        (!known.is_empty()).then(|| Support {
            clause,
            standing: Standing::of(&counts),
            counts,
            attacks,
        })
    };
    CLAUSES.iter().filter_map(row).collect()
}

const SOC2: &str = "SOC 2, Trust Services Criteria 2017 (points of focus revised 2022)";
const ISO: &str = "ISO/IEC 27001:2022, Annex A";
const ASVS: &str = "OWASP ASVS 5.0";
const LENS: &str = "AWS Well-Architected SaaS Lens";

/// Every clause a catalogue may name.
pub const CLAUSES: &[Clause] = &[
    clause("soc2:CC4.1", SOC2, "Evaluations of whether controls are present and functioning"),
    clause("soc2:CC6.1", SOC2, "Logical access security over protected information assets"),
    clause("soc2:CC6.3", SOC2, "Access by roles and responsibilities, least privilege"),
    clause("soc2:CC6.6", SOC2, "Protection against threats from outside the system's boundaries"),
    clause("soc2:CC7.1", SOC2, "Detection of new vulnerabilities and of changes that open them"),
    clause("soc2:CC8.1", SOC2, "Changes are tested and approved before they are made"),
    clause("iso27001:A.5.15", ISO, "Access control"),
    clause("iso27001:A.5.23", ISO, "Information security for use of cloud services"),
    clause("iso27001:A.8.3", ISO, "Information access restriction"),
    clause("iso27001:A.8.5", ISO, "Secure authentication"),
    clause("iso27001:A.8.24", ISO, "Use of cryptography"),
    clause("iso27001:A.8.29", ISO, "Security testing in development and acceptance"),
    clause("asvs5:8.2.1", ASVS, "Functions are for consumers with explicit permission"),
    clause(
        "asvs5:8.2.2",
        ASVS,
        "Data items are for consumers with explicit permission (IDOR, BOLA)",
    ),
    clause("asvs5:8.2.3", ASVS, "Fields are for consumers with explicit permission (BOPLA)"),
    clause("asvs5:8.3.1", ASVS, "Authorization is enforced at a trusted service layer"),
    clause("asvs5:8.3.2", ASVS, "Changes to what authorization rests on apply immediately"),
    clause("asvs5:8.3.3", ASVS, "Access rests on the originating subject's permissions"),
    clause("asvs5:8.4.1", ASVS, "Cross-tenant controls: no operation affects another tenant"),
    clause(
        "asvs5:9.1.1",
        ASVS,
        "A token's signature or MAC is validated before its contents count",
    ),
    clause("asvs5:9.1.2", ASVS, "Only algorithms on an allowlist, never none"),
    clause("asvs5:9.1.3", ASVS, "Keys come from sources configured for the issuer"),
    clause("asvs5:9.2.1", ASVS, "A token counts only within its validity time span"),
    clause("asvs5:9.2.2", ASVS, "A token is of the right type, for the intended purpose"),
    clause("asvs5:9.2.3", ASVS, "A token counts only at the audience it was issued for"),
    clause("asvs5:9.2.4", ASVS, "Tokens of one key for several audiences name theirs uniquely"),
    clause("lens:SEC1", LENS, "Tenant context is tied to users and applied everywhere"),
    clause("lens:SEC2", LENS, "Tenant resources are protected from cross-tenant access"),
    clause("lens:REL3", LENS, "Multi-tenant capabilities are tested, isolation among them"),
];

const fn clause(id: &'static str, framework: &'static str, title: &'static str) -> Clause {
    Clause { id, framework, title }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_every_clause_a_catalogue_names_is_known() {
        for attack in catalogue() {
            for id in attack.supports {
                let attack = attack.id;
                assert!(Clause::find(id).is_some(), "{attack} supports {id}: add it to CLAUSES");
            }
        }
    }

    #[test]
    fn m24_the_clauses_are_named_once_and_promise_nothing() {
        for (at, clause) in CLAUSES.iter().enumerate() {
            assert!(CLAUSES.iter().skip(at + 1).all(|other| other.id != clause.id), "{clause:?}");
            let title = clause.title.to_lowercase();
            for promise in ["certif", "complian", "guarantee"] {
                assert!(!title.contains(promise), "{clause:?}");
            }
        }
        assert_eq!(Clause::find("soc2:CC6.1").map(Clause::number), Some("CC6.1"));
        assert_eq!(Clause::find("soc2:CC99.1"), None);
    }
}
