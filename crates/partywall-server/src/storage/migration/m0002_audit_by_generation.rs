//! Finds the time of a generation, which a delta that starts there must name.

use sea_orm_migration::prelude::{
    DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager, async_trait::async_trait,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::create()
            .name("audit_of_generation")
            .table("audit_events")
            .col("generation")
            .to_owned();
        manager.create_index(index).await
    }
}
