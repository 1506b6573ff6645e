//! A connection of its own: one where no tenant was ever set, and one whose transaction has ended.

use super::{NO_SQL, after_forgery, another, policy::ReadPolicies, set_config, tables};
use crate::{
    Attack, Control, Draft, Layer, Log, Observation, Trial, Weight,
    postgres::{
        access::Address,
        attacks::STORE_CONTROLS,
        ground::Ground,
        one_session::OneSession,
        options::Adversary,
        schema::Relation,
        sql::literal,
        stage::{Answer, Gone, Session, Stage as _, Who},
        tenancy::{Context, Tenancy},
        ticket,
    },
};

pub(crate) static UNTOUCHED: Attack = Attack {
    id: "postgres.read-untouched",
    layer: Layer::Store,
    title: "read where no tenant was ever set",
    about: "On a fresh connection the setting is not empty but NULL, which policies treat in another \
            way: what opens on NULL opens to every job and script that sets no tenant.",
    weight: Weight::Read,
    fix: "let an unset setting match no row: tenant_id = nullif(current_setting('…', true), ''), \
          without OR … IS NULL",
    references: &["T-02", "T-05"],
    supports: STORE_CONTROLS,
};

pub(crate) static COMMIT: Attack = Attack {
    id: "postgres.context-commit",
    layer: Layer::Store,
    title: "end the transaction, and be another tenant in the next",
    about: "COMMIT and BEGIN inside the injected statement: a context that was local is gone, and one \
            that is forged or kept for the session holds from then on, for whoever comes next, too.",
    weight: Weight::Identity,
    fix: "let the context be something that is good for one transaction and cannot be made in the \
          session: a signed ticket (partywall postgres init)",
    references: &["T-06", "R-08", "CWE-384"],
    supports: STORE_CONTROLS,
};

/// Both, on one more connection, where nothing is written.
pub(crate) async fn attack(
    stage: &OneSession,
    ground: &Ground,
    address: &Address,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    if matches!(stage.tenancy().context, Context::Roles | Context::Schemas | Context::Nothing) {
        return Ok(());
    }
    let place = address.shown();
    let (Some(attacker), Some(victim)) = (stage.tenant(Who::Attacker), stage.tenant(Who::Victim))
    else {
        return Ok(());
    };
    let Some(mut session) = another(address).await else {
        for attack in [&UNTOUCHED, &COMMIT] {
            let draft = Trial::of(attack, &place).tried("one more connection");
            log.record(draft.skip("the server gives no second connection"));
        }
        return Ok(());
    };
    session.send("BEGIN TRANSACTION READ ONLY").await?;
    let role = match stage.tenancy().role() {
        Some(role) => role.to_owned(),
        None => session.send("SELECT session_user").await?.first().unwrap_or_default().to_owned(),
    };
    let tenancy = stage.tenancy().renewed(&mut session).await?;
    let policies = ReadPolicies::read(&mut session, &role).await?;
    let (attacker, victim) = (attacker.clone(), victim.clone());
    let mut fresh = OneSession::new(session, tenancy, attacker, victim);
    untouched(&mut fresh, ground, &policies, log).await?;
    committed(&mut fresh, ground, &policies, log).await?;
    fresh.roll_back().await
}

async fn untouched(
    fresh: &mut OneSession,
    ground: &Ground,
    policies: &ReadPolicies,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let asked: Vec<(&Relation, String)> = ground
        .schema
        .tenant_relations()
        .filter(|relation| relation.is_table() && relation.grants.select)
        .filter_map(|relation| {
            let row = ground.row(relation, Who::Victim)?;
            Some((relation, policies.ask(relation, row)?))
        })
        .collect();
    // All of them before the first control: that touches the setting, for good.
    let mut seen = Vec::with_capacity(asked.len());
    for (_, ask) in &asked {
        seen.push(fresh.attempt(Who::Nobody, ask).await?);
    }
    for ((relation, ask), answer) in asked.iter().zip(seen) {
        let control = control(fresh, ask).await?;
        let observation = match &answer {
            // The wall's own expression fails on what is not there: loud, and closed.
            Answer::Refused(no) if no.code == "42704" => {
                Observation::refused(format!("{no} (the wall's own setting is not there)"))
            }
            answer => of_policy(answer),
        };
        let draft = Trial::of(&UNTOUCHED, relation.place())
            .between("nobody", fresh.name(Who::Victim))
            .tried(format!("on a fresh connection, of a row of the victim's: {ask}"));
        log.record(judge_apart(draft, observation, control));
    }
    Ok(())
}

/// Where not even the victim would be shown the row, the policy looks at more than the row: at rows
/// of other tables, say, which this run does not commit. That is no test.
fn judge_apart(draft: Draft, seen: Observation, control: Control) -> Trial {
    match &control {
        Control::Failed(why) if !matches!(seen, Observation::Reached(_)) => draft.skip(format!(
            "the policy cannot be asked apart from this run's rows, which are not committed ({why})"
        )),
        _ => draft.judge(seen, control),
    }
}

/// Whether the victim itself would be shown the row.
async fn control(fresh: &mut OneSession, ask: &str) -> Result<Control, Gone> {
    let answer = fresh.attempt(Who::Victim, ask).await?;
    let said = format!("its owner would be shown it: {answer}");
    Ok(if answer.count() > 0 { Control::held(said) } else { Control::failed(said) })
}

/// A policy that cannot be asked apart from its table has not been tested.
fn of_policy(answer: &Answer) -> Observation {
    match answer {
        Answer::Refused(no) if no.code == "42703" || no.code == "42P01" => {
            Observation::skipped(format!("the policy cannot be asked apart from its table: {no}"))
        }
        answer => after_forgery(answer),
    }
}

async fn committed(
    fresh: &mut OneSession,
    ground: &Ground,
    policies: &ReadPolicies,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Some(relation) = tables(ground).into_iter().next() else { return Ok(()) };
    let names = (fresh.name(Who::Attacker).to_owned(), fresh.name(Who::Victim).to_owned());
    let draft = |tried: &str| -> Draft {
        Trial::of(&COMMIT, relation.place()).between(&names.0, &names.1).tried(tried)
    };
    if ground.options.adversary == Adversary::Parameters {
        log.record(draft("SQL of its own").skip(NO_SQL));
        return Ok(());
    }
    let ask = ground.row(relation, Who::Victim).and_then(|row| policies.ask(relation, row));
    let Some(ask) = ask else {
        let why = "no policy of the table can be asked about a row on a connection of its own";
        log.record(draft("COMMIT; BEGIN; …").skip(why));
        return Ok(());
    };
    let control = control(fresh, &ask).await?;
    let tenancy = fresh.tenancy().clone();
    for way in [Way::Forged, Way::Kept("COMMIT; BEGIN"), Way::Kept("COMMIT AND CHAIN")] {
        let seen = fresh_transaction(fresh.session(), &tenancy, &names, way, &ask).await?;
        log.record(judge_apart(draft(&way.shown(&ask)), of_policy(&seen), control.clone()));
    }
    Ok(())
}

/// How the next transaction gets another tenant's context.
#[derive(Clone, Copy)]
enum Way {
    /// It is forged after the attacker's own transaction has been ended.
    Forged,
    /// The victim's is kept for the session while it is there, and the transaction ended like this.
    Kept(&'static str),
}

impl Way {
    fn shown(self, ask: &str) -> String {
        match self {
            Self::Forged => {
                format!(
                    "as the attacker: COMMIT; BEGIN; the victim's context set for the session; {ask}"
                )
            }
            Self::Kept(end) => {
                format!("the victim's context kept for the session; {end}; then as nobody: {ask}")
            }
        }
    }
}

async fn fresh_transaction(
    session: &mut Session,
    tenancy: &Tenancy,
    (attacker, victim): &(String, String),
    way: Way,
    ask: &str,
) -> Result<Answer, Gone> {
    session.send("ROLLBACK; BEGIN TRANSACTION READ ONLY").await?;
    let now = tenancy.renewed(session).await?;
    let nobody = tenancy.enter(Who::Nobody, None);
    let (bind, then) = match way {
        Way::Forged => (now.bind(attacker), forge(&now, attacker, victim)),
        Way::Kept(_) => (now.bind(victim), String::new()),
    };
    let message = match way {
        Way::Forged => {
            format!("{nobody}{bind}COMMIT; BEGIN TRANSACTION READ ONLY; {nobody}{then}{ask}")
        }
        Way::Kept(end) => {
            let begin = if end.ends_with("BEGIN") { " TRANSACTION READ ONLY" } else { "" };
            format!("{nobody}{bind}{}{end}{begin}; {nobody}{ask}", keep(&now))
        }
    };
    let answer = session.send(&message).await?;
    let clean: String =
        names(&now).iter().map(|name| format!("{}; ", set_config(name, "", false))).collect();
    session.send(&format!("ROLLBACK; {clean}BEGIN TRANSACTION READ ONLY")).await?;
    Ok(answer)
}

fn names(tenancy: &Tenancy) -> Vec<&str> {
    match &tenancy.context {
        Context::Settings(settings) => settings.iter().map(|s| s.name.as_str()).collect(),
        Context::Ticket { .. } => vec!["partywall.ticket"],
        Context::Roles | Context::Schemas | Context::Nothing => Vec::new(),
    }
}

/// Makes the context that is there last as long as the session.
fn keep(tenancy: &Tenancy) -> String {
    let keep = |name: &&str| {
        let name = literal(name);
        format!("SELECT pg_catalog.set_config({name}, pg_catalog.current_setting({name}), false); ")
    };
    names(tenancy).iter().map(keep).collect()
}

fn forge(tenancy: &Tenancy, attacker: &str, victim: &str) -> String {
    match &tenancy.context {
        Context::Settings(settings) => settings
            .iter()
            .map(|setting| {
                let value = tenancy.fill(&setting.template, victim);
                format!("{}; ", set_config(&setting.name, &value, false))
            })
            .collect(),
        Context::Ticket { maker, pid, moment } => {
            let own = maker.ticket(attacker, *pid, *moment);
            let forged = ticket::readdressed(&own, victim).unwrap_or_default();
            format!("{}; ", set_config("partywall.ticket", &forged, false))
        }
        Context::Roles | Context::Schemas | Context::Nothing => String::new(),
    }
}
