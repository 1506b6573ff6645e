-- The same project with organisations: a user is of those that memberships name, and what a row names
-- is the organisation. Run after supabase.sql.
CREATE TABLE public.organizations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL);
CREATE TABLE public.memberships (
  user_id uuid NOT NULL REFERENCES auth.users,
  org_id uuid NOT NULL REFERENCES public.organizations,
  role text NOT NULL CHECK (role IN ('owner', 'member')),
  PRIMARY KEY (user_id, org_id)
);
CREATE TABLE public.documents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  org_id uuid NOT NULL REFERENCES public.organizations,
  title text NOT NULL
);
CREATE FUNCTION private.my_orgs() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = '' AS
  $$ SELECT org_id FROM public.memberships WHERE user_id = (SELECT auth.uid()) $$;
REVOKE EXECUTE ON FUNCTION private.my_orgs() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION private.my_orgs() TO {db}_authenticated;
GRANT SELECT ON public.organizations, public.memberships TO {db}_authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.documents TO {db}_authenticated;
ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.documents ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Own organisations" ON public.organizations FOR SELECT TO {db}_authenticated
  USING (id IN (SELECT private.my_orgs()));
CREATE POLICY "Fellow members" ON public.memberships FOR SELECT TO {db}_authenticated
  USING (org_id IN (SELECT private.my_orgs()));
CREATE POLICY "Documents of one's organisations" ON public.documents TO {db}_authenticated
  USING (org_id IN (SELECT private.my_orgs())) WITH CHECK (org_id IN (SELECT private.my_orgs()));
