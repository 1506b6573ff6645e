-- Roles. They belong to the whole cluster; the prefix keeps two applications apart.
--   owner  owns the schema "partywall" and the ticket keys; nobody logs in as it
--   data   owns the walled tables, and is walled itself (FORCE)
--   app    the group that holds the table grants
--   slots  one login per backend, so that no session may read or cancel another tenant's (O1, O2)
-- Run by the owner of the database, who needs CREATEROLE and no more; superuser works, too.
DO $partywall$
DECLARE
  nologin text;
  slot text;
BEGIN
  FOREACH nologin IN ARRAY ARRAY[{owner_lit}, {data_lit}, {app_lit}] LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = nologin) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', nologin);
    END IF;
  END LOOP;
  FOREACH slot IN ARRAY {slots_lit} LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = slot) THEN
      EXECUTE format('CREATE ROLE %I LOGIN INHERIT', slot);
    END IF;
    IF NOT pg_catalog.pg_has_role(slot, {app_lit}, 'MEMBER') THEN
      EXECUTE format('GRANT %I TO %I', {app_lit}::text, slot);
    END IF;
  END LOOP;
  -- Whoever installs acts as owner and data. From PostgreSQL 16 on, creating a role gives its
  -- creator ADMIN without SET, so membership is granted whatever pg_has_role(.., 'MEMBER') says.
  IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    EXECUTE format('GRANT %I, %I TO %I', {owner_lit}::text, {data_lit}::text, current_user);
  END IF;
END
$partywall$;

-- The database: PUBLIC has nothing in it, the group may connect, and nobody at run time may
-- create, not even temporary tables (R1, R9, K3).
DO $partywall$
BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {app_lit}::text);
END
$partywall$;
-- Up to PostgreSQL 14 the schema "public" belongs to the superuser and is open to everybody: should
-- this say that no privileges could be revoked, have its owner run it once. The start-up check
-- refuses the database until then.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
