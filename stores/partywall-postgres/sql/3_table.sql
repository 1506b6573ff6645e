
-- {table}
GRANT USAGE, CREATE ON SCHEMA {schema} TO {data};
GRANT USAGE ON SCHEMA {schema} TO {app};
ALTER TABLE {table} OWNER TO {data};
SET ROLE {data};
SELECT partywall.protect({table_lit}::regclass, {column_lit});
GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {app};
RESET ROLE;
