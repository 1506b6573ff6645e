//! One function per route.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use partywall::{Scoped, TenantContext, axum::Opener};
use uuid::Uuid;

use crate::{AppError, Invoice, Ledger, NewInvoice, Reminders};

/// No `WHERE tenant_id = …`: this transaction cannot see a row of another tenant.
pub(crate) async fn list<S: Ledger>(mut db: Scoped<S>) -> Result<Json<Vec<Invoice>>, AppError> {
    Ok(Json(S::list(&mut db).await?))
}

pub(crate) async fn read<S: Ledger>(
    mut db: Scoped<S>,
    Path(id): Path<Uuid>,
) -> Result<Json<Invoice>, AppError> {
    // Another tenant's invoice is not found, as one that never was.
    S::find(&mut db, id).await?.map(Json).ok_or(AppError::NotFound)
}

/// The body is read before the store is opened, so a slow sender holds no connection.
pub(crate) async fn create<S: Ledger>(
    store: Opener<S>,
    Json(new): Json<NewInvoice>,
) -> Result<Response, AppError> {
    let invoice = Invoice::from(new.check()?);
    let mut db = store.open().await?;
    S::add(&mut db, &invoice).await?;
    db.commit().await.map_err(AppError::store)?;
    let location = [(LOCATION, format!("/invoices/{}", invoice.id))];
    Ok((StatusCode::CREATED, location, Json(invoice)).into_response())
}

pub(crate) async fn pay<S: Ledger>(
    tenant: TenantContext,
    mut db: Scoped<S>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, AppError> {
    // Not found before forbidden: who may not see it does not learn that it exists.
    S::find(&mut db, id).await?.ok_or(AppError::NotFound)?;
    if !tenant.has_role("accountant") {
        return Err(AppError::Forbidden);
    }
    // The statement itself asks whether it was paid: what was read may no longer be so.
    if !S::mark_paid(&mut db, id).await? {
        return Err(AppError::AlreadyPaid);
    }
    db.commit().await.map_err(AppError::store)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The work is done later, by a worker, as this tenant: see [`Reminders`].
pub(crate) async fn remind<S: Ledger>(
    tenant: TenantContext,
    mut db: Scoped<S>,
    State(reminders): State<Reminders>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, AppError> {
    S::find(&mut db, id).await?.ok_or(AppError::NotFound)?;
    reminders.enqueue(&tenant, id)?;
    Ok(StatusCode::ACCEPTED)
}
