//! A connection by SAML 2.0: our side of `partywall_saml`.

use std::time::{Duration, SystemTime};

use partywall::Timestamp;
use partywall_saml::{
    Assertion, Attribute, AuthnRequest, Certificate, Expected, NameId, Settings, SpMetadata,
};

use super::{
    FederationError, UnverifiedEmail, Upstream, UpstreamSession,
    address::Addresses,
    away::{Begun, Departure, Wish},
    secrets::Secrets,
};
use crate::{
    control::{Connection, ControlPlane, SamlProvider},
    random,
    storage::single_use::{self, Drawer, Kind},
};

/// Asks the provider who somebody is (saml-profiles 4.1).
pub(super) fn begin(
    control: &ControlPlane,
    connection: &Connection,
    provider: &SamlProvider,
    relay_state: &str,
    wish: Wish<'_>,
) -> Result<(Departure, Begun), FederationError> {
    let addresses = Addresses::of(control, connection);
    // An NCName: begins with a letter.
    let id = format!("r{}", random::opaque_id(&control.inner.random)?);
    let by_redirect = provider.sso_redirect.as_deref();
    let destination = by_redirect
        .or(provider.sso_post.as_deref())
        .ok_or(FederationError::Settings("no single sign-on address".to_owned()))?;
    let request = AuthnRequest {
        id: &id,
        issue_instant: time(control.now()),
        destination,
        issuer: &addresses.metadata(),
        acs_url: &addresses.acs(),
        force_authn: wish.again,
        name_id_format: None,
    };
    let keys = Secrets::open(&control.inner.config.sealing_key, connection)?;
    let signer = keys.signer()?;
    let departure = if by_redirect.is_some() {
        Departure::Redirect(request.redirect(Some(relay_state), Some(&signer))?)
    } else {
        Departure::Post {
            action: destination.to_owned(),
            fields: vec![
                ("SAMLRequest".to_owned(), request.post(Some(&signer))?),
                ("RelayState".to_owned(), relay_state.to_owned()),
            ],
        }
    };
    Ok((departure, Begun::Saml { request: id }))
}

/// Who a response says somebody is, if it is the provider's, for us, now, and for the first time.
pub(super) async fn finish(
    control: &ControlPlane,
    connection: &Connection,
    provider: &SamlProvider,
    response: &[u8],
    request: Option<&str>,
) -> Result<Upstream, FederationError> {
    let now = control.now();
    let keys = Secrets::open(&control.inner.config.sealing_key, connection)?;
    let verifier = verifier(control, connection, provider, &keys)?;
    let expected = Expected { request_id: request, now: time(now) };
    let assertion = verifier.verify(response, &expected).map_err(Box::new)?;
    // S-10: once, on whichever server, for as long as it would be taken.
    let until = assertion.usable_until().duration_since(time(now)).unwrap_or_default();
    let seen = format!("{} {}", connection.id, assertion.id());
    let drawer = Drawer::of(Kind::Assertion, &connection.tenant);
    let write = control.inner.db.single().await;
    let margin = Duration::from_secs(60);
    if !single_use::put(write.db(), drawer, &seen, &(), now, until + margin).await? {
        return Err(FederationError::Replayed { id: assertion.id().to_owned() });
    }
    drop(write);
    if assertion.name_id().format.as_deref() == Some(TRANSIENT) {
        return Err(FederationError::Transient);
    }
    Ok(upstream(&assertion, provider))
}

pub(super) fn verifier(
    control: &ControlPlane,
    connection: &Connection,
    provider: &SamlProvider,
    keys: &Secrets,
) -> Result<partywall_saml::Connection, FederationError> {
    let addresses = Addresses::of(control, connection);
    let certificates = provider.certificates.iter().map(|text| Certificate::from_text(text));
    let settings = Settings {
        sp_entity_id: addresses.metadata(),
        acs_url: addresses.acs(),
        idp_entity_id: provider.entity_id.clone(),
        certificates: certificates
            .collect::<Result<_, _>>()
            .map_err(|error| FederationError::Settings(error.to_string()))?,
        idp_initiated: provider.idp_initiated,
        decryption_keys: keys.decryption_keys()?,
        allow_cbc: provider.allow_cbc,
    };
    partywall_saml::Connection::new(settings)
        .map_err(|error| FederationError::Settings(error.to_string()))
}

/// What an assertion says, in our words.
fn upstream(assertion: &Assertion, provider: &SamlProvider) -> Upstream {
    let name_id = assertion.name_id();
    let of = |own: &Option<String>, usual: &[&str]| -> Vec<String> {
        let named = |attribute: &&Attribute| match own {
            Some(own) => attribute.name == *own,
            None => usual.contains(&attribute.name.as_str()),
        };
        let found = assertion.attributes().iter().find(named);
        found.map(|attribute| attribute.values.clone()).unwrap_or_default()
    };
    let is_address = name_id.format.as_deref() == Some(EMAIL_FORMAT);
    let address = of(&provider.email_attribute, &EMAIL)
        .into_iter()
        .next()
        .or_else(|| is_address.then(|| name_id.value.clone()));
    let email = address.and_then(|address| address.parse().ok()).map(|address| {
        // SAML has no word for it: nobody is linked by such an address (I-02).
        UnverifiedEmail { address, said_to_be_verified: false }
    });
    let says_so = |context: &str| {
        MULTI_FACTOR.contains(&context) || provider.multi_factor_contexts.contains(context)
    };
    let multi_factor = assertion.authn_context().is_some_and(says_so)
        || of(&None, &[METHODS_REFERENCES]).iter().any(|method| says_so(method));
    Upstream {
        issuer: assertion.issuer().to_owned(),
        subject: subject(name_id),
        login: name_id.value.clone(),
        provisioned_as: vec![name_id.value.clone()],
        email,
        name: of(&provider.name_attribute, &NAME).into_iter().next(),
        groups: of(&provider.groups_attribute, &GROUPS),
        multi_factor,
        auth_time: Some(timestamp(assertion.authn_instant())),
        ends_at: assertion.session_not_on_or_after().map(timestamp),
        session: Some(UpstreamSession::Saml {
            name_id: name_id.value.clone(),
            format: name_id.format.clone(),
            name_qualifier: name_id.name_qualifier.clone(),
            sp_name_qualifier: name_id.sp_name_qualifier.clone(),
            session_index: assertion.session_index().map(str::to_owned),
        }),
    }
}

/// A name is a name of a kind, and among those of a qualifier (saml-core 2.2.2): the same text as
/// another kind is somebody else. What separates the parts can stand in no XML.
fn subject(name_id: &NameId) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (format, by) = (part(&name_id.format), part(&name_id.name_qualifier));
    let among = part(&name_id.sp_name_qualifier);
    format!("{format}\u{1f}{by}\u{1f}{among}\u{1f}{}", name_id.value)
}

/// What our metadata says of us for one connection.
pub(super) fn metadata(
    control: &ControlPlane,
    connection: &Connection,
) -> Result<String, FederationError> {
    let addresses = Addresses::of(control, connection);
    let keys = Secrets::open(&control.inner.config.sealing_key, connection)?;
    let certificates = keys.certificates(&addresses.metadata())?;
    Ok(SpMetadata {
        entity_id: &addresses.metadata(),
        acs_url: &addresses.acs(),
        slo_url: Some(&addresses.slo()),
        signing: &certificates,
        encryption: &certificates,
        name_id_formats: &[],
    }
    .xml())
}

pub(super) fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(at.0)
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// saml-core 8.3.2.
const EMAIL_FORMAT: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
/// saml-core 8.3.8: another one each time, which nobody can be known by.
pub(super) const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";

/// By what names well-known providers send an address.
const EMAIL: [&str; 6] = [
    "email",
    "mail",
    "emailAddress",
    "emailaddress",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "urn:oid:0.9.2342.19200300.100.1.3",
];
const NAME: [&str; 6] = [
    "displayName",
    "name",
    "cn",
    "http://schemas.microsoft.com/identity/claims/displayname",
    "urn:oid:2.16.840.1.113730.3.1.241",
    "urn:oid:2.5.4.3",
];
const GROUPS: [&str; 4] = [
    "groups",
    "memberOf",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups",
    "urn:oid:1.3.6.1.4.1.5923.1.5.1.1",
];
/// Microsoft's list of what was shown.
const METHODS_REFERENCES: &str = "http://schemas.microsoft.com/claims/authnmethodsreferences";
/// The authentication contexts that mean two factors.
const MULTI_FACTOR: [&str; 4] = [
    "https://refeds.org/profile/mfa",
    "http://schemas.microsoft.com/claims/multipleauthn",
    "urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorContract",
    "urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorUnregistered",
];
