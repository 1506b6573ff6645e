//! The rules, each with its section in `docs/book/lint.md`.

use serde::Serialize;

use super::finding::Severity;

/// Something that weakens a wall and that no attack shows.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// Stable and dotted: `postgres-lint.row-security-off`. It is never reused.
    pub id: &'static str,
    /// How bad it usually is; a [`Finding`](super::Finding) says how bad it is in its place.
    pub severity: Severity,
    /// A few words for a line on a screen.
    pub title: &'static str,
    /// What goes wrong by it, in a sentence or two.
    pub about: &'static str,
    /// Requirement numbers, attacks it would allow, CVE.
    pub references: &'static [&'static str],
}

impl Rule {
    /// The heading of its section in `docs/book/lint.md`: the id without its layer.
    pub fn anchor(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(_, name)| name)
    }

    /// The address of its section.
    pub fn page(&self) -> String {
        format!("{}/blob/main/docs/book/lint.md#{}", env!("CARGO_PKG_REPOSITORY"), self.anchor())
    }

    /// The rule with this id.
    pub fn by_id(id: &str) -> Option<&'static Self> {
        CATALOGUE.iter().copied().find(|rule| rule.id == id)
    }
}

/// Writes the rules down once, as statics and as the catalogue.
macro_rules! rules {
    ($($name:ident = $id:literal, $severity:ident, $title:literal, $about:literal, [$($reference:literal),*];)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $title, ".")]
            pub static $name: Rule = Rule {
                id: $id,
                severity: Severity::$severity,
                title: $title,
                about: $about,
                references: &[$($reference),*],
            };
        )*

        /// Every rule there is, in the order of the page.
        pub static CATALOGUE: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    // The tables.
    ROW_SECURITY_OFF = "postgres-lint.row-security-off", Error,
        "row security is off on a tenant table",
        "Whoever holds a grant on the table reads and changes every tenant's rows.",
        ["T-05", "CVE-2025-48757"];
    ROW_SECURITY_NOT_FORCED = "postgres-lint.row-security-not-forced", Warning,
        "row security does not hold the table's owner",
        "The owner, and every view and SECURITY DEFINER function of the owner's, sees all rows. An application that logs in as the owner has no wall at all.",
        ["T-05"];
    NO_POLICY = "postgres-lint.no-policy", Warning,
        "row security is on and there is no policy",
        "The table denies everyone. It is usually noticed by somebody who then turns row security off.",
        ["T-05"];
    UNDECLARED_TABLE = "postgres-lint.undeclared-table", Warning,
        "a table with no tenant column, not declared shared",
        "The application reaches it and nothing says whose rows these are: a child table that relies on its parent has no wall of its own.",
        ["T-05"];
    GUESSED_COLUMN = "postgres-lint.guessed-column", Note,
        "the tenant column was guessed",
        "Everything found on this table rests on a guess by the column's name or by the policy that compares it.",
        ["T-05"];
    NULLABLE_TENANT = "postgres-lint.nullable-tenant", Warning,
        "rows may belong to nobody",
        "A row without a tenant is seen by nobody, or by everybody as soon as a policy lets NULL through; foreign keys with NULL in them are not checked.",
        ["T-07"];

    // The policies.
    POLICY_TRUE = "postgres-lint.policy-true", Error,
        "a policy that is always true",
        "Permissive policies are ORed: one that is always true opens the table, whatever the others say.",
        ["T-05", "T-07"];
    POLICY_CHECK_OPEN = "postgres-lint.policy-check-open", Error,
        "rows can be written for another tenant",
        "USING says which rows are seen, WITH CHECK which may be written. Where the check does not compare the tenant, rows are planted at or moved to another tenant.",
        ["T-07"];
    POLICY_WIDENS = "postgres-lint.policy-widens", Warning,
        "a policy with a way around the tenant",
        "One arm of an OR does not compare the tenant column: whoever satisfies it sees every tenant's rows.",
        ["T-07"];
    POLICY_WITHOUT_TENANT = "postgres-lint.policy-without-tenant", Error,
        "a policy that does not compare the tenant",
        "Rows are let through by something else than whose they are.",
        ["T-07"];
    POLICY_FAILS_OPEN = "postgres-lint.policy-fails-open", Error,
        "a policy that is open while no tenant is set",
        "A connection that forgot to say who it works for sees everything, instead of nothing.",
        ["T-05", "T-06"];
    POLICY_PREFIX = "postgres-lint.policy-prefix", Error,
        "a policy that compares only a part of the tenant",
        "LIKE, a regular expression or a prefix takes acme-2 for acme; a tenant id holding a wildcard takes everyone.",
        ["T-05"];
    POLICY_COMMAND = "postgres-lint.policy-command", Note,
        "a grant that no policy lets through",
        "The role may run the command and no policy admits a row: a dead grant today, and a hole when somebody adds a policy in a hurry.",
        ["T-07"];
    POLICY_ROLES = "postgres-lint.policy-roles", Warning,
        "a wall that stands for some roles only",
        "A RESTRICTIVE policy TO some roles does not hold the others, nor a role that is made later.",
        ["T-05", "CVE-2023-2455"];
    POLICY_LOOKUP = "postgres-lint.policy-lookup", Warning,
        "a policy believes a table that is not walled",
        "Whoever may write the table a policy looks things up in decides what the policy lets through.",
        ["T-07"];
    CONTEXT_SETTABLE = "postgres-lint.context-settable", Warning,
        "anyone who can send SQL can say which tenant it is",
        "Every session may set the setting the policies read. It stops a forgotten WHERE and nothing that was injected: one SELECT with set_config() is enough, hidden in a string if need be.",
        ["T-06", "CWE-89"];
    CONTEXT_IMMUTABLE = "postgres-lint.context-immutable", Error,
        "the tenant is frozen into cached plans",
        "A function that reads the session and is declared IMMUTABLE is evaluated when a plan is made: the next tenant on the connection gets the rows of the last.",
        ["T-08", "CVE-2016-2193"];

    // What reads tables in another's name.
    VIEW_OWNER_RIGHTS = "postgres-lint.view-owner-rights", Error,
        "a view that reads with its owner's rights",
        "Without security_invoker a view is held to the policies of its owner, not of whoever asks.",
        ["T-07"];
    MATERIALIZED_VIEW = "postgres-lint.materialized-view", Error,
        "a materialized view over tenant tables is granted",
        "It holds every tenant's rows, and row security does not exist for it.",
        ["T-07"];
    DEFINER_FUNCTION = "postgres-lint.definer-function", Warning,
        "a function runs with rights past the wall",
        "SECURITY DEFINER runs as the owner. Where row security does not hold the owner, the function's author is the only wall.",
        ["T-07"];
    DEFINER_SEARCH_PATH = "postgres-lint.definer-search-path", Warning,
        "a SECURITY DEFINER function whose search_path is the caller's",
        "Names in it are looked up where the caller says: a table or operator of the caller's own runs with the owner's rights.",
        ["T-07", "CVE-2018-1058"];
    LEAKPROOF_FUNCTION = "postgres-lint.leakproof-function", Warning,
        "a function that is declared LEAKPROOF",
        "It is evaluated before the policy, on rows of every tenant: what it says, raises or writes about its arguments is theirs.",
        ["T-07"];
    TRIGGER_DEFINER = "postgres-lint.trigger-definer", Warning,
        "a trigger runs with rights past the wall",
        "Each row a tenant writes starts a function that row security does not hold.",
        ["T-07"];
    TABLE_RULE = "postgres-lint.table-rule", Warning,
        "a rule rewrites what is sent to a tenant table",
        "Rules run with the rights of the table's owner and turn one statement into another.",
        ["T-07"];

    // The grants.
    GRANT_PAST_ROWS = "postgres-lint.grant-past-rows", Error,
        "a right that row security does not cover",
        "TRUNCATE empties the table for every tenant; REFERENCES asks whether a key exists; TRIGGER runs code in others' statements; MAINTAIN locks and rewrites the table.",
        ["T-07"];
    GRANT_PARTITION = "postgres-lint.grant-partition", Error,
        "a partition or child can be reached past its parent",
        "Policies of the parent do not apply to a partition that is named directly.",
        ["T-07"];
    GRANT_SEQUENCE = "postgres-lint.grant-sequence", Warning,
        "a sequence counts all tenants",
        "Its value says how much the others write; with UPDATE a tenant makes the others' inserts fail.",
        ["T-07"];
    GRANT_COLUMN = "postgres-lint.grant-column", Note,
        "rights on single columns of a tenant table",
        "Easily overlooked: they do not show where table grants are listed.",
        ["T-07"];
    GRANT_PUBLIC = "postgres-lint.grant-public", Warning,
        "PUBLIC holds rights on a tenant table",
        "Every role of the cluster, also those made later, may use the table.",
        ["T-05"];
    DEFAULT_PRIVILEGES = "postgres-lint.default-privileges", Warning,
        "future tables will be granted before they have a wall",
        "A table is in the application's reach from the moment it exists; row security comes later, or is forgotten.",
        ["T-05", "CVE-2025-48757"];
    CREATE_RIGHTS = "postgres-lint.create-rights", Warning,
        "the application may create objects",
        "A tenant's temporary table shadows the next tenant's on the same connection; what it creates in a schema is found by others' searches.",
        ["T-05", "CVE-2018-1058"];

    // The keys.
    UNIQUE_WITHOUT_TENANT = "postgres-lint.unique-without-tenant", Warning,
        "a unique key spans all tenants",
        "A duplicate-key error tells one tenant what another has, and keeps it from having the same.",
        ["T-07"];
    TENANT_NOT_FIRST = "postgres-lint.tenant-not-first", Note,
        "a unique key does not begin with the tenant",
        "A scan of it walks others' entries; EXPLAIN ANALYZE counts them, and time does.",
        ["T-07"];
    FOREIGN_KEY_WITHOUT_TENANT = "postgres-lint.foreign-key-without-tenant", Warning,
        "a foreign key crosses tenants",
        "Foreign keys are checked past row security: a tenant learns that a row exists, refers to it, and by a cascade has others' rows changed or deleted.",
        ["T-07"];
    INDEX_NOT_LEAKPROOF = "postgres-lint.index-not-leakproof", Note,
        "an index that cannot be used behind row security",
        "Operators that are not LEAKPROOF are evaluated after the policy: the index is passed over and every row of the tenant is looked at.",
        ["T-07"];

    // The roles.
    ROLE_BYPASSES = "postgres-lint.role-bypasses", Error,
        "row security does not hold the application's role",
        "Superusers and roles with BYPASSRLS see every row, FORCE or not.",
        ["T-05"];
    ROLE_POWERS = "postgres-lint.role-powers", Error,
        "the application's role can do too much",
        "CREATEROLE makes stronger roles, REPLICATION reads every row as it is written, CREATEDB copies a database.",
        ["T-05"];
    ROLE_BECOMES = "postgres-lint.role-becomes", Error,
        "the application's role can become a stronger one",
        "SET ROLE, or just the inherited right, is enough.",
        ["T-05", "CVE-2024-10978"];
    ROLE_OWNS = "postgres-lint.role-owns", Error,
        "the application's role owns what walls it in",
        "An owner drops policies, turns row security off and grants what it likes.",
        ["T-05"];
    ROLE_SETTING = "postgres-lint.role-setting", Warning,
        "a setting waits at the role or database",
        "It is in force before the application says anything. A tenant may have left it: ALTER ROLE CURRENT_USER SET survives DISCARD ALL and reconnecting.",
        ["T-06"];
    ROLE_PASSWORD = "postgres-lint.role-password", Warning,
        "a password is stored as MD5",
        "Whoever sees the hash can log in with it.",
        ["CVE-2026-6478"];

    // What leaves the tables.
    PUBLICATION = "postgres-lint.publication", Warning,
        "tenant tables are published",
        "Every subscriber gets every tenant's rows: policies are not applied to what is replicated.",
        ["T-07"];
    REPLICATION_SLOT = "postgres-lint.replication-slot", Note,
        "a logical replication slot reads this database",
        "Whoever holds it gets every change of every tenant.",
        ["T-07"];
    FOREIGN_TABLE = "postgres-lint.foreign-table", Warning,
        "a foreign table is granted",
        "Row security does not exist for foreign tables, and at the other end everyone is the mapped user.",
        ["T-07"];
    REACHES_OUT = "postgres-lint.reaches-out", Warning,
        "SQL can reach out of this database",
        "A connection made from inside has another user, no tenant, and carries data out.",
        ["T-07", "CWE-918"];
    LANGUAGE = "postgres-lint.language", Warning,
        "the application may run code whose state outlives it",
        "Interpreters keep globals for the life of a connection: what one tenant leaves there runs in the next one's name.",
        ["T-06"];
    STATISTICS = "postgres-lint.statistics", Warning,
        "statistics show others' values or statements",
        "Most common values and histograms are samples of every tenant's rows, and statement texts name what others do.",
        ["T-07", "CVE-2025-8713"];
    EVENT_TRIGGER = "postgres-lint.event-trigger", Error,
        "an event trigger whose function the application can replace",
        "Event triggers run with the rights of whoever issues the statement: the next migration does what the application put there.",
        ["T-05"];
    SERVER_VERSION = "postgres-lint.server-version", Warning,
        "the server has known holes",
        "Fixed in a later minor release, which needs no migration.",
        ["T-08", "B-50"];

    // What is declared.
    APPLICATION_ONLY = "store-lint.application-only", Error,
        "a store that can keep tenants apart is told not to",
        "The store has permissions of its own and is declared to rely on the application alone: the first forgotten filter is a leak.",
        ["M-20"];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn m24_every_rule_is_named_once_and_explained_in_the_book() {
        let page = include_str!("../../../../../docs/book/lint.md");
        let headings: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let mut ids = BTreeSet::new();
        for rule in CATALOGUE {
            let plain = |c: char| c.is_ascii_lowercase() || ".-".contains(c);
            assert!(rule.id.chars().all(plain), "{}", rule.id);
            assert!(ids.insert(rule.id), "{} stands twice", rule.id);
            assert!(rule.about.len() > rule.title.len(), "{} explains nothing", rule.id);
            assert!(!rule.references.is_empty(), "{}", rule.id);
            assert!(headings.contains(&rule.anchor()), "docs/book/lint.md lacks {}", rule.anchor());
            assert!(std::ptr::eq(Rule::by_id(rule.id).unwrap(), *rule));
        }
        assert_eq!(headings.len(), CATALOGUE.len(), "a section of no rule in {headings:?}");
    }
}
