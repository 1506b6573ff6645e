//! The attacks, each in the module of its kind.

use super::{
    access::Address,
    ground::Ground,
    one_session::OneSession,
    options::Adversary,
    schema::{Class, Kind, Relation},
    stage::{Answer, Gone, Stage, Who},
};
use crate::{Attack, Control, Draft, Layer, Log, Observation, Trial, Weight};

pub(crate) mod address;
pub(crate) mod beside;
pub(crate) mod claims;
pub(crate) mod functions;
pub(crate) mod marked;
pub(crate) mod objects;
pub(crate) mod observe;
pub(crate) mod references;
pub(crate) mod rows;
pub(crate) mod schemas;
pub(crate) mod session;
pub(crate) mod triggers;
pub(crate) mod views;
pub(crate) mod writes;

/// The attacks of all modules.
pub(crate) const CATALOGUE: &[&Attack] = &[
    &DECLARE,
    &OWN_ROWS,
    &rows::READ,
    &rows::READ_UNSET,
    &rows::INSERT,
    &rows::UPDATE,
    &rows::MOVE,
    &rows::MOVE_BARE,
    &rows::TAKE,
    &rows::DELETE,
    &rows::DELETE_BARE,
    &marked::READ_KIND,
    &marked::INSERT_KIND,
    &marked::LOOKUP,
    &marked::NAMED,
    &triggers::TRIGGER,
    &session::context::SET,
    &session::context::HIDDEN,
    &session::context::INLINE,
    &session::context::RESET,
    &session::tickets::FORGED,
    &session::tickets::REPLAYED,
    &session::tickets::KEY,
    &session::alike::ALIKE,
    &session::roles::SWITCH,
    &session::roles::SECURITY_OFF,
    &session::roles::ALTER,
    &session::roles::POWERS,
    &session::roles::SHADOW,
    &session::untouched::UNTOUCHED,
    &session::untouched::COMMIT,
    &session::neighbours::ACTIVITY,
    &session::neighbours::SIGNAL,
    &session::neighbours::NOTIFY,
    &session::leftovers::CONTEXT,
    &session::leftovers::SETTING,
    &session::leftovers::PREPARED,
    &session::leftovers::CURSOR,
    &session::leftovers::LISTEN,
    &session::leftovers::TEMPORARY,
    &session::leftovers::LOCK,
    &session::server::FILES,
    &session::server::PROGRAMS,
    &session::server::SECRETS,
    &writes::INSERT_UNSET,
    &writes::INSERT_DEFAULT,
    &writes::WITH,
    &writes::UPSERT,
    &writes::INSERT_SELECT,
    &writes::JOIN,
    &writes::MERGE,
    &writes::TRUNCATE,
    &writes::OWN_TRIGGER,
    &references::UNIQUE,
    &references::REFERENCE,
    &references::CASCADE,
    &address::CTID,
    &address::LOCK_ROW,
    &address::COPY,
    &address::ERROR,
    &address::PART,
    &beside::READ_AS,
    &claims::USER_METADATA,
    &schemas::PATH,
    &schemas::CREATE,
    &schemas::STRAY,
    &views::VIEW_INSERT,
    &views::VIEW_UPDATE,
    &views::VIEW_MOVE,
    &views::VIEW_DELETE,
    &views::SPY,
    &views::MATERIALIZED,
    &functions::FUNCTION,
    &functions::FUNCTION_WRITE,
    &functions::DERIVED,
    &objects::LARGE_OBJECT,
    &objects::SHARED_WRITE,
    &observe::STATISTICS,
    &observe::ESTIMATES,
    &observe::ROWS_REMOVED,
];

/// Attacks that are nothing without a statement of the attacker's own.
const OWN_SQL: &[&Attack] = &[
    &writes::TRUNCATE,
    &writes::OWN_TRIGGER,
    &address::CTID,
    &address::LOCK_ROW,
    &address::COPY,
    &address::ERROR,
    &views::SPY,
    &observe::STATISTICS,
    &observe::ESTIMATES,
    &observe::ROWS_REMOVED,
];

/// Frameworks' controls that isolation in the store supports.
pub(crate) const STORE_CONTROLS: &[&str] =
    &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2", "lens:REL3"];

pub(crate) static DECLARE: Attack = Attack {
    id: "postgres.declare",
    layer: Layer::Store,
    title: "every table is somebody's or everybody's",
    about: "A table without a tenant column is either the same for all tenants or forgotten; \
            nobody but its owner can say which.",
    weight: Weight::Read,
    fix: "declare it with --shared TABLE, name its tenant column with --tenant-column TABLE:COLUMN, \
          or take the application's rights to it away",
    references: &["M-24", "T-05"],
    supports: STORE_CONTROLS,
};

pub(crate) static OWN_ROWS: Attack = Attack {
    id: "postgres.own-rows",
    layer: Layer::Store,
    title: "each tenant writes and reads its own",
    about: "The control of all others: a wall that denies everyone proves nothing.",
    weight: Weight::Existence,
    fix: "see why the tenant's own statement fails, as said beside",
    references: &["M-24"],
    supports: STORE_CONTROLS,
};

/// Attacks everything, as each of the two tenants in turn.
pub(crate) async fn all(
    stage: &mut OneSession,
    ground: &mut Ground,
    address: &Address,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    prepare(stage, ground, log).await?;
    views::refresh(stage, ground).await?;
    objects::sequences(stage, ground, log).await?;
    declare(ground, log);
    schemas::strays(ground, log);
    ground.take_sides();
    if ground.options.adversary == Adversary::Parameters {
        for attack in OWN_SQL {
            let draft = Trial::of(attack, "SQL of the attacker's own");
            log.record(draft.skip("the attacker sends values, not statements"));
        }
    }
    for turn in 0..2 {
        if turn > 0 {
            stage.turn();
            ground.turn();
        }
        let relations: Vec<Relation> = ground.schema.tenant_relations().cloned().collect();
        for relation in &relations {
            at(stage, ground, relation, log).await?;
        }
        log.begin("what all tables have in common");
        objects::attack(stage, ground, log).await?;
        observe::attack(stage, ground, log).await?;
        functions::attack(stage, ground, log).await?;
        triggers::attack(stage, ground, log).await?;
        log.begin("the session");
        let tenancy = stage.tenancy().clone();
        session::attack(stage, ground, &tenancy, log).await?;
        claims::attack(stage, ground, log).await?;
        schemas::create(stage, ground, log).await?;
    }
    log.begin("other connections");
    session::attack_apart(stage, ground, address, log).await
}

/// Attacks one relation, in one direction.
pub(crate) async fn at(
    stage: &mut OneSession,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    log.begin(&relation.place());
    if ground.schema.is_partition(relation) {
        return address::part(stage, ground, relation, log).await;
    }
    if relation.kind == Kind::Materialized {
        return views::materialized(stage, ground, relation, log).await;
    }
    rows::attack(stage, ground, relation, log).await?;
    hanging(stage, ground, relation, log).await?;
    references::cascade(stage, ground, relation, log).await?;
    marked::attack(stage, ground, relation, log).await?;
    schemas::attack(stage, ground, relation, log).await?;
    beside::attack(stage, ground, relation, log).await
}

/// What hangs on one relation: unusual writes, keys, places, copies, errors.
pub(crate) async fn hanging<S: Stage>(
    stage: &mut S,
    ground: &Ground,
    relation: &Relation,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let footing = Footing::of(stage, ground, relation).await?;
    writes::attack(stage, ground, relation, &footing, log).await?;
    references::attack(stage, ground, relation, &footing, log).await?;
    views::attack(stage, ground, relation, &footing, log).await?;
    address::attack(stage, ground, relation, &footing, log).await
}

/// What several attacks at one relation stand on.
pub(crate) struct Footing {
    /// Whether the victim reads a row of its own.
    pub reads: Control,
    /// Where that row is on disk.
    pub place: Option<String>,
    /// Whether the attacker may add a row of its own.
    pub own_insert: Control,
}

impl Footing {
    async fn of<S: Stage>(
        stage: &mut S,
        ground: &Ground,
        relation: &Relation,
    ) -> Result<Self, Gone> {
        let own_insert = writes::own_insert(stage, ground, relation).await?;
        if !relation.grants.select {
            let reads = Control::failed("the application may not read it");
            return Ok(Self { reads, place: None, own_insert });
        }
        let place = if relation.is_table() { "ctid::text" } else { "1" };
        let locked = relation.is_table() && relation.grants.update && !ground.options.read_only;
        let sql = format!(
            "SELECT {place} FROM {} WHERE {} LIMIT 1{}",
            relation.quoted(),
            ground.rows_of(relation, Who::Victim),
            if locked { " FOR UPDATE" } else { "" }
        );
        let answer = stage.attempt(Who::Victim, &sql).await?;
        let said = format!("its owner: {answer}");
        let reads = if answer.count() > 0 { Control::held(said) } else { Control::failed(said) };
        let place = answer.first().filter(|_| relation.is_table()).map(str::to_owned);
        Ok(Self { reads, place, own_insert })
    }
}

/// Sees to it that each tenant has a row in every table, and says where it has none.
pub(crate) async fn prepare(
    stage: &mut OneSession,
    ground: &mut Ground,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let (unseeded, for_it) = if ground.options.read_only {
        (ground.find(stage).await?, Vec::new())
    } else {
        ground.seed(stage).await?
    };
    for written in for_it {
        if let Some(relation) = ground.schema.relation(written.oid) {
            let why = written.why;
            let text = format!(
                "written by the connection's own role, as the application's may not: {why}"
            );
            log.note(relation.place(), text);
        }
    }
    for unseeded in unseeded {
        let Some(relation) = ground.schema.relation(unseeded.oid) else { continue };
        if !relation.grants.any() {
            let why = format!(
                "{}'s row could not be written ({}), and the application cannot reach the table",
                unseeded.tenant, unseeded.why
            );
            log.note(relation.place(), why);
            continue;
        }
        let draft = Trial::of(&OWN_ROWS, relation.place())
            .between(&unseeded.tenant, &unseeded.tenant)
            .tried("a row of its own")
            .fix(unseeded.fix);
        let none = Control::failed("no row to look for");
        log.record(draft.judge(Observation::unclear(unseeded.why), none));
    }
    Ok(())
}

/// Every relation the application can reach must be somebody's or everybody's.
fn declare(ground: &Ground, log: &mut Log<'_>) {
    for relation in &ground.schema.relations {
        if relation.class != Class::Undeclared || !relation.grants.any() {
            continue;
        }
        let seen =
            Observation::unclear("the application may reach it, and no column names a tenant");
        let draft = Trial::of(&DECLARE, relation.place()).tried("read from the catalogue");
        log.record(draft.judge(seen, Control::failed("nobody has declared it")));
    }
}

/// A trial at a relation, between the two.
pub(crate) fn trial<S: Stage>(
    attack: &'static Attack,
    stage: &S,
    relation: &Relation,
    sql: &str,
) -> Draft {
    Trial::of(attack, relation.place())
        .between(stage.name(Who::Attacker), stage.name(Who::Victim))
        .tried(sql)
}

/// The control of most attacks: whether the victim can do to its own what the attacker tries.
pub(crate) async fn victim_can<S: Stage>(stage: &mut S, sql: &str) -> Result<Control, Gone> {
    let answer = stage.attempt(Who::Victim, sql).await?;
    Ok(match &answer {
        Answer::Done(done) if done.count > 0 => Control::held(format!("its owner: {answer}")),
        // It reached its own row; what stopped it stands behind the wall.
        Answer::Refused(refusal) if refusal.is_past_the_wall() => {
            Control::held(format!("its owner: {refusal}"))
        }
        answer => Control::failed(format!("its owner: {answer}")),
    })
}

/// The control of attacks that do what the attacker may do, with a twist.
pub(crate) async fn attacker_can<S: Stage>(stage: &mut S, sql: &str) -> Result<Control, Gone> {
    let answer = stage.attempt(Who::Attacker, sql).await?;
    let said = format!("the attacker, its own: {answer}");
    Ok(if answer.count() > 0 { Control::held(said) } else { Control::failed(said) })
}

/// Judges a statement with no tenant set: it may also fail loudly on the very setting that is
/// missing.
pub(crate) fn when_unset(answer: &Answer) -> Observation {
    match answer {
        // The wall's own expression fails on what is not there: loud, and closed.
        Answer::Refused(no)
            if no.code == "42704" && no.message.contains("configuration parameter") =>
        {
            Observation::refused(format!("{no} (the wall's own setting is not there)"))
        }
        Answer::Refused(no) if no.code == "22P02" && no.message.ends_with("\"\"") => {
            Observation::refused(format!("{no} (the wall's own setting is empty)"))
        }
        answer => answer.as_attack(),
    }
}
