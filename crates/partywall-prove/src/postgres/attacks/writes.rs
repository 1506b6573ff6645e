//! Writing to another tenant by the less usual statements.

use super::{Footing, STORE_CONTROLS, attacker_can, trial, victim_can, when_unset};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::Ground,
        options::Adversary,
        schema::Relation,
        sql::ident,
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static INSERT_UNSET: Attack = Attack {
    id: "postgres.insert-unset",
    layer: Layer::Store,
    title: "add a row with no tenant set",
    about: "A job without a context writes a row that names a tenant: nobody vouches for it, so it \
            must not go in.",
    weight: Weight::Write,
    fix: "let WITH CHECK compare the tenant column with the session's tenant, so that an unset one \
          matches nothing",
    references: &["T-02", "T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static INSERT_DEFAULT: Attack = Attack {
    id: "postgres.insert-default",
    layer: Layer::Store,
    title: "let the default say whose row it is",
    about: "An INSERT that leaves the tenant out: a default that is not the session's own tenant \
            drops the row behind somebody else's wall.",
    weight: Weight::Write,
    fix: "take the default away, or let it be the session's tenant",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static WITH: Attack = Attack {
    id: "postgres.insert-with",
    layer: Layer::Store,
    title: "add a row to another tenant's inside WITH",
    about: "The INSERT stands in a WITH clause of a harmless SELECT, where statement filters do not \
            look.",
    weight: Weight::Write,
    fix: "give the policy for INSERT a WITH CHECK that compares the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static UPSERT: Attack = Attack {
    id: "postgres.upsert",
    layer: Layer::Store,
    title: "overwrite another's row by INSERT … ON CONFLICT",
    about: "An INSERT that collides with the other tenant's key and goes on as an UPDATE. Where a \
            unique key has no tenant in it, an own row is enough.",
    weight: Weight::Write,
    fix: "put the tenant first in every unique key, and let the policy for UPDATE compare the \
          tenant column in USING",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static MERGE: Attack = Attack {
    id: "postgres.merge",
    layer: Layer::Store,
    title: "delete another's rows by MERGE",
    about: "MERGE (PostgreSQL 15 and later) has its own way through the row policies.",
    weight: Weight::Write,
    fix: "let the policy for DELETE compare the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static JOIN: Attack = Attack {
    id: "postgres.delete-join",
    layer: Layer::Store,
    title: "delete another's rows through a join",
    about: "DELETE … USING: the rows are found through a second table instead of a WHERE on the \
            first.",
    weight: Weight::Write,
    fix: "let the policy for DELETE compare the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static INSERT_SELECT: Attack = Attack {
    id: "postgres.insert-select",
    layer: Layer::Store,
    title: "copy another's rows into one's own",
    about: "INSERT … SELECT reads inside a write: what is copied is one's own to read from then on.",
    weight: Weight::Read,
    fix: "let the policy for SELECT compare the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static TRUNCATE: Attack = Attack {
    id: "postgres.truncate",
    layer: Layer::Store,
    title: "empty the table",
    about: "TRUNCATE looks at no row policy: whoever may do it empties the table for all tenants.",
    weight: Weight::Write,
    fix: "REVOKE TRUNCATE from the application's role",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static OWN_TRIGGER: Attack = Attack {
    id: "postgres.own-trigger",
    layer: Layer::Store,
    title: "put a trigger on the table",
    about: "A trigger is called by every statement at the table, the other tenants' included, with \
            their rights: it can read what they write, change it and drop it.",
    weight: Weight::Identity,
    fix: "REVOKE TRIGGER ON the table FROM the application's role",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// All of them, at one table.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.read_only || !relation.is_table() {
        return Ok(());
    }
    if relation.grants.insert {
        insert(stage, ground, relation, footing, log).await?;
    }
    if relation.grants.insert && relation.grants.update {
        upsert(stage, ground, relation, log).await?;
    }
    if relation.grants.insert && relation.grants.select {
        insert_select(stage, ground, relation, log).await?;
    }
    if relation.grants.delete && relation.grants.select {
        delete(stage, ground, relation, log).await?;
    }
    let grants = relation.grants;
    let reachable = grants.any() || grants.truncate || grants.trigger;
    if reachable && ground.options.adversary == Adversary::SqlInjection {
        whole_table(stage, relation, footing, log).await?;
    }
    Ok(())
}

/// What no row policy is asked about: rights to the table as a whole.
async fn whole_table<S: Stage>(
    stage: &mut S,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    // Where the application only writes, that it can is the control.
    let control = match &footing.reads {
        Control::Failed(_) if !relation.grants.select => footing.own_insert.clone(),
        reads => reads.clone(),
    };
    let truncate = format!("TRUNCATE {} CASCADE", relation.quoted());
    // A function that any server has, so that the right alone is what counts.
    let trigger = format!(
        "CREATE TRIGGER partywall_own BEFORE UPDATE ON {} FOR EACH ROW \
         EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
        relation.quoted()
    );
    for (attack, sql, done) in [
        (&TRUNCATE, truncate, "the table is empty, for every tenant"),
        (&OWN_TRIGGER, trigger, "the trigger is there, for every tenant"),
    ] {
        let seen = match stage.attempt(Who::Attacker, &sql).await? {
            Answer::Done(_) => Observation::reached(done),
            answer => answer.as_attack(),
        };
        log.record(trial(attack, stage, relation, &sql).judge(seen, control.clone()));
    }
    Ok(())
}

async fn insert<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(theirs) = ground.insert(relation, Who::Victim, &[]) else { return Ok(()) };
    // A trigger may take every row away, of which the statement below says nothing.
    if ground.row(relation, Who::Victim).is_none()
        && matches!(stage.attempt(Who::Victim, &theirs).await?, Answer::Done(done) if done.count == 0)
    {
        return Ok(());
    }
    // A data-modifying WITH runs to its end whether or not anybody reads from it.
    let hidden = format!("WITH hidden AS ({theirs}) SELECT 1");
    let control = victim_can(stage, &hidden).await?;
    let seen = stage.attempt(Who::Attacker, &hidden).await?.as_attack();
    log.record(trial(&WITH, stage, relation, &hidden).judge(seen, control.clone()));
    if stage.can_be(Who::Nobody) {
        let seen = when_unset(&stage.attempt(Who::Nobody, &theirs).await?);
        log.record(trial(&INSERT_UNSET, stage, relation, &theirs).judge(seen, control));
    }
    let (Some(column), Some(our_id)) =
        (relation.tenant_column(), ground.tenant_literal(relation, Who::Attacker))
    else {
        return Ok(());
    };
    if column.fills_itself
        && column.settable
        && let Some(insert) = ground.insert(relation, Who::Attacker, &[(&column.name, "DEFAULT")])
    {
        let sql = format!("{insert} RETURNING ({} = {our_id})::text", ident(&column.name));
        let answer = stage.attempt(Who::Attacker, &sql).await?;
        let own = &footing.own_insert;
        // Where a tenant has but one row, its own default collides as its own row does.
        let (seen, control) = match &answer {
            Answer::Done(_) if answer.first() == Some("true") => {
                (Observation::nothing("the row is its own"), own.clone())
            }
            Answer::Done(_) => (Observation::reached("the row is not its own"), own.clone()),
            Answer::Refused(no) if no.code == "23505" && own.text().contains("23505") => {
                let seen = Observation::nothing(format!("{no}, as a row of its own"));
                (seen, Control::held(own.text()))
            }
            Answer::Refused(no) if no.is_denial() => {
                (Observation::refused(no.to_string()), own.clone())
            }
            Answer::Refused(no) => (Observation::unclear(no.to_string()), own.clone()),
        };
        log.record(trial(&INSERT_DEFAULT, stage, relation, &sql).judge(seen, control));
    }
    Ok(())
}

async fn upsert<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let (Some(tenant), Some(row)) = (relation.tenant_column(), ground.row(relation, Who::Victim))
    else {
        return Ok(());
    };
    // A key without the tenant is the worse one: an own row collides with it.
    let without = relation.keys.iter().find(|key| !key.contains(&tenant.name));
    let Some(key) = without.or_else(|| relation.keys.first()) else { return Ok(()) };
    let overrides: Vec<(&str, &str)> = key
        .iter()
        .filter_map(|column| Some((column.as_str(), row.literals.get(column)?.as_str())))
        .filter(|(_, value)| *value != "NULL")
        .collect();
    let changed = Some(tenant).filter(|column| column.settable).or_else(|| {
        relation.columns.iter().find(|column| column.settable && !key.contains(&column.name))
    });
    let Some(changed) = changed.filter(|_| overrides.len() == key.len()) else { return Ok(()) };
    let columns: Vec<String> = key.iter().map(|column| ident(column)).collect();
    let changed = ident(&changed.name);
    let tail = format!(
        "ON CONFLICT ({}) DO UPDATE SET {changed} = EXCLUDED.{changed}",
        columns.join(", ")
    );
    let as_who = if without.is_some() { Who::Attacker } else { Who::Victim };
    let (Some(attack), Some(own)) = (
        ground.insert(relation, as_who, &overrides),
        ground.insert(relation, Who::Victim, &overrides),
    ) else {
        return Ok(());
    };
    let (attack, own) = (format!("{attack} {tail}"), format!("{own} {tail}"));
    let control = victim_can(stage, &own).await?;
    let seen = stage.attempt(Who::Attacker, &attack).await?.as_attack();
    log.record(trial(&UPSERT, stage, relation, &attack).judge(seen, control));
    Ok(())
}

async fn insert_select<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(tenant) = relation.tenant_column().filter(|column| column.settable) else {
        return Ok(());
    };
    let theirs = ground.rows_of(relation, Who::Victim);
    let columns: Vec<String> = relation
        .columns
        .iter()
        .filter(|column| column.settable)
        .map(|column| ident(&column.name))
        .collect();
    let copy_for = |who| {
        let id = ground.tenant_literal(relation, who)?;
        let values: Vec<&str> = columns
            .iter()
            .map(|column| if *column == ident(&tenant.name) { &id } else { column.as_str() })
            .collect();
        Some(format!(
            "INSERT INTO {0} ({1}) SELECT {2} FROM {0} WHERE {theirs} LIMIT 1",
            relation.quoted(),
            columns.join(", "),
            values.join(", ")
        ))
    };
    let (Some(attack), Some(own)) = (copy_for(Who::Attacker), copy_for(Who::Victim)) else {
        return Ok(());
    };
    // Its own key is taken, most often: then the row has been read all the same.
    let control = match stage.attempt(Who::Victim, &own).await? {
        Answer::Refused(no) if no.code.starts_with("23") => {
            Control::held(format!("its owner: {no}"))
        }
        Answer::Done(done) if done.count > 0 => Control::held(format!("its owner: {done}")),
        answer => Control::failed(format!("its owner: {answer}")),
    };
    let seen = stage.attempt(Who::Attacker, &attack).await?.as_attack();
    log.record(trial(&INSERT_SELECT, stage, relation, &attack).judge(seen, control));
    Ok(())
}

async fn delete<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let (Some(column), Some(their_id)) =
        (relation.tenant_column(), ground.tenant_literal(relation, Who::Victim))
    else {
        return Ok(());
    };
    let (table, column) = (relation.quoted(), ident(&column.name));
    let join = format!(
        "DELETE FROM {table} AS a USING {table} AS b WHERE a.{column} = b.{column} AND b.{column} = {their_id}"
    );
    let control = victim_can(stage, &join).await?;
    let seen = stage.attempt(Who::Attacker, &join).await?.as_attack();
    log.record(trial(&JOIN, stage, relation, &join).judge(seen, control.clone()));
    if ground.schema.version >= 150_000 {
        let theirs = ground.rows_of(relation, Who::Victim);
        let merge = format!(
            "MERGE INTO {table} USING (SELECT 1) AS one ON {theirs} WHEN MATCHED THEN DELETE"
        );
        let seen = stage.attempt(Who::Attacker, &merge).await?.as_attack();
        log.record(trial(&MERGE, stage, relation, &merge).judge(seen, control));
    }
    Ok(())
}

/// Whether the attacker may add a row of its own: the control of attacks that do so with a twist.
pub(crate) async fn own_insert<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
) -> Result<Control, Gone> {
    let may = relation.is_table() && relation.grants.insert && !ground.options.read_only;
    match ground.insert(relation, Who::Attacker, &[]).filter(|_| may) {
        Some(insert) => attacker_can(stage, &insert).await,
        None => Ok(Control::failed("no row of its own can be added")),
    }
}
