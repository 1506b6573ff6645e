//! What a request says about its tenant beside the token.

use crate::{Attack, Layer, Weight};

pub(in crate::system) static HINT_HEADER: Attack = Attack {
    id: "hint.header",
    layer: Layer::Hint,
    title: "a header that names the victim",
    about: "X-Tenant-Id and its relatives, with a token of the attacker's.",
    weight: Weight::Identity,
    fix: "Take the tenant from the verified token only; a hint may select among what it proves, and never more.",
    references: &["M-05", "C1"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:REL3"],
};

pub(in crate::system) static HINT_HOST: Attack = Attack {
    id: "hint.host",
    layer: Layer::Hint,
    title: "a host that names the victim",
    about: "The victim's subdomain in Host, X-Forwarded-Host and Forwarded, with a token of the attacker's.",
    weight: Weight::Identity,
    fix: "Take the tenant from the verified token only; a hint may select among what it proves, and never more.",
    references: &["M-05", "C1"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:REL3"],
};

pub(in crate::system) static HINT_PATH: Attack = Attack {
    id: "hint.path",
    layer: Layer::Hint,
    title: "a path that names the victim",
    about: "The victim's name before the path, and in X-Original-URL and X-Rewrite-URL.",
    weight: Weight::Identity,
    fix: "Take the tenant from the verified token only; a hint may select among what it proves, and never more.",
    references: &["M-05", "C1"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:REL3"],
};

pub(in crate::system) static HINT_QUERY: Attack = Attack {
    id: "hint.query",
    layer: Layer::Hint,
    title: "a query that names the victim",
    about: "tenant, tenant_id, org and others in the query, with a token of the attacker's.",
    weight: Weight::Identity,
    fix: "Take the tenant from the verified token only; a hint may select among what it proves, and never more.",
    references: &["M-05", "C1"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:REL3"],
};

pub(in crate::system) static HINT_COOKIE: Attack = Attack {
    id: "hint.cookie",
    layer: Layer::Hint,
    title: "a cookie that names the victim",
    about: "tenant and tenant_id as cookies, with a token of the attacker's.",
    weight: Weight::Identity,
    fix: "Take the tenant from the verified token only; a hint may select among what it proves, and never more.",
    references: &["M-05", "C1"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:REL3"],
};

pub(in crate::system) static HINT_RESERVED: Attack = Attack {
    id: "hint.reserved",
    layer: Layer::Hint,
    title: "a hint that means everybody",
    about: "`*`, `all`, `admin`, `system`, nothing: names that some code reads as all tenants or as none.",
    weight: Weight::Identity,
    fix: "Take the tenant from the verified token only; a hint may select among what it proves, and never more.",
    references: &["M-05", "C3"],
    supports: &["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.8.3", "asvs5:8.4.1", "lens:REL3"],
};
