//! Time-based codes (RFC 6238): six digits, thirty seconds, HMAC-SHA-1, as every authenticator app
//! makes them. A code is good once, and one step to either side of now.

use aws_lc_rs::{constant_time, hmac};
use partywall::Timestamp;
use zeroize::Zeroizing;

use crate::{
    control::{AccountId, ControlPlane, Email},
    keys::SealError,
    random::{self, RandomError},
    secret::Secret,
    storage::{
        StorageError,
        totp_secrets::{self, TotpSecret},
    },
};

/// An app to be set up: shown once, and no factor before its owner has typed a code of it.
pub(crate) struct Enrolment {
    pub(crate) id: String,
    /// The secret in base32, for typing.
    pub(crate) secret: Secret<String>,
    /// The same as an `otpauth` address, for scanning.
    pub(crate) uri: Secret<String>,
}

/// Draws a secret for an authenticator app.
pub(crate) async fn enrol(
    control: &ControlPlane,
    account: &AccountId,
    email: &Email,
    name: &str,
) -> Result<Enrolment, TotpError> {
    let now = control.now();
    let write = control.inner.db.write().await?;
    let present = totp_secrets::of_account(write.rows(), account).await?;
    // One that was never confirmed is in the way of nothing.
    for abandoned in present.iter().filter(|secret| secret.confirmed_at.is_none()) {
        totp_secrets::remove(write.rows(), account, &abandoned.id).await?;
    }
    if present.len() as u64 >= totp_secrets::MAX {
        return Err(TotpError::TooMany);
    }
    let id = random::opaque_id(&control.inner.random)?;
    let secret = Zeroizing::new(random::fill::<20>(&control.inner.random)?);
    let sealing = &control.inner.config.sealing_key;
    let row = TotpSecret {
        sealed: sealing.seal(&associated_data(account.as_str(), &id), &*secret)?,
        id: id.clone(),
        account: account.as_str().to_owned(),
        name: name.chars().take(64).collect(),
        last_step: 0,
        confirmed_at: None,
        created_at: now,
    };
    totp_secrets::insert(write.rows(), &row).await?;
    write.commit().await?;
    let secret = Zeroizing::new(base32(&*secret));
    let host = control.inner.config.issuer.host();
    let label: String =
        url::form_urlencoded::byte_serialize(format!("{host}:{email}").as_bytes()).collect();
    let uri = format!(
        "otpauth://totp/{label}?secret={}&issuer={host}&algorithm=SHA1&digits=6&period=30",
        *secret
    );
    Ok(Enrolment { id, secret: Secret::new((*secret).clone()), uri: Secret::new(uri) })
}

/// Makes an app count, once its owner has typed a code of it.
pub(crate) async fn confirm(
    control: &ControlPlane,
    account: &AccountId,
    id: &str,
    code: &str,
) -> Result<bool, TotpError> {
    let secrets = totp_secrets::of_account(control.inner.db.reader(), account).await?;
    let waiting = secrets.iter().find(|secret| secret.id == id && secret.confirmed_at.is_none());
    match waiting {
        Some(secret) => take(control, secret, code, Some(control.now())).await,
        None => Ok(false),
    }
}

/// Whether `code` is one of the account's apps', now, and for the first time.
pub(crate) async fn check(
    control: &ControlPlane,
    account: &AccountId,
    code: &str,
) -> Result<bool, TotpError> {
    let secrets = totp_secrets::of_account(control.inner.db.reader(), account).await?;
    for secret in secrets.iter().filter(|secret| secret.confirmed_at.is_some()) {
        if take(control, secret, code, None).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn take(
    control: &ControlPlane,
    row: &TotpSecret,
    code: &str,
    confirm: Option<Timestamp>,
) -> Result<bool, TotpError> {
    let aad = associated_data(&row.account, &row.id);
    let secret = control.inner.config.sealing_key.open(&aad, &row.sealed)?;
    let Some(step) = matching_step(secret.expose(), code, control.now()) else { return Ok(false) };
    let write = control.inner.db.single().await;
    Ok(totp_secrets::use_step(write.db(), row, step, confirm).await?)
}

/// The step, of the three around `now`, whose code this is.
fn matching_step(secret: &[u8], code: &str, now: Timestamp) -> Option<u64> {
    // People type what they see: `123 456`.
    let typed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let present = now.0 / STEP;
    let around = [present, present.saturating_sub(1), present.saturating_add(1)];
    around.into_iter().find(|step| {
        let right = code_of(secret, *step);
        constant_time::verify_slices_are_equal(right.as_bytes(), typed.as_bytes()).is_ok()
    })
}

/// RFC 4226 5.3, RFC 6238 4.
fn code_of(secret: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last().copied().unwrap_or_default() & 0xf);
    let four = tag.get(offset..).and_then(|rest| rest.first_chunk::<4>()).copied();
    let number = u32::from_be_bytes(four.unwrap_or_default()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// RFC 4648 6, without padding. 20 bytes are 32 characters and leave no rest.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut text, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let index = usize::try_from((held >> bits) & 31).unwrap_or_default();
            text.extend(ALPHABET.get(index).copied().map(char::from));
        }
    }
    text
}

/// Names the row, so that a sealed secret opens nowhere else.
fn associated_data(account: &str, id: &str) -> Vec<u8> {
    format!("partywall totp v1\0{account}\0{id}").into_bytes()
}

/// Why a code could not be set up or checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TotpError {
    #[error("this account has as many authenticator apps as it may")]
    TooMany,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// In seconds.
const STEP: u64 = 30;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::control::tests_support::{account, control_with_clock};

    /// What an authenticator app shows.
    pub(crate) fn app_shows(secret: &Secret<String>, now: Timestamp) -> String {
        let bytes = unbase32(secret.expose());
        code_of(&bytes, now.0 / STEP)
    }

    fn unbase32(text: &str) -> Vec<u8> {
        let mut bits = String::new();
        for c in text.bytes() {
            let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|a| *a == c).unwrap();
            bits.push_str(&format!("{value:05b}"));
        }
        bits.as_bytes()
            .chunks_exact(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn i15_codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1; the last six of eight digits.
        let secret = b"12345678901234567890";
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_of(secret, time / STEP), code);
            assert_eq!(matching_step(secret, code, Timestamp(time)), Some(time / STEP));
            assert_eq!(matching_step(secret, code, Timestamp(time + 30)), Some(time / STEP));
            assert_eq!(matching_step(secret, code, Timestamp(time + 90)), None);
        }
        assert_eq!(base32(secret), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(matching_step(secret, "287 082", Timestamp(59)), Some(1));
        assert_eq!(matching_step(secret, "", Timestamp(59)), None);
    }

    #[tokio::test]
    async fn i15_an_app_counts_once_confirmed_and_a_code_once() {
        let dir = tempfile::tempdir().unwrap();
        let (control, clock) = control_with_clock(dir.path()).await;
        let ada = account(&control, "ada@x.test").await;
        let eve = account(&control, "eve@x.test").await;
        let app = enrol(&control, &ada.id, &ada.email, "phone").await.unwrap();
        assert!(app.uri.expose().contains(app.secret.expose()));
        let code = app_shows(&app.secret, control.now());
        assert!(!check(&control, &ada.id, &code).await.unwrap(), "not confirmed yet");
        assert!(!confirm(&control, &eve.id, &app.id, &code).await.unwrap(), "another's app");
        assert!(confirm(&control, &ada.id, &app.id, &code).await.unwrap());
        assert!(!check(&control, &ada.id, &code).await.unwrap(), "the same code again");

        clock.set(control.now() + std::time::Duration::from_secs(STEP));
        let code = app_shows(&app.secret, control.now());
        assert!(!check(&control, &eve.id, &code).await.unwrap(), "another's code");
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (control, id, code) = (control.clone(), ada.id.clone(), code.clone());
            at_once.spawn(async move { check(&control, &id, &code).await.unwrap() });
        }
        let right = at_once.join_all().await.into_iter().filter(|right| *right).count();
        assert_eq!(right, 1);
    }
}
