//! The second factor: a time-based code, or a recovery code in its place.

use super::{
    recovery::{self, RecoveryError},
    totp::{self, TotpError},
    tries::{self, Browser, Guess},
};
use crate::{
    control::{AccountId, AccountStatus, ControlPlane},
    login::Amr,
    storage::{StorageError, accounts},
};

/// What a code of somebody who has shown a first factor is worth: the factor it is, or nothing. One
/// in three hundred thousand is right by chance, so each is counted first, and for itself: whoever
/// has the password does not wipe the count with it.
pub(crate) async fn check(
    control: &ControlPlane,
    account: &AccountId,
    typed: &str,
) -> Result<Option<Amr>, SecondFactorError> {
    let found = accounts::find(control.inner.db.reader(), account).await?;
    let active = found.is_some_and(|account| account.status == AccountStatus::Active);
    if !active || !tries::take(control, account, Guess::Code, Browser::Unknown).await? {
        return Ok(None);
    }
    let right = if totp::check(control, account, typed).await? {
        Amr::Totp
    } else if recovery::check(control, account, typed).await? {
        Amr::RecoveryCode
    } else {
        return Ok(None);
    };
    tries::forget(control, account, Guess::Code).await?;
    Ok(Some(right))
}

/// Why a code could not be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecondFactorError {
    #[error(transparent)]
    Totp(#[from] TotpError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        control::tests_support::{account, control_with_clock},
        login::factors::{totp::tests::app_shows, tries::FREE_TRIES},
        storage::accounts::forget_tries,
    };

    #[tokio::test]
    async fn i15_codes_cannot_be_guessed_not_even_by_who_has_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let (control, clock) = control_with_clock(dir.path()).await;
        let ada = account(&control, "ada@x.test").await;
        let app = totp::enrol(&control, &ada.id, &ada.email, "phone").await.unwrap();
        let code = app_shows(&app.secret, control.now());
        assert!(totp::confirm(&control, &ada.id, &app.id, &code).await.unwrap());
        let recovery = recovery::draw(&control, &ada.id).await.unwrap();

        clock.set(control.now() + Duration::from_secs(60));
        let right = || app_shows(&app.secret, control.now());
        assert_eq!(check(&control, &ada.id, &right()).await.unwrap(), Some(Amr::Totp));
        let spare = recovery[0].expose();
        assert_eq!(check(&control, &ada.id, spare).await.unwrap(), Some(Amr::RecoveryCode));

        clock.set(control.now() + Duration::from_secs(60));
        for _ in 0..FREE_TRIES {
            assert_eq!(check(&control, &ada.id, "000000").await.unwrap(), None);
            // What a right password does in between.
            let db = control.inner.db.reader();
            forget_tries(db, &ada.id, Guess::Password).await.unwrap();
        }
        assert_eq!(check(&control, &ada.id, &right()).await.unwrap(), None, "it has to wait");
        clock.set(control.now() + Duration::from_secs(1));
        assert_eq!(check(&control, &ada.id, &right()).await.unwrap(), Some(Amr::Totp));
    }
}
