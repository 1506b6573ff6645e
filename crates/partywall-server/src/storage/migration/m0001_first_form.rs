//! Tenants, machines, signing keys, revocations, the audit trail and the generation.

use sea_orm_migration::{
    prelude::{
        ConditionalStatement, ConnectionTrait, DbErr, DeriveMigrationName, Expr, ExprTrait,
        ForeignKey, Index, IndexCreateStatement, MigrationTrait, Query, SchemaManager, Table,
        TableCreateStatement, async_trait::async_trait,
    },
    schema::{
        big_integer, big_integer_null, big_pk_auto, binary, binary_null, integer, string,
        string_null, text, text_null,
    },
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in
            [directory(), tenants(), machines(), signing_keys(), revocations(), audit(), settings()]
        {
            manager.create_table(table).await?;
        }
        for index in indices() {
            manager.create_index(index).await?;
        }
        let first = Query::insert()
            .into_table("directory")
            .columns(["id", "generation", "changed_at"])
            .values_panic([1.into(), 0.into(), 0.into()])
            .to_owned();
        manager.get_connection().execute(&first).await?;
        Ok(())
    }
}

/// One row: the generation, and when it was reached.
fn directory() -> TableCreateStatement {
    Table::create()
        .table("directory")
        .col(integer("id").primary_key().check(Expr::col("id").eq(1)))
        .col(big_integer("generation"))
        .col(big_integer("changed_at"))
        .to_owned()
}

/// A tenant's row stays for ever: its id is never given to another. An erased one keeps the id
/// only, and gives its slug back.
fn tenants() -> TableCreateStatement {
    Table::create()
        .table("tenants")
        .col(string("id").primary_key())
        .col(string_null("slug").unique_key())
        .col(string("status"))
        .col(string("tier"))
        .col(string_null("region"))
        .col(big_integer("epoch"))
        .col(big_integer("epoch_at"))
        .col(text("placements"))
        .col(text("administrators"))
        .col(text_null("billing_reference"))
        .col(text("metadata"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .col(big_integer("changed_generation"))
        .to_owned()
}

/// OAuth clients, each of exactly one tenant.
fn machines() -> TableCreateStatement {
    Table::create()
        .table("machines")
        .col(string("client_id").primary_key())
        .col(string("tenant_id"))
        .col(string("name"))
        .col(string("status"))
        .col(text("roles"))
        .col(text("scopes"))
        .col(binary("secret_hash"))
        .col(binary_null("previous_hash"))
        .col(big_integer("previous_until"))
        .col(big_integer("created_at"))
        .col(big_integer("changed_at"))
        .foreign_key(ForeignKey::create().from("machines", "tenant_id").to("tenants", "id"))
        .to_owned()
}

/// The public half in clear, the private half sealed, and gone once it has no more use.
fn signing_keys() -> TableCreateStatement {
    Table::create()
        .table("signing_keys")
        .col(string("kid").primary_key())
        .col(string("purpose"))
        .col(string("algorithm"))
        .col(string("state"))
        .col(text("public_jwk"))
        .col(binary_null("sealed"))
        .col(big_integer("published_at"))
        .col(big_integer_null("activated_at"))
        .col(big_integer_null("retired_at"))
        .col(big_integer_null("removed_at"))
        .to_owned()
}

fn revocations() -> TableCreateStatement {
    Table::create()
        .table("revocations")
        .col(big_pk_auto("id"))
        .col(string("kind"))
        .col(string("realm"))
        .col(string("name"))
        .col(big_integer("time"))
        .col(big_integer("keep_until"))
        .to_owned()
}

fn audit() -> TableCreateStatement {
    Table::create()
        .table("audit_events")
        .col(big_pk_auto("id"))
        .col(big_integer("at"))
        .col(string("actor_kind"))
        .col(string("actor"))
        .col(string_null("tenant_id"))
        .col(string("action"))
        .col(text("detail"))
        .col(big_integer("generation"))
        .to_owned()
}

fn settings() -> TableCreateStatement {
    Table::create()
        .table("settings")
        .col(string("name").primary_key())
        .col(binary("value"))
        .to_owned()
}

fn indices() -> [IndexCreateStatement; 5] {
    let index = |name, table| Index::create().name(name).table(table).to_owned();
    [
        index("tenants_changed", "tenants").col("changed_generation").col("id").to_owned(),
        index("machines_of_tenant", "machines").col("tenant_id").col("client_id").to_owned(),
        // Two keys can never both be the one that signs.
        index("one_active_key", "signing_keys")
            .unique()
            .col("purpose")
            .and_where(Expr::col("state").eq("active"))
            .to_owned(),
        index("revocations_name", "revocations")
            .unique()
            .col("kind")
            .col("realm")
            .col("name")
            .to_owned(),
        index("audit_of_tenant", "audit_events").col("tenant_id").col("id").to_owned(),
    ]
}
