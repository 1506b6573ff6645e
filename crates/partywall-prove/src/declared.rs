//! Layers nobody attacked: each must be said to be absent, or the proof is not whole.

use crate::{Attack, Control, Layer, Observation, Trial, Weight};

const fn layer(id: &'static str, layer: Layer, about: &'static str) -> Attack {
    Attack {
        id,
        layer,
        title: "the layer is attacked, or declared absent",
        about,
        weight: Weight::Identity,
        fix: "say in [prove] how to reach it, or declare it absent with a reason: \
              absent = { LAYER = \"why there is none\" }",
        references: &["M-24"],
        supports: &["lens:REL3"],
    }
}

static TOKEN: Attack = layer(
    "token.declared",
    Layer::Token,
    "A system whose tokens nobody tried proves nothing of them.",
);
static HINT: Attack = layer(
    "hint.declared",
    Layer::Hint,
    "Whether a host, a path or a header can name another tenant.",
);
static HTTP: Attack =
    layer("http.declared", Layer::Http, "The application's own interface, route by route.");
static JOB: Attack = layer(
    "job.declared",
    Layer::Job,
    "Work that runs later, without a request to tell its tenant.",
);
static STORE: Attack =
    layer("store.declared", Layer::Store, "Where the tenants' data is, past the application.");

/// The attacks of this module.
pub(crate) const CATALOGUE: &[&Attack] = &[&TOKEN, &HINT, &HTTP, &JOB, &STORE];

/// A layer that is neither attacked nor declared absent: *undecided*, until it is one of them.
pub fn undeclared(of: Layer) -> Trial {
    let seen = "undeclared: [prove] says neither how to attack this layer nor why there is none";
    not_attacked(of, seen)
}

/// A layer that is declared, and could not be attacked.
pub fn not_attacked(of: Layer, why: impl Into<String>) -> Trial {
    let fix = format!(
        "say in [prove] how to reach it, or write absent = {{ {} = \"why there is none\" }}",
        of.as_str()
    );
    let draft = Trial::of(attack(of), of.as_str()).fix(fix);
    draft.judge(Observation::unclear(why), Control::failed("nothing was attacked"))
}

/// A layer that this system does not have, in the words of whoever declared it.
pub fn absent(of: Layer, reason: impl Into<String>) -> Trial {
    Trial::of(attack(of), of.as_str()).skip(format!("declared absent: {}", reason.into()))
}

fn attack(of: Layer) -> &'static Attack {
    match of {
        Layer::Token => &TOKEN,
        Layer::Hint => &HINT,
        Layer::Http => &HTTP,
        Layer::Job => &JOB,
        Layer::Store => &STORE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exit, Log, Run, Silent, Subject, Verdict};

    fn exit(trials: Vec<Trial>) -> Exit {
        let mut log = Log::new(Vec::new(), &Silent);
        trials.into_iter().for_each(|trial| log.record(trial));
        let now = partywall::Timestamp(0);
        Run::new("test".to_owned(), now, now, Subject::default(), log).exit()
    }

    #[test]
    fn m24_a_layer_nobody_declared_is_never_safe() {
        let blocked = || {
            let draft = Trial::of(&TOKEN, "here");
            draft.judge(Observation::refused("no"), Control::held("yes"))
        };
        assert_eq!(exit(vec![blocked()]), Exit::Proven);
        assert_eq!(exit(vec![blocked(), undeclared(Layer::Job)]), Exit::Undecided);
        assert_eq!(exit(vec![blocked(), not_attacked(Layer::Http, "down")]), Exit::Undecided);
        let absent = absent(Layer::Job, "no jobs");
        assert_eq!(absent.verdict, Verdict::NotTested);
        assert!(absent.seen.text().contains("no jobs"));
        assert_eq!(exit(vec![blocked(), absent]), Exit::Proven);
    }
}
