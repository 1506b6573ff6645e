//! Refresh tokens (RFC 6749 6): rotated at every use, and a family dies of a copy (O-06, I-10).

use sea_orm::ConnectionTrait;

use crate::{
    control::{ControlPlane, NewGrant},
    login::Admitted,
    secret::Secret,
    storage::{StorageError, grants},
};

/// Begins a family, in the caller's transaction, and makes its first token. `None` for a machine:
/// it has its secret (RFC 6749 4.4.3).
pub(crate) async fn first(
    control: &ControlPlane,
    db: &impl ConnectionTrait,
    admitted: &Admitted,
    new: NewGrant<'_>,
) -> Result<Option<Secret<String>>, StorageError> {
    let Some(grant) = control.new_grant(admitted, new) else { return Ok(None) };
    grants::insert(db, &grant).await?;
    Ok(Some(control.inner.refresh_key.token(&grant.tenant, &grant.id, grant.turn)))
}
