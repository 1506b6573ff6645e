//! Authenticator data (Web Authentication 6.1): what the authenticator itself says, and signs.

use super::{cbor::Cbor, key::PasskeyKey};

pub(super) struct AuthenticatorData<'b> {
    pub(super) rp_id_hash: &'b [u8],
    /// Somebody touched it.
    pub(super) user_present: bool,
    /// It knew who.
    pub(super) user_verified: bool,
    /// The key is kept elsewhere, too.
    pub(super) backed_up: bool,
    pub(super) sign_count: u32,
    /// The new credential, at registration.
    pub(super) credential: Option<AttestedCredential<'b>>,
}

/// 6.5.1
pub(super) struct AttestedCredential<'b> {
    pub(super) id: &'b [u8],
    pub(super) key: PasskeyKey,
}

impl<'b> AuthenticatorData<'b> {
    /// Reads all of it: what is left over is a reason to read none of it.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_at_checked(32)?;
        let (flags, rest) = rest.split_first()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let has = |flag: u8| flags & flag != 0;
        let (credential, rest) = if has(ATTESTED) {
            let (credential, rest) = AttestedCredential::read(rest)?;
            (Some(credential), rest)
        } else {
            (None, rest)
        };
        let rest = if has(EXTENSIONS) { Cbor::read(rest)?.1 } else { rest };
        // 6.1.3: backed up without being eligible for it is a contradiction.
        let consistent = has(BACKUP_ELIGIBLE) || !has(BACKED_UP);
        (rest.is_empty() && consistent).then_some(Self {
            rp_id_hash,
            user_present: has(USER_PRESENT),
            user_verified: has(USER_VERIFIED),
            backed_up: has(BACKED_UP),
            sign_count: u32::from_be_bytes(*count),
            credential,
        })
    }
}

impl<'b> AttestedCredential<'b> {
    fn read(bytes: &'b [u8]) -> Option<(Self, &'b [u8])> {
        let (_aaguid, rest) = bytes.split_at_checked(16)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length)?;
        // 7.1, step 25.
        if !(16..=1023).contains(&id.len()) {
            return None;
        }
        let (cose, rest) = Cbor::read(rest)?;
        Some((Self { id, key: PasskeyKey::from_cose(&cose)? }, rest))
    }
}

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;
