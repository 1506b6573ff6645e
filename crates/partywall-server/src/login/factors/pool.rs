//! Threads for work that is slow on purpose. Hashing a password takes tens of milliseconds of a
//! core; done among requests, a few hundred sign-ins would stop everything else. Here it has
//! threads of its own, a queue with an end, and turns that go round by tenant: one tenant's storm
//! waits behind itself (I-38, T-13).

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

/// The threads, and what waits for them.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts `threads` threads. A share may have `per_share` jobs waiting, all together `in_all`.
    pub(crate) fn start(threads: usize, per_share: usize, in_all: usize) -> std::io::Result<Self> {
        let waiting = Waiting { per_share, in_all, ..Waiting::default() };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), more: Condvar::new() });
        let pool = Self { shared };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(format!("hash-{number}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Runs `job` when it is the turn of `share`, and returns what it returns: now whether it will,
    /// and the rest when it has.
    ///
    /// # Errors
    ///
    /// When too much waits already.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        share: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Running<T>, Busy> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked has gone: nothing is worth doing for nobody.
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        });
        self.shared.lock().admit(share, job)?;
        self.shared.more.notify_one();
        Ok(Running(answered))
    }
}

/// A job that waits for its turn, or runs. Dropped before its turn, it never does.
pub(crate) struct Running<T>(oneshot::Receiver<T>);

impl<T> Future for Running<T> {
    type Output = Result<T, Busy>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answered| answered.map_err(|_| Busy))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_all();
    }
}

/// Too much waits; it will pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many sign-ins wait for this tenant or for all: try again in a few seconds")]
pub(crate) struct Busy;

impl Busy {
    /// When to come again.
    pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(3);
}

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A job that panicked did so outside the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.next() {
                drop(waiting);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                waiting = self.lock();
            } else if waiting.closed {
                return;
            } else {
                waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[derive(Default)]
struct Waiting {
    /// The shares that have something waiting, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    jobs: HashMap<Arc<str>, VecDeque<Job>>,
    count: usize,
    per_share: usize,
    in_all: usize,
    closed: bool,
}

impl Waiting {
    fn admit(&mut self, share: &str, job: Job) -> Result<(), Busy> {
        if self.closed || self.count >= self.in_all {
            return Err(Busy);
        }
        match self.jobs.get_mut(share) {
            Some(own) if own.len() >= self.per_share => return Err(Busy),
            Some(own) => own.push_back(job),
            None => {
                let share: Arc<str> = share.into();
                self.jobs.insert(Arc::clone(&share), VecDeque::from([job]));
                self.turns.push_back(share);
            }
        }
        self.count += 1;
        Ok(())
    }

    /// One job of the share whose turn it is, which then waits behind the others.
    fn next(&mut self) -> Option<Job> {
        let share = self.turns.pop_front()?;
        let own = self.jobs.get_mut(&share)?;
        let job = own.pop_front();
        if own.is_empty() {
            self.jobs.remove(&share);
        } else {
            self.turns.push_back(share);
        }
        self.count = self.count.saturating_sub(1);
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Keeps the one thread busy until told to go on. Once this returns, nothing waits.
    async fn hold(
        pool: &Arc<Pool>,
        share: &'static str,
    ) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (go, held) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let pool = Arc::clone(pool);
        let holding = tokio::spawn(async move {
            let job = move || {
                begun.send(()).unwrap();
                held.recv().unwrap();
            };
            pool.run(share, job).unwrap().await.unwrap();
        });
        has_begun.await.unwrap();
        (go, holding)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i38_a_storm_of_one_tenant_waits_behind_itself() {
        let pool = Arc::new(Pool::start(1, 100, 1_000).unwrap());
        let (go, holding) = hold(&pool, "storm").await;
        let (done, order) = mpsc::channel();
        let mut all = tokio::task::JoinSet::new();
        for share in std::iter::repeat_n("storm", 50).chain(["calm", "other"]) {
            let (pool_of, done) = (Arc::clone(&pool), done.clone());
            let waiting = pool.shared.lock().count;
            all.spawn(async move { pool_of.run(share, move || done.send(share)).unwrap().await });
            while pool.shared.lock().count == waiting {
                tokio::task::yield_now().await;
            }
        }
        go.send(()).unwrap();
        holding.await.unwrap();
        all.join_all().await;
        let order: Vec<_> = order.try_iter().collect();
        // First come, first served would have let them wait behind all fifty.
        let place = |share| order.iter().position(|served| *served == share).unwrap();
        assert!(place("calm") <= 2 && place("other") <= 3, "{order:?}");
        assert_eq!(order.len(), 52);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i38_a_share_has_an_end_and_others_are_heard_all_the_same() {
        let pool = Arc::new(Pool::start(1, 2, 4).unwrap());
        let (go, holding) = hold(&pool, "a").await;
        let mut all = tokio::task::JoinSet::new();
        for share in ["a", "a", "b", "b"] {
            let pool = Arc::clone(&pool);
            all.spawn(async move { pool.run(share, || ()).unwrap().await });
        }
        while pool.shared.lock().count < 4 {
            tokio::task::yield_now().await;
        }
        assert!(pool.run("a", || ()).is_err(), "its share is full");
        assert!(pool.run("c", || ()).is_err(), "everything is full");
        go.send(()).unwrap();
        holding.await.unwrap();
        assert!(all.join_all().await.into_iter().all(|ran| ran.is_ok()));
        assert_eq!(pool.run("c", || 7).unwrap().await, Ok(7));
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_nothing_with_it() {
        let pool = Pool::start(1, 1, 1).unwrap();
        assert_eq!(pool.run("a", || panic!("on purpose")).unwrap().await, Err::<(), _>(Busy));
        assert_eq!(pool.run("a", || 1).unwrap().await, Ok(1));
    }
}
