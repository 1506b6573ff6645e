//! Where each tenant has a schema: reaching into another's, and standing where all of them look.

use std::collections::BTreeSet;

use super::{STORE_CONTROLS, trial, victim_can};
use crate::{
    Attack, Control, Layer, Log, Observation, Trial, Weight,
    postgres::{
        ground::Ground,
        options::Adversary,
        schema::{Class, Relation},
        sql::ident,
        stage::{Answer, Gone, Stage, Who},
    },
};

pub(crate) static PATH: Attack = Attack {
    id: "postgres.schema-path",
    layer: Layer::Store,
    title: "put the other tenant's schema on the search path",
    about: "Anybody may set search_path. Where one role works in every schema, that is all it takes \
            to be another tenant.",
    weight: Weight::Identity,
    fix: "give each tenant's schema to a role of its own, and USAGE on it to nobody else",
    references: &["T-05", "T-06"],
    supports: STORE_CONTROLS,
};

pub(crate) static CREATE: Attack = Attack {
    id: "postgres.schema-create",
    layer: Layer::Store,
    title: "create something where other tenants look for theirs",
    about: "A function or a table in another tenant's schema, or in one that is on every tenant's \
            search path, is called in their sessions, with their rights (CVE-2018-1058).",
    weight: Weight::Identity,
    fix: "REVOKE CREATE ON SCHEMA … FROM PUBLIC, and from the tenants' roles",
    references: &["T-05", "CVE-2018-1058"],
    supports: STORE_CONTROLS,
};

pub(crate) static STRAY: Attack = Attack {
    id: "postgres.schema-stray",
    layer: Layer::Store,
    title: "a tenant's role works in another tenant's schema",
    about: "Two tenants attack each other; of all others the catalogue is asked whether a role \
            works in more schemas than its own.",
    weight: Weight::Read,
    fix: "REVOKE USAGE ON SCHEMA … FROM the role, and what it inherits it from",
    references: &["T-05"],
    supports: STORE_CONTROLS,
};

/// Says of roles that reach into schemas which are not theirs.
pub(crate) fn strays(ground: &Ground, log: &mut Log<'_>) {
    for (role, schemas) in &ground.strays {
        let trial =
            Trial::of(&STRAY, schemas).between(role, "the others").tried("read from the catalogue");
        let seen = Observation::reached(format!("{role} has rights in {schemas}"));
        log.record(trial.judge(seen, Control::held("most roles work in one of them")));
    }
}

/// Reads the victim's table by the search path.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if !matches!(relation.class, Class::Schema(_)) || !relation.grants.select {
        return Ok(());
    }
    let read = format!("SELECT 1 FROM {} LIMIT 1", ident(&relation.name));
    let control = victim_can(stage, &read).await?;
    let sql = format!("SET LOCAL search_path = {}; {read}", ident(&relation.schema));
    let draft = trial(&PATH, stage, relation, &sql);
    if ground.options.adversary == Adversary::Parameters {
        log.record(draft.skip("the attacker has no statements of its own"));
        return Ok(());
    }
    let seen = match &stage.attempt(Who::Attacker, &sql).await? {
        // A schema one may not use is passed over.
        Answer::Refused(no) if no.code == "42P01" => {
            Observation::nothing(format!("{no} (the schema is not there for this role)"))
        }
        answer => answer.as_attack(),
    };
    log.record(draft.judge(seen, control));
    Ok(())
}

/// Creates a function in the victim's schema and in those that tenants share.
pub(crate) async fn create<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let theirs = |relation: &&Relation| matches!(relation.class, Class::Schema(_));
    let Some(relation) = ground.schema.tenant_relations().find(theirs) else { return Ok(()) };
    if ground.options.read_only {
        return Ok(());
    }
    let schemas: BTreeSet<&str> = [relation.schema.as_str(), "public"].into();
    let control =
        victim_can(stage, &format!("SELECT 1 FROM {} LIMIT 1", relation.quoted())).await?;
    for schema in schemas {
        let sql = format!(
            "CREATE FUNCTION {}.partywall_decoy() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            ident(schema)
        );
        let draft = Trial::of(&CREATE, schema)
            .between(stage.name(Who::Attacker), stage.name(Who::Victim))
            .tried(&sql);
        if ground.options.adversary == Adversary::Parameters {
            log.record(draft.skip("the attacker has no statements of its own"));
            continue;
        }
        let seen = match &stage.attempt(Who::Attacker, &sql).await? {
            Answer::Done(_) => Observation::reached("created"),
            Answer::Refused(no) if no.code == "3F000" => {
                Observation::nothing(format!("{no} (there is no such schema)"))
            }
            answer => answer.as_attack(),
        };
        log.record(draft.judge(seen, control.clone()));
    }
    Ok(())
}
