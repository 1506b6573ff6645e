//! What a user and a group may say of themselves: RFC 7643 section 4.1 (User), 4.3 (Enterprise
//! User), 4.2 (Group). Everything else here reads these tables: bodies, filters, PATCH, discovery.

/// A kind of resource, with the schemas its attributes come from.
#[derive(Debug)]
pub(crate) struct ResourceKind {
    /// `User` or `Group`.
    pub(crate) name: &'static str,
    /// Below the base address.
    pub(crate) endpoint: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: &'static Schema,
    pub(crate) extensions: &'static [&'static Schema],
}

impl ResourceKind {
    /// An attribute of the core schema, or one that every resource has, by any spelling.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        find(self.schema.attributes, name).or_else(|| find(COMMON, name))
    }

    /// The extension of that URN, by any spelling.
    pub(crate) fn extension(&self, urn: &str) -> Option<&'static Schema> {
        self.extensions.iter().copied().find(|schema| schema.is(urn))
    }

    /// Its core schema and its extensions.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = &'static Schema> {
        std::iter::once(self.schema).chain(self.extensions.iter().copied())
    }
}

/// A schema (RFC 7643 section 7).
#[derive(Debug)]
pub(crate) struct Schema {
    /// Its URN.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) attributes: &'static [Attribute],
}

impl Schema {
    /// Whether it goes by that URN. URNs are told apart without regard to case (RFC 7643 2.1).
    pub(crate) fn is(&self, urn: &str) -> bool {
        self.id.eq_ignore_ascii_case(urn)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        find(self.attributes, name)
    }
}

/// An attribute's definition (RFC 7643 section 7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    pub(crate) multi_valued: bool,
    pub(crate) required: bool,
    pub(crate) case_exact: bool,
    pub(crate) mutability: Mutability,
    pub(crate) returned: Returned,
    pub(crate) unique: bool,
    /// `canonicalValues`: suggestions, not a limit.
    pub(crate) usual: &'static [&'static str],
    /// `referenceTypes`.
    pub(crate) refers_to: &'static [&'static str],
    /// `subAttributes`.
    pub(crate) parts: &'static [Attribute],
}

impl Attribute {
    /// The sub-attribute of that name, by any spelling.
    pub(crate) fn part(&self, name: &str) -> Option<&'static Attribute> {
        find(self.parts, name)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.mutability == Mutability::ReadOnly
    }
}

/// `type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Text,
    Boolean,
    DateTime,
    Binary,
    Reference,
    Complex,
}

/// `mutability`. Nothing here is written and never read: passwords are not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mutability {
    ReadOnly,
    ReadWrite,
    Immutable,
}

/// `returned`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Returned {
    Always,
    Default,
}

/// The User resource.
pub(crate) static USER: ResourceKind = ResourceKind {
    name: "User",
    endpoint: "/Users",
    about: "A user of the tenant",
    schema: &USER_SCHEMA,
    extensions: &[&ENTERPRISE],
};

/// The Group resource.
pub(crate) static GROUP: ResourceKind = ResourceKind {
    name: "Group",
    endpoint: "/Groups",
    about: "A group of users",
    schema: &GROUP_SCHEMA,
    extensions: &[],
};

/// What every resource has (RFC 7643 section 3.1). In no schema, and asked for in filters.
static COMMON: &[Attribute] = &[
    text("id", "Names the resource for good").read_only().always().exact(),
    text("externalId", "What the client calls the resource").exact(),
    complex("meta", "About the resource", META).read_only(),
    reference("schemas", "The schemas it uses", &["uri"]).many().read_only().always(),
];

static META: &[Attribute] = &[
    text("resourceType", "User or Group").read_only().exact(),
    date_time("created", "When it was made").read_only(),
    date_time("lastModified", "When it last changed").read_only(),
    reference("location", "Where it is", &["uri"]).read_only(),
    text("version", "Its entity tag").read_only().exact(),
];

static USER_SCHEMA: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:User",
    name: "User",
    about: "User Account",
    attributes: &[
        text("userName", "What the identity provider calls the user, unique in the connection")
            .required()
            .unique(),
        complex(
            "name",
            "The parts of the name",
            &[
                text("formatted", "The whole name, for display"),
                text("familyName", "The family name"),
                text("givenName", "The given name"),
                text("middleName", "The middle names"),
                text("honorificPrefix", "A title before the name"),
                text("honorificSuffix", "What stands behind the name"),
            ],
        ),
        text("displayName", "The name to display"),
        text("nickName", "What the user is called casually"),
        reference("profileUrl", "A page about the user", &["external"]),
        text("title", "The title, as in Vice President"),
        text("userType", "How the user and the organization are related"),
        text("preferredLanguage", "As in Accept-Language"),
        text("locale", "For currency, date and number formats"),
        text("timezone", "A name of the IANA time zone database"),
        boolean("active", "Whether the user may sign in. Setting it to false ends every session"),
        complex("emails", "E-mail addresses", &several(&["work", "home", "other"])).many(),
        complex(
            "phoneNumbers",
            "Phone numbers",
            &several(&["work", "home", "mobile", "fax", "pager", "other"]),
        )
        .many(),
        complex(
            "ims",
            "Addresses for instant messages",
            &several(&["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"]),
        )
        .many(),
        complex(
            "photos",
            "Pictures of the user",
            &[
                reference("value", "Where the picture is", &["external"]),
                DISPLAY,
                text("type", "What kind").usual(&["photo", "thumbnail"]),
                PRIMARY,
            ],
        )
        .many(),
        complex(
            "addresses",
            "Postal addresses",
            &[
                text("formatted", "The whole address, for display"),
                text("streetAddress", "Street and number"),
                text("locality", "City"),
                text("region", "State or region"),
                text("postalCode", "Postal code"),
                text("country", "Country, ISO 3166-1 alpha-2"),
                text("type", "What kind").usual(&["work", "home", "other"]),
                PRIMARY,
            ],
        )
        .many(),
        complex(
            "groups",
            "The groups the user is in. Changed at the groups",
            &[
                text("value", "The group's id").read_only().exact(),
                reference("$ref", "Where the group is", &["Group"]).read_only(),
                text("display", "The group's name").read_only(),
                text("type", "How the user is in it").read_only().usual(&["direct"]),
            ],
        )
        .many()
        .read_only(),
        complex("entitlements", "Kept for the client. Give no rights here", &several(&[])).many(),
        complex("roles", "Kept for the client. Give no rights here", &several(&[])).many(),
        complex(
            "x509Certificates",
            "Certificates of the user",
            &[binary("value", "DER, in base64"), DISPLAY, text("type", "What kind"), PRIMARY],
        )
        .many(),
    ],
};

static ENTERPRISE: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    name: "EnterpriseUser",
    about: "Enterprise User",
    attributes: &[
        text("employeeNumber", "The number the organization gave the user"),
        text("costCenter", "The cost center"),
        text("organization", "The organization"),
        text("division", "The division"),
        text("department", "The department"),
        complex(
            "manager",
            "The user's manager",
            &[
                text("value", "The manager's id").exact(),
                reference("$ref", "Where the manager is", &["User"]),
                text("displayName", "The manager's name").read_only(),
            ],
        ),
    ],
};

static GROUP_SCHEMA: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:Group",
    name: "Group",
    about: "Group",
    attributes: &[
        text("displayName", "The group's name").required(),
        complex(
            "members",
            "The users in the group",
            &[
                text("value", "The user's id").exact().immutable(),
                reference("$ref", "Where the user is", &["User"]).immutable(),
                text("type", "Always User").usual(&["User"]).immutable(),
            ],
        )
        .many(),
    ],
};

/// The parts of an attribute that there may be several of (RFC 7643 section 2.4).
const fn several(types: &'static [&'static str]) -> [Attribute; 4] {
    [text("value", "The value"), DISPLAY, text("type", "What kind").usual(types), PRIMARY]
}

const DISPLAY: Attribute = text("display", "For display");
const PRIMARY: Attribute = boolean("primary", "Whether it is the preferred one. At most one is");

const fn of(kind: Kind, name: &'static str, about: &'static str) -> Attribute {
    Attribute {
        name,
        about,
        kind,
        multi_valued: false,
        required: false,
        case_exact: false,
        mutability: Mutability::ReadWrite,
        returned: Returned::Default,
        unique: false,
        usual: &[],
        refers_to: &[],
        parts: &[],
    }
}

const fn text(name: &'static str, about: &'static str) -> Attribute {
    of(Kind::Text, name, about)
}

const fn boolean(name: &'static str, about: &'static str) -> Attribute {
    of(Kind::Boolean, name, about)
}

const fn date_time(name: &'static str, about: &'static str) -> Attribute {
    of(Kind::DateTime, name, about)
}

/// Base64 is told apart by case (RFC 7643 2.3.6).
const fn binary(name: &'static str, about: &'static str) -> Attribute {
    of(Kind::Binary, name, about).exact()
}

/// URIs are told apart by case (RFC 7643 2.3.7).
const fn reference(
    name: &'static str,
    about: &'static str,
    to: &'static [&'static str],
) -> Attribute {
    Attribute { refers_to: to, ..of(Kind::Reference, name, about).exact() }
}

const fn complex(
    name: &'static str,
    about: &'static str,
    parts: &'static [Attribute],
) -> Attribute {
    Attribute { parts, ..of(Kind::Complex, name, about) }
}

impl Attribute {
    const fn many(self) -> Self {
        Self { multi_valued: true, ..self }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn exact(self) -> Self {
        Self { case_exact: true, ..self }
    }

    const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }

    const fn immutable(self) -> Self {
        Self { mutability: Mutability::Immutable, ..self }
    }

    const fn always(self) -> Self {
        Self { returned: Returned::Always, ..self }
    }

    const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    const fn usual(self, usual: &'static [&'static str]) -> Self {
        Self { usual, ..self }
    }
}

/// Names are told apart without regard to case (RFC 7643 2.1).
fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}
