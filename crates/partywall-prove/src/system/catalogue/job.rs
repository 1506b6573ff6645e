//! Work that runs later.

use crate::{Attack, Layer, Weight};

pub(in crate::system) static JOB_BARE: Attack = Attack {
    id: "job.bare",
    layer: Layer::Job,
    title: "a job without an envelope",
    about: "Nothing, a bare job, one that names its tenant in clear: a job with no proof of its tenant must not run.",
    weight: Weight::Identity,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};

pub(in crate::system) static JOB_FOREIGN: Attack = Attack {
    id: "job.foreign-key",
    layer: Layer::Job,
    title: "an envelope sealed by the attacker",
    about: "The victim's job under another key, under the known key's id, and unsigned.",
    weight: Weight::Identity,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};

pub(in crate::system) static JOB_TAMPERED: Attack = Attack {
    id: "job.tampered",
    layer: Layer::Job,
    title: "an envelope with another tenant",
    about: "The attacker's own envelope, its tenant rewritten to the victim's.",
    weight: Weight::Identity,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};

pub(in crate::system) static JOB_EXPIRED: Attack = Attack {
    id: "job.expired",
    layer: Layer::Job,
    title: "an envelope that waited too long",
    about: "Sealed rightly, and past its time.",
    weight: Weight::Write,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};

pub(in crate::system) static JOB_PURPOSE: Attack = Attack {
    id: "job.other-queue",
    layer: Layer::Job,
    title: "an envelope of another queue",
    about: "Sealed rightly, for another purpose; and an access token in an envelope's place.",
    weight: Weight::Write,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};

pub(in crate::system) static JOB_SUSPENDED: Attack = Attack {
    id: "job.suspended",
    layer: Layer::Job,
    title: "a job of a suspended tenant",
    about: "Put in before its tenant was suspended.",
    weight: Weight::Write,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};

pub(in crate::system) static JOB_REVOKED: Attack = Attack {
    id: "job.revoked",
    layer: Layer::Job,
    title: "a job of a revoked token",
    about: "Put in with a token that was taken back since.",
    weight: Weight::Write,
    fix: "Open every job by a signed, short-lived envelope, and look again at tenant and token when it runs.",
    references: &["C7", "M-11"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC1"],
};
