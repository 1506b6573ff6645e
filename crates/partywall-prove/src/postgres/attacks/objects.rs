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
    large_objects(stage, log).await?;
    for relation in &ground.schema.relations {
        if relation.class == Class::Shared && relation.is_table() && !ground.options.read_only {
            shared(stage, ground, relation, log).await?;
        }
    }
    Ok(())
}

/// The sequences that number the rows of tables and tell the asking role how far they are.
const SEQUENCES: &str = "
    SELECT q.schemaname || '.' || q.sequencename
      FROM pg_catalog.pg_sequences q
      JOIN pg_catalog.pg_namespace n ON n.nspname = q.schemaname
      JOIN pg_catalog.pg_class s ON s.relnamespace = n.oid AND s.relname = q.sequencename
     WHERE q.last_value IS NOT NULL
       AND EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = s.oid
                      AND d.refclassid = 'pg_catalog.pg_class'::regclass
                      AND d.deptype IN ('a', 'i') AND d.refobjid IN ({tables}))
     ORDER BY 1";

/// Notes the sequences that number the rows of all tenants and say how far they are. Like the size
/// of a table this tells how many rows all tenants have together, and of none how many it has.
pub(crate) async fn sequences<S: Stage>(
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
        let [Some(sequence)] = row.as_slice() else { continue };
        let text = "numbers the rows of all tenants, and every tenant may ask how far it is: where \
                    that matters, use GENERATED … AS IDENTITY, which needs no right on the sequence";
        log.note(sequence.as_str(), text);
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

/// Changes a row that the victim reads in a shared table, in the way that is granted; or in one
/// that is not, to see it refused.
async fn shared<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let (table, grants) = (relation.quoted(), relation.grants);
    if !grants.select {
        // What nobody reads back is a log; what can be emptied or overwritten is not.
        if grants.delete || grants.update {
            let seen = Observation::unclear("every tenant may change it, and none may read it");
            let draft = trial(&SHARED_WRITE, stage, relation, "read from the catalogue");
            log.record(draft.judge(seen, Control::failed("what is in it cannot be seen")));
        }
        return Ok(());
    }
    let read =
        stage.attempt(Who::Victim, &format!("SELECT ctid::text FROM {table} LIMIT 1")).await?;
    let place = read.first().unwrap_or("(0,0)");
    let row = format!("ctid = {}::tid", literal(place));
    let delete = format!("DELETE FROM {table} WHERE {row}");
    let column = relation.columns.iter().find(|column| column.settable);
    let sql = match column {
        _ if grants.delete => delete,
        Some(column) if grants.update => {
            let column = ident(&column.name);
            format!("UPDATE {table} SET {column} = {column} WHERE {row}")
        }
        _ if grants.insert && !relation.row_security.0 => {
            match ground.insert(relation, Who::Attacker, &[]) {
                Some(insert) => insert,
                None => return Ok(()),
            }
        }
        _ => delete,
    };
    let answer = stage.attempt(Who::Attacker, &sql).await?;
    let control = match &read {
        Answer::Done(done) => Control::held(format!("the victim reads it: {done}")),
        Answer::Refused(no) => Control::failed(format!("the victim reads it: {no}")),
    };
    let seen = match &answer {
        Answer::Done(done) if done.count == 0 && read.count() == 0 => {
            // Row policies of its own say whose the rows are that will be in it.
            if relation.row_security.0 {
                return Ok(());
            }
            Observation::unclear("it may be changed, and is empty now")
        }
        answer => answer.as_attack(),
    };
    log.record(trial(&SHARED_WRITE, stage, relation, &sql).judge(seen, control));
    Ok(())
}
