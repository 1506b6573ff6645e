//! Every statement that touches tenants' rows says whose they are. Held by all unit tests: each
//! statement they run, on either database, is read here, and one that names no tenant fails the test
//! that ran it, unless it crosses where it must (decision 0020).

use sea_orm::DatabaseConnection;

/// The tables whose rows are one tenant's.
const OF_TENANTS: [&str; 21] = [
    "api_keys",
    "applications",
    "audit_events",
    "connections",
    "consents",
    "domains",
    "external_identities",
    "grants",
    "machines",
    "outgoing_logouts",
    "outgoing_mail",
    "scim_groups",
    "scim_members",
    "scim_tokens",
    "scim_users",
    "security_events",
    "session_proofs",
    "setup_links",
    "sign_in_policies",
    "single_use",
    "users",
];

/// A statement that names no tenant, and may.
struct Crossing {
    statement: &'static str,
    table: &'static str,
    /// What its condition names instead.
    by: &'static [&'static str],
    why: &'static str,
}

const fn read(table: &'static str, by: &'static [&'static str], why: &'static str) -> Crossing {
    Crossing { statement: "SELECT", table, by, why }
}

const CROSSINGS: [Crossing; 18] = [
    read("applications", &["client_id"], "a client names itself before its tenant is known"),
    read("machines", &["client_id"], "a client names itself before its tenant is known"),
    read("users", &["account_id"], "a person's own memberships, for the chooser"),
    read("session_proofs", &["session_hash"], "a browser's own sessions, for signing out of all"),
    read("sign_in_policies", &["own_issuer"], "the bundle names every issuer"),
    read("domains", &["domain"], "an address says its domain before a tenant is known"),
    read("connections", &["status"], "a chore: whose certificates run out"),
    read("domains", &["due_at"], "a chore: what is due, whoever it is of"),
    read("outgoing_logouts", &["due_at"], "a chore: what is due, whoever it is of"),
    read("outgoing_mail", &["due_at"], "a chore: what is due, whoever it is of"),
    read("audit_events", &["generation"], "one event for each generation of the whole directory"),
    Crossing {
        statement: "UPDATE",
        table: "session_proofs",
        by: &["session_hash"],
        why: "a browser gets a new name at each sign-in, and takes its own sessions along",
    },
    Crossing {
        statement: "UPDATE",
        table: "outgoing_logouts",
        by: &["id", "due_at"],
        why: "a chore: the row it has just read",
    },
    Crossing {
        statement: "UPDATE",
        table: "outgoing_logouts",
        by: &["client_id", "due_at"],
        why: "a chore: a client that does not answer is left alone for all tenants",
    },
    Crossing {
        statement: "UPDATE",
        table: "outgoing_mail",
        by: &["id", "due_at"],
        why: "a chore: the row it has just read",
    },
    Crossing {
        statement: "DELETE",
        table: "outgoing_logouts",
        by: &["id"],
        why: "a chore: the row it has just read",
    },
    Crossing {
        statement: "DELETE",
        table: "outgoing_logouts",
        by: &["client_id", "give_up_at"],
        why: "a chore: what a client that does not answer was told for a day, for all tenants",
    },
    Crossing {
        statement: "DELETE",
        table: "outgoing_mail",
        by: &["id"],
        why: "a chore: the row it has just read",
    },
];

/// A connection that fails whoever runs a statement on it that names no tenant where it should.
pub(super) fn watched(mut connection: DatabaseConnection) -> DatabaseConnection {
    connection.set_metric_callback(|info| check(&info.statement.sql));
    connection
}

/// Fails whoever runs this statement, if it names no tenant where it should.
pub(super) fn check(sql: &str) {
    if let Some(what) = objection(sql) {
        panic!("{what}: {sql}");
    }
}

/// What is wrong with a statement of the query builder's, which writes names in quotes. What is
/// written by hand (migrations, sweeps, erasing, tests) is not read here.
fn objection(sql: &str) -> Option<&'static str> {
    let (statement, rest) = sql.split_once(' ')?;
    let table = match statement {
        "SELECT" => rest.split_once(" FROM ")?.1,
        "DELETE" => rest.strip_prefix("FROM ")?,
        "INSERT" => rest.strip_prefix("INTO ")?,
        "UPDATE" => rest,
        _ => return None,
    };
    let table = table.strip_prefix('"')?.split('"').next()?;
    if !OF_TENANTS.contains(&table) {
        return None;
    }
    if statement == "INSERT" {
        return (!sql.contains("\"tenant_id\"")).then_some("a row of nobody's");
    }
    let condition = sql.split_once(" WHERE ").map_or("", |(_, condition)| condition);
    let names = |column: &str| {
        let ways = ["=", "IN", "IS NULL", "<=", "<"];
        ways.iter().any(|way| condition.contains(&format!("\"{column}\" {way}")))
    };
    let crosses = CROSSINGS.iter().any(|crossing| {
        crossing.statement == statement
            && crossing.table == table
            && crossing.by.iter().all(|column| names(column))
            && !crossing.why.is_empty()
    });
    (!names("tenant_id") && !crosses).then_some("nobody's rows in particular")
}

#[cfg(test)]
mod tests {
    use super::objection;
    use crate::{control::tests_support, storage::Database};

    #[test]
    fn t02_a_statement_names_its_tenant_or_crosses_where_it_must() {
        for good in [
            r#"SELECT "users"."id" FROM "users" WHERE "users"."tenant_id" = ? AND "users"."id" = ?"#,
            r#"SELECT "users"."id" FROM "users" WHERE "users"."account_id" = $1"#,
            r#"UPDATE "grants" SET "turn" = "turn" + ? WHERE "id" = ? AND "tenant_id" = ?"#,
            r#"INSERT INTO "consents" ("tenant_id", "user_id") VALUES (?, ?)"#,
            r#"SELECT "accounts"."id" FROM "accounts" WHERE "accounts"."id" = ?"#,
            r#"SELECT "applications"."name" FROM "applications" WHERE "tenant_id" IS NULL"#,
        ] {
            assert_eq!(objection(good), None, "{good}");
        }
        for bad in [
            r#"SELECT "users"."id" FROM "users""#,
            r#"SELECT "users"."id" FROM "users" WHERE "users"."id" = ?"#,
            r#"SELECT "users"."tenant_id" FROM "users" WHERE "users"."id" = ?"#,
            r#"UPDATE "users" SET "tenant_id" = ?"#,
            r#"UPDATE "machines" SET "status" = ? WHERE "machines"."client_id" = ?"#,
            r#"DELETE FROM "grants" WHERE "grants"."id" = ?"#,
            r#"INSERT INTO "consents" ("user_id") VALUES (?)"#,
        ] {
            assert!(objection(bad).is_some(), "{bad}");
        }
    }

    /// The control: it is really looked.
    #[tokio::test]
    #[should_panic(expected = "nobody's rows in particular")]
    async fn t02_a_test_that_reads_anybodys_rows_fails() {
        use sea_orm::EntityTrait;

        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&tests_support::database(dir.path()).await).await.unwrap();
        let _ = crate::storage::consents::Entity::find().all(db.reader()).await;
    }

    /// Whatever table has a tenant in it is looked at.
    #[tokio::test]
    async fn t02_no_table_of_tenants_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&tests_support::database(dir.path()).await).await.unwrap();
        let tables = crate::storage::catalogue::tables(db.reader()).await;
        let of_tenants = tables
            .into_iter()
            .filter(|(_, columns)| columns.iter().any(|column| column.name == "tenant_id"));
        let of_tenants: Vec<String> = of_tenants.map(|(table, _)| table).collect();
        assert_eq!(of_tenants, super::OF_TENANTS);
    }
}
