//! What the attacks on stores are.

use super::{postgres, sqlite};
use crate::{Attack, Layer, Weight};

/// All of them, in the order reports list them.
pub(super) const ALL: &[&Attack] = &[
    &READ,
    &SWAPPED,
    &MISDIRECTED,
    &NO_TARGET,
    &NOT_PLACED,
    &postgres::attacks::WRITE,
    &postgres::attacks::FORGED,
    &postgres::attacks::STOLEN,
    &postgres::attacks::TRANSACTION,
    &postgres::attacks::ROLE,
    &postgres::attacks::ELSEWHERE,
    &postgres::attacks::SERVER,
    &postgres::attacks::LARGE_OBJECTS,
    &postgres::attacks::PEEK,
    &postgres::attacks::RESIDUE,
    &postgres::attacks::INTERFERE,
    &sqlite::attacks::AROUND,
    &sqlite::attacks::WRITE,
    &sqlite::attacks::FILES,
    &sqlite::attacks::SETTINGS,
    &sqlite::attacks::SCHEMA,
    &sqlite::attacks::SHADOW,
    &sqlite::attacks::REACH_OUT,
    &sqlite::attacks::TRANSACTION,
    &sqlite::attacks::RESIDUE,
];

/// Reading through one's own handle.
pub(super) const READ: Attack = Attack {
    id: "store.read",
    layer: Layer::Store,
    title: "find another's rows by one's own handle",
    about: "The attacker's handle is asked for rows the victim's handle has just read, whatever the \
            two placements.",
    weight: Weight::Read,
    fix: "Look at which database and which rows the handle is bound to: the store narrows it \
          wrongly, or not at all.",
    references: &["M-01", "M-14", "CWE-639"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2", "lens:REL3"],
};

/// B1: the placement's target leads to the victim's.
pub(super) const SWAPPED: Attack = Attack {
    id: "store.swapped-placement",
    layer: Layer::Store,
    title: "be placed where another is",
    about: "The target the attacker is placed at is configured as the victim's: a row of placements \
            swapped by hand, or a file of configuration.",
    weight: Weight::Identity,
    fix: "Let the store refuse a placement that does not fit its target, and let the database \
          refuse the login.",
    references: &["M-14", "M-12", "B1"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC2", "lens:REL3"],
};

/// B1, by address.
pub(super) const MISDIRECTED: Attack = Attack {
    id: "store.wrong-address",
    layer: Layer::Store,
    title: "be sent to another's database",
    about: "The attacker's target keeps its model and its logins and has the address of the \
            victim's data: only the database itself can tell.",
    weight: Weight::Identity,
    fix: "Give every tenant's database a login of its own and take CONNECT from everybody else; in \
          a pool, the logins of the slots belong to one database.",
    references: &["M-14", "B1"],
    supports: &["soc2:CC6.1", "iso27001:A.8.3", "lens:SEC2", "lens:REL3"],
};

/// B1: an unknown target falls to no default.
pub(super) const NO_TARGET: Attack = Attack {
    id: "store.unknown-target",
    layer: Layer::Store,
    title: "be placed at a target nobody knows",
    about: "The attacker's placement names a target this process does not have. A default would put \
            it among other tenants.",
    weight: Weight::Identity,
    fix: "Make an unknown target an error, never a default.",
    references: &["M-14", "B1"],
    supports: &["soc2:CC6.1", "lens:SEC2"],
};

/// B1: no placement is no default.
pub(super) const NOT_PLACED: Attack = Attack {
    id: "store.not-placed",
    layer: Layer::Store,
    title: "open a store one is not placed in",
    about: "The bundle does not place the attacker in the store it opens.",
    weight: Weight::Identity,
    fix: "Make a missing placement an error, never a default.",
    references: &["M-14", "B1"],
    supports: &["soc2:CC6.1", "lens:SEC2"],
};
