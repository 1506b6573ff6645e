-- The same application behind the pack, written by its schema rules: the tenant leads every key
-- and every index, and is part of every foreign key.
SET ROLE partywall_data;

CREATE TABLE app.notes (
  tenant_id text COLLATE "C" NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY,
  email text, salary int, body text,
  PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, email));
CREATE TABLE app.comments (
  tenant_id text COLLATE "C" NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY,
  note_id bigint, body text,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, note_id) REFERENCES app.notes (tenant_id, id) ON DELETE CASCADE);
CREATE TABLE app.ledger (
  tenant_id text COLLATE "C" NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, entry text,
  PRIMARY KEY (tenant_id, id));
CREATE TABLE app.events (
  tenant_id text COLLATE "C" NOT NULL, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events
  FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW app.all_notes AS SELECT * FROM app.notes;  -- without security_invoker
