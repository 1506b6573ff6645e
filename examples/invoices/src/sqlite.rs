//! Invoices in the embedded store. Its SQL knows no tenant id, either: the connection sees views of
//! one tenant.

use partywall::Scoped;
use partywall_sqlite::{Schema, SchemaError, Sqlite};
use rusqlite::Row;
use uuid::Uuid;

use crate::{AppError, Invoice, Ledger};

/// The tables, as every file has them; the tenant leads every key.
///
/// # Errors
///
/// Never, as the tests show: the schema is fixed.
pub fn schema() -> Result<Schema, SchemaError> {
    Schema::new(include_str!("../sql/sqlite.sql"))
}

impl Ledger for Sqlite {
    async fn list(db: &mut Scoped<Self>) -> Result<Vec<Invoice>, AppError> {
        let sql =
            "SELECT id, customer, amount_cents, paid, reminders FROM invoice ORDER BY customer, id";
        let rows = db.query(sql, (), read).await.map_err(AppError::store)?;
        rows.into_iter().collect::<Result<_, _>>().map_err(AppError::store)
    }

    async fn find(db: &mut Scoped<Self>, id: Uuid) -> Result<Option<Invoice>, AppError> {
        let sql = "SELECT id, customer, amount_cents, paid, reminders FROM invoice WHERE id = ?1";
        let row = db.query_optional(sql, (id.to_string(),), read).await.map_err(AppError::store)?;
        row.transpose().map_err(AppError::store)
    }

    async fn add(db: &mut Scoped<Self>, invoice: &Invoice) -> Result<(), AppError> {
        let sql = "INSERT INTO invoice (id, customer, amount_cents) VALUES (?1, ?2, ?3)";
        let values = (invoice.id.to_string(), &invoice.customer, invoice.amount_cents);
        db.execute(sql, values).await.map(|_| ()).map_err(AppError::store)
    }

    async fn mark_paid(db: &mut Scoped<Self>, id: Uuid) -> Result<bool, AppError> {
        let sql = "UPDATE invoice SET paid = 1 WHERE id = ?1 AND NOT paid";
        db.execute(sql, (id.to_string(),)).await.map(|rows| rows == 1).map_err(AppError::store)
    }

    async fn mark_reminded(db: &mut Scoped<Self>, id: Uuid) -> Result<(), AppError> {
        let sql = "UPDATE invoice SET reminders = reminders + 1 WHERE id = ?1 AND NOT paid";
        db.execute(sql, (id.to_string(),)).await.map(|_| ()).map_err(AppError::store)
    }
}

/// The outer result is the store's, the inner one the id's.
fn read(row: &Row<'_>) -> rusqlite::Result<Result<Invoice, uuid::Error>> {
    let (customer, amount_cents) = (row.get("customer")?, row.get("amount_cents")?);
    let (paid, reminders) = (row.get("paid")?, row.get("reminders")?);
    let id = row.get::<_, String>("id")?.parse();
    Ok(id.map(|id| Invoice { id, customer, amount_cents, paid, reminders }))
}
