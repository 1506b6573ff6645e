-- Claims in a setting, roles per kind of caller, no FORCE; with a check left open, a view with its owner's
-- rights and a function that runs as the superuser.
CREATE ROLE {db}_anon NOLOGIN; CREATE ROLE {db}_authenticated NOLOGIN; CREATE ROLE {db}_authenticator LOGIN NOINHERIT; GRANT {db}_anon, {db}_authenticated TO {db}_authenticator;
CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO {db}_anon, {db}_authenticated;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
CREATE FUNCTION auth.uid() RETURNS uuid STABLE LANGUAGE sql AS $$ SELECT (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
CREATE FUNCTION auth.jwt() RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
CREATE TABLE public.profiles (id uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE, name text);
CREATE TABLE public.teams (id uuid PRIMARY KEY, name text);
CREATE TABLE public.members (team_id uuid NOT NULL REFERENCES teams, user_id uuid NOT NULL, PRIMARY KEY (team_id, user_id));
CREATE TABLE public.posts (id uuid PRIMARY KEY, team_id uuid NOT NULL REFERENCES teams, user_id uuid NOT NULL, body text, public boolean NOT NULL DEFAULT false);
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY; ALTER TABLE teams ENABLE ROW LEVEL SECURITY; ALTER TABLE members ENABLE ROW LEVEL SECURITY; ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON profiles FOR ALL TO {db}_authenticated USING (id = auth.uid()) WITH CHECK (id = auth.uid());
CREATE POLICY mine ON teams FOR SELECT TO {db}_authenticated USING (id IN (SELECT team_id FROM members WHERE user_id = auth.uid()));
CREATE POLICY mine ON members FOR SELECT TO {db}_authenticated USING (user_id = auth.uid());
CREATE POLICY team ON posts FOR SELECT TO {db}_authenticated USING (team_id IN (SELECT team_id FROM members WHERE user_id = auth.uid()) OR public);
CREATE POLICY write ON posts FOR INSERT TO {db}_authenticated WITH CHECK (user_id = auth.uid());
CREATE POLICY change ON posts FOR UPDATE TO {db}_authenticated USING (user_id = auth.uid()) WITH CHECK (true);
CREATE VIEW public.recent AS SELECT * FROM posts;
CREATE FUNCTION public.purge() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM posts';
GRANT ALL ON ALL TABLES IN SCHEMA public TO {db}_anon, {db}_authenticated;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {db}_anon, {db}_authenticated;
