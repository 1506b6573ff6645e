-- A database of one tenant's own (bridge by database, silo). The wall is the login, which can
-- connect here and nowhere else; the functions are there so that the same schema, with
-- `DEFAULT partywall.tenant_id()`, works in every model.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS partywall;
CREATE OR REPLACE FUNCTION partywall.tenant_id() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $partywall$ SELECT {tenant_lit}::pg_catalog.text $partywall$;
CREATE OR REPLACE FUNCTION partywall.tenant_uuid() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE AS $partywall$ SELECT partywall.tenant_id()::pg_catalog.uuid $partywall$;
CREATE OR REPLACE FUNCTION partywall.claims() RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $partywall$ SELECT NULL::pg_catalog.jsonb $partywall$;
GRANT USAGE ON SCHEMA partywall, public TO {role};
-- What the administrator creates from now on, and what is there already.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
