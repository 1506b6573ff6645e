//! What is asked of the catalogue before a database is served.

use crate::check::Severity;

/// One question, and how bad an answer is.
pub(crate) struct Question {
    pub(crate) severity: Severity,
    pub(crate) sql: &'static str,
}

/// Each asks with the runtime roles as `$1`, some with the names of tenant columns as `$2`, and
/// answers what is wrong and how to put it right.
pub(crate) const QUESTIONS: &[Question] = &[
    Question {
        severity: Severity::Refusal,
        sql: "SELECT 'the wall is not installed in database ' || current_database() AS what,
                     'run the migration that `partywall postgres init` prints' AS fix
               WHERE $1::text[] IS NOT NULL AND NOT EXISTS (
                     SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                      WHERE n.nspname = 'partywall' AND p.proname = 'tenant_id' AND p.prosecdef)",
    },
    // The role itself.
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I %s', r.rolname, a.trait) AS what,
                     format('ALTER ROLE %I %s', r.rolname, a.fix) AS fix
                FROM pg_roles r
               CROSS JOIN LATERAL (VALUES
                     (r.rolsuper, 'is superuser: row level security does not hold it', 'NOSUPERUSER'),
                     (r.rolbypassrls, 'has BYPASSRLS: row level security does not hold it', 'NOBYPASSRLS'),
                     (r.rolcreaterole, 'may create roles', 'NOCREATEROLE'),
                     (r.rolcreatedb, 'may create databases', 'NOCREATEDB'),
                     (r.rolreplication, 'may replicate: it reads every row', 'NOREPLICATION'))
                     AS a(has, trait, fix)
               WHERE r.rolname = ANY ($1) AND a.has",
    },
    // Roles it could become.
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I is a member of %I, %s', r.rolname, g.rolname,
                       CASE WHEN g.rolsuper OR g.rolbypassrls THEN 'which row level security does not hold'
                            WHEN g.rolname LIKE 'pg\\_%' THEN 'which reaches beyond its tables'
                            WHEN g.rolname = ANY ($1) THEN 'which another session logs in as: it can read and cancel what runs there'
                            ELSE 'which owns tables or the wall' END) AS what,
                     format('REVOKE %I FROM %I', g.rolname, r.rolname) AS fix
                FROM pg_roles r JOIN pg_roles g
                  ON g.oid <> r.oid AND pg_has_role(r.oid, g.oid, 'MEMBER')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper
                 AND (g.rolsuper OR g.rolbypassrls OR g.rolcreaterole OR g.rolname LIKE 'pg\\_%' OR g.rolname = ANY ($1)
                   OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = g.oid)
                   OR EXISTS (SELECT FROM pg_namespace n WHERE n.nspowner = g.oid AND n.nspname = 'partywall'))",
    },
    // Other backends' text and life (O1, O2).
    Question {
        severity: Severity::Warning,
        sql: "SELECT format('role %I is used by %s slots: each can read and cancel what runs in the others', role, count(*)) AS what,
                     'give every slot a login of its own' AS fix
                FROM unnest($1) AS role GROUP BY role HAVING count(*) > 1",
    },
    // What it may make.
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I may %s', r.rolname, p.may) AS what,
                     format('REVOKE %s ON DATABASE %I FROM PUBLIC, %s', p.privilege, current_database(), g.grantees) AS fix
                FROM pg_roles r CROSS JOIN (VALUES
                     ('TEMP', 'TEMPORARY', 'create temporary tables, which shadow the next tenant''s'),
                     ('CREATE', 'CREATE', 'create schemas')) AS p(privilege, listed, may)
               CROSS JOIN LATERAL (
                     SELECT string_agg(DISTINCT quote_ident(m.rolname), ', ') AS grantees
                       FROM pg_roles m
                      WHERE m.oid = r.oid OR pg_has_role(r.oid, m.oid, 'MEMBER') AND EXISTS (
                            SELECT FROM pg_database d, aclexplode(d.datacl) AS x
                             WHERE d.datname = current_database() AND x.grantee = m.oid AND x.privilege_type = p.listed)) AS g
               WHERE r.rolname = ANY ($1) AND has_database_privilege(r.oid, current_database(), p.privilege)",
    },
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I may create in schema %I', r.rolname, n.nspname) AS what,
                     format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %s', n.nspname, g.grantees) AS fix
                FROM pg_roles r JOIN pg_namespace n ON has_schema_privilege(r.oid, n.oid, 'CREATE')
               CROSS JOIN LATERAL (
                     SELECT string_agg(DISTINCT quote_ident(m.rolname), ', ') AS grantees
                       FROM pg_roles m
                      WHERE m.oid = r.oid OR pg_has_role(r.oid, m.oid, 'MEMBER') AND EXISTS (
                            SELECT FROM aclexplode(n.nspacl) AS x
                             WHERE x.grantee = m.oid AND x.privilege_type = 'CREATE')) AS g
               WHERE r.rolname = ANY ($1) AND n.nspname !~ '^pg_'",
    },
    // Interpreters outlive a change of tenant: what one leaves in them runs in the next one's name.
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I may run code in language %I, whose state is the next tenant''s, too', r.rolname, l.lanname) AS what,
                     format('REVOKE USAGE ON LANGUAGE %I FROM PUBLIC, %s', l.lanname, g.grantees) AS fix
                FROM pg_roles r
                JOIN pg_language l ON l.lanpltrusted AND l.lanname NOT IN ('sql', 'plpgsql')
                 AND has_language_privilege(r.oid, l.oid, 'USAGE')
               CROSS JOIN LATERAL (
                     SELECT string_agg(DISTINCT quote_ident(m.rolname), ', ') AS grantees
                       FROM pg_roles m
                      WHERE m.oid = r.oid OR pg_has_role(r.oid, m.oid, 'MEMBER') AND EXISTS (
                            SELECT FROM aclexplode(l.lanacl) AS x WHERE x.grantee = m.oid)) AS g
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper",
    },
    // Tables with a tenant column.
    Question {
        severity: Severity::Refusal,
        sql: "WITH tenant_tables AS (
                SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relowner,
                       COALESCE((SELECT a.attname FROM pg_attribute a, pg_policy p
                                  WHERE p.polrelid = c.oid AND p.polname = 'partywall'
                                    AND a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0
                                    AND pg_get_expr(p.polqual, c.oid) LIKE '(' || quote_ident(a.attname) || ' = %'),
                                (SELECT a.attname FROM pg_attribute a
                                  WHERE a.attrelid = c.oid AND a.attname = ANY ($2) AND NOT a.attisdropped LIMIT 1)) AS col
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'partywall')
                   AND (EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = ANY ($2) AND NOT a.attisdropped)
                     OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'partywall')))
              SELECT format('table %s %s', t.oid::regclass, CASE
                       WHEN NOT t.relrowsecurity THEN 'has a tenant column and no row level security'
                       WHEN NOT t.relforcerowsecurity THEN 'has row level security that its owner is not held by (no FORCE)'
                       ELSE 'has no row policy of the wall, or one that was changed' END) AS what,
                     format('SELECT partywall.protect(%L, %L)', t.oid::regclass, t.col) AS fix
                FROM tenant_tables t
               WHERE $1::text[] IS NOT NULL AND (NOT t.relrowsecurity OR NOT t.relforcerowsecurity
                  OR NOT EXISTS (
                     SELECT FROM pg_policy p
                      WHERE p.polrelid = t.oid AND p.polname = 'partywall' AND NOT p.polpermissive
                        AND p.polcmd = '*' AND p.polroles = '{0}'
                        AND pg_get_expr(p.polqual, t.oid) = pg_get_expr(p.polwithcheck, t.oid)
                        AND pg_get_expr(p.polqual, t.oid) IN (
                            format('(%I = ( SELECT partywall.tenant_id() AS tenant_id))', t.col),
                            format('((%I)::text = ( SELECT partywall.tenant_id() AS tenant_id))', t.col),
                            format('(%I = ( SELECT partywall.tenant_uuid() AS tenant_uuid))', t.col))))",
    },
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I owns %s %s', r.rolname, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END, c.oid::regclass) AS what,
                     format('ALTER TABLE %s OWNER TO the role that ends in _data', c.oid::regclass) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relowner = r.oid AND c.relkind IN ('r', 'p', 'v', 'm')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper",
    },
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I may read the ticket keys', r.rolname) AS what,
                     format('REVOKE ALL ON partywall.ticket_key FROM PUBLIC, %I, and from the group it is in', r.rolname) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relname = 'ticket_key'
                 AND c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'partywall')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper
                 AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE') OR has_any_column_privilege(r.oid, c.oid, 'SELECT'))",
    },
    Question {
        severity: Severity::Warning,
        sql: "SELECT DISTINCT format('table %s has no row level security and every tenant may write to it', c.oid::regclass) AS what,
                     format('if it is meant to be shared: REVOKE INSERT, UPDATE, DELETE ON %s FROM %I, and from the group it is in; if not: SELECT partywall.protect(%L, ..)', c.oid::regclass, r.rolname, c.oid::regclass) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relkind IN ('r', 'p', 'f') AND NOT c.relrowsecurity
                JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               WHERE r.rolname = $1[1] AND NOT r.rolsuper AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                 AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE')",
    },
    // What row level security does not cover.
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I has %s on %s, which row level security does not cover', r.rolname, p.privilege, c.oid::regclass) AS what,
                     format('REVOKE %s ON %s FROM PUBLIC, %I, and from the group it is in', p.privilege, c.oid::regclass, r.rolname) AS fix
                FROM pg_roles r CROSS JOIN (VALUES ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) AS p(privilege)
                JOIN pg_class c ON has_table_privilege(r.oid, c.oid, p.privilege)
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper AND c.relkind IN ('r', 'p') AND c.relrowsecurity",
    },
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I may read materialized view %s, which holds every tenant''s rows', r.rolname, c.oid::regclass) AS what,
                     format('REVOKE ALL ON %s FROM PUBLIC, %I, and from the group it is in', c.oid::regclass, r.rolname) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relkind = 'm' AND has_any_column_privilege(r.oid, c.oid, 'SELECT')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper
                 AND EXISTS (WITH RECURSIVE used(rel) AS (
                               SELECT c.oid
                               UNION SELECT d.refobjid FROM used u JOIN pg_rewrite w ON w.ev_class = u.rel
                                 JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                                  AND d.refclassid = 'pg_class'::regclass)
                             SELECT FROM used u JOIN pg_class t ON t.oid = u.rel AND t.relrowsecurity)",
    },
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('%s %s is owned by %I, whom row level security does not hold, and role %I may use it', k.kind, k.name, o.rolname, r.rolname) AS what,
                     format('ALTER %s %s OWNER TO the role that ends in _data', upper(k.kind), k.name) AS fix
                FROM pg_roles r
                CROSS JOIN LATERAL (
                     SELECT 'view' AS kind, c.oid::regclass::text AS name, c.relowner AS owner
                       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE c.relkind = 'v' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                        AND NOT 'security_invoker=true' = ANY (COALESCE(c.reloptions, '{}'))
                        AND (has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(r.oid, c.oid, 'DELETE'))
                     UNION ALL
                     SELECT 'function', p.oid::regprocedure::text, p.proowner
                       FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                      WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                        AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                        AND has_function_privilege(r.oid, p.oid, 'EXECUTE')) AS k
                JOIN pg_roles o ON o.oid = k.owner AND (o.rolsuper OR o.rolbypassrls)
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper",
    },
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('role %I may reach foreign table %s, which has a tenant column and no row level security can hold', r.rolname, c.oid::regclass) AS what,
                     format('REVOKE ALL ON %s FROM PUBLIC, %I, and from the group it is in', c.oid::regclass, r.rolname) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relkind = 'f' AND has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper
                 AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = ANY ($2) AND NOT a.attisdropped)",
    },
    // Keys that cross tenants (O5, O6, O6b).
    Question {
        severity: Severity::Refusal,
        sql: "SELECT format('foreign key %I of %s does not carry the tenant: it tells what exists, and a cascade deletes another tenant''s rows', k.conname, k.conrelid::regclass) AS what,
                     format('ALTER TABLE %s DROP CONSTRAINT %I, ADD FOREIGN KEY (%I, ..) REFERENCES %s (%I, ..)', k.conrelid::regclass, k.conname, a.attname, k.confrelid::regclass, b.attname) AS fix
                FROM pg_constraint k
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = ANY ($2) AND NOT a.attisdropped
                JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attname = ANY ($2) AND NOT b.attisdropped
                JOIN pg_class c ON c.oid = k.conrelid AND c.relrowsecurity
                JOIN pg_class d ON d.oid = k.confrelid AND d.relrowsecurity
               WHERE $1::text[] IS NOT NULL AND k.contype = 'f' AND k.conparentid = 0
                 AND NOT EXISTS (SELECT FROM generate_subscripts(k.conkey, 1) AS i
                                  WHERE k.conkey[i] = a.attnum AND k.confkey[i] = b.attnum)",
    },
    Question {
        severity: Severity::Warning,
        sql: "SELECT format('unique index %s does not begin with the tenant: it tells one tenant that a value exists at another', i.indexrelid::regclass) AS what,
                     format('make it unique over (%I, ..)', a.attname) AS fix
                FROM pg_index i
                JOIN pg_class c ON c.oid = i.indrelid AND c.relrowsecurity
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY ($2) AND NOT a.attisdropped
               WHERE $1::text[] IS NOT NULL AND (i.indisunique OR i.indisexclusion) AND i.indkey[0] <> a.attnum",
    },
    Question {
        severity: Severity::Warning,
        sql: "SELECT DISTINCT format('role %I has rights on partition %s itself', r.rolname, c.oid::regclass) AS what,
                     format('REVOKE ALL ON %s FROM PUBLIC, %I, and from the group it is in', c.oid::regclass, r.rolname) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relispartition AND c.relkind IN ('r', 'p')
                 AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper",
    },
    Question {
        severity: Severity::Warning,
        sql: "SELECT format('role %I may read sequence %s, which counts every tenant''s rows', r.rolname, c.oid::regclass) AS what,
                     format('REVOKE SELECT ON SEQUENCE %s FROM PUBLIC, %I, and from the group it is in', c.oid::regclass, r.rolname) AS fix
                FROM pg_roles r JOIN pg_class c ON c.relkind = 'S' AND has_sequence_privilege(r.oid, c.oid, 'SELECT')
               WHERE r.rolname = ANY ($1) AND NOT r.rolsuper",
    },
];
