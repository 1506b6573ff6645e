//! One attack, made once, in one place.

use serde::{Deserialize, Serialize};

use crate::{Attack, Control, Layer, Observation, Verdict, Weight};

/// One attack, made once: by whom, on whom, how, and what came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Trial {
    /// [`Attack::id`].
    pub attack: String,
    /// [`Attack::title`].
    pub title: String,
    /// Whose wall was tried.
    pub layer: Layer,
    /// What would be gained.
    pub weight: Weight,
    /// The thing attacked: a table, a route, a pair of placements.
    pub place: String,
    /// The tenant that attacks.
    pub attacker: String,
    /// The tenant that is attacked.
    pub victim: String,
    /// What was sent, so that it can be tried again by hand. Never a token or a secret.
    pub tried: String,
    /// What was seen.
    pub seen: Observation,
    /// The same by the one who may.
    pub control: Control,
    /// What follows from the two.
    pub verdict: Verdict,
    /// Why this is accepted as it is, in the words of whoever declared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// What to do, when the verdict is not *blocked*.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Trial {
    /// Begins the account of one attack at one place.
    pub fn of(attack: &'static Attack, place: impl Into<String>) -> Draft {
        Draft {
            attack,
            place: place.into(),
            attacker: String::new(),
            victim: String::new(),
            tried: String::new(),
            fix: None,
        }
    }
}

/// A trial that still lacks its outcome.
#[must_use = "a trial counts only once it is judged and recorded"]
#[derive(Clone, Debug)]
pub struct Draft {
    attack: &'static Attack,
    place: String,
    attacker: String,
    victim: String,
    tried: String,
    fix: Option<String>,
}

impl Draft {
    /// Names the two tenants.
    pub fn between(mut self, attacker: impl Into<String>, victim: impl Into<String>) -> Self {
        self.attacker = attacker.into();
        self.victim = victim.into();
        self
    }

    /// Says what was sent.
    pub fn tried(mut self, tried: impl Into<String>) -> Self {
        self.tried = tried.into();
        self
    }

    /// Replaces the attack's general remedy with one for this very place.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Judges it.
    pub fn judge(self, seen: Observation, control: Control) -> Trial {
        let verdict = Verdict::of(&seen, &control);
        let fix = match verdict {
            Verdict::Blocked => None,
            Verdict::Undecided => self.fix.or_else(|| Some(to_decide(&seen, self.attack))),
            Verdict::Leaked | Verdict::NotTested => {
                self.fix.or_else(|| Some(self.attack.fix.to_owned()))
            }
        };
        Trial {
            attack: self.attack.id.to_owned(),
            title: self.attack.title.to_owned(),
            layer: self.attack.layer,
            weight: self.attack.weight,
            place: self.place,
            attacker: self.attacker,
            victim: self.victim,
            tried: self.tried,
            seen,
            control,
            verdict,
            accepted: None,
            fix,
        }
    }

    /// Was not tried, because.
    pub fn skip(self, why: impl Into<String>) -> Trial {
        self.judge(Observation::skipped(why), Control::failed("not tried"))
    }
}

/// What to do so that it can be decided: the remedy for what the server said, when there is one.
fn to_decide(seen: &Observation, attack: &Attack) -> String {
    let code = seen.text().split(' ').next().unwrap_or_default();
    match (seen, crate::postgres::remedy(code)) {
        (Observation::Unclear(_), Some(remedy)) => remedy.to_owned(),
        _ => attack.fix.to_owned(),
    }
}

/// Something worth knowing that is no verdict: a guess that was made, a limit of this run.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Note {
    /// What it is about.
    pub place: String,
    /// The note.
    pub text: String,
}
