//! What tenants' identity providers say by SCIM: their users and groups, and the tokens they say it
//! with.

use sea_orm_migration::{
    prelude::{
        DbErr, DeriveMigrationName, ForeignKey, ForeignKeyCreateStatement, Index,
        IndexCreateStatement, MigrationTrait, SchemaManager, Table, TableCreateStatement,
        async_trait::async_trait,
    },
    schema::{big_integer, big_integer_null, binary, string, text, text_null},
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [tokens(), users(), groups(), members()] {
            manager.create_table(table).await?;
        }
        for index in indices() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

/// What a provider shows to say who the tenant's users are: hashed, bound to one connection,
/// expiring. Two at a time, while one replaces the other.
fn tokens() -> TableCreateStatement {
    Table::create()
        .table("scim_tokens")
        .col(string("id").primary_key())
        .col(string("tenant_id"))
        .col(string("connection_id"))
        .col(binary("secret_hash"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("used_at"))
        .foreign_key(&mut of_connection("scim_tokens"))
        .to_owned()
}

/// A user as its connection describes it. `name_key` is its `userName` without regard to case, which
/// is unique in the connection; `attributes` the resource (RFC 7643), without what is kept in
/// columns and in `users`.
fn users() -> TableCreateStatement {
    Table::create()
        .table("scim_users")
        .col(string("tenant_id"))
        .col(string("connection_id"))
        .col(string("user_id"))
        .col(text("name_key"))
        .col(text_null("external_id"))
        .col(text("attributes"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .col(big_integer("version"))
        // A user is one connection's to describe.
        .primary_key(Index::create().col("tenant_id").col("user_id"))
        // What members refer to: see `members`.
        .index(
            Index::create()
                .name("scim_users_of_connection")
                .unique()
                .col("tenant_id")
                .col("connection_id")
                .col("user_id"),
        )
        .foreign_key(&mut of_connection("scim_users"))
        .foreign_key(
            ForeignKey::create()
                .from("scim_users", ("tenant_id", "user_id"))
                .to("users", ("tenant_id", "id")),
        )
        .to_owned()
}

fn groups() -> TableCreateStatement {
    Table::create()
        .table("scim_groups")
        .col(string("tenant_id"))
        .col(string("connection_id"))
        .col(string("id"))
        .col(text("display_name"))
        .col(text("name_key"))
        .col(text_null("external_id"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .col(big_integer("version"))
        .primary_key(Index::create().col("tenant_id").col("connection_id").col("id"))
        .foreign_key(&mut of_connection("scim_groups"))
        .to_owned()
}

/// Group and user are of the same connection: the keys say so.
fn members() -> TableCreateStatement {
    let three = |other| ("tenant_id", "connection_id", other);
    Table::create()
        .table("scim_members")
        .col(string("tenant_id"))
        .col(string("connection_id"))
        .col(string("group_id"))
        .col(string("user_id"))
        .primary_key(
            Index::create().col("tenant_id").col("connection_id").col("group_id").col("user_id"),
        )
        .foreign_key(
            ForeignKey::create()
                .from("scim_members", three("group_id"))
                .to("scim_groups", three("id")),
        )
        .foreign_key(
            ForeignKey::create()
                .from("scim_members", three("user_id"))
                .to("scim_users", three("user_id")),
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
    let index = |name, table| {
        let mut index = Index::create().name(name).table(table).to_owned();
        index.col("tenant_id").col("connection_id").to_owned()
    };
    vec![
        index("scim_tokens_of_connection", "scim_tokens").col("id").to_owned(),
        index("scim_users_name", "scim_users").unique().col("name_key").to_owned(),
        index("scim_users_external", "scim_users").col("external_id").to_owned(),
        index("scim_groups_name", "scim_groups").col("name_key").to_owned(),
        index("scim_groups_external", "scim_groups").col("external_id").to_owned(),
        index("scim_members_of_user", "scim_members").col("user_id").to_owned(),
    ]
}
