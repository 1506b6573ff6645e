//! Forgetting a user or a tenant: every row of every table that is about it. Which tables those are
//! is written down here, and a test holds it against the database's own catalogue, so that a table
//! made tomorrow is not forgotten.

use partywall::TenantId;
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};

use super::{StorageError, signing_keys, users};
use crate::control::User;

/// Tables with rows about a tenant's users, before the users themselves: by (tenant, user).
const ABOUT_USERS: [&str; 6] =
    ["consents", "session_proofs", "grants", "external_identities", "scim_members", "scim_users"];
/// Tables with rows of a tenant, in an order that foreign keys allow.
const OF_TENANTS: [&str; 20] = [
    "consents",
    "session_proofs",
    "grants",
    "external_identities",
    "domains",
    "scim_members",
    "scim_groups",
    "scim_users",
    "scim_tokens",
    "setup_links",
    "connections",
    "api_keys",
    "single_use",
    "outgoing_mail",
    "outgoing_logouts",
    "security_events",
    "sign_in_policies",
    "applications",
    "machines",
    "users",
];
/// Tables with rows of an account, before the accounts themselves.
const OF_ACCOUNTS: [&str; 5] =
    ["passwords", "totp_secrets", "passkeys", "recovery_codes", "sessions"];

/// Deletes a user and everything about it; the account behind it, too, when it is nobody else.
pub(crate) async fn user(db: &impl ConnectionTrait, user: &User) -> Result<(), StorageError> {
    let (tenant, id) = (user.tenant.as_str(), user.id.as_str());
    for table in ABOUT_USERS {
        delete(db, table, &[("tenant_id", tenant), ("user_id", id)]).await?;
    }
    delete(db, "api_keys", &[("tenant_id", tenant), ("subject", id)]).await?;
    delete(db, "users", &[("tenant_id", tenant), ("id", id)]).await?;
    if let Some(account) = &user.account {
        let account = account.as_str().to_owned();
        accounts_of_nobody(db, vec![account]).await?;
    }
    Ok(())
}

/// Deletes everything of a tenant but its row, its line in the audit trail, and its revocations,
/// which must outlive the tokens they refuse. Accounts that were its users and nobody else go too.
pub(crate) async fn tenant(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<(), StorageError> {
    let accounts = users::accounts_of_tenant(db, tenant).await?;
    signing_keys::erase_all_of(db, tenant).await?;
    for table in OF_TENANTS {
        delete(db, table, &[("tenant_id", tenant.as_str())]).await?;
    }
    accounts_of_nobody(db, accounts).await
}

/// Deletes those of `accounts` that no user is any more, with their factors and sessions.
async fn accounts_of_nobody(
    db: &impl ConnectionTrait,
    accounts: Vec<String>,
) -> Result<(), StorageError> {
    // Both databases bound how many values one statement may carry.
    for some in accounts.chunks(500) {
        let gone = users::accounts_without_user(db, some).await?;
        if gone.is_empty() {
            continue;
        }
        let columns = OF_ACCOUNTS.iter().map(|table| (*table, "account_id"));
        for (table, column) in columns.chain([("accounts", "id")]) {
            let of_them = Expr::col(Alias::new(column)).is_in(gone.clone());
            let delete =
                Query::delete().from_table(Alias::new(table)).and_where(of_them).to_owned();
            db.execute(&delete).await?;
        }
    }
    Ok(())
}

async fn delete(
    db: &impl ConnectionTrait,
    table: &'static str,
    of: &[(&'static str, &str)],
) -> Result<(), StorageError> {
    let mut delete = Query::delete().from_table(Alias::new(table)).to_owned();
    for (column, value) in of {
        delete.and_where(Expr::col(Alias::new(*column)).eq(*value));
    }
    db.execute(&delete).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        Actor, ConnectionId, ControlPlane, NewTenant, NewUser, SignInPolicy,
        control::tests_support::control,
        storage::{
            catalogue::{self, texts},
            scim_groups::{self, ScimGroup},
            scim_users::{self, ScimUser},
        },
    };
    use partywall::TenantStatus;

    const ACTOR: Actor = Actor::System("test");

    /// Every table with a column of that name, as the database itself lists them.
    async fn tables_with(db: &impl ConnectionTrait, column: &str) -> BTreeSet<String> {
        let mut tables = catalogue::tables(db).await;
        tables.retain(|_, columns| columns.iter().any(|found| found.name == column));
        tables.into_keys().collect()
    }

    fn named(tables: &[&str]) -> BTreeSet<String> {
        tables.iter().map(|table| (*table).to_owned()).collect()
    }

    #[tokio::test]
    async fn t14_every_table_about_a_tenant_is_known_to_erasing_one() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let db = control.inner.db.reader();
        let mut of_tenants = tables_with(db, "tenant_id").await;
        assert!(of_tenants.remove("audit_events"), "who did what outlives the tenant");
        assert_eq!(of_tenants, named(&OF_TENANTS), "a table is not erased with its tenant");

        let mut of_accounts = tables_with(db, "account_id").await;
        assert!(of_accounts.remove("users"));
        assert_eq!(of_accounts, named(&OF_ACCOUNTS), "a table is not erased with its account");

        let about_users = tables_with(db, "user_id").await;
        let queued = named(&["outgoing_logouts"]);
        let known = &named(&ABOUT_USERS) | &queued;
        assert_eq!(about_users, known, "a table is not erased with its user");
    }

    async fn user(control: &ControlPlane, tenant: &TenantId, email: &str) -> User {
        let new = NewUser {
            email: email.parse().unwrap(),
            name: "Somebody".to_owned(),
            roles: ["clerk".into()].into(),
            metadata: Default::default(),
        };
        control.create_user(&ACTOR, tenant, new).await.unwrap()
    }

    /// A tenant with a row in every table a tenant can have one in.
    async fn full(control: &ControlPlane, slug: &str, email: &str) -> (TenantId, User) {
        let new =
            NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
        let tenant = control.create_tenant(&ACTOR, new).await.unwrap().id().clone();
        let user = user(control, &tenant, email).await;
        let machine = serde_json::from_value(serde_json::json!({ "name": "robot" })).unwrap();
        control.create_machine(&ACTOR, &tenant, machine).await.unwrap();
        let application = serde_json::from_value(serde_json::json!({
            "name": "web", "authentication": "none",
            "registration": { "redirect_uris": ["https://app.test/cb"] },
        }))
        .unwrap();
        control.create_application(&ACTOR, Some(&tenant), application).await.unwrap();
        let policy = SignInPolicy::default();
        control.set_sign_in_policy(&ACTOR, &tenant, policy, |_| true).await.unwrap();
        let connection = serde_json::from_value(serde_json::json!({
            "name": "Acme's own", "client_secret": "s3cret",
            "provider": { "protocol": "oidc", "issuer": "https://idp.test", "client_id": "us" },
        }))
        .unwrap();
        let connection = control.create_connection(&ACTOR, &tenant, connection).await.unwrap().id;
        described(control, &user, &connection).await;
        // The rest as rows: whatever columns a table has, and a value for each that must be there.
        let db = control.inner.db.reader();
        let account = user.account.clone().unwrap();
        let tables = catalogue::tables(db).await;
        for table in OF_TENANTS.iter().chain(&OF_ACCOUNTS) {
            let columns = &tables[*table];
            let by_tenant = columns.iter().any(|column| column.name == "tenant_id");
            let (column, id) = if by_tenant {
                ("tenant_id", tenant.as_str())
            } else {
                ("account_id", account.as_str())
            };
            if count(db, table, column, id).await > 0 {
                continue;
            }
            let (mut names, mut values) = (Vec::new(), Vec::new());
            for column in columns {
                let value = match column.name.as_str() {
                    "tenant_id" => format!("'{tenant}'"),
                    "account_id" => format!("'{account}'"),
                    _ if !column.required => continue,
                    "user_id" => format!("'{}'", user.id),
                    "connection_id" => format!("'{connection}'"),
                    "progress" => "'{}'".to_owned(),
                    _ => column.some_value(slug),
                };
                names.push(column.name.as_str());
                values.push(value);
            }
            let (names, values) = (names.join(", "), values.join(", "));
            db.execute_unprepared(&format!("INSERT INTO {table} ({names}) VALUES ({values})"))
                .await
                .unwrap();
        }
        (tenant, user)
    }

    /// What a provider says by SCIM of a user and its group, which refer to each other.
    async fn described(control: &ControlPlane, user: &User, connection: &ConnectionId) {
        let db = control.inner.db.reader();
        let (now, tenant) = (control.now(), user.tenant.clone());
        let attributes = serde_json::json!({ "userName": user.email });
        let attributes = attributes.as_object().unwrap().clone();
        let one = ScimUser {
            user: user.clone(),
            connection: connection.clone(),
            attributes,
            created_at: now,
            changed_at: now,
            version: 1,
        };
        scim_users::insert(db, &one).await.unwrap();
        let group = ScimGroup {
            tenant,
            connection: connection.clone(),
            id: "clerks".to_owned(),
            display_name: "Clerks".to_owned(),
            external_id: None,
            created_at: now,
            changed_at: now,
            version: 1,
        };
        scim_groups::insert(db, &group).await.unwrap();
        scim_groups::add_members(db, &group, &[user.id.as_str()]).await.unwrap();
    }

    async fn count(db: &impl ConnectionTrait, table: &str, column: &str, id: &str) -> u64 {
        let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {table} WHERE {column} = '{id}'");
        texts(db, sql).await[0].parse().unwrap()
    }

    #[tokio::test]
    async fn t14_nothing_of_an_erased_tenant_is_left_and_nothing_of_another_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let db = control.inner.db.reader();
        let (acme, ada) = full(&control, "acme", "ada@acme.test").await;
        let (bond, bill) = full(&control, "bond", "bill@bond.test").await;
        // Somebody who is a user of both.
        let both = user(&control, &acme, "carol@both.test").await;
        let same = user(&control, &bond, "carol@both.test").await;
        assert_eq!(both.account, same.account);
        for table in OF_TENANTS {
            assert!(count(db, table, "tenant_id", acme.as_str()).await > 0, "{table}: a control");
        }

        control.set_status(&ACTOR, &acme, TenantStatus::PendingErase).await.unwrap();
        control.erase_tenant(&ACTOR, &acme).await.unwrap();
        for table in OF_TENANTS {
            assert_eq!(count(db, table, "tenant_id", acme.as_str()).await, 0, "{table} remains");
            assert!(count(db, table, "tenant_id", bond.as_str()).await > 0, "{table} of another");
        }
        let (adas, bills) = (ada.account.unwrap(), bill.account.unwrap());
        for table in OF_ACCOUNTS {
            assert_eq!(count(db, table, "account_id", adas.as_str()).await, 0, "{table} remains");
            assert!(count(db, table, "account_id", bills.as_str()).await > 0, "{table} of another");
        }
        assert!(control.account(&adas).await.unwrap().is_none());
        let carol = control.account(&both.account.unwrap()).await.unwrap();
        assert!(carol.is_some(), "she is a user elsewhere");
    }

    #[tokio::test]
    async fn t14_a_deleted_user_takes_its_account_along_when_it_is_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let db = control.inner.db.reader();
        let (acme, ada) = full(&control, "acme", "ada@acme.test").await;
        let (bond, _) = full(&control, "bond", "bill@bond.test").await;
        let account = ada.account.clone().unwrap();
        let elsewhere = user(&control, &bond, "ada@acme.test").await;
        control.delete_user(&ACTOR, &acme, &ada.id, |_| true).await.unwrap();
        for table in ABOUT_USERS {
            assert_eq!(count(db, table, "user_id", ada.id.as_str()).await, 0, "{table}");
        }
        assert!(control.user(&acme, &ada.id).await.unwrap().is_none());
        assert!(control.account(&account).await.unwrap().is_some(), "she is a user elsewhere");
        assert!(control.delete_user(&ACTOR, &acme, &elsewhere.id, |_| true).await.is_err());
        control.delete_user(&ACTOR, &bond, &elsewhere.id, |_| true).await.unwrap();
        assert!(control.account(&account).await.unwrap().is_none());
    }
}
