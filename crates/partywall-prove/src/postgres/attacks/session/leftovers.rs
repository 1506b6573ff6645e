//! What one client leaves on a pooled connection for the next.

use super::{NO_SQL, as_power, set_config};
use crate::{
    Attack, Control, Draft, Layer, Log, Observation, Trial, Weight,
    postgres::{
        access::Address,
        attacks::STORE_CONTROLS,
        ground::Ground,
        one_session::OneSession,
        options::Adversary,
        sql::literal,
        stage::{Answer, Gone, Session, Stage as _, Who},
        tenancy::{Context, Tenancy},
    },
};

const FIX: &str = "let whatever pools connections clean them between clients: server_reset_query = \
                   DISCARD ALL with server_reset_query_always = 1 in PgBouncer, or a pool that scrubs \
                   at every change of tenant";

/// An attack on what is left, but for its name and what it is about.
const fn left(
    id: &'static str,
    title: &'static str,
    about: &'static str,
    weight: Weight,
) -> Attack {
    Attack {
        id,
        layer: Layer::Store,
        title,
        about,
        weight,
        fix: FIX,
        references: &["T-06", "R-08", "B-51", "CWE-488"],
        supports: STORE_CONTROLS,
    }
}

pub(crate) static CONTEXT: Attack = left(
    "postgres.leftover-context",
    "find another tenant's context on a pooled connection",
    "A context set for the session, not for the transaction, is still there when the next client \
     gets the connection: whoever forgets to set one is that tenant.",
    Weight::Identity,
);

pub(crate) static SETTING: Attack = left(
    "postgres.leftover-setting",
    "find, or plant, settings on a pooled connection",
    "search_path, row_security, time-outs and variables of the application: left by one tenant, they \
     rule the statements of the next.",
    Weight::Write,
);

pub(crate) static PREPARED: Attack = left(
    "postgres.leftover-prepared",
    "plant a prepared statement on a pooled connection",
    "A statement prepared under the name the application's driver will use next runs in place of the \
     driver's own, as the next tenant.",
    Weight::Identity,
);

pub(crate) static CURSOR: Attack = left(
    "postgres.leftover-cursor",
    "find an open cursor on a pooled connection",
    "A cursor WITH HOLD keeps the rows of whoever opened it, and gives them to whoever fetches.",
    Weight::Read,
);

pub(crate) static LISTEN: Attack = left(
    "postgres.leftover-listen",
    "keep listening on a pooled connection",
    "A LISTEN left behind brings the notifications of one tenant to the client of another.",
    Weight::Read,
);

pub(crate) static TEMPORARY: Attack = left(
    "postgres.leftover-temporary",
    "plant a temporary table on a pooled connection",
    "A temporary table comes before every other of its name: what the next tenant writes lands in it, \
     and what it reads is made up.",
    Weight::Write,
);

pub(crate) static LOCK: Attack = left(
    "postgres.leftover-lock",
    "keep an advisory lock on a pooled connection",
    "A session's advisory lock outlives the transaction; whoever needs it waits for ever.",
    Weight::Existence,
);

/// What is left, and how it is found.
struct Residue {
    attack: &'static Attack,
    plant: String,
    look: String,
}

/// All of them, over the pooler if one is named, or over the address, which may be one.
pub(crate) async fn attack(
    stage: &OneSession,
    ground: &Ground,
    address: &Address,
    log: &mut Log<'_>,
) -> Result<(), Gone> {
    let pooler = ground.options.pooler.as_ref().unwrap_or(address);
    let residues = residues(stage.tenancy(), ground.id(Who::Victim));
    let place = pooler.shown();
    let draft = |residue: &Residue| -> Draft {
        Trial::of(residue.attack, &place)
            .between(stage.name(Who::Attacker), stage.name(Who::Victim))
            .tried(format!("one client: {}; the next: {}", residue.plant, residue.look))
    };
    let why_not = if ground.options.adversary == Adversary::Parameters {
        Some(NO_SQL)
    } else if ground.options.read_only {
        Some("this run writes nothing, not even to a session that others will use")
    } else if !reuses(pooler).await {
        Some(
            "this address gives every client a session of its own: run it against the pooler that the application uses, with --pooler",
        )
    } else {
        None
    };
    for residue in &residues {
        let draft = draft(residue);
        log.record(match why_not {
            Some(why) => draft.skip(why),
            None => {
                let (seen, control) = tried(pooler, residue).await;
                draft.judge(seen, control)
            }
        });
    }
    Ok(())
}

/// Whether two clients, one after the other, get the same session of the server.
async fn reuses(pooler: &Address) -> bool {
    let mut last = None;
    // A pooler may have several to give; it most often gives the one that was given back last.
    for _ in 0..3 {
        let pid = async {
            let mut client = bare(pooler).await?;
            let answer = client.send(PID).await.ok()?;
            let pid = answer.first()?.to_owned();
            client.close().await;
            Some(pid)
        };
        let pid = pid.await;
        if pid.is_some() && pid == last {
            return true;
        }
        last = pid;
    }
    false
}

const PID: &str = "SELECT pg_catalog.pg_backend_pid()";

/// A client that sets nothing of its own.
async fn bare(pooler: &Address) -> Option<Session> {
    tokio::time::timeout(super::PATIENCE, pooler.connect_bare()).await.ok()?.ok()
}

/// One client plants, the next looks, on the same session of the server.
async fn tried(pooler: &Address, residue: &Residue) -> (Observation, Control) {
    let none = || Control::failed("not there for the client that left it either");
    for _ in 0..3 {
        let Some(mut first) = bare(pooler).await else { break };
        // The control stands in the same message: a pooler may clean up after every transaction.
        let (pid, control) = match first.send(&format!("{}; {}", residue.plant, residue.look)).await
        {
            Ok(Answer::Done(done)) => match done.rows.first().map(Vec::as_slice) {
                Some([Some(pid), Some(there)]) if there == "t" => {
                    (pid.clone(), Control::held("there for the client that left it"))
                }
                Some([Some(pid), _]) => (pid.clone(), none()),
                _ => (String::new(), none()),
            },
            // It cannot even be left.
            Ok(refused) => {
                first.close().await;
                let control = Control::held("the server answers");
                return (as_power(&refused), control);
            }
            Err(error) => return (Observation::unclear(error.to_string()), none()),
        };
        first.close().await;
        let Some(mut next) = bare(pooler).await else { break };
        let looked = next.send(&residue.look).await;
        let seen = match &looked {
            Ok(Answer::Done(done)) => match done.rows.first().map(Vec::as_slice) {
                Some([Some(same), there]) if *same == pid => Some(match there.as_deref() {
                    Some("t") => Observation::reached("it is there for the next client"),
                    _ => Observation::nothing("the next client finds nothing"),
                }),
                _ => None,
            },
            Ok(refused) => Some(Observation::unclear(refused.to_string())),
            Err(error) => Some(Observation::unclear(error.to_string())),
        };
        // Leave nothing to those who come after us.
        if let Err(error) = next.send("DISCARD ALL").await {
            tracing::debug!(%error, "a pooled session could not be cleaned");
        }
        next.close().await;
        if let Some(seen) = seen {
            return (seen, control);
        }
    }
    (Observation::unclear("the next client was given another session, every time"), none())
}

fn residues(tenancy: &Tenancy, victim: &str) -> Vec<Residue> {
    let look = |found: &str| format!("SELECT pg_catalog.pg_backend_pid(), {found}");
    let mut residues = Vec::new();
    if let Context::Settings(settings) = &tenancy.context
        && let Some(setting) = settings.first()
    {
        let value = tenancy.fill(&setting.template, victim);
        let (name, quoted) = (literal(&setting.name), literal(&value));
        residues.push(Residue {
            attack: &CONTEXT,
            plant: set_config(&setting.name, &value, false),
            look: look(&format!(
                "coalesce(pg_catalog.current_setting({name}, true) = {quoted}, false)"
            )),
        });
    }
    let path = "pg_catalog, partywall_left";
    residues.extend([
        Residue {
            attack: &SETTING,
            plant: set_config("search_path", path, false),
            look: look(&format!("pg_catalog.current_setting('search_path') = '{path}'")),
        },
        Residue {
            attack: &PREPARED,
            plant: "PREPARE partywall_left AS SELECT 1".to_owned(),
            look: look(
                "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE name = 'partywall_left')",
            ),
        },
        Residue {
            attack: &CURSOR,
            plant: "BEGIN; DECLARE partywall_left CURSOR WITH HOLD FOR SELECT 1; COMMIT".to_owned(),
            look: look("EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE name = 'partywall_left')"),
        },
        Residue {
            attack: &LISTEN,
            plant: "BEGIN; LISTEN partywall_left; COMMIT".to_owned(),
            look: look("'partywall_left' IN (SELECT pg_catalog.pg_listening_channels())"),
        },
        Residue {
            attack: &TEMPORARY,
            plant: "CREATE TEMPORARY TABLE partywall_left (a int)".to_owned(),
            look: look("pg_catalog.to_regclass('pg_temp.partywall_left') IS NOT NULL"),
        },
        Residue {
            attack: &LOCK,
            plant: "SELECT pg_catalog.pg_advisory_lock_shared(7035, 1)".to_owned(),
            look: look(
                "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' \
                 AND classid = 7035 AND pid = pg_catalog.pg_backend_pid())",
            ),
        },
    ]);
    residues
}
