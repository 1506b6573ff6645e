//! Forgetting what has run out. In bounded batches, each a statement of its own that an index
//! answers: nobody waits for a sweep, however much there is, and several servers may sweep at once.

use std::time::Duration;

use partywall::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Database, StorageError, signed};

/// A table whose rows run out, and for how long they are kept after that.
#[derive(Clone, Copy, Debug)]
struct Expiring {
    table: &'static str,
    kept: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// All of them have an index on `expires_at`; a test asks both databases whether they use it.
const EXPIRING: [Expiring; 5] = [
    // Until then a replay is still told from nothing.
    Expiring { table: "single_use", kept: DAY },
    Expiring { table: "sessions", kept: DAY },
    // Logouts that are still to be delivered name them.
    Expiring { table: "session_proofs", kept: Duration::from_secs(7 * DAY.as_secs()) },
    Expiring { table: "grants", kept: DAY },
    Expiring { table: "setup_links", kept: DAY },
];

/// Rows of one statement. A statement holds SQLite's only writer, so it is short.
const BATCH: u64 = 500;
/// Batches of one table in one sweep; the next sweep goes on.
const BATCHES: u32 = 20;

/// Forgets what ran out long enough before `now`, and says how many rows that were.
pub(crate) async fn sweep(db: &Database, now: Timestamp) -> Result<u64, StorageError> {
    let mut all = 0;
    for expiring in EXPIRING {
        let mut of_table = 0;
        for _ in 0..BATCHES {
            let batch = {
                let write = db.single().await;
                let delete = expiring.delete(write.db().get_database_backend(), now);
                write.db().execute_raw(delete).await?.rows_affected()
            };
            of_table += batch;
            if batch < BATCH {
                break;
            }
            tokio::task::yield_now().await;
        }
        metrics::counter!("partywall_rows_swept_total", "table" => expiring.table)
            .increment(of_table);
        all += of_table;
    }
    Ok(all)
}

impl Expiring {
    /// The oldest rows first, as the index has them. What another server is deleting is left to it.
    fn delete(self, backend: DbBackend, now: Timestamp) -> Statement {
        let Self { table, kept } = self;
        let before = signed(now.0.saturating_sub(kept.as_secs()));
        let sql = match backend {
            DbBackend::Postgres => format!(
                "DELETE FROM {table} WHERE ctid = ANY (ARRAY (
                     SELECT ctid FROM {table} WHERE expires_at < $1
                     ORDER BY expires_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED))"
            ),
            _ => format!(
                "DELETE FROM {table} WHERE rowid IN (
                     SELECT rowid FROM {table} WHERE expires_at < $1
                     ORDER BY expires_at LIMIT {BATCH})"
            ),
        };
        Statement::from_sql_and_values(backend, sql, [before.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::tests_support::database,
        storage::{
            catalogue,
            single_use::{self, Drawer, Kind},
        },
    };

    const NOW: Timestamp = Timestamp(1_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn i40_a_sweep_is_bounded_and_takes_what_has_run_out_only() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&database(dir.path()).await).await.unwrap();
        let drawer = Drawer::before_any_tenant(Kind::Code);
        let more_than_a_batch = BATCH + 100;
        let write = db.write().await.unwrap();
        for number in 0..more_than_a_batch {
            let value = number.to_string();
            single_use::put(write.rows(), drawer, &value, &1, NOW, HOUR).await.unwrap();
        }
        single_use::put(write.rows(), drawer, "later", &1, NOW + HOUR, DAY).await.unwrap();
        write.commit().await.unwrap();

        assert_eq!(sweep(&db, NOW + HOUR + DAY).await.unwrap(), 0, "kept, to tell a replay");
        let late = NOW + HOUR + DAY + Duration::from_secs(1);
        let one = EXPIRING[0].delete(db.reader().get_database_backend(), late);
        assert_eq!(db.reader().execute_raw(one).await.unwrap().rows_affected(), BATCH);
        assert_eq!(sweep(&db, late).await.unwrap(), more_than_a_batch - BATCH);
        let later: Option<u8> =
            single_use::peek(db.reader(), drawer, "later", NOW + HOUR).await.unwrap();
        assert_eq!(later, Some(1), "the control: what has not run out is there");
    }

    #[tokio::test]
    async fn i40_sweeps_are_answered_by_indices() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&database(dir.path()).await).await.unwrap();
        let backend = db.reader().get_database_backend();
        for expiring in EXPIRING {
            let mut explained = expiring.delete(backend, NOW);
            let looking = db.snapshot().await.unwrap();
            let column = match backend {
                DbBackend::Postgres => {
                    // Empty tables are read through, whatever indices there are.
                    for way in ["enable_seqscan", "enable_bitmapscan"] {
                        let off = format!("SET LOCAL {way} = off");
                        looking.execute_unprepared(&off).await.unwrap();
                    }
                    explained.sql = format!("EXPLAIN {}", explained.sql);
                    "QUERY PLAN"
                }
                _ => {
                    explained.sql = format!("EXPLAIN QUERY PLAN {}", explained.sql);
                    "detail"
                }
            };
            let rows = looking.query_all_raw(explained).await.unwrap();
            let plan: Vec<String> =
                rows.iter().map(|row| row.try_get("", column).unwrap()).collect();
            let plan = plan.join("\n");
            assert!(plan.contains("_expired"), "{}: no index is used:\n{plan}", expiring.table);
            assert!(!plan.contains("Sort"), "{}: it is sorted:\n{plan}", expiring.table);
            assert!(!plan.contains("TEMP B-TREE"), "{}: it is sorted:\n{plan}", expiring.table);
        }
    }

    #[tokio::test]
    async fn i40_every_table_whose_rows_run_out_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&database(dir.path()).await).await.unwrap();
        let mut found = catalogue::tables(db.reader()).await;
        found.retain(|_, columns| columns.iter().any(|column| column.name == "expires_at"));
        // Administrators see when a key ran out.
        for kept in ["api_keys", "operator_keys", "scim_tokens"] {
            assert!(found.remove(kept).is_some());
        }
        let swept: std::collections::BTreeSet<&str> =
            EXPIRING.iter().map(|expiring| expiring.table).collect();
        assert_eq!(
            found.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            swept
        );
    }
}
