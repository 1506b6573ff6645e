//! The faults, each planted alone in the clean schema.

use partywall_prove::postgres::lint::{
    Rule,
    Severity::{self, Error, Note, Warning},
    rules::*,
};

/// A fault, and the finding it must give.
pub(crate) struct Fault {
    pub(crate) rule: &'static Rule,
    pub(crate) severity: Severity,
    pub(crate) place: &'static str,
    pub(crate) plant: &'static str,
}

const fn fault(
    rule: &'static Rule,
    severity: Severity,
    place: &'static str,
    plant: &'static str,
) -> Fault {
    Fault { rule, severity, place, plant }
}

pub(crate) static FAULTS: &[Fault] = &[
    // The tables.
    fault(&ROW_SECURITY_OFF, Error, "shop.invoice", "ALTER TABLE shop.invoice DISABLE ROW LEVEL SECURITY"),
    fault(&ROW_SECURITY_OFF, Error, "shop.fresh",
        "CREATE TABLE shop.fresh (org_id uuid NOT NULL, id uuid, PRIMARY KEY (org_id, id)); GRANT SELECT ON shop.fresh TO {db}_app"),
    fault(&ROW_SECURITY_OFF, Warning, "shop.fresh", "CREATE TABLE shop.fresh (tenant_id uuid NOT NULL)"),
    fault(&ROW_SECURITY_NOT_FORCED, Warning, "shop.invoice", "ALTER TABLE shop.invoice NO FORCE ROW LEVEL SECURITY"),
    fault(&ROW_SECURITY_NOT_FORCED, Error, "shop.invoice",
        "ALTER TABLE shop.invoice NO FORCE ROW LEVEL SECURITY; ALTER TABLE shop.invoice OWNER TO {db}_acme; GRANT SELECT ON shop.customer TO {db}_acme"),
    fault(&NO_POLICY, Warning, "shop.invoice", "DROP POLICY wall ON shop.invoice; DROP POLICY open ON shop.invoice"),
    fault(&UNDECLARED_TABLE, Warning, "shop.line",
        "CREATE TABLE shop.line (id uuid PRIMARY KEY, tenant text, invoice bigint); ALTER TABLE shop.line DROP tenant; GRANT SELECT ON shop.line TO {db}_acme"),
    fault(&GUESSED_COLUMN, Note, "shop.fresh", "CREATE TABLE shop.fresh (workspace_id uuid NOT NULL)"),
    fault(&GUESSED_COLUMN, Note, "shop.todo",
        "CREATE TABLE shop.todo (id uuid, user_id text NOT NULL); ALTER TABLE shop.todo ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON shop.todo USING (user_id = auth.tenant())"),
    fault(&NULLABLE_TENANT, Warning, "shop.fresh", "CREATE TABLE shop.fresh (tenant_id uuid)"),

    // The policies.
    fault(&POLICY_TRUE, Error, "shop.invoice policy open", "DROP POLICY wall ON shop.invoice"),
    fault(&POLICY_TRUE, Error, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; DROP POLICY open ON shop.invoice;
         CREATE POLICY wall ON shop.invoice USING (tenant_id = auth.tenant() OR true)"),
    // A wall that was put up for reading alone.
    fault(&POLICY_TRUE, Error, "shop.invoice policy open",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE FOR SELECT USING (tenant_id = auth.tenant())"),
    fault(&POLICY_CHECK_OPEN, Error, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; DROP POLICY open ON shop.invoice;
         CREATE POLICY wall ON shop.invoice USING (tenant_id = auth.tenant()) WITH CHECK (true)"),
    fault(&POLICY_CHECK_OPEN, Error, "shop.invoice policy adding",
        "DROP POLICY wall ON shop.invoice; DROP POLICY open ON shop.invoice;
         CREATE POLICY reading ON shop.invoice USING (tenant_id = auth.tenant());
         CREATE POLICY adding ON shop.invoice FOR INSERT WITH CHECK (cents > 0)"),
    fault(&POLICY_WIDENS, Warning, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE USING (tenant_id = auth.tenant() OR cents = 0)"),
    fault(&POLICY_WIDENS, Error, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE
         USING (tenant_id = auth.tenant() OR current_setting('app.admin', true) = 'on')"),
    fault(&POLICY_WITHOUT_TENANT, Error, "shop.invoice policy open",
        "DROP POLICY wall ON shop.invoice; ALTER POLICY open ON shop.invoice USING (cents > 0)"),
    fault(&POLICY_WITHOUT_TENANT, Warning, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE USING (tenant_id = session_user);
         REVOKE {db}_app FROM {db}_acme2"),
    fault(&POLICY_FAILS_OPEN, Error, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE
         USING (tenant_id = coalesce(current_setting('app.tenant', true), tenant_id))"),
    fault(&POLICY_FAILS_OPEN, Error, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; DROP POLICY open ON shop.invoice; CREATE POLICY wall ON shop.invoice
         USING (current_setting('app.tenant', true) IS NULL OR tenant_id = current_setting('app.tenant', true))"),
    fault(&POLICY_PREFIX, Error, "shop.invoice policy wall",
        "DROP POLICY wall ON shop.invoice; DROP POLICY open ON shop.invoice;
         CREATE POLICY wall ON shop.invoice USING (tenant_id LIKE auth.tenant() || '%')"),
    fault(&POLICY_COMMAND, Note, "shop.invoice role {db}_acme",
        "DROP POLICY open ON shop.invoice; CREATE POLICY open ON shop.invoice FOR SELECT USING (true)"),
    fault(&POLICY_ROLES, Warning, "shop.invoice policy wall", "ALTER POLICY wall ON shop.invoice TO {db}_acme, {db}_acme2"),
    fault(&POLICY_LOOKUP, Warning, "shop.invoice policy wall",
        "CREATE TABLE shop.member (org text, who name); GRANT INSERT ON shop.member TO {db}_app;
         DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE
         USING (tenant_id IN (SELECT org FROM shop.member WHERE who = session_user))"),
    fault(&CONTEXT_SETTABLE, Warning, "setting app.tenant",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE
         USING (tenant_id = current_setting('app.tenant'))"),
    fault(&CONTEXT_SETTABLE, Warning, "setting request.jwt.claims",
        "CREATE OR REPLACE FUNCTION auth.tenant() RETURNS text STABLE LANGUAGE sql SET search_path = pg_catalog
         AS $$SELECT current_setting('request.jwt.claims', true)::jsonb ->> 'org'$$"),
    fault(&CONTEXT_SETTABLE, Error, "shop.invoice policy wall",
        "CREATE FUNCTION auth.jwt() RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT NULL::jsonb';
         DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE
         USING (tenant_id = (auth.jwt() -> 'user_metadata' ->> 'org'))"),
    fault(&CONTEXT_IMMUTABLE, Error, "function auth.tenant()", "ALTER FUNCTION auth.tenant() IMMUTABLE"),

    // What reads tables in another's name.
    fault(&VIEW_OWNER_RIGHTS, Error, "shop.all_invoices",
        "CREATE VIEW shop.all_invoices AS SELECT * FROM shop.invoice; GRANT SELECT ON shop.all_invoices TO {db}_app"),
    fault(&VIEW_OWNER_RIGHTS, Error, "shop.big",
        "ALTER VIEW shop.big RESET (security_invoker); ALTER TABLE shop.invoice NO FORCE ROW LEVEL SECURITY"),
    fault(&VIEW_OWNER_RIGHTS, Note, "shop.big", "ALTER VIEW shop.big RESET (security_invoker)"),
    fault(&VIEW_OWNER_RIGHTS, Error, "shop.around",
        "CREATE VIEW shop.within AS SELECT * FROM shop.invoice; CREATE VIEW shop.around AS SELECT id FROM shop.within;
         GRANT SELECT (id) ON shop.around TO PUBLIC"),
    fault(&MATERIALIZED_VIEW, Error, "shop.totals",
        "CREATE MATERIALIZED VIEW shop.totals AS SELECT tenant_id, sum(cents) FROM shop.big GROUP BY 1; GRANT SELECT ON shop.totals TO {db}_app"),
    fault(&DEFINER_FUNCTION, Error, "function shop.count_all()",
        "CREATE FUNCTION shop.count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT count(*) FROM shop.invoice'"),
    fault(&DEFINER_FUNCTION, Error, "function shop.run(sql text)",
        "CREATE FUNCTION shop.run(sql text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS 'BEGIN EXECUTE format(''%s'', sql); END'"),
    fault(&DEFINER_FUNCTION, Warning, "function shop.today()",
        "CREATE FUNCTION shop.today() RETURNS date LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT current_date'"),
    fault(&DEFINER_SEARCH_PATH, Warning, "function auth.tenant()", "ALTER FUNCTION auth.tenant() RESET search_path"),
    fault(&LEAKPROOF_FUNCTION, Warning, "function shop.same(text, text)",
        "CREATE FUNCTION shop.same(text, text) RETURNS bool LEAKPROOF LANGUAGE sql AS 'SELECT $1 = $2'"),
    fault(&TRIGGER_DEFINER, Error, "shop.invoice trigger total",
        "CREATE FUNCTION shop.total() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
         AS 'BEGIN UPDATE shop.customer SET email = email; RETURN new; END';
         CREATE TRIGGER total AFTER INSERT ON shop.invoice FOR EACH ROW EXECUTE FUNCTION shop.total()"),
    fault(&TABLE_RULE, Warning, "shop.invoice rule keep",
        "CREATE RULE keep AS ON DELETE TO shop.invoice DO INSTEAD NOTHING"),

    // The grants.
    fault(&GRANT_PAST_ROWS, Error, "shop.invoice TRUNCATE", "GRANT TRUNCATE ON shop.invoice TO {db}_app"),
    fault(&GRANT_PAST_ROWS, Error, "shop.invoice TRIGGER", "GRANT TRIGGER ON shop.invoice TO {db}_acme"),
    fault(&GRANT_PAST_ROWS, Warning, "shop.invoice REFERENCES", "GRANT REFERENCES (id) ON shop.invoice TO {db}_app"),
    fault(&GRANT_PARTITION, Warning, "shop.event_2026", "GRANT SELECT ON shop.event_2026 TO {db}_app"),
    fault(&GRANT_PARTITION, Error, "shop.event_2027",
        "CREATE TABLE shop.event_2027 PARTITION OF shop.event FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
         GRANT SELECT ON shop.event_2027 TO PUBLIC"),
    fault(&GRANT_PARTITION, Error, "shop.old_invoice",
        "CREATE TABLE shop.old_invoice () INHERITS (shop.invoice); GRANT DELETE ON shop.old_invoice TO {db}_app"),
    fault(&GRANT_SEQUENCE, Warning, "shop.invoice_id_seq", "GRANT USAGE ON SEQUENCE shop.invoice_id_seq TO {db}_app"),
    fault(&GRANT_COLUMN, Note, "shop.invoice", "GRANT UPDATE (cents) ON shop.invoice TO {db}_app"),
    fault(&GRANT_PUBLIC, Warning, "shop.invoice", "GRANT SELECT ON shop.invoice TO PUBLIC"),
    fault(&DEFAULT_PRIVILEGES, Warning, "default TABLES of {db}_owner in schema shop for {db}_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {db}_owner IN SCHEMA shop GRANT SELECT ON TABLES TO {db}_app"),
    fault(&CREATE_RIGHTS, Warning, "DATABASE {db} TEMPORARY", "GRANT TEMP ON DATABASE {db} TO PUBLIC"),
    fault(&CREATE_RIGHTS, Warning, "SCHEMA shop CREATE", "GRANT CREATE ON SCHEMA shop TO {db}_app"),

    // The keys.
    fault(&UNIQUE_WITHOUT_TENANT, Warning, "shop.customer customer_email", "CREATE UNIQUE INDEX customer_email ON shop.customer (email)"),
    fault(&UNIQUE_WITHOUT_TENANT, Note, "shop.fresh fresh_pkey", "CREATE TABLE shop.fresh (id uuid PRIMARY KEY, tenant_id text NOT NULL)"),
    fault(&UNIQUE_WITHOUT_TENANT, Warning, "shop.invoice one_at_a_time",
        "ALTER TABLE shop.invoice ADD CONSTRAINT one_at_a_time EXCLUDE USING btree (cents WITH =)"),
    fault(&TENANT_NOT_FIRST, Note, "shop.customer by_email", "CREATE UNIQUE INDEX by_email ON shop.customer (email, tenant_id)"),
    fault(&FOREIGN_KEY_WITHOUT_TENANT, Warning, "shop.invoice loose",
        "ALTER TABLE shop.customer ADD UNIQUE (id); ALTER TABLE shop.invoice ADD CONSTRAINT loose FOREIGN KEY (customer) REFERENCES shop.customer (id)"),
    fault(&FOREIGN_KEY_WITHOUT_TENANT, Error, "shop.invoice loose",
        "ALTER TABLE shop.customer ADD UNIQUE (id); ALTER TABLE shop.invoice ADD CONSTRAINT loose FOREIGN KEY (customer) REFERENCES shop.customer (id) ON DELETE CASCADE"),
    fault(&INDEX_NOT_LEAKPROOF, Note, "shop.customer by_lower", "CREATE INDEX by_lower ON shop.customer (tenant_id, lower(email))"),
    fault(&INDEX_NOT_LEAKPROOF, Note, "shop.customer by_like", "CREATE INDEX by_like ON shop.customer (tenant_id, email text_pattern_ops)"),
    fault(&INDEX_NOT_LEAKPROOF, Warning, "shop.invoice by_amount",
        "ALTER TABLE shop.invoice ADD amount numeric; INSERT INTO shop.invoice (tenant_id) SELECT 'acme' FROM generate_series(1, 12000);
         CREATE INDEX by_amount ON shop.invoice (tenant_id, amount); ANALYZE shop.invoice"),
    fault(&INDEX_NOT_LEAKPROOF, Note, "shop.customer by_data",
        "ALTER TABLE shop.customer ADD data jsonb; CREATE INDEX by_data ON shop.customer USING gin (data)"),

    // The roles.
    fault(&ROLE_BYPASSES, Error, "role {db}_acme", "ALTER ROLE {db}_acme BYPASSRLS"),
    fault(&ROLE_POWERS, Error, "role {db}_acme", "ALTER ROLE {db}_acme CREATEROLE"),
    fault(&ROLE_POWERS, Warning, "role {db}_acme", "ALTER ROLE {db}_acme CREATEDB"),
    fault(&ROLE_BECOMES, Error, "role {db}_acme member of pg_read_all_data", "GRANT pg_read_all_data TO {db}_acme"),
    fault(&ROLE_BECOMES, Warning, "role {db}_acme member of pg_monitor", "GRANT pg_monitor TO {db}_app"),
    fault(&ROLE_BECOMES, Error, "role {db}_acme member of {db}_acme2", "GRANT {db}_acme2 TO {db}_acme"),
    fault(&ROLE_BECOMES, Error, "role {db}_acme member of {db}_root", "CREATE ROLE {db}_root SUPERUSER; GRANT {db}_root TO {db}_acme"),
    fault(&ROLE_OWNS, Error, "TABLE shop.invoice owner {db}_acme", "ALTER TABLE shop.invoice OWNER TO {db}_acme"),
    fault(&ROLE_OWNS, Error, "FUNCTION auth.tenant() owner {db}_acme", "ALTER FUNCTION auth.tenant() OWNER TO {db}_acme"),
    fault(&ROLE_OWNS, Warning, "VIEW shop.big owner {db}_acme", "ALTER VIEW shop.big OWNER TO {db}_acme"),
    fault(&ROLE_SETTING, Error, "role {db}_acme app.tenant",
        "DROP POLICY wall ON shop.invoice; CREATE POLICY wall ON shop.invoice AS RESTRICTIVE USING (tenant_id = current_setting('app.tenant'));
         ALTER ROLE {db}_acme SET app.tenant = 'acme'"),
    fault(&ROLE_SETTING, Warning, "database {db} row_security", "ALTER DATABASE {db} SET row_security = off"),
    fault(&ROLE_SETTING, Warning, "role {db}_acme search_path",
        "CREATE SCHEMA mine; GRANT CREATE ON SCHEMA mine TO {db}_acme; ALTER ROLE {db}_acme SET search_path = mine, shop"),
    fault(&ROLE_SETTING, Warning, "role {db}_acme in database {db} standard_conforming_strings",
        "ALTER ROLE {db}_acme IN DATABASE {db} SET standard_conforming_strings = off"),
    fault(&ROLE_PASSWORD, Warning, "role {db}_acme", "SET LOCAL password_encryption = 'md5'; ALTER ROLE {db}_acme PASSWORD 'x'"),

    // What leaves the tables.
    fault(&PUBLICATION, Warning, "publication everything", "CREATE PUBLICATION everything FOR ALL TABLES"),
    fault(&PUBLICATION, Warning, "publication chosen", "CREATE PUBLICATION chosen FOR TABLE shop.country, shop.invoice"),
    fault(&FOREIGN_TABLE, Warning, "shop.remote",
        "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER there FOREIGN DATA WRAPPER far;
         CREATE FOREIGN TABLE shop.remote (tenant_id text) SERVER there; GRANT SELECT ON shop.remote TO {db}_app"),
    fault(&REACHES_OUT, Warning, "extension dblink", "CREATE EXTENSION dblink; GRANT USAGE ON SCHEMA public TO {db}_app"),
    fault(&REACHES_OUT, Warning, "server there",
        "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER there FOREIGN DATA WRAPPER far; GRANT USAGE ON FOREIGN SERVER there TO {db}_app"),
    fault(&LANGUAGE, Warning, "language other", "CREATE TRUSTED LANGUAGE other HANDLER plpgsql_call_handler"),
    fault(&STATISTICS, Error, "pg_catalog.pg_statistic", "GRANT SELECT ON pg_statistic TO {db}_app"),
    fault(&STATISTICS, Warning, "public.pg_stat_statements", "CREATE EXTENSION pg_stat_statements SCHEMA public"),
    fault(&EVENT_TRIGGER, Error, "event trigger watch",
        "CREATE FUNCTION shop.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; ALTER FUNCTION shop.watch() OWNER TO {db}_acme;
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION shop.watch()"),
];
