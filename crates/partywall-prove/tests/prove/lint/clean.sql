-- A wall built by hand, with nothing to be said against it: a login per tenant, one function that
-- knows whose login it is, forced RESTRICTIVE policies for everyone, the tenant in every key.
CREATE ROLE {db}_owner NOLOGIN; -- owns the tables
CREATE ROLE {db}_auth NOLOGIN;  -- owns the function, may use no table of a tenant's
CREATE ROLE {db}_app NOLOGIN;   -- holds the grants
CREATE ROLE {db}_acme LOGIN IN ROLE {db}_app;
CREATE ROLE {db}_acme2 LOGIN IN ROLE {db}_app;
REVOKE ALL ON DATABASE {db} FROM PUBLIC;
GRANT CONNECT ON DATABASE {db} TO {db}_app;
CREATE SCHEMA shop AUTHORIZATION {db}_owner;
CREATE SCHEMA auth AUTHORIZATION {db}_auth;
GRANT USAGE ON SCHEMA shop TO {db}_app;
GRANT USAGE ON SCHEMA auth TO {db}_app, {db}_owner;

SET ROLE {db}_auth;
CREATE TABLE auth.login (name name PRIMARY KEY, tenant text NOT NULL);
CREATE FUNCTION auth.tenant() RETURNS text STABLE LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS 'SELECT tenant FROM auth.login WHERE name = session_user';

SET ROLE {db}_owner;
CREATE TABLE shop.customer (tenant_id text NOT NULL, id uuid NOT NULL, email text, PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, email));
CREATE TABLE shop.invoice (tenant_id text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, customer uuid, cents bigint,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer) REFERENCES shop.customer (tenant_id, id) ON DELETE CASCADE);
CREATE INDEX ON shop.invoice (tenant_id, cents);
CREATE TABLE shop.event (tenant_id text NOT NULL, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE shop.event_2026 PARTITION OF shop.event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE shop.country (code text PRIMARY KEY, name text NOT NULL);
DO $$
DECLARE t regclass;
BEGIN
  FOREACH t IN ARRAY ARRAY['shop.customer', 'shop.invoice', 'shop.event', 'shop.event_2026']::regclass[] LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY wall ON %s AS RESTRICTIVE USING (tenant_id = (SELECT auth.tenant()))', t);
    EXECUTE format('CREATE POLICY open ON %s USING (true) WITH CHECK (true)', t);
  END LOOP;
END
$$;
CREATE VIEW shop.big AS SELECT * FROM shop.invoice WHERE cents > 100000;
ALTER VIEW shop.big SET (security_invoker = true);
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.customer, shop.invoice, shop.event TO {db}_app;
GRANT SELECT ON shop.big, shop.country TO {db}_app;
RESET ROLE;
