//! The chain from the last full bundle to what is in force, and when to begin a new one.

use std::time::{Duration, Instant};

use super::{BundleFiles, Generation, KeeperError, Loaded, Sizes};
use crate::bundle::Bundle;

/// Keeps each bundle that is put in force, and knows when a full one is wanted.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// Without a directory there is still a chain, in memory.
    files: Option<BundleFiles>,
    /// The generation of the full bundle on disk, when that one is good.
    full: Option<Generation>,
    sizes: Sizes,
    /// The disk does not lead to what is in force.
    broken: bool,
    /// Something that was offered as newer was refused: perhaps a delta for another base.
    doubt: bool,
    /// When a full bundle was last asked for.
    asked: Option<Instant>,
}

#[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "nobody follows a source"))]
impl Keeper {
    /// So many deltas, and a full bundle costs less than going on.
    pub(super) const MAX_DELTAS: u32 = 64;
    /// Below so many bytes of deltas nobody minds that they outweigh the full bundle.
    const FEW_BYTES: u64 = 1 << 20;
    /// A full bundle that did not help is not asked for again before this.
    const ASK_AGAIN: Duration = Duration::from_secs(60);

    /// Goes on from what was on disk.
    pub(crate) fn new(files: Option<BundleFiles>, loaded: &Loaded) -> Self {
        Self {
            files,
            full: loaded.full,
            sizes: loaded.sizes,
            broken: !loaded.faults.is_empty(),
            ..Self::default()
        }
    }

    /// Keeps what has just been put in force.
    pub(crate) fn keep(&mut self, bundle: &Bundle, bytes: &[u8]) -> Result<(), NotKept> {
        self.doubt = false;
        if !bundle.is_delta() {
            self.sizes = Sizes::of_full(bytes);
            if let Some(files) = &self.files {
                // Until it is kept, the disk leads to something older.
                self.broken = true;
                files.keep_full(bundle.generation(), bytes, self.full)?;
                (self.full, self.broken) = (Some(bundle.generation()), false);
            }
            self.asked = None;
            return Ok(());
        }
        self.sizes.add_delta(bytes);
        let Some(files) = &self.files else { return Ok(()) };
        if self.broken {
            return Err(NotKept::ChainBroken);
        }
        files.keep_delta(bundle.generation(), bytes).inspect_err(|_| self.broken = true)?;
        Ok(())
    }

    /// Something was refused that the source gave for newer than what is in force.
    pub(crate) fn doubt(&mut self) {
        self.doubt = true;
    }

    /// Whether a full bundle would do more than what is in force and on disk.
    pub(crate) fn wants_full(&self) -> bool {
        let Sizes { full, deltas, delta_bytes } = self.sizes;
        self.broken
            || deltas >= Self::MAX_DELTAS
            || (delta_bytes > full && delta_bytes > Self::FEW_BYTES)
    }

    /// Whether to ask the source for a full bundle now, instead of for what is newer.
    pub(crate) fn asks_in_full(&mut self, now: Instant) -> bool {
        let lately = self.asked.is_some_and(|asked| now.duration_since(asked) < Self::ASK_AGAIN);
        if std::mem::take(&mut self.doubt) {
            return true;
        }
        let asks = self.wants_full() && !lately;
        if asks {
            self.asked = Some(now);
        }
        asks
    }
}

/// Why what is in force is not what a restart would come back to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] KeeperError),
    /// A delta is worth nothing where the one before it is missing.
    #[error("an earlier bundle could not be kept: waiting for a full one")]
    ChainBroken,
}
