//! A whole run: everything that was tried, and what it amounts to.

use std::process::ExitCode;

use partywall::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Log, Note, Trial, Verdict, postgres::lint::Finding};

/// Everything one run tried, and everything needed to judge it later.
///
/// This is what reports are made from, and what is signed. Fields are only ever added.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Run {
    /// Random, in hexadecimal.
    pub id: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The version of Partywall that attacked.
    pub version: String,
    /// What was attacked.
    pub subject: Subject,
    /// Every trial, in the order they were made.
    pub trials: Vec<Trial>,
    /// What else there is to know.
    pub notes: Vec<Note>,
    /// What a lint found that no attack shows. It does not change the verdict, which is about what
    /// was tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lint: Vec<Finding>,
}

/// What a run attacked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Subject {
    /// In a few words, without secrets: `postgres://app@db.internal/shop`.
    pub name: String,
    /// What the attacker could do, in a sentence.
    pub adversary: String,
    /// Facts an auditor will ask for, in order: server versions, commit, configuration hash, the
    /// roles and settings the run went by.
    pub facts: Vec<(String, String)>,
}

/// What a run amounts to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Every attack that was made was blocked, or is accepted with a reason.
    Proven,
    /// At least one went through.
    Leaked,
    /// None went through, and at least one could not be decided.
    Undecided,
    /// Nothing was blocked and nothing leaked: there was no proof to be had.
    CouldNotRun,
}

impl Exit {
    /// `proven`, `leaked`, `undecided`, `could not run`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Leaked => "leaked",
            Self::Undecided => "undecided",
            Self::CouldNotRun => "could not run",
        }
    }

    /// 0, 1, 2, 3.
    pub fn code(self) -> u8 {
        match self {
            Self::Proven => 0,
            Self::Leaked => 1,
            Self::Undecided => 2,
            Self::CouldNotRun => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Run {
    /// Closes a log.
    pub fn new(
        id: String,
        started: Timestamp,
        ended: Timestamp,
        subject: Subject,
        log: Log<'_>,
    ) -> Self {
        let (trials, notes) = log.finish();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { id, started, ended, version, subject, trials, notes, lint: Vec::new() }
    }

    /// The verdict on the whole.
    pub fn exit(&self) -> Exit {
        let open = |verdict| {
            self.trials.iter().any(|trial| trial.verdict == verdict && trial.accepted.is_none())
        };
        if open(Verdict::Leaked) {
            Exit::Leaked
        } else if open(Verdict::Undecided) {
            Exit::Undecided
        } else if self.count(Verdict::Blocked) == 0 {
            Exit::CouldNotRun
        } else {
            Exit::Proven
        }
    }

    /// How many trials came to `verdict`, accepted ones included.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.trials.iter().filter(|trial| trial.verdict == verdict).count()
    }

    /// How many leaks and open questions are accepted with a reason.
    pub fn accepted(&self) -> usize {
        self.trials.iter().filter(|trial| trial.accepted.is_some()).count()
    }
}
