//! Links by which somebody at a tenant sets its sign-in up, and what they have got to.

use sea_orm_migration::{
    prelude::{
        DbErr, DeriveMigrationName, ForeignKey, Index, MigrationTrait, SchemaManager, Table,
        async_trait::async_trait,
    },
    schema::{big_integer, big_integer_null, binary, binary_null, string, text},
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A link, and the one browser session it was redeemed for. `connection_id` may name one that
        // is still to be made: its addresses are told before it can be. `progress` is JSON
        // (`portal::progress`).
        let links = Table::create()
            .table("setup_links")
            .col(string("tenant_id"))
            .col(string("id"))
            .col(binary("secret_hash"))
            .col(string("intent"))
            .col(string("connection_id"))
            .col(text("progress"))
            .col(big_integer_null("redeemed_at"))
            .col(binary_null("session_hash"))
            .col(big_integer("created_at"))
            .col(big_integer("expires_at"))
            .primary_key(Index::create().col("tenant_id").col("id"))
            .foreign_key(ForeignKey::create().from("setup_links", "tenant_id").to("tenants", "id"))
            .to_owned();
        manager.create_table(links).await?;
        let expired = Index::create()
            .name("setup_links_expired")
            .table("setup_links")
            .col("expires_at")
            .to_owned();
        manager.create_index(expired).await
    }
}
