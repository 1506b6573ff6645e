
-- {table}
GRANT USAGE, CREATE ON SCHEMA {schema} TO {data};
GRANT USAGE ON SCHEMA {schema} TO {app};
-- With its partitions and children, which have owners of their own.
DO $partywall$
DECLARE
  part regclass;
BEGIN
  FOR part IN
    WITH RECURSIVE tree(rel) AS (
      SELECT {table_lit}::regclass::oid
      UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.rel
    )
    SELECT rel::regclass FROM tree
  LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO %I', part, {data_lit}::text);
  END LOOP;
END
$partywall$;
SET ROLE {data};
SELECT partywall.protect({table_lit}::regclass, {column_lit});
GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {app};
RESET ROLE;
