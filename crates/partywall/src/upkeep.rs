//! What an enforcement point does beside its requests: keep up with bundles and with issuers' keys.

use std::{future::pending, sync::Arc};

use crate::{
    Partywall, Refusal,
    bundle::BundleSource,
    token::{KeyRefresher, TokenError},
};

impl Partywall {
    /// Keeps up with `source` and with the keys of issuers that publish them at an address, for as
    /// long as it is polled. Never ends by itself.
    ///
    /// ```no_run
    /// # use partywall::{Partywall, bundle::{HttpBundleSource, SourceError}};
    /// # fn start(wall: Partywall) -> Result<(), SourceError> {
    /// let source = HttpBundleSource::new("https://control.example/bundle")?;
    /// tokio::spawn(async move { wall.run(&source).await });
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(&self, source: &impl BundleSource) {
        tokio::join!(self.follow(source), self.keep_keys());
    }

    /// Fetches the keys of issuers that publish them at an address, and goes on doing so as the
    /// bundle names other ones. Never ends by itself.
    pub async fn keep_keys(&self) {
        let mut changes = self.0.key_urls.subscribe();
        loop {
            let urls = changes.borrow_and_update().clone();
            let enforcing = Arc::downgrade(&self.0);
            let refresher = KeyRefresher::new(urls, move |issuer, keys| {
                if let Some(inner) = enforcing.upgrade() {
                    Self(inner).replace_keys(issuer, keys);
                }
            });
            let keep_fresh = async {
                match refresher {
                    Ok(refresher) => {
                        self.0.refresher.store(Some(Arc::new(refresher.clone())));
                        refresher.run().await;
                    }
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "issuers' keys cannot be fetched");
                    }
                }
                pending::<()>().await
            };
            tokio::select! {
                () = keep_fresh => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Asks the issuer, when a token was refused for a key we do not know yet: whether it is worth
    /// verifying the token again.
    ///
    /// This is the one thing a request can wait for, and only a request with an external issuer's
    /// token signed by a key published moments ago. However many ask, an issuer is asked six times
    /// a minute at most (R-10).
    pub async fn learn_key(&self, refusal: &Refusal) -> bool {
        let Refusal::Token(TokenError::KeyUnknown { issuer, kid }) = refusal else { return false };
        let Some(refresher) = self.0.refresher.load_full() else { return false };
        refresher.refresh_for_unknown_kid(issuer, kid).await
    }
}
