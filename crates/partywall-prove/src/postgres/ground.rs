//! The ground of a run: the schema, and a row of each tenant in every table, written the way the
//! application would write it.

use std::collections::BTreeMap;

use super::{
    discover::Policies,
    one_session::OneSession,
    options::{self, Options},
    remedy,
    schema::{Class, Relation, Schema},
    sql::{ident, typed},
    stage::{Answer, Gone, Refusal, Stage as _, Who},
    values,
};

/// The schema, the two tenants and their rows.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What there is.
    pub schema: Schema,
    /// What the run was told.
    pub options: Options,
    /// Other roles of the application that reach tenants' tables.
    pub beside: Vec<String>,
    /// Tenants' roles that reach into other tenants' schemas, and which.
    pub strays: Vec<(String, String)>,
    /// What stands for `{user}` in values, by tenant.
    pub users: BTreeMap<String, String>,
    /// What the row policies say.
    pub(crate) policies: Policies,
    /// The attacker's own schema, which nobody attacks.
    aside: Vec<Relation>,
    attacker: String,
    victim: String,
    rows: BTreeMap<(u32, String), Row>,
    variants: BTreeMap<u32, usize>,
    next: std::cell::Cell<u64>,
}

/// A row that is there, in SQL literals.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Row {
    /// By column; `NULL` where there is none.
    pub literals: BTreeMap<String, String>,
}

/// Why a tenant has no row in a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unseeded {
    /// The table.
    pub oid: u32,
    /// Whose row it would be.
    pub tenant: String,
    /// What happened.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// A tenant's rows that were not written by the application's role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrittenForIt {
    /// The table.
    pub oid: u32,
    /// Why the application's role could not.
    pub why: String,
}

impl Row {
    /// A condition that is true of this row and of no other row of another tenant.
    pub fn condition(&self, relation: &Relation) -> String {
        let known = |column: &String| self.literals.get(column).is_some_and(|text| text != "NULL");
        let key = relation.keys.iter().find(|key| key.iter().all(known));
        let columns: Vec<&String> = match key {
            Some(key) => key.iter().collect(),
            None => self.literals.keys().filter(|column| known(column)).collect(),
        };
        let conditions: Vec<String> = columns
            .iter()
            .filter_map(|column| {
                let value = self.literals.get(*column)?;
                // Whatever the type can be compared with, its text can.
                let comparable =
                    relation.column(column).is_some_and(|c| "SNUBDTE".contains(c.category));
                let column = ident(column);
                Some(if comparable {
                    format!("{column} = {value}")
                } else {
                    format!("{column}::text = {value}::text")
                })
            })
            .collect();
        if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
    }
}

impl Ground {
    /// Ground without rows. `seed` makes this run's values unlike those of another.
    pub fn new(schema: Schema, options: Options, attacker: &str, victim: &str, seed: u64) -> Self {
        let (attacker, victim) = (attacker.to_owned(), victim.to_owned());
        let next = std::cell::Cell::new(seed);
        let (rows, variants) = (BTreeMap::new(), BTreeMap::new());
        let (beside, strays, aside) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            schema,
            options,
            beside,
            strays,
            users: BTreeMap::new(),
            policies: Policies::default(),
            aside,
            attacker,
            victim,
            rows,
            variants,
            next,
        }
    }

    /// Changes sides, as [`OneSession::turn`] does.
    pub fn turn(&mut self) {
        std::mem::swap(&mut self.attacker, &mut self.victim);
        self.take_sides();
    }

    /// Where each tenant has a schema, leaves only the victim's to be attacked.
    pub fn take_sides(&mut self) {
        self.schema.relations.append(&mut self.aside);
        let own = Class::Schema(self.attacker.clone());
        let (aside, theirs) =
            std::mem::take(&mut self.schema.relations).into_iter().partition(|r| r.class == own);
        (self.aside, self.schema.relations) = (aside, theirs);
    }

    /// What `who` is called in the tenant column.
    pub fn id(&self, who: Who) -> &str {
        match who {
            Who::Attacker => &self.attacker,
            Who::Victim => &self.victim,
            Who::Nobody => "",
        }
    }

    /// A row of `who`'s in `relation`.
    pub fn row(&self, relation: &Relation, who: Who) -> Option<&Row> {
        self.rows.get(&(relation.oid, self.id(who).to_owned()))
    }

    /// Takes down a row that is there.
    pub fn put_row(&mut self, relation: u32, tenant: &str, row: Row) {
        self.rows.insert((relation, tenant.to_owned()), row);
    }

    /// `"tenant_id" = 'pw'::text`: true of `who`'s rows; true of all where nothing names a tenant.
    pub fn rows_of(&self, relation: &Relation, who: Who) -> String {
        match (&relation.class, relation.tenant_column()) {
            (Class::Schema(tenant), _) if tenant != self.id(who) => "false".to_owned(),
            (_, Some(column)) => {
                format!("{} = {}", ident(&column.name), typed(self.id(who), &column.type_name))
            }
            (_, None) => "true".to_owned(),
        }
    }

    /// The tenant column's value for `who`, as a literal.
    pub fn tenant_literal(&self, relation: &Relation, who: Who) -> Option<String> {
        let column = relation.tenant_column()?;
        Some(typed(self.id(who), &column.type_name))
    }

    /// `INSERT INTO …`: one more row of `who`'s, unlike any other, with `overrides` put in place
    /// of what would be made up. `None` when nothing can be made up for some column.
    pub fn insert(
        &self,
        relation: &Relation,
        who: Who,
        overrides: &[(&str, &str)],
    ) -> Option<String> {
        self.insert_as(relation, self.id(who), overrides)
    }

    /// The same for a tenant of any name.
    pub(crate) fn insert_as(
        &self,
        relation: &Relation,
        id: &str,
        overrides: &[(&str, &str)],
    ) -> Option<String> {
        let variant = self.variants.get(&relation.oid).copied().unwrap_or(0);
        self.insert_for(relation, id, variant, overrides).ok()
    }

    fn insert_for(
        &self,
        relation: &Relation,
        id: &str,
        variant: usize,
        overrides: &[(&str, &str)],
    ) -> Result<String, String> {
        let n = self.next.get().wrapping_add(0x9e37_79b9);
        self.next.set(n);
        let mut values: BTreeMap<&str, String> = BTreeMap::new();
        for key in &relation.foreign_keys {
            let parent = self
                .rows
                .get(&(key.target, id.to_owned()))
                .or_else(|| self.rows.get(&(key.target, String::new())))
                .filter(|_| key.target != relation.oid);
            let Some(parent) = parent else { continue };
            for (column, target) in key.columns.iter().zip(&key.target_columns) {
                if let Some(value) = parent.literals.get(target) {
                    values.insert(column, value.clone());
                }
            }
        }
        if let Some(column) = relation.tenant_column() {
            values.insert(&column.name, typed(id, &column.type_name));
        }
        for column in &relation.columns {
            let given = self.options.values.iter().find(|value| {
                value.column == column.name
                    && options::names(&value.table, &relation.schema, &relation.name)
            });
            if let Some(given) = given {
                let user = self.users.get(id).map_or(id, String::as_str);
                let value = given.expression.replace("{tenant}", id).replace("{user}", user);
                values.insert(&column.name, value);
            }
            let needs = column.not_null && !column.fills_itself;
            // A unique key tells of others only where there is something in it.
            let tells = !column.not_null
                && relation.keys.iter().any(|key| key.contains(&column.name))
                && !relation.foreign_keys.iter().any(|key| key.columns.contains(&column.name));
            let may = column.settable && !values.contains_key(column.name.as_str());
            if (needs || (tells && !column.fills_itself)) && may {
                match values::value(&self.schema, relation, column, variant, n) {
                    Some(made) => _ = values.insert(&column.name, made),
                    None if needs => return Err(format!("{}|{}", column.name, column.type_name)),
                    None => {}
                }
            }
        }
        for (column, value) in overrides {
            values.insert(column, (*value).to_owned());
        }
        // An identity that is ALWAYS generated can be the tenant's own id.
        let fixed = |name: &&str| relation.column(name).is_some_and(|column| !column.settable);
        let overriding = if values.keys().any(fixed) { "OVERRIDING SYSTEM VALUE " } else { "" };
        let columns: Vec<String> = values.keys().map(|name| ident(name)).collect();
        let literals: Vec<&str> = values.values().map(String::as_str).collect();
        let (table, columns, literals) =
            (relation.quoted(), columns.join(", "), literals.join(", "));
        Ok(if values.is_empty() {
            format!("INSERT INTO {table} DEFAULT VALUES")
        } else {
            format!("INSERT INTO {table} ({columns}) {overriding}VALUES ({literals})")
        })
    }

    /// Writes a row of each tenant into every table, parents first, as the application's role;
    /// where that may not write, as the connection's own.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn seed(
        &mut self,
        stage: &mut OneSession,
    ) -> Result<(Vec<Unseeded>, Vec<WrittenForIt>), Gone> {
        let (mut unseeded, mut for_it) = (Vec::new(), Vec::new());
        let relations: Vec<Relation> = self
            .schema
            .relations
            .iter()
            .filter(|r| r.is_table() && !self.schema.is_partition(r))
            .cloned()
            .collect();
        for relation in &relations {
            match relation.class {
                Class::Tenant(_) | Class::Schema(_) => {
                    for who in [Who::Attacker, Who::Victim] {
                        if self.may_have_rows(relation, who) {
                            self.seed_one(stage, relation, who, &mut unseeded, &mut for_it).await?;
                        }
                    }
                }
                // What tenants' rows may have to refer to.
                Class::Shared | Class::Undeclared => self.borrow_row(stage, relation).await?,
            }
        }
        // What a policy or a trigger looks up may have been written only after.
        for failed in std::mem::take(&mut unseeded) {
            let who =
                [Who::Attacker, Who::Victim].into_iter().find(|who| self.id(*who) == failed.tenant);
            if let (Some(who), Some(relation)) =
                (who, relations.iter().find(|r| r.oid == failed.oid))
            {
                self.seed_one(stage, relation, who, &mut unseeded, &mut for_it).await?;
            }
        }
        Ok((unseeded, for_it))
    }

    /// Whether `who` could have rows in it: not in another tenant's schema.
    fn may_have_rows(&self, relation: &Relation, who: Who) -> bool {
        !matches!(&relation.class, Class::Schema(tenant) if tenant != self.id(who))
    }

    async fn seed_one(
        &mut self,
        stage: &mut OneSession,
        relation: &Relation,
        who: Who,
        unseeded: &mut Vec<Unseeded>,
        for_it: &mut Vec<WrittenForIt>,
    ) -> Result<(), Gone> {
        let id = self.id(who).to_owned();
        let capture = capture(relation);
        // What was prepared or is there need not be written.
        if self.options.setup.is_some() || self.options.tenants.is_some() {
            let found = self.read_back(stage, relation, who, &capture, false).await?;
            if let Answer::Done(done) = &found
                && let Some(values) = done.rows.first()
            {
                self.put_row(relation.oid, &id, read(relation, values));
                return Ok(());
            }
        }
        let place = relation.place();
        let mut why = String::new();
        let mut fix = format!(
            "give a value with --value {place}.COLUMN=EXPRESSION, or name two tenants that have rows with --tenants A,B"
        );
        for variant in 0..values::VARIANTS {
            let insert = match self.insert_for(relation, &id, variant, &[]) {
                Ok(insert) => insert,
                Err(column) => {
                    let (column, type_name) = column.split_once('|').unwrap_or((&column, ""));
                    why = format!("no value is known for column {column} of type {type_name}");
                    break;
                }
            };
            let answer = self.write(stage, relation, who, &insert, &capture, for_it).await?;
            match answer {
                Ok(row) => {
                    self.variants.insert(relation.oid, variant);
                    self.put_row(relation.oid, &id, row);
                    return Ok(());
                }
                Err(refusal) => {
                    // Another value may pass a check or a type; nothing else becomes better.
                    let again = matches!(refusal.code.as_str(), "23514" | "23505" | "23P01")
                        || refusal.code.starts_with("22");
                    fix = remedy::to_write(&refusal, &place);
                    why = refusal.to_string();
                    if !again {
                        break;
                    }
                }
            }
        }
        unseeded.push(Unseeded { oid: relation.oid, tenant: id, why, fix });
        Ok(())
    }

    async fn write(
        &self,
        stage: &mut OneSession,
        relation: &Relation,
        who: Who,
        insert: &str,
        capture: &str,
        for_it: &mut Vec<WrittenForIt>,
    ) -> Result<Result<Row, Refusal>, Gone> {
        // RETURNING reads, which a wall may not allow where it allows to write.
        let returning = format!("{insert} RETURNING {capture}");
        let mut answer = stage.keep(who, &returning).await?;
        if let Answer::Refused(refusal) = &answer
            && refusal.is_denial()
        {
            answer = match stage.keep(who, insert).await? {
                Answer::Done(_) => self.read_back(stage, relation, who, capture, false).await?,
                Answer::Refused(refusal) if refusal.is_denial() && stage.has_own_role() => {
                    let answer = self.write_for_it(stage, relation, who, &returning).await?;
                    if matches!(answer, Answer::Done(_)) {
                        let (oid, why) = (relation.oid, refusal.to_string());
                        for_it.push(WrittenForIt { oid, why });
                    }
                    answer
                }
                refused => refused,
            };
        }
        Ok(match answer {
            Answer::Done(done) => match done.rows.first() {
                Some(values) => Ok(read(relation, values)),
                None => Err(Refusal {
                    code: "02000".to_owned(),
                    message: "the row that was written cannot be read back by its own tenant: a policy, a rule or a trigger takes it away".to_owned(),
                }),
            },
            Answer::Refused(refusal) => Err(refusal),
        })
    }

    /// Writes a row that the application may not: as the table's owner, so that its triggers and
    /// defaults run with the rights of whoever put them there; else as the connection's own role,
    /// without its triggers where that is a superuser.
    async fn write_for_it(
        &self,
        stage: &mut OneSession,
        relation: &Relation,
        who: Who,
        returning: &str,
    ) -> Result<Answer, Gone> {
        let bind = match who {
            Who::Nobody => String::new(),
            Who::Attacker | Who::Victim => stage.tenancy().bind(self.id(who)),
        };
        stage.keep_for(&relation.owner, &format!("{bind}{returning}")).await
    }

    async fn read_back(
        &self,
        stage: &mut OneSession,
        relation: &Relation,
        who: Who,
        capture: &str,
        as_self: bool,
    ) -> Result<Answer, Gone> {
        let sql = format!(
            "SELECT {capture} FROM {} WHERE {} LIMIT 1",
            relation.quoted(),
            self.rows_of(relation, who)
        );
        if as_self { stage.keep_as_self(&sql).await } else { stage.attempt(who, &sql).await }
    }

    /// Finds a row of a table that nobody owns, or writes one.
    async fn borrow_row(
        &mut self,
        stage: &mut OneSession,
        relation: &Relation,
    ) -> Result<(), Gone> {
        let capture = capture(relation);
        let read_it = format!("SELECT {capture} FROM {} LIMIT 1", relation.quoted());
        let mut answer = stage.attempt(Who::Attacker, &read_it).await?;
        // As its owner: a type's cast to text is code of whoever made the type.
        if answer.count() == 0 && stage.has_own_role() {
            answer = stage.keep_for(&relation.owner, &read_it).await?;
        }
        if answer.count() == 0
            && !self.options.read_only
            && let Ok(insert) = self.insert_for(relation, "", 0, &[])
        {
            let insert = format!("{insert} RETURNING {capture}");
            answer = stage.keep(Who::Attacker, &insert).await?;
            if answer.count() == 0 && stage.has_own_role() {
                answer = self.write_for_it(stage, relation, Who::Nobody, &insert).await?;
            }
        }
        if let Answer::Done(done) = &answer
            && let Some(values) = done.rows.first()
        {
            self.put_row(relation.oid, "", read(relation, values));
        }
        Ok(())
    }

    /// Finds a row of each tenant in every table, writing nothing.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn find(&mut self, stage: &mut OneSession) -> Result<Vec<Unseeded>, Gone> {
        let mut unseeded = Vec::new();
        let relations: Vec<Relation> = self
            .schema
            .tenant_relations()
            .filter(|relation| relation.grants.select)
            .cloned()
            .collect();
        for relation in &relations {
            let capture = capture(relation);
            for who in [Who::Attacker, Who::Victim] {
                if !self.may_have_rows(relation, who) {
                    continue;
                }
                let answer = self.read_back(stage, relation, who, &capture, false).await?;
                let tenant = self.id(who).to_owned();
                match &answer {
                    Answer::Done(done) if !done.rows.is_empty() => {
                        let row = done.rows.first().map(|values| read(relation, values));
                        self.put_row(relation.oid, &tenant, row.unwrap_or_default());
                    }
                    answer => {
                        let why =
                            format!("the tenant's own session finds no row of its own ({answer})");
                        let fix = "name tenants that have rows in this table with --tenants A,B"
                            .to_owned();
                        unseeded.push(Unseeded { oid: relation.oid, tenant, why, fix });
                    }
                }
            }
        }
        Ok(unseeded)
    }
}

/// The columns of a relation as literals, in order.
pub(crate) fn capture(relation: &Relation) -> String {
    let columns: Vec<String> = relation
        .columns
        .iter()
        .map(|column| format!("pg_catalog.quote_nullable({}::text)", ident(&column.name)))
        .collect();
    columns.join(", ")
}

/// The row that [`capture`] gave.
pub(crate) fn read(relation: &Relation, values: &[Option<String>]) -> Row {
    let literals = relation
        .columns
        .iter()
        .zip(values)
        .map(|(column, value)| {
            let literal = match value.as_deref() {
                None | Some("NULL") => "NULL".to_owned(),
                Some(quoted) => format!("{quoted}::{}", column.type_name),
            };
            (column.name.clone(), literal)
        })
        .collect();
    Row { literals }
}
