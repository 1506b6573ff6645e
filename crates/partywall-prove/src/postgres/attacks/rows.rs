//! Reading and writing another tenant's rows with ordinary statements.

use super::{STORE_CONTROLS, trial, victim_can, when_unset};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::Ground,
        schema::Relation,
        sql::ident,
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static READ: Attack = Attack {
    id: "postgres.read",
    layer: Layer::Store,
    title: "read another's rows",
    about: "A plain SELECT, as a forgotten WHERE or an injected one sends it.",
    weight: Weight::Read,
    fix: "enable and FORCE row level security, with a policy that compares the tenant column with \
          the session's tenant by equality",
    references: &["T-05", "T-07", "CWE-566"],
    supports: STORE_CONTROLS,
};

pub(crate) static READ_UNSET: Attack = Attack {
    id: "postgres.read-unset",
    layer: Layer::Store,
    title: "read with no tenant set",
    about: "A job, a migration or a forgotten middleware asks without saying for whom: it must get \
            nothing, not everything.",
    weight: Weight::Read,
    fix: "let an unset or empty setting match no row: tenant_id = nullif(current_setting('…', true), '')",
    references: &["T-02", "T-05"],
    supports: STORE_CONTROLS,
};

pub(crate) static INSERT: Attack = Attack {
    id: "postgres.insert",
    layer: Layer::Store,
    title: "add a row to another tenant's",
    about: "An INSERT that names the other tenant. A foreign or unique key that stops it is no \
            wall: row security is looked at first.",
    weight: Weight::Write,
    fix: "give the policy a WITH CHECK that compares the tenant column, or none at all so that \
          USING is taken",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static UPDATE: Attack = Attack {
    id: "postgres.update",
    layer: Layer::Store,
    title: "change another's rows",
    about: "An UPDATE aimed at the other tenant's rows.",
    weight: Weight::Write,
    fix: "let the policy for UPDATE compare the tenant column in USING, too",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static MOVE: Attack = Attack {
    id: "postgres.move",
    layer: Layer::Store,
    title: "move an own row to another tenant",
    about: "An UPDATE of an own row's tenant column, with WHERE and so under the policy for SELECT.",
    weight: Weight::Write,
    fix: "give the policy for UPDATE a WITH CHECK that compares the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static MOVE_BARE: Attack = Attack {
    id: "postgres.move-bare",
    layer: Layer::Store,
    title: "move own rows to another tenant, reading no column",
    about: "The same without WHERE or RETURNING: nothing is read, so the policy for SELECT is not \
            looked at, and only WITH CHECK is in the way.",
    weight: Weight::Write,
    fix: "give the policy for UPDATE a WITH CHECK that compares the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static DELETE: Attack = Attack {
    id: "postgres.delete",
    layer: Layer::Store,
    title: "delete another's rows",
    about: "A DELETE aimed at the other tenant's rows.",
    weight: Weight::Write,
    fix: "let the policy for DELETE compare the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static TAKE: Attack = Attack {
    id: "postgres.take",
    layer: Layer::Store,
    title: "make all rows one's own, reading no column",
    about: "An UPDATE of the tenant column to the attacker's own, without WHERE or RETURNING: only \
            the policy for UPDATE says which rows it reaches, and WITH CHECK is content.",
    weight: Weight::Identity,
    fix: "let the policy for UPDATE compare the tenant column in USING, too",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static DELETE_BARE: Attack = Attack {
    id: "postgres.delete-bare",
    layer: Layer::Store,
    title: "delete all rows, reading no column",
    about: "A DELETE without WHERE or RETURNING: the policy for SELECT is not looked at, and only \
            that for DELETE says which rows it reaches.",
    weight: Weight::Write,
    fix: "let the policy for DELETE compare the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// All of them, at one relation.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if relation.grants.select {
        let theirs = ground.rows_of(relation, Who::Victim);
        let read = format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1", relation.quoted());
        let control = victim_can(stage, &read).await?;
        let seen = stage.attempt(Who::Attacker, &read).await?.as_attack();
        log.record(trial(&READ, stage, relation, &read).judge(seen, control.clone()));
        read_unset(stage, relation, control, log).await?;
    }
    if ground.options.read_only || !relation.is_table() {
        return Ok(());
    }
    if relation.grants.insert {
        insert(stage, ground, relation, log).await?;
    }
    if relation.grants.update {
        update(stage, ground, relation, log).await?;
        move_own(stage, ground, relation, log).await?;
    }
    if relation.grants.delete {
        let theirs = ground.rows_of(relation, Who::Victim);
        let delete = format!("DELETE FROM {} WHERE {theirs}", relation.quoted());
        let control = victim_can(stage, &delete).await?;
        let seen = stage.attempt(Who::Attacker, &delete).await?.as_attack();
        log.record(trial(&DELETE, stage, relation, &delete).judge(seen, control));
    }
    bare(stage, ground, relation, log).await
}

/// How many rows a table may have for all of them to be written to, where nothing may hold.
const WRITTEN: i64 = 100_000;

/// Writes that read no column. They reach the attacker's own rows in any case, so what counts is
/// whether they reach more.
async fn bare<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let (table, ours) = (relation.quoted(), ground.rows_of(relation, Who::Attacker));
    let mut writes = Vec::new();
    if relation.grants.update
        && let Some(column) = relation.tenant_column().filter(|column| column.settable)
        && let Some(our_id) = ground.tenant_literal(relation, Who::Attacker)
    {
        let take = format!("UPDATE {table} SET {} = {our_id}", ident(&column.name));
        writes.push((&TAKE, take));
    }
    if relation.grants.delete && relation.tenant_column().is_some() {
        writes.push((&DELETE_BARE, format!("DELETE FROM {table}")));
    }
    // A walled table of any size is gone through; an open one is known to be open by now.
    if relation.estimated_rows > WRITTEN && !relation.row_security.0 {
        return Ok(());
    }
    for (attack, sql) in writes {
        let answer = stage.attempt(Who::Attacker, &sql).await?;
        let own = match relation.grants.select {
            true => {
                let count = format!("SELECT count(*) FROM {table} WHERE {ours}");
                let own = stage.attempt(Who::Attacker, &count).await?;
                own.first().and_then(|count| count.parse().ok()).unwrap_or(0)
            }
            false => u64::from(ground.row(relation, Who::Attacker).is_some()),
        };
        let seen = match &answer {
            Answer::Done(done) if done.count > own => {
                Observation::reached(format!("{done}, {own} of them its own"))
            }
            Answer::Done(done) => Observation::nothing(format!("{done}, all of them its own")),
            // A key or a reference of its own row stops it as well as one of the victim's.
            Answer::Refused(no) if no.is_past_the_wall() => Observation::unclear(no.to_string()),
            answer => answer.as_attack(),
        };
        let control = match own {
            0 => Control::failed("0 rows of its own"),
            own => Control::held(format!("{own} of its own")),
        };
        // Where its own rows cannot all go, nothing is shown either way.
        let stuck = matches!(&answer, Answer::Refused(no) if no.is_past_the_wall());
        let draft = trial(attack, stage, relation, &sql);
        log.record(match stuck {
            true => draft.skip(format!("rows that refer to it are in the way: {}", seen.text())),
            false => draft.judge(seen, control),
        });
    }
    Ok(())
}

async fn read_unset<S: Stage>(
    stage: &mut S,
    relation: &Relation,
    control: Control,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let read = format!("SELECT 1 FROM {} LIMIT 1", relation.quoted());
    let draft = trial(&READ_UNSET, stage, relation, &read);
    if !stage.can_be(Who::Nobody) {
        log.record(draft.skip("a session without a tenant cannot be had here"));
        return Ok(());
    }
    let answer = stage.attempt(Who::Nobody, &read).await?;
    let seen = when_unset(&answer);
    log.record(draft.judge(seen, control));
    Ok(())
}

async fn insert<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(insert) = ground.insert(relation, Who::Victim, &[]) else { return Ok(()) };
    let control = victim_can(stage, &insert).await?;
    let seen = stage.attempt(Who::Attacker, &insert).await?.as_attack();
    log.record(trial(&INSERT, stage, relation, &insert).judge(seen, control));
    Ok(())
}

async fn update<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    // Where the schema names the tenant, any column will do.
    let any = || relation.columns.iter().find(|column| column.settable);
    let Some(column) = relation.tenant_column().or_else(any) else { return Ok(()) };
    let (column, theirs) = (ident(&column.name), ground.rows_of(relation, Who::Victim));
    let update = format!("UPDATE {} SET {column} = {column} WHERE {theirs}", relation.quoted());
    let control = victim_can(stage, &update).await?;
    let seen = stage.attempt(Who::Attacker, &update).await?.as_attack();
    log.record(trial(&UPDATE, stage, relation, &update).judge(seen, control));
    Ok(())
}

async fn move_own<S: Stage>(
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
    let ours = ground.rows_of(relation, Who::Attacker);
    // The control: the same statement, moving nothing anywhere.
    let stay = format!("UPDATE {table} SET {column} = {column} WHERE {ours}");
    let answer = stage.attempt(Who::Attacker, &stay).await?;
    let said = format!("its own, staying: {answer}");
    let control = if answer.count() > 0 { Control::held(said) } else { Control::failed(said) };
    for (attack, condition) in [(&MOVE, format!(" WHERE {ours}")), (&MOVE_BARE, String::new())] {
        let update = format!("UPDATE {table} SET {column} = {their_id}{condition}");
        let seen = stage.attempt(Who::Attacker, &update).await?.as_attack();
        log.record(trial(attack, stage, relation, &update).judge(seen, control.clone()));
    }
    Ok(())
}
