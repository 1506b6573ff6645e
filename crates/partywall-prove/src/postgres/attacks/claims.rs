//! Claims that a user can write about themselves.

use serde_json::Value;

use super::{STORE_CONTROLS, trial, victim_can};
use crate::{
    Attack, Layer, Log, Weight,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        schema::Relation,
        sql::literal,
        stage::{Gone, Stage as _, Who},
        tenancy::Context,
    },
};

pub(crate) static USER_METADATA: Attack = Attack {
    id: "postgres.user-metadata",
    layer: Layer::Store,
    title: "name the other tenant in one's own user metadata",
    about: "A policy that reads user_metadata believes what the user wrote: every user may change \
            it through the sign-in service, and the next token carries it.",
    weight: Weight::Identity,
    fix: "read app_metadata, which only the server writes, or look the membership up in a table",
    references: &["T-05", "C5", "CWE-639"],
    supports: STORE_CONTROLS,
};

/// The claims a user may write, as the sign-in services call them.
const WRITABLE: &[&str] = &["user_metadata", "raw_user_meta_data"];

/// Where claims carry something of the user's own, sets that to the victim, and reads.
pub(crate) async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Context::Settings(settings) = &stage.tenancy().context else { return Ok(()) };
    let tenancy = stage.tenancy();
    let forged: String = settings
        .iter()
        .filter_map(|setting| {
            let mut claims: Value = serde_json::from_str(&setting.template).ok()?;
            let victim = tenancy.fill("{tenant}", ground.id(Who::Victim));
            let found = WRITABLE.iter().filter(|key| match claims.get_mut(**key) {
                Some(own) => {
                    let text = own.to_string().replace("{tenant}", &victim);
                    *own = serde_json::from_str(&text).unwrap_or_default();
                    true
                }
                None => false,
            });
            (found.count() > 0).then(|| {
                let value = tenancy.fill(&claims.to_string(), ground.id(Who::Attacker));
                let (name, value) = (literal(&setting.name), literal(&value));
                format!("SELECT pg_catalog.set_config({name}, {value}, true); ")
            })
        })
        .collect();
    if forged.is_empty() {
        return Ok(());
    }
    let readable = |relation: &&Relation| {
        relation.grants.select && ground.row(relation, Who::Victim).is_some()
    };
    let relations: Vec<&Relation> = ground.schema.tenant_relations().filter(readable).collect();
    for relation in relations {
        let theirs = ground.rows_of(relation, Who::Victim);
        let read = format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1", relation.quoted());
        let control = victim_can(stage, &read).await?;
        let forged = format!("{forged}{read}");
        let seen = stage.attempt(Who::Attacker, &forged).await?.as_attack();
        log.record(trial(&USER_METADATA, stage, relation, &forged).judge(seen, control));
    }
    Ok(())
}
