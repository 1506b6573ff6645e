//! Functions, procedures and views without a tenant column: does what one tenant gets depend on
//! another's rows?
//!
//! What a function does inside cannot be seen, so it is asked twice: before and after the victim
//! has added rows of its own to every table. An answer that changes tells of them. An answer with
//! the victim's own values in it does so at once.

use std::collections::BTreeSet;

use super::STORE_CONTROLS;
use crate::{
    Attack, Control, Draft, Layer, Log, Observation, Trial, Weight,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        schema::{Class, Kind, Relation},
        sql::literals_in,
        stage::{Answer, Gone, Stage as _, Who},
    },
};

mod call;

use call::{Call, Callable};

pub(crate) static FUNCTION: Attack = Attack {
    id: "postgres.function",
    layer: Layer::Store,
    title: "learn of others' rows by calling a function",
    about: "A SECURITY DEFINER function works with its owner's rights, past the policies where the \
            owner is: it is called with the victim's own ids, and its answers are compared.",
    weight: Weight::Read,
    fix: "make it SECURITY INVOKER, or let it filter by the session's tenant itself; or review and \
          accept it: --accept 'postgres.function@NAME=why'",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static FUNCTION_WRITE: Attack = Attack {
    id: "postgres.function-write",
    layer: Layer::Store,
    title: "change others' rows by calling a function",
    about: "A SECURITY DEFINER function or procedure is called with the victim's own ids, and the \
            victim looks whether its rows are what they were.",
    weight: Weight::Write,
    fix: "make it SECURITY INVOKER, or let it check the session's tenant itself",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static DERIVED: Attack = Attack {
    id: "postgres.derived",
    layer: Layer::Store,
    title: "learn of others' rows from a view that names no tenant",
    about: "Counts, sums and lists that a view makes of the rows of all tenants: what it shows one \
            tenant changes when another adds a row.",
    weight: Weight::Existence,
    fix: "make the view WITH (security_invoker = true), or revoke SELECT on it",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// What one question came to on both sides, before and after the victim added its rows.
struct Answers {
    attacker: Answer,
    victim: Answer,
    attacker_after: Option<Answer>,
    victim_after: Option<Answer>,
    /// What each gets for keys that are nobody's.
    of_nobody: Option<[Answer; 2]>,
}

/// All of them, for one attacker.
pub(crate) async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let mut calls: Vec<Call> = Vec::new();
    for callable in Callable::all(stage).await? {
        if ground.options.read_only {
            if callable.definer {
                let why = "a function may write, and this run may not";
                log.record(at(&FUNCTION, stage, &callable.place, "a call").skip(why));
            }
            continue;
        }
        if callable.definer && callable.gives_cursor {
            let seen = Observation::unclear("it gives a cursor, and nobody looks at what is in it");
            let draft = at(&FUNCTION, stage, &callable.place, &callable.signature);
            log.record(draft.judge(seen, Control::failed("nobody has called it")));
            continue;
        }
        calls.extend(callable.with_tenant(ground));
        match callable.with(ground) {
            Some(call) => calls.push(call),
            None if callable.definer => {
                let seen = Observation::unclear("no values are known to call it with");
                let draft = at(&FUNCTION, stage, &callable.place, &callable.signature);
                log.record(draft.judge(seen, Control::failed("nobody has called it")));
            }
            None => {}
        }
    }
    if !ground.options.read_only {
        for view in &ground.schema.relations {
            // A table that was declared to be everybody's may be filled from somebody's.
            let asked = view.kind == Kind::View || view.class == Class::Shared;
            if asked && view.grants.select && !shows_theirs(stage, ground, view).await? {
                calls.push(Call::reading(view));
            }
        }
    }
    if calls.is_empty() {
        return Ok(());
    }
    let answers = ask_twice(stage, ground, &calls).await?;
    for (call, answers) in calls.iter().zip(&answers) {
        let shown = call.definer && call.writes && write(stage, ground, call, log).await?;
        read(stage, ground, call, answers, shown, log).await?;
    }
    Ok(())
}

/// Whether a view that names tenants shows the victim's rows as such, which is found elsewhere.
async fn shows_theirs(
    stage: &mut OneSession,
    ground: &Ground,
    view: &Relation,
) -> Result<bool, Gone> {
    if !matches!(view.class, Class::Tenant(_)) {
        return Ok(false);
    }
    let theirs = ground.rows_of(view, Who::Victim);
    let read = format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1", view.quoted());
    Ok(stage.attempt(Who::Attacker, &read).await?.count() > 0)
}

fn at(attack: &'static Attack, stage: &OneSession, place: &str, sql: &str) -> Draft {
    Trial::of(attack, place).between(stage.name(Who::Attacker), stage.name(Who::Victim)).tried(sql)
}

/// Asks everything as both, has the victim add rows, and asks again.
async fn ask_twice(
    stage: &mut OneSession,
    ground: &Ground,
    calls: &[Call],
) -> Result<Vec<Answers>, Gone> {
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(Answers {
            attacker: stage.attempt(Who::Attacker, &call.sql).await?,
            victim: stage.attempt(Who::Victim, &call.sql).await?,
            attacker_after: None,
            victim_after: None,
            of_nobody: match call.of_nobody.as_deref().filter(|_| call.definer) {
                Some(sql) => Some([
                    stage.attempt(Who::Attacker, sql).await?,
                    stage.attempt(Who::Victim, sql).await?,
                ]),
                None => None,
            },
        });
    }
    stage.mark("partywall_added").await?;
    for relation in ground.schema.tenant_relations().filter(|relation| relation.is_table()) {
        if let Some(insert) = ground.insert(relation, Who::Victim, &[]) {
            // Where it may have but one row, or may not write, the others must do.
            stage.keep(Who::Victim, &insert).await?;
        }
    }
    for (call, answers) in calls.iter().zip(&mut answers) {
        answers.attacker_after = Some(stage.attempt(Who::Attacker, &call.sql).await?);
        answers.victim_after = Some(stage.attempt(Who::Victim, &call.sql).await?);
    }
    stage.back_to_mark("partywall_added").await?;
    Ok(answers)
}

/// Judges what a call told. What has `shown` already whose rows it goes by, and tells nothing
/// anybody, needs no second line.
async fn read(
    stage: &mut OneSession,
    ground: &Ground,
    call: &Call,
    answers: &Answers,
    shown: bool,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let needles = needles(ground, &call.sql);
    let shows = |answer: &Answer| {
        let text = text_of(answer);
        needles.iter().find(|needle| text.contains(needle.as_str())).cloned()
    };
    let changes = |before: &Answer, after: &Option<Answer>| {
        matches!(before, Answer::Done(_))
            && after.as_ref().is_some_and(|after| {
                matches!(after, Answer::Done(_)) && text_of(before) != text_of(after)
            })
    };
    let [nobodys, nobodys_to_victim] = match &answers.of_nobody {
        Some([attacker, victim]) => [Some(attacker.clone()), Some(victim.clone())],
        None => [None, None],
    };
    let seen = if let Some(needle) = shows(&answers.attacker) {
        Observation::reached(format!("it gives the victim's {needle:?}"))
    } else if changes(&answers.attacker, &answers.attacker_after) {
        // A clock or a counter changes by itself.
        let again = stage.attempt(Who::Attacker, &call.sql).await?;
        if text_of(&again) == text_of(&answers.attacker) {
            Observation::reached("its answer changes when the victim adds rows")
        } else {
            Observation::unclear("it answers differently each time")
        }
    } else if changes(&answers.attacker, &nobodys) {
        Observation::reached("its answer for the victim's keys is not that for keys of nobody's")
    } else {
        match &answers.attacker {
            Answer::Done(_) => Observation::nothing("the same answer whatever the victim has"),
            answer => answer.as_attack(),
        }
    };
    let control = if let Some(needle) = shows(&answers.victim) {
        Control::held(format!("it gives its owner {needle:?}"))
    } else if changes(&answers.victim, &answers.victim_after) {
        Control::held("its answer to the victim changes with the victim's rows")
    } else if changes(&answers.victim, &nobodys_to_victim) {
        Control::held("its answer to the victim goes by the victim's keys")
    } else if call.bare && matches!(answers.attacker, Answer::Done(_)) {
        Control::held("it takes no arguments, and answered before and after")
    } else {
        Control::failed("its answer does not go by the victim's rows for the victim, either")
    };
    // What works with the caller's own rights is behind the policies; it is worth a line only
    // when something came of it.
    let told = matches!(seen, Observation::Reached(_))
        || shows(&answers.victim).is_some()
        || changes(&answers.victim, &answers.victim_after);
    let silent = shown && matches!(control, Control::Failed(_));
    if told || (call.definer && !silent) {
        log.record(at(call.attack, stage, &call.place, &call.sql).judge(seen, control));
    }
    Ok(())
}

/// Whether the victim's rows are what they were after the attacker's call. Says whether it could
/// be told: a call that changes nothing for the victim either shows nothing.
async fn write(
    stage: &mut OneSession,
    ground: &Ground,
    call: &Call,
    log: &mut Log<'_>,
) -> Result<bool, Gone> {
    let digest = digest(ground);
    let mut changed_by = [false; 2];
    let mut said = Answer::Done(Default::default());
    for (who, changed) in [Who::Attacker, Who::Victim].into_iter().zip(&mut changed_by) {
        let before = stage.attempt(Who::Victim, &digest).await?;
        stage.mark("partywall_called").await?;
        let answer = stage.keep(who, &call.sql).await?;
        let after = stage.attempt(Who::Victim, &digest).await?;
        stage.back_to_mark("partywall_called").await?;
        *changed = matches!((&before, &after), (Answer::Done(_), Answer::Done(_)))
            && text_of(&before) != text_of(&after);
        if who == Who::Attacker {
            said = answer;
        }
    }
    let [by_attacker, by_victim] = changed_by;
    if !by_attacker && !by_victim {
        return Ok(false);
    }
    let seen = match &said {
        _ if by_attacker => Observation::reached("the victim's rows are not what they were"),
        Answer::Done(_) => Observation::nothing("the victim's rows are what they were"),
        answer => answer.as_attack(),
    };
    let control = match by_victim {
        true => Control::held("called by its owner it changes the owner's rows"),
        false => Control::failed("called by its owner it changes nothing"),
    };
    log.record(at(&FUNCTION_WRITE, stage, &call.place, &call.sql).judge(seen, control));
    Ok(true)
}

/// One line that changes with any of the victim's rows.
pub(super) fn digest(ground: &Ground) -> String {
    let parts: Vec<String> = ground
        .schema
        .tenant_relations()
        .filter(|relation| relation.is_table() && relation.grants.select)
        .map(|relation| {
            format!(
                "(SELECT count(*) || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') \
                   FROM (SELECT * FROM {} WHERE {} LIMIT 200) AS t)",
                relation.quoted(),
                ground.rows_of(relation, Who::Victim)
            )
        })
        .collect();
    if parts.is_empty() { "SELECT ''".to_owned() } else { format!("SELECT {}", parts.join(" || ")) }
}

/// What is the victim's alone and can be told from anything else, leaving out what was sent.
pub(super) fn needles(ground: &Ground, sent: &str) -> BTreeSet<String> {
    let mut needles = BTreeSet::new();
    let ours = ground.id(Who::Attacker);
    for relation in ground.schema.tenant_relations() {
        let Some(row) = ground.row(relation, Who::Victim) else { continue };
        let own = ground.row(relation, Who::Attacker);
        for (column, literal) in &row.literals {
            let same = own.and_then(|own| own.literals.get(column)) == Some(literal);
            let Some(text) = literals_in(literal).into_iter().next().filter(|_| !same) else {
                continue;
            };
            let telling = text.len() >= 8 && !ours.contains(&text) && !sent.contains(&text);
            if telling && !text.starts_with("20") {
                needles.insert(text);
            }
        }
    }
    needles
}

/// Everything an answer says.
pub(super) fn text_of(answer: &Answer) -> String {
    match answer {
        Answer::Done(done) => {
            let cells: Vec<&str> =
                done.rows.iter().flatten().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
            cells.join("|")
        }
        Answer::Refused(no) => no.to_string(),
    }
}
