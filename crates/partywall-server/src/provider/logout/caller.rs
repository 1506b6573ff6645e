//! Calling an application's address from here: nothing of the answer but its status.

use reqwest::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use url::Url;

use crate::outbound::{CallError, Outbound};

/// Posts a logout token (OIDC Back-Channel Logout 2.5). Any success counts as told (2.8: 200; some
/// frameworks answer an empty page with 204).
pub(super) async fn post_logout_token(
    outbound: &Outbound,
    to: &str,
    token: &str,
) -> Result<(), NotTold> {
    let url = Url::parse(to).map_err(CallError::from)?;
    outbound.reach().check_host(&url)?;
    // The token's alphabet needs no encoding.
    let request = outbound
        .client()
        .await?
        .post(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(CACHE_CONTROL, "no-store")
        .body(format!("logout_token={token}"));
    let status = request.send().await.map_err(CallError::from)?.status();
    if status.is_success() { Ok(()) } else { Err(NotTold::Answer(status)) }
}

/// Why an application was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTold {
    #[error("the application was not called: {0}")]
    Call(#[from] CallError),
    #[error("the application answered {0}")]
    Answer(StatusCode),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn p06_a_private_address_is_refused_however_it_is_spelled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"] {
            let to = format!("http://{host}:{port}/");
            let called = post_logout_token(&Outbound::new(false), &to, "t").await;
            assert!(called.is_err(), "{host}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(nobody.is_err(), "somebody was called");

        // The same, where the operator allows it: somebody is.
        let call = tokio::spawn(async move {
            let to = format!("http://127.0.0.1:{port}/");
            post_logout_token(&Outbound::new(true), &to, "t").await
        });
        tokio::time::timeout(Duration::from_secs(5), listener.accept()).await.unwrap().unwrap();
        call.abort();
    }
}
