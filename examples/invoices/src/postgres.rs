//! Invoices in PostgreSQL. The same statements in a shared database (pool), a database of the
//! tenant's own (bridge) and a server of its own (silo).

use partywall::Scoped;
use partywall_postgres::Postgres;
use uuid::Uuid;

use crate::{AppError, Invoice, Ledger};

impl Ledger for Postgres {
    async fn list(db: &mut Scoped<Self>) -> Result<Vec<Invoice>, AppError> {
        sqlx::query_as(
            "SELECT id, customer, amount_cents, paid, reminders FROM invoice ORDER BY customer, id",
        )
        .fetch_all(db.conn())
        .await
        .map_err(AppError::store)
    }

    async fn find(db: &mut Scoped<Self>, id: Uuid) -> Result<Option<Invoice>, AppError> {
        sqlx::query_as(
            "SELECT id, customer, amount_cents, paid, reminders FROM invoice WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(db.conn())
        .await
        .map_err(AppError::store)
    }

    async fn add(db: &mut Scoped<Self>, invoice: &Invoice) -> Result<(), AppError> {
        sqlx::query("INSERT INTO invoice (id, customer, amount_cents) VALUES ($1, $2, $3)")
            .bind(invoice.id)
            .bind(&invoice.customer)
            .bind(invoice.amount_cents)
            .execute(db.conn())
            .await
            .map(|_| ())
            .map_err(AppError::store)
    }

    async fn mark_paid(db: &mut Scoped<Self>, id: Uuid) -> Result<bool, AppError> {
        sqlx::query("UPDATE invoice SET paid = true WHERE id = $1 AND NOT paid")
            .bind(id)
            .execute(db.conn())
            .await
            .map(|done| done.rows_affected() == 1)
            .map_err(AppError::store)
    }

    async fn mark_reminded(db: &mut Scoped<Self>, id: Uuid) -> Result<(), AppError> {
        sqlx::query("UPDATE invoice SET reminders = reminders + 1 WHERE id = $1 AND NOT paid")
            .bind(id)
            .execute(db.conn())
            .await
            .map(|_| ())
            .map_err(AppError::store)
    }
}
