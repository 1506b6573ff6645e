//! Where somebody signs in: with us, or with their tenant's own identity provider (I-20).

use partywall::TenantId;
use sea_orm::ConnectionTrait;

use crate::{
    control::{Connection, ControlPlane, Email},
    federation::domains::DomainName,
    storage::{StorageError, connections, domains, sign_in_policies},
};

/// Where somebody signs in.
#[derive(Debug)]
pub(crate) enum Realm {
    /// With factors kept here.
    Here,
    /// With the tenant's own provider.
    Elsewhere(Box<Connection>),
}

/// The realm of somebody, by what is known of them beforehand: the tenant they want to come in to,
/// their address, or both.
///
/// An address leads to a connection if its domain was proved by a tenant, which has given it one;
/// at another tenant than the one that is wanted it leads nowhere (I-16). For an address nobody has
/// the answer, and the work for it, is that of almost everybody's.
pub(crate) async fn realm(
    control: &ControlPlane,
    tenant: Option<&TenantId>,
    email: Option<&Email>,
) -> Result<Realm, StorageError> {
    let db = control.inner.db.reader();
    if let Some(email) = email {
        let Some(domain) = DomainName::of(email) else { return Ok(Realm::Here) };
        let Some((owner, connection)) = domains::proved(db, &domain).await? else {
            return Ok(Realm::Here);
        };
        if tenant.is_some_and(|wanted| *wanted != owner) {
            return Ok(Realm::Here);
        }
        return match connection {
            Some(id) => Ok(elsewhere(connections::find(db, &owner, &id).await?)),
            None => only_one_of(db, &owner).await,
        };
    }
    // A tenant that admits through one provider alone: nothing has to be asked.
    let Some(tenant) = tenant else { return Ok(Realm::Here) };
    if !sign_in_policies::of(db, tenant).await?.policy.sso_only {
        return Ok(Realm::Here);
    }
    only_one_of(db, tenant).await
}

/// Of several, people choose themselves.
async fn only_one_of(db: &impl ConnectionTrait, tenant: &TenantId) -> Result<Realm, StorageError> {
    let mut active = connections::active(db, tenant, 2).await?;
    let only = active.pop().filter(|_| active.is_empty());
    Ok(elsewhere(only))
}

fn elsewhere(connection: Option<Connection>) -> Realm {
    match connection.filter(Connection::admits) {
        Some(connection) => Realm::Elsewhere(Box::new(connection)),
        None => Realm::Here,
    }
}
