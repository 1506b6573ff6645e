//! What an invoice is, and what a store of invoices can do.

use std::future::Future;

use partywall::{Scoped, Transactional};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::AppError;

/// An invoice.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, sqlx::FromRow)]
pub struct Invoice {
    /// Its id, unique within the tenant.
    pub id: Uuid,
    /// Whom it was sent to.
    pub customer: String,
    /// How much, in cents.
    pub amount_cents: i64,
    /// Whether it was paid.
    pub paid: bool,
    /// How many reminders were sent.
    pub reminders: i32,
}

/// An invoice as a caller asks for it. There is no field for a tenant, and an unknown one is an
/// error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvoice {
    /// Whom to send it to.
    pub customer: String,
    /// How much, in cents.
    pub amount_cents: i64,
}

impl NewInvoice {
    pub(crate) fn check(self) -> Result<Self, AppError> {
        let invalid = |field, problem| Err(AppError::Invalid { field, problem });
        if self.customer.trim().is_empty() || self.customer.chars().count() > 200 {
            return invalid("customer", "expected 1 to 200 characters");
        }
        if self.amount_cents <= 0 {
            return invalid("amount_cents", "expected more than 0");
        }
        Ok(self)
    }
}

impl From<NewInvoice> for Invoice {
    fn from(new: NewInvoice) -> Self {
        let (customer, amount_cents) = (new.customer, new.amount_cents);
        Self { id: Uuid::new_v4(), customer, amount_cents, paid: false, reminders: 0 }
    }
}

/// A store that can keep invoices: each function sees one tenant's, because its handle does.
pub trait Ledger: Transactional {
    /// All invoices, by customer.
    fn list(db: &mut Scoped<Self>) -> impl Future<Output = Result<Vec<Invoice>, AppError>> + Send;

    /// One of them.
    fn find(
        db: &mut Scoped<Self>,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Invoice>, AppError>> + Send;

    /// Adds one.
    fn add(
        db: &mut Scoped<Self>,
        invoice: &Invoice,
    ) -> impl Future<Output = Result<(), AppError>> + Send;

    /// Notes that it was paid; `false` when it had been. Of two at once, one is told `true`.
    fn mark_paid(
        db: &mut Scoped<Self>,
        id: Uuid,
    ) -> impl Future<Output = Result<bool, AppError>> + Send;

    /// Notes that a reminder was sent.
    fn mark_reminded(
        db: &mut Scoped<Self>,
        id: Uuid,
    ) -> impl Future<Output = Result<(), AppError>> + Send;
}
