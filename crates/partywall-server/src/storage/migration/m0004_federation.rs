//! Tenants' own identity providers: connections, and whom they vouch for.

use sea_orm_migration::{
    prelude::{
        DbErr, DeriveMigrationName, ForeignKey, ForeignKeyCreateStatement, Index,
        IndexCreateStatement, MigrationTrait, SchemaManager, Table, TableCreateStatement,
        async_trait::async_trait,
    },
    schema::{big_integer, big_integer_null, binary_null, string, text, text_null},
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [connections(), external_identities()] {
            manager.create_table(table).await?;
        }
        // What the tenant's provider calls the session, so that either side can end it for both.
        let upstream = Table::alter()
            .table("session_proofs")
            .add_column(text_null("upstream_session"))
            .to_owned();
        manager.alter_table(upstream).await?;
        for index in indices() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

/// A tenant's own identity provider, as registered with us. `provider` and `rules` are JSON
/// documents (`control::connection`), `sealed` what must not be read here.
fn connections() -> TableCreateStatement {
    Table::create()
        .table("connections")
        .col(string("id").primary_key())
        .col(string("tenant_id"))
        .col(string("name"))
        .col(string("protocol"))
        .col(string("status"))
        .col(text("provider"))
        .col(text("rules"))
        .col(binary_null("sealed"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .col(big_integer("version"))
        // What rows about a connection refer to: see `of_connection`.
        .index(Index::create().name("connections_tenant_id").unique().col("tenant_id").col("id"))
        .foreign_key(ForeignKey::create().from("connections", "tenant_id").to("tenants", "id"))
        .to_owned()
}

/// Whom a connection vouches for, byte for byte as the provider names them (I-01).
fn external_identities() -> TableCreateStatement {
    Table::create()
        .table("external_identities")
        .col(string("tenant_id"))
        .col(string("connection_id"))
        .col(text("issuer"))
        .col(text("subject"))
        .col(string("user_id"))
        .col(big_integer("created_at"))
        .col(big_integer_null("used_at"))
        .primary_key(
            Index::create().col("tenant_id").col("connection_id").col("issuer").col("subject"),
        )
        .foreign_key(&mut of_connection("external_identities"))
        .foreign_key(
            ForeignKey::create()
                .from("external_identities", ("tenant_id", "user_id"))
                .to("users", ("tenant_id", "id")),
        )
        .to_owned()
}

/// Both columns: a row of one tenant cannot name a connection of another.
fn of_connection(table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(table, ("tenant_id", "connection_id"))
        .to("connections", ("tenant_id", "id"))
        .to_owned()
}

fn indices() -> Vec<IndexCreateStatement> {
    let index = |name, table| Index::create().name(name).table(table).to_owned();
    vec![
        index("identities_of_user", "external_identities")
            .col("tenant_id")
            .col("user_id")
            .to_owned(),
        index("proofs_of_connection", "session_proofs")
            .col("tenant_id")
            .col("connection")
            .to_owned(),
        index("grants_of_connection", "grants").col("tenant_id").col("connection").to_owned(),
    ]
}
