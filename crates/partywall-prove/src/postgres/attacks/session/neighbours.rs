//! What a session can see of, and do to, the session beside it.

use super::{NO_SQL, another, tables};
use crate::{
    Attack, Control, Layer, Log, Observation, Trial, Weight,
    postgres::{
        access::Address,
        attacks::STORE_CONTROLS,
        ground::Ground,
        one_session::OneSession,
        options::Adversary,
        schema::text,
        stage::{Answer, Gone, Session, Stage as _, Who},
        tenancy::{Assume, Context},
    },
};

pub(crate) static ACTIVITY: Attack = Attack {
    id: "postgres.activity",
    layer: Layer::Store,
    title: "read the statements of another's session",
    about: "pg_stat_activity shows the text of every session of the same role, with the values that \
            stand in it.",
    weight: Weight::Read,
    fix: "let each session log in as a role of its own (partywall postgres init makes one for each \
          slot), and pass values as parameters; do not grant pg_read_all_stats or pg_monitor",
    references: &["T-05", "CWE-497"],
    supports: STORE_CONTROLS,
};

pub(crate) static SIGNAL: Attack = Attack {
    id: "postgres.signal",
    layer: Layer::Store,
    title: "stop another's session",
    about: "pg_cancel_backend and pg_terminate_backend reach every session of the same role.",
    weight: Weight::Existence,
    fix: "let each session log in as a role of its own (partywall postgres init makes one for each \
          slot); do not grant pg_signal_backend",
    references: &["T-05", "CWE-400"],
    supports: STORE_CONTROLS,
};

pub(crate) static NOTIFY: Attack = Attack {
    id: "postgres.notify",
    layer: Layer::Store,
    title: "hear what a trigger says of another's rows",
    about: "A trigger that puts a row's content into NOTIFY tells it to whoever listens: channels \
            belong to the whole database, and LISTEN needs no right.",
    weight: Weight::Read,
    fix: "notify that something happened, with an id that means nothing to others, and let the \
          listener read the row as its own tenant",
    references: &["T-05", "CWE-200"],
    supports: STORE_CONTROLS,
};

/// All of them.
pub(crate) async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    address: &Address,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let place = tables(ground).first().map_or(address.shown(), |relation| relation.place());
    let names = (stage.name(Who::Attacker).to_owned(), stage.name(Who::Victim).to_owned());
    let draft = |attack: &'static Attack, tried: &str| {
        Trial::of(attack, &place).between(&names.0, &names.1).tried(tried)
    };
    if ground.options.adversary == Adversary::Parameters {
        for attack in [&ACTIVITY, &SIGNAL, &NOTIFY] {
            log.record(draft(attack, "SQL of its own").skip(NO_SQL));
        }
        return Ok(());
    }
    notify(stage, ground, log).await?;
    let others_role = matches!(stage.tenancy().context, Context::Ticket { .. });
    let why_not = match (&stage.tenancy().assume, &stage.tenancy().context) {
        // A superuser's session is one of another role, as every other slot's is.
        (Assume::Session(_), Context::Ticket { .. }) => None,
        (_, Context::Ticket { .. }) => Some(
            "each session of this wall has a role of its own, and this address is one of them: run it from an administrator's address, or attack the pool itself with partywall.toml",
        ),
        (Assume::Already, Context::Settings(_) | Context::Nothing) => None,
        (Assume::Already, _) => Some("each tenant logs in itself, and this address is one login"),
        _ => {
            Some("sessions are told apart by who logged in: connect as the application's own role")
        }
    };
    let neighbour = match why_not {
        Some(why) => Err(why),
        None => neighbour(stage, address).await?.ok_or("the server gives no second connection"),
    };
    let (session, pid) = match neighbour {
        Ok(there) => there,
        Err(why) => {
            for attack in [&ACTIVITY, &SIGNAL] {
                log.record(draft(attack, "a session of the victim's").skip(why));
            }
            return Ok(());
        }
    };
    let there = Control::held(format!("the victim's session is there, backend {pid}"));
    let look = format!(
        "SELECT pg_catalog.pg_stat_clear_snapshot(); SELECT query FROM pg_catalog.pg_stat_activity \
         WHERE pid = {pid} AND query LIKE '%{CANARY}%'"
    );
    let seen = stage.attempt(Who::Attacker, &look).await?.as_attack();
    log.record(draft(&ACTIVITY, &look).judge(seen, there.clone()));
    if others_role {
        let why =
            "the session beside is an administrator's, which no tenant's role could stop anyhow";
        log.record(draft(&SIGNAL, "a session of the victim's").skip(why));
        session.close().await;
        return Ok(());
    }
    let cancel = format!("SELECT pg_catalog.pg_cancel_backend({pid})");
    let seen = stage.attempt(Who::Attacker, &cancel).await?;
    let seen = match seen.first() {
        Some("f") => Observation::unclear("the session was not there any more"),
        _ => seen.as_attack(),
    };
    log.record(draft(&SIGNAL, &cancel).judge(seen, there));
    session.close().await;
    Ok(())
}

/// What the victim's statement says, for the attacker to find.
const CANARY: &str = "partywall_says_the_victim";

/// A session of the victim's that has just said something; nothing is written in it.
async fn neighbour(
    stage: &OneSession,
    address: &Address,
) -> Result<Option<(Session, String)>, Gone> {
    let Some(mut session) = another(address).await else { return Ok(None) };
    let bind = stage.tenancy().enter(Who::Victim, stage.tenant(Who::Victim));
    let say = format!(
        "BEGIN TRANSACTION READ ONLY; {bind}SELECT pg_catalog.pg_backend_pid() AS {CANARY}"
    );
    let answer = session.send(&say).await?;
    Ok(answer.first().map(str::to_owned).map(|pid| (session, pid)))
}

/// Triggers that say something of a row.
async fn notify(stage: &mut OneSession, ground: &Ground, log: &mut Log<'_>) -> Result<(), Gone> {
    let listen = stage.attempt(Who::Attacker, "LISTEN partywall_probe").await?;
    let control = match &listen {
        Answer::Done(_) => Control::held("LISTEN was allowed"),
        Answer::Refused(no) => Control::failed(no.to_string()),
    };
    let rows = stage.session().all(TRIGGERS).await?;
    for row in &rows {
        let oid: u32 = text(row, 0).parse().unwrap_or_default();
        let Some(relation) = ground.schema.tenant_relations().find(|r| r.oid == oid) else {
            continue;
        };
        let (trigger, function) = (text(row, 1), text(row, 2));
        if text(row, 3) != "t" {
            let text =
                format!("trigger {trigger} notifies: every session of this database may listen");
            log.note(relation.place(), text);
            continue;
        }
        let seen = format!(
            "trigger {trigger} calls {function}, which notifies with what stands in the row"
        );
        let trial = Trial::of(&NOTIFY, relation.place())
            .between(stage.name(Who::Attacker), stage.name(Who::Victim))
            .tried("LISTEN, and reading the trigger's function");
        log.record(trial.judge(Observation::reached(seen), control.clone()));
    }
    let text = "LISTEN and NOTIFY know no tenants: whoever runs SQL here hears every channel it can name, \
                and can notify on it";
    log.note("notifications", text);
    Ok(())
}

const TRIGGERS: &str = "
    SELECT t.tgrelid, t.tgname, p.proname, p.prosrc ~* '\\m(new|old)\\M'
      FROM pg_catalog.pg_trigger t
      JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
     WHERE NOT t.tgisinternal AND p.prosrc ~* '(\\mpg_notify\\M|\\mnotify\\M)'
     ORDER BY t.tgrelid, t.tgname";
