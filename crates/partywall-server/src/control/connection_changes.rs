//! Connections through their lives: registered, changed, disabled, deleted. Whatever ends one ends
//! what people had through it, in the same change (F-04).

use std::{collections::BTreeSet, time::Duration};

use partywall::TenantId;
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Actor, Connection, ConnectionId, ConnectionRules, ConnectionStatus, ControlError, ControlPlane,
    GrantEnd, IdentityProvider, InvalidConnection, UserId, connection, tenant::MAX_PAGE,
};
use crate::{
    federation::secrets::Secrets,
    secret::Secret,
    storage::{
        AuditEvent, StorageError, connections, domains, external_identities, grants, scim_groups,
        scim_tokens, scim_users, sessions, tenants,
    },
};

/// What to register.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConnection {
    /// What people read on the button that leads to it: 1 to 64 characters.
    pub name: String,
    /// How the provider is reached, and by what it is believed.
    pub provider: IdentityProvider,
    /// What its word is good for.
    #[serde(default)]
    pub rules: ConnectionRules,
    /// For OIDC: the secret the provider gave out. Kept sealed, and never shown again.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub client_secret: Option<Secret<String>>,
}

/// What to change of a connection; what is not said stays.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionPatch {
    /// What people read on the button that leads to it.
    #[serde(default)]
    pub name: Option<String>,
    /// How the provider is reached, and by what it is believed: all of it.
    #[serde(default)]
    pub provider: Option<IdentityProvider>,
    /// What its word is good for: all of it.
    #[serde(default)]
    pub rules: Option<ConnectionRules>,
    /// Another client secret.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub client_secret: Option<Secret<String>>,
    /// `active` or `disabled`.
    #[serde(default)]
    pub status: Option<ConnectionStatus>,
    /// That the change may redefine who is who: another issuer, or none of the certificates that
    /// were trusted, after people were linked (I-04).
    #[serde(default)]
    pub redefine_identities: bool,
}

/// A step in changing our own key of a SAML connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStep {
    /// The next key is drawn and published; it decrypts, and does not sign yet.
    Publish,
    /// The next key signs, the other still decrypts.
    Use,
    /// The other key is gone.
    Retire,
}

impl ControlPlane {
    /// Registers a tenant's own identity provider, as a draft: it can be tried, and lets nobody in
    /// before it is activated.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], [`ControlError::TooManyConnections`], and
    /// [`ControlError::Connection`].
    pub async fn create_connection(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        new: NewConnection,
    ) -> Result<Connection, ControlError> {
        let id = ConnectionId::draw(&self.inner.random)?;
        self.create_connection_as(actor, tenant, id, new).await
    }

    /// As [`create_connection`](Self::create_connection), under an id that was drawn before: its
    /// addresses have been told already.
    pub(crate) async fn create_connection_as(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: ConnectionId,
        new: NewConnection,
    ) -> Result<Connection, ControlError> {
        let NewConnection { name, provider, rules, client_secret } = new;
        let now = self.now();
        let secrets = Secrets::for_new(&provider, client_secret, now)?;
        let connection = Connection {
            sealed: Some(secrets.seal(&self.inner.config.sealing_key, tenant, &id)?),
            id,
            tenant: tenant.clone(),
            name,
            status: ConnectionStatus::Draft,
            provider,
            rules,
            created_at: now,
            changed_at: now,
            version: 1,
        };
        self.check_connection(&connection)?;
        let change = self.inner.db.change(now).await?;
        if tenants::find(change.rows(), tenant).await?.is_none() {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        if connections::count(change.rows(), tenant).await? >= MAX_CONNECTIONS {
            return Err(ControlError::TooManyConnections);
        }
        connections::insert(change.rows(), &connection).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "connection.create",
            detail: json!({
                "connection": connection.id, "name": connection.name,
                "provider": connection.provider, "rules": connection.rules,
            }),
        };
        self.commit(change, event).await?;
        Ok(connection)
    }

    /// The tenant's connection of that id, whatever its status.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn connection(
        &self,
        tenant: &TenantId,
        id: &ConnectionId,
    ) -> Result<Option<Connection>, ControlError> {
        Ok(connections::find(self.inner.db.reader(), tenant, id).await?)
    }

    /// Up to `limit` (at most 1,000) connections of a tenant by ascending id, from the one behind
    /// `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_connections(
        &self,
        tenant: &TenantId,
        after: Option<&ConnectionId>,
        limit: u32,
    ) -> Result<Vec<Connection>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(connections::page(self.inner.db.reader(), tenant, after, limit).await?)
    }

    /// Changes a connection, if `expected` holds of what it is now. Every rule of registering one
    /// holds again (B-16); another issuer or client comes with its own secret. Disabling it ends
    /// every session and grant that began through it, and has their access tokens refused.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownConnection`], [`ControlError::Conflict`] when `expected` does not
    /// hold, [`ControlError::RedefinesIdentities`] where people are linked and the patch does not
    /// say that it means to, and [`ControlError::Connection`].
    pub async fn update_connection(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &ConnectionId,
        patch: ConnectionPatch,
        expected: impl FnOnce(&Connection) -> bool + Send,
    ) -> Result<Connection, ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let before = self.connection_in(change.rows(), tenant, id).await?;
        if !expected(&before) {
            return Err(ControlError::Conflict);
        }
        let ConnectionPatch { name, provider, rules, client_secret, status, redefine_identities } =
            patch;
        let mut after = before.clone();
        after.name = name.unwrap_or(after.name);
        after.provider = provider.unwrap_or(after.provider);
        after.rules = rules.unwrap_or(after.rules);
        after.status = status.unwrap_or(after.status);
        let new_secret = client_secret.is_some();
        let sealing = &self.inner.config.sealing_key;
        let secrets = if before.provider.shares_secret_with(&after.provider) {
            let kept = Secrets::open(sealing, &before)?;
            client_secret.map(|secret| kept.with_client_secret(secret))
        } else {
            // Another protocol, issuer or client keeps nothing of the one before.
            Some(Secrets::for_new(&after.provider, client_secret, now)?)
        };
        if let Some(secrets) = secrets {
            after.sealed = Some(secrets.seal(sealing, tenant, id)?);
        }
        after.changed_at = now;
        after.version += 1;
        self.check_connection(&after)?;
        let redefined = before.provider.redefines_identity(&after.provider);
        if redefined
            && !redefine_identities
            && external_identities::count_of(change.rows(), tenant, id).await? > 0
        {
            return Err(ControlError::RedefinesIdentities { connection: id.clone() });
        }
        if !connections::update(change.rows(), &after).await? {
            return Err(ControlError::Conflict);
        }
        let ended = if before.admits() && !after.admits() {
            self.end_all_through(change.rows(), tenant, id).await?
        } else {
            Ended::default()
        };
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "connection.update",
            detail: json!({
                "connection": id, "name": after.name, "status": after.status,
                "status_before": before.status, "provider": after.provider,
                "provider_before": before.provider, "rules": after.rules,
                "rules_before": before.rules, "new_secret": new_secret,
                "redefines_identities": redefined, "sessions_ended": ended.sessions,
                "users_signed_out": ended.users,
            }),
        };
        self.commit(change, event).await?;
        Ok(after)
    }

    /// Takes one step in changing our own key of a SAML connection: its provider learns the next one
    /// from our metadata before anything is signed with it, and encrypts to either meanwhile.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownConnection`], and [`ControlError::Connection`] when it is not the time
    /// for that step.
    pub async fn turn_connection_key(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &ConnectionId,
        step: KeyStep,
    ) -> Result<Connection, ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let mut connection = self.connection_in(change.rows(), tenant, id).await?;
        let sealing = &self.inner.config.sealing_key;
        let secrets = Secrets::open(sealing, &connection)?;
        let secrets = match step {
            KeyStep::Publish => secrets.with_next_key(now)?,
            KeyStep::Use => secrets.using_next_key()?,
            KeyStep::Retire => secrets.without_other_key()?,
        };
        connection.sealed = Some(secrets.seal(sealing, tenant, id)?);
        connection.changed_at = now;
        connection.version += 1;
        if !connections::update(change.rows(), &connection).await? {
            return Err(ControlError::Conflict);
        }
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "connection.key",
            detail: json!({ "connection": id, "step": step }),
        };
        self.commit(change, event).await?;
        Ok(connection)
    }

    /// Deletes a connection, if `expected` holds of what it is now, with all that began through it
    /// and every link to it. Its users stay: without another way in they cannot come.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownConnection`], and [`ControlError::Conflict`] when `expected` does not
    /// hold.
    pub async fn delete_connection(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        id: &ConnectionId,
        expected: impl FnOnce(&Connection) -> bool + Send,
    ) -> Result<(), ControlError> {
        let change = self.inner.db.change(self.now()).await?;
        let connection = self.connection_in(change.rows(), tenant, id).await?;
        if !expected(&connection) {
            return Err(ControlError::Conflict);
        }
        let ended = self.end_all_through(change.rows(), tenant, id).await?;
        external_identities::forget_all_of(change.rows(), tenant, id).await?;
        domains::forget_connection(change.rows(), tenant, id).await?;
        scim_groups::forget_all_of(change.rows(), tenant, id).await?;
        scim_users::forget_all_of(change.rows(), tenant, id).await?;
        scim_tokens::forget_all_of(change.rows(), tenant, id).await?;
        connections::delete(change.rows(), tenant, id).await?;
        let event = AuditEvent {
            actor,
            tenant: Some(tenant),
            action: "connection.delete",
            detail: json!({
                "connection": id, "name": connection.name, "sessions_ended": ended.sessions,
                "users_signed_out": ended.users,
            }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    fn check_connection(&self, connection: &Connection) -> Result<(), InvalidConnection> {
        connection::check_name(&connection.name)?;
        connection.provider.check(self.inner.config.call_private_addresses)?;
        connection.rules.check()
    }

    pub(super) async fn connection_in(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        id: &ConnectionId,
    ) -> Result<Connection, ControlError> {
        let found = connections::find(db, tenant, id).await?;
        found.ok_or_else(|| ControlError::UnknownConnection { connection: id.clone() })
    }

    /// Ends every session and grant that began through a connection, in the caller's change, and
    /// refuses the access tokens of everybody who had one. What the same people have otherwise
    /// they get anew by a refresh.
    async fn end_all_through(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        id: &ConnectionId,
    ) -> Result<Ended, StorageError> {
        let now = self.now();
        // An access token issued by a grant that ended a moment ago is still good.
        let since = now - (self.policy().token_lifetime() + Duration::from_secs(60));
        let mut users: BTreeSet<UserId> = grants::users_through(db, tenant, id, since).await?;
        let ended = sessions::end_all_through(db, tenant, id, now).await?;
        let sessions = ended.len();
        users.extend(ended);
        grants::revoke_all_through(db, tenant, id, GrantEnd::Withdrawn.as_str(), now).await?;
        for user in &users {
            self.refuse_tokens_of(db, tenant, user.as_str(), now).await?;
        }
        Ok(Ended { sessions, users: users.len() })
    }
}

#[derive(Default)]
struct Ended {
    sessions: usize,
    users: usize,
}

/// More than any organisation has, and few enough for a page.
const MAX_CONNECTIONS: u64 = 50;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        NewTenant,
        control::tests_support::control,
        federation::{ExternalIdentity, secrets::Secrets},
    };

    const ACTOR: Actor = Actor::System("test");

    fn oidc(issuer: &str) -> Value {
        json!({ "protocol": "oidc", "issuer": issuer, "client_id": "us" })
    }

    async fn tenant(control: &ControlPlane, slug: &str) -> TenantId {
        let new =
            NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
        control.create_tenant(&ACTOR, new).await.unwrap().id().clone()
    }

    async fn made(control: &ControlPlane, tenant: &TenantId) -> Connection {
        let new = json!({
            "name": "Acme's own", "client_secret": "s3cret", "provider": oidc("https://idp.test"),
        });
        let new = serde_json::from_value(new).unwrap();
        control.create_connection(&ACTOR, tenant, new).await.unwrap()
    }

    async fn changed(
        control: &ControlPlane,
        of: &Connection,
        patch: Value,
    ) -> Result<Connection, ControlError> {
        let patch = serde_json::from_value(patch).unwrap();
        control.update_connection(&ACTOR, &of.tenant, &of.id, patch, |_| true).await
    }

    #[tokio::test]
    async fn b16_what_cannot_be_registered_cannot_be_changed_to_either() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let acme = tenant(&control, "acme").await;
        let connection = made(&control, &acme).await;
        assert!(changed(&control, &connection, json!({ "name": "Other" })).await.is_ok());
        for wrong in [
            json!({ "name": "" }),
            json!({ "name": "two\nlines" }),
            json!({ "provider": oidc("ftp://idp.test") }),
            json!({ "provider": oidc("https://ada@idp.test") }),
            json!({ "provider": oidc("https://idp.test/?q") }),
            json!({ "provider": { "protocol": "saml", "entity_id": "x", "certificates": [] } }),
            json!({ "rules": { "default_roles": ["two words"] } }),
            json!({ "rules": { "just_in_time": true, "link_only": true } }),
        ] {
            let refused = changed(&control, &connection, wrong.clone()).await;
            assert!(matches!(refused, Err(ControlError::Connection(_))), "{wrong}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn b16_another_protocol_keeps_no_secret_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let acme = tenant(&control, "acme").await;
        let oidc_one = made(&control, &acme).await;
        let key = &control.inner.config.sealing_key;
        let saml = json!({ "provider": {
            "protocol": "saml", "entity_id": "https://idp.test", "sso_redirect": "https://idp.test/sso",
            "certificates": [certificate()],
        } });
        let saml_one = changed(&control, &oidc_one, saml).await.unwrap();
        let secrets = Secrets::open(key, &saml_one).unwrap();
        assert!(secrets.client_secret().is_none() && secrets.signer().is_ok());
        let back = json!({ "provider": oidc("https://idp.test") });
        let refused = changed(&control, &saml_one, back.clone()).await;
        assert!(matches!(refused, Err(ControlError::Connection(InvalidConnection::NoSecret))));
        let mut whole = back;
        whole["client_secret"] = json!("another");
        assert!(changed(&control, &saml_one, whole).await.is_ok());
    }

    /// Its token endpoint would be sent what nobody may read here.
    #[tokio::test]
    async fn b16_l02_another_issuer_is_not_told_the_secret_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let acme = tenant(&control, "acme").await;
        let connection = made(&control, &acme).await;
        let mut other_client = oidc("https://idp.test");
        other_client["client_id"] = json!("another of theirs");
        for provider in [oidc("https://mallory.test"), other_client] {
            let mut patch = json!({ "provider": provider });
            let refused = changed(&control, &connection, patch.clone()).await;
            assert!(
                matches!(refused, Err(ControlError::Connection(InvalidConnection::NoSecret))),
                "{refused:?}"
            );
            patch["client_secret"] = json!("its own");
            let after = changed(&control, &connection, patch).await.unwrap();
            let key = &control.inner.config.sealing_key;
            assert_eq!(Secrets::open(key, &after).unwrap().client_secret(), Some("its own"));
            let mut back = json!({ "provider": oidc("https://idp.test") });
            back["client_secret"] = json!("s3cret");
            changed(&control, &connection, back).await.unwrap();
        }
        // What else is set leaves it where it is.
        let mut same = oidc("https://idp.test");
        same["scopes"] = json!(["email"]);
        let after = changed(&control, &connection, json!({ "provider": same })).await.unwrap();
        let key = &control.inner.config.sealing_key;
        assert_eq!(Secrets::open(key, &after).unwrap().client_secret(), Some("s3cret"));
    }

    /// A certificate that can be trusted: one of our own.
    fn certificate() -> String {
        use base64ct::{Base64, Encoding};
        let provider = serde_json::from_value(json!({
            "protocol": "saml", "entity_id": "x", "certificates": [],
        }))
        .unwrap();
        let secrets =
            Secrets::for_new(&provider, None, partywall::Timestamp(1_800_000_000)).unwrap();
        Base64::encode_string(secrets.certificates("idp").unwrap()[0].der())
    }

    #[tokio::test]
    async fn s12_our_key_changes_in_three_steps_and_both_decrypt_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let acme = tenant(&control, "acme").await;
        let new = json!({ "name": "Acme's own", "provider": {
            "protocol": "saml", "entity_id": "https://idp.test", "sso_redirect": "https://idp.test/sso",
            "certificates": [certificate()],
        } });
        let new = serde_json::from_value(new).unwrap();
        let made = control.create_connection(&ACTOR, &acme, new).await.unwrap();
        let key = &control.inner.config.sealing_key;
        let published = |of: &Connection| -> Vec<String> {
            let certificates = Secrets::open(key, of).unwrap().certificates("sp").unwrap();
            certificates.iter().map(partywall_saml::Certificate::fingerprint_text).collect()
        };
        let step = async |step| control.turn_connection_key(&ACTOR, &acme, &made.id, step).await;
        let [first] = published(&made).try_into().unwrap();
        for early in [KeyStep::Use, KeyStep::Retire] {
            assert!(matches!(step(early).await, Err(ControlError::Connection(_))), "{early:?}");
        }
        let two = published(&step(KeyStep::Publish).await.unwrap());
        assert_eq!((two.len(), &two[0]), (2, &first));
        assert!(step(KeyStep::Publish).await.is_err(), "a third");
        let used = step(KeyStep::Use).await.unwrap();
        assert_eq!(published(&used), [two[1].clone(), two[0].clone()]);
        assert_eq!(Secrets::open(key, &used).unwrap().decryption_keys().unwrap().len(), 2);
        assert_eq!(published(&step(KeyStep::Retire).await.unwrap()), [two[1].clone()]);
    }

    #[tokio::test]
    async fn i04_who_is_who_is_not_redefined_by_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let acme = tenant(&control, "acme").await;
        let connection = made(&control, &acme).await;
        let to = |issuer| json!({ "provider": oidc(issuer), "client_secret": "its own" });
        let other = to("https://other-idp.test");
        // Nobody is linked yet: it is the registration's business.
        assert!(changed(&control, &connection, other.clone()).await.is_ok());
        assert!(changed(&control, &connection, to("https://idp.test")).await.is_ok());

        let user = json!({ "email": "ada@acme.test", "name": "Ada" });
        let user = serde_json::from_value(user).unwrap();
        let ada = control.create_user(&ACTOR, &acme, user).await.unwrap();
        let identity = ExternalIdentity {
            tenant: acme.clone(),
            connection: connection.id.clone(),
            issuer: "https://idp.test".to_owned(),
            subject: "ada".to_owned(),
        };
        let db = control.inner.db.reader();
        assert!(external_identities::link(db, &identity, &ada.id, control.now()).await.unwrap());
        let refused = changed(&control, &connection, other.clone()).await;
        assert!(matches!(refused, Err(ControlError::RedefinesIdentities { .. })), "{refused:?}");
        // A new secret is none of it; and whoever means it says so.
        assert!(changed(&control, &connection, json!({ "client_secret": "new" })).await.is_ok());
        let mut meant = other;
        meant["redefine_identities"] = json!(true);
        assert!(changed(&control, &connection, meant).await.is_ok());
    }

    #[tokio::test]
    async fn i32_a_connection_is_found_and_opened_within_its_tenant_only() {
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let (acme, bond) = (tenant(&control, "acme").await, tenant(&control, "bond").await);
        let connection = made(&control, &acme).await;
        assert!(control.connection(&acme, &connection.id).await.unwrap().is_some());
        assert!(control.connection(&bond, &connection.id).await.unwrap().is_none());
        let stolen = Connection { tenant: bond, ..connection.clone() };
        assert!(changed(&control, &stolen, json!({ "name": "Mine" })).await.is_err());
        let key = &control.inner.config.sealing_key;
        assert!(Secrets::open(key, &connection).is_ok_and(|s| s.client_secret() == Some("s3cret")));
        assert!(Secrets::open(key, &stolen).is_err(), "a row in another's place");
    }
}
