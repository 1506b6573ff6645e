//! Who a session says it is, and what it leaves behind.
//!
//! The rows are attacked everywhere; a session is attacked at a table for each way
//! the policies have to say whose a row is.

use std::{collections::BTreeSet, time::Duration};

use super::{trial, victim_can};
use crate::{
    Attack, Control, Draft, Log, Observation,
    postgres::{
        access::Address,
        ground::Ground,
        one_session::OneSession,
        options::Adversary,
        schema::{Kind, Relation},
        sql::{ident, literal},
        stage::{Answer, Gone, Session, Stage, Who},
        tenancy::{Context, Tenancy},
    },
};

pub(crate) mod alike;
pub(crate) mod context;
pub(crate) mod leftovers;
pub(crate) mod neighbours;
mod policy;
pub(crate) mod roles;
pub(crate) mod server;
pub(crate) mod tickets;
pub(crate) mod untouched;

/// How many tables a session is attacked at, at most.
const TABLES: usize = 8;

/// Why attacks that need SQL of the attacker's own are not made.
pub(crate) const NO_SQL: &str = "the attacker of this run sends values, not statements";

/// Where a session is attacked: a table in which both tenants have a row.
pub(crate) struct Scene<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) tenancy: &'a Tenancy,
    pub(crate) relation: &'a Relation,
    /// Gives a row of the victim's, if there is one to be seen.
    pub(crate) read: String,
    /// Whether it does for the victim itself.
    pub(crate) control: Control,
}

/// All attacks on a session that can be made where both tenants are.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    tenancy: &Tenancy,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    for (nth, relation) in tables(ground).into_iter().enumerate() {
        let read = read_of(ground, relation, Who::Victim);
        let control = victim_can(stage, &read).await?;
        let scene = Scene { ground, tenancy, relation, read, control };
        context::attack(stage, &scene, log).await?;
        tickets::attack(stage, &scene, log).await?;
        alike::attack(stage, &scene, log).await?;
        roles::attack(stage, &scene, log).await?;
        if nth == 0 {
            server::attack(stage, &scene, log).await?;
        }
    }
    Ok(())
}

/// The attacks that need connections of their own: the rows of this run are not there.
pub(crate) async fn attack_apart(
    stage: &mut OneSession,
    ground: &Ground,
    address: &Address,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    roles::note_own_defaults(stage, ground, log).await?;
    untouched::attack(stage, ground, address, log).await?;
    neighbours::attack(stage, ground, address, log).await?;
    leftovers::attack(stage, ground, address, log).await
}

/// One more connection, if there is one to be had before long: a pooler lets its clients wait.
async fn another(address: &Address) -> Option<Session> {
    match tokio::time::timeout(PATIENCE, address.connect()).await {
        Ok(Ok(session)) => Some(session),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no further connection");
            None
        }
        Err(_) => None,
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

/// `SELECT 1 FROM … WHERE …`: one row if `who`'s can be seen.
pub(crate) fn read_of(ground: &Ground, relation: &Relation, who: Who) -> String {
    format!("SELECT 1 FROM {} WHERE {} LIMIT 1", relation.quoted(), ground.rows_of(relation, who))
}

/// The tables at which a session is attacked: of those with a grant and both rows the first, and
/// then one for each way the policies have to say whose a row is. What a session says holds for the
/// whole database, but one table may believe it where another does not.
pub(crate) fn tables(ground: &Ground) -> Vec<&Relation> {
    let fit = |relation: &&Relation| {
        matches!(relation.kind, Kind::Table | Kind::Partitioned)
            && relation.grants.select
            && ground.row(relation, Who::Attacker).is_some()
            && ground.row(relation, Who::Victim).is_some()
    };
    let mut fitting: Vec<&Relation> = ground.schema.tenant_relations().filter(fit).collect();
    fitting.sort_by_key(|relation| !relation.row_security.0);
    let mut ways = BTreeSet::new();
    let mut seen = 0;
    fitting.retain(|relation| {
        let column = relation.tenant_column().map(|column| (&column.name, &column.type_name));
        seen += 1;
        ways.insert((ground.policies.of_table(relation.oid), column)) || seen <= 2
    });
    fitting.truncate(TABLES);
    fitting
}

impl Scene<'_> {
    /// A trial here; `sql` is shown as what was tried.
    pub(crate) fn trial<S: Stage>(&self, stage: &S, attack: &'static Attack, shown: &str) -> Draft {
        trial(attack, stage, self.relation, shown)
    }

    /// Whether the attacker runs SQL of its own; if not, says so of each of the attacks.
    pub(crate) fn has_sql<S: Stage>(
        &self,
        stage: &S,
        attacks: &[&'static Attack],
        log: &mut Log<'_>,
    ) -> bool {
        let has = self.ground.options.adversary == Adversary::SqlInjection;
        if !has {
            for attack in attacks {
                log.record(self.trial(stage, attack, "SQL of its own").skip(NO_SQL));
            }
        }
        has
    }

    /// What the settings that tell the tenant would hold for the victim.
    pub(crate) fn settings_of(&self, id: &str) -> Vec<(String, String)> {
        match &self.tenancy.context {
            Context::Settings(settings) => settings
                .iter()
                .map(|setting| (setting.name.clone(), self.tenancy.fill(&setting.template, id)))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// Judges the read after a forgery. An error about the forged *value* is the wall failing to make
/// sense of it, and closed: the control shows that the same statement runs with a good one.
pub(crate) fn after_forgery(answer: &Answer) -> Observation {
    match answer {
        Answer::Refused(no) if no.code.starts_with("22") => {
            Observation::refused(format!("{no} (the wall makes no sense of what was forged)"))
        }
        Answer::Refused(no) if no.code == "0A000" => {
            Observation::skipped(format!("this server cannot do it: {no}"))
        }
        answer => answer.as_attack(),
    }
}

/// Judges a statement that nobody but an administrator should be able to run at all.
pub(crate) fn as_power(answer: &Answer) -> Observation {
    match answer {
        Answer::Done(done) => Observation::reached(format!("it ran ({done})")),
        answer => answer.as_attack(),
    }
}

/// `SELECT set_config('app.tenant', '…', true)`
pub(crate) fn set_config(name: &str, value: &str, local: bool) -> String {
    format!("SELECT pg_catalog.set_config({}, {}, {local})", literal(name), literal(value))
}

/// `"app"."tenant"`: a setting's name as SET wants it.
pub(crate) fn setting_name(name: &str) -> String {
    name.split('.').map(ident).collect::<Vec<_>>().join(".")
}
