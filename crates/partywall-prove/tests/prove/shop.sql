-- A hand-made wall: identity, uuid and composite keys, a foreign key, CHECK, UNIQUE, a view and a
-- table that all tenants share.
CREATE ROLE {db}_app LOGIN;
CREATE ROLE {db}_owner;
CREATE SCHEMA shop AUTHORIZATION {db}_owner;
GRANT USAGE ON SCHEMA shop TO {db}_app;
SET ROLE {db}_owner;
CREATE TABLE shop.customers (
  tenant_id text NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  email text NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, email)
);
CREATE TABLE shop.orders (
  tenant_id text NOT NULL,
  id uuid DEFAULT gen_random_uuid(),
  customer_id bigint NOT NULL,
  status text NOT NULL CHECK (status IN ('open', 'closed')),
  total numeric(10, 2) NOT NULL CHECK (total >= 0),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES shop.customers
);
CREATE TABLE shop.files (
  tenant_id text NOT NULL,
  path text NOT NULL,
  size int NOT NULL CHECK (size >= 0),
  PRIMARY KEY (tenant_id, path)
);
CREATE TABLE shop.countries (code text PRIMARY KEY);
CREATE VIEW shop.big_orders WITH (security_invoker = true) AS
  SELECT * FROM shop.orders WHERE total >= 0;
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['customers', 'orders', 'files'] LOOP
    EXECUTE format('ALTER TABLE shop.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY wall ON shop.%I USING (tenant_id = nullif(current_setting(''shop.tenant'', true), ''''))', t);
  END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.customers, shop.orders, shop.files TO {db}_app;
GRANT SELECT ON shop.big_orders, shop.countries TO {db}_app;
RESET ROLE;
