//! What holds for every message, whatever it says: from whom, to whom, when.

use std::time::{Duration, SystemTime};

use roxmltree::Node;

use crate::assertion::NameId;
use crate::connection::Settings;
use crate::instant;
use crate::refused::{Refused, Rule};
use crate::xml::{at, at_attribute, attribute, required, value};

/// How far apart the clocks may be.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How long a message may be on its way.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5 * 60);

const ENTITY: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity";

/// A connection's agreement, at a time.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) now: SystemTime,
}

impl Rules<'_> {
    pub(crate) fn issuer(&self, issuer: Node<'_, '_>) -> Result<(), Refused> {
        let found = value(issuer)?;
        // Saml-profiles 4.1.4.2, 4.4.4.1: the format is left out or says entity.
        let format = attribute(issuer, "Format");
        if found != self.settings.idp_entity_id || format.is_some_and(|f| f != ENTITY) {
            return Err(at(issuer, Rule::Issuer).found(found));
        }
        Ok(())
    }

    /// Sent to `endpoint`, byte for byte.
    ///
    /// Saml-bindings 3.4.5.2 and 3.5.5.2 ask for it where a message is signed; here it is asked
    /// for always.
    pub(crate) fn destination(&self, message: Node<'_, '_>, endpoint: &str) -> Result<(), Refused> {
        let found = required(message, "Destination")?;
        if found != endpoint {
            return Err(at_attribute(message, "Destination", Rule::Destination).found(found));
        }
        Ok(())
    }

    pub(crate) fn issue_instant(&self, element: Node<'_, '_>) -> Result<(), Refused> {
        let issued = time(element, "IssueInstant")?;
        let oldest = issued + MAX_AGE + CLOCK_SKEW;
        if self.now_is_before(issued) || self.now >= oldest {
            let found = attribute(element, "IssueInstant").unwrap_or_default();
            return Err(at_attribute(element, "IssueInstant", Rule::IssueInstant).found(found));
        }
        Ok(())
    }

    pub(crate) fn name_id(&self, element: Node<'_, '_>) -> Result<NameId, Refused> {
        let name = value(element)?;
        if name.is_empty() || name.trim() != name || name.len() > 1024 {
            return Err(at(element, Rule::NameId).found(name));
        }
        let own = |name| attribute(element, name).map(str::to_owned);
        let sp_name_qualifier = own("SPNameQualifier");
        // Saml-core 8.3.7: a name for another service provider is not one for us.
        if let Some(other) = &sp_name_qualifier
            && *other != self.settings.sp_entity_id
        {
            return Err(at_attribute(element, "SPNameQualifier", Rule::NameId).found(other));
        }
        Ok(NameId {
            value: name.to_owned(),
            format: own("Format"),
            name_qualifier: own("NameQualifier"),
            sp_name_qualifier,
        })
    }

    /// A time that must not have come yet, if it is given.
    pub(crate) fn until(
        &self,
        element: Node<'_, '_>,
        name: &str,
    ) -> Result<Option<SystemTime>, Refused> {
        let Some(found) = attribute(element, name) else {
            return Ok(None);
        };
        let until = time(element, name)?;
        if self.now >= until + CLOCK_SKEW {
            return Err(at_attribute(element, name, Rule::NotOnOrAfter).found(found));
        }
        Ok(Some(until))
    }

    pub(crate) fn now_is_before(&self, time: SystemTime) -> bool {
        self.now + CLOCK_SKEW < time
    }
}

pub(crate) fn version(element: Node<'_, '_>) -> Result<(), Refused> {
    let found = required(element, "Version")?;
    if found != "2.0" {
        return Err(at_attribute(element, "Version", Rule::Version).found(found));
    }
    Ok(())
}

pub(crate) fn time(element: Node<'_, '_>, name: &str) -> Result<SystemTime, Refused> {
    let found = required(element, name)?;
    instant::parse(found).ok_or_else(|| at_attribute(element, name, Rule::Time).found(found))
}
