//! Forging, altering and replaying the tickets of our own wall.

use super::{Scene, after_forgery, as_power};
use crate::{
    Attack, Layer, Log, Weight,
    postgres::{
        attacks::STORE_CONTROLS,
        sql::literal,
        stage::{Gone, Stage, Who},
        tenancy::Context,
        ticket::{TicketMaker, hex, readdressed},
    },
};

pub(crate) static FORGED: Attack = Attack {
    id: "postgres.ticket-forged",
    layer: Layer::Store,
    title: "alter a ticket",
    about: "The attacker's own ticket with the victim in it, the victim's with one bit turned, cut, \
            lengthened, without a mac, with one of another key.",
    weight: Weight::Identity,
    fix: "install the wall's functions anew (partywall postgres init): the mac must cover everything \
          after it, and every length must be looked at",
    references: &["T-06", "M-18", "CWE-347"],
    supports: STORE_CONTROLS,
};

pub(crate) static REPLAYED: Attack = Attack {
    id: "postgres.ticket-replayed",
    layer: Layer::Store,
    title: "use a good ticket where it is not for",
    about: "A ticket that was honestly made for the victim, for another backend or for another \
            transaction, as one that was captured would be.",
    weight: Weight::Identity,
    fix: "install the wall's functions anew (partywall postgres init): a ticket is good on one \
          backend, and in transactions that began within its window",
    references: &["T-06", "M-18", "CWE-294"],
    supports: STORE_CONTROLS,
};

pub(crate) static KEY: Attack = Attack {
    id: "postgres.ticket-key",
    layer: Layer::Store,
    title: "get at the key that tickets are made with",
    about: "Whoever can read or replace the key, or the function that checks it, is every tenant.",
    weight: Weight::Identity,
    fix: "the key and the functions belong to a role that nobody logs in as, and nobody else has \
          rights on them: see GRANTs and memberships of the schema partywall",
    references: &["M-18", "CWE-522"],
    supports: STORE_CONTROLS,
};

/// All of them, where tickets are what tells the tenant.
pub(crate) async fn attack<S: Stage>(
    stage: &mut S,
    scene: &Scene<'_>,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let Context::Ticket { maker, pid, moment } = &scene.tenancy.context else { return Ok(()) };
    if !scene.has_sql(stage, &[&FORGED, &REPLAYED, &KEY], log) {
        return Ok(());
    }
    let (attacker, victim) = (scene.ground.id(Who::Attacker), scene.ground.id(Who::Victim));
    let own = maker.ticket(attacker, *pid, *moment);
    let theirs = maker.ticket(victim, *pid, *moment);
    let forgeries = forgeries(&own, &theirs, victim, (*pid, *moment));
    let replays = [
        ("a ticket for another backend", maker.ticket(victim, pid.wrapping_add(1), *moment)),
        ("a ticket for an earlier transaction", maker.ticket(victim, *pid, moment - 1)),
        ("a ticket for a later transaction", maker.ticket(victim, *pid, moment + 1)),
    ];
    let forgeries = forgeries.into_iter().map(|(how, ticket)| (&FORGED, how, ticket));
    let replays = replays.into_iter().map(|(how, ticket)| (&REPLAYED, how, ticket));
    for (attack, how, ticket) in forgeries.chain(replays) {
        let sql = format!("SET LOCAL partywall.ticket = {}; {}", literal(&ticket), scene.read);
        let shown = format!("SET LOCAL partywall.ticket = <{how}>; {}", scene.read);
        let seen = after_forgery(&stage.attempt(Who::Attacker, &sql).await?);
        log.record(scene.trial(stage, attack, &shown).judge(seen, scene.control.clone()));
    }
    for sql in KEY_TAKEN {
        let read_only = scene.ground.options.read_only && !sql.starts_with("SELECT 1");
        if read_only {
            continue;
        }
        let answer = stage.attempt(Who::Attacker, sql).await?;
        // Statistics say nothing in words of their own: no row is what a wall gives.
        let seen = if sql.contains("pg_stats") { answer.as_attack() } else { as_power(&answer) };
        log.record(scene.trial(stage, &KEY, sql).judge(seen, scene.control.clone()));
    }
    Ok(())
}

const KEY_TAKEN: &[&str] = &[
    "SELECT 1 FROM partywall.ticket_key LIMIT 1",
    "SELECT 1 FROM pg_catalog.pg_stats WHERE schemaname = 'partywall' AND tablename = 'ticket_key' LIMIT 1",
    "SELECT partywall.put_key(77::int2, pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex'))",
    "ALTER TABLE partywall.ticket_key OWNER TO CURRENT_USER",
    "CREATE OR REPLACE FUNCTION partywall.tenant_id() RETURNS text LANGUAGE sql STABLE AS 'SELECT ''x''::text'",
    "ALTER FUNCTION partywall.tenant_id() SECURITY INVOKER",
    "ALTER FUNCTION partywall.tenant_id() SET search_path = pg_temp",
    "CREATE FUNCTION partywall.shadow() RETURNS text LANGUAGE sql AS 'SELECT ''x''::text'",
];

/// Tickets that nobody has made; `theirs` is what the victim's good one would be.
fn forgeries(
    own: &str,
    theirs: &str,
    victim: &str,
    (pid, moment): (i32, i64),
) -> Vec<(&'static str, String)> {
    let cut = |text: &str, from: usize, to: usize| text.get(from..to).unwrap_or("").to_owned();
    let (mac, body) = (cut(theirs, 0, MAC), cut(theirs, MAC, theirs.len()));
    let window = cut(theirs, MAC, LENGTH);
    let tenant = cut(theirs, LENGTH + 2, theirs.len());
    let bit = u8::from_str_radix(&cut(&mac, 0, 1), 16).unwrap_or_default() ^ 1;
    let length = |n: usize| format!("{:02x}", n & 0xff);
    let mut forged = vec![
        ("the attacker's mac over the victim's ticket", format!("{}{body}", cut(own, 0, MAC))),
        ("a mac of zeros", format!("{}{body}", "0".repeat(MAC))),
        ("no mac", body.clone()),
        ("one bit of the mac turned", format!("{bit:x}{}{body}", cut(&mac, 1, MAC))),
        ("half the mac", format!("{}{body}", cut(&mac, 0, MAC / 2))),
        ("the victim's, a byte cut off", cut(theirs, 0, theirs.len().saturating_sub(2))),
        ("the victim's, a byte added", format!("{theirs}00")),
        ("the victim's, half a byte cut off", cut(theirs, 0, theirs.len().saturating_sub(1))),
        ("the victim's, claims added", format!("{theirs}{}", hex(br#"{"role":"admin"}"#))),
        (
            "the victim's, length doubled",
            format!("{mac}{window}{}{tenant}{tenant}", length(victim.len() * 2)),
        ),
        (
            "the victim's, window opened wide",
            format!(
                "{mac}{}{}{}",
                "0".repeat(16),
                "7".repeat(16),
                cut(theirs, LENGTH, theirs.len())
            ),
        ),
        ("the attacker's, the victim behind it", format!("{own}{tenant}")),
        (
            "the attacker's, the victim in front",
            format!(
                "{}{}{tenant}{}",
                cut(own, 0, LENGTH),
                length(victim.len()),
                cut(own, LENGTH, own.len())
            ),
        ),
        ("the victim's name", hex(victim.as_bytes())),
        ("the victim's name, in plain", victim.to_owned()),
    ];
    forged.extend(readdressed(own, victim).map(|forged| ("the attacker's, readdressed", forged)));
    let zeros = TicketMaker::from_key(&[0; 32]).map(|maker| maker.ticket(victim, pid, moment));
    forged.extend(zeros.map(|forged| ("a ticket of the key of zeros", forged)));
    forged
}

/// Hexadecimal digits of the mac, and those before the length.
const MAC: usize = 64;
const LENGTH: usize = MAC + 32;
