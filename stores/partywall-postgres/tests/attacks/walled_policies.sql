SELECT partywall.protect('app.notes'), partywall.protect('app.comments'),
       partywall.protect('app.ledger'), partywall.protect('app.events');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.notes, app.comments, app.ledger, app.events
  TO partywall_app;
GRANT SELECT ON app.all_notes TO partywall_app;
GRANT EXECUTE ON FUNCTION app.count_notes() TO partywall_app;
RESET ROLE;
