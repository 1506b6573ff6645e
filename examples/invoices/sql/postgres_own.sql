-- In a database of the tenant's own: nothing in it could be anybody else's.
CREATE TABLE IF NOT EXISTS invoice (
  id           uuid    PRIMARY KEY,
  customer     text    NOT NULL,
  amount_cents bigint  NOT NULL CHECK (amount_cents > 0),
  paid         boolean NOT NULL DEFAULT false,
  reminders    integer NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS invoice_by_customer ON invoice (customer, id);
