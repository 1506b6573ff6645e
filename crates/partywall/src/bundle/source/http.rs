//! Bundles over HTTP(S).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Response,
    header::{ETAG, HeaderValue, IF_NONE_MATCH},
};

use super::{BundleSource, Generation, SourceError};
use crate::bundle::format::MAGIC;

/// The control plane's `/bundle`, or any web server that serves the file.
///
/// Asks with `If-None-Match` and, of a control plane, waits on the server for the next change
/// (`?after=<generation>&wait=<seconds>&delta=true`), so that a change arrives within a round trip
/// and costs what changed. A server that does not hold the request is asked every five seconds;
/// see [`poll_every`](Self::poll_every).
///
/// Nothing of what it sends is signed until it is here whole: so it gets 256 MiB and 80 seconds
/// at most, and has to begin like a bundle.
#[derive(Clone, Debug)]
pub struct HttpBundleSource {
    url: String,
    client: reqwest::Client,
    max_bytes: usize,
    within: Duration,
    poll_every: Duration,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// A file that was fetched, and what the server called it.
#[derive(Clone, Debug)]
struct Seen {
    generation: Generation,
    etag: HeaderValue,
}

impl HttpBundleSource {
    /// How long to wait on the server for a change, in seconds.
    const WAIT: u64 = 20;

    /// Fetches from `url`.
    ///
    /// # Errors
    ///
    /// When the machine's TLS roots cannot be read.
    pub fn new(url: impl Into<String>) -> Result<Self, SourceError> {
        let url = url.into();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(Self::WAIT + 10))
            .build();
        match client {
            Ok(client) => Ok(Self {
                url,
                client,
                max_bytes: 256 << 20,
                within: Duration::from_secs(Self::WAIT + 60),
                poll_every: Duration::from_secs(5),
                seen: Arc::default(),
            }),
            Err(error) => Err(SourceError::Unreachable { place: url, source: error.into() }),
        }
    }

    /// Takes at most so many bytes; 256 MiB by default, some three million tenants.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Gives the server so long for an answer, from the request to its last byte, 20 seconds of
    /// waiting for a change included; 80 seconds by default.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Asks a server that answers at once, instead of holding the request until there is something
    /// new, about so often; every five seconds by default.
    #[must_use]
    pub fn poll_every(mut self, interval: Duration) -> Self {
        self.poll_every = interval;
        self
    }

    async fn fetch(&self, after: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        let request = match after {
            None => self.client.get(&self.url),
            Some(after) => {
                let joint = if self.url.contains('?') { '&' } else { '?' };
                let url =
                    format!("{}{joint}after={after}&wait={}&delta=true", self.url, Self::WAIT);
                self.client.get(url).header(IF_NONE_MATCH, self.etag_of(after))
            }
        };
        let answer = request.send().await.map_err(|error| self.failed(error))?;
        match answer.status().as_u16() {
            200 => {}
            204 | 304 => return Ok(None),
            status => return Err(SourceError::Status { place: self.url.clone(), status }),
        }
        let etag = answer.headers().get(ETAG).cloned();
        let bytes = self.read(answer).await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            etag.zip(generation_of(&bytes)).map(|(etag, generation)| Seen { generation, etag });
        Ok(Some(bytes))
    }

    /// What the server called the file of that generation; a control plane's name for it where we
    /// have not seen that.
    fn etag_of(&self, generation: Generation) -> HeaderValue {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match seen.filter(|seen| seen.generation == generation) {
            Some(seen) => seen.etag,
            None => HeaderValue::try_from(format!("\"{generation}\""))
                .unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    async fn read(&self, mut answer: Response) -> Result<Bytes, SourceError> {
        let place = || self.url.clone();
        let too_large = || SourceError::TooLarge { place: place(), limit: self.max_bytes };
        if answer.content_length().is_some_and(|bytes| bytes > self.max_bytes as u64) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(error))? {
            if bytes.len() + chunk.len() > self.max_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
            if !bytes.iter().zip(&MAGIC).all(|(byte, expected)| byte == expected) {
                return Err(SourceError::NotABundle { place: place() });
            }
        }
        Ok(bytes.into())
    }

    fn failed(&self, error: reqwest::Error) -> SourceError {
        SourceError::Unreachable { place: self.url.clone(), source: error.without_url().into() }
    }
}

impl BundleSource for HttpBundleSource {
    async fn next(&self, after: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        let answer = tokio::time::timeout(self.within, self.fetch(after)).await;
        answer.unwrap_or_else(|_| {
            Err(SourceError::TooSlow { place: self.url.clone(), limit: self.within })
        })
    }

    fn pause(&self) -> Duration {
        self.poll_every
    }
}

/// What an unchecked file says its generation is: good enough to recall what the server called it,
/// as the name is used only while a checked bundle of that generation is in force.
fn generation_of(bytes: &[u8]) -> Option<Generation> {
    let number = bytes.get(16..)?.first_chunk()?;
    Some(Generation(u64::from_le_bytes(*number)))
}
