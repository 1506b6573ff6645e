//! Reaching rows past the ordinary way to their table: by their place, through COPY, by errors
//! they cause, and in the parts a table is made of.

use super::{Footing, STORE_CONTROLS, trial, victim_can};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::Ground,
        options::Adversary,
        schema::{Kind, Relation},
        sql::{ident, literal},
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static CTID: Attack = Attack {
    id: "postgres.ctid",
    layer: Layer::Store,
    title: "read another's row by its place on disk",
    about: "WHERE ctid = '(0,1)' goes to the row without any index or scan.",
    weight: Weight::Read,
    fix: "enable and FORCE row level security on the table",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static LOCK_ROW: Attack = Attack {
    id: "postgres.lock-row",
    layer: Layer::Store,
    title: "lock another's row",
    about: "SELECT … FOR UPDATE keeps the other tenant from changing its own row, and says that the \
            row is there.",
    weight: Weight::Existence,
    fix: "let the policies for SELECT and for UPDATE compare the tenant column",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static COPY: Attack = Attack {
    id: "postgres.copy",
    layer: Layer::Store,
    title: "copy the table out",
    about: "COPY table TO STDOUT has its own way to the rows, which row security has to be in.",
    weight: Weight::Read,
    fix: "enable and FORCE row level security on the table",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static ERROR: Attack = Attack {
    id: "postgres.error",
    layer: Layer::Store,
    title: "have a hidden row cause an error that shows it",
    about: "A condition that fails on the other tenant's row, with the value in the message: row \
            security must be looked at before any condition that can speak.",
    weight: Weight::Read,
    fix: "wall with row level security, or with views WITH (security_barrier); declare nothing \
          LEAKPROOF that can fail; run a version without known faults of this kind",
    references: &["T-07", "CVE-2017-7484", "CVE-2019-10130", "CWE-209"],
    supports: STORE_CONTROLS,
};

pub(crate) static PART: Attack = Attack {
    id: "postgres.part",
    layer: Layer::Store,
    title: "read a partition past its parent",
    about: "Asked directly, a partition goes by its own row policies, and has none unless somebody \
            wrote them.",
    weight: Weight::Read,
    fix: "revoke all rights on partitions, which nobody needs to use the parent, and give them row \
          policies all the same",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// All of them but [`PART`], at one relation.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.adversary != Adversary::SqlInjection || !relation.grants.select {
        return Ok(());
    }
    error(stage, ground, relation, log).await?;
    if !relation.is_table() {
        return Ok(());
    }
    if let Some(place) = &footing.place {
        let theirs = ground.rows_of(relation, Who::Victim);
        let by_place = format!(
            "SELECT 1 FROM {} WHERE ctid = {}::tid AND {theirs}",
            relation.quoted(),
            literal(place)
        );
        let seen = stage.attempt(Who::Attacker, &by_place).await?.as_attack();
        log.record(trial(&CTID, stage, relation, &by_place).judge(seen, footing.reads.clone()));
        if relation.grants.update && !ground.options.read_only {
            let lock =
                format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1 FOR UPDATE", relation.quoted());
            let seen = stage.attempt(Who::Attacker, &lock).await?.as_attack();
            log.record(trial(&LOCK_ROW, stage, relation, &lock).judge(seen, footing.reads.clone()));
        }
    }
    copy(stage, ground, relation, log).await
}

async fn error<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(column) = relation.tenant_column() else { return Ok(()) };
    let theirs = ground.rows_of(relation, Who::Victim);
    let sql = format!(
        "SELECT 1 FROM {} WHERE CASE WHEN {theirs} THEN ('partywall sees ' || {}::text)::int = 0 ELSE false END LIMIT 1",
        relation.quoted(),
        ident(&column.name)
    );
    let speaks = |answer: &Answer| match answer {
        Answer::Refused(no) => no.message.contains("partywall sees"),
        Answer::Done(_) => false,
    };
    let own = stage.attempt(Who::Victim, &sql).await?;
    let said = format!("its owner: {own}");
    let control = if speaks(&own) { Control::held(said) } else { Control::failed(said) };
    let answer = stage.attempt(Who::Attacker, &sql).await?;
    let seen = match &answer {
        Answer::Refused(no) if speaks(&answer) => Observation::reached(no.to_string()),
        answer => answer.as_attack(),
    };
    log.record(trial(&ERROR, stage, relation, &sql).judge(seen, control));
    Ok(())
}

/// How many rows a table may have for all of it to be copied, where nothing filters them.
const COPIED: i64 = 100_000;

async fn copy<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(column) = relation.tenant_column() else { return Ok(()) };
    // A partitioned table cannot be copied from; a big open one need not be copied to be found.
    let big = relation.estimated_rows > COPIED && !relation.row_security.0;
    if relation.kind != Kind::Table || big {
        return Ok(());
    }
    let (table, column) = (relation.quoted(), ident(&column.name));
    let ours = ground.rows_of(relation, Who::Attacker);
    let own = format!("SELECT count(*) FROM {table} WHERE {ours}");
    let own = stage.attempt(Who::Attacker, &own).await?;
    let own: u64 = own.first().and_then(|count| count.parse().ok()).unwrap_or(0);
    let control = match own {
        0 => Control::failed("0 rows of its own"),
        own => Control::held(format!("{own} of its own")),
    };
    let sql = format!("COPY {table} ({column}) TO STDOUT");
    let seen = match stage.copy_out(Who::Attacker, &sql).await? {
        Answer::Done(done) if done.count > own => {
            Observation::reached(format!("{done}, {own} of them its own"))
        }
        Answer::Done(done) => Observation::nothing(format!("{done}, all of them its own")),
        answer => answer.as_attack(),
    };
    log.record(trial(&COPY, stage, relation, &sql).judge(seen, control));
    Ok(())
}

/// A partition, asked directly.
pub(crate) async fn part<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(parent) = relation.parent.and_then(|oid| ground.schema.relation(oid)) else {
        return Ok(());
    };
    let Some(column) = relation.tenant_column() else { return Ok(()) };
    let (ours, theirs) =
        (ground.rows_of(relation, Who::Attacker), ground.rows_of(relation, Who::Victim));
    if !relation.grants.select {
        return write_part_unread(stage, ground, relation, parent, log).await;
    }
    // What anybody else has there; a row of the victim's own need not be in this part.
    let sql = format!(
        "SELECT {}::text FROM {} WHERE NOT ({ours}) LIMIT 1",
        ident(&column.name),
        relation.quoted()
    );
    let by_parent = format!(
        "SELECT (tableoid = {})::text FROM {} WHERE {theirs} ORDER BY 1 DESC LIMIT 1",
        relation.oid,
        parent.quoted()
    );
    let own = stage.attempt(Who::Victim, &by_parent).await?;
    let holds_theirs = own.first() == Some("true");
    let seen = match stage.attempt(Who::Attacker, &sql).await? {
        Answer::Done(done) if done.count == 0 && !holds_theirs => {
            Observation::unclear("nobody else has a row in it now that could be seen")
        }
        answer => answer.as_attack(),
    };
    let control = match own.count() {
        0 => Control::failed(format!("its owner, by the parent: {own}")),
        _ => Control::held(format!("its owner, by the parent: {own}")),
    };
    log.record(trial(&PART, stage, relation, &sql).judge(seen, control));
    if relation.grants.delete && !ground.options.read_only {
        write_part(stage, relation, &theirs, log).await?;
    }
    Ok(())
}

/// Writes to a partition that may not be read: what goes in or out there passes the parent's wall by.
async fn write_part_unread<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    parent: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.options.read_only {
        return Ok(());
    }
    let mut writes = Vec::new();
    if relation.grants.delete {
        writes.push(format!("DELETE FROM {}", relation.quoted()));
    }
    if relation.grants.insert {
        // The parent knows what its rows look like.
        let (schema, name) = (relation.schema.clone(), relation.name.clone());
        let part = Relation { schema, name, ..parent.clone() };
        writes.extend(ground.insert(&part, Who::Victim, &[]));
    }
    let theirs = ground.rows_of(parent, Who::Victim);
    let by_parent = format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1", parent.quoted());
    let control = victim_can(stage, &by_parent).await?;
    for sql in writes {
        let seen = match stage.attempt(Who::Attacker, &sql).await? {
            Answer::Done(done) if done.count == 0 => {
                Observation::unclear("nobody has a row in it now that could be deleted")
            }
            // A row for another partition.
            Answer::Refused(no) if no.code == "23514" => Observation::unclear(no.to_string()),
            answer => answer.as_attack(),
        };
        log.record(trial(&PART, stage, relation, &sql).judge(seen, control.clone()));
    }
    Ok(())
}

/// Deletes what the victim has in a partition.
async fn write_part<S: Stage>(
    stage: &mut S,
    relation: &Relation,
    theirs: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let sql = format!("DELETE FROM {} WHERE {theirs}", relation.quoted());
    let control = victim_can(stage, &sql).await?;
    if matches!(control, Control::Held(_)) {
        let seen = stage.attempt(Who::Attacker, &sql).await?.as_attack();
        log.record(trial(&PART, stage, relation, &sql).judge(seen, control));
    }
    Ok(())
}
