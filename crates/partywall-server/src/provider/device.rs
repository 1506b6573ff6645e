//! `POST /device_authorization` (RFC 8628): a device without a keyboard asks, a person elsewhere
//! types its code and decides, and the device, which polls meanwhile, gets its tokens.
//!
//! Three values in the drawers of single use: the device's request, by an id that is half of its
//! device code; the user code, which leads to that id; and the decision. The decision is put down
//! once and never changed, so no poll can overwrite it, and the first one counts.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{constant_time, digest};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    at::At,
    client_auth::{self, Client, ClientAuthError},
    form::{Form, FormError},
    issue::{self, IssueError},
    oauth_error::{NOT_STORED, OAuthError},
    scope,
};
use crate::{
    control::{ApplicationId, ClientAuthentication, ControlPlane, Grant, Scope, UserId},
    login::{Admitted, Proof},
    random::{self, RandomError},
    rate::{Network, TooFast},
    storage::{
        StorageError, applications,
        single_use::{self, Drawer, Kind},
    },
};

pub(super) const PATH: &str = "/device_authorization";
/// Where people type the code: a page of the sign-in's.
pub(crate) const VERIFICATION_PATH: &str = "/device";

/// How long a code is good.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How often a device may ask, at first; each time it asks too soon adds as much (RFC 8628 3.5).
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn handler(
    State(control): State<ControlPlane>,
    at: At,
    network: Network,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, DeviceError> {
    let form = Form::of_request(&uri, &headers, &body)?;
    let client = client_auth::authenticate(&control, &at, &headers, &form).await?;
    let application = match client {
        Client::Application(app) if app.registration.grants.contains(&Grant::DeviceCode) => app,
        Client::Application(_) | Client::Machine(_) => return Err(DeviceError::Unauthorized),
    };
    if application.authentication == ClientAuthentication::None {
        control.inner.strangers.draw(network, application.tenant.as_ref())?;
    }
    let now = control.now();
    let random = &control.inner.random;
    let (id, secret) = (random::opaque_id(random)?, single_use::draw(random)?);
    let device = Device {
        issuer: at.issuer().to_owned(),
        client: application.client_id.clone(),
        scopes: scope::for_application(&application, form.get("scope"))?,
        resource: issue::resource(&control, form.get("resource"))?.as_str().to_owned(),
        secret_hash: hash(&id, secret.expose()),
        polled_at: None,
        interval: INTERVAL.as_secs(),
        grant: random::opaque_id(random)?,
    };
    let write = control.inner.db.write().await?;
    single_use::put(write.rows(), devices(), &id, &device, now, LIFETIME).await?;
    let mut user_code = draw_user_code(random)?;
    // One in 25 thousand million of being there already.
    while !single_use::put(write.rows(), user_codes(), &user_code, &id, now, LIFETIME).await? {
        user_code = draw_user_code(random)?;
    }
    write.commit().await?;
    let shown = shown(&user_code);
    let page = format!("{}{VERIFICATION_PATH}", at.issuer());
    let answer = json!({
        "device_code": format!("{PREFIX}{id}.{}", secret.expose()),
        "user_code": shown,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={shown}"),
        "expires_in": LIFETIME.as_secs(),
        "interval": INTERVAL.as_secs(),
    });
    Ok((NOT_STORED, Json(answer)).into_response())
}

/// What a device asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Device {
    /// Where it asked, and where its codes are good.
    pub(super) issuer: String,
    pub(super) client: ApplicationId,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) resource: String,
    secret_hash: Vec<u8>,
    pub(super) polled_at: Option<Timestamp>,
    /// In seconds.
    pub(super) interval: u64,
    /// Names everything issued for it.
    pub(super) grant: String,
}

/// What a person decided about it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Decision {
    Approved { tenant: TenantId, user: UserId, proof: Proof, sid: Option<String> },
    Denied,
}

/// A device code as a device brings it. Nothing of it is believed.
pub(super) struct PresentedDeviceCode<'t> {
    pub(super) id: &'t str,
    secret: &'t str,
}

impl<'t> PresentedDeviceCode<'t> {
    /// `None` for a text that cannot be one of ours.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('.')?;
        random::is_opaque_id(id).then_some(Self { id, secret })
    }

    /// Whether it is that device's.
    pub(super) fn is_of(&self, device: &Device) -> bool {
        let presented = hash(self.id, self.secret);
        constant_time::verify_slices_are_equal(&presented, &device.secret_hash).is_ok()
    }
}

/// A device that waits, for the page where its code is typed.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    id: String,
    user_code: String,
    /// The application that asks, and what it is called.
    pub(crate) client: ApplicationId,
    pub(crate) name: String,
    /// The one tenant whose members it signs in, if it is of one.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) scopes: BTreeSet<Scope>,
}

/// The device whose code somebody typed; `None` when there is none, or `who` (an account) has typed
/// too many that are none.
pub(crate) async fn look_up(
    control: &ControlPlane,
    at: &At,
    who: &str,
    typed: &str,
) -> Result<Option<Waiting>, StorageError> {
    let (db, now) = (control.inner.db.reader(), control.now());
    if !control.inner.device_guesses.may_guess(who, now) {
        tracing::warn!(account.id = who, "too many user codes were typed that are none");
        return Ok(None);
    }
    let Some(user_code) = normalised(typed) else { return Ok(None) };
    let id: Option<String> = single_use::peek(db, user_codes(), &user_code, now).await?;
    let Some(id) = id else {
        control.inner.device_guesses.was_wrong(who, now);
        return Ok(None);
    };
    let device = single_use::peek::<Device>(db, devices(), &id, now).await?;
    let Some(device) = device.filter(|device| device.issuer == at.issuer()) else {
        return Ok(None);
    };
    let Some(application) = applications::find(db, &device.client).await? else { return Ok(None) };
    Ok(Some(Waiting {
        id,
        user_code,
        client: device.client,
        name: application.name,
        tenant: application.tenant,
        scopes: device.scopes,
    }))
}

/// Lets the device in as whoever was admitted. `false` when somebody has decided already, the code
/// has expired, the application is of another tenant, or another issuer speaks for the tenant.
pub(crate) async fn approve(
    control: &ControlPlane,
    at: &At,
    waiting: &Waiting,
    admitted: &Admitted,
    sid: Option<&str>,
) -> Result<bool, StorageError> {
    let Some((user, proof)) = admitted.user() else { return Ok(false) };
    let of_another = waiting.tenant.as_ref().is_some_and(|tenant| tenant != admitted.tenant());
    if of_another || at.may_speak_for(admitted).is_err() {
        return Ok(false);
    }
    let decision = Decision::Approved {
        tenant: admitted.tenant().clone(),
        user: user.id.clone(),
        proof: proof.clone(),
        sid: sid.map(str::to_owned),
    };
    decide(control, waiting, &decision).await
}

/// Turns the device away. `false` when somebody has decided already.
pub(crate) async fn deny(control: &ControlPlane, waiting: &Waiting) -> Result<bool, StorageError> {
    decide(control, waiting, &Decision::Denied).await
}

async fn decide(
    control: &ControlPlane,
    waiting: &Waiting,
    decision: &Decision,
) -> Result<bool, StorageError> {
    let now = control.now();
    let write = control.inner.db.write().await?;
    let (rows, code) = (write.rows(), &waiting.user_code);
    let redeemed = single_use::redeem::<String>(rows, user_codes(), code, now).await?;
    if redeemed.first().as_deref() != Some(&waiting.id) {
        return Ok(false);
    }
    let decided = decision_of(&waiting.id);
    let first = single_use::put(rows, devices(), &decided, decision, now, LIFETIME).await?;
    write.commit().await?;
    Ok(first)
}

/// Where a decision lies: no device's id has a blank in it.
pub(super) fn decision_of(id: &str) -> String {
    format!("decision {id}")
}

/// Before any tenant: which one it will be is decided with the code.
pub(super) fn devices() -> Drawer<'static> {
    Drawer::before_any_tenant(Kind::DeviceCode)
}

fn user_codes() -> Drawer<'static> {
    Drawer::before_any_tenant(Kind::UserCode)
}

/// So that whoever finds a device code knows what it is.
const PREFIX: &str = "pwd_";
/// RFC 8628 6.1: no vowels, so no words; nothing that looks like something else.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const USER_CODE_LEN: usize = 8;

fn hash(id: &str, secret: &str) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"partywall device code v1");
    hash.update(id.as_bytes());
    hash.update(secret.as_bytes());
    hash.finish().as_ref().to_vec()
}

fn draw_user_code(random: &dyn aws_lc_rs::rand::SecureRandom) -> Result<String, RandomError> {
    let mut code = String::with_capacity(USER_CODE_LEN);
    while code.len() < USER_CODE_LEN {
        let [byte] = random::fill::<1>(random)?;
        // 240 is the largest multiple of 20 in a byte: what is above would favour some letters.
        if let (true, Some(letter)) = (byte < 240, ALPHABET.get(usize::from(byte % 20))) {
            code.push(char::from(*letter));
        }
    }
    Ok(code)
}

fn shown(code: &str) -> String {
    let (left, right) = code.split_at_checked(USER_CODE_LEN / 2).unwrap_or((code, ""));
    format!("{left}-{right}")
}

/// RFC 8628 6.1: in any case, with or without the dash and blanks.
fn normalised(typed: &str) -> Option<String> {
    if typed.len() > 32 {
        return None;
    }
    let code: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let sound = code.len() == USER_CODE_LEN && code.bytes().all(|b| ALPHABET.contains(&b));
    sound.then_some(code)
}

/// Counts user codes that were none (RFC 8628 5.1), per account and in this process: ten in ten
/// minutes, of 25 thousand million.
#[derive(Default)]
pub(crate) struct Guesses(Mutex<HashMap<String, (u32, Timestamp)>>);

impl Guesses {
    const AT_MOST: u32 = 10;
    const KEPT: usize = 10_000;

    fn may_guess(&self, who: &str, now: Timestamp) -> bool {
        let guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guesses
            .get(who)
            .is_none_or(|(wrong, since)| *wrong < Self::AT_MOST || *since + LIFETIME <= now)
    }

    fn was_wrong(&self, who: &str, now: Timestamp) {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= Self::KEPT {
            guesses.retain(|_, (_, since)| *since + LIFETIME > now);
        }
        let (wrong, since) = guesses.entry(who.to_owned()).or_insert((0, now));
        if *since + LIFETIME <= now {
            (*wrong, *since) = (0, now);
        }
        *wrong += 1;
    }
}

/// Why a device got no code.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeviceError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Client(#[from] ClientAuthError),
    #[error("the client is not registered for devices")]
    Unauthorized,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    TooFast(#[from] TooFast),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl DeviceError {
    /// RFC 8628 3.2, RFC 6749 5.2. `None` where the fault is ours.
    fn answer(&self) -> Option<OAuthError> {
        match self {
            Self::Form(error) => Some(error.answer()),
            Self::Client(error) => error.answer(),
            Self::TooFast(fast) => Some(OAuthError::too_fast(fast)),
            Self::Unauthorized => Some(OAuthError::bad_request(
                "unauthorized_client",
                "this client is not registered for this grant",
            )),
            Self::Issue(error) => {
                error.answer().map(|(code, description)| OAuthError::bad_request(code, description))
            }
            Self::Storage(_) | Self::Random(_) => None,
        }
    }
}

impl IntoResponse for DeviceError {
    fn into_response(self) -> Response {
        let Some(answer) = self.answer() else {
            tracing::error!(error = &self as &dyn std::error::Error, "no device code was made");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match &self {
            Self::Client(error) => error.log(),
            _ => tracing::debug!(error = %self, "a device was refused"),
        }
        answer.into_response()
    }
}
