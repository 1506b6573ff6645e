//! People and how they sign in: accounts and their factors, users, applications, sessions, grants,
//! single-use values, API keys, sign-in policies, and what waits to be sent.
//!
//! Every table with a `tenant_id` keeps rows of one tenant each and is reached with that id.

use sea_orm_migration::{
    prelude::{
        ConditionalStatement, DbErr, DeriveMigrationName, Expr, ExprTrait, ForeignKey,
        ForeignKeyAction, Index, IndexCreateStatement, MigrationTrait, SchemaManager, Table,
        TableCreateStatement, async_trait::async_trait,
    },
    schema::{
        big_integer, big_integer_null, big_pk_auto, binary, binary_null, boolean, integer, string,
        string_null, text, text_null,
    },
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            accounts(),
            passwords(),
            totp_secrets(),
            passkeys(),
            recovery_codes(),
            users(),
            sign_in_policies(),
            applications(),
            consents(),
            sessions(),
            session_proofs(),
            grants(),
            single_use(),
            api_keys(),
            operator_keys(),
            outgoing_mail(),
            session_clients(),
            outgoing_logouts(),
            security_events(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indices() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

/// Whoever signs in with factors kept here. Belongs to a person, never to a tenant: no tenant's
/// administrator changes one. `email` is the name it signs in by, proved by a mail.
fn accounts() -> TableCreateStatement {
    Table::create()
        .table("accounts")
        .col(string("id").primary_key())
        .col(string("email").unique_key())
        .col(big_integer_null("email_verified_at"))
        .col(string("status"))
        // Passwords tried since the last right one, and when the next is heard; the same of codes,
        // which a right password must not make anybody forget.
        .col(integer("password_tries"))
        .col(big_integer("password_pause"))
        .col(integer("code_tries"))
        .col(big_integer("code_pause"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .to_owned()
}

/// A PHC string (Argon2id).
fn passwords() -> TableCreateStatement {
    Table::create()
        .table("passwords")
        .col(string("account_id").primary_key())
        .col(text("hash"))
        .col(big_integer("changed_at"))
        .foreign_key(&mut of_account("passwords"))
        .to_owned()
}

/// RFC 6238. `last_step` is the latest time step that was used: none is taken twice.
fn totp_secrets() -> TableCreateStatement {
    Table::create()
        .table("totp_secrets")
        .col(string("id").primary_key())
        .col(string("account_id"))
        .col(string("name"))
        .col(binary("sealed"))
        .col(big_integer("last_step"))
        .col(big_integer_null("confirmed_at"))
        .col(big_integer("created_at"))
        .foreign_key(&mut of_account("totp_secrets"))
        .to_owned()
}

/// WebAuthn credentials: the id the authenticator gave (base64url) and the public key as a JWK.
fn passkeys() -> TableCreateStatement {
    Table::create()
        .table("passkeys")
        .col(string("credential_id").primary_key())
        .col(string("account_id"))
        .col(string("name"))
        .col(text("public_jwk"))
        .col(big_integer("sign_count"))
        .col(boolean("backed_up"))
        .col(text("transports"))
        .col(big_integer("created_at"))
        .col(big_integer_null("used_at"))
        .foreign_key(&mut of_account("passkeys"))
        .to_owned()
}

fn recovery_codes() -> TableCreateStatement {
    Table::create()
        .table("recovery_codes")
        .col(string("account_id"))
        .col(binary("hash"))
        .col(big_integer_null("used_at"))
        .primary_key(Index::create().col("account_id").col("hash"))
        .foreign_key(&mut of_account("recovery_codes"))
        .to_owned()
}

/// A member of exactly one tenant: what a token's `sub` names. Without an account the tenant's own
/// identity provider is the only way in.
fn users() -> TableCreateStatement {
    Table::create()
        .table("users")
        .col(string("id").primary_key())
        .col(string("tenant_id"))
        .col(string_null("account_id"))
        .col(string("email"))
        .col(string("name"))
        .col(string("status"))
        .col(text("roles"))
        .col(text("metadata"))
        // May sign in when the tenant is locked to its own identity provider (I-13).
        .col(boolean("break_glass"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        // For If-Match: every change adds one.
        .col(big_integer("version"))
        // What rows about a user refer to: see `of_user`.
        .index(Index::create().name("users_tenant_id").unique().col("tenant_id").col("id"))
        .foreign_key(&mut of_tenant("users"))
        .foreign_key(&mut of_account("users"))
        .to_owned()
}

/// What a tenant asks of whoever enters, and how its pages look; one JSON document each.
fn sign_in_policies() -> TableCreateStatement {
    Table::create()
        .table("sign_in_policies")
        .col(string("tenant_id").primary_key())
        .col(text("policy"))
        .col(text("branding"))
        .col(boolean("own_issuer"))
        .col(big_integer("changed_at"))
        .col(big_integer("version"))
        .foreign_key(&mut of_tenant("sign_in_policies"))
        .to_owned()
}

/// OAuth clients that sign people in. Without a tenant: the vendor's, for all of them.
fn applications() -> TableCreateStatement {
    Table::create()
        .table("applications")
        .col(string("client_id").primary_key())
        .col(string_null("tenant_id"))
        .col(string("name"))
        .col(string("status"))
        // How it authenticates: none, client_secret_basic (post is the same), private_key_jwt.
        .col(string("authentication"))
        .col(binary_null("secret_hash"))
        .col(binary_null("previous_hash"))
        .col(big_integer("previous_until"))
        // Its public keys, for private_key_jwt: a JWKS.
        .col(text_null("jwks"))
        // Everything else it registered, as JSON: see `control::application::Registration`.
        .col(text("registration"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .col(big_integer("version"))
        .foreign_key(&mut of_tenant("applications"))
        .to_owned()
}

fn consents() -> TableCreateStatement {
    Table::create()
        .table("consents")
        .col(string("tenant_id"))
        .col(string("user_id"))
        .col(string("client_id"))
        .col(text("scopes"))
        .col(big_integer("given_at"))
        .primary_key(Index::create().col("tenant_id").col("user_id").col("client_id"))
        .foreign_key(&mut of_user("consents"))
        .to_owned()
}

/// One browser. `id_hash` is SHA-256 of the cookie. `account_id`, `amr` and `auth_time` say what
/// was shown with factors kept here, if anything was.
fn sessions() -> TableCreateStatement {
    Table::create()
        .table("sessions")
        .col(binary("id_hash").primary_key())
        .col(string_null("account_id"))
        .col(text("amr"))
        .col(big_integer("auth_time"))
        .col(big_integer("created_at"))
        .col(big_integer("seen_at"))
        .col(big_integer("expires_at"))
        .foreign_key(&mut of_account("sessions"))
        .to_owned()
}

/// What a browser has shown to one tenant: a session in the tenant's eyes, named `sid` (OIDC
/// Back-Channel Logout 2.1). No row, no entry (I-14).
fn session_proofs() -> TableCreateStatement {
    Table::create()
        .table("session_proofs")
        .col(string("sid").primary_key())
        .col(binary("session_hash"))
        .col(string("tenant_id"))
        .col(string("user_id"))
        .col(string_null("connection"))
        .col(text("amr"))
        .col(big_integer("auth_time"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("ended_at"))
        .col(text("user_agent"))
        .foreign_key(&mut of_user("session_proofs"))
        .to_owned()
}

/// What a user let a client do, and the family of refresh tokens that stands for it. `turn` counts
/// rotations: the token of the present turn is good, the one before is for a while (I-10).
fn grants() -> TableCreateStatement {
    Table::create()
        .table("grants")
        .col(string("id").primary_key())
        .col(string("tenant_id"))
        .col(string("user_id"))
        .col(string("client_id"))
        .col(string_null("sid"))
        .col(text("scopes"))
        .col(string("resource"))
        .col(string_null("connection"))
        .col(text("amr"))
        .col(big_integer("auth_time"))
        .col(string_null("nonce"))
        // RFC 9449: the thumbprint of the key the tokens are bound to.
        .col(string_null("dpop_jkt"))
        .col(big_integer("turn"))
        .col(big_integer("turned_at"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("revoked_at"))
        .col(string_null("revoked_why"))
        .foreign_key(&mut of_user("grants"))
        .to_owned()
}

/// Values good for one use: codes, pushed requests, device codes, action tokens, state, proof ids.
/// The key is kind *and* tenant *and* hash (O-22); the tenant is empty where none is known yet.
fn single_use() -> TableCreateStatement {
    Table::create()
        .table("single_use")
        .col(string("kind"))
        .col(string("tenant_id"))
        .col(binary("hash"))
        .col(text("payload"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("used_at"))
        .primary_key(Index::create().col("kind").col("tenant_id").col("hash"))
        .to_owned()
}

/// Hashed, scoped, expiring, shown once. `subject` is the user or machine it acts as.
fn api_keys() -> TableCreateStatement {
    Table::create()
        .table("api_keys")
        .col(string("id").primary_key())
        .col(string("tenant_id"))
        .col(string("subject"))
        .col(string("name"))
        .col(string("status"))
        .col(binary("secret_hash"))
        // The only roles of its holder's that it gives; all, where it says nothing.
        .col(text_null("roles"))
        .col(text("scopes"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("used_at"))
        .col(big_integer("version"))
        .foreign_key(&mut of_tenant("api_keys"))
        .to_owned()
}

/// What the vendor's staff show to the admin API: hashed, named, expiring.
fn operator_keys() -> TableCreateStatement {
    Table::create()
        .table("operator_keys")
        .col(string("id").primary_key())
        .col(string("name"))
        .col(binary("secret_hash"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("revoked_at"))
        .to_owned()
}

/// Mail to be sent, sealed: it carries links that let people in.
fn outgoing_mail() -> TableCreateStatement {
    Table::create()
        .table("outgoing_mail")
        .col(big_pk_auto("id"))
        .col(string_null("tenant_id"))
        .col(string("kind"))
        .col(binary("sealed"))
        .col(integer("tries"))
        .col(big_integer("due_at"))
        .col(big_integer("give_up_at"))
        .col(big_integer("created_at"))
        .to_owned()
}

/// The applications that got tokens in a tenant's session and want to hear of its end.
fn session_clients() -> TableCreateStatement {
    Table::create()
        .table("session_clients")
        .col(string("sid"))
        .col(string("client_id"))
        .primary_key(Index::create().col("sid").col("client_id"))
        .foreign_key(
            ForeignKey::create()
                .from("session_clients", "sid")
                .to("session_proofs", "sid")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

/// Back-channel logouts to be delivered.
fn outgoing_logouts() -> TableCreateStatement {
    Table::create()
        .table("outgoing_logouts")
        .col(big_pk_auto("id"))
        .col(string("tenant_id"))
        .col(string("client_id"))
        .col(string("user_id"))
        .col(string("sid"))
        .col(integer("tries"))
        .col(big_integer("due_at"))
        .col(big_integer("give_up_at"))
        .col(big_integer("created_at"))
        .to_owned()
}

/// What happened at the door: sign-ins, refusals, families of tokens killed (L-01). Changes by
/// administrators are in `audit_events`.
fn security_events() -> TableCreateStatement {
    Table::create()
        .table("security_events")
        .col(big_pk_auto("id"))
        .col(big_integer("at"))
        .col(string_null("tenant_id"))
        .col(string("event"))
        .col(string("outcome"))
        .col(string_null("subject"))
        .col(string_null("client_id"))
        .col(text("detail"))
        .col(string_null("request_id"))
        .to_owned()
}

fn of_tenant(table: &'static str) -> sea_orm_migration::prelude::ForeignKeyCreateStatement {
    ForeignKey::create().from(table, "tenant_id").to("tenants", "id").to_owned()
}

fn of_account(table: &'static str) -> sea_orm_migration::prelude::ForeignKeyCreateStatement {
    ForeignKey::create().from(table, "account_id").to("accounts", "id").to_owned()
}

/// Both columns: a row of one tenant cannot name a user of another.
fn of_user(table: &'static str) -> sea_orm_migration::prelude::ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(table, ("tenant_id", "user_id"))
        .to("users", ("tenant_id", "id"))
        .to_owned()
}

fn indices() -> Vec<IndexCreateStatement> {
    let index = |name, table| Index::create().name(name).table(table).to_owned();
    let unique = |name, table| index(name, table).unique().to_owned();
    vec![
        unique("users_email", "users").col("tenant_id").col("email").to_owned(),
        unique("users_account", "users")
            .col("account_id")
            .col("tenant_id")
            .and_where(Expr::col("account_id").is_not_null())
            .to_owned(),
        index("totp_of_account", "totp_secrets").col("account_id").to_owned(),
        index("passkeys_of_account", "passkeys").col("account_id").to_owned(),
        index("applications_of_tenant", "applications")
            .col("tenant_id")
            .col("client_id")
            .to_owned(),
        index("sessions_of_account", "sessions").col("account_id").to_owned(),
        index("sessions_expired", "sessions").col("expires_at").to_owned(),
        unique("proofs_of_session", "session_proofs")
            .col("session_hash")
            .col("tenant_id")
            .and_where(Expr::col("ended_at").is_null())
            .to_owned(),
        index("proofs_ended", "session_proofs")
            .col("session_hash")
            .col("tenant_id")
            .col("ended_at")
            .to_owned(),
        index("proofs_of_user", "session_proofs")
            .col("tenant_id")
            .col("user_id")
            .col("sid")
            .to_owned(),
        index("proofs_expired", "session_proofs").col("expires_at").to_owned(),
        index("grants_of_user", "grants").col("tenant_id").col("user_id").col("id").to_owned(),
        index("grants_of_sid", "grants").col("sid").to_owned(),
        index("grants_expired", "grants").col("expires_at").to_owned(),
        index("single_use_expired", "single_use").col("expires_at").to_owned(),
        index("api_keys_of_tenant", "api_keys").col("tenant_id").col("id").to_owned(),
        index("api_keys_of_subject", "api_keys").col("tenant_id").col("subject").to_owned(),
        index("mail_due", "outgoing_mail").col("due_at").to_owned(),
        index("logouts_due", "outgoing_logouts").col("due_at").to_owned(),
        index("logouts_of_client", "outgoing_logouts").col("client_id").to_owned(),
        index("security_events_of_tenant", "security_events").col("tenant_id").col("id").to_owned(),
    ]
}
