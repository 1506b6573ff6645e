-- 1000 notes for each of four tenants. The salary 77777 is frequent, and no note of A has it.
INSERT INTO app.notes (tenant_id, email, salary, body)
  SELECT (ARRAY['cedar', 'acme', 'acme-2', 'brick'])[1 + g % 4], 'user' || g || '@example',
         CASE WHEN g % 10 = 0 THEN 77777 ELSE 1000 + g % 500 END, 'secret body ' || g
    FROM generate_series(1, 4000) AS g;
INSERT INTO app.comments (tenant_id, note_id, body) SELECT tenant_id, id, 'c' FROM app.notes;
INSERT INTO app.events SELECT tenant_id, '2026-05-05', 'event' FROM app.notes;
CREATE MATERIALIZED VIEW app.totals AS
  SELECT tenant_id, count(*) AS notes, max(salary) AS top FROM app.notes GROUP BY tenant_id;
CREATE FUNCTION app.count_notes() RETURNS bigint LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS 'SELECT count(*) FROM app.notes';
