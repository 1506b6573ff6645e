//! What the last tenant left on a backend for the next one.

use std::time::Duration;

use partywall::{DeploymentModel, Store};
use sqlx::PgConnection;

use super::{PostgresHandle, PostgresSiege, attacks, rows, undone};
use crate::{
    Control, Draft, Observation, Trial,
    postgres::{Answer, send, sql},
    stores::{
        Besieged as _, Pair,
        general::{stands_in, worst},
    },
};

/// The victim leaves whatever a session can keep, and ends as any request ends; then the attacker
/// asks for it on the same backend.
pub(super) async fn look_for<S>(siege: &PostgresSiege<S>, pair: &Pair<'_>) -> Trial
where
    S: Store,
    S::Handle: PostgresHandle,
{
    let draft = pair.trial(&attacks::RESIDUE);
    let unclear = |why: String| Observation::unclear(why);
    let mut theirs = match pair.victim.context.open(siege.store()).await {
        Ok(handle) => handle,
        Err(error) => return draft.judge(unclear(error.to_string()), pair.control.clone()),
    };
    let marker = format!("left-by-{}", pair.victim.name);
    let (backend, left) = match leave(theirs.conn(), pair, &marker).await {
        Ok(left) => left,
        Err(why) => return draft.judge(unclear(why), pair.control.clone()),
    };
    drop(theirs);
    let draft = draft.tried(left.join(";\n"));
    let trial = ask_on_the_same_backend(siege, pair, draft, &backend, &marker).await;
    take_away(siege, pair, &backend).await;
    trial
}

async fn ask_on_the_same_backend<S>(
    siege: &PostgresSiege<S>,
    pair: &Pair<'_>,
    draft: Draft,
    backend: &str,
    marker: &str,
) -> Trial
where
    S: Store,
    S::Handle: PostgresHandle,
{
    // Other sessions are held until the one that was left comes up.
    let mut held = Vec::new();
    // Only in a pool does one login, and so one session, serve several tenants.
    let pooled = pair.attacker_at.model == DeploymentModel::Pool && pair.together();
    for _ in 0..if pooled { MOST_SESSIONS } else { 1 } {
        let opening = pair.attacker.context.open(siege.store());
        let Ok(Ok(mut ours)) = tokio::time::timeout(PATIENCE, opening).await else { break };
        match pid(ours.conn()).await {
            Some(pid) if pid == backend => {
                let seen = find(ours.conn(), pair, marker).await;
                let control = match pair.control {
                    Control::Held(seen) => {
                        Control::held(format!("{seen}; both on backend {backend}"))
                    }
                    failed => failed.clone(),
                };
                return draft.judge(seen, control);
            }
            _ => held.push(ours),
        }
    }
    draft.skip("no backend served the one after the other")
}

/// Takes what was left away again, where the victim gets its session back: the store may serve
/// others, too. What stays otherwise is in nobody's way.
async fn take_away<S>(siege: &PostgresSiege<S>, pair: &Pair<'_>, backend: &str)
where
    S: Store,
    S::Handle: PostgresHandle,
{
    // A session comes back a moment after its handle is gone.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let opening = pair.victim.context.open(siege.store());
    let Ok(Ok(mut theirs)) = tokio::time::timeout(PATIENCE, opening).await else { return };
    if pid(theirs.conn()).await.as_deref() != Some(backend) {
        return;
    }
    let unlock = format!("SELECT pg_catalog.pg_advisory_unlock({LOCK})");
    for statement in [
        "DEALLOCATE partywall_prove_left",
        "UNLISTEN partywall_prove_left",
        "DROP TABLE IF EXISTS pg_temp.partywall_prove_left",
        "CLOSE partywall_prove_held",
        "RESET partywall_prove.left",
        &unlock,
    ] {
        // What was refused when it was left is not there to be taken away.
        if send(theirs.conn(), "SAVEPOINT partywall_prove").await.is_err() {
            return;
        }
        if let Ok(Answer::Refused(_)) = send(theirs.conn(), statement).await {
            let _ = send(theirs.conn(), "ROLLBACK TO SAVEPOINT partywall_prove").await;
        }
    }
    let _ = send(theirs.conn(), "COMMIT").await;
}

const MOST_SESSIONS: usize = 16;
const PATIENCE: Duration = Duration::from_millis(400);

/// Leaves what can be left. What the wall refuses to make is not there to be found.
async fn leave(
    conn: &mut PgConnection,
    pair: &Pair<'_>,
    marker: &str,
) -> Result<(String, Vec<String>), String> {
    let backend = pid(conn).await.ok_or("the server does not say which backend this is")?;
    let text = sql::literal(marker);
    let mut left = vec![
        format!("PREPARE partywall_prove_left AS SELECT {text}::text"),
        format!("SELECT pg_catalog.set_config('partywall_prove.left', {text}, false)"),
        format!("SELECT pg_catalog.pg_try_advisory_lock({LOCK})"),
        "LISTEN partywall_prove_left".to_owned(),
        format!("CREATE TEMP TABLE partywall_prove_left AS SELECT {text}::text AS found"),
    ];
    if let Some(holding) = pair.holdings.first() {
        left.push(format!("DECLARE partywall_prove_held CURSOR WITH HOLD FOR {}", holding.query));
    }
    for statement in &left {
        send(conn, "SAVEPOINT partywall_prove").await.map_err(|gone| gone.to_string())?;
        if let Answer::Refused(_) = send(conn, statement).await.map_err(|gone| gone.to_string())? {
            let back = send(conn, "ROLLBACK TO SAVEPOINT partywall_prove").await;
            back.map_err(|gone| gone.to_string())?;
        }
    }
    // No row was written: what this makes lasting is the session's own.
    send(conn, "COMMIT").await.map_err(|gone| gone.to_string())?;
    left.push("COMMIT".to_owned());
    Ok((backend, left))
}

const LOCK: i64 = 0x7077_7072;

async fn find(conn: &mut PgConnection, pair: &Pair<'_>, marker: &str) -> Observation {
    let questions = [
        "SELECT statement FROM pg_catalog.pg_prepared_statements".to_owned(),
        "EXECUTE partywall_prove_left".to_owned(),
        "SELECT pg_catalog.current_setting('partywall_prove.left', true)".to_owned(),
        "SELECT found FROM pg_temp.partywall_prove_left".to_owned(),
        format!(
            "SELECT {} FROM pg_catalog.pg_listening_channels() AS c WHERE c = 'partywall_prove_left'",
            sql::literal(marker)
        ),
        format!(
            "SELECT {} FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} \
             AND pid = pg_catalog.pg_backend_pid()",
            sql::literal(marker)
        ),
    ];
    let mut seen = Vec::new();
    for question in questions {
        let shows = |rows: &[Vec<Option<String>>]| {
            rows.iter().flatten().flatten().any(|text| stands_in(text, marker))
        };
        seen.push(match undone(conn, &question).await {
            Ok(Answer::Done(done)) if shows(&done.rows) => {
                Observation::reached(format!("`{question}` finds it"))
            }
            Ok(Answer::Done(_)) => Observation::nothing("nothing was left"),
            Ok(answer) => super::judge(&answer),
            Err(gone) => Observation::unclear(gone.to_string()),
        });
    }
    // The victim's rows, held open past its commit.
    if !pair.holdings.is_empty() {
        seen.push(match undone(conn, "FETCH ALL FROM partywall_prove_held").await {
            Ok(Answer::Done(done)) if done.count > 0 => {
                Observation::reached(format!("a cursor of the victim's is open: {done}"))
            }
            Ok(answer) => super::judge(&answer),
            Err(gone) => Observation::unclear(gone.to_string()),
        });
    }
    worst(seen).unwrap_or_else(|| Observation::nothing("nothing was left"))
}

async fn pid(conn: &mut PgConnection) -> Option<String> {
    let answer = rows(conn, "SELECT pg_catalog.pg_backend_pid()").await.ok()?;
    answer.into_iter().flatten().flatten().next()
}
