//! What a store must be able to do, and the handle an application gets.

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
};

use crate::{Placement, StoreName, TenantId};

/// A store that can be narrowed to one tenant.
///
/// This is all an adapter implements. What a [`Handle`](Self::Handle) must promise is written
/// down as tests: `partywall::testing::isolation` runs them.
pub trait Store: Clone + Send + Sync + 'static {
    /// What the application works with: a transaction, a prefixed bucket, a filtered collection.
    type Handle: Send;

    /// Why the store could not be opened.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The name under which the bundle places tenants in this store.
    fn name(&self) -> &StoreName;

    /// Opens the store narrowed to exactly the tenant in `scope`.
    ///
    /// # Errors
    ///
    /// An unknown target or model is an error, never a default (M-14).
    fn open(
        &self,
        scope: TenantScope<'_>,
    ) -> impl Future<Output = Result<Self::Handle, Self::Error>> + Send;
}

/// A store whose handles end in a commit.
pub trait Transactional: Store {
    /// Makes the handle's writes lasting; dropping a handle undoes them.
    fn commit(handle: Self::Handle) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// One tenant at one place: everything an adapter may know about a request.
///
/// Only [`TenantContext::open`](crate::TenantContext::open) makes these, so no adapter can be
/// opened without a verified tenant.
///
/// ```compile_fail,E0451
/// # fn forge(tenant: &partywall::TenantId, placement: &partywall::Placement) {
/// let scope = partywall::TenantScope { tenant, placement }; // the fields are private
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TenantScope<'ctx> {
    pub(crate) tenant: &'ctx TenantId,
    pub(crate) placement: &'ctx Placement,
}

impl<'ctx> TenantScope<'ctx> {
    /// The tenant.
    pub fn tenant(&self) -> &'ctx TenantId {
        self.tenant
    }

    /// Its place in this store.
    pub fn placement(&self) -> &'ctx Placement {
        self.placement
    }
}

/// A handle to `S` that can reach one tenant's data and no other.
///
/// Made by [`TenantContext::open`](crate::TenantContext::open) and by nothing else:
///
/// ```compile_fail
/// # fn forge<S: partywall::Store>(handle: S::Handle) -> partywall::Scoped<S> {
/// partywall::Scoped(handle) // the field is private
/// # }
/// ```
///
/// ```compile_fail,E0624
/// # fn forge<S: partywall::Store>(handle: S::Handle) -> partywall::Scoped<S> {
/// partywall::Scoped::<S>::new(handle) // and so is the way to make one
/// # }
/// ```
pub struct Scoped<S: Store>(S::Handle);

impl<S: Store> Scoped<S> {
    pub(crate) fn new(handle: S::Handle) -> Self {
        Self(handle)
    }
}

impl<S: Transactional> Scoped<S> {
    /// Makes the writes lasting; dropping the handle instead undoes them.
    ///
    /// # Errors
    ///
    /// When the store could not promise that the writes last.
    pub async fn commit(self) -> Result<(), S::Error> {
        S::commit(self.0).await
    }
}

impl<S: Store> Deref for Scoped<S> {
    type Target = S::Handle;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<S: Store> DerefMut for Scoped<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<S: Store> fmt::Debug for Scoped<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}

/// Why a scoped handle could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The bundle does not place this tenant in this store (M-14: an error, never a default).
    #[error(
        "tenant {tenant} has no placement in store {store}: place it there in the control plane"
    )]
    NotPlaced {
        /// The store asked for.
        store: StoreName,
        /// The tenant that has no place there.
        tenant: TenantId,
    },
    /// The store itself said no.
    #[error(transparent)]
    Store(E),
}
