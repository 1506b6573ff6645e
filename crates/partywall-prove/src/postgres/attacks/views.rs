//! Views: written through, spied on, and those that keep rows of their own.

use super::{Footing, STORE_CONTROLS, trial, victim_can};
use crate::{
    Attack, Control, Layer, Log, Observation, Weight,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        options::Adversary,
        schema::{Class, Kind, Relation},
        sql::{ident, literal},
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static VIEW_INSERT: Attack = Attack {
    id: "postgres.view-insert",
    layer: Layer::Store,
    title: "add a row to another tenant's through a view",
    about: "A simple view can be written through. It works with its owner's rights unless it is \
            security_invoker, and only WITH CHECK OPTION keeps its own WHERE for what is written.",
    weight: Weight::Write,
    fix: "make the view WITH (security_invoker = true) and WITH CHECK OPTION, or revoke INSERT on it",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static VIEW_UPDATE: Attack = Attack {
    id: "postgres.view-update",
    layer: Layer::Store,
    title: "change another's rows through a view",
    about: "As above, by an UPDATE, or by a rule in its place.",
    weight: Weight::Write,
    fix: "make the view WITH (security_invoker = true), or revoke UPDATE on it",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static VIEW_MOVE: Attack = Attack {
    id: "postgres.view-move",
    layer: Layer::Store,
    title: "move own rows to another tenant through a view",
    about: "An UPDATE of the tenant column through a view that filters by itself: without WITH \
            CHECK OPTION nothing looks at the row as it becomes.",
    weight: Weight::Write,
    fix: "make the view WITH (security_invoker = true) and WITH CHECK OPTION, or revoke UPDATE on it",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static VIEW_DELETE: Attack = Attack {
    id: "postgres.view-delete",
    layer: Layer::Store,
    title: "delete another's rows through a view",
    about: "As above, by a DELETE.",
    weight: Weight::Write,
    fix: "make the view WITH (security_invoker = true), or revoke DELETE on it",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static SPY: Attack = Attack {
    id: "postgres.view-spy",
    layer: Layer::Store,
    title: "see a view's hidden rows by a function of one's own",
    about: "A function that is declared cheap runs before the view's own WHERE, and so sees the \
            rows that WHERE would hide. It needs no more than TEMP, which PUBLIC has by default.",
    weight: Weight::Read,
    fix: "wall with row level security; a view that filters by itself must be WITH \
          (security_barrier = true); revoke TEMP on the database and CREATE on schemas",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static MATERIALIZED: Attack = Attack {
    id: "postgres.materialized",
    layer: Layer::Store,
    title: "read others' rows in a materialized view",
    about: "A materialized view keeps rows of its own, as its owner saw them at the last REFRESH, \
            and cannot have row policies.",
    weight: Weight::Read,
    fix: "revoke the application's rights on it, and give each tenant its part by a view that \
          filters WITH (security_barrier = true), or by a walled table that is filled instead",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

/// All of them, at one view; reading is attacked with the tables.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if relation.kind != Kind::View {
        return Ok(());
    }
    if relation.grants.select && ground.options.adversary == Adversary::SqlInjection {
        spy(stage, ground, relation, footing, log).await?;
    }
    if ground.options.read_only {
        return Ok(());
    }
    if relation.grants.insert {
        insert(stage, ground, relation, log).await?;
    }
    let Some(column) = relation.tenant_column() else { return Ok(()) };
    let (view, column) = (relation.quoted(), ident(&column.name));
    let theirs = ground.rows_of(relation, Who::Victim);
    if relation.grants.update {
        let sql = format!("UPDATE {view} SET {column} = {column} WHERE {theirs}");
        across(&VIEW_UPDATE, stage, relation, &sql, log).await?;
        let ours = ground.rows_of(relation, Who::Attacker);
        let stay = format!("UPDATE {view} SET {column} = {column} WHERE {ours}");
        let control = super::attacker_can(stage, &stay).await?;
        if let Some(their_id) = ground.tenant_literal(relation, Who::Victim)
            && matches!(control, Control::Held(_))
        {
            let sql = format!("UPDATE {view} SET {column} = {their_id}");
            let seen = through(&stage.attempt(Who::Attacker, &sql).await?);
            log.record(trial(&VIEW_MOVE, stage, relation, &sql).judge(seen, control));
        }
    }
    if relation.grants.delete {
        let sql = format!("DELETE FROM {view} WHERE {theirs}");
        across(&VIEW_DELETE, stage, relation, &sql, log).await?;
    }
    Ok(())
}

/// The same statement by its owner, and by the attacker. A view that cannot be written through at
/// all is nobody's way in.
async fn across<S: Stage>(
    attack: &'static Attack,
    stage: &mut S,
    relation: &Relation,
    sql: &str,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let seen = stage.attempt(Who::Attacker, sql).await?;
    if matches!(&seen, Answer::Refused(no) if no.code == "55000") {
        return Ok(());
    }
    let control = victim_can(stage, sql).await?;
    log.record(trial(attack, stage, relation, sql).judge(through(&seen), control));
    Ok(())
}

/// Judges a write through a view: WITH CHECK OPTION has a code of its own for its refusals.
fn through(answer: &Answer) -> Observation {
    match answer {
        Answer::Refused(no) if no.code == "44000" => Observation::refused(no.to_string()),
        answer => answer.as_attack(),
    }
}

async fn insert<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    view: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(base) = base(ground, view) else { return Ok(()) };
    // The table's rows, by the view's name.
    let through = Relation { schema: view.schema.clone(), name: view.name.clone(), ..base.clone() };
    match ground.insert(&through, Who::Victim, &[]) {
        Some(sql) => across(&VIEW_INSERT, stage, view, &sql, log).await,
        None => Ok(()),
    }
}

/// The table that has all of the view's columns, and needs no others.
fn base<'a>(ground: &'a Ground, view: &Relation) -> Option<&'a Relation> {
    ground.schema.tenant_relations().find(|table| {
        table.is_table()
            && table.class == view.class
            && view.columns.iter().all(|column| table.column(&column.name).is_some())
            && table.columns.iter().all(|column| {
                !column.not_null || column.fills_itself || view.column(&column.name).is_some()
            })
    })
}

/// What the spy raises when it has seen what it looks for.
const SEEN: &str = "PW001";

async fn spy<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    view: &Relation,
    footing: &Footing,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(column) = view.tenant_column().filter(|_| !ground.options.read_only) else {
        return Ok(());
    };
    let sql = format!(
        // An index would find the view's own rows before any function is asked.
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
         SET LOCAL enable_bitmapscan = off; \
         CREATE FUNCTION pg_temp.partywall_spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 \
         AS $spy$ BEGIN IF $1 = {} THEN RAISE EXCEPTION 'partywall sees %', $1 USING ERRCODE = '{SEEN}'; \
         END IF; RETURN true; END $spy$; \
         SELECT 1 FROM {} WHERE pg_temp.partywall_spy({}::text)",
        literal(ground.id(Who::Victim)),
        view.quoted(),
        ident(&column.name)
    );
    let control = match stage.attempt(Who::Victim, &sql).await? {
        Answer::Refused(no) if no.code == SEEN => Control::held(format!("its owner: {no}")),
        // Nobody may make the function, the victim included; its rows are there all the same.
        Answer::Refused(no) if no.is_denial() => footing.reads.clone(),
        answer => Control::failed(format!("its owner: {answer}")),
    };
    let seen = match stage.attempt(Who::Attacker, &sql).await? {
        Answer::Refused(no) if no.code == SEEN => Observation::reached(no.to_string()),
        // It sees its own, and only its own.
        Answer::Done(done) => Observation::nothing(format!("{done}, all of them its own")),
        answer => answer.as_attack(),
    };
    log.record(trial(&SPY, stage, view, &sql).judge(seen, control));
    Ok(())
}

/// How many rows a materialized view may have to be refreshed for a run.
const REFRESHED: i64 = 100_000;

/// Brings materialized views up to this run's rows, where the connection's own role may.
pub(crate) async fn refresh(stage: &mut OneSession, ground: &Ground) -> Result<(), Gone> {
    if ground.options.read_only {
        return Ok(());
    }
    for relation in &ground.schema.relations {
        let small = relation.estimated_rows <= REFRESHED;
        if relation.kind == Kind::Materialized && relation.grants.select && small {
            let sql = format!("REFRESH MATERIALIZED VIEW {}", relation.quoted());
            if let Answer::Refused(no) = stage.keep_as_self(&sql).await? {
                tracing::debug!(view = relation.place(), %no, "not refreshed");
            }
        }
    }
    Ok(())
}

/// A materialized view that names tenants: anybody's row but one's own has leaked.
pub(crate) async fn materialized<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    view: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Class::Tenant(column) = &view.class else { return Ok(()) };
    if !view.grants.select {
        return Ok(());
    }
    let ours = ground.rows_of(view, Who::Attacker);
    let sql =
        format!("SELECT {}::text FROM {} WHERE NOT ({ours}) LIMIT 1", ident(column), view.quoted());
    let answer = stage.attempt(Who::Attacker, &sql).await?;
    let seen = match &answer {
        Answer::Done(done) if done.count == 0 => {
            Observation::unclear("nobody else's row is in it now, and no row policy can be on it")
        }
        answer => answer.as_attack(),
    };
    let control = Control::failed("a materialized view has no rows of a tenant's own to show");
    log.record(trial(&MATERIALIZED, stage, view, &sql).judge(seen, control));
    Ok(())
}
