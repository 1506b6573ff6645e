//! What is looked at: the tables with a tenant in them, and the roles of the application.

use sqlx::{FromRow, PgConnection, postgres::PgRow, postgres::types::Oid};

use super::{
    Finding, LintError, LintReport, Options, RuntimeRole, TenantTable,
    tables::{Table, find},
};
use crate::{Exception, Note};

/// The connection, and what every question is about.
///
/// Questions get the tenant tables as `$1` (oids) and their tenant columns as `$2` (names, in the
/// same order), the runtime roles that row security holds as `$3` (oids), the schemas looked at
/// as `$4` (oids).
pub(super) struct Scope<'c> {
    connection: &'c mut PgConnection,
    pub(super) version: i32,
    server: String,
    pub(super) database: String,
    looked_as: String,
    pub(super) tables: Vec<Table>,
    /// Tables without a tenant column that nobody declared.
    pub(super) undeclared: Vec<Table>,
    pub(super) roles: Vec<Role>,
    schemas: Vec<Oid>,
    pub(super) notes: Vec<Note>,
}

/// A role the application logs in as.
#[derive(Debug, FromRow)]
pub(super) struct Role {
    pub(super) oid: Oid,
    pub(super) name: String,
    pub(super) superuser: bool,
    pub(super) bypasses: bool,
    /// Found by its grants.
    pub(super) guessed: bool,
}

impl Role {
    /// Row security has no say over it, and grants little: that is said once.
    pub(super) fn is_beyond_walls(&self) -> bool {
        self.superuser
    }
}

impl<'c> Scope<'c> {
    /// Finds the tables and roles.
    pub(super) async fn read(
        connection: &'c mut PgConnection,
        options: &Options,
    ) -> Result<Self, LintError> {
        let mut scope = Self {
            connection,
            version: 0,
            server: String::new(),
            database: String::new(),
            looked_as: String::new(),
            tables: Vec::new(),
            undeclared: Vec::new(),
            roles: Vec::new(),
            schemas: Vec::new(),
            notes: Vec::new(),
        };
        let (version, server, database, looked_as): (i32, String, String, String) = scope
            .one("the server", "SELECT current_setting('server_version_num')::int4,
                 split_part(current_setting('server_version'), ' ', 1), current_database()::text, current_user::text")
            .await?;
        (scope.version, scope.server) = (version, server);
        (scope.database, scope.looked_as) = (database, looked_as);
        if version < 130_000 {
            return Err(LintError::TooOld { major: version / 10_000 });
        }
        scope.schemas = scope.find_schemas(&options.schemas).await?;
        (scope.tables, scope.undeclared) = find(&mut scope, options).await?;
        scope.roles = scope.find_roles(&options.roles).await?;
        super::tables::read_grants(&mut scope).await?;
        scope.say_who();
        Ok(scope)
    }

    /// Asks a question and takes all answers.
    pub(super) async fn ask<T>(
        &mut self,
        about: &'static str,
        sql: &'static str,
    ) -> Result<Vec<T>, LintError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let tables: Vec<Oid> = self.tables.iter().map(|table| table.oid).collect();
        let columns: Vec<&str> = self.tables.iter().map(|table| &*table.column).collect();
        let held = self.roles.iter().filter(|role| !role.is_beyond_walls());
        let roles: Vec<Oid> = held.map(|role| role.oid).collect();
        sqlx::query_as::<_, T>(sql)
            .persistent(false)
            .bind(tables)
            .bind(columns)
            .bind(roles)
            .bind(&self.schemas)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(|source| LintError::Unanswered { about, source })
    }

    /// Asks a question that has one answer.
    pub(super) async fn one<T>(
        &mut self,
        about: &'static str,
        sql: &'static str,
    ) -> Result<T, LintError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let answers = self.ask(about, sql).await?;
        let none = || LintError::Unanswered { about, source: sqlx::Error::RowNotFound };
        answers.into_iter().next().ok_or_else(none)
    }

    /// Takes down what was left out or taken for granted.
    pub(super) fn note(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.notes.push(Note { place: place.into(), text: text.into() });
    }

    /// The tenant table with this oid.
    pub(super) fn table(&self, oid: Oid) -> Option<&Table> {
        self.tables.iter().find(|table| table.oid == oid)
    }

    /// Closes the account.
    pub(super) fn report(self, findings: Vec<Finding>, accepted: &[Exception]) -> LintReport {
        let tables = self.tables.into_iter().map(|table| TenantTable {
            name: table.name,
            column: table.column,
            guessed: table.guessed,
        });
        let roles = self
            .roles
            .into_iter()
            .map(|role| RuntimeRole { name: role.name, guessed: role.guessed });
        let mut report = LintReport {
            database: self.database,
            server: self.server,
            looked_as: self.looked_as,
            tables: tables.collect(),
            roles: roles.collect(),
            findings: Vec::new(),
            notes: self.notes,
        };
        report.add(findings);
        report.accept(accepted);
        report
    }

    async fn find_schemas(&mut self, named: &[String]) -> Result<Vec<Oid>, LintError> {
        let all: Vec<(Oid, String)> = self
            .ask(
                "schemas",
                "SELECT oid, nspname::text FROM pg_namespace
                  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname",
            )
            .await?;
        if let Some(missing) = named.iter().find(|name| !all.iter().any(|(_, is)| is == *name)) {
            return Err(LintError::NotThere { kind: "schema", name: missing.clone() });
        }
        let wanted = |name: &String| named.is_empty() || named.contains(name);
        Ok(all.into_iter().filter(|(_, name)| wanted(name)).map(|(oid, _)| oid).collect())
    }

    async fn find_roles(&mut self, named: &[String]) -> Result<Vec<Role>, LintError> {
        if named.is_empty() {
            return self.guess_roles().await;
        }
        let mut all: Vec<Role> = self
            .ask(
                "roles",
                "SELECT oid, rolname::text AS name, rolsuper AS superuser, rolbypassrls AS bypasses, false AS guessed
                   FROM pg_roles ORDER BY rolname",
            )
            .await?;
        if let Some(missing) = named.iter().find(|name| !all.iter().any(|r| r.name == **name)) {
            return Err(LintError::NotThere { kind: "role", name: missing.clone() });
        }
        all.retain(|role| named.contains(&role.name));
        Ok(all)
    }

    /// Every login that is not superuser and has a right on a tenant table. One that has it as the
    /// table's owner counts only when there is no other: then the application has no other, too.
    async fn guess_roles(&mut self) -> Result<Vec<Role>, LintError> {
        #[derive(FromRow)]
        struct Guess {
            #[sqlx(flatten)]
            role: Role,
            granted: bool,
        }
        let guesses: Vec<Guess> = self.ask("roles", GUESS_ROLES).await?;
        let any_granted = guesses.iter().any(|guess| guess.granted);
        for owner in guesses.iter().filter(|guess| any_granted && !guess.granted) {
            let text = "reaches tenant tables as their owner, and was taken for the role of migrations; name it with --role if the application uses it";
            self.note(format!("role {}", owner.role.name), text);
        }
        let taken = guesses.into_iter().filter(|guess| guess.granted || !any_granted);
        Ok(taken.map(|guess| guess.role).collect())
    }

    fn say_who(&mut self) {
        if self.roles.is_empty() {
            self.note(
                "roles",
                "no login but superusers has any right on a tenant table: what depends on the application's role was not looked at; name it with --role",
            );
        } else if self.roles.iter().any(|role| role.guessed) {
            let text = "taken for the application's by their rights on tenant tables; name them with --role";
            self.note("roles", text);
        }
        if self.tables.is_empty() {
            self.note(
                "tables",
                "no table with a tenant column was found: name one with --tenant-column TABLE:COLUMN",
            );
        }
    }
}

const GUESS_ROLES: &str = "
WITH acl AS (
  SELECT c.oid, c.relowner, a.grantee FROM pg_class c,
         aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a WHERE c.oid = ANY ($1)
  UNION ALL
  SELECT c.oid, c.relowner, a.grantee FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid,
         aclexplode(t.attacl) AS a WHERE c.oid = ANY ($1))
SELECT r.oid, r.rolname::text AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypasses, true AS guessed,
       bool_or(acl.grantee <> acl.relowner
           AND (acl.grantee = 0 OR pg_has_role(r.oid, acl.grantee, 'MEMBER'))
           AND NOT pg_has_role(r.oid, acl.relowner, 'MEMBER')) AS granted
  FROM pg_roles r CROSS JOIN acl
 WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname !~ '^pg_'
   AND (acl.grantee = 0 OR pg_has_role(r.oid, acl.grantee, 'MEMBER'))
 GROUP BY 1, 2, 3, 4 ORDER BY 2";
