//! One request and its answer, as the attacks see them.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde_json::Value;

use super::{SystemError, Token};

/// The way to the application. Connections are kept; redirects are answers, not followed.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    /// Seconds spent waiting where the application asked for patience.
    waited: AtomicU64,
}

/// How many requests are under way at a time, where one does not depend on another.
pub(super) const AT_ONCE: usize = 8;

/// Seconds that a run waits in all, and for one answer, where the application asks for patience.
const PATIENCE: u64 = 120;
const LONGEST_WAIT: u64 = 10;
const A_MOMENT: Duration = Duration::from_millis(20);

/// How often a request is made again when the application asks for patience.
const TRIES: usize = 8;

/// The longest answer that is looked through, in bytes.
const LONGEST: usize = 16 << 20;

/// What is sent, credentials aside.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Encoded.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Body>,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) content_type: Option<&'static str>,
    pub(super) text: String,
}

impl Body {
    pub(super) fn json(value: &Value) -> Self {
        Self { content_type: Some("application/json"), text: value.to_string() }
    }
}

impl Request {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), headers: Vec::new(), body: None }
    }

    pub(super) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn with_query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Everything in it that an answer may echo.
    pub(super) fn says(&self, text: &str) -> bool {
        self.path.contains(text)
            || self.query.iter().any(|(_, value)| value.contains(text))
            || self.headers.iter().any(|(_, value)| value.contains(text))
            || self.body.as_ref().is_some_and(|body| body.text.contains(text))
    }
}

/// As it can be tried again by hand, with a token of one's own.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (n, (name, value)) in self.query.iter().enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { '?' } else { '&' })?;
        }
        for (name, value) in &self.headers {
            write!(f, ", {name}: {value}")?;
        }
        if let Some(body) = &self.body {
            write!(f, ", {}: {}", body.content_type.unwrap_or("no content type"), body.text)?;
        }
        Ok(())
    }
}

/// Who the request says it is from.
#[derive(Clone, Copy)]
pub(super) enum Credentials<'t> {
    None,
    Bearer(&'t Token),
    /// The values of `Authorization`, as they are.
    Raw(&'t [String]),
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Got(Got),
    /// No answer, and why.
    Failed(String),
}

#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Got(got) => Some(got.status),
            Self::Failed(_) => None,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Got(got) => serde_json::from_str(&got.body).unwrap_or(Value::Null),
            Self::Failed(_) => Value::Null,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let Self::Got(got) = self else { return None };
        got.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// How often a text stands in its body.
    pub(super) fn count(&self, text: &str) -> usize {
        let Self::Got(got) = self else { return 0 };
        got.body.matches(text).count()
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        let Self::Got(got) = self else { return false };
        got.body.contains(text) || got.headers.iter().any(|(_, value)| value.contains(text))
    }
}

/// The status, or why there is none.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got(got) => write!(f, "{}", got.status),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl Client {
    pub(super) fn new(address: &str, timeout: Duration) -> Result<Self, SystemError> {
        let invalid = || SystemError::Address { address: without_secrets(address) };
        let url: Url = address.parse().map_err(|_| invalid())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
            return Err(invalid());
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeout)
            .timeout(timeout)
            .build()
            .map_err(SystemError::Client)?;
        Ok(Self { http, base: address.trim_end_matches('/').to_owned(), waited: AtomicU64::new(0) })
    }

    /// The host and port that requests go to.
    pub(super) fn authority(&self) -> String {
        let url: Option<Url> = self.base.parse().ok();
        url.map(|url| url.authority().to_owned()).unwrap_or_default()
    }

    /// Sends it, and again after a while where the application asks for patience. A run waits for
    /// [`PATIENCE`] in all; then such answers are taken as they are, and decide nothing.
    pub(super) async fn send(&self, request: &Request, from: Credentials<'_>) -> Answer {
        let mut usual = 1;
        for _ in 0..TRIES {
            let answer = self.send_once(request, from).await;
            let asked = answer.header(RETRY_AFTER.as_str()).and_then(|value| value.parse().ok());
            let seconds: u64 = match (answer.status(), asked) {
                (Some(429), None) => usual,
                (Some(429 | 503), Some(seconds)) => seconds,
                _ => return answer,
            };
            let before = self.waited.fetch_add(seconds, Ordering::Relaxed);
            if seconds > LONGEST_WAIT || before.saturating_add(seconds) > PATIENCE {
                return answer;
            }
            tokio::time::sleep(Duration::from_secs(seconds).max(A_MOMENT)).await;
            usual = (usual * 2).min(LONGEST_WAIT);
        }
        self.send_once(request, from).await
    }

    /// Whether the application is on this machine, so that it could reach a listener of ours.
    pub(super) fn is_local(&self) -> bool {
        let url: Option<Url> = self.base.parse().ok();
        match url.as_ref().and_then(Url::host_str) {
            Some("localhost" | "[::1]") => true,
            Some(host) => host.starts_with("127."),
            None => false,
        }
    }

    /// Sends them all, [`AT_ONCE`] at a time, and returns the answers in the same order.
    pub(super) async fn send_all(
        &self,
        requests: &[Request],
        from: Credentials<'_>,
    ) -> Vec<Answer> {
        let sending = requests.iter().map(|request| self.send(request, from));
        let sending: Vec<_> = sending.collect();
        stream::iter(sending).buffered(AT_ONCE).collect().await
    }

    async fn send_once(&self, request: &Request, from: Credentials<'_>) -> Answer {
        let Some(built) = self.build(request, from) else {
            return Answer::Failed("it cannot be put into an HTTP request".to_owned());
        };
        match self.read(built).await {
            Ok(answer) => answer,
            // `without_url`: a query may hold a token.
            Err(error) if error.is_timeout() => Answer::Failed("no answer in time".to_owned()),
            Err(error) if error.is_connect() => Answer::Failed("no connection".to_owned()),
            Err(_) => Answer::Failed("the connection broke".to_owned()),
        }
    }

    fn build(&self, request: &Request, from: Credentials<'_>) -> Option<reqwest::Request> {
        let mut url: Url = format!("{}{}", self.base, request.path).parse().ok()?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut built = reqwest::Request::new(request.method.clone(), url);
        for (name, value) in &request.headers {
            let name: HeaderName = name.parse().ok()?;
            built.headers_mut().append(name, value.parse().ok()?);
        }
        let authorization = match from {
            Credentials::None => Vec::new(),
            Credentials::Bearer(token) => vec![format!("Bearer {}", token.expose())],
            Credentials::Raw(values) => values.to_vec(),
        };
        for value in authorization {
            let mut value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
            value.set_sensitive(true);
            built.headers_mut().append(AUTHORIZATION, value);
        }
        if let Some(body) = &request.body {
            if let Some(content_type) = body.content_type {
                built.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            *built.body_mut() = Some(body.text.clone().into());
        }
        Some(built)
    }

    async fn read(&self, request: reqwest::Request) -> Result<Answer, reqwest::Error> {
        let mut response = self.http.execute(request).await?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        // Nobody asked for it, and what cannot be read may hold anything.
        if let Some(coding) = response.headers().get(CONTENT_ENCODING)
            && coding != "identity"
        {
            return Ok(Answer::Failed("the answer is compressed, unasked".to_owned()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Ok(Answer::Failed("the answer is longer than 16 MiB".to_owned()));
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer::Got(Got { status: response.status().as_u16(), headers, body }))
    }
}

/// An address that may hold a password is not repeated.
fn without_secrets(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => address.to_owned(),
    }
}
