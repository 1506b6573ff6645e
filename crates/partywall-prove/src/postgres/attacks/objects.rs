//! What belongs to all tenants at once: sequences, large objects, tables that all share.

use super::{STORE_CONTROLS, trial};
use crate::{
    Attack, Control, Layer, Log, Observation, Trial, Weight,
    postgres::{
        ground::Ground,
        schema::{Class, Relation},
        sql::{ident, literal},
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static SEQUENCE: Attack = Attack {
    id: "postgres.sequence",
    layer: Layer::Store,
    title: "read how far the tenants' common sequence has counted",
    about: "A sequence that numbers the rows of all tenants says how many there are, and by asking \
            twice how fast they grow.",
    weight: Weight::Existence,
    fix: "use GENERATED … AS IDENTITY, which needs no right on the sequence, and revoke USAGE and \
          SELECT on it; or accept it: --accept 'postgres.sequence=counts may be known'",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static LARGE_OBJECT: Attack = Attack {
    id: "postgres.large-object",
    layer: Layer::Store,
    title: "read others' large objects",
    about: "Large objects belong to a role and are named by a number. They know no tenant, and no \
            row policy can be put on them.",
    weight: Weight::Read,
    fix: "keep files in walled tables as bytea, or outside of the database",
    references: &["T-07"],
    supports: STORE_CONTROLS,
};

pub(crate) static SHARED_WRITE: Attack = Attack {
    id: "postgres.shared-write",
    layer: Layer::Store,
    title: "change what all tenants read",
    about: "A table that is the same for everybody, and that one tenant may change for everybody.",
    weight: Weight::Write,
    fix: "revoke INSERT, UPDATE and DELETE on shared tables from the application's role",
    references: &["T-05"],
    supports: STORE_CONTROLS,
};

/// All of them, once for each attacker.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    sequences(stage, ground, log).await?;
    large_objects(stage, log).await?;
    for relation in &ground.schema.relations {
        if relation.class == Class::Shared && relation.is_table() && !ground.options.read_only {
            shared(stage, ground, relation, log).await?;
        }
    }
    Ok(())
}

/// The sequences that number the rows of tables, each with how far it is if the asking role may
/// know.
const SEQUENCES: &str = "
    SELECT t.oid, n.nspname || '.' || s.relname,
           (SELECT q.last_value FROM pg_catalog.pg_sequences q
             WHERE q.schemaname = n.nspname AND q.sequencename = s.relname)
      FROM pg_catalog.pg_class s
      JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
      JOIN pg_catalog.pg_depend d
        ON (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = s.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i'))
      JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
     WHERE s.relkind = 'S' AND t.oid IN ({tables})
     ORDER BY (SELECT q.last_value IS NULL FROM pg_catalog.pg_sequences q
                WHERE q.schemaname = n.nspname AND q.sequencename = s.relname), 2";

async fn sequences<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let tables: Vec<String> = ground
        .schema
        .tenant_relations()
        .filter(|relation| relation.is_table())
        .map(|relation| relation.oid.to_string())
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    let sql = SEQUENCES.replace("{tables}", &tables.join(", "));
    let Answer::Done(done) = stage.attempt(Who::Attacker, &sql).await? else { return Ok(()) };
    for row in &done.rows {
        let [Some(table), Some(sequence), last] = row.as_slice() else { continue };
        let table = table.parse().ok().and_then(|oid| ground.schema.relation(oid));
        let Some(table) = table else { continue };
        let seen = match last {
            Some(last) => {
                Observation::reached(format!("it has counted to {last}, for all tenants"))
            }
            None => Observation::nothing("it does not say"),
        };
        // That it counts at all is shown by the victim's row, which got its number from it.
        let control = match ground.row(table, Who::Victim) {
            Some(_) => Control::held("the victim's row has its number from it"),
            None => Control::failed("the victim has no row with a number from it"),
        };
        let draft = Trial::of(&SEQUENCE, sequence.as_str())
            .between(stage.name(Who::Attacker), stage.name(Who::Victim))
            .tried(format!(
                "SELECT last_value FROM pg_sequences WHERE schemaname || '.' || sequencename = {}",
                literal(sequence)
            ));
        log.record(draft.judge(seen, control));
    }
    Ok(())
}

/// Large objects that the asking role owns, as a member of the owner or directly.
const LARGE_OBJECTS: &str = "
    SELECT oid FROM pg_catalog.pg_largeobject_metadata
     WHERE pg_catalog.pg_has_role(lomowner, 'USAGE')
        OR EXISTS (SELECT FROM pg_catalog.aclexplode(lomacl) a
                    WHERE a.privilege_type = 'SELECT'
                      AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
     LIMIT 1";

/// Says that there are some that every tenant may read: whose they are, nobody can tell.
async fn large_objects<S: Stage>(stage: &mut S, log: &mut Log<'_>) -> Result<(), Gone> {
    let answer = stage.attempt(Who::Attacker, LARGE_OBJECTS).await?;
    let Some(oid) = answer.first() else { return Ok(()) };
    let sql = format!("SELECT pg_catalog.length(pg_catalog.lo_get({oid}, 0, 1))");
    let seen = match stage.attempt(Who::Attacker, &sql).await? {
        Answer::Done(_) => Observation::unclear(format!(
            "large object {oid} can be read by every tenant; nothing says whose it is"
        )),
        answer => answer.as_attack(),
    };
    let draft = Trial::of(&LARGE_OBJECT, "large objects")
        .between(stage.name(Who::Attacker), stage.name(Who::Victim))
        .tried(sql);
    log.record(draft.judge(seen, Control::failed("large objects know no tenant")));
    Ok(())
}

/// Changes a shared table in the way that is granted, or in one that is not, to see it refused.
async fn shared<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let table = relation.quoted();
    let read = stage.attempt(Who::Victim, &format!("SELECT 1 FROM {table} LIMIT 1")).await?;
    let grants = relation.grants;
    let delete = format!("DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1)");
    let column = relation.columns.iter().find(|column| column.settable);
    let sql = match column {
        _ if grants.delete => delete,
        Some(column) if grants.update => {
            let column = ident(&column.name);
            format!(
                "UPDATE {table} SET {column} = {column} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1)"
            )
        }
        _ if grants.insert => match ground.insert(relation, Who::Attacker, &[]) {
            Some(insert) => insert,
            None => return Ok(()),
        },
        _ => delete,
    };
    let seen = stage.attempt(Who::Attacker, &sql).await?;
    // Nothing was there to be changed, but for the asking it would have been.
    let empty = seen.count() == 0 && read.count() == 0 && matches!(seen, Answer::Done(_));
    let (seen, control) = match &read {
        Answer::Done(_) if empty => {
            let seen = Observation::unclear("it may be changed, and is empty now");
            (seen, Control::failed("0 rows to change"))
        }
        Answer::Done(done) => (seen.as_attack(), Control::held(format!("it is read: {done}"))),
        Answer::Refused(no) => (seen.as_attack(), Control::failed(format!("it is read: {no}"))),
    };
    log.record(trial(&SHARED_WRITE, stage, relation, &sql).judge(seen, control));
    Ok(())
}
