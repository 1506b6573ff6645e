//! Recovery codes: ten, for the day the phone is gone. Each has 80 random bits, is shown once,
//! kept as a hash, and good once.

use aws_lc_rs::digest;

use crate::{
    control::{AccountId, ControlPlane},
    random::{self, RandomError},
    secret::Secret,
    storage::{StorageError, recovery_codes},
};

/// How many an account has.
pub(crate) const COUNT: usize = 10;
/// Characters of a code: five bits each.
const LENGTH: usize = 16;

/// Draws new codes; the ones before are good no longer.
pub(crate) async fn draw(
    control: &ControlPlane,
    account: &AccountId,
) -> Result<Vec<Secret<String>>, RecoveryError> {
    let mut codes = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let drawn = random::opaque_id(&control.inner.random)?;
        let groups: Vec<&str> =
            (0..LENGTH / 4).filter_map(|group| drawn.get(group * 4..group * 4 + 4)).collect();
        codes.push(Secret::new(groups.join("-")));
    }
    let hashes: Vec<_> = codes.iter().map(|code| hash(account, code.expose())).collect();
    let write = control.inner.db.write().await?;
    recovery_codes::replace(write.rows(), account, hashes).await?;
    write.commit().await?;
    Ok(codes)
}

/// Whether `code` is one of the account's, for the first time.
pub(crate) async fn check(
    control: &ControlPlane,
    account: &AccountId,
    code: &str,
) -> Result<bool, RecoveryError> {
    let write = control.inner.db.single().await;
    let hash = hash(account, code);
    Ok(recovery_codes::redeem(write.db(), account, &hash, control.now()).await?)
}

/// As it is typed, with or without dashes and in any case. It covers the account, so that one
/// account's hash is no use as another's.
fn hash(account: &AccountId, code: &str) -> Vec<u8> {
    let typed: String = code
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"partywall recovery code v1");
    for part in [account.as_str(), &typed] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().to_vec()
}

/// Why codes could not be drawn or checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests_support::{account, control};

    #[tokio::test]
    async fn i15_a_recovery_code_is_good_once_for_its_own_account() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let ada = account(&control, "ada@x.test").await;
        let eve = account(&control, "eve@x.test").await;
        let codes = draw(&control, &ada.id).await.unwrap();
        assert_eq!(codes.len(), COUNT);
        let first = codes[0].expose();
        assert_eq!(first.len(), LENGTH + 3);
        assert!(!check(&control, &eve.id, first).await.unwrap());
        assert!(!check(&control, &ada.id, "aaaa-aaaa-aaaa-aaaa").await.unwrap());
        assert!(check(&control, &ada.id, &first.replace('-', " ").to_uppercase()).await.unwrap());
        assert!(!check(&control, &ada.id, first).await.unwrap(), "again");
        let db = control.inner.db.reader();
        assert_eq!(recovery_codes::left(db, &ada.id).await.unwrap(), 9);

        draw(&control, &ada.id).await.unwrap();
        assert!(!check(&control, &ada.id, codes[1].expose()).await.unwrap(), "of the old ten");
    }
}
