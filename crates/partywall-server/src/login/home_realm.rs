//! Where somebody signs in, by the address they give: with us, or with their tenant's own identity
//! provider (I-20).

use partywall::TenantId;

use crate::control::{ControlPlane, Email};

/// Where somebody signs in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Realm {
    /// With factors kept here.
    Here,
}

/// The realm of an address, at a tenant if one is known. For an address nobody has it is [`Here`],
/// like for almost everybody's: the answer, and the work for it, tell nobody apart.
///
/// [`Here`]: Realm::Here
pub(crate) fn realm_of(
    _control: &ControlPlane,
    _tenant: Option<&TenantId>,
    _email: &Email,
) -> Realm {
    Realm::Here
}
