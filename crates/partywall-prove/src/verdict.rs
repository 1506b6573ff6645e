//! The one place where an attack's outcome becomes a verdict.

use serde::{Deserialize, Serialize};

/// What an attack came to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The wall stopped it, for the right reason, and let the one through who may.
    Blocked,
    /// It went through.
    Leaked,
    /// Nobody can say: a timeout, a lock, an error that is no denial, a control that failed.
    /// Never counted as safe.
    Undecided,
    /// It was not tried, and the report says why.
    NotTested,
}

impl Verdict {
    /// Judges what was seen against its control.
    ///
    /// A refusal counts only when the control held: a wall that denies everyone proves nothing.
    /// What went through has leaked whatever the control says.
    ///
    /// ```
    /// use partywall_prove::{Control, Observation, Verdict};
    ///
    /// let held = Control::held("1 row of its own");
    /// assert_eq!(Verdict::of(&Observation::nothing("0 rows"), &held), Verdict::Blocked);
    /// let failed = Control::failed("0 rows of its own");
    /// assert_eq!(Verdict::of(&Observation::nothing("0 rows"), &failed), Verdict::Undecided);
    /// ```
    pub fn of(observation: &Observation, control: &Control) -> Self {
        match (observation, control) {
            (Observation::Reached(_), _) => Self::Leaked,
            (Observation::Refused(_) | Observation::Nothing(_), Control::Held(_)) => Self::Blocked,
            (Observation::Skipped(_), _) => Self::NotTested,
            (Observation::Unclear(_), _)
            | (Observation::Refused(_) | Observation::Nothing(_), Control::Failed(_)) => {
                Self::Undecided
            }
        }
    }

    /// `blocked`, `leaked`, `undecided`, `not tested`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Leaked => "leaked",
            Self::Undecided => "undecided",
            Self::NotTested => "not tested",
        }
    }
}

/// What was seen when an attack was made, in words that carry the evidence: a code, a count.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// A denial that names isolation or authorization as its reason (SQLSTATE 42501, HTTP 403).
    Refused(String),
    /// It ran and reached nothing of the victim's (zero rows, HTTP 404).
    Nothing(String),
    /// It reached, changed or learned what is the victim's.
    Reached(String),
    /// Neither: an error of another kind, a timeout.
    Unclear(String),
    /// Not tried.
    Skipped(String),
}

impl Observation {
    /// A denial for the right reason.
    pub fn refused(seen: impl Into<String>) -> Self {
        Self::Refused(seen.into())
    }

    /// It ran and reached nothing.
    pub fn nothing(seen: impl Into<String>) -> Self {
        Self::Nothing(seen.into())
    }

    /// It went through.
    pub fn reached(seen: impl Into<String>) -> Self {
        Self::Reached(seen.into())
    }

    /// Nobody can say.
    pub fn unclear(seen: impl Into<String>) -> Self {
        Self::Unclear(seen.into())
    }

    /// Not tried, because.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    /// The evidence.
    pub fn text(&self) -> &str {
        match self {
            Self::Refused(text)
            | Self::Nothing(text)
            | Self::Reached(text)
            | Self::Unclear(text)
            | Self::Skipped(text) => text,
        }
    }
}

/// The same thing, by the one who may do it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// It succeeded.
    Held(String),
    /// It did not succeed, or could not be put: then a refusal proves nothing.
    Failed(String),
}

impl Control {
    /// It succeeded.
    pub fn held(seen: impl Into<String>) -> Self {
        Self::Held(seen.into())
    }

    /// It did not, or there is none.
    pub fn failed(seen: impl Into<String>) -> Self {
        Self::Failed(seen.into())
    }

    /// The evidence.
    pub fn text(&self) -> &str {
        match self {
            Self::Held(text) | Self::Failed(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_only_a_held_control_makes_a_refusal_a_proof() {
        let (held, failed) = (Control::held("1 row"), Control::failed("0 rows"));
        for observation in [Observation::refused("42501"), Observation::nothing("0 rows")] {
            assert_eq!(Verdict::of(&observation, &held), Verdict::Blocked);
            assert_eq!(Verdict::of(&observation, &failed), Verdict::Undecided);
        }
        for control in [&held, &failed] {
            assert_eq!(Verdict::of(&Observation::reached("1 row"), control), Verdict::Leaked);
            assert_eq!(Verdict::of(&Observation::unclear("57014"), control), Verdict::Undecided);
            assert_eq!(Verdict::of(&Observation::skipped("why"), control), Verdict::NotTested);
        }
    }
}
