//! What a portal session has got to, kept with its link.

use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::control::IdentityProvider;

/// What a portal session has got to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// What the person has entered, and not yet trusted.
    pub(super) proposal: Option<Proposal>,
    /// What came of the last test sign-in.
    pub(super) trial: Option<Trial>,
}

/// A provider, as it would be trusted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Proposal {
    pub(super) provider: IdentityProvider,
    /// What people would read on the button, for a connection still to be made.
    pub(super) name: String,
    /// Of the connection that it was compared with; nothing, where there was none.
    pub(super) version: Option<u64>,
}

impl Proposal {
    /// What the page that shows it calls it by: a form confirms what it showed and nothing else.
    pub(super) fn digest(&self) -> String {
        // Its members are text: it cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
