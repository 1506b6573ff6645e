//! Secrets at rest: AES-256-GCM-SIV (RFC 8452), which forgives a repeated nonce, under a key that
//! is not in the database.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::{
    random::{self, RandomError},
    secret::{Secret, SecretError, SecretFile, SecretSource},
};

/// Seals what the database must not hold in clear.
pub struct SealingKey(RandomizedNonceKey);

impl SealingKey {
    /// Takes the 32 bytes of a key.
    ///
    /// # Errors
    ///
    /// Never for 32 bytes; the library may refuse all the same.
    pub fn from_bytes(key: &Secret<[u8; 32]>) -> Result<Self, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM_SIV, key.expose())
            .map(Self)
            .map_err(|_| SealError::BadKey)
    }

    /// Reads a key: 64 hexadecimal digits, and nothing else but white space around them.
    ///
    /// # Errors
    ///
    /// When the source does not answer, or with something else.
    pub fn read(source: &dyn SecretSource) -> Result<Self, SealError> {
        Self::from_hex(&source.read()?)
    }

    /// Reads the key in `file`, drawing one first when there is no such file.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and when the file cannot be made.
    pub fn read_or_create(file: &SecretFile) -> Result<Self, SealError> {
        let hex = file.read_or_create(|| {
            let random = aws_lc_rs::rand::SystemRandom::new();
            let key = random::fill::<32>(&random).map(Zeroizing::new);
            let key = key.map_err(|error| SecretError::Source(error.into()))?;
            let mut hex = Vec::with_capacity(65);
            key.iter().for_each(|byte| hex.extend_from_slice(format!("{byte:02x}").as_bytes()));
            hex.push(b'\n');
            Ok(Secret::new(hex))
        })?;
        Self::from_hex(&hex)
    }

    fn from_hex(hex: &Secret<Vec<u8>>) -> Result<Self, SealError> {
        let hex = hex.expose().trim_ascii();
        let mut key = Zeroizing::new([0; 32]);
        if hex.len() != 2 * key.len() {
            return Err(SealError::BadKey);
        }
        for (byte, pair) in key.iter_mut().zip(hex.chunks(2)) {
            let digits = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = digits
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or(SealError::BadKey)?;
        }
        Self::from_bytes(&Secret::new(*key))
    }

    /// Seals `clear` so that it opens only beside the same `associated` data.
    pub(crate) fn seal(&self, associated: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut body = clear.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(associated), &mut body)
            .map_err(|_| SealError::Random(RandomError))?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) made.
    pub(crate) fn open(
        &self,
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::DoesNotOpen)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::DoesNotOpen)?;
        if *version != VERSION {
            return Err(SealError::DoesNotOpen);
        }
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let clear = self
            .0
            .open_in_place(nonce, Aad::from(associated), &mut body)
            .map_err(|_| SealError::DoesNotOpen)?;
        Ok(Secret::new(clear.to_vec()))
    }
}

/// The layout of a sealed value: version, nonce, ciphertext and tag.
const VERSION: u8 = 1;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key is not one.
    #[error("not a sealing key: expected 64 hexadecimal digits (`openssl rand -hex 32`)")]
    BadKey,
    /// The key could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// This key does not open it, or it was tampered with. The two cannot be told apart.
    #[error("a sealed value does not open: it was sealed under another key, or altered")]
    DoesNotOpen,
    /// No randomness, no nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::from_bytes(&Secret::new([byte; 32])).unwrap()
    }

    #[test]
    fn p06_sealed_values_open_in_their_own_row_only() {
        let sealed = key(1).seal(b"row 1", b"private").unwrap();
        assert_eq!(key(1).open(b"row 1", &sealed).unwrap().expose(), b"private");
        assert!(matches!(key(1).open(b"row 2", &sealed), Err(SealError::DoesNotOpen)));
        assert!(matches!(key(2).open(b"row 1", &sealed), Err(SealError::DoesNotOpen)));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key(1).open(b"row 1", &altered).is_err(), "byte {at} may be altered");
            assert!(key(1).open(b"row 1", &sealed[..at]).is_err(), "cut at {at} opens");
        }
    }

    #[test]
    fn p06_a_sealing_key_is_made_once_and_kept_to_its_owner() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let file = SecretFile::at(dir.path().join("sealing.key"));
        let sealed = SealingKey::read_or_create(&file).unwrap().seal(b"", b"x").unwrap();
        let again = SealingKey::read_or_create(&file).unwrap();
        assert_eq!(again.open(b"", &sealed).unwrap().expose(), b"x");

        let path = dir.path().join("sealing.key");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = SealingKey::read(&file);
        assert!(matches!(exposed, Err(SealError::Secret(SecretError::Exposed { .. }))));
    }
}
