//! What a tenant's ordinary write sets off: triggers and rules that work with other rights.

use super::{
    STORE_CONTROLS,
    functions::{digest, needles, text_of},
    trial,
};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        schema::Relation,
        sql::ident,
        stage::{Answer, Gone, Stage as _, Who},
    },
};

pub(crate) static TRIGGER: Attack = Attack {
    id: "postgres.trigger",
    layer: Layer::Store,
    title: "have a trigger change another's rows",
    about: "The attacker adds, changes and deletes a row of its own with the victim's values in it. A \
            SECURITY DEFINER trigger, or a rule, goes by them with its owner's rights.",
    weight: Weight::Write,
    fix: "make the trigger's function SECURITY INVOKER, or let every statement in it compare the \
          tenant with NEW's or OLD's",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// The tables something hangs on that a write sets off.
const SET_OFF: &str = "
    SELECT tgrelid FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')
    UNION SELECT ev_class FROM pg_catalog.pg_rewrite WHERE ev_type <> '1'";

/// At every table that has a trigger or a rule.
pub(crate) async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.read_only {
        return Ok(());
    }
    let rows = stage.session().all(SET_OFF).await?;
    let set_off: Vec<u32> =
        rows.iter().filter_map(|row| crate::postgres::schema::text(row, 0).parse().ok()).collect();
    let relations = ground
        .schema
        .tenant_relations()
        .filter(|relation| set_off.contains(&relation.oid) && relation.tenant_column().is_some());
    for relation in relations {
        at(stage, ground, relation, log).await?;
    }
    Ok(())
}

async fn at(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let digest = digest(ground);
    let before = stage.attempt(Who::Victim, &digest).await?;
    let control = match &before {
        Answer::Done(_) if ground.row(relation, Who::Victim).is_some() => {
            Control::held("the victim reads its own rows before and after")
        }
        Answer::Done(_) => Control::failed("the victim has no rows"),
        Answer::Refused(no) => Control::failed(format!("the victim reads its own rows: {no}")),
    };
    let own_rows = format!(
        "SELECT pg_catalog.left(t::pg_catalog.text, 10000) FROM {} AS t WHERE {} LIMIT 10",
        relation.quoted(),
        ground.rows_of(relation, Who::Attacker)
    );
    for (allowed, sql) in writes(ground, relation) {
        if !allowed {
            continue;
        }
        stage.mark("partywall_set_off").await?;
        let answer = stage.keep(Who::Attacker, &sql).await?;
        let after = stage.attempt(Who::Victim, &digest).await?;
        let own = stage.attempt(Who::Attacker, &own_rows).await?;
        stage.back_to_mark("partywall_set_off").await?;
        let text = text_of(&own);
        let copied = needles(ground, &sql).into_iter().find(|needle| text.contains(needle));
        let seen = match (&answer, &after) {
            (Answer::Done(_), _) if copied.is_some() => Observation::reached(format!(
                "the victim's {:?} is in the attacker's own row",
                copied.unwrap_or_default()
            )),
            (Answer::Done(_), Answer::Done(_)) if after.first() == before.first() => {
                Observation::nothing("the victim's rows are what they were")
            }
            (Answer::Done(_), Answer::Done(_)) => {
                Observation::reached("the victim's rows are not what they were")
            }
            (Answer::Done(_), Answer::Refused(no)) => Observation::unclear(no.to_string()),
            // What does not come about sets nothing off.
            (Answer::Refused(_), _) => continue,
        };
        log.record(trial(&TRIGGER, stage, relation, &sql).judge(seen, control.clone()));
    }
    Ok(())
}

/// Ordinary writes of the attacker's own: a plain row, one with the victim's values, a change, a
/// removal.
fn writes(ground: &Ground, relation: &Relation) -> Vec<(bool, String)> {
    let tenant = relation.tenant_column().map(|column| column.name.as_str());
    let victims: Vec<(&str, &str)> = ground
        .row(relation, Who::Victim)
        .into_iter()
        .flat_map(|row| &row.literals)
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, value)| {
            let refers =
                relation.foreign_keys.iter().any(|key| key.columns.iter().any(|c| c == name));
            let settable = relation.column(name).is_some_and(|column| column.settable);
            settable && !refers && Some(*name) != tenant && *value != "NULL"
        })
        .collect();
    let (table, ours) = (relation.quoted(), ground.rows_of(relation, Who::Attacker));
    let grants = relation.grants;
    let mut writes: Vec<(bool, String)> = [&[][..], &victims]
        .into_iter()
        .filter_map(|row| Some((grants.insert, ground.insert(relation, Who::Attacker, row)?)))
        .collect();
    let sets: Vec<String> =
        victims.iter().map(|(name, value)| format!("{} = {value}", ident(name))).collect();
    if !sets.is_empty() {
        writes
            .push((grants.update, format!("UPDATE {table} SET {} WHERE {ours}", sets.join(", "))));
    }
    writes.push((grants.delete, format!("DELETE FROM {table} WHERE {ours}")));
    writes
}
