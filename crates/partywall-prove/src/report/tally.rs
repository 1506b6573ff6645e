//! Counting trials, and putting them together for a reader.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{Attack, Exit, Run, Trial, Verdict};

/// How many trials came to what.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tally {
    /// Stopped, with the control held.
    pub blocked: usize,
    /// Went through, accepted ones included.
    pub leaked: usize,
    /// Nobody can say, accepted ones included.
    pub undecided: usize,
    /// Not tried.
    pub not_tested: usize,
    /// Of the leaked and the undecided, those accepted with a reason.
    pub accepted: usize,
}

impl Tally {
    /// Counts.
    pub fn of<'t>(trials: impl IntoIterator<Item = &'t Trial>) -> Self {
        trials.into_iter().fold(Self::default(), |mut tally, trial| {
            match trial.verdict {
                Verdict::Blocked => tally.blocked += 1,
                Verdict::Leaked => tally.leaked += 1,
                Verdict::Undecided => tally.undecided += 1,
                Verdict::NotTested => tally.not_tested += 1,
            }
            tally.accepted += usize::from(trial.accepted.is_some());
            tally
        })
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.blocked + self.leaked + self.undecided + self.not_tested
    }

    /// `25 blocked, 1 leaked, 0 undecided, 3 not tested`, and how many of them are accepted.
    pub(super) fn sentence(&self) -> String {
        let Self { blocked, leaked, undecided, not_tested, accepted } = self;
        let accepted = match accepted {
            0 => String::new(),
            some => format!("; {some} of these accepted with a reason"),
        };
        format!(
            "{blocked} blocked, {leaked} leaked, {undecided} undecided, {not_tested} not tested\
             {accepted}"
        )
    }
}

/// The trials by place, each place where it was first attacked.
pub(super) fn places(run: &Run) -> Vec<(&str, Vec<&Trial>)> {
    group(run.trials.iter(), |trial| trial.place.as_str())
}

/// What was not tested, by the reason given.
pub(super) fn not_tested(run: &Run) -> Vec<(&str, Vec<&Trial>)> {
    let skipped = run.trials.iter().filter(|trial| trial.verdict == Verdict::NotTested);
    group(skipped, |trial| trial.seen.text())
}

/// The attacks of the catalogue that the run made, and those that it did not.
pub(super) fn made_and_untried(
    run: &Run,
    catalogue: &[&'static Attack],
) -> (Vec<&'static Attack>, Vec<&'static Attack>) {
    let made: HashSet<_> = run.trials.iter().map(|trial| trial.attack.as_str()).collect();
    catalogue.iter().copied().partition(|attack| made.contains(attack.id))
}

/// What everybody asks first: whether it holds.
pub(super) fn conclusion(exit: Exit) -> &'static str {
    match exit {
        Exit::Proven => "every attack that was made was blocked, or is accepted with a reason",
        Exit::Leaked => "at least one attack reached another tenant",
        Exit::Undecided => "no attack went through, and at least one could not be decided",
        Exit::CouldNotRun => "nothing was blocked and nothing leaked: there was no proof to be had",
    }
}

fn group<'r>(
    trials: impl Iterator<Item = &'r Trial>,
    by: impl Fn(&'r Trial) -> &'r str,
) -> Vec<(&'r str, Vec<&'r Trial>)> {
    let mut groups: Vec<(&str, Vec<&Trial>)> = Vec::new();
    let mut at = HashMap::new();
    for trial in trials {
        let key = by(trial);
        let index = *at.entry(key).or_insert(groups.len());
        match groups.get_mut(index) {
            Some((_, members)) => members.push(trial),
            None => groups.push((key, vec![trial])),
        }
    }
    groups
}
