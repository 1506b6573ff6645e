//! What the attacker says in its own session, attack by attack.

use partywall::Store;
use partywall_sqlite::types::Value;

use super::{NewFile, SqliteHandle, SqliteSiege, attacks, quoted};
use crate::{
    Attack, Log, Observation,
    stores::{
        Besieged as _, Holding, Pair,
        general::{rows as in_rows, stands_in, worst},
        opening,
    },
};

/// When a statement has done what the attacker wanted.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Wins {
    /// When something of the victim's is in the answer.
    IfItShows,
    /// When it runs at all.
    IfItRuns,
}
use Wins::{IfItRuns, IfItShows};

/// Statements, by the attack they belong to. `{t}` is a table, `{base}` that table in the file,
/// `{file}` the victim's file, `{new}` a file that does not exist.
const MOVES: &[(&Attack, Wins, &[&str])] = &[
    (
        &attacks::AROUND,
        IfItShows,
        &[
            "SELECT * FROM {t}",
            "SELECT * FROM main.{t}",
            "SELECT * FROM {base}",
            "SELECT * FROM main.{base}",
            "SELECT * FROM {t} UNION ALL SELECT * FROM {base}",
            "SELECT group_concat(x, '|') FROM (SELECT json_group_array(json_object('r', b.rowid)) AS x FROM {base} AS b)",
            "SELECT value FROM json_each((SELECT json_group_array(id) FROM {base}))",
            "SELECT * FROM {base} WHERE rowid IN (SELECT rowid FROM {base})",
            "EXPLAIN QUERY PLAN SELECT * FROM {base}",
            "SELECT * FROM {t} WHERE 1 = 1 OR tenant_id <> ''",
        ],
    ),
    (
        &attacks::SHADOW,
        IfItShows,
        &[
            "WITH {t} AS (SELECT * FROM {base}) SELECT * FROM {t}",
            "WITH {t} AS (SELECT * FROM main.{t}) SELECT * FROM {t}",
            "WITH partywall_v AS (SELECT * FROM {base}) SELECT * FROM partywall_v",
            "WITH RECURSIVE {t} AS (SELECT * FROM {base}) SELECT * FROM {t}",
            "WITH sqlite_schema AS (SELECT * FROM {base}) SELECT * FROM sqlite_schema",
        ],
    ),
    (
        &attacks::SHADOW,
        IfItRuns,
        &[
            "CREATE TEMP VIEW shadow AS SELECT * FROM main.{base}",
            "CREATE TEMP VIEW shadow AS SELECT * FROM main.{t}",
            "CREATE TEMP TABLE shadow AS SELECT * FROM {base}",
            "CREATE TEMP TRIGGER spy AFTER INSERT ON main.{base} BEGIN SELECT 1; END",
            "CREATE TEMP TRIGGER spy AFTER INSERT ON main.{t} BEGIN SELECT 1; END",
            "CREATE TEMP TRIGGER spy INSTEAD OF INSERT ON {t} BEGIN SELECT 1; END",
            "DROP VIEW {t}",
            "DROP VIEW temp.{t}",
        ],
    ),
    (
        &attacks::WRITE,
        IfItRuns,
        &[
            "UPDATE {base} SET tenant_id = tenant_id",
            "UPDATE main.{t} SET tenant_id = tenant_id",
            "DELETE FROM {base}",
            "DELETE FROM main.{t}",
            "INSERT INTO {base} SELECT * FROM {base} WHERE 0",
            "INSERT INTO main.{t} SELECT * FROM main.{t} WHERE 0",
            "UPDATE {t} SET tenant_id = 'another'",
            "REPLACE INTO {base} SELECT * FROM {base} WHERE 0",
            "INSERT INTO {t} (tenant_id) VALUES ('another')",
        ],
    ),
    (
        &attacks::FILES,
        IfItRuns,
        &[
            "ATTACH DATABASE '{file}' AS stolen",
            "ATTACH DATABASE 'file:{file}?mode=ro' AS stolen",
            "ATTACH DATABASE ':memory:' AS scratch",
            "ATTACH DATABASE '{new}' AS made",
            "VACUUM INTO '{new}'",
            "VACUUM",
            "DETACH DATABASE main",
        ],
    ),
    (
        &attacks::SETTINGS,
        IfItRuns,
        &[
            "PRAGMA database_list",
            "PRAGMA writable_schema = ON",
            "PRAGMA foreign_keys = OFF",
            "PRAGMA query_only = ON",
            "PRAGMA trusted_schema = ON",
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA temp_store_directory = '/tmp'",
            "PRAGMA user_version = 99",
            "SELECT * FROM pragma_database_list",
            "SELECT * FROM pragma_table_list",
        ],
    ),
    (
        &attacks::SCHEMA,
        IfItRuns,
        &[
            "SELECT * FROM sqlite_master",
            "SELECT * FROM main.sqlite_schema",
            "SELECT * FROM sqlite_temp_schema",
            "UPDATE sqlite_schema SET sql = sql",
            "SELECT * FROM dbstat",
            "SELECT * FROM sqlite_dbpage",
            "SELECT * FROM partywall_inscription",
            "UPDATE partywall_inscription SET tenant = tenant",
            "ALTER TABLE {base} RENAME TO mine",
            "ALTER TABLE main.{t} RENAME TO mine",
            "DROP TABLE {base}",
            "CREATE INDEX i ON {base} (tenant_id)",
            "CREATE VIRTUAL TABLE temp.f USING fts5(x, content={base})",
            "ANALYZE",
            "REINDEX",
        ],
    ),
    (
        &attacks::REACH_OUT,
        IfItRuns,
        &[
            "SELECT load_extension('{file}')",
            "SELECT readfile('{file}')",
            "SELECT writefile('{new}', 'x')",
            "SELECT edit('x')",
            "SELECT fts3_tokenizer('simple')",
            "SELECT sqlite_source_id()",
        ],
    ),
    (
        &attacks::TRANSACTION,
        IfItRuns,
        &["COMMIT", "END", "ROLLBACK", "BEGIN", "BEGIN IMMEDIATE", "SELECT 1; COMMIT"],
    ),
    (
        &attacks::RESIDUE,
        IfItRuns,
        &["SELECT changes()", "SELECT total_changes()", "SELECT last_insert_rowid()"],
    ),
];

/// Makes them all, one trial for each attack.
pub(super) async fn make_all<S>(siege: &SqliteSiege<S>, pair: &Pair<'_>, log: &mut Log<'_>)
where
    S: Store,
    S::Handle: SqliteHandle,
{
    for attack in super::ATTACKS {
        let draft = pair.trial(attack);
        if let Some(why) = hopeless(siege, pair, attack) {
            log.record(draft.skip(why));
            continue;
        }
        if attack.id == attacks::RESIDUE.id {
            leave_something(siege, pair).await;
        }
        let (mut seen, mut tried) = (Vec::new(), Vec::new());
        for (wins, sql) in statements(attack, pair) {
            let (sql, outcome) = make(siege, pair, wins, &sql).await;
            seen.push(outcome);
            tried.push(sql);
        }
        let count = tried.len();
        let seen = worst(seen).unwrap_or_else(|| Observation::skipped("nothing was said"));
        let draft = draft.tried(tried.join(";\n"));
        log.record(draft.judge(of_all(count, seen), pair.control.clone()));
    }
}

/// Why an attack would show nothing here.
fn hopeless<S>(siege: &SqliteSiege<S>, pair: &Pair<'_>, attack: &Attack) -> Option<String>
where
    S: Store,
    S::Handle: SqliteHandle,
{
    let by_showing = MOVES.iter().any(|(of, wins, _)| of.id == attack.id && *wins == IfItShows);
    if !by_showing {
        return None;
    }
    let known = |holding: &&Holding| !holding.marker.is_empty();
    let Some(holding) = pair.holdings.iter().find(known) else {
        return Some(format!("{} has no row with a text to know it by", pair.victim.name));
    };
    match siege.owns(&pair.attacker.context, holding) {
        Ok(false) => None,
        Ok(true) => Some(format!("both have a row with {:?} in it", holding.marker)),
        Err(why) => Some(format!("the attacker's own file cannot be looked into: {why}")),
    }
}

fn statements(attack: &Attack, pair: &Pair<'_>) -> Vec<(Wins, String)> {
    let mut statements = Vec::new();
    // Without a row to look for, a name will do for those that must not even run.
    let tables = match pair.holdings {
        [] => vec!["invoices"],
        holdings => holdings.iter().map(|holding| holding.table.as_str()).collect(),
    };
    for (_, wins, moves) in MOVES.iter().filter(|(of, ..)| of.id == attack.id) {
        for sql in *moves {
            let of_a_table = sql.contains("{t}") || sql.contains("{base}");
            for table in tables.iter().take(if of_a_table { tables.len() } else { 1 }) {
                let base = quoted(&format!("partywall_t_{table}"));
                let sql = sql.replace("{t}", &quoted(table)).replace("{base}", &base);
                statements.push((*wins, sql));
            }
        }
    }
    statements
}

/// Says one statement in a session of its own, which ends undone.
async fn make<S>(
    siege: &SqliteSiege<S>,
    pair: &Pair<'_>,
    wins: Wins,
    sql: &str,
) -> (String, Observation)
where
    S: Store,
    S::Handle: SqliteHandle,
{
    let file = siege.victims_file(pair).map(|file| file.display().to_string()).unwrap_or_default();
    let mut sql = sql.replace("{file}", &file.replace('\'', "''"));
    let mut new = None;
    if sql.contains("{new}") {
        match NewFile::nowhere() {
            Ok(place) => {
                sql = sql.replace("{new}", &place.path().display().to_string());
                new = Some(place);
            }
            Err(why) => return (sql, Observation::unclear(why)),
        }
    }
    let mut handle = match pair.attacker.context.open(siege.store()).await {
        Ok(handle) => handle,
        Err(error) => return (sql, opening::<SqliteSiege<S>>(&error)),
    };
    let answer = handle.ask(&sql).await;
    drop(handle);
    let seen = match answer {
        _ if new.is_some_and(|new| new.was_made()) => Observation::reached("a file was made"),
        Ok(rows) if wins == IfItRuns => {
            Observation::reached(format!("`{sql}` ran: {}", in_rows(rows.len())))
        }
        Ok(rows) => match pair.holdings.iter().find(|holding| shows(&rows, &holding.marker)) {
            Some(holding) => {
                Observation::reached(format!("`{sql}` shows a row of {}", holding.table))
            }
            None => Observation::nothing(format!("{} of its own", in_rows(rows.len()))),
        },
        Err(seen) => seen,
    };
    (sql, seen)
}

fn shows(rows: &[Vec<(String, Value)>], marker: &str) -> bool {
    let within = |value: &Value| match value {
        Value::Text(text) => stands_in(text, marker),
        Value::Blob(bytes) => stands_in(&String::from_utf8_lossy(bytes), marker),
        Value::Null | Value::Integer(_) | Value::Real(_) => false,
    };
    rows.iter().flatten().any(|(_, value)| within(value))
}

/// The victim writes, and lets go without keeping it: counters move, and nothing else may.
async fn leave_something<S>(siege: &SqliteSiege<S>, pair: &Pair<'_>)
where
    S: Store,
    S::Handle: SqliteHandle,
{
    let Some(holding) = pair.holdings.first() else { return };
    let Ok(mut handle) = pair.victim.context.open(siege.store()).await else { return };
    let table = quoted(&holding.table);
    // What comes of it does not matter: it is undone, and only the counters are asked for.
    let _ = handle.ask(&format!("DELETE FROM {table}")).await;
}

fn of_all(count: usize, seen: Observation) -> Observation {
    let worded = |text: String| match count {
        1 => text,
        count => format!("{text} ({count} statements)"),
    };
    match seen {
        Observation::Refused(text) => Observation::Refused(worded(text)),
        Observation::Nothing(text) => Observation::Nothing(worded(text)),
        other => other,
    }
}
