//! What the attacks on the PostgreSQL store are.

use crate::{Attack, Layer, Weight};

const SUPPORTS: &[&str] = &["soc2:CC6.1", "iso27001:A.8.3", "asvs5:8.4.1", "lens:SEC2"];

const fn attack(
    id: &'static str,
    title: &'static str,
    about: &'static str,
    weight: Weight,
    fix: &'static str,
    references: &'static [&'static str],
) -> Attack {
    Attack { id, layer: Layer::Store, title, about, weight, fix, references, supports: SUPPORTS }
}

/// Writing.
pub(in crate::stores) const WRITE: Attack = attack(
    "store.postgres.write",
    "change another's rows by one's own handle",
    "UPDATE, DELETE, lock and TRUNCATE what the victim has committed; move one's own rows to the \
     victim, with WHERE and without; insert in the victim's name.",
    Weight::Write,
    "Put the table behind row policies FOR ALL with WITH CHECK, FORCE them, and grant neither \
     TRUNCATE nor ownership.",
    &["M-01", "M-18", "CWE-639"],
);

/// F1, F10.
pub(in crate::stores) const FORGED: Attack = attack(
    "store.postgres.forged-context",
    "say that one is another tenant",
    "Injected SQL sets what the row policies go by to the victim: by set_config, SET, in FROM, and \
     hidden in a string that a function runs.",
    Weight::Identity,
    "Bind the transaction by something a session cannot make: a ticket, or a login of its own.",
    &["M-18", "F1", "F10", "CWE-89"],
);

/// F2, F4.
pub(in crate::stores) const STOLEN: Attack = attack(
    "store.postgres.stolen-ticket",
    "use another tenant's ticket",
    "The ticket of a transaction the victim has open at this moment, copied into the attacker's \
     session, into its transaction and into a new one.",
    Weight::Identity,
    "Bind tickets to the backend, and to the transaction where a pooler is in between.",
    &["M-18", "F2", "F4"],
);

/// F5 and after.
pub(in crate::stores) const TRANSACTION: Attack = attack(
    "store.postgres.transaction",
    "leave the transaction one was bound in",
    "Injected COMMIT, ROLLBACK and BEGIN end what bound the session to its tenant; what follows \
     must reach nobody's rows.",
    Weight::Identity,
    "Refuse to show rows to a transaction that is bound to no tenant, and bind for one transaction \
     only.",
    &["M-18", "T-06", "CWE-89"],
);

/// SET ROLE.
pub(in crate::stores) const ROLE: Attack = attack(
    "store.postgres.role",
    "become a stronger role",
    "SET ROLE and SET SESSION AUTHORIZATION to the owners of tables, to superusers and to the \
     victim's own login; RESET to what the session began as; row_security off.",
    Weight::Identity,
    "Make the runtime role a member of nothing, and log in as it: no SET ROLE from a stronger one.",
    &["T-05", "M-18"],
);

/// Past the schema.
pub(in crate::stores) const ELSEWHERE: Attack = attack(
    "store.postgres.elsewhere",
    "reach another database or server",
    "The victim's tables by their full names, dblink and foreign data wrappers.",
    Weight::Read,
    "Revoke CREATE on databases and EXECUTE on functions that connect elsewhere.",
    &["M-14", "T-07"],
);

/// Files and programs.
pub(in crate::stores) const SERVER: Attack = attack(
    "store.postgres.server",
    "reach the server's files and programs",
    "COPY … TO PROGRAM, server-side files, large object import and export, passwords, functions in C.",
    Weight::Identity,
    "Keep the runtime role out of pg_execute_server_program, pg_read_server_files and \
     pg_write_server_files.",
    &["T-05", "CWE-78"],
);

/// Large objects know no tenant.
pub(in crate::stores) const LARGE_OBJECTS: Attack = attack(
    "store.postgres.large-objects",
    "read large objects",
    "Large objects belong to a role and know no tenant; where tenants share a role, they share \
     them.",
    Weight::Read,
    "Do not use large objects in a database that tenants share: put bytes into a walled table.",
    &["O9"],
);

/// O1, O2.
pub(in crate::stores) const PEEK: Attack = attack(
    "store.postgres.peek",
    "look at another's session",
    "pg_stat_activity and the views of prepared statements and cursors, while the victim has a \
     statement of its own in its session.",
    Weight::Read,
    "Give each backend slot a login of its own, and nobody pg_read_all_stats.",
    &["O1", "O2", "T-08"],
);

/// R1–R10.
pub(in crate::stores) const RESIDUE: Attack = attack(
    "store.postgres.residue",
    "find what the last tenant left",
    "Prepared names, settings, advisory locks, LISTEN, temporary tables and a cursor over the \
     victim's rows, left on a backend that then serves the attacker.",
    Weight::Read,
    "Make a session new between tenants, or keep it for one.",
    &["M-18", "T-06", "R1", "R10", "P16"],
);

/// O4, O5.
pub(in crate::stores) const INTERFERE: Attack = attack(
    "store.postgres.terminate",
    "end another's session",
    "pg_cancel_backend and pg_terminate_backend on the victim's backend.",
    Weight::Write,
    "Give each backend slot a login of its own, and nobody pg_signal_backend.",
    &["O4", "T-08"],
);
