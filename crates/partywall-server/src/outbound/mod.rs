//! Calling addresses that others have registered. Whoever registers one must not reach through us
//! what only we can reach (OWASP SSRF, F-05), nor hold up anybody but themselves: no
//! redirects, no proxy, no address that is not public, little time, little to read.

use std::{sync::Arc, time::Duration};

use address::{Names, Resolver};
use hickory_resolver::TokioResolver;
use line::Lines;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    redirect,
};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

pub(crate) use address::{NotPublic, Reach};
pub(crate) use line::Line;

mod address;
mod line;
#[cfg(test)]
mod tests;

/// A client that calls public addresses only, or any where the operator said so.
pub(crate) struct Outbound {
    reach: Reach,
    lines: Lines,
    /// Made at the first call: most servers never make one.
    client: OnceCell<Client>,
    #[cfg(test)]
    given: tests::Given,
}

/// What a document must be, going by what its server says. Whether it is one is the reader's to find
/// out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Media {
    Json,
    Xml,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Outbound {
    pub(crate) fn new(private_too: bool) -> Self {
        Self {
            reach: Reach { private_too },
            lines: Lines::new(),
            client: OnceCell::new(),
            #[cfg(test)]
            given: tests::Given::default(),
        }
    }

    /// What may be called. Whoever registers an address has it checked, as every call does.
    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// Fetches a document, one at a time on a line.
    ///
    /// # Errors
    ///
    /// When there is none within [`WHOLE`], of at most [`MAX_BODY`] and of the right kind.
    pub(crate) async fn get(
        &self,
        line: &Line,
        url: &str,
        media: Media,
    ) -> Result<Vec<u8>, CallError> {
        let url = self.reach.check(url)?;
        let deadline = Instant::now() + WHOLE;
        let state = self.lines.line(line);
        let Ok(_fetching) = timeout_at(deadline, state.fetching.lock()).await else {
            return Err(CallError::Busy);
        };
        let request = self.client().await?.get(url).header(ACCEPT, media.accept());
        let answer = self.call(line, request, media, deadline).await?;
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(CallError::Answer(answer.status))
        }
    }

    /// Asks for a JSON document in somebody's name (RFC 6750 2.1).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(crate) async fn get_as_bearer(
        &self,
        line: &Line,
        url: &str,
        token: &str,
    ) -> Result<Vec<u8>, CallError> {
        let url = self.reach.check(url)?;
        let authorization = secret_header(&format!("Bearer {token}"))?;
        let request = self.client().await?.get(url).header(AUTHORIZATION, authorization);
        let request = request.header(ACCEPT, Media::Json.accept());
        let answer = self.call(line, request, Media::Json, Instant::now() + WHOLE).await?;
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(CallError::Answer(answer.status))
        }
    }

    /// Posts a form, which is encoded already, and reads the JSON that comes back: also where it
    /// says what was wrong (RFC 6749 5.2).
    ///
    /// # Errors
    ///
    /// When nothing comes back that could be that.
    pub(crate) async fn post_form(
        &self,
        line: &Line,
        url: &str,
        form: String,
        authorization: Option<&str>,
    ) -> Result<Answer, CallError> {
        let url = self.reach.check(url)?;
        let mut request = self
            .client()
            .await?
            .post(url)
            .header(ACCEPT, Media::Json.accept())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, secret_header(authorization)?);
        }
        self.call(line, request, Media::Json, Instant::now() + WHOLE).await
    }

    /// The client for those who have their own way of calling; every address must be
    /// [checked](Reach::check_host) before.
    pub(crate) async fn client(&self) -> Result<&Client, CallError> {
        self.client.get_or_try_init(async || self.build()).await
    }

    async fn call(
        &self,
        line: &Line,
        request: RequestBuilder,
        media: Media,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let places = self.lines.places(line);
        let Ok(Ok(_place)) = timeout_at(deadline, places.acquire()).await else {
            return Err(CallError::Busy);
        };
        let pass = self.lines.line(line).enter(Instant::now()).ok_or(CallError::Resting)?;
        let answered = match timeout_at(deadline, exchange(request, media)).await {
            Ok(answered) => answered,
            Err(_) => Err(CallError::TooSlow),
        };
        match &answered {
            Ok(_) => pass.went_well(),
            // Nobody was called.
            Err(CallError::NotPublic(_)) => drop(pass),
            Err(error) => pass.failed(error.is_slow(), Instant::now()),
        }
        answered
    }

    fn build(&self) -> Result<Client, CallError> {
        let resolver = Resolver { reach: self.reach, names: self.names()? };
        let client = Client::builder()
            .user_agent("partywall")
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .pool_max_idle_per_host(0)
            .dns_resolver(resolver);
        #[cfg(test)]
        let client = client.tls_certs_merge(self.given.roots.clone());
        client.build().map_err(CallError::Client)
    }

    fn names(&self) -> Result<Arc<dyn Names>, CallError> {
        #[cfg(test)]
        if let Some(names) = &self.given.names {
            return Ok(Arc::clone(names));
        }
        let mut names = TokioResolver::builder_tokio().map_err(CallError::Names)?;
        let options = names.options_mut();
        (options.timeout, options.attempts) = (CONNECT, 1);
        options.max_active_requests = 1_024;
        Ok(Arc::new(names.build().map_err(CallError::Names)?))
    }
}

async fn exchange(request: RequestBuilder, media: Media) -> Result<Answer, CallError> {
    let response = request.send().await?;
    let status = response.status();
    if !(status == StatusCode::OK || status.is_client_error()) {
        return Err(CallError::Answer(status));
    }
    if status == StatusCode::OK && !media.is_of(response.headers().get(CONTENT_TYPE)) {
        return Err(CallError::Kind(media));
    }
    Ok(Answer { status, body: read(response).await? })
}

/// Reads no more than is read of anybody.
async fn read(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(CallError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn secret_header(value: &str) -> Result<HeaderValue, CallError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| CallError::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Media {
    fn accept(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/samlmetadata+xml, application/xml, text/xml",
        }
    }

    /// Some servers say `text/plain`, or nothing. One that says `text/html` sends a page for people.
    fn is_of(self, content_type: Option<&HeaderValue>) -> bool {
        let Some(value) = content_type else { return true };
        let Ok(value) = value.to_str() else { return false };
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let own = match self {
            Self::Json => "json",
            Self::Xml => "xml",
        };
        let (kind, subtype) = essence.split_once('/').unwrap_or((&essence, ""));
        let is_own = matches!(kind, "application" | "text")
            && (subtype == own || subtype.rsplit('+').next() == Some(own))
            && subtype != "xhtml+xml";
        is_own || ["text/plain", "application/octet-stream"].contains(&essence.as_str())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }
}

/// Why nothing came back. Said to whoever registered the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    NotPublic(#[from] NotPublic),
    #[error("the address cannot be read")]
    Address(#[from] url::ParseError),
    #[error("the address does not begin with https://")]
    NotHttps,
    #[error("the address has a user, a password or a fragment")]
    Decorated,
    #[error("the address has a port below 1024 other than 443")]
    Port,
    #[error("what is to be sent does not fit into a header")]
    Unsendable,
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    #[error("the system's name servers cannot be found out")]
    Names(#[source] hickory_resolver::net::NetError),
    #[error("it cannot be reached: {}", innermost(.0))]
    Http(#[source] reqwest::Error),
    #[error("it did not answer in full within {} seconds", WHOLE.as_secs())]
    TooSlow,
    #[error("it answered {0}; redirects are not followed")]
    Answer(StatusCode),
    #[error("its answer has more than {} KiB", MAX_BODY / 1024)]
    TooLarge,
    #[error("its answer is not {}", .0.name())]
    Kind(Media),
    #[error("it failed a moment ago and is tried again shortly")]
    Resting,
    #[error("too many calls for this tenant are under way")]
    Busy,
}

impl CallError {
    /// Whether another try may succeed without anybody changing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Http(_) | Self::TooSlow | Self::Resting | Self::Busy => true,
            Self::Answer(status) => status.is_server_error(),
            Self::NotPublic(_)
            | Self::Address(_)
            | Self::NotHttps
            | Self::Decorated
            | Self::Port
            | Self::Unsendable
            | Self::Client(_)
            | Self::Names(_)
            | Self::TooLarge
            | Self::Kind(_) => false,
        }
    }

    fn is_slow(&self) -> bool {
        match self {
            Self::TooSlow => true,
            Self::Http(error) => error.is_timeout(),
            _ => false,
        }
    }
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(cause) = source {
            if let Some(refused) = cause.downcast_ref::<NotPublic>() {
                return Self::NotPublic(*refused);
            }
            source = cause.source();
        }
        if error.is_timeout() { Self::TooSlow } else { Self::Http(error.without_url()) }
    }
}

/// What really happened: the outer errors say only that something did.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// How long connecting may take, and the whole of a call, to the last byte read.
const CONNECT: Duration = Duration::from_secs(3);
pub(crate) const WHOLE: Duration = Duration::from_secs(5);
/// How much is read of an answer, in bytes.
const MAX_BODY: usize = 512 * 1024;
