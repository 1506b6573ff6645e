//! The tables, for both databases. A migration that has shipped is never edited.

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait::async_trait};

mod m0001_first_form;
mod m0002_audit_by_generation;
mod m0003_people_and_sign_in;
mod m0004_federation;
mod m0005_scim;
mod m0006_domains;
mod m0007_setup_links;

pub(crate) struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first_form::Migration),
            Box::new(m0002_audit_by_generation::Migration),
            Box::new(m0003_people_and_sign_in::Migration),
            Box::new(m0004_federation::Migration),
            Box::new(m0005_scim::Migration),
            Box::new(m0006_domains::Migration),
            Box::new(m0007_setup_links::Migration),
        ]
    }
}
