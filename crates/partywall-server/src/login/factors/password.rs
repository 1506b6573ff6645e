//! Passwords: Argon2id (RFC 9106), with parameters an operator may raise and that hashes follow at
//! the next sign-in. Whoever has no account, no password or is locked out for a while costs the
//! same work and hears the same as a wrong password.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{CustomizedPasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use aws_lc_rs::rand::SecureRandom;

use super::{
    pool::{Busy, Pool, Running},
    tries::{self, Browser, Guess},
};
use crate::{
    config::PasswordConfig,
    control::{Account, AccountStatus, ControlPlane, Email},
    login::{Amr, Proof},
    random::{self, RandomError},
    secret::Secret,
    storage::{StorageError, accounts, passwords},
};

/// Hashes and verifies, on threads of its own.
pub(crate) struct Hasher {
    pool: Pool,
    params: Params,
    /// What is verified where there is nothing to verify.
    nobodys: String,
}

impl Hasher {
    pub(crate) fn start(
        config: &PasswordConfig,
        random: &(dyn SecureRandom + Sync),
    ) -> Result<Self, HasherError> {
        let params = Params::new(config.memory_kib, config.passes, config.lanes, None)
            .map_err(|_| HasherError::Parameters)?;
        let pool = Pool::start(config.threads, PER_SHARE, IN_ALL).map_err(HasherError::Threads)?;
        let secret = random::fill::<32>(random)?;
        let salt = random::fill::<SALT_LEN>(random)?;
        let nobodys = hash(&params, &secret, &salt).ok_or(HasherError::Parameters)?;
        Ok(Self { pool, params, nobodys })
    }

    /// The PHC string of a password.
    pub(crate) async fn hash(
        &self,
        share: &str,
        password: Secret<String>,
        salt: [u8; SALT_LEN],
    ) -> Result<String, HashError> {
        let params = self.params.clone();
        let hashing =
            self.pool.run(share, move || hash(&params, password.expose().as_bytes(), &salt))?;
        hashing.await?.ok_or(HashError::Failed)
    }

    /// Whether `password` is the one behind `stored`. Nothing stored takes as long, and is never
    /// right. Says at once whether there is room for it.
    fn verify(
        &self,
        share: &str,
        stored: Option<&str>,
        password: Secret<String>,
    ) -> Result<Running<bool>, Busy> {
        let something = stored.is_some();
        let stored = stored.unwrap_or(&self.nobodys).to_owned();
        self.pool.run(share, move || verify(&stored, password.expose().as_bytes()) && something)
    }
}

fn hash(params: &Params, password: &[u8], salt: &[u8]) -> Option<String> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let hash: PasswordHash =
        argon2.hash_password_customized(password, salt, None, None, params.clone()).ok()?;
    Some(hash.to_string())
}

fn verify(stored: &str, password: &[u8]) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    // The library does what a stored hash says, up to 4 GiB of it.
    let bounded = Params::try_from(&stored).is_ok_and(|params| {
        params.m_cost() <= PasswordConfig::MAX_MEMORY_KIB
            && params.t_cost() <= PasswordConfig::MAX_PASSES
            && params.p_cost() <= PasswordConfig::MAX_LANES
    });
    bounded && Argon2::default().verify_password(password, &stored).is_ok()
}

fn has_params(stored: &str, params: &Params) -> bool {
    let stored = PasswordHash::new(stored).ok();
    let is = stored.filter(|hash| hash.algorithm.as_str() == "argon2id");
    is.and_then(|hash| Params::try_from(&hash).ok()).is_some_and(|stored| {
        (stored.m_cost(), stored.t_cost(), stored.p_cost())
            == (params.m_cost(), params.t_cost(), params.p_cost())
    })
}

/// Who types a password, and from where.
pub(crate) struct Attempt<'a> {
    /// Whose share of the work it is: the tenant asked for, or nothing where none is known.
    pub(crate) share: &'a str,
    pub(crate) email: Option<&'a Email>,
    /// Who was signed in with this browser before. Then others' wrong guesses do not keep them
    /// waiting.
    pub(crate) knows: Option<&'a Account>,
}

/// What a password was worth.
pub(crate) enum Outcome {
    /// It is the account's.
    Right(Box<Account>, Proof),
    /// It is not, or there is no such account, or it is locked out for now. All the same.
    Wrong,
}

/// Checks a password at the door.
///
/// What only an account costs, its row and the count of its tries, is done while its password is
/// hashed: the time of the answer is that of a hash, account or not.
pub(crate) async fn check(
    control: &ControlPlane,
    attempt: Attempt<'_>,
    password: Secret<String>,
) -> Result<Outcome, HashError> {
    let Attempt { share, email, knows } = attempt;
    let (db, hasher) = (control.inner.db.reader(), &control.inner.hasher);
    let account = match email {
        Some(email) => accounts::find_by_email(db, email).await?,
        None => None,
    };
    let account = account.filter(|account| account.status == AccountStatus::Active);
    let stored = match &account {
        Some(account) => passwords::of(db, &account.id).await?,
        None => None,
    };
    let take_try = async {
        let Some(account) = &account else { return Ok(false) };
        let known = knows.is_some_and(|known| known.id == account.id);
        let from = if known { Browser::Known } else { Browser::Unknown };
        tries::take(control, &account.id, Guess::Password, from).await
    };
    // Refused for want of room, it is no try.
    let verifying = hasher.verify(share, stored.as_deref(), password.clone())?;
    let (right, heard) = tokio::join!(verifying, take_try);
    let (Some(account), true, true) = (account, right?, heard?) else { return Ok(Outcome::Wrong) };
    tries::forget(control, &account.id, Guess::Password).await?;
    if let Some(stored) = stored.filter(|stored| !has_params(stored, &hasher.params)) {
        // Where there is no room for it now, the next sign-in tries again.
        if let Ok(better) = hash_new(control, share, password).await {
            let write = control.inner.db.single().await;
            passwords::upgrade(write.db(), &account.id, &stored, &better).await?;
        }
    }
    let proof = Proof::of([Amr::Password], control.now());
    Ok(Outcome::Right(Box::new(account), proof))
}

/// Gives an account a new password, after [`acceptable`] has let it pass. The caller ends what the
/// old one opened.
pub(crate) async fn hash_new(
    control: &ControlPlane,
    share: &str,
    password: Secret<String>,
) -> Result<String, HashError> {
    let salt = random::fill::<SALT_LEN>(&control.inner.random)?;
    control.inner.hasher.hash(share, password, salt).await
}

/// Whether a new password will do (NIST SP 800-63B-4 3.1.1.2): long enough, and none that
/// everybody tries first. No rules about its characters, which make people predictable.
///
/// It is taken as it is typed, byte for byte; `about` is what its owner must not build it from.
pub(crate) fn acceptable(password: &str, about: &[&str]) -> Result<(), WeakPassword> {
    let length = password.chars().count();
    if length < MIN_LENGTH {
        return Err(WeakPassword::Short);
    }
    if password.len() > MAX_BYTES {
        return Err(WeakPassword::Long);
    }
    let lower = password.to_lowercase();
    let common = COMMON.lines().any(|common| {
        // `password` hides in `password123!` and in `passwordpassword`.
        let rest = lower.replace(common, "");
        rest.len() < lower.len() && rest.chars().count() < 6
    });
    let own = about.iter().filter(|word| word.chars().count() >= 4).any(|word| {
        let rest = lower.replace(&word.to_lowercase(), "");
        rest.len() < lower.len() && rest.chars().count() < 6
    });
    let distinct: std::collections::BTreeSet<char> = lower.chars().collect();
    if common || own || distinct.len() < 5 || is_a_run(&lower) {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// `abcdefghijkl`, `987654321098`: each character next to the one before.
fn is_a_run(text: &str) -> bool {
    let codes: Vec<i64> = text.chars().map(|c| i64::from(u32::from(c))).collect();
    let steps = codes.windows(2).filter(|pair| match pair {
        [a, b] => (a - b).abs() <= 1,
        _ => false,
    });
    steps.count() * 4 >= codes.len() * 3
}

/// Why a new password will not do. For the person who types it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum WeakPassword {
    #[error("Use at least {MIN_LENGTH} characters. A few words in a row are easy to remember.")]
    Short,
    #[error("Use at most {MAX_BYTES} bytes.")]
    Long,
    #[error("This is one of the first passwords anybody would try. Use another.")]
    Common,
}

/// Why a password could not be checked or hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("the password could not be hashed")]
    Failed,
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why there is nothing to hash passwords with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HasherError {
    /// The parameters are none Argon2 takes.
    #[error("the password parameters are none Argon2id takes")]
    Parameters,
    /// No threads.
    #[error("no threads to hash passwords on")]
    Threads(#[source] std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

const MIN_LENGTH: usize = 12;
const MAX_BYTES: usize = 1024;
const SALT_LEN: usize = 16;
/// Sign-ins that may wait: of one tenant, and of all.
const PER_SHARE: usize = 64;
const IN_ALL: usize = 512;
/// The beginnings of what is tried first everywhere; one a line, lower case.
const COMMON: &str = include_str!("common_passwords.txt");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests_support::{self, control};

    fn cheap() -> Params {
        Params::new(64, 1, 1, None).unwrap()
    }

    #[test]
    fn b25_every_byte_of_a_password_counts() {
        let long = "a".repeat(100);
        let stored = hash(&cheap(), long.as_bytes(), &[7; SALT_LEN]).unwrap();
        assert!(verify(&stored, long.as_bytes()));
        for other in ["a".repeat(99), "a".repeat(101), format!("{}b", "a".repeat(99))] {
            assert!(!verify(&stored, other.as_bytes()), "{} bytes", other.len());
        }
    }

    #[test]
    fn t13_a_stored_hash_cannot_ask_for_more_than_we_give() {
        let stored = hash(&cheap(), b"right", &[7; SALT_LEN]).unwrap();
        assert!(verify(&stored, b"right"));
        for huge in ["m=4194303,t=1,p=1", "m=64,t=1000000,p=1", "m=64,t=1,p=200"] {
            let asks = stored.replace("m=64,t=1,p=1", huge);
            assert_ne!(asks, stored);
            assert!(!verify(&asks, b"right"), "{huge} was obeyed");
        }
        for nothing in ["", "right", "$argon2id$v=19$m=64,t=1,p=1$"] {
            assert!(!verify(nothing, b"right"));
        }
    }

    #[test]
    fn passwords_that_everybody_tries_are_refused() {
        let about = ["ada.lovelace", "acme"];
        for fine in ["correct horse battery", "tr0ub4dor&3-zebra", "ütf acht ist auch gut"] {
            assert_eq!(acceptable(fine, &about), Ok(()), "{fine}");
        }
        for weak in [
            "password1234",
            "PasswordPassword",
            "qwertyuiop12",
            "123456789012",
            "abcdefghijklm",
            "aaaaaaaaaaaaaa",
            "ada.lovelace1",
            "Acmeacme2026",
        ] {
            assert_eq!(acceptable(weak, &about), Err(WeakPassword::Common), "{weak}");
        }
        assert_eq!(acceptable("short", &[]), Err(WeakPassword::Short));
        assert_eq!(acceptable(&"x y z w v".repeat(200), &[]), Err(WeakPassword::Long));
    }

    async fn account(control: &ControlPlane, password: Option<&str>) -> Account {
        let account = tests_support::account(control, "ada@x.test").await;
        if let Some(password) = password {
            let hash = hash_new(control, "", Secret::new(password.to_owned())).await.unwrap();
            let db = control.inner.db.reader();
            passwords::set(db, &account.id, &hash, control.now()).await.unwrap();
        }
        account
    }

    async fn tried(control: &ControlPlane, password: &str, knows: Option<&Account>) -> bool {
        let email: Email = "ada@x.test".parse().unwrap();
        let attempt = Attempt { share: "", email: Some(&email), knows };
        let outcome = check(control, attempt, Secret::new(password.to_owned())).await.unwrap();
        matches!(outcome, Outcome::Right(..))
    }

    #[tokio::test]
    async fn a_hash_follows_the_parameters_at_the_next_sign_in() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let ada = account(&control, None).await;
        assert!(!tried(&control, "right password", None).await, "there is none yet");
        let db = control.inner.db.reader();
        let old = hash(&cheap(), b"right password", &[7; SALT_LEN]).unwrap();
        passwords::set(db, &ada.id, &old, control.now()).await.unwrap();
        assert!(!tried(&control, "wrong password", None).await);
        assert_eq!(passwords::of(db, &ada.id).await.unwrap().unwrap(), old);
        assert!(tried(&control, "right password", None).await);
        let new = passwords::of(db, &ada.id).await.unwrap().unwrap();
        assert_ne!(new, old);
        assert!(tried(&control, "right password", None).await);
        assert_eq!(passwords::of(db, &ada.id).await.unwrap().unwrap(), new, "not again");
    }

    #[tokio::test]
    async fn guesses_are_slowed_down_and_the_owners_browser_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let ada = account(&control, Some("right password")).await;
        for _ in 0..tries::FREE_TRIES {
            assert!(!tried(&control, "wrong password", None).await);
        }
        assert!(!tried(&control, "right password", None).await, "it has to wait");
        assert!(tried(&control, "right password", Some(&ada)).await, "this browser is known");
        assert!(tried(&control, "right password", None).await, "which ended the wait");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn i38_guesses_at_once_are_slowed_down_like_guesses_in_a_row() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        account(&control, Some("right password")).await;
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..tries::FREE_TRIES + 3 {
            let control = control.clone();
            at_once.spawn(async move { tried(&control, "wrong password", None).await });
        }
        assert!(at_once.join_all().await.into_iter().all(|right| !right));
        assert!(!tried(&control, "right password", None).await, "it has to wait");
    }
}
