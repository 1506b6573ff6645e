//! The handle: one tenant's transaction.

use std::sync::Arc;

use partywall::TenantId;
use rusqlite::{Row, Statement, types::Value};

use crate::{
    Error, Params,
    names::uses_reserved,
    store::{Shared, Turn, Walled},
};

/// One tenant's transaction, from [`open`](partywall::TenantContext::open) to
/// [`commit`](partywall::Scoped::commit). Dropping it undoes its writes.
///
/// SQL names the tables plainly and knows no tenant id:
///
/// ```no_run
/// # use partywall::Scoped;
/// # use partywall_sqlite::{Error, Sqlite};
/// # async fn pay(mut db: Scoped<Sqlite>, id: &str) -> Result<(), Error> {
/// let due: Option<i64> = db
///     .query_optional("SELECT cents FROM invoices WHERE id = ?1 AND NOT paid", (id,), |row| row.get(0))
///     .await?;
/// if due.is_some() {
///     db.execute("UPDATE invoices SET paid = 1 WHERE id = ?1", (id,)).await?;
/// }
/// db.commit().await
/// # }
/// ```
///
/// A call that is cancelled (its future dropped) ends the transaction: nothing of it lasts.
pub struct TenantTransaction {
    tenant: TenantId,
    open: Option<Open>,
    store: Arc<Shared>,
}

/// A transaction under way. Fields are dropped in order: the turn is given up when it is over.
struct Open {
    walled: Walled,
    _turn: Turn,
}

impl TenantTransaction {
    pub(crate) fn new(walled: Walled, store: Arc<Shared>, turn: Turn) -> Self {
        let tenant = walled.watch.tenant().clone();
        Self { tenant, open: Some(Open { walled, _turn: turn }), store }
    }

    /// Every row of a query, each mapped by `map`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the SQL reaches beyond the tenant's own tables,
    /// [`Error::ForeignRow`] when a row of another tenant came up, and whatever SQLite says. Then
    /// no row is returned, also none of those before.
    pub async fn query<T, F>(
        &mut self,
        sql: &str,
        params: impl Params,
        map: F,
    ) -> Result<Vec<T>, Error>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.rows(sql, params, usize::MAX, map).await
    }

    /// The only row of a query.
    ///
    /// # Errors
    ///
    /// [`Error::NoRow`], [`Error::TooManyRows`], and as for [`query`](Self::query).
    pub async fn query_one<T, F>(
        &mut self,
        sql: &str,
        params: impl Params,
        map: F,
    ) -> Result<T, Error>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let found = self.query_optional(sql, params, map).await?;
        found.ok_or_else(|| Error::NoRow { tenant: self.tenant.clone() })
    }

    /// The only row of a query, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyRows`], and as for [`query`](Self::query).
    pub async fn query_optional<T, F>(
        &mut self,
        sql: &str,
        params: impl Params,
        map: F,
    ) -> Result<Option<T>, Error>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let mut rows = self.rows(sql, params, 2, map).await?;
        let row = rows.pop();
        match rows.is_empty() {
            true => Ok(row),
            false => Err(Error::TooManyRows { tenant: self.tenant.clone() }),
        }
    }

    /// Runs an `INSERT`, `UPDATE` or `DELETE`, and says how many of the tenant's rows it changed.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query).
    pub async fn execute(&mut self, sql: &str, params: impl Params) -> Result<u64, Error> {
        let (sql, params) = (sql.to_owned(), params.into_values()?);
        self.run(move |walled| {
            walled.statement(&sql, params, |statement| statement.raw_execute())?;
            Ok(walled.watch.changed())
        })
        .await
    }

    async fn rows<T, F>(
        &mut self,
        sql: &str,
        params: impl Params,
        most: usize,
        mut map: F,
    ) -> Result<Vec<T>, Error>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (sql, params) = (sql.to_owned(), params.into_values()?);
        self.run(move |walled| {
            walled.statement(&sql, params, |statement| {
                let (mut rows, mut mapped) = (statement.raw_query(), Vec::new());
                while mapped.len() < most
                    && let Some(row) = rows.next()?
                {
                    mapped.push(map(row)?);
                }
                Ok(mapped)
            })
        })
        .await
    }

    /// Lends the connection to a thread that may block. It comes back only while its transaction
    /// still stands.
    async fn run<T, F>(&mut self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&Walled) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let open = self.take()?;
        let work = tokio::task::spawn_blocking(move || {
            let done = work(&open.walled);
            (open, done)
        });
        // A panic in the caller's `map` took the connection with it.
        let Ok((open, done)) = work.await else { return Err(self.closed()) };
        if !matches!(done, Err(Error::ForeignRow { .. } | Error::Unwitnessed { .. }))
            && open.walled.in_transaction()
        {
            self.open = Some(open);
        }
        done
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let (open, store) = (self.take()?, Arc::clone(&self.store));
        let commit = tokio::task::spawn_blocking(move || {
            open.walled.commit()?;
            store.keep(open.walled);
            Ok(())
        });
        commit.await.unwrap_or_else(|_| Err(self.closed()))
    }

    #[cfg(test)]
    pub(crate) fn into_walled(mut self) -> Option<Walled> {
        self.open.take().map(|open| open.walled)
    }

    fn take(&mut self) -> Result<Open, Error> {
        self.open.take().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> Error {
        Error::Closed { tenant: self.tenant.clone() }
    }
}

impl Drop for TenantTransaction {
    fn drop(&mut self) {
        if let Some(open) = self.open.take()
            && open.walled.rollback().is_ok()
        {
            self.store.keep(open.walled);
        }
    }
}

impl std::fmt::Debug for TenantTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantTransaction").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Walled {
    /// Runs one statement of the tenant's and looks at what came of it.
    fn statement<T>(
        &self,
        sql: &str,
        params: Vec<Value>,
        run: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let (watch, limit) = (&self.watch, self.statement_timeout);
        if uses_reserved(sql) {
            return Err(Error::ReservedName { tenant: watch.tenant().clone() });
        }
        watch.start(limit);
        let done = self.db.prepare_cached(sql).and_then(|mut statement| {
            if watch.last().unwitnessed().is_some() {
                statement.discard();
                return Ok(None);
            }
            let (given, wanted) = (params.len(), statement.parameter_count());
            if given != wanted {
                return Err(rusqlite::Error::InvalidParameterCount(given, wanted));
            }
            for (index, value) in (1..).zip(params) {
                statement.raw_bind_parameter(index, value)?;
            }
            run(&mut statement).map(Some)
        });
        watch.stop();
        let done = done.map_err(|error| Error::of_statement(watch, limit, error))?;
        let mut last = watch.last();
        let tenant = watch.tenant();
        if let Some(foreign) = last.foreign.take() {
            return Err(Error::foreign_row(tenant, foreign));
        }
        done.ok_or_else(|| {
            let view = last.unwitnessed().cloned().unwrap_or_default();
            tracing::error!(tenant.id = %tenant, view, decision = "deny", "a view without a witness");
            Error::Unwitnessed { tenant: tenant.clone(), view }
        })
    }
}
