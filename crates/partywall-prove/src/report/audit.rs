//! What a history shows: a period, and whether anything was changed or taken out.

use std::{collections::BTreeMap, time::Duration};

use partywall::Timestamp;
use serde::Serialize;

use super::{
    hex::{Digest, PublicKey},
    history::name_of,
    sign::{RecordError, UnverifiedRecord},
};
use crate::{Exit, Run};

/// A history that was checked, record by record.
///
/// Records cut off at the end leave no trace in what remains: compare [`Audit::head`] or the
/// number of runs with what was written down elsewhere.
#[derive(Debug)]
pub struct Audit {
    /// The records whose signature is good, in the order they are filed.
    pub entries: Vec<Entry>,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

/// One good record.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// [`Run::id`].
    pub run: String,
    /// What was attacked.
    pub subject: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it amounts to.
    pub verdict: Exit,
    /// The digest of its record, in hexadecimal.
    pub digest: String,
}

/// The longest time in which nothing was proven or tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// From the end of one run to the start of the next.
    pub lasting: Duration,
    /// The run that ended it.
    pub before: u64,
}

impl Audit {
    /// Whether everything that is there is as it was signed, and nothing in between is missing.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && !self.entries.is_empty()
    }

    /// The digest of the last record.
    pub fn head(&self) -> Option<&str> {
        self.entries.last().map(|entry| entry.digest.as_str())
    }

    /// From the first run's start to the last one's end.
    pub fn period(&self) -> Option<(Timestamp, Timestamp)> {
        let started = self.entries.iter().map(|entry| entry.started).min()?;
        let ended = self.entries.iter().map(|entry| entry.ended).max()?;
        Some((started, ended))
    }

    /// The longest time between two runs.
    pub fn longest_gap(&self) -> Option<Gap> {
        let pairs = self.entries.iter().zip(self.entries.iter().skip(1));
        let gaps = pairs.map(|(earlier, later)| Gap {
            lasting: later.started.since(earlier.ended),
            before: later.number,
        });
        gaps.max_by_key(|gap| gap.lasting)
    }

    /// The runs that proved nothing, or found a leak.
    pub fn unproven(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.verdict != Exit::Proven)
    }

    /// The runs that began before the one filed ahead of them: two at once, or a clock set back.
    pub fn back_in_time(&self) -> impl Iterator<Item = &Entry> {
        let pairs = self.entries.iter().zip(self.entries.iter().skip(1));
        pairs.filter(|(earlier, later)| later.started < earlier.started).map(|(_, later)| later)
    }

    /// Asks for what somebody wrote down elsewhere: the least number of runs, or a record that
    /// must still be there. This is how runs cut off at the end are noticed.
    pub fn expect(&mut self, at_least: Option<u64>, head: Option<&Digest>) {
        let there = self.entries.last().map_or(0, |entry| entry.number);
        if let Some(wanted) = at_least.filter(|wanted| *wanted > there) {
            self.faults.push(Fault::TooFew { there, wanted });
        }
        if let Some(digest) = head {
            let wanted = digest.to_string();
            if !self.entries.iter().any(|entry| entry.digest == wanted) {
                self.faults.push(Fault::NotThere { digest: *digest });
            }
        }
    }
}

/// Something that is wrong with a history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is nothing in it.
    #[error("there is no record")]
    Empty,
    /// Records are gone.
    #[error("{}: missing", span(*from, *to))]
    Missing {
        /// The first that is gone.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A record is not what was signed.
    #[error("{}: {source}", name_of(*number))]
    Record {
        /// The number it is filed under.
        number: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A record stands where another was.
    #[error("{}: holds record {says}", name_of(*number))]
    Misplaced {
        /// The number it is filed under.
        number: u64,
        /// The number in it.
        says: u64,
    },
    /// A record does not continue the one before it.
    #[error("{}: does not continue the record before it: that one was replaced", name_of(*number))]
    Broken {
        /// Its number.
        number: u64,
    },
    /// A run was taken down twice.
    #[error("{}: run {run:?} again, which is record {first} already", name_of(*number))]
    Repeated {
        /// The later record.
        number: u64,
        /// The earlier one.
        first: u64,
        /// The run.
        run: String,
    },
    /// A file that is called almost like a record.
    #[error("{name:?}: no name of a record")]
    Foreign {
        /// What it is called.
        name: String,
    },
    /// Fewer runs than somebody knows of.
    #[error("{there} runs, and there must be at least {wanted}: the last ones were removed")]
    TooFew {
        /// How many there are.
        there: u64,
        /// How many there must be.
        wanted: u64,
    },
    /// A record that somebody knows of is gone.
    #[error("no record has the digest {digest}: it was removed or replaced")]
    NotThere {
        /// Its digest.
        digest: Digest,
    },
}

fn span(from: u64, to: u64) -> String {
    match from == to {
        true => name_of(from),
        false => format!("{} to {}", name_of(from), name_of(to)),
    }
}

/// Goes through the records in the order they are filed.
pub(super) struct Auditor {
    key: PublicKey,
    audit: Audit,
    runs: BTreeMap<String, u64>,
    /// The file before, whatever it holds: its number and its digest.
    last: (u64, Digest),
}

impl Auditor {
    pub(super) fn new(key: PublicKey) -> Self {
        let audit = Audit { entries: Vec::new(), faults: Vec::new() };
        Self { key, audit, runs: BTreeMap::new(), last: (0, Digest::NONE) }
    }

    pub(super) fn foreign(&mut self, name: String) {
        self.audit.faults.push(Fault::Foreign { name });
    }

    /// Looks at the file of the next number that is there.
    pub(super) fn file(&mut self, number: u64, file: &[u8]) {
        let (last, previous) = self.last;
        self.last = (number, Digest::of(file));
        let continues = number == last.saturating_add(1);
        if !continues {
            let (from, to) = (last.saturating_add(1), number.saturating_sub(1));
            self.audit.faults.push(Fault::Missing { from, to });
        }
        let record = UnverifiedRecord::parse(file).and_then(|record| record.verify(&self.key));
        let record = match record {
            Ok(record) => record,
            Err(source) => return self.audit.faults.push(Fault::Record { number, source }),
        };
        if record.number != number {
            self.audit.faults.push(Fault::Misplaced { number, says: record.number });
        } else if continues && record.previous != previous {
            self.audit.faults.push(Fault::Broken { number });
        }
        let Run { id, subject, started, ended, .. } = &record.run;
        match self.runs.get(id) {
            Some(&first) => {
                self.audit.faults.push(Fault::Repeated { number, first, run: id.clone() });
            }
            None => {
                self.runs.insert(id.clone(), number);
            }
        }
        self.audit.entries.push(Entry {
            number,
            run: id.clone(),
            subject: subject.name.clone(),
            started: *started,
            ended: *ended,
            verdict: record.run.exit(),
            digest: record.digest.to_string(),
        });
    }

    pub(super) fn finish(mut self) -> Audit {
        if self.last.0 == 0 {
            self.audit.faults.push(Fault::Empty);
        }
        self.audit
    }
}
