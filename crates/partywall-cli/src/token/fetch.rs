//! Fetching a key set, once.

use std::time::Duration;

use partywall::token::{KeySet, KeySetError};
use reqwest::{Client, StatusCode, redirect};

/// From the first byte sent to the last received.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Why a key set could not be had from its address.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("it answered {0}, not 200")]
    Status(StatusCode),
    #[error("it is longer than {} bytes", KeySet::MAX_LEN)]
    TooLong,
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

/// Asks `url` for its key set. A redirect is not followed: the address is part of the trust.
pub(super) async fn key_set(url: &str) -> Result<KeySet, FetchError> {
    let client =
        Client::builder().redirect(redirect::Policy::none()).timeout(TIME_LIMIT).build()?;
    let mut response = client.get(url).send().await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > KeySet::MAX_LEN {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&part);
    }
    Ok(KeySet::parse(&body)?)
}
