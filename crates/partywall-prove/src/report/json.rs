//! The report for machines, and reading it back.

use serde::{Deserialize, Serialize};

use super::{
    controls::{self, Support},
    known,
    tally::{Tally, made_and_untried},
    visible::visible_json,
};
use crate::{Attack, Exit, Run, Verdict};

/// What every JSON report says it is. The number rises when a field changes its meaning or goes;
/// fields that are added do not raise it.
pub const FORMAT: &str = "partywall.prove/1";

/// The report as JSON, described by `docs/book/prove.schema.json`. Ends with a new line.
pub fn json(run: &Run) -> String {
    write(run, &known())
}

pub(super) fn write(run: &Run, catalogue: &[&'static Attack]) -> String {
    let document = Written {
        format: FORMAT,
        verdict: run.exit(),
        counts: Tally::of(&run.trials),
        run,
        untried: made_and_untried(run, catalogue).1.into_iter().map(|attack| attack.id).collect(),
        controls: controls::matrix_of(run, catalogue),
    };
    // Strings, numbers and maps with text for keys: there is nothing that could fail.
    let json = serde_json::to_string_pretty(&document).unwrap_or_default();
    format!("{}\n", visible_json(&json))
}

/// Reads a report back, and refuses one that contradicts itself.
///
/// # Errors
///
/// When it is no report, of another format, or when a verdict in it does not follow from the
/// evidence beside it.
pub fn read(json: &[u8]) -> Result<Run, ReadError> {
    // The format first: a later one need not have any of the fields.
    let Named { format } = serde_json::from_slice(json).map_err(ReadError::Malformed)?;
    if format != FORMAT {
        return Err(ReadError::Format { format });
    }
    let read: Read = serde_json::from_slice(json).map_err(ReadError::Malformed)?;
    let run = read.run;
    for (at, trial) in run.trials.iter().enumerate() {
        let follows = Verdict::of(&trial.seen, &trial.control);
        if trial.verdict != follows {
            let (number, attack) = (at + 1, trial.attack.clone());
            return Err(ReadError::Trial { number, attack, says: trial.verdict, follows });
        }
    }
    let (follows, counts) = (run.exit(), Tally::of(&run.trials));
    if read.verdict != follows || read.counts != counts {
        return Err(ReadError::Verdict { says: read.verdict, follows });
    }
    Ok(run)
}

#[derive(Serialize)]
struct Written<'r> {
    format: &'static str,
    verdict: Exit,
    counts: Tally,
    #[serde(flatten)]
    run: &'r Run,
    untried: Vec<&'static str>,
    controls: Vec<Support>,
}

#[derive(Deserialize)]
struct Named {
    format: String,
}

#[derive(Deserialize)]
struct Read {
    verdict: Exit,
    counts: Tally,
    #[serde(flatten)]
    run: Run,
}

/// Why a report could not be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is no JSON, or lacks what every report has.
    #[error("this is no report of `partywall prove`: {0}")]
    Malformed(#[source] serde_json::Error),
    /// It is of another format.
    #[error("the report's format is {format:?}, and this version reads {FORMAT:?} only")]
    Format {
        /// What it says it is.
        format: String,
    },
    /// A trial's verdict is not what its evidence amounts to.
    #[error(
        "trial {number} ({attack}) says {:?}, and what was seen and its control amount to {:?}",
        says.as_str(), follows.as_str()
    )]
    Trial {
        /// Which one, from 1.
        number: usize,
        /// The attack.
        attack: String,
        /// The verdict that stands there.
        says: Verdict,
        /// The verdict that follows.
        follows: Verdict,
    },
    /// The verdict on the whole, or a count, is not what the trials amount to.
    #[error(
        "the report says {:?}, and its trials amount to {:?}, or to other counts",
        says.as_str(), follows.as_str()
    )]
    Verdict {
        /// The verdict that stands there.
        says: Exit,
        /// The verdict that follows.
        follows: Exit,
    },
}
