//! Counting guesses. A try is counted before anybody knows what it is worth: a thousand at once are
//! a thousand tries, of which the first few are heard. From the sixth on an account waits, longer
//! each time and never for ever, or anybody could lock anybody out.

use std::time::Duration;

use partywall::Timestamp;

pub(crate) use crate::storage::accounts::Guess;
use crate::{
    control::{AccountId, ControlPlane},
    storage::{
        StorageError,
        accounts::{self, Tries},
    },
};

/// Takes one try at an account; whether it is heard. One that has to wait is not counted, so that
/// trying on does not make the wait longer.
pub(crate) async fn take(
    control: &ControlPlane,
    account: &AccountId,
    guess: Guess,
    from: Browser,
) -> Result<bool, StorageError> {
    let now = control.now();
    // Whoever was overtaken looks again. A few are heard before the pause ends this for everybody.
    for _ in 0..=2 * FREE_TRIES {
        let db = control.inner.db.reader();
        let Some(before) = accounts::tries(db, account, guess).await? else { return Ok(false) };
        if before.pause_until > now && from == Browser::Unknown {
            return Ok(false);
        }
        let after = next(before, now);
        let write = control.inner.db.single().await;
        if accounts::count_try(write.db(), account, guess, before, after).await? {
            if after.pause_until > now {
                metrics::counter!("partywall_sign_in_pauses_total").increment(1);
                let tries = after.made;
                tracing::warn!(account.id = %account, ?guess, tries, "an account waits after its tries");
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// The try was right: it and those before are forgotten.
pub(crate) async fn forget(
    control: &ControlPlane,
    account: &AccountId,
    guess: Guess,
) -> Result<(), StorageError> {
    let write = control.inner.db.single().await;
    accounts::forget_tries(write.db(), account, guess).await
}

/// Where a try comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Browser {
    /// One that was signed in as this account before: others' guesses do not keep it waiting.
    Known,
    /// Any other.
    Unknown,
}

fn next(before: Tries, now: Timestamp) -> Tries {
    let made = before.made.saturating_add(1);
    let pause_until = pause_after(made).map_or(before.pause_until, |pause| now + pause);
    Tries { made, pause_until }
}

/// How long an account waits after `made` tries in a row.
fn pause_after(made: u32) -> Option<Duration> {
    let beyond = made.checked_sub(FREE_TRIES)?;
    let seconds = 1_u64.checked_shl(beyond).unwrap_or(u64::MAX).min(LONGEST_PAUSE.as_secs());
    Some(Duration::from_secs(seconds))
}

/// Tries in a row up to the first pause.
pub(crate) const FREE_TRIES: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests_support::{account, control_with_clock};

    #[test]
    fn nobody_waits_for_ever() {
        assert_eq!(pause_after(4), None);
        assert_eq!(pause_after(5), Some(Duration::from_secs(1)));
        assert_eq!(pause_after(8), Some(Duration::from_secs(8)));
        assert_eq!(pause_after(u32::MAX), Some(LONGEST_PAUSE));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i38_a_hundred_guesses_at_once_are_no_more_than_a_hundred_in_a_row() {
        let dir = tempfile::tempdir().unwrap();
        let (control, clock) = control_with_clock(dir.path()).await;
        let ada = account(&control, "ada@x.test").await;
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (control, id) = (control.clone(), ada.id.clone());
            at_once.spawn(async move {
                take(&control, &id, Guess::Password, Browser::Unknown).await.unwrap()
            });
        }
        let heard = at_once.join_all().await.into_iter().filter(|heard| *heard).count();
        assert_eq!(heard, FREE_TRIES as usize);
        // After the pause, one more; the codes of the same account were never tried.
        let take = |guess| take(&control, &ada.id, guess, Browser::Unknown);
        clock.set(control.now() + Duration::from_secs(1));
        assert!(take(Guess::Password).await.unwrap());
        assert!(!take(Guess::Password).await.unwrap());
        assert!(take(Guess::Code).await.unwrap());
        forget(&control, &ada.id, Guess::Code).await.unwrap();
        assert!(!take(Guess::Password).await.unwrap(), "of passwords nothing is forgotten");
        forget(&control, &ada.id, Guess::Password).await.unwrap();
        assert!(take(Guess::Password).await.unwrap());
    }
}
