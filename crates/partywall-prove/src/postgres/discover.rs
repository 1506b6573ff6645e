//! Finding out, from the row policies themselves, which column names the tenant and what a session
//! sets to be one.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    options::{self, Options, Setting},
    schema::{Class, Kind, Schema, text},
    sql::literals_in,
    stage::{Gone, Session},
};

/// What the row policies of a database say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    /// Every row policy.
    pub policies: Vec<Policy>,
    /// The bodies of the functions they call, by name.
    functions: BTreeMap<String, String>,
}

/// A row policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The table.
    pub oid: u32,
    /// The roles it is for; empty for all.
    pub roles: Vec<String>,
    /// USING and WITH CHECK, as the server prints them.
    pub expressions: Vec<String>,
    /// The table's columns it looks at.
    pub columns: Vec<String>,
}

/// Column names that usually name a tenant, the surest first.
const USUAL: &[&str] = &[
    "tenant_id",
    "tenant",
    "org_id",
    "organization_id",
    "organisation_id",
    "account_id",
    "workspace_id",
    "company_id",
    "team_id",
];

/// Whether a column of that name usually names a tenant.
pub(crate) fn is_usual(column: &str) -> bool {
    USUAL.contains(&column)
}

const POLICIES: &str = "
    SELECT p.polrelid,
           (SELECT string_agg(r.rolname, E'\\x01') FROM pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles)),
           coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), ''),
           coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), ''),
           (SELECT string_agg(DISTINCT a.attname, E'\\x01')
              FROM pg_catalog.pg_depend d
              JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid
               AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = p.polrelid
               AND d.refobjsubid > 0)
      FROM pg_catalog.pg_policy p ORDER BY p.polrelid, p.polname";

/// Functions that are not the server's own, with their bodies. From PostgreSQL 14 on, the body of
/// an SQL-standard function is not in prosrc.
const FUNCTIONS: &str = "
    SELECT n.nspname, p.proname,
           CASE WHEN coalesce(p.prosrc, '') <> '' THEN p.prosrc
                ELSE pg_catalog.pg_get_functiondef(p.oid) END
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE n.nspname !~ '^(pg_|information_schema$)' AND p.prokind = 'f'
       AND l.lanname IN ('sql', 'plpgsql')";

impl Policies {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When the catalogues cannot be read.
    pub(crate) async fn read(session: &mut Session) -> Result<Self, Gone> {
        let list = |text: String| -> Vec<String> {
            text.split('\u{1}').filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let policies = session
            .all(POLICIES)
            .await?
            .iter()
            .map(|row| Policy {
                oid: text(row, 0).parse().unwrap_or_default(),
                roles: list(text(row, 1)),
                expressions: [text(row, 2), text(row, 3)]
                    .into_iter()
                    .filter(|expression| !expression.is_empty())
                    .collect(),
                columns: list(text(row, 4)),
            })
            .collect();
        let mut functions = BTreeMap::new();
        for row in session.all(FUNCTIONS).await? {
            let (schema, name, body) = (text(&row, 0), text(&row, 1), text(&row, 2));
            functions.entry(format!("{schema}.{name}")).or_insert_with(|| body.clone());
            functions.entry(name).or_insert(body);
        }
        Ok(Self { policies, functions })
    }

    /// Everything a policy says, its functions' bodies included.
    fn texts(&self) -> Vec<String> {
        self.texts_of(|_| true)
    }

    /// What the policies of one table say, their functions' bodies included.
    pub(crate) fn of_table(&self, oid: u32) -> Vec<String> {
        self.texts_of(|policy| policy.oid == oid)
    }

    fn texts_of(&self, which: impl Fn(&Policy) -> bool) -> Vec<String> {
        let mut texts: Vec<String> = self
            .policies
            .iter()
            .filter(|policy| which(policy))
            .flat_map(|policy| policy.expressions.iter().cloned())
            .collect();
        let mut seen = BTreeSet::new();
        let mut at = 0;
        while let Some(text) = texts.get(at).cloned() {
            at += 1;
            for name in calls(&text) {
                if let Some(body) = self.functions.get(&name)
                    && seen.insert(name)
                {
                    texts.push(body.clone());
                }
            }
        }
        texts
    }

    /// The settings the policies read to learn which tenant it is.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let texts = self.texts();
        let mut settings: Vec<Setting> = Vec::new();
        let paths: BTreeSet<Vec<String>> = texts.iter().flat_map(|text| json_paths(text)).collect();
        for text in &texts {
            for (name, is_json) in settings_in(text) {
                let template = if is_json && !paths.is_empty() {
                    json_of(&paths)
                } else {
                    "{tenant}".to_owned()
                };
                match settings.iter_mut().find(|setting| setting.name == name) {
                    Some(known) if is_json => known.template = template,
                    Some(_) => {}
                    None => settings.push(Setting { name, template }),
                }
            }
        }
        settings
    }

    /// The functions that the policies of one table call, and those that these call: `shop.me`.
    pub(crate) fn functions_of(&self, oid: u32) -> BTreeSet<String> {
        let texts = self.of_table(oid);
        let called = texts.iter().flat_map(|text| calls(text));
        called.filter(|name| name.contains('.') && self.functions.contains_key(name)).collect()
    }

    /// Every setting that the policies of one table read, the server's own included.
    pub(crate) fn settings_of(&self, oid: u32) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for text in self.of_table(oid) {
            for (at, _) in text.match_indices("current_setting(") {
                let rest = text.get(at..).unwrap_or_default();
                names.extend(literals_in(rest).into_iter().next());
            }
        }
        names
    }

    /// The columns that a table's policies look at.
    pub(crate) fn columns_of(&self, oid: u32) -> BTreeSet<&str> {
        let own = self.policies.iter().filter(|policy| policy.oid == oid);
        own.flat_map(|policy| &policy.columns).map(String::as_str).collect()
    }

    /// Whether they go by the role itself.
    pub(crate) fn go_by_role(&self) -> bool {
        let says = |text: &String| {
            let text = text.to_ascii_lowercase();
            ["current_user", "session_user", "current_role"].iter().any(|word| text.contains(word))
        };
        self.texts().iter().any(says)
    }

    /// How many policies are for the role by name.
    pub(crate) fn count_for(&self, role: &str) -> usize {
        self.policies.iter().filter(|policy| policy.roles.iter().any(|name| name == role)).count()
    }
}

/// Says of each relation whose rows it holds; returns what was guessed, as notes.
pub(crate) fn classify(
    schema: &mut Schema,
    policies: &Policies,
    options: &Options,
) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    let compared = compared_columns(schema, policies);
    // The column most tables of this database have.
    // One that is a table's key says nothing about other tables: each has an `id`.
    let is_key = |oid: &u32, column: &String| {
        schema
            .relation(*oid)
            .is_some_and(|r| r.keys.iter().any(|key| key == std::slice::from_ref(column)))
    };
    let usual: Vec<String> = compared
        .iter()
        .filter(|(oid, column)| !is_key(oid, column))
        .map(|(_, column)| column.clone())
        .chain(USUAL.iter().map(|name| (*name).to_owned()))
        .collect();
    for relation in &mut schema.relations {
        if matches!(relation.class, Class::Schema(_)) {
            continue;
        }
        let told = options.tenant_columns.iter().find(|told| {
            options::names(&told.table, &relation.schema, &relation.name)
                && relation.column(&told.column).is_some()
        });
        let shared = options
            .shared
            .iter()
            .any(|pattern| options::names(pattern, &relation.schema, &relation.name));
        relation.class = if shared {
            Class::Shared
        } else if let Some(told) = told {
            Class::Tenant(told.column.clone())
        } else if let Some(column) = compared.get(&relation.oid) {
            Class::Tenant(column.clone())
        } else if let Some(column) = usual.iter().find(|name| relation.column(name).is_some()) {
            let text = format!(
                "taken for a tenant's rows by its column {column}; say otherwise with --tenant-column or --shared"
            );
            notes.push((relation.place(), text));
            Class::Tenant(column.clone())
        } else {
            let compared = policies.columns_of(relation.oid);
            if compared.len() > 1 {
                let text = format!(
                    "its policies look at several columns ({}): name the tenant's with --tenant-column",
                    compared.into_iter().collect::<Vec<_>>().join(", ")
                );
                notes.push((relation.place(), text));
            }
            Class::Undeclared
        };
    }
    name_the_roots(schema, options, &mut notes);
    follow_the_parents(schema);
    notes
}

/// What a partition holds goes by its parent, however little is written on the partition itself.
fn follow_the_parents(schema: &mut Schema) {
    let known: BTreeMap<u32, Class> =
        schema.relations.iter().map(|relation| (relation.oid, relation.class.clone())).collect();
    for relation in schema.relations.iter_mut().filter(|r| r.class == Class::Undeclared) {
        if let Some(class) = relation.parent.and_then(|parent| known.get(&parent)) {
            relation.class = class.clone();
        }
    }
}

/// The table that tenant columns refer to is the table of tenants; its rows are each tenant's own.
fn name_the_roots(schema: &mut Schema, options: &Options, notes: &mut Vec<(String, String)>) {
    let roots: BTreeMap<u32, String> = schema
        .tenant_relations()
        .flat_map(|relation| {
            let column = relation.tenant_column().map(|column| column.name.clone());
            relation.foreign_keys.iter().filter_map(move |key| match key.columns.as_slice() {
                [only] if Some(only) == column.as_ref() => {
                    Some((key.target, key.target_columns.first()?.clone()))
                }
                _ => None,
            })
        })
        .collect();
    for relation in schema.relations.iter_mut().filter(|r| r.class == Class::Undeclared) {
        let told =
            options.shared.iter().any(|p| options::names(p, &relation.schema, &relation.name));
        if let Some(column) = roots.get(&relation.oid).filter(|_| !told) {
            let text =
                format!("taken for the table of tenants: tenant columns refer to its {column}");
            notes.push((relation.place(), text));
            relation.class = Class::Tenant(column.clone());
        }
    }
}

/// The one column that each table's policies compare.
fn compared_columns(schema: &Schema, policies: &Policies) -> BTreeMap<u32, String> {
    let mut compared = BTreeMap::new();
    for relation in
        schema.relations.iter().filter(|r| matches!(r.kind, Kind::Table | Kind::Partitioned))
    {
        let columns = policies.columns_of(relation.oid);
        let usual = USUAL.iter().find(|usual| columns.contains(**usual));
        let found = usual.map(|usual| (*usual).to_owned()).or_else(|| match columns.len() {
            1 => columns.first().map(|column| (*column).to_owned()),
            _ => None,
        });
        if let Some(column) = found {
            compared.insert(relation.oid, column);
        }
    }
    compared
}

/// The names of functions that an expression or a body calls, with and without a schema.
fn calls(text: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '"';
    text.match_indices('(')
        .filter_map(|(at, _)| {
            let before = text.get(..at)?;
            let start = before.char_indices().rev().take_while(|(_, c)| word(*c)).last()?.0;
            let name = before.get(start..)?.replace('"', "");
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

/// The settings a text reads with `current_setting('name'…`, and whether each is taken for JSON.
fn settings_in(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("current_setting(") {
        let Some(rest) = text.get(at..) else { continue };
        let Some(name) =
            literals_in(rest.get(..rest.len().min(200)).unwrap_or(rest)).into_iter().next()
        else {
            continue;
        };
        let named =
            name.ends_with("claims") || name.ends_with("jwt") || name == "request.jwt.claim";
        // Settings of the server's own say nothing about a tenant.
        if name.contains('.') {
            found.push((name, named));
        }
    }
    found
}

/// The paths that a text takes into JSON: `->> 'sub'`, `-> 'app_metadata' ->> 'org'`.
fn json_paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("->") {
        let after = rest.get(at + 2..).unwrap_or_default();
        let (last, after) = match after.strip_prefix('>') {
            Some(after) => (true, after),
            None => (false, after),
        };
        let key = after.trim_start().strip_prefix('\'').and_then(|quoted| quoted.split_once('\''));
        match key {
            Some((key, tail)) => {
                path.push(key.to_owned());
                rest = tail;
                if last {
                    paths.push(std::mem::take(&mut path));
                }
            }
            None => {
                path.clear();
                rest = after;
            }
        }
    }
    paths
}

/// A JSON object with the tenant at every path.
fn json_of(paths: &BTreeSet<Vec<String>>) -> String {
    let mut object = serde_json::Value::Object(serde_json::Map::new());
    for path in paths {
        let mut at = &mut object;
        for key in path {
            if !at.is_object() {
                *at = serde_json::Value::Object(serde_json::Map::new());
            }
            let serde_json::Value::Object(map) = at else { break };
            at = map.entry(key.clone()).or_insert(serde_json::Value::Null);
        }
        if at.is_null() {
            // Who sends requests as which role is no tenant.
            let value = match path.as_slice() {
                [only] if only == "role" => "{role}",
                [only] if only == "aud" => "authenticated",
                _ => "{tenant}",
            };
            *at = serde_json::Value::String(value.to_owned());
        }
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_expressions() {
        let text = "(tenant_id = NULLIF(current_setting('app.tenant'::text, true), ''::text))";
        assert_eq!(settings_in(text), [("app.tenant".to_owned(), false)]);
        assert!(settings_in("current_setting('server_version')").is_empty());
        assert_eq!(calls("(a = ( SELECT auth.uid() AS uid))"), ["auth.uid"]);
    }

    #[test]
    fn claims_are_put_together_from_the_paths_into_them() {
        let text = "((current_setting('request.jwt.claims'::text, true))::json ->> 'sub'::text) \
                    and auth.jwt() -> 'app_metadata'::text ->> 'org'::text";
        let paths: BTreeSet<_> = json_paths(text).into_iter().collect();
        assert_eq!(json_of(&paths), r#"{"app_metadata":{"org":"{tenant}"},"sub":"{tenant}"}"#);
    }
}
