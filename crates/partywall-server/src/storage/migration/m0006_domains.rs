//! Domains that tenants claim, and those of them that are proved.

use sea_orm_migration::{
    prelude::{
        ConditionalStatement, DbErr, DeriveMigrationName, Expr, ExprTrait, ForeignKey, Index,
        MigrationTrait, SchemaManager, Table, async_trait::async_trait,
    },
    schema::{big_integer, big_integer_null, string, string_null},
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // `token` is what the record says; `due_at` when a proof is looked at again, and
        // `failing_since` since when it has not been there. `version` counts changes.
        let domains = Table::create()
            .table("domains")
            .col(string("tenant_id"))
            .col(string("domain"))
            .col(string("token"))
            .col(string_null("connection_id"))
            .col(big_integer_null("verified_at"))
            .col(big_integer_null("checked_at"))
            .col(string_null("seen"))
            .col(big_integer_null("due_at"))
            .col(big_integer_null("failing_since"))
            .col(big_integer("version"))
            .col(big_integer("created_at"))
            .primary_key(Index::create().col("tenant_id").col("domain"))
            .foreign_key(ForeignKey::create().from("domains", "tenant_id").to("tenants", "id"))
            // Both columns: nobody's domain leads to another tenant's connection.
            .foreign_key(
                ForeignKey::create()
                    .from("domains", ("tenant_id", "connection_id"))
                    .to("connections", ("tenant_id", "id")),
            )
            .to_owned();
        manager.create_table(domains).await?;
        // However many claim a domain, it is proved for one.
        let proved = Index::create()
            .name("domains_proved")
            .table("domains")
            .unique()
            .col("domain")
            .and_where(Expr::col("verified_at").is_not_null())
            .to_owned();
        manager.create_index(proved).await?;
        let routed = Index::create()
            .name("domains_of_connection")
            .table("domains")
            .col("tenant_id")
            .col("connection_id")
            .to_owned();
        manager.create_index(routed).await?;
        let due = Index::create().name("domains_due").table("domains").col("due_at").to_owned();
        manager.create_index(due).await
    }
}
