//! The application's own interface.

use crate::{Attack, Layer, Weight};

pub(in crate::system) static LIST: Attack = Attack {
    id: "http.list",
    layer: Layer::Http,
    title: "lists with another's things in them",
    about: "A list, asked by the attacker after the victim planted something.",
    weight: Weight::Read,
    fix: "Look ids up inside the caller's tenant only, through a handle that reaches no other.",
    references: &["M-01", "R-06", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static SEARCH: Attack = Attack {
    id: "http.search",
    layer: Layer::Http,
    title: "search for another's things",
    about: "Queries for the victim's texts and ids, compared with queries for what never was.",
    weight: Weight::Read,
    fix: "Look ids up inside the caller's tenant only, through a handle that reaches no other.",
    references: &["M-01", "R-06", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static READ: Attack = Attack {
    id: "http.read",
    layer: Layer::Http,
    title: "read by another's id",
    about: "GET with an id of the victim's.",
    weight: Weight::Read,
    fix: "Look ids up inside the caller's tenant only, through a handle that reaches no other.",
    references: &["M-01", "R-06", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static WRITE: Attack = Attack {
    id: "http.write",
    layer: Layer::Http,
    title: "change by another's id",
    about: "Every declared POST, PUT and PATCH below an id of the victim's; then the victim reads again.",
    weight: Weight::Write,
    fix: "Look ids up inside the caller's tenant only, through a handle that reaches no other.",
    references: &["M-01", "R-06", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static DELETE: Attack = Attack {
    id: "http.delete",
    layer: Layer::Http,
    title: "delete by another's id",
    about: "DELETE with an id of the victim's; then the victim reads again.",
    weight: Weight::Write,
    fix: "Look ids up inside the caller's tenant only, through a handle that reaches no other.",
    references: &["M-01", "R-06", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static NESTED: Attack = Attack {
    id: "http.nested",
    layer: Layer::Http,
    title: "another's thing below one's own",
    about: "The attacker's own parent in the path, and below it an id of the victim's: the parent is checked, the child is not.",
    weight: Weight::Read,
    fix: "Look ids up inside the caller's tenant only, through a handle that reaches no other.",
    references: &["M-01", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static REFERENCE: Attack = Attack {
    id: "http.reference",
    layer: Layer::Http,
    title: "point at another's thing",
    about: "A body that refers to an id of the victim's.",
    weight: Weight::Write,
    fix: "Resolve every id of a body inside the caller's tenant; make foreign keys start with the tenant.",
    references: &["M-01", "R-06", "CWE-639"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static VERB: Attack = Attack {
    id: "http.verb",
    layer: Layer::Http,
    title: "verbs nobody declared",
    about: "Every other method, HEAD and OPTIONS too, with an id of the victim's, compared with an id that never was.",
    weight: Weight::Write,
    fix: "Answer only the methods that are there, and the same for every id.",
    references: &["R-06", "CWE-650"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static OVERRIDE: Attack = Attack {
    id: "http.method-override",
    layer: Layer::Http,
    title: "a verb inside another",
    about: "X-HTTP-Method-Override and `_method`, which some frameworks obey after the checks were made.",
    weight: Weight::Write,
    fix: "Switch method overriding off, or before authorization.",
    references: &["R-06", "CWE-436"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static CONTENT_TYPE: Attack = Attack {
    id: "http.content-type",
    layer: Layer::Http,
    title: "the same write in another form",
    about: "Declared writes as a form, as text, as a patch, untyped: another parser may stand on another path.",
    weight: Weight::Write,
    fix: "Accept one content type per route.",
    references: &["R-06", "CWE-436"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static EXISTENCE: Attack = Attack {
    id: "http.existence",
    layer: Layer::Http,
    title: "tell another's id from none",
    about: "Status, headers and body for an id of the victim's, compared with those for ids that never were.",
    weight: Weight::Existence,
    fix: "Answer 404, word for word the same, for what is another's and for what is not there.",
    references: &["T-04", "R-06", "CWE-204"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static ASSIGN_TENANT: Attack = Attack {
    id: "http.assign-tenant",
    layer: Layer::Http,
    title: "tenant in the body",
    about: "Creations and changes with the victim's tenant id in the body, under the usual names.",
    weight: Weight::Write,
    fix: "Accept named fields only; the tenant is none of them.",
    references: &["C4", "L1", "CWE-915"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};

pub(in crate::system) static ASSIGN_ROLE: Attack = Attack {
    id: "http.assign-role",
    layer: Layer::Http,
    title: "role or tier in the body",
    about: "Creations with role, tier and permissions in the body, then read back.",
    weight: Weight::Identity,
    fix: "Accept named fields only; roles and tiers are none of them.",
    references: &["C4", "L1", "CWE-915"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"],
};
