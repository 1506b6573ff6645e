-- The schema of the wall.
CREATE SCHEMA IF NOT EXISTS partywall AUTHORIZATION {owner};
GRANT USAGE ON SCHEMA partywall TO {app}, {data};

SET ROLE {owner};

-- Ticket keys: one row normally, two during a rotation. An HMAC-SHA256 key is kept as its two
-- padded blocks, so that HMAC(m) = sha256(outer || sha256(inner || m)) needs built-ins only.
-- `seed` makes the hash by which macs are compared first unpredictable (see tenant_id).
CREATE TABLE IF NOT EXISTS partywall.ticket_key (
  kid       smallint PRIMARY KEY,
  inner_pad bytea  NOT NULL CHECK (octet_length(inner_pad) = 64),
  outer_pad bytea  NOT NULL CHECK (octet_length(outer_pad) = 64),
  seed      bigint NOT NULL
            DEFAULT ('x' || left(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint
);
-- No statistics: pg_statistic would hold samples of the keys.
ALTER TABLE partywall.ticket_key
  ALTER inner_pad SET STATISTICS 0, ALTER outer_pad SET STATISTICS 0, ALTER seed SET STATISTICS 0;
REVOKE ALL ON partywall.ticket_key FROM PUBLIC;

-- Puts a ticket key in place, or replaces the one of the same number. Rotation: put_key the new
-- one under another number, restart the applications with it, drop_key the old one.
CREATE OR REPLACE FUNCTION partywall.put_key(kid smallint, key bytea) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $partywall$
<<hmac>>
DECLARE
  inner_pad bytea := '';
  outer_pad bytea := '';
  b int;
BEGIN
  IF octet_length(key) NOT BETWEEN 32 AND 64 THEN
    RAISE EXCEPTION 'partywall: a ticket key has 32 to 64 bytes, not %', octet_length(key);
  END IF;
  FOR n IN 0 .. 63 LOOP
    b := CASE WHEN n < octet_length(key) THEN get_byte(key, n) ELSE 0 END;
    hmac.inner_pad := hmac.inner_pad || decode(lpad(to_hex(b # 54), 2, '0'), 'hex');
    hmac.outer_pad := hmac.outer_pad || decode(lpad(to_hex(b # 92), 2, '0'), 'hex');
  END LOOP;
  INSERT INTO partywall.ticket_key AS k (kid, inner_pad, outer_pad)
  VALUES (put_key.kid, hmac.inner_pad, hmac.outer_pad)
  ON CONFLICT ON CONSTRAINT ticket_key_pkey
  DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad;
END
$partywall$;

-- Takes a ticket key away; tickets made with it are refused from then on.
CREATE OR REPLACE FUNCTION partywall.drop_key(kid smallint) RETURNS void
LANGUAGE sql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $partywall$ DELETE FROM partywall.ticket_key k WHERE k.kid = drop_key.kid $partywall$;

-- The tenant bound to this transaction, proved anew. Raises 28000 when none is: an unbound
-- session sees an error, never a row (T-02).
--
-- The ticket is what the enforcement point set for this transaction, in hexadecimal:
--
--   mac[32] | not_before int8 | not_after int8 | length int1 | tenant | claims (JSON, UTF-8)
--   mac = HMAC-SHA256(key, everything after the mac | backend pid int4)
--
-- big-endian, times in microseconds since 2000-01-01 UTC: as timestamptz_send() gives them, so
-- they compare as bytes. It is valid on this backend only, and only in transactions that began
-- within its window; pid and transaction start are what a session cannot choose.
--
-- Three rules keep the key from whoever may run SQL here:
-- * Its columns occur as columns, inside one query. In a variable, as a parameter or from an
--   IMMUTABLE function it would become a constant of a plan, and `SET debug_print_plan = on;
--   SET client_min_messages = log` prints plans to the client (K2).
-- * Every name is qualified, those of types and collations, too, so no search_path can put another
--   function in place (K3), not even behind a domain's CHECK; a SET clause would do the same for
--   2.3 us more per call.
-- * The macs are compared by a hash with a secret seed first, so timing tells nothing.
CREATE OR REPLACE FUNCTION partywall.tenant_id() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED COST 30
AS $partywall$
DECLARE
  ticket pg_catalog.bytea := pg_catalog.decode(pg_catalog.current_setting('partywall.ticket', true), 'hex');
  tenant pg_catalog.text;
BEGIN
  -- 'escape' leaves the alphabet of a tenant id as it is, and cannot fail on any other byte; the CASE
  -- keeps get_byte() from a short ticket, even while a plan's constants are computed.
  SELECT CASE WHEN pg_catalog.octet_length(ticket) OPERATOR(pg_catalog.>) 49 THEN
           pg_catalog.encode(pg_catalog.substr(ticket, 50, pg_catalog.get_byte(ticket, 48)), 'escape') END
    INTO tenant
    FROM (SELECT k.seed,
                 pg_catalog.encode(pg_catalog.substr(ticket, 1, 32), 'hex') COLLATE pg_catalog."C" AS given,
                 pg_catalog.encode(
                   pg_catalog.sha256(k.outer_pad OPERATOR(pg_catalog.||)
                     pg_catalog.sha256(k.inner_pad OPERATOR(pg_catalog.||)
                       pg_catalog.substr(ticket, 33) OPERATOR(pg_catalog.||)
                       pg_catalog.int4send(pg_catalog.pg_backend_pid()))),
                   'hex') COLLATE pg_catalog."C" AS right_one
            FROM partywall.ticket_key k
           WHERE pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())
                 OPERATOR(pg_catalog.>=) pg_catalog.substr(ticket, 33, 8)
             AND pg_catalog.timestamptz_send(pg_catalog.transaction_timestamp())
                 OPERATOR(pg_catalog.<=) pg_catalog.substr(ticket, 41, 8)
          OFFSET 0) AS mac
   WHERE CASE WHEN pg_catalog.hashtextextended(mac.right_one, mac.seed)
                   OPERATOR(pg_catalog.=) pg_catalog.hashtextextended(mac.given, mac.seed)
              THEN mac.right_one OPERATOR(pg_catalog.=) mac.given ELSE false END;
  IF tenant IS NULL THEN
    RAISE EXCEPTION 'partywall: no tenant is bound to this transaction' USING ERRCODE = '28000';
  END IF;
  RETURN tenant;
END
$partywall$;

-- The same for columns of type uuid. Only the canonical spelling is a tenant's: without hyphens
-- it is another id, and must not reach the same rows.
CREATE OR REPLACE FUNCTION partywall.tenant_uuid() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY INVOKER PARALLEL RESTRICTED COST 35
AS $partywall$
DECLARE
  tenant pg_catalog.text := partywall.tenant_id();
  id pg_catalog.uuid := tenant::pg_catalog.uuid;
BEGIN
  IF id::pg_catalog.text OPERATOR(pg_catalog.<>) tenant THEN
    RAISE EXCEPTION 'partywall: the tenant''s id is not a canonical uuid' USING ERRCODE = '22P02';
  END IF;
  RETURN id;
END
$partywall$;

-- What else the enforcement point vouches for in the same ticket (subject, roles), for policies
-- inside a tenant; NULL when it vouches for nothing else.
CREATE OR REPLACE FUNCTION partywall.claims() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER PARALLEL RESTRICTED COST 60
AS $partywall$
DECLARE
  tenant pg_catalog.text := partywall.tenant_id();  -- raises when the ticket does not hold
  ticket pg_catalog.bytea := pg_catalog.decode(pg_catalog.current_setting('partywall.ticket', true), 'hex');
  claims pg_catalog.bytea := pg_catalog.substr(ticket, 50 OPERATOR(pg_catalog.+) pg_catalog.octet_length(tenant));
BEGIN
  -- Not nullif(): its `=` is looked up by the search_path.
  RETURN CASE WHEN pg_catalog.octet_length(claims) OPERATOR(pg_catalog.>) 0
              THEN pg_catalog.convert_from(claims, 'UTF8')::pg_catalog.jsonb END;
END
$partywall$;

-- Puts a table behind the wall, with its partitions and children. May be run again.
--
-- The row policy is RESTRICTIVE, so that no later policy can widen it, FOR ALL, TO PUBLIC and
-- with FORCE, so that owners, views and SECURITY DEFINER functions are held by it, too (S1, S2).
-- Run it as the table's owner.
CREATE OR REPLACE FUNCTION partywall.protect(tbl regclass, col name DEFAULT 'tenant_id') RETURNS void
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp
AS $partywall$
DECLARE
  kind text;
  fn text;
  part regclass;
  is_root boolean := true;
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = tbl) NOT IN ('r', 'p') THEN
    RAISE EXCEPTION 'partywall: % is not a table', tbl
      USING HINT = 'Protect the tables a view reads; keep materialized views and foreign tables from the application.';
  END IF;
  SELECT format_type(a.atttypid, NULL) INTO kind FROM pg_attribute a
   WHERE a.attrelid = tbl AND a.attname = col AND NOT a.attisdropped;
  IF kind IS NULL THEN
    RAISE EXCEPTION 'partywall: % has no column %', tbl, col
      USING HINT = format('ALTER TABLE %s ADD COLUMN %I text COLLATE "C"', tbl, col);
  END IF;
  fn := CASE kind WHEN 'text' THEN 'tenant_id' WHEN 'character varying' THEN 'tenant_id'
                  WHEN 'uuid' THEN 'tenant_uuid' END;
  IF fn IS NULL THEN
    RAISE EXCEPTION 'partywall: column % of % is of type %, which cannot name a tenant exactly', col, tbl, kind
      USING HINT = 'Use text, varchar or uuid.';
  END IF;
  -- Two ids that a collation takes for equal would be one tenant.
  IF EXISTS (SELECT FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
              WHERE a.attrelid = tbl AND a.attname = col AND NOT c.collisdeterministic) THEN
    RAISE EXCEPTION 'partywall: column % of % has a nondeterministic collation', col, tbl
      USING HINT = format('ALTER TABLE %s ALTER COLUMN %I TYPE %s COLLATE "C"', tbl, col, kind);
  END IF;

  FOR part IN
    WITH RECURSIVE tree(rel) AS (
      SELECT tbl::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.rel
    )
    SELECT rel::regclass FROM tree ORDER BY rel <> tbl::oid, rel
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('DROP POLICY IF EXISTS partywall ON %s', part);
    EXECUTE format('CREATE POLICY partywall ON %s AS RESTRICTIVE FOR ALL TO PUBLIC '
                   'USING (%2$I = (SELECT partywall.%3$I())) WITH CHECK (%2$I = (SELECT partywall.%3$I()))',
                   part, col, fn);
    -- A RESTRICTIVE policy narrows what a permissive one opens; this one opens everything.
    EXECUTE format('DROP POLICY IF EXISTS partywall_open ON %s', part);
    EXECUTE format('CREATE POLICY partywall_open ON %s AS PERMISSIVE FOR ALL TO PUBLIC '
                   'USING (true) WITH CHECK (true)', part);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT partywall.%I()', part, col, fn);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', part, col);
    -- What row level security does not cover is not granted; parts are reached by their parent.
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', part);
    IF is_root THEN
      EXECUTE format('REVOKE TRUNCATE, REFERENCES, TRIGGER ON %s FROM %I', part, {app_lit}::text);
    ELSE
      EXECUTE format('REVOKE ALL ON %s FROM %I', part, {app_lit}::text);
    END IF;
    is_root := false;
  END LOOP;
END
$partywall$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA partywall FROM PUBLIC;
GRANT EXECUTE ON FUNCTION partywall.tenant_id(), partywall.tenant_uuid(), partywall.claims() TO {app}, {data};
GRANT EXECUTE ON FUNCTION partywall.protect(regclass, name) TO {data};

RESET ROLE;
