//! Where trials go as they are made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Note, Trial, Verdict};

/// Takes down what happens, applies what was declared acceptable, and tells whoever watches.
pub struct Log<'p> {
    trials: Vec<Trial>,
    notes: Vec<Note>,
    exceptions: Vec<(Exception, bool)>,
    progress: &'p dyn Progress,
}

impl<'p> Log<'p> {
    /// An empty log.
    pub fn new(exceptions: Vec<Exception>, progress: &'p dyn Progress) -> Self {
        let exceptions = exceptions.into_iter().map(|exception| (exception, false)).collect();
        Self { trials: Vec::new(), notes: Vec::new(), exceptions, progress }
    }

    /// Says what is attacked next: one table, one route, one store.
    pub fn begin(&self, place: &str) {
        self.progress.begin(place);
    }

    /// Takes a trial down. A leak or an undecided trial that was declared acceptable is marked so,
    /// and stays in the report with its verdict.
    pub fn record(&mut self, mut trial: Trial) {
        if matches!(trial.verdict, Verdict::Leaked | Verdict::Undecided) {
            let matching =
                self.exceptions.iter_mut().find(|(exception, _)| exception.is_of(&trial));
            if let Some((exception, used)) = matching {
                *used = true;
                trial.accepted = Some(exception.reason.clone());
            }
        }
        self.progress.judged(&trial);
        self.trials.push(trial);
    }

    /// Takes down something that is no verdict.
    pub fn note(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.notes.push(Note { place: place.into(), text: text.into() });
    }

    /// The trials so far.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The trials, and the notes, among them one for each exception that nothing came of: it
    /// accepts what is no longer there, and should go.
    pub fn finish(mut self) -> (Vec<Trial>, Vec<Note>) {
        for (exception, used) in &self.exceptions {
            if !used {
                let text = "accepted, and not seen in this run: remove the exception";
                self.notes.push(Note { place: exception.to_string(), text: text.to_owned() });
            }
        }
        (self.trials, self.notes)
    }
}

/// Watches a run.
pub trait Progress: Send + Sync {
    /// The next table, route or store.
    fn begin(&self, place: &str);
    /// One more verdict.
    fn judged(&self, trial: &Trial);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _place: &str) {}
    fn judged(&self, _trial: &Trial) {}
}

/// A leak or an open question that somebody has declared acceptable, and why.
///
/// Written `ATTACK[@PLACE]=REASON`; either name may end in `*`.
///
/// ```
/// use partywall_prove::Exception;
///
/// let exception: Exception = "postgres.reference@public.*=ids are random".parse().unwrap();
/// assert_eq!(exception.reason(), "ids are random");
/// assert!("postgres.reference=".parse::<Exception>().is_err()); // there must be a reason
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Exception {
    attack: String,
    place: Option<String>,
    reason: String,
}

impl Exception {
    /// Why it is acceptable.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it accepts what is known by this id at this place.
    pub(crate) fn accepts(&self, id: &str, at: &str) -> bool {
        let place = self.place.as_deref().unwrap_or("*");
        matches(&self.attack, id) && matches(place, at)
    }

    fn is_of(&self, trial: &Trial) -> bool {
        self.accepts(&trial.attack, &trial.place)
    }
}

/// `pattern` is the name, or its beginning followed by `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Not `ATTACK[@PLACE]=REASON`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{written:?} accepts nothing: write ATTACK[@PLACE]=REASON, with a reason an auditor can read"
)]
pub struct InvalidException {
    /// What was written.
    pub written: String,
}

impl FromStr for Exception {
    type Err = InvalidException;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidException { written: written.to_owned() };
        let (what, reason) = written.split_once('=').ok_or_else(invalid)?;
        let (attack, place) = match what.split_once('@') {
            Some((attack, place)) => (attack.trim(), Some(place.trim().to_owned())),
            None => (what.trim(), None),
        };
        let reason = reason.trim().to_owned();
        // A bare `*` would accept everything, whatever it is.
        if attack.trim_end_matches('*').is_empty()
            || reason.is_empty()
            || place.as_deref() == Some("")
        {
            return Err(invalid());
        }
        Ok(Self { attack: attack.to_owned(), place, reason })
    }
}

impl TryFrom<String> for Exception {
    type Error = InvalidException;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        written.parse()
    }
}

impl From<Exception> for String {
    fn from(exception: Exception) -> Self {
        format!("{exception}={}", exception.reason)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attack)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, "@{place}"))
    }
}
