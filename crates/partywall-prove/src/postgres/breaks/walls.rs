//! Which walls there are to take down, and what takes each of them down.

use crate::postgres::{
    ground::Ground,
    one_session::OneSession,
    options::Adversary,
    schema::{Class, ForeignKey, Kind, Relation},
    sql::{ident, literal},
    stage::Who,
    tenancy::{Assume, Context},
};

use super::policy::{Command, Policy};

/// A wall, and how it falls.
#[derive(Debug)]
pub(super) struct Wall {
    pub(super) name: String,
    pub(super) scope: Scope,
    /// What is arranged first, and is no wall: without it the wall is not leaned on.
    pub(super) given: String,
    /// What takes it down.
    pub(super) down: String,
    /// Keys, foreign keys or relations are others afterwards.
    pub(super) changes_schema: bool,
    /// What stands behind it, where something does.
    pub(super) held_by: Option<String>,
}

/// Where it is attacked without the wall.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Scope {
    /// At one relation.
    Table(u32),
    /// At all of them.
    Everything,
    /// At what the application may call.
    Functions,
    /// At what a session says it is, on tables of that owner's where one is given.
    Session(Option<String>),
}

impl Wall {
    fn new(name: impl Into<String>, scope: Scope, down: impl Into<String>) -> Self {
        let (given, changes_schema, held_by) = (String::new(), false, None);
        Self { name: name.into(), scope, given, down: down.into(), changes_schema, held_by }
    }

    fn at(relation: &Relation, name: &str, down: impl Into<String>) -> Self {
        Self::new(format!("{name} {}", relation.place()), Scope::Table(relation.oid), down)
    }

    fn given(self, given: impl Into<String>) -> Self {
        Self { given: given.into(), ..self }
    }

    fn changing_the_schema(self) -> Self {
        Self { changes_schema: true, ..self }
    }

    fn held_by(self, by: Option<String>) -> Self {
        Self { held_by: by, ..self }
    }
}

/// What all walls are looked for in.
struct Site<'a> {
    stage: &'a OneSession,
    ground: &'a Ground,
    policies: &'a [Policy],
    roles: &'a [String],
}

/// All of them: each table's, then the role's, then our own.
pub(super) fn of(
    stage: &OneSession,
    ground: &Ground,
    policies: &[Policy],
    roles: &[String],
) -> Vec<Wall> {
    let site = Site { stage, ground, policies, roles };
    let mut walls = Vec::new();
    let relations = ground.schema.relations.iter();
    for relation in relations.filter(|r| !matches!(r.class, Class::Shared | Class::Undeclared)) {
        site.around(relation, &mut walls);
    }
    site.around_copies(&mut walls);
    site.around_the_role(&mut walls);
    site.around_tickets(&mut walls);
    walls
}

impl Site<'_> {
    /// The roles as a statement lists them.
    fn roles(&self) -> String {
        self.roles.iter().map(|role| ident(role)).collect::<Vec<_>>().join(", ")
    }

    fn is_superuser(&self) -> bool {
        matches!(self.stage.tenancy().assume, Assume::Session(_))
    }

    fn has_sql(&self) -> bool {
        self.ground.options.adversary == Adversary::SqlInjection
    }

    fn around(&self, relation: &Relation, walls: &mut Vec<Wall>) {
        let table = relation.quoted();
        if matches!(relation.class, Class::Schema(_)) {
            return self.around_schema(relation, walls);
        }
        if relation.kind == Kind::View {
            return self.around_view(relation, walls);
        }
        if !relation.is_table() {
            return;
        }
        if !relation.grants.any() {
            if self.ground.schema.is_partition(relation) {
                let behind = relation.row_security.0.then(|| "its own row security".to_owned());
                let down = format!("GRANT SELECT ON {table} TO {}", self.roles());
                walls.push(Wall::at(relation, "no rights to the part", down).held_by(behind));
            }
            return;
        }
        if relation.row_security.0 {
            let down = format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
            walls.push(Wall::at(relation, "row security on", down));
            self.around_owner(relation, walls);
            self.around_policies(relation, walls);
        }
        if self.has_sql() && !relation.grants.truncate {
            let down = format!("GRANT TRUNCATE ON {table} TO {}", self.roles());
            let behind = self.refers_to(relation).map(|other| {
                format!("{} refers to it, and may not be truncated either", other.place())
            });
            walls.push(Wall::at(relation, "no TRUNCATE on", down).held_by(behind));
        }
        self.around_keys(relation, walls);
    }

    /// A table that refers to `relation`, so that one is not emptied without the other.
    fn refers_to(&self, relation: &Relation) -> Option<&Relation> {
        self.ground.schema.relations.iter().find(|other| {
            let refers = other.foreign_keys.iter().any(|key| key.target == relation.oid);
            refers && other.oid != relation.oid && !other.grants.truncate
        })
    }

    fn around_owner(&self, relation: &Relation, walls: &mut Vec<Wall>) {
        let ([role], true) = (self.roles, relation.row_security.1) else { return };
        let table = relation.quoted();
        let down = format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY");
        let wall = Wall::at(relation, "FORCE, were the application the owner of", down);
        walls.push(wall.given(format!("ALTER TABLE {table} OWNER TO {}", ident(role))));
    }

    fn around_policies(&self, relation: &Relation, walls: &mut Vec<Wall>) {
        let (table, grants) = (relation.quoted(), relation.grants);
        let here: Vec<&Policy> =
            self.policies.iter().filter(|policy| policy.oid == relation.oid).collect();
        for policy in here.iter().filter(|policy| !policy.is_open()) {
            let reads = match policy.command {
                Command::All => grants.select || grants.update || grants.delete,
                Command::Select => grants.select,
                Command::Update => grants.update,
                Command::Delete => grants.delete,
                Command::Insert => false,
            };
            let writes = match policy.command {
                Command::All => grants.insert || grants.update,
                Command::Insert => grants.insert,
                Command::Update => grants.update,
                Command::Select | Command::Delete => false,
            };
            let behind = behind(policy, &here);
            let name = ident(&policy.name);
            let mut push = |what: &str, down: String| {
                let name = format!("{what} of policy {} on", policy.name);
                walls.push(Wall::at(relation, &name, down).held_by(behind.clone()));
            };
            if let Some(using) = policy.using.as_deref().filter(|text| *text != "true" && reads) {
                push("USING", format!("ALTER POLICY {name} ON {table} USING (true)"));
                for (what, opened) in self.worse(relation, using) {
                    push(what, format!("ALTER POLICY {name} ON {table} USING ({opened})"));
                }
            }
            // Without one, USING is taken.
            let check = policy.check.as_ref().or(policy.using.as_ref());
            if writes && check.is_some_and(|text| text != "true") {
                push("WITH CHECK", format!("ALTER POLICY {name} ON {table} WITH CHECK (true)"));
            }
            if policy.restrictive {
                let down = format!("DROP POLICY {name} ON {table}");
                let wall = Wall::at(relation, &format!("policy {} on", policy.name), down);
                walls.push(wall.held_by(behind.clone()));
            }
        }
        let restrictive = here.iter().find(|policy| policy.restrictive && !policy.is_open());
        let behind = restrictive.map(|policy| format!("the restrictive policy {}", policy.name));
        let down = format!("CREATE POLICY partywall_break ON {table} USING (true)");
        walls.push(Wall::at(relation, "no further policy on", down).held_by(behind));
    }

    /// A condition made worse: open when nothing is set, and by prefix.
    fn worse(&self, relation: &Relation, using: &str) -> Vec<(&'static str, String)> {
        let mut worse = Vec::new();
        let setting = match &self.stage.tenancy().context {
            Context::Settings(settings) => settings.first().map(|setting| {
                (setting.name.as_str(), setting.template == "{tenant}" && settings.len() == 1)
            }),
            Context::Ticket { .. } => Some(("partywall.ticket", false)),
            Context::Roles | Context::Schemas | Context::Nothing => None,
        };
        let Some((setting, is_tenant)) = setting else { return worse };
        let value = format!("nullif(pg_catalog.current_setting({}, true), '')", literal(setting));
        let name = "closed when unset: USING";
        worse.push((name, format!("CASE WHEN {value} IS NULL THEN true ELSE ({using}) END")));
        let prefix = {
            let (ours, theirs) = (self.ground.id(Who::Attacker), self.ground.id(Who::Victim));
            theirs.starts_with(ours)
        };
        if let (Some(column), true, true) = (relation.tenant_column(), is_tenant, prefix) {
            let column = ident(&column.name);
            let alike = format!("({using}) OR {column}::text LIKE {value} || '%'");
            worse.push(("the whole id compared: USING", alike));
        }
        worse
    }

    /// Keys and foreign keys that the tenant is part of.
    fn around_keys(&self, relation: &Relation, walls: &mut Vec<Wall>) {
        let Some(tenant) = relation.tenant_column().map(|column| column.name.as_str()) else {
            return;
        };
        let table = relation.quoted();
        if relation.kind == Kind::Table && (relation.grants.insert || relation.grants.update) {
            for key in relation.keys.iter().filter(|key| key.iter().any(|name| name == tenant)) {
                let others: Vec<&String> = key.iter().filter(|name| *name != tenant).collect();
                if others.is_empty() || self.is_alike(relation, &others) {
                    continue;
                }
                let down = unique(&table, &others);
                let name = format!("the tenant in key ({}) of", key.join(", "));
                walls.push(Wall::at(relation, &name, down).changing_the_schema());
            }
        }
        if relation.grants.insert {
            let keys = relation.foreign_keys.iter();
            walls.extend(keys.filter_map(|key| self.around_reference(relation, tenant, key)));
        }
    }

    fn around_reference(
        &self,
        relation: &Relation,
        tenant: &str,
        key: &ForeignKey,
    ) -> Option<Wall> {
        let target = self.ground.schema.relation(key.target)?;
        let pairs = key.columns.iter().zip(&key.target_columns);
        let (columns, to): (Vec<&String>, Vec<&String>) =
            pairs.filter(|(column, _)| *column != tenant).unzip();
        let composite = !columns.is_empty() && columns.len() < key.columns.len();
        let fits = composite
            && target.kind == Kind::Table
            && target.oid != relation.oid
            && matches!(target.class, Class::Tenant(_))
            && !self.is_alike(target, &to);
        if !fits {
            return None;
        }
        let known = target.keys.iter().any(|key| key.iter().collect::<Vec<_>>() == to);
        let index =
            if known { String::new() } else { format!("{}; ", unique(&target.quoted(), &to)) };
        let (table, name) = (relation.quoted(), ident(&key.name));
        let down = format!(
            "{index}ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {} ({})",
            list(&columns),
            target.quoted(),
            list(&to)
        );
        let name = format!("the tenant in foreign key {} of", key.name);
        Some(Wall::at(relation, &name, down).changing_the_schema())
    }

    /// Whether both tenants' rows have the same there: then no key without the tenant can be made.
    fn is_alike(&self, relation: &Relation, columns: &[&String]) -> bool {
        let row = |who| self.ground.row(relation, who);
        let (Some(ours), Some(theirs)) = (row(Who::Attacker), row(Who::Victim)) else {
            return false;
        };
        columns.iter().all(|column| ours.literals.get(*column) == theirs.literals.get(*column))
    }

    fn around_view(&self, relation: &Relation, walls: &mut Vec<Wall>) {
        if !self.is_superuser() || !relation.grants.select {
            return;
        }
        let view = relation.quoted();
        let invoker = match self.ground.schema.version {
            150_000.. => format!("ALTER VIEW {view} SET (security_invoker = false); "),
            _ => String::new(),
        };
        let down = format!("{invoker}ALTER VIEW {view} OWNER TO CURRENT_USER");
        walls.push(Wall::at(relation, "the rights that are asked for by view", down));
    }

    /// In a schema per tenant, the rights are the wall.
    fn around_schema(&self, relation: &Relation, walls: &mut Vec<Wall>) {
        let attacker = self.stage.tenant(Who::Attacker).and_then(|tenant| tenant.role.as_deref());
        let Some(role) = attacker.map(ident) else { return };
        if relation.is_table() {
            let (schema, table) = (ident(&relation.schema), relation.quoted());
            let down = format!(
                "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {table} TO {role}"
            );
            walls.push(Wall::at(relation, "another's role has no rights to", down));
        }
    }

    /// Copies that nothing walls. That the attacks see one is a matter of the attacks, not of the
    /// table: one table is enough.
    fn around_copies(&self, walls: &mut Vec<Wall>) {
        let both = |relation: &&Relation| {
            let row = |who| self.ground.row(relation, who).is_some();
            relation.grants.select && row(Who::Attacker) && row(Who::Victim)
        };
        let walled = self.ground.schema.tenant_relations().filter(|r| r.row_security.0);
        let Some(relation) = walled.filter(|r| r.is_table()).find(both) else { return };
        if !self.is_superuser() {
            return;
        }
        let (copy, table) =
            (format!("{}.partywall_break", ident(&relation.schema)), relation.quoted());
        let down = format!(
            "CREATE MATERIALIZED VIEW {copy} AS SELECT * FROM {table}; GRANT SELECT ON {copy} TO {}",
            self.roles()
        );
        walls.push(Wall::at(relation, "no materialized view of", down).changing_the_schema());
        let down = format!(
            "CREATE FUNCTION {copy}() RETURNS SETOF {table} LANGUAGE sql STABLE SECURITY DEFINER AS {}; GRANT EXECUTE ON FUNCTION {copy}() TO {}",
            literal(&format!("SELECT * FROM {table}")),
            self.roles()
        );
        let name = format!("no SECURITY DEFINER function over {}", relation.place());
        walls.push(Wall::new(name, Scope::Functions, down));
    }

    fn around_the_role(&self, walls: &mut Vec<Wall>) {
        let walled = || self.ground.schema.tenant_relations().filter(|r| r.row_security.0);
        if walled().next().is_none() {
            return;
        }
        for role in self.roles {
            let down = format!("ALTER ROLE {} BYPASSRLS", ident(role));
            walls.push(Wall::new(format!("no BYPASSRLS for {role}"), Scope::Everything, down));
        }
        let ([role], true) = (self.roles, self.has_sql()) else { return };
        let mut owners: Vec<&str> = walled().map(|relation| relation.owner.as_str()).collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners.into_iter().filter(|owner| owner != role) {
            let down = format!("GRANT {} TO {}", ident(owner), ident(role));
            let scope = Scope::Session(Some(owner.to_owned()));
            let name = format!("{role} is no member of {owner}, who owns tables");
            walls.push(Wall::new(name, scope, down));
        }
    }

    /// Our own: what a ticket proves, and that its key is nobody's.
    fn around_tickets(&self, walls: &mut Vec<Wall>) {
        if !matches!(self.stage.tenancy().context, Context::Ticket { .. }) || !self.has_sql() {
            return;
        }
        let name = "the proof in partywall.tenant_id()";
        walls.push(Wall::new(name, Scope::Session(None), BELIEVES_EVERY_TICKET));
        let down = format!("GRANT SELECT ON partywall.ticket_key TO {}", self.roles());
        walls.push(Wall::new("no rights to the ticket keys", Scope::Session(None), down));
    }
}

/// Reads the tenant out of a ticket as documented, and looks at nothing else in it.
const BELIEVES_EVERY_TICKET: &str = "
    CREATE OR REPLACE FUNCTION partywall.tenant_id() RETURNS text LANGUAGE plpgsql STABLE AS $$
    DECLARE
      ticket pg_catalog.bytea := pg_catalog.decode(pg_catalog.current_setting('partywall.ticket', true), 'hex');
    BEGIN
      RETURN pg_catalog.encode(pg_catalog.substr(ticket, 50, pg_catalog.get_byte(ticket, 48)), 'escape');
    END $$";

/// What holds when `policy` does not, at the same table.
fn behind(policy: &Policy, here: &[&Policy]) -> Option<String> {
    let others = || here.iter().filter(|other| other.name != policy.name && other.meets(policy));
    if let Some(other) = others().find(|other| other.restrictive && !other.is_open()) {
        return Some(format!("the restrictive policy {}", other.name));
    }
    // A restrictive one gone, the permissive ones may be narrow themselves.
    let mut permissive = others().filter(|other| !other.restrictive);
    let narrow = permissive.clone().all(|other| !other.is_open());
    let first = permissive.next()?;
    (policy.restrictive && narrow).then(|| format!("policy {}", first.name))
}

fn unique(table: &str, columns: &[&String]) -> String {
    format!("CREATE UNIQUE INDEX ON {table} ({})", list(columns))
}

fn list(columns: &[&String]) -> String {
    columns.iter().map(|column| ident(column)).collect::<Vec<_>>().join(", ")
}
