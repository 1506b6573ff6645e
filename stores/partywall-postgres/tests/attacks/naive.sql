-- The schema everybody writes: an application role that owns nothing, row level security by a
-- setting, and every default left as it is.
CREATE ROLE naive_owner NOLOGIN;
CREATE ROLE naive_app LOGIN;
CREATE SCHEMA app AUTHORIZATION naive_owner;
GRANT USAGE ON SCHEMA app TO naive_app;
SET ROLE naive_owner;

CREATE TABLE app.notes (
  id bigserial PRIMARY KEY, tenant_id text NOT NULL, email text UNIQUE, salary int, body text);
CREATE TABLE app.comments (
  id bigserial PRIMARY KEY, tenant_id text NOT NULL,
  note_id bigint REFERENCES app.notes (id) ON DELETE CASCADE, body text);
CREATE TABLE app.ledger (
  id bigserial PRIMARY KEY, tenant_id text NOT NULL, entry text);
CREATE TABLE app.events (
  tenant_id text NOT NULL, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events
  FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW app.all_notes AS SELECT * FROM app.notes;
