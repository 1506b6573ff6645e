//! The pool: who gets which session, and what is done to it in between.
//!
//! The rule everything here serves: *a session that has run statements for one tenant is never
//! used for another before it was scrubbed, and a session whose state is not known is closed*.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicU32},
    time::{Duration, Instant},
};

use partywall::{Target, TenantId};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    door::{Door, Greeted, greet},
    error::PostgresError,
    login::{CredentialSource, Login},
    session::SCRUB,
    ticket::ServerClock,
    wire::{DriverError, Wire},
};

/// Sessions at one target.
pub(crate) struct Pool<W: Wire>(Arc<Shared<W>>);

/// Who logs in.
pub(crate) enum Logins {
    /// Pool: any session serves any tenant, each backend slot under a role of its own.
    Slots {
        /// One per session.
        logins: Vec<Login>,
        /// May set a slot's password again after somebody changed it (P1).
        control: Option<Login>,
        /// The database all share.
        database: String,
    },
    /// Bridge and silo: a session serves the tenant whose login opened it.
    PerTenant {
        /// Each tenant's own.
        source: Arc<dyn CredentialSource>,
        /// Where each tenant's data is.
        place: Arc<dyn Fn(&TenantId) -> Place + Send + Sync>,
    },
}

/// Where a tenant's data is on a shared server.
pub(crate) struct Place {
    pub(crate) database: String,
    /// The tenant's own schema, when it shares the database.
    pub(crate) schema: Option<String>,
}

/// How many, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) acquire: Duration,
    pub(crate) connect: Duration,
    pub(crate) cleanup: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) clock_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 16,
            acquire: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            cleanup: Duration::from_secs(2),
            lifetime: Duration::from_secs(30 * 60),
            clock_age: Duration::from_secs(30),
        }
    }
}

/// What a pool is made of.
pub(crate) struct PoolParts {
    pub(crate) target: Target,
    pub(crate) server: PgConnectOptions,
    pub(crate) logins: Logins,
    pub(crate) settings: Pins,
    pub(crate) limits: Limits,
}

/// What start-up options say about the way to the server.
pub(crate) enum Pins {
    /// Straight to the server: every session's settings are pinned.
    Direct(crate::session::SessionSettings),
    /// Through a transaction pooler, which has the server's sessions in its own hands.
    ThroughPooler,
}

struct Shared<W: Wire> {
    parts: PoolParts,
    permits: Arc<Semaphore>,
    state: Mutex<State<W>>,
    major: AtomicU32,
}

struct State<W: Wire> {
    /// Least recently used first.
    idle: VecDeque<Session<W>>,
    /// Slots nobody is connected as.
    free: Vec<Slot>,
    /// Sessions open, idle or in use.
    open: usize,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    index: usize,
    /// The backend last connected under this login. However the connection went, the backend may
    /// still be at work, and is ended before the login is used again.
    backend: Option<i32>,
}

impl<W: Wire> Pool<W> {
    pub(crate) fn new(parts: PoolParts) -> Self {
        let slots = match &parts.logins {
            Logins::Slots { logins, .. } => logins.len(),
            Logins::PerTenant { .. } => 0,
        };
        let sessions = if slots > 0 { slots } else { parts.limits.sessions };
        let free = (0..slots).rev().map(|index| Slot { index, backend: None }).collect();
        let state = State { idle: VecDeque::new(), free, open: 0, closed: false };
        let permits = Arc::new(Semaphore::new(sessions));
        Self(Arc::new(Shared {
            parts,
            permits,
            state: Mutex::new(state),
            major: AtomicU32::new(0),
        }))
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0.parts.target
    }

    /// The roles of the slots.
    pub(crate) fn roles(&self) -> Vec<String> {
        match &self.0.parts.logins {
            Logins::Slots { logins, .. } => logins.iter().map(|l| l.role().to_owned()).collect(),
            Logins::PerTenant { .. } => Vec::new(),
        }
    }

    /// A session for `tenant`, free of every other tenant's residue.
    pub(crate) async fn acquire(&self, tenant: &TenantId) -> Result<Lease<W>, PostgresError> {
        let limit = self.0.parts.limits.acquire;
        let turn = self.0.permits.clone().acquire_owned();
        let permit = match tokio::time::timeout(limit, turn).await {
            Ok(permit) => permit.map_err(|_closed| PostgresError::Closed)?,
            Err(_) => {
                let target = self.target().clone();
                return Err(PostgresError::PoolTimedOut { target, waited: limit });
            }
        };
        self.0.clone().lend(tenant, permit).await
    }

    /// Ends idle sessions, and every other when it is returned; opens no more.
    pub(crate) async fn close(&self) {
        self.0.permits.close();
        let idle = {
            let mut state = self.0.state();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for session in idle {
            session.close().await;
        }
    }

    /// How many sessions are open, and how many of them are idle.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.open, state.idle.len())
    }
}

impl<W: Wire> Clone for Pool<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Wire> Shared<W> {
    async fn lend(
        self: Arc<Self>,
        tenant: &TenantId,
        permit: OwnedSemaphorePermit,
    ) -> Result<Lease<W>, PostgresError> {
        let limit = self.parts.limits.cleanup;
        let mut lease =
            Lease { session: None, permit: Some(permit), pool: self.clone(), ended: End::Unknown };
        loop {
            let Some(session) = self.take_idle(tenant) else {
                lease.session = Some(self.connect(tenant).await?);
                return Ok(lease);
            };
            // From here on a dropped future gives the session to the cleaner.
            let session = lease.session.insert(session);
            if session.residue.is_foreign_to(tenant) {
                let scrubbed = tokio::time::timeout(limit, session.scrub()).await;
                if !matches!(scrubbed, Ok(Ok(()))) {
                    drop(lease.session.take());
                    continue;
                }
            }
            session.residue = Residue::Of(tenant.clone());
            session.reused = true;
            return Ok(lease);
        }
    }

    /// Prefers a session this tenant used last: it needs no scrub and has its plans.
    fn take_idle(&self, tenant: &TenantId) -> Option<Session<W>> {
        loop {
            // The guard is gone before a session is dropped, whose seat locks the state again.
            let session = {
                let mut state = self.state();
                let same = |s: &Session<W>| matches!(&s.residue, Residue::Of(t) if t == tenant);
                let clean = |s: &Session<W>| matches!(s.residue, Residue::None);
                let found = state.idle.iter().rposition(same);
                let found = match &self.parts.logins {
                    Logins::PerTenant { .. } => found,
                    Logins::Slots { .. } => found
                        .or_else(|| state.idle.iter().rposition(clean))
                        .or((!state.idle.is_empty()).then_some(0)),
                };
                state.idle.remove(found?)?
            };
            if session.born.elapsed() < self.parts.limits.lifetime {
                return Some(session);
            }
        }
    }

    async fn connect(self: &Arc<Self>, tenant: &TenantId) -> Result<Session<W>, PostgresError> {
        let mut seat = self.take_seat();
        let limit = self.parts.limits.connect;
        let (login, place, control) = match &self.parts.logins {
            Logins::Slots { logins, control, database } => {
                let login = seat.slot.and_then(|slot| logins.get(slot.index)).cloned();
                // The permits are as many as the slots, so there always is one.
                let login = login.ok_or(PostgresError::Closed)?;
                (login, Place { database: database.clone(), schema: None }, control.as_ref())
            }
            Logins::PerTenant { source, place } => {
                let login = source.login(tenant).map_err(|source| PostgresError::Credentials {
                    target: self.parts.target.clone(),
                    source,
                })?;
                (login, place(tenant), None)
            }
        };
        let role = login.role().to_owned();
        let failed = |source| PostgresError::Connect {
            target: self.parts.target.clone(),
            role: role.clone(),
            database: place.database.clone(),
            source,
        };
        let door = Door { parts: &self.parts, login: &login, place: &place, major: &self.major };
        let opening = async {
            let opened = match door.open::<W>().await {
                Err(error) if error.code().as_deref() == Some("28P01") && control.is_some() => {
                    door.restore_password::<W>(control).await?;
                    door.open::<W>().await?
                }
                opened => opened?,
            };
            door.settle_in(opened, seat.slot.and_then(|slot| slot.backend)).await
        };
        let opened = tokio::time::timeout(limit, opening).await;
        let greeted = opened.unwrap_or(Err(DriverError::TimedOut { limit })).map_err(failed)?;
        let Greeted { wire, pid, clock, straight, too_powerful } = greeted;
        if let (Some(slot), Pins::Direct(_)) = (&mut seat.slot, &self.parts.settings) {
            // A pooler's backends are its own to end, and serve others by then.
            slot.backend = Some(pid);
        }
        let target = || self.parts.target.clone();
        if !straight {
            return Err(PostgresError::PoolerInBetween { target: target() });
        }
        if too_powerful {
            return Err(PostgresError::TooPowerful { target: target(), role });
        }
        let residue = Residue::Of(tenant.clone());
        Ok(Session {
            wire,
            seat,
            pid,
            clock,
            born: Instant::now(),
            residue,
            reused: false,
            challenged: false,
        })
    }

    /// Counts one more open session, closing the least recently used when there are too many.
    fn take_seat(self: &Arc<Self>) -> Seat<W> {
        let (seat, evicted) = {
            let mut state = self.state();
            let evicted = match self.parts.logins {
                Logins::PerTenant { .. } if state.open >= self.parts.limits.sessions => {
                    state.idle.pop_front()
                }
                _ => None,
            };
            state.open += 1;
            (Seat { slot: state.free.pop(), pool: Arc::downgrade(self) }, evicted)
        };
        drop(evicted);
        seat
    }

    /// Takes a session back: off the request's path, within a time limit, or not at all.
    async fn take_back(
        self: Arc<Self>,
        mut session: Session<W>,
        permit: OwnedSemaphorePermit,
        ended: End,
    ) {
        let limits = &self.parts.limits;
        let tidied =
            tokio::time::timeout(limits.cleanup, session.tidy(ended, limits.clock_age)).await;
        if matches!(self.parts.settings, Pins::ThroughPooler) {
            session.residue = Residue::None;
        }
        if !matches!(tidied, Ok(Ok(()))) {
            drop(session);
        } else if session.born.elapsed() >= limits.lifetime {
            session.close().await;
        } else if let Some(session) = self.put_idle(session) {
            session.close().await;
        } else if self.permits.available_permits() > 0 {
            self.keep_one_clean().await;
        }
        drop(permit);
    }

    /// Gives the session back when the pool is closed.
    fn put_idle(&self, session: Session<W>) -> Option<Session<W>> {
        let mut state = self.state();
        if state.closed {
            return Some(session);
        }
        state.idle.push_back(session);
        None
    }

    /// So that a tenant nobody has served yet finds a scrubbed session waiting.
    async fn keep_one_clean(&self) {
        if matches!(self.parts.logins, Logins::PerTenant { .. }) {
            return;
        }
        let oldest = {
            let mut state = self.state();
            let clean = state.idle.iter().any(|s| matches!(s.residue, Residue::None));
            if clean || state.idle.len() < 2 {
                return;
            }
            state.idle.pop_front()
        };
        let Some(mut session) = oldest else { return };
        let scrubbed = tokio::time::timeout(self.parts.limits.cleanup, session.scrub()).await;
        if matches!(scrubbed, Ok(Ok(()))) {
            drop(self.put_idle(session));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        // Nothing under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection and what is known about it.
///
/// Dropping it closes the connection without a goodbye, also when the runtime ends in the middle
/// of tidying up; see [`Slot`] for what may go on at the server's side.
pub(crate) struct Session<W: Wire> {
    pub(crate) wire: W,
    /// Behind the connection, so that it is given up after it.
    seat: Seat<W>,
    /// The backend's process id; of the last challenge, when a pooler is in between.
    pub(crate) pid: i32,
    pub(crate) clock: ServerClock,
    born: Instant,
    residue: Residue,
    reused: bool,
    /// A transaction the driver does not know of may be open.
    pub(crate) challenged: bool,
}

/// Whose traces a session may hold.
enum Residue {
    None,
    Of(TenantId),
}

impl Residue {
    fn is_foreign_to(&self, tenant: &TenantId) -> bool {
        matches!(self, Self::Of(other) if other != tenant)
    }
}

/// How a transaction ended, as far as we saw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Committed, every answer read.
    Committed,
    /// Dropped, cancelled, failed: anything may be on the wire.
    Unknown,
}

impl<W: Wire> Session<W> {
    /// Rolls back what is open. When it is not known where the conversation stands, asks a
    /// question only this session can answer, and believes nothing else.
    ///
    /// After a commit whose every answer was read there is nothing to wait for, unless the clock
    /// was read too long ago: the session is free for the next request at once.
    async fn tidy(&mut self, ended: End, clock_age: Duration) -> Result<(), DriverError> {
        match ended {
            End::Committed => self.wire.end_chained().await?,
            End::Unknown => self.wire.settle().await?,
        }
        if std::mem::take(&mut self.challenged) {
            self.wire.ask("ROLLBACK".to_owned()).await?;
        }
        if ended == End::Unknown || self.clock.age() > clock_age {
            let greeting = greet(&mut self.wire, "").await?;
            if greeting.pid != self.pid && self.straight() {
                return Err(DriverError::OutOfStep);
            }
            self.clock = greeting.clock;
        }
        Ok(())
    }

    /// Whether `pid` is this session's own: no pooler hands out backends.
    pub(crate) fn straight(&self) -> bool {
        self.seat.pool.upgrade().is_some_and(|p| matches!(p.parts.settings, Pins::Direct(_)))
    }

    /// Removes every trace of the tenant before.
    async fn scrub(&mut self) -> Result<(), DriverError> {
        self.wire.forget_statements().await?;
        let greeting = greet(&mut self.wire, SCRUB).await?;
        if greeting.pid != self.pid && self.straight() {
            return Err(DriverError::OutOfStep);
        }
        self.clock = greeting.clock;
        self.residue = Residue::None;
        Ok(())
    }

    async fn close(self) {
        let Self { wire, seat, .. } = self;
        wire.close().await;
        drop(seat);
    }
}

/// A place among the sessions; given back when dropped, to the end of the queue.
struct Seat<W: Wire> {
    slot: Option<Slot>,
    pool: Weak<Shared<W>>,
}

impl<W: Wire> Drop for Seat<W> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut state = pool.state();
            state.open = state.open.saturating_sub(1);
            if let Some(slot) = self.slot {
                state.free.insert(0, slot);
            }
        }
    }
}

/// A session lent to one tenant. However it is dropped, the session is cleaned or closed.
pub(crate) struct Lease<W: Wire> {
    session: Option<Session<W>>,
    permit: Option<OwnedSemaphorePermit>,
    pool: Arc<Shared<W>>,
    ended: End,
}

impl<W: Wire> Lease<W> {
    /// The session. There is one from [`Pool::acquire`] to [`Lease::discard`].
    pub(crate) fn session(&mut self) -> Result<&mut Session<W>, DriverError> {
        self.session.as_mut().ok_or(DriverError::OutOfStep)
    }

    /// The connection of a lease that [`Pool::acquire`] returned.
    #[expect(
        clippy::expect_used,
        reason = "acquire() fills it, and only what consumes the lease empties it"
    )]
    pub(crate) fn wire(&self) -> &W {
        &self.session.as_ref().expect("a lease holds its session until it is dropped").wire
    }

    /// The same, to run statements on.
    #[expect(
        clippy::expect_used,
        reason = "acquire() fills it, and only what consumes the lease empties it"
    )]
    pub(crate) fn wire_mut(&mut self) -> &mut W {
        &mut self.session.as_mut().expect("a lease holds its session until it is dropped").wire
    }

    /// Whether the session was open before this lease.
    pub(crate) fn reused(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.reused)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.pool.parts.target
    }

    /// Says that the transaction was committed and every answer read.
    pub(crate) fn committed(&mut self) {
        self.ended = End::Committed;
    }

    /// Says that another transaction is under way.
    pub(crate) fn under_way(&mut self) {
        self.ended = End::Unknown;
    }

    /// Closes the session at once.
    pub(crate) fn discard(mut self) {
        drop(self.session.take());
    }
}

impl<W: Wire> Drop for Lease<W> {
    fn drop(&mut self) {
        let (Some(session), Some(permit)) = (self.session.take(), self.permit.take()) else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                drop(runtime.spawn(self.pool.clone().take_back(session, permit, self.ended)));
            }
            // Nobody is left to clean up.
            Err(_) => drop(session),
        }
    }
}
