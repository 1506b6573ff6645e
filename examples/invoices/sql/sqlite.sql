CREATE TABLE invoice (
  tenant_id    TEXT    NOT NULL,
  id           TEXT    NOT NULL,
  customer     TEXT    NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  paid         INTEGER NOT NULL DEFAULT 0,
  reminders    INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX invoice_by_customer ON invoice (tenant_id, customer, id);
