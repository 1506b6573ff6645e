-- The usual sample: one login, SET LOCAL, a policy per table. Beside what that is worth it has a cascade
-- across tenants and an index that row security makes useless.
CREATE ROLE {db}_app LOGIN;
CREATE TABLE tenants (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE projects (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants, name text NOT NULL);
CREATE TABLE tasks (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants, project_id uuid REFERENCES projects ON DELETE CASCADE, title text, cost numeric);
CREATE INDEX ON tasks (tenant_id, cost);
ALTER TABLE projects ENABLE ROW LEVEL SECURITY; ALTER TABLE projects FORCE ROW LEVEL SECURITY;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY; ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY iso ON projects USING (tenant_id = current_setting('app.current_tenant')::uuid);
CREATE POLICY iso ON tasks USING (tenant_id = current_setting('app.current_tenant')::uuid);
GRANT SELECT ON tenants TO {db}_app; GRANT SELECT, INSERT, UPDATE, DELETE ON projects, tasks TO {db}_app;
