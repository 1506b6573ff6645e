//! What an identity provider says of itself (saml-metadata 2.4.3), read for the administrator who
//! is to decide whether to trust it.
//!
//! The document's own signature is not looked at: whoever makes the connection chooses where the
//! document comes from, and is shown what it would add. It adds keys and addresses, and switches
//! no check off: there is nothing in it by which it could (I-23).

use std::time::SystemTime;

use roxmltree::Node;
use thiserror::Error;

use crate::binding::Binding;
use crate::certificate::{Certificate, CertificateError};
use crate::metadata::{MD, url};
use crate::refused::{Refused, Rule};
use crate::rules;
use crate::xml::{
    self, DS, Message, SAMLP, all, at, at_attribute, attribute, is, optional, required,
};

/// An identity provider, as its metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdpMetadata {
    /// Its entity ID, by which responses are issued.
    pub entity_id: String,
    /// Where people are sent to sign in: at least one address.
    pub sso: Vec<Endpoint>,
    /// Where logout messages are sent, if it takes any.
    pub slo: Vec<Endpoint>,
    /// Of its signing keys, each once: at least one.
    pub certificates: Vec<Certificate>,
    /// Whether it wants requests to be signed.
    pub wants_signed_requests: bool,
    /// The kinds of names it gives (saml-core 8.3), if it says.
    pub name_id_formats: Vec<String>,
    /// Until when it stands by this document.
    pub valid_until: Option<SystemTime>,
}

/// An address, and how messages get there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How.
    pub binding: Binding,
    /// Where to.
    pub location: String,
    /// Where answers go to, if elsewhere (saml-metadata 2.2.2).
    pub response_location: Option<String>,
}

/// How to read a document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Import<'a> {
    /// Which identity provider is meant, where the document has several.
    pub entity_id: Option<&'a str>,
    /// Whether addresses may be plain `http`: for identity providers on the operator's own machine.
    pub allow_http: bool,
}

/// Why a document gives nothing to trust.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not metadata, or not within the limits.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No SAML 2.0 identity provider, or not the one that was asked for.
    #[error(
        "there is no SAML 2.0 identity provider in it{}: take the metadata the identity provider \
         publishes of itself, not a service provider's",
        .0.as_deref().map(|id| format!(" with the entity ID {id:?}")).unwrap_or_default()
    )]
    NotFound(Option<String>),
    /// Several, so that somebody has to say which one.
    #[error("there are several identity providers in it; name one of them: {}", .0.join(", "))]
    Several(Vec<String>),
    /// An entity ID that cannot be one.
    #[error("an entity ID has 1 to 1,024 bytes and no white space around them")]
    EntityId,
    /// No certificate to verify anything with, which is no reason not to verify (S-08).
    #[error(
        "it names no signing certificate, and nothing unsigned is taken: let the identity \
         provider publish the certificate it signs with"
    )]
    NoSigningKey,
    /// More than one certificate for one key.
    #[error(
        "one key descriptor holds several certificates; only that of the signing key belongs \
         there, not those of its issuers"
    )]
    SeveralCertificates,
    /// A certificate whose key cannot be used.
    #[error("a signing certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    /// Nowhere to send people to.
    #[error("it has no sign-in address for HTTP-Redirect or HTTP-POST")]
    NoSingleSignOn,
    /// An address no browser should be sent to.
    #[error("{0:?} is no https address without credentials and fragment")]
    Url(String),
}

impl IdpMetadata {
    /// Reads an `EntityDescriptor`, or the one that is meant among `EntitiesDescriptor`.
    ///
    /// # Errors
    /// [`MetadataError`], for the administrator who imports the document.
    pub fn read(document: &[u8], import: &Import<'_>) -> Result<Self, MetadataError> {
        let message = Message::parse(document)?;
        let entity = only_entity(&message, import)?;
        let role = only_role(entity)?;

        let entity_id = required(entity, "entityID")?;
        if entity_id.is_empty() || entity_id.trim() != entity_id || entity_id.len() > 1024 {
            return Err(MetadataError::EntityId);
        }
        let sso = endpoints(role, "SingleSignOnService", import)?;
        if sso.is_empty() {
            return Err(MetadataError::NoSingleSignOn);
        }
        Ok(Self {
            entity_id: entity_id.to_owned(),
            sso,
            slo: endpoints(role, "SingleLogoutService", import)?,
            certificates: signing_certificates(role)?,
            wants_signed_requests: boolean(role, "WantAuthnRequestsSigned")?,
            name_id_formats: all(role, MD, "NameIDFormat")
                .map(|format| xml::value(format).map(|format| format.trim().to_owned()))
                .collect::<Result<_, _>>()?,
            valid_until: valid_until(role)?,
        })
    }
}

/// The entity that has an identity provider in it, and the entity ID that was asked for.
fn only_entity<'a>(
    message: &'a Message<'a>,
    import: &Import<'_>,
) -> Result<Node<'a, 'a>, MetadataError> {
    let root = message.root();
    if !is(root, MD, "EntityDescriptor") && !is(root, MD, "EntitiesDescriptor") {
        return Err(at(root, Rule::Root).into());
    }
    let meant = |entity: &Node<'_, '_>| {
        is(*entity, MD, "EntityDescriptor")
            && roles(*entity).next().is_some()
            && import.entity_id.is_none_or(|id| attribute(*entity, "entityID") == Some(id))
    };
    let entities: Vec<_> = message.elements().filter(meant).collect();
    match entities.as_slice() {
        [only] => Ok(*only),
        [] => Err(MetadataError::NotFound(import.entity_id.map(str::to_owned))),
        several => Err(MetadataError::Several(
            several
                .iter()
                .filter_map(|entity| attribute(*entity, "entityID"))
                .take(20)
                .map(|id| id.chars().take(200).collect())
                .collect(),
        )),
    }
}

fn only_role<'a, 'i>(entity: Node<'a, 'i>) -> Result<Node<'a, 'i>, MetadataError> {
    let mut roles = roles(entity);
    match (roles.next(), roles.next()) {
        (Some(role), None) => Ok(role),
        (None, _) => Err(MetadataError::NotFound(None)),
        (_, Some(second)) => Err(at(second, Rule::Unexpected).into()),
    }
}

/// The identity providers of SAML 2.0. An entity may be one of SAML 1.1, too.
fn roles<'a, 'i>(entity: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    all(entity, MD, "IDPSSODescriptor").filter(|role| {
        let protocols = attribute(*role, "protocolSupportEnumeration").unwrap_or_default();
        protocols.split_ascii_whitespace().any(|protocol| protocol == SAMLP)
    })
}

/// The addresses for the bindings that are spoken here.
fn endpoints(
    role: Node<'_, '_>,
    name: &'static str,
    import: &Import<'_>,
) -> Result<Vec<Endpoint>, MetadataError> {
    let mut endpoints = Vec::new();
    for element in all(role, MD, name) {
        let Some(binding) = Binding::of(required(element, "Binding")?) else {
            continue;
        };
        let acceptable = |url: &str| {
            if url::is_acceptable(url, import.allow_http) {
                return Ok(url.to_owned());
            }
            Err(MetadataError::Url(url.chars().take(200).collect()))
        };
        let endpoint = Endpoint {
            binding,
            location: acceptable(required(element, "Location")?)?,
            response_location: attribute(element, "ResponseLocation")
                .map(acceptable)
                .transpose()?,
        };
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    Ok(endpoints)
}

/// B-13 (CVE-2026-16443): a key without a purpose is for both, signing included.
fn signing_certificates(role: Node<'_, '_>) -> Result<Vec<Certificate>, MetadataError> {
    let mut certificates: Vec<Certificate> = Vec::new();
    for descriptor in all(role, MD, "KeyDescriptor") {
        match attribute(descriptor, "use") {
            None | Some("signing") => {}
            Some("encryption") => continue,
            Some(other) => {
                return Err(at_attribute(descriptor, "use", Rule::Unexpected).found(other).into());
            }
        }
        let Some(info) = optional(descriptor, DS, "KeyInfo")? else {
            continue;
        };
        let mut found = all(info, DS, "X509Data").flat_map(|data| all(data, DS, "X509Certificate"));
        let Some(element) = found.next() else {
            continue;
        };
        if found.next().is_some() {
            return Err(MetadataError::SeveralCertificates);
        }
        let certificate = Certificate::from_text(xml::value(element)?)?;
        if !certificates.iter().any(|known| known.has_key_of(&certificate)) {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(MetadataError::NoSigningKey);
    }
    Ok(certificates)
}

fn boolean(element: Node<'_, '_>, name: &str) -> Result<bool, Refused> {
    match attribute(element, name).map(str::trim) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(at_attribute(element, name, Rule::Unexpected).found(other)),
    }
}

/// The earliest end that is named, of the role or of anything around it.
fn valid_until(role: Node<'_, '_>) -> Result<Option<SystemTime>, Refused> {
    let mut earliest: Option<SystemTime> = None;
    for element in role.ancestors().filter(|n| attribute(*n, "validUntil").is_some()) {
        let until = rules::time(element, "validUntil")?;
        earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
    }
    Ok(earliest)
}
