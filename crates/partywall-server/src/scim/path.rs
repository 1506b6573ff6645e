//! What a PATCH operation is about (RFC 7644 section 3.5.2), and what a member of a body is: the
//! names of attributes in all the ways that clients write them.

use scim_v2::filter::{AttrPath, PatchPath};

use super::{
    error::ScimError,
    filter::{self, Place, ValueFilter},
    schema::{Attribute, ResourceKind, Schema},
};

/// What an operation is about.
#[derive(Debug)]
pub(crate) enum Target {
    /// An attribute, or a part of one: `displayName`, `name.familyName`,
    /// `urn:…:enterprise:2.0:User:department`.
    Attribute(Place),
    /// Some values of an attribute, or a part of them: `emails[type eq "work"].value`.
    Values(Place, ValueFilter, Option<&'static Attribute>),
    /// All attributes of an extension, by its URN.
    Extension(&'static Schema),
    /// The resource itself, by the URN of its own schema.
    Whole,
}

impl Target {
    /// Reads the path of an operation on a resource of `kind`.
    ///
    /// # Errors
    ///
    /// [`ScimError::InvalidPath`] when it does not parse or leads to no attribute,
    /// [`ScimError::InvalidFilter`] when the filter in its brackets compares what cannot be compared.
    pub(crate) fn read(kind: &'static ResourceKind, path: &str) -> Result<Self, ScimError> {
        // A URN by itself would otherwise read as an attribute of a shorter one.
        if kind.schema.is(path) {
            return Ok(Self::Whole);
        }
        if let Some(schema) = kind.extension(path) {
            return Ok(Self::Extension(schema));
        }
        let unknown = || ScimError::InvalidPath("the path leads to no attribute".to_owned());
        let place = |path: &AttrPath| filter::resolve(kind, path).ok_or_else(unknown);
        let text = filter::bounded(path)?;
        let malformed =
            |_| ScimError::InvalidPath("the path is not one of RFC 7644 section 3.5.2".to_owned());
        match text.parse::<PatchPath>().map_err(malformed)? {
            PatchPath::Attr(path) => Ok(Self::Attribute(place(&path)?)),
            PatchPath::Value(path) => {
                let place = place(&path.attr)?;
                if !place.attribute.multi_valued || place.part.is_some() {
                    return Err(unknown());
                }
                let filter = filter::of_values(place.attribute, &path.filter)?;
                let part = match &path.sub_attr {
                    None => None,
                    Some(name) => Some(place.attribute.part(name).ok_or_else(unknown)?),
                };
                Ok(Self::Values(place, filter, part))
            }
        }
    }

    /// What a member of that name is about, if it is about anything.
    pub(crate) fn named(kind: &'static ResourceKind, name: &str) -> Option<Self> {
        let plain = kind.attribute(name);
        let place = |attribute| Place { extension: None, attribute, part: None };
        plain
            .map(|attribute| Self::Attribute(place(attribute)))
            .or_else(|| Self::read(kind, name).ok())
    }

    /// Whether it is not the client's to write.
    pub(crate) fn is_read_only(&self) -> bool {
        match self {
            Self::Attribute(Place { attribute, part, .. })
            | Self::Values(Place { attribute, .. }, _, part) => {
                attribute.is_read_only() || part.is_some_and(Attribute::is_read_only)
            }
            Self::Extension(schema) => schema.attributes.iter().all(Attribute::is_read_only),
            Self::Whole => false,
        }
    }
}
