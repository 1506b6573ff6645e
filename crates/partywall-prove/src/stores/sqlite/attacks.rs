//! What the attacks on the embedded wall are.

use crate::{Attack, Layer, Weight};

const SUPPORTS: &[&str] = &["soc2:CC6.1", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"];

const fn attack(
    id: &'static str,
    title: &'static str,
    about: &'static str,
    weight: Weight,
    fix: &'static str,
) -> Attack {
    Attack {
        id,
        layer: Layer::Store,
        title,
        about,
        weight,
        fix,
        references: &["M-13", "M-21", "CWE-89"],
        supports: SUPPORTS,
    }
}

/// Past the view.
pub(in crate::stores) const AROUND: Attack = attack(
    "store.sqlite.around-the-view",
    "read the table behind one's view",
    "SQL injected into the attacker's session names the table in the file instead of the view of \
     its own rows: plainly, qualified, in a UNION, in a subquery, in a table function.",
    Weight::Read,
    "Deny every read of a base table by an authorizer; a view alone is a habit.",
);

/// A name that means something else.
pub(in crate::stores) const SHADOW: Attack = attack(
    "store.sqlite.shadow",
    "put something in the view's place",
    "A common table expression, a temporary view, table or trigger takes the name by which the \
     wall or the application reads its rows.",
    Weight::Read,
    "Deny making and dropping of temporary objects, and check rows where they leave the table, not \
     by the view's name.",
);

/// Writing past the view.
pub(in crate::stores) const WRITE: Attack = attack(
    "store.sqlite.write-around",
    "write the table behind one's view",
    "UPDATE, DELETE, INSERT and REPLACE name the table in the file, or the tenant's column.",
    Weight::Write,
    "Deny every write of a base table that no trigger of the wall makes.",
);

/// Other files.
pub(in crate::stores) const FILES: Attack = attack(
    "store.sqlite.files",
    "open another tenant's file",
    "ATTACH names the victim's file by its path; VACUUM INTO copies what is open to a new one.",
    Weight::Write,
    "Deny ATTACH, DETACH and VACUUM, and set SQLITE_LIMIT_ATTACHED to 0.",
);

/// PRAGMA.
pub(in crate::stores) const SETTINGS: Attack = attack(
    "store.sqlite.settings",
    "change what the connection may do",
    "PRAGMA, as statement and as table function: writable_schema, foreign_keys, locking_mode, the \
     list of files.",
    Weight::Write,
    "Deny PRAGMA to tenants' statements; set what is needed before the wall is raised.",
);

/// The schema tables.
pub(in crate::stores) const SCHEMA: Attack = attack(
    "store.sqlite.schema",
    "read or rewrite the schema",
    "sqlite_schema, dbstat, pages of the file, and DDL: what tables there are, how large, and \
     another text for them.",
    Weight::Write,
    "Deny the schema tables, virtual tables over the file, and every CREATE, DROP and ALTER.",
);

/// Out of the database.
pub(in crate::stores) const REACH_OUT: Attack = attack(
    "store.sqlite.functions",
    "call a function that reaches outside",
    "load_extension, readfile, writefile and other functions that touch files or the process.",
    Weight::Identity,
    "Let tenants call functions from a list, and have no others.",
);

/// COMMIT by hand.
pub(in crate::stores) const TRANSACTION: Attack = attack(
    "store.sqlite.transaction",
    "end the transaction one is held in",
    "COMMIT, ROLLBACK and BEGIN in injected SQL take the end of the transaction out of the \
     application's hands.",
    Weight::Write,
    "Deny transaction control to tenants' statements.",
);

/// What the last one left.
pub(in crate::stores) const RESIDUE: Attack = attack(
    "store.sqlite.residue",
    "find what the last tenant left",
    "After the victim's session ended without a commit: its counters and row ids, asked for on the \
     attacker's connection.",
    Weight::Existence,
    "Give a connection to one tenant for all its life, or deny what it remembers.",
);
