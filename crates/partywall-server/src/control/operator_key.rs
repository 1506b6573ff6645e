//! Operator keys: what the vendor's staff, and its automation, show to the admin API. They are made
//! on the command line, beside the database, and by nothing a network reaches.

use std::time::Duration;

use partywall::Timestamp;
use serde_json::json;

use super::{Actor, ControlError, ControlPlane, SecretHash};
use crate::{
    random,
    secret::Secret,
    storage::{AuditEvent, operator_keys, single_use},
};

/// An operator key, as the control plane knows it. Its secret is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorKey {
    /// Its id: 26 random characters.
    pub id: String,
    /// Whose it is, as the audit trail names them.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What to say of an operator key to be made.
#[derive(Clone, Debug)]
pub struct NewOperatorKey {
    /// Whose it is: 1 to 64 characters.
    pub name: String,
    /// For how long it opens anything: at most 400 days.
    pub lasts: Duration,
}

/// An operator key to be handed to its owner: `pwo_`, its id, its secret. Kept nowhere.
pub struct OperatorKeySecret {
    /// The key.
    pub key: OperatorKey,
    text: Secret<String>,
}

impl OperatorKeySecret {
    /// Shows the text to send as a bearer token.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl ControlPlane {
    /// Makes an operator key. Its secret is returned here and never again.
    ///
    /// # Errors
    ///
    /// [`ControlError::OperatorKey`].
    pub async fn create_operator_key(
        &self,
        actor: &Actor,
        new: NewOperatorKey,
    ) -> Result<OperatorKeySecret, ControlError> {
        let NewOperatorKey { name, lasts } = new;
        let length = name.trim().chars().count();
        let named = (1..=64).contains(&length) && !name.chars().any(char::is_control);
        if !named || lasts.is_zero() || lasts > LONGEST {
            return Err(ControlError::OperatorKey);
        }
        let now = self.now();
        let id = random::opaque_id(&self.inner.random)?;
        let secret = single_use::draw(&self.inner.random)?;
        let key =
            OperatorKey { name, created_at: now, expires_at: now + lasts, revoked_at: None, id };
        let hash = SecretHash::of(&named_for_hash(&key.id), secret.expose());
        let change = self.inner.db.change(now).await?;
        operator_keys::insert(change.rows(), &key, &hash).await?;
        let event = AuditEvent {
            actor,
            tenant: None,
            action: "operator_key.create",
            detail: json!({ "id": key.id, "name": key.name, "expires_at": key.expires_at.0 }),
        };
        self.commit(change, event).await?;
        let text = Secret::new(format!("{PREFIX}{}_{}", key.id, secret.expose()));
        Ok(OperatorKeySecret { key, text })
    }

    /// Every operator key that was not swept yet, in the order they were made.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_operator_keys(&self) -> Result<Vec<OperatorKey>, ControlError> {
        Ok(operator_keys::all(self.inner.db.reader()).await?)
    }

    /// Makes an operator key open nothing from now on.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownOperatorKey`] when there is none of that id, or it was revoked.
    pub async fn revoke_operator_key(&self, actor: &Actor, id: &str) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        if !operator_keys::revoke(change.rows(), id, now).await? {
            return Err(ControlError::UnknownOperatorKey { id: id.to_owned() });
        }
        let event = AuditEvent {
            actor,
            tenant: None,
            action: "operator_key.revoke",
            detail: json!({ "id": id }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// The operator key that `text` is, if it opens anything now. One that does not exist takes
    /// the same look and the same comparison as one with another secret.
    pub(crate) async fn operator_by_key(
        &self,
        text: &str,
    ) -> Result<Option<OperatorKey>, ControlError> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        let Some((id, secret)) = parts.filter(|(id, _)| random::is_opaque_id(id)) else {
            return Ok(None);
        };
        let shown = SecretHash::of(&named_for_hash(id), secret);
        let now = self.now();
        let stored = operator_keys::find(self.inner.db.reader(), id).await?;
        let hash = stored.as_ref().map(|(_, hash)| hash.as_slice());
        let is_it = shown.is_one_of([hash, None]);
        let usable = |key: &OperatorKey| key.revoked_at.is_none() && now < key.expires_at;
        Ok(stored.map(|(key, _)| key).filter(|key| is_it && usable(key)))
    }
}

/// No client's id looks like this, so no client's hash is an operator key's.
fn named_for_hash(id: &str) -> String {
    format!("operator:{id}")
}

/// What an operator key begins with, for people and for scanners that look for leaked ones.
pub(crate) const PREFIX: &str = "pwo_";
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests_support::{START, control};

    #[tokio::test]
    async fn p01_an_operator_key_opens_until_it_expires_or_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let actor = Actor::System("test");
        let make = async |lasts| {
            let new = NewOperatorKey { name: "ada".to_owned(), lasts };
            control.create_operator_key(&actor, new).await
        };
        let made = make(Duration::from_secs(60)).await.unwrap();
        let other = make(Duration::from_secs(60)).await.unwrap();
        let opens = async |text: &str| control.operator_by_key(text).await.unwrap();
        assert_eq!(opens(made.expose()).await, Some(made.key.clone()), "the control");
        assert_eq!(made.key.expires_at, START + Duration::from_secs(60));

        let (id, secret) = made.expose()[PREFIX.len()..].split_once('_').unwrap();
        let other_id = &other.key.id;
        for refused in [
            format!("{PREFIX}{other_id}_{secret}"),
            format!("{PREFIX}{id}_{secret}x"),
            format!("{PREFIX}{id}_"),
            format!("{PREFIX}{}_{secret}", "a".repeat(26)),
            format!("pws_{id}_{secret}"),
            String::new(),
        ] {
            assert_eq!(opens(&refused).await, None, "{refused}");
        }
        control.revoke_operator_key(&actor, id).await.unwrap();
        assert_eq!(opens(made.expose()).await, None, "revoked");
        assert!(control.revoke_operator_key(&actor, id).await.is_err(), "twice");
        assert!(opens(other.expose()).await.is_some(), "the other is as it was");
        for (name, lasts) in [("", 60), ("a\n", 60), ("a", 0), ("a", 401 * 24 * 3600)] {
            let new = NewOperatorKey { name: name.to_owned(), lasts: Duration::from_secs(lasts) };
            assert!(control.create_operator_key(&actor, new).await.is_err(), "{name:?} {lasts}");
        }
    }
}
