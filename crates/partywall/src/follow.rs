//! Keeping up with where bundles come from.

use std::time::{Duration, Instant};

use crate::{
    Partywall,
    bundle::{BundleSource, SourceError},
    wall::Accepted,
};

impl Partywall {
    /// Keeps up with `source` for as long as it is polled, and never ends by itself.
    ///
    /// While the source is out of reach or sends what is refused, the last good bundle stays in
    /// force; attempts are spread out with jitter, so that a thousand enforcement points do not
    /// come back in one instant. The metric `partywall_bundle_age_seconds` is set every two
    /// seconds, whatever the source does.
    pub async fn follow(&self, source: &impl BundleSource) {
        tokio::join!(self.keep_up(source), self.tell_age());
    }

    async fn keep_up(&self, source: &impl BundleSource) {
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let pause = match self.round(source).await {
                Ok(news) => {
                    failures = 0;
                    let nothing = jittered(source.pause());
                    let pace = if news { nothing.min(PACE) } else { nothing };
                    pace.saturating_sub(began.elapsed())
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    // What was refused has been counted as that.
                    if !matches!(error, SourceError::Refused(_)) {
                        metrics::counter!("partywall_bundle_source_errors_total").increment(1);
                    }
                    tracing::warn!(
                        failures,
                        error = &error as &dyn std::error::Error,
                        "the bundle source failed; the last good bundle stays in force"
                    );
                    backoff(failures)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn tell_age(&self) {
        loop {
            if let Some(age) = self.bundle_age() {
                metrics::gauge!("partywall_bundle_age_seconds").set(age.as_secs_f64());
            }
            tokio::time::sleep(AGE_EVERY).await;
        }
    }

    /// Asks `source` once, and takes what it has.
    ///
    /// It asks for the full bundle where what came before was refused, or could not be kept on
    /// disk, or has become a long chain of deltas.
    ///
    /// # Errors
    ///
    /// When the source fails, and when what it sends is refused.
    pub async fn catch_up(&self, source: &impl BundleSource) -> Result<(), SourceError> {
        self.round(source).await.map(|_| ())
    }

    /// As [`catch_up`](Self::catch_up); says whether there was anything newer.
    async fn round(&self, source: &impl BundleSource) -> Result<bool, SourceError> {
        let wall = self.clone();
        // Somebody who takes a bundle this moment holds the keeper until it is on disk.
        let after = blocking(move || {
            let in_full = wall.keeper().asks_in_full(Instant::now());
            wall.generation().filter(|_| !in_full)
        })
        .await?;
        let Some(bytes) = source.next(after).await? else { return Ok(false) };
        let wall = self.clone();
        // Hashing, reading and writing many megabytes is no task for a runtime's worker.
        let taken = blocking(move || {
            let taken = wall.take(&bytes);
            if taken.is_err() && after.is_some() {
                wall.keeper().doubt();
            }
            taken
        });
        Ok(matches!(taken.await??, Accepted::Newer(_)))
    }
}

/// Rounds that bring something begin at least so far apart: what changes in between comes at once.
const PACE: Duration = Duration::from_secs(1);
const AGE_EVERY: Duration = Duration::from_secs(2);

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(SourceError::Interrupted)
}

/// Half a second, doubling to half a minute, with jitter.
fn backoff(failures: u32) -> Duration {
    jittered(Duration::from_millis(500) * 2_u32.pow(failures.min(7)).min(60))
}

/// Anywhere between half and all of it.
fn jittered(full: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness we merely wait for all of it.
    let part = match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => u32::from(random[0]),
        Err(_) => 255,
    };
    full / 2 + full / 2 * part / 255
}
