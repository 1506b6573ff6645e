//! The application's other roles: the visitor's beside the user's.

use super::STORE_CONTROLS;
use crate::{
    Attack, Layer, Log, Trial, Weight,
    postgres::{
        ground::Ground,
        one_session::OneSession,
        schema::Relation,
        stage::{Gone, Stage as _, Who},
    },
};

pub(crate) static READ_AS: Attack = Attack {
    id: "postgres.read-as",
    layer: Layer::Store,
    title: "read as another of the application's roles",
    about: "A login that changes into several roles, one for visitors and one for users, is as open \
            as the most open of them. With no tenant set, none may see a tenant's rows.",
    weight: Weight::Read,
    fix: "take that role's policy or its grant away: a policy USING (true) TO anon is open to everybody",
    references: &["T-05"],
    supports: STORE_CONTROLS,
};

/// Reads the victim's rows as each of the other roles.
pub(crate) async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if ground.beside.is_empty() || !relation.grants.select {
        return Ok(());
    }
    let theirs = ground.rows_of(relation, Who::Victim);
    let read = format!("SELECT 1 FROM {} WHERE {theirs} LIMIT 1", relation.quoted());
    let control = super::victim_can(stage, &read).await?;
    for role in &ground.beside {
        let seen = stage.attempt_as(role, &read).await?.as_attack();
        let trial = Trial::of(&READ_AS, relation.place())
            .between(role, stage.name(Who::Victim))
            .tried(format!("SET ROLE {role}; {read}"));
        log.record(trial.judge(seen, control.clone()));
    }
    Ok(())
}
