-- In the database tenants share: the tenant leads every key. partywall.protect() puts it behind
-- the wall, and fills in the tenant by itself.
CREATE TABLE IF NOT EXISTS invoice (
  tenant_id    text    NOT NULL,
  id           uuid    NOT NULL,
  customer     text    NOT NULL,
  amount_cents bigint  NOT NULL CHECK (amount_cents > 0),
  paid         boolean NOT NULL DEFAULT false,
  reminders    integer NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX IF NOT EXISTS invoice_by_customer ON invoice (tenant_id, customer, id);
