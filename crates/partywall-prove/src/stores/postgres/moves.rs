//! What the attacker says in its own transaction, attack by attack.

use partywall::Store;
use sqlx::PgConnection;

use super::{
    Place, PostgresHandle, PostgresSiege, Trouble, attacks, judge, look_for_all, rows, undone,
    write,
};
use crate::Log;
use crate::{
    Attack, Observation, Trial,
    postgres::{Answer, send, sql},
    stores::{
        Besieged as _, Pair,
        general::{stands_in, worst},
        opening,
    },
};

/// When a statement has done what the attacker wanted.
#[derive(Clone, Debug)]
pub(super) enum Wins {
    /// When it runs at all.
    IfItRuns,
    /// When it gives or changes a row at all.
    IfItHasRows,
    /// When this stands in its answer.
    IfItShows(String),
    /// When the victim's rows are there after it.
    ThenLook,
}
use Wins::{IfItHasRows, IfItRuns, IfItShows, ThenLook};

/// One statement.
pub(super) struct Move {
    sql: String,
    wins: Wins,
    /// Said without a savepoint, in a transaction nobody needs afterwards.
    bare: bool,
}

impl Move {
    pub(super) fn new(sql: impl Into<String>, wins: Wins) -> Self {
        Self { sql: sql.into(), wins, bare: false }
    }

    fn bare(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), wins: ThenLook, bare: true }
    }
}

/// What the victim's own transaction says about itself.
struct Victim {
    id: String,
    place: Place,
    database: String,
    role: String,
    pid: String,
    /// What binds it, where it is bound by something that is said.
    ticket: Option<String>,
    marker: String,
}

impl Victim {
    async fn of(conn: &mut PgConnection, pair: &Pair<'_>) -> Result<Self, Trouble> {
        let place = Place::of(conn).await?;
        let marker = format!("prove-{}-{}", pair.attacker.name, pair.victim.name);
        let ask = format!(
            "SELECT pg_catalog.current_database(), CURRENT_USER, pg_catalog.pg_backend_pid(), \
             nullif(pg_catalog.current_setting('partywall.ticket', true), ''), {}",
            sql::literal(&marker)
        );
        let answer = rows(conn, &ask).await?;
        let Some([Some(database), Some(role), Some(pid), ticket, _]) =
            answer.first().map(Vec::as_slice)
        else {
            return Err(Trouble::NoPlace);
        };
        let id = pair.victim.context.tenant().as_str().to_owned();
        let [database, role, pid] = [database, role, pid].map(Clone::clone);
        Ok(Self { id, place, database, role, pid, ticket: ticket.clone(), marker })
    }
}

/// What the attacker finds out about where it is.
struct Attacker {
    place: Place,
    role: String,
    /// Settings that row policies go by.
    settings: Vec<String>,
    /// Roles worth becoming: owners of tables, superusers, whoever reads everything.
    roles: Vec<String>,
    large_objects: Vec<String>,
}

impl Attacker {
    async fn of(conn: &mut PgConnection) -> Result<Self, Trouble> {
        let place = Place::of(conn).await?;
        let role = first_column(rows(conn, "SELECT CURRENT_USER").await?).concat();
        let settings = first_column(rows(conn, POLICY_SETTINGS).await?);
        let roles = first_column(rows(conn, STRONG_ROLES).await?);
        let large_objects = first_column(rows(conn, LARGE_OBJECTS).await?);
        Ok(Self { place, role, settings, roles, large_objects })
    }
}

const POLICY_SETTINGS: &str = "
    SELECT DISTINCT m[1] FROM pg_catalog.pg_policies p, pg_catalog.regexp_matches(
        coalesce(p.qual, '') || coalesce(p.with_check, ''),
        'current_setting\\(''([^'']+)''', 'g') m
    ORDER BY 1 LIMIT 8";

const STRONG_ROLES: &str = "
    SELECT rolname FROM pg_catalog.pg_roles
    WHERE rolsuper OR rolbypassrls OR rolname IN ('pg_read_all_data', 'pg_write_all_data')
       OR oid IN (SELECT relowner FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p'))
    ORDER BY 1 LIMIT 12";

const LARGE_OBJECTS: &str =
    "SELECT oid::text FROM pg_catalog.pg_largeobject_metadata ORDER BY oid LIMIT 4";

fn first_column(rows: Vec<Vec<Option<String>>>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
}

/// Makes every attack that takes no more than statements, one trial for each.
pub(super) async fn make_all<S>(siege: &PostgresSiege<S>, pair: &Pair<'_>, log: &mut Log<'_>)
where
    S: Store,
    S::Handle: PostgresHandle,
{
    let attacks: [&'static Attack; 9] = [
        &attacks::WRITE,
        &attacks::FORGED,
        &attacks::STOLEN,
        &attacks::TRANSACTION,
        &attacks::ROLE,
        &attacks::ELSEWHERE,
        &attacks::SERVER,
        &attacks::LARGE_OBJECTS,
        &attacks::PEEK,
    ];
    // The victim's transaction stays open: there is a ticket to steal and a session to look at.
    let mut theirs = match pair.victim.context.open(siege.store()).await {
        Ok(handle) => handle,
        Err(error) => {
            let seen = opening::<PostgresSiege<S>>(&error).text().to_owned();
            for attack in attacks {
                let seen = Observation::unclear(format!("the victim cannot open it: {seen}"));
                log.record(pair.trial(attack).judge(seen, pair.control.clone()));
            }
            return;
        }
    };
    let known = Victim::of(theirs.conn(), pair).await;
    for attack in attacks {
        let trial = match &known {
            Ok(victim) => make(siege, pair, victim, attack).await,
            Err(why) => {
                let seen = Observation::unclear(why.to_string());
                pair.trial(attack).judge(seen, pair.control.clone())
            }
        };
        log.record(trial);
    }
}

async fn make<S>(
    siege: &PostgresSiege<S>,
    pair: &Pair<'_>,
    victim: &Victim,
    attack: &'static Attack,
) -> Trial
where
    S: Store,
    S::Handle: PostgresHandle,
{
    let draft = pair.trial(attack);
    let mut ours = match pair.attacker.context.open(siege.store()).await {
        Ok(handle) => handle,
        Err(error) => {
            let seen = format!("the attacker cannot open it: {error}");
            return draft.judge(Observation::unclear(seen), pair.control.clone());
        }
    };
    let prepared = match Attacker::of(ours.conn()).await {
        Ok(attacker) => moves(ours.conn(), pair, victim, &attacker, attack).await,
        Err(why) => Err(Observation::unclear(why.to_string())),
    };
    let moves = match prepared {
        Ok(moves) => moves,
        Err(Observation::Skipped(why)) => return draft.skip(why),
        Err(seen) => return draft.judge(seen, pair.control.clone()),
    };
    let (mut seen, mut tried) = (Vec::new(), Vec::new());
    for said in moves {
        if said.bare {
            // It ends the transaction, so it gets one of its own.
            drop(ours);
            ours = match pair.attacker.context.open(siege.store()).await {
                Ok(handle) => handle,
                Err(error) => {
                    let seen = format!("the attacker cannot open it: {error}");
                    return draft.judge(Observation::unclear(seen), pair.control.clone());
                }
            };
        }
        seen.push(play(ours.conn(), &said, pair).await);
        tried.push(shown(&said.sql, victim));
    }
    let count = seen.len();
    let seen = worst(seen).unwrap_or_else(|| Observation::skipped("nothing was said"));
    let seen = match seen {
        Observation::Refused(text) if count > 1 => {
            Observation::refused(format!("{text} ({count} statements)"))
        }
        other => other,
    };
    draft.tried(tried.join(";\n")).judge(seen, pair.control.clone())
}

/// No ticket is ever in a report.
fn shown(statement: &str, victim: &Victim) -> String {
    match &victim.ticket {
        Some(ticket) => statement.replace(ticket, "<the victim's ticket>"),
        None => statement.to_owned(),
    }
}

async fn moves(
    conn: &mut PgConnection,
    pair: &Pair<'_>,
    victim: &Victim,
    attacker: &Attacker,
    attack: &'static Attack,
) -> Result<Vec<Move>, Observation> {
    let together = attacker.place == victim.place;
    let same_server = attacker.place.server == victim.place.server;
    let skip = |why: &str| Err(Observation::skipped(why));
    let looks = matches!(attack.id, id if id == attacks::FORGED.id
        || id == attacks::STOLEN.id
        || id == attacks::TRANSACTION.id
        || id == attacks::ROLE.id);
    if looks && pair.holdings.is_empty() {
        return skip("the victim has no rows to look for");
    }
    Ok(match attack.id {
        id if id == attacks::WRITE.id => {
            if !together {
                return skip("another database: it has no way to name the victim's rows");
            }
            if pair.holdings.is_empty() {
                return skip("the victim has no rows to change");
            }
            write::moves(conn, pair).await.map_err(|why| Observation::unclear(why.to_string()))?
        }
        id if id == attacks::FORGED.id => forged(victim, attacker),
        id if id == attacks::STOLEN.id => match &victim.ticket {
            Some(ticket) => stolen(ticket),
            None => return skip("the victim's login is its own, and there is no ticket to steal"),
        },
        id if id == attacks::TRANSACTION.id => transaction(victim),
        id if id == attacks::ROLE.id => roles(victim, attacker),
        id if id == attacks::ELSEWHERE.id => elsewhere(pair, victim),
        id if id == attacks::SERVER.id => SERVER.iter().map(|s| Move::new(*s, IfItRuns)).collect(),
        id if id == attacks::LARGE_OBJECTS.id => match attacker.large_objects.as_slice() {
            _ if !together => return skip("another database, with large objects of its own"),
            [] => return skip("there are no large objects in this database"),
            some => some
                .iter()
                .map(|id| Move::new(format!("SELECT pg_catalog.lo_get({id})"), IfItRuns))
                .collect(),
        },
        id if id == attacks::PEEK.id => {
            if !same_server {
                return skip("another server: none of its views shows the victim's session");
            }
            peek(victim)
        }
        _ => Vec::new(),
    })
}

/// Saying that one is another, in every way a setting can be written.
fn forged(victim: &Victim, attacker: &Attacker) -> Vec<Move> {
    let id = sql::literal(&victim.id);
    let hex: String = victim.id.bytes().map(|byte| format!("{byte:02x}")).collect();
    let ticket = sql::literal(&format!("{}{:02x}{hex}", "00".repeat(48), victim.id.len()));
    let named = attacker.settings.iter().map(|name| (sql::literal(name), name, &id));
    let ours = "partywall.ticket".to_owned();
    let mut moves = Vec::new();
    for (quoted, name, value) in named.chain([(sql::literal(&ours), &ours, &ticket)]) {
        let call = |local: &str| format!("pg_catalog.set_config({quoted}, {value}, {local})");
        let inside = format!("SELECT {}", call("true"));
        moves.extend([
            Move::new(format!("SELECT {}", call("true")), ThenLook),
            Move::new(format!("SELECT {}", call("false")), ThenLook),
            Move::new(format!("SELECT * FROM {}", call("true")), ThenLook),
            Move::new(format!("SET {name} = {value}"), ThenLook),
            Move::new(format!("SET SESSION {name} = {value}"), ThenLook),
            // F10: a write hidden in a string.
            Move::new(
                format!(
                    "SELECT pg_catalog.query_to_xml({}, true, false, '')",
                    sql::literal(&inside)
                ),
                ThenLook,
            ),
            Move::new(format!("RESET {name}"), ThenLook),
        ]);
    }
    moves.push(Move::new("RESET ALL", ThenLook));
    moves
}

/// The victim's own ticket, copied out of its open transaction.
fn stolen(ticket: &str) -> Vec<Move> {
    let ticket = sql::literal(ticket);
    let call = |local: &str| {
        format!("SELECT pg_catalog.set_config('partywall.ticket', {ticket}, {local})")
    };
    vec![
        Move::new(call("true"), ThenLook),
        Move::new(call("false"), ThenLook),
        Move::new(format!("SET LOCAL partywall.ticket = {ticket}"), ThenLook),
        Move::bare(format!("COMMIT; BEGIN; {}", call("true"))),
        Move::bare(format!("{}; COMMIT; BEGIN", call("false"))),
    ]
}

/// Leaving the transaction one was bound in.
fn transaction(victim: &Victim) -> Vec<Move> {
    let _ = victim;
    ["COMMIT; BEGIN", "ROLLBACK; BEGIN", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "COMMIT"]
        .map(Move::bare)
        .into()
}

/// Becoming somebody else.
fn roles(victim: &Victim, attacker: &Attacker) -> Vec<Move> {
    let mut others: Vec<&String> = attacker.roles.iter().chain([&victim.role]).collect();
    others.retain(|role| **role != attacker.role);
    others.dedup();
    let mut moves: Vec<Move> = others
        .into_iter()
        .flat_map(|role| {
            let role = sql::ident(role);
            [
                Move::new(format!("SET ROLE {role}"), IfItRuns),
                Move::new(format!("SET SESSION AUTHORIZATION {role}"), IfItRuns),
            ]
        })
        .collect();
    let resets =
        ["RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE", "SET row_security = off"];
    moves.extend(resets.map(|reset| Move::new(reset, ThenLook)));
    moves
}

/// The victim's database and tables by their full names, and ways to call another server.
fn elsewhere(pair: &Pair<'_>, victim: &Victim) -> Vec<Move> {
    let database = sql::ident(&victim.database);
    let tables = pair.holdings.iter().filter_map(|holding| holding.table.split_once('.'));
    let mut moves: Vec<Move> = tables
        .take(4)
        .map(|(schema, table)| {
            let name = format!("{database}.{}.{}", sql::ident(schema), sql::ident(table));
            let marker = pair.holdings.iter().map(|holding| holding.marker.clone()).next();
            let shows = IfItShows(marker.unwrap_or_default());
            Move::new(format!("SELECT tableoid || ' ' || ctid FROM {name}"), shows)
        })
        .collect();
    let connect = sql::literal(&format!("dbname={}", victim.database));
    moves.extend([
        Move::new("CREATE EXTENSION dblink", IfItRuns),
        Move::new("CREATE EXTENSION postgres_fdw", IfItRuns),
        Move::new("CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw", IfItRuns),
        Move::new(format!("SELECT dblink_connect({connect})"), IfItRuns),
    ]);
    moves
}

/// The server's files and programs.
const SERVER: &[&str] = &[
    "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'",
    "COPY (SELECT 1) TO '/tmp/partywall-prove.out'",
    "SELECT pg_catalog.pg_read_file('PG_VERSION')",
    "SELECT pg_catalog.pg_ls_dir('.')",
    "SELECT pg_catalog.lo_import('/etc/hostname')",
    "SELECT pg_catalog.lo_export(1, '/tmp/partywall-prove.out')",
    "SELECT pg_catalog.pg_reload_conf()",
    "SELECT passwd FROM pg_catalog.pg_shadow",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS 'libc', 'abs'",
];

/// What the server shows of others' sessions. Locks are shown to everybody, and not counted: they
/// name tables, which the attacker shares.
fn peek(victim: &Victim) -> Vec<Move> {
    let (pid, marker) = (&victim.pid, &victim.marker);
    let shows = || IfItShows(marker.clone());
    vec![
        Move::new(
            format!("SELECT query FROM pg_catalog.pg_stat_activity WHERE pid = {pid}"),
            shows(),
        ),
        Move::new("SELECT query FROM pg_catalog.pg_stat_activity", shows()),
        Move::new(format!("SELECT query FROM pg_catalog.pg_stat_get_activity({pid})"), shows()),
        Move::new("SELECT statement FROM pg_catalog.pg_prepared_statements", shows()),
        Move::new("SELECT statement FROM pg_catalog.pg_cursors", shows()),
    ]
}

/// Ends the victim's query and its session. The last thing that is tried: it may succeed.
pub(super) async fn interfere<S>(siege: &PostgresSiege<S>, pair: &Pair<'_>) -> Trial
where
    S: Store,
    S::Handle: PostgresHandle,
{
    let draft = pair.trial(&attacks::INTERFERE);
    let (mut theirs, mut ours) = match (
        pair.victim.context.open(siege.store()).await,
        pair.attacker.context.open(siege.store()).await,
    ) {
        (Ok(theirs), Ok(ours)) => (theirs, ours),
        (Err(error), _) | (_, Err(error)) => {
            return draft.judge(opening_unclear(&error), pair.control.clone());
        }
    };
    let victim = match Victim::of(theirs.conn(), pair).await {
        Ok(victim) => victim,
        Err(why) => {
            return draft.judge(Observation::unclear(why.to_string()), pair.control.clone());
        }
    };
    match Place::of(ours.conn()).await {
        Ok(place) if place.server == victim.place.server => {}
        Ok(_) => return draft.skip("another server: it knows no session of the victim's"),
        Err(why) => {
            return draft.judge(Observation::unclear(why.to_string()), pair.control.clone());
        }
    }
    let pid = &victim.pid;
    let moves = [
        format!("SELECT pg_catalog.pg_cancel_backend({pid})"),
        format!("SELECT pg_catalog.pg_terminate_backend({pid})"),
    ];
    let mut seen = Vec::new();
    for said in &moves {
        seen.push(play(ours.conn(), &Move::new(said, IfItShows("t".to_owned())), pair).await);
    }
    if send(theirs.conn(), "SELECT 1").await.is_err() {
        seen.push(Observation::reached("the victim's session is gone"));
    }
    let seen = worst(seen).unwrap_or_else(|| Observation::skipped("nothing was said"));
    draft.tried(moves.join(";\n")).judge(seen, pair.control.clone())
}

fn opening_unclear(error: &dyn std::error::Error) -> Observation {
    Observation::unclear(format!("two handles cannot be had at once: {error}"))
}

/// Says one statement and sees what came of it.
async fn play(conn: &mut PgConnection, said: &Move, pair: &Pair<'_>) -> Observation {
    if matches!(said.wins, ThenLook) {
        return match said_and_looked(conn, said, pair).await {
            Ok(seen) => seen,
            Err(gone) => Observation::unclear(gone.to_string()),
        };
    }
    let answer = match undone(conn, &said.sql).await {
        Ok(answer) => answer,
        Err(gone) => return Observation::unclear(gone.to_string()),
    };
    match (&said.wins, &answer) {
        (_, Answer::Refused(_)) => judge(&answer),
        (IfItRuns, Answer::Done(_)) => Observation::reached(format!("`{}` ran", said.sql)),
        (IfItHasRows, Answer::Done(done)) if done.count > 0 => {
            Observation::reached(format!("`{}`: {done}", said.sql))
        }
        (IfItShows(needle), Answer::Done(done))
            if done.rows.iter().flatten().flatten().any(|text| stands_in(text, needle)) =>
        {
            Observation::reached(format!("`{}` shows it", said.sql))
        }
        (_, Answer::Done(_)) => Observation::nothing("nothing of the victim's"),
    }
}

/// Says it, looks for the victim's rows in what follows, and undoes it.
async fn said_and_looked(
    conn: &mut PgConnection,
    said: &Move,
    pair: &Pair<'_>,
) -> Result<Observation, crate::postgres::Gone> {
    if !said.bare {
        send(conn, "SAVEPOINT partywall_prove_move").await?;
    }
    let answer = send(conn, &said.sql).await?;
    let seen = match &answer {
        Answer::Refused(_) => judge(&answer),
        Answer::Done(_) => match look_for_all(conn, pair.holdings).await {
            Observation::Reached(seen) => {
                Observation::reached(format!("after `{}`: {seen}", said.sql))
            }
            other => other,
        },
    };
    if !said.bare {
        send(conn, "ROLLBACK TO SAVEPOINT partywall_prove_move").await?;
    }
    Ok(seen)
}
