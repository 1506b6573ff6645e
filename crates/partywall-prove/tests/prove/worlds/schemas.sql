-- A schema per tenant beside a shared one, as django-tenants and Apartment keep them, with what their
-- documentation leaves to the database's administrator: a role per tenant, and a login that changes
-- into it. In our own words, after django-tenants' "Using django-tenants" and Apartment's README.
CREATE ROLE {db}_router LOGIN NOINHERIT;
CREATE TABLE public.customers_client (schema_name text PRIMARY KEY, name text NOT NULL);
CREATE TABLE public.customers_domain (
  domain text PRIMARY KEY, client text NOT NULL REFERENCES public.customers_client
);
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['acme', 'acme_eu', 'globex'] LOOP
    EXECUTE format('CREATE ROLE {db}_%s', t);
    EXECUTE format('GRANT {db}_%s TO {db}_router', t);
    EXECUTE format('CREATE SCHEMA %I', t);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO {db}_%s', t, t);
    EXECUTE format('CREATE TABLE %I.auth_user (id serial PRIMARY KEY, username varchar(150) UNIQUE NOT NULL, is_active boolean NOT NULL)', t);
    EXECUTE format('CREATE TABLE %I.invoice (id bigserial PRIMARY KEY, number varchar(20) NOT NULL, total numeric(10, 2) NOT NULL CHECK (total >= 0), created_by integer NOT NULL REFERENCES %I.auth_user)', t, t);
    EXECUTE format('CREATE TABLE %I.django_migrations (id bigserial PRIMARY KEY, app varchar(255) NOT NULL, applied timestamptz NOT NULL)', t);
    EXECUTE format('CREATE VIEW %I.unpaid AS SELECT * FROM %I.invoice WHERE total > 0', t, t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO {db}_%s', t, t);
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO {db}_%s', t, t);
  END LOOP;
END $$;
