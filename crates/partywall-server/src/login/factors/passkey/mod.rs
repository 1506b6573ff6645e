//! Passkeys (Web Authentication Level 3): a relying party of our own, and a narrow one. It asks for
//! discoverable credentials and no attestation, and checks of an answer everything 7.1 and 7.2 ask
//! for. Why not a library: docs/decisions/0015.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{authenticator::AuthenticatorData, cbor::Cbor};
use crate::{
    control::{Account, AccountId, AccountStatus, ControlPlane},
    login::{Amr, Proof},
    random::RandomError,
    storage::{
        StorageError, accounts,
        passkeys::{self, Passkey},
        single_use::{self, Drawer, Kind},
    },
};
pub(crate) use key::PasskeyKey;

mod authenticator;
mod cbor;
mod key;

/// What a challenge was made for. It is good for nothing else, once, for five minutes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Challenge {
    ceremony: Ceremony,
    /// The browser it was given to: a session's hash or a sign-in's id.
    bound_to: String,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Ceremony {
    Register(AccountId),
    SignIn,
}

/// Options for `navigator.credentials.create` (5.4), as JSON for
/// `PublicKeyCredential.parseCreationOptionsFromJSON`.
pub(crate) async fn begin_registration(
    control: &ControlPlane,
    account: &Account,
    bound_to: &str,
) -> Result<Value, PasskeyError> {
    let known = passkeys::of_account(control.inner.db.reader(), &account.id).await?;
    if known.len() as u64 >= passkeys::MAX {
        return Err(PasskeyError::TooMany);
    }
    let challenge = challenge(control, Ceremony::Register(account.id.clone()), bound_to).await?;
    let exclude: Vec<Value> = known
        .iter()
        .map(|passkey| {
            json!({
                "type": "public-key", "id": passkey.credential_id,
                "transports": passkey.transports,
            })
        })
        .collect();
    let algorithms = key::ALGORITHMS.map(|alg| json!({ "type": "public-key", "alg": alg }));
    Ok(json!({
        "challenge": challenge,
        "rp": { "id": rp_id(control), "name": rp_id(control) },
        "user": {
            // 64 bytes at most, and nothing that tells who it is (14.6.1).
            "id": Base64UrlUnpadded::encode_string(account.id.as_str().as_bytes()),
            "name": account.email, "displayName": account.email,
        },
        "pubKeyCredParams": algorithms,
        "timeout": LASTS.as_millis() as u64,
        "attestation": "none",
        "excludeCredentials": exclude,
        "authenticatorSelection": {
            "residentKey": "required", "requireResidentKey": true,
            "userVerification": "preferred",
        },
    }))
}

/// Options for `navigator.credentials.get` (5.5). They name nobody: whoever has a passkey picks it,
/// and nobody learns who has one.
pub(crate) async fn begin_sign_in(
    control: &ControlPlane,
    bound_to: &str,
) -> Result<Value, PasskeyError> {
    let challenge = challenge(control, Ceremony::SignIn, bound_to).await?;
    Ok(json!({
        "challenge": challenge,
        "rpId": rp_id(control),
        "timeout": LASTS.as_millis() as u64,
        "userVerification": "preferred",
        "allowCredentials": [],
    }))
}

/// What a browser sends after `create`: `PublicKeyCredential.toJSON()`.
#[derive(Deserialize)]
struct Registered {
    #[serde(rename = "rawId")]
    raw_id: String,
    r#type: String,
    response: Attested,
}

#[derive(Deserialize)]
struct Attested {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "attestationObject")]
    attestation: String,
    #[serde(default)]
    transports: Vec<String>,
}

/// Keeps a new passkey (7.1).
pub(crate) async fn finish_registration(
    control: &ControlPlane,
    account: &Account,
    bound_to: &str,
    name: &str,
    answer: &str,
) -> Result<(), PasskeyError> {
    let answer: Registered = read_answer(answer)?;
    if answer.r#type != "public-key" {
        return Err(refused("it is no public key"));
    }
    let client_data = decode(&answer.response.client_data)?;
    let ceremony = Ceremony::Register(account.id.clone());
    check_client_data(control, &client_data, "webauthn.create", ceremony, bound_to).await?;

    let attestation = decode(&answer.response.attestation)?;
    let (object, rest) = Cbor::read(&attestation).ok_or(refused("unreadable attestation"))?;
    let data = object.named("authData").and_then(Cbor::bytes).filter(|_| rest.is_empty());
    // No attestation was asked for, and what the statement says is nothing we go by.
    let data = AuthenticatorData::read(data.ok_or(refused("no authenticator data"))?);
    let data = data.ok_or(refused("unreadable authenticator data"))?;
    check_data(control, &data)?;
    let credential = data.credential.as_ref().ok_or(refused("no credential"))?;
    if decode(&answer.raw_id)? != credential.id {
        return Err(refused("another credential than it says"));
    }
    let passkey = Passkey {
        credential_id: Base64UrlUnpadded::encode_string(credential.id),
        account: account.id.clone(),
        name: name.chars().filter(|c| !c.is_control()).take(64).collect(),
        key: credential.key.clone(),
        sign_count: data.sign_count,
        backed_up: data.backed_up,
        transports: known_transports(answer.response.transports),
        created_at: control.now(),
    };
    let write = control.inner.db.single().await;
    match passkeys::insert(write.db(), &passkey).await {
        // Step 26: a credential id belongs to one account.
        Err(StorageError::Duplicate) => Err(refused("the credential is known already")),
        inserted => Ok(inserted?),
    }
}

/// What a browser sends after `get`.
#[derive(Deserialize)]
struct Asserted {
    #[serde(rename = "rawId")]
    raw_id: String,
    r#type: String,
    response: Assertion,
}

#[derive(Deserialize)]
struct Assertion {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "authenticatorData")]
    data: String,
    signature: String,
    #[serde(rename = "userHandle")]
    user_handle: Option<String>,
}

/// Who signed in with a passkey, and what that shows (7.2).
pub(crate) async fn finish_sign_in(
    control: &ControlPlane,
    bound_to: &str,
    answer: &str,
) -> Result<(Account, Proof), PasskeyError> {
    let answer: Asserted = read_answer(answer)?;
    if answer.r#type != "public-key" {
        return Err(refused("it is no public key"));
    }
    let client_data = decode(&answer.response.client_data)?;
    check_client_data(control, &client_data, "webauthn.get", Ceremony::SignIn, bound_to).await?;

    let db = control.inner.db.reader();
    let id = Base64UrlUnpadded::encode_string(&decode(&answer.raw_id)?);
    let passkey = passkeys::find(db, &id).await?.ok_or(refused("an unknown credential"))?;
    // Step 6: the authenticator says whose it is, and must be right.
    let handle = answer.response.user_handle.as_deref().map(decode).transpose()?;
    if handle.is_none_or(|handle| handle != passkey.account.as_str().as_bytes()) {
        return Err(refused("the credential of another account"));
    }
    let bytes = decode(&answer.response.data)?;
    let data = AuthenticatorData::read(&bytes).ok_or(refused("unreadable authenticator data"))?;
    check_data(control, &data)?;
    let hash = digest(&SHA256, &client_data);
    let message = [&bytes, hash.as_ref()].concat();
    if !passkey.key.verifies(&message, &decode(&answer.response.signature)?) {
        return Err(refused("a wrong signature"));
    }
    // Step 22: a count that does not rise was counted by two authenticators.
    let counts = data.sign_count != 0 || passkey.sign_count != 0;
    if counts && data.sign_count <= passkey.sign_count {
        tracing::error!(
            account.id = %passkey.account, passkey.id = passkey.credential_id,
            "a passkey's count did not rise: it may have been copied; it is refused"
        );
        return Err(refused("a count that did not rise"));
    }
    let account = accounts::find(db, &passkey.account).await?;
    let account = account.filter(|account| account.status == AccountStatus::Active);
    let account = account.ok_or(refused("the account is not served"))?;
    let now = control.now();
    let noted = {
        let write = control.inner.db.single().await;
        passkeys::note_use(write.db(), &passkey, data.sign_count, data.backed_up, now).await?
    };
    if !noted {
        return Err(refused("it was used at the same time"));
    }
    let proof = Proof::of([Amr::Passkey], now);
    Ok((account, if data.user_verified { proof.and(Amr::UserVerified, now) } else { proof }))
}

/// 5.8.1. Unknown members are to be ignored.
#[derive(Deserialize)]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

/// 7.1 and 7.2, steps 7 to 12: the ceremony, our challenge for it, used up, and our own pages.
async fn check_client_data(
    control: &ControlPlane,
    client_data: &[u8],
    ceremony: &str,
    expected: Ceremony,
    bound_to: &str,
) -> Result<(), PasskeyError> {
    let data: ClientData =
        serde_json::from_slice(client_data).map_err(|_| refused("unreadable client data"))?;
    if data.r#type != ceremony {
        return Err(refused("another ceremony"));
    }
    let drawer = Drawer::before_any_tenant(Kind::PasskeyChallenge);
    let challenge = {
        let write = control.inner.db.single().await;
        single_use::redeem::<Challenge>(write.db(), drawer, &data.challenge, control.now()).await?
    };
    let ours = Challenge { ceremony: expected, bound_to: bound_to.to_owned() };
    if challenge.first() != Some(ours) {
        return Err(refused("a challenge that is not this browser's for this"));
    }
    if data.origin != control.inner.config.issuer.origin() || data.cross_origin {
        return Err(refused("another origin"));
    }
    Ok(())
}

/// 7.1 steps 13 to 17, 7.2 steps 15 to 17.
fn check_data(control: &ControlPlane, data: &AuthenticatorData<'_>) -> Result<(), PasskeyError> {
    if data.rp_id_hash != digest(&SHA256, rp_id(control).as_bytes()).as_ref() {
        return Err(refused("another relying party"));
    }
    if !data.user_present {
        return Err(refused("nobody was there"));
    }
    Ok(())
}

async fn challenge(
    control: &ControlPlane,
    ceremony: Ceremony,
    bound_to: &str,
) -> Result<String, PasskeyError> {
    let challenge = single_use::draw(&control.inner.random)?;
    let payload = Challenge { ceremony, bound_to: bound_to.to_owned() };
    let drawer = Drawer::before_any_tenant(Kind::PasskeyChallenge);
    let write = control.inner.db.single().await;
    single_use::put(write.db(), drawer, challenge.expose(), &payload, control.now(), LASTS).await?;
    Ok(challenge.expose().clone())
}

/// Our host, without a port (5.4.2).
fn rp_id(control: &ControlPlane) -> &str {
    let host = control.inner.config.issuer.host();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn read_answer<'a, T: Deserialize<'a>>(answer: &'a str) -> Result<T, PasskeyError> {
    serde_json::from_str(answer).map_err(|_| refused("an unreadable answer"))
}

fn decode(text: &str) -> Result<Vec<u8>, PasskeyError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| refused("not base64url"))
}

/// 5.8.4; what we do not know is of no use to a browser either.
fn known_transports(said: Vec<String>) -> Vec<String> {
    let known = ["usb", "nfc", "ble", "smart-card", "hybrid", "internal"];
    said.into_iter().filter(|name| known.contains(&name.as_str())).take(known.len()).collect()
}

fn refused(why: &'static str) -> PasskeyError {
    PasskeyError::Refused { why }
}

/// Why a passkey was not kept, or let nobody in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasskeyError {
    /// For the log; the person hears that it did not work.
    #[error("the passkey was refused: {why}")]
    Refused { why: &'static str },
    #[error("this account has as many passkeys as it may")]
    TooMany,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

const LASTS: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
pub(crate) mod tests;
