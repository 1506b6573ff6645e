//! Tenants with an issuer of their own: their tokens are signed by keys that say nothing of anybody
//! else, under a name of their own, `{issuer}/t/{slug}` (I-07, P-06). Chosen by a tenant, and
//! required where its data is in a silo anywhere.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use partywall::{DeploymentModel, Placements, Slug, TenantId, Timestamp, bundle::Generation};
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{Actor, ControlError, ControlPlane};
use crate::{
    keys::{KeyPurpose, RingError, StoredKey, TokenKeys},
    storage::{AuditEvent, StorageError, sign_in_policies, signing_keys, tenants},
};

impl ControlPlane {
    /// Gives a tenant an issuer of its own, or takes it back. Tokens from the other one are
    /// refused from the next bundle on: whoever acts for the tenant asks for new ones, there.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownTenant`], and [`ControlError::SiloNeedsIssuer`] when it is to be
    /// taken from a tenant with a silo.
    pub async fn set_own_issuer(
        &self,
        actor: &Actor,
        id: &TenantId,
        own: bool,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let change = self.inner.db.change(now).await?;
        let tenant = tenants::find(change.rows(), id).await?;
        let tenant = tenant.ok_or_else(|| ControlError::UnknownTenant { tenant: id.clone() })?;
        if own {
            self.give_own_issuer(change.rows(), id, now).await?;
        } else if in_a_silo(&tenant.record.placements) {
            return Err(ControlError::SiloNeedsIssuer { tenant: id.clone() });
        } else {
            let mut settings = sign_in_policies::of(change.rows(), id).await?;
            settings.own_issuer = false;
            settings.version += 1;
            sign_in_policies::replace(change.rows(), id, &settings, now).await?;
            signing_keys::erase_all_of(change.rows(), id).await?;
        }
        let event = AuditEvent {
            actor,
            tenant: Some(id),
            action: "tenant.set_own_issuer",
            detail: json!({ "own_issuer": own }),
        };
        self.commit(change, event).await?;
        Ok(())
    }

    /// The name of the issuer that speaks for a tenant, as in `iss`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn tenant_issuer(&self, tenant: &TenantId) -> Result<String, ControlError> {
        Ok(self.issuer_of(self.inner.db.reader(), Some(tenant)).await?)
    }

    /// As [`set_own_issuer`](Self::set_own_issuer), in the caller's change. Its first key signs at
    /// once: nobody has a key set of it to refresh.
    pub(super) async fn give_own_issuer(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        let mut settings = sign_in_policies::of(db, tenant).await?;
        if settings.own_issuer {
            return Ok(());
        }
        settings.own_issuer = true;
        settings.version += 1;
        sign_in_policies::replace(db, tenant, &settings, now).await?;
        let config = &self.inner.config;
        let purpose = KeyPurpose::Tenant(tenant.clone());
        let mut key =
            StoredKey::generate(purpose, config.keys.algorithm, &config.sealing_key, now)?;
        key.activate(now);
        signing_keys::insert(db, &key).await?;
        Ok(())
    }

    /// The issuer called `{issuer}/t/{slug}`; nothing where there is no such tenant, or where it
    /// has none of its own: nobody can tell the two apart.
    pub(crate) async fn own_issuer(&self, slug: &str) -> Result<Option<Arc<OwnIssuer>>, RingError> {
        let generation = self.generation();
        if let Some(known) = self.inner.own_issuers.get(slug, generation) {
            return Ok(Some(known));
        }
        let Ok(slug) = slug.parse::<Slug>() else { return Ok(None) };
        let db = self.inner.db.reader();
        let Some(tenant) = tenants::find_by_slug(db, &slug).await? else { return Ok(None) };
        let tenant = tenant.record.id;
        if !sign_in_policies::of(db, &tenant).await?.own_issuer {
            return Ok(None);
        }
        let purpose = KeyPurpose::Tenant(tenant.clone());
        let keys = crate::keys::load(db, &purpose, &self.inner.config.sealing_key).await?;
        let Some(keys) = keys else { return Ok(None) };
        let name = own_issuer_name(self.inner.config.issuer.as_str(), &slug);
        let own = Arc::new(OwnIssuer { name, tenant, keys: Arc::new(keys) });
        self.inner.own_issuers.put(slug.as_str(), generation, Arc::clone(&own));
        Ok(Some(own))
    }

    /// The name of the issuer that speaks for `tenant`; the shared one for nobody in particular.
    pub(crate) async fn issuer_of(
        &self,
        db: &impl ConnectionTrait,
        tenant: Option<&TenantId>,
    ) -> Result<String, StorageError> {
        let own = match tenant {
            Some(tenant) => self.issuers_of(db, tenant).await?.pop(),
            None => None,
        };
        Ok(own.unwrap_or_else(|| self.inner.config.issuer.as_str().to_owned()))
    }

    /// Gives every tenant with a silo an issuer of its own that has none: placed there before
    /// there were any.
    pub(super) async fn give_missing_issuers(&self) -> Result<(), ControlError> {
        let db = self.inner.db.reader();
        let have: HashSet<TenantId> = sign_in_policies::own_issuers(db)
            .await?
            .into_iter()
            .map(|(tenant, _)| tenant)
            .collect();
        for tenant in tenants::placed_by(db, "silo").await? {
            if in_a_silo(&tenant.record.placements) && !have.contains(tenant.id()) {
                self.set_own_issuer(&Actor::System("upgrade"), tenant.id(), true).await?;
            }
        }
        Ok(())
    }

    /// The names under which tokens of `tenant` may have been issued: what is revoked is revoked
    /// under each.
    pub(crate) async fn issuers_of(
        &self,
        db: &impl ConnectionTrait,
        tenant: &TenantId,
    ) -> Result<Vec<String>, StorageError> {
        let shared = self.inner.config.issuer.as_str();
        let mut names = vec![shared.to_owned()];
        if sign_in_policies::of(db, tenant).await?.own_issuer
            && let Some(tenant) = tenants::find(db, tenant).await?
        {
            names.push(own_issuer_name(shared, &tenant.record.slug));
        }
        Ok(names)
    }
}

/// A tenant's own issuer.
pub(crate) struct OwnIssuer {
    pub(crate) name: String,
    pub(crate) tenant: TenantId,
    pub(crate) keys: Arc<TokenKeys>,
}

/// The issuers that were asked lately, as of a generation. What is older is read again, so a key
/// withdrawn on another server is good for a second at most.
#[derive(Default)]
pub(crate) struct OwnIssuers(Mutex<HashMap<String, (Generation, Arc<OwnIssuer>)>>);

impl OwnIssuers {
    fn get(&self, slug: &str, generation: Generation) -> Option<Arc<OwnIssuer>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(slug).filter(|(read, _)| *read == generation).map(|(_, own)| Arc::clone(own))
    }

    fn put(&self, slug: &str, generation: Generation, own: Arc<OwnIssuer>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(slug.to_owned(), (generation, own));
    }
}

/// The name of a tenant's own issuer.
pub(crate) fn own_issuer_name(shared: &str, slug: &Slug) -> String {
    format!("{shared}/t/{slug}")
}

/// Every own issuer there is, with its keys.
pub(crate) async fn own_issuers(
    db: &impl ConnectionTrait,
) -> Result<Vec<(Slug, TenantId, Vec<StoredKey>)>, StorageError> {
    let mut keys: HashMap<TenantId, Vec<StoredKey>> =
        signing_keys::of_all_tenants(db).await?.into_iter().collect();
    let tenants = sign_in_policies::own_issuers(db).await?;
    Ok(tenants
        .into_iter()
        .filter_map(|(tenant, slug)| keys.remove(&tenant).map(|keys| (slug, tenant, keys)))
        .collect())
}

/// Whether any of a tenant's data is in a silo.
pub(super) fn in_a_silo(placements: &Placements) -> bool {
    placements.0.iter().any(|(_, placement)| placement.model == DeploymentModel::Silo)
}

const MOST_KNOWN: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use http_body_util::BodyExt;
    use partywall::{Clock, Partywall, Placement, token::AccessToken};
    use tower::ServiceExt;

    use super::*;
    use crate::{
        MachineCredentials, NewMachine, NewTenant, Server,
        control::tests_support::{START, control_with_clock},
    };

    const ACTOR: Actor = Actor::System("test");

    struct World {
        control: ControlPlane,
        clock: Arc<partywall::FixedClock>,
        _dir: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (control, clock) = control_with_clock(dir.path()).await;
            Self { control, clock, _dir: dir }
        }

        async fn tenant(&self, slug: &str, model: DeploymentModel) -> TenantId {
            let placement = Placement { model, target: "eu-1".parse().unwrap() };
            let placements = Placements::from_iter([("main".parse().unwrap(), placement)]);
            let new = NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), placements);
            self.control.create_tenant(&ACTOR, new).await.unwrap().id().clone()
        }

        async fn machine(&self, tenant: &TenantId) -> MachineCredentials {
            let new = NewMachine {
                name: "robot".to_owned(),
                roles: Default::default(),
                scopes: Default::default(),
            };
            self.control.create_machine(&ACTOR, tenant, new).await.unwrap()
        }

        async fn get(&self, path: &str) -> (StatusCode, String) {
            self.send(Request::get(path).body(Body::empty()).unwrap()).await
        }

        /// The status and token of a client's request to the issuer at `base`.
        async fn token(&self, base: &str, client: &MachineCredentials) -> Result<String, String> {
            let (id, secret) = (client.client_id.as_str(), client.secret.expose());
            let form =
                format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
            let request = Request::post(format!("{base}/token"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Body::from(form))
                .unwrap();
            let (status, body) = self.send(request).await;
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            match status {
                StatusCode::OK => Ok(body["access_token"].as_str().unwrap().to_owned()),
                _ => Err(body["error"].as_str().unwrap().to_owned()),
            }
        }

        async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
            let router = Server::new(self.control.clone()).router();
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        }

        async fn wall(&self) -> Partywall {
            let wall = Partywall::builder()
                .audience("https://api.test")
                .trust(self.control.bundle_key().clone())
                .clock(Arc::<partywall::FixedClock>::clone(&self.clock))
                .build()
                .unwrap();
            wall.accept(self.control.bundle().await.unwrap().bytes).unwrap();
            wall
        }
    }

    fn lets_in(wall: &Partywall, token: &str) -> Result<TenantId, &'static str> {
        let context = wall.verify(AccessToken::new(token)).map_err(|refusal| refusal.code())?;
        Ok(context.tenant().clone())
    }

    #[tokio::test]
    async fn o08_a_silo_has_an_issuer_of_its_own_and_nobody_else_speaks_for_it() {
        let world = World::new().await;
        let silo = world.tenant("hooli", DeploymentModel::Silo).await;
        let pool = world.tenant("acme", DeploymentModel::Pool).await;
        let (hers, theirs) = (world.machine(&silo).await, world.machine(&pool).await);

        assert_eq!(world.token("", &hers).await, Err("unauthorized_client".to_owned()));
        assert_eq!(world.token("/t/hooli", &theirs).await, Err("unauthorized_client".to_owned()));
        let own = world.token("/t/hooli", &hers).await.unwrap();
        let shared = world.token("", &theirs).await.unwrap();
        let wall = world.wall().await;
        assert_eq!(lets_in(&wall, &own), Ok(silo.clone()));
        assert_eq!(lets_in(&wall, &shared), Ok(pool.clone()));

        // B-02: what the shared key says of the silo's tenant is refused, and what the silo's
        // says of others, however well signed.
        let claims = |iss: &str, tenant: &TenantId| {
            let now = world.clock.now().0;
            json!({
                "iss": iss, "sub": hers.client_id, "client_id": hers.client_id,
                "aud": "https://api.test", "iat": now, "exp": now + 60, "jti": "x",
                "tid": tenant, "roles": [], "tep": 0,
            })
        };
        let shared_keys = world.control.token_keys().unwrap();
        let own_keys = world.control.own_issuer("hooli").await.unwrap().unwrap();
        let sign = |keys: &TokenKeys, iss: &str, tenant: &TenantId| {
            keys.sign_access_token(&claims(iss, tenant)).unwrap()
        };
        const SHARED: &str = "https://id.test";
        const OWN: &str = "https://id.test/t/hooli";
        let forged = sign(&shared_keys, SHARED, &silo);
        assert_eq!(lets_in(&wall, &forged), Err("tenant_not_of_issuer"));
        let forged = sign(&own_keys.keys, OWN, &pool);
        assert_eq!(lets_in(&wall, &forged), Err("tenant_not_of_issuer"));
        let forged = sign(&shared_keys, OWN, &silo);
        assert_eq!(lets_in(&wall, &forged), Err("key_unknown"));
        // The controls: the same claims by who may say so.
        assert_eq!(lets_in(&wall, &sign(&own_keys.keys, OWN, &silo)), Ok(silo.clone()));
        assert_eq!(lets_in(&wall, &sign(&shared_keys, SHARED, &pool)), Ok(pool));
    }

    #[tokio::test]
    async fn o08_a_silo_from_before_there_were_own_issuers_is_given_one() {
        let world = World::new().await;
        let silo = world.tenant("hooli", DeploymentModel::Silo).await;
        let pool = world.tenant("acme", DeploymentModel::Pool).await;
        let db = world.control.inner.db.reader();
        sign_in_policies::replace(db, &silo, &Default::default(), START).await.unwrap();
        signing_keys::erase_all_of(db, &silo).await.unwrap();
        let (reopened, _) = control_with_clock(world._dir.path()).await;
        assert!(reopened.own_issuer("hooli").await.unwrap().is_some());
        assert!(reopened.own_issuer("acme").await.unwrap().is_none(), "{pool} asked for none");
        let generation = reopened.generation();
        let (again, _) = control_with_clock(world._dir.path()).await;
        assert_eq!(again.generation(), generation, "once");
    }

    #[tokio::test]
    async fn o08_invitations_lead_to_the_issuer_that_speaks_for_the_tenant() {
        let world = World::new().await;
        for (slug, model, base) in
            [("hooli", DeploymentModel::Silo, "/t/hooli"), ("acme", DeploymentModel::Pool, "")]
        {
            let tenant = world.tenant(slug, model).await;
            let ada = crate::NewUser {
                email: format!("ada@{slug}.test").parse().unwrap(),
                name: "Ada".to_owned(),
                roles: Default::default(),
                metadata: Default::default(),
            };
            let ada = world.control.create_user(&ACTOR, &tenant, ada).await.unwrap();
            let invited = world.control.invite(&ACTOR, &tenant, &ada.id).await.unwrap();
            let path = invited.link.expose().strip_prefix("https://id.test").unwrap();
            assert!(path.starts_with(&format!("{base}/invitation/{tenant}.")), "{path}");
            assert_eq!(world.get(path).await.0, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn b02_the_shared_issuer_says_nothing_more_of_a_tenant_with_one_of_its_own() {
        let world = World::new().await;
        let acme = world.tenant("acme", DeploymentModel::Pool).await;
        let client = world.machine(&acme).await;
        let token = world.token("", &client).await.unwrap();
        let ask = async || {
            let (id, secret) = (client.client_id.as_str(), client.secret.expose());
            let form = format!("token={token}&client_id={id}&client_secret={secret}");
            let request = Request::post("/introspect")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Body::from(form))
                .unwrap();
            let answer: serde_json::Value =
                serde_json::from_str(&world.send(request).await.1).unwrap();
            answer["active"].clone()
        };
        assert_eq!(ask().await, true);
        world.control.set_own_issuer(&ACTOR, &acme, true).await.unwrap();
        assert_eq!(ask().await, false);
    }

    #[tokio::test]
    async fn o08_an_own_issuer_describes_itself_and_a_tenant_without_one_is_nowhere() {
        let world = World::new().await;
        let silo = world.tenant("hooli", DeploymentModel::Silo).await;
        let acme = world.tenant("acme", DeploymentModel::Pool).await;
        for path in [
            "/t/hooli/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/t/hooli",
        ] {
            let (status, body) = world.get(path).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["issuer"], "https://id.test/t/hooli");
            let addresses = body
                .as_object()
                .unwrap()
                .iter()
                .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
            for (name, address) in addresses {
                let address = address.as_str().unwrap();
                assert!(address.starts_with("https://id.test/t/hooli/"), "{name}: {address}");
            }
        }
        let (_, own) = world.get("/t/hooli/jwks").await;
        let (_, shared) = world.get("/jwks").await;
        assert_ne!(own, shared);

        let body = |(status, body): (StatusCode, String)| {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            (status, body["error"].clone())
        };
        let nobody = body(world.get("/t/nobody/jwks").await);
        assert_eq!(nobody.0, StatusCode::NOT_FOUND);
        assert_eq!(body(world.get("/t/acme/jwks").await), nobody);
        world.control.set_own_issuer(&ACTOR, &acme, true).await.unwrap();
        assert_eq!(world.get("/t/acme/jwks").await.0, StatusCode::OK);
        world.control.set_own_issuer(&ACTOR, &acme, false).await.unwrap();
        assert_eq!(body(world.get("/t/acme/jwks").await), nobody);
        let kept = world.control.set_own_issuer(&ACTOR, &silo, false).await;
        assert!(matches!(kept, Err(ControlError::SiloNeedsIssuer { .. })));
    }

    #[tokio::test]
    async fn i11_own_keys_rotate_as_the_shared_ones_do() {
        let world = World::new().await;
        let silo = world.tenant("hooli", DeploymentModel::Silo).await;
        let robot = world.machine(&silo).await;
        let kids = async || {
            let (_, body) = world.get("/t/hooli/jwks").await;
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let keys = body["keys"].as_array().unwrap().clone();
            keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let first = kids().await;
        assert_eq!(first.len(), 1);
        let policy = &world.control.inner.config.keys;
        world.clock.set(START + policy.rotate_every - policy.publish_ahead);
        world.control.rotate_keys().await.unwrap();
        assert_eq!(kids().await.len(), 2, "published ahead");
        let before = world.token("/t/hooli", &robot).await.unwrap();
        world.clock.set(START + policy.rotate_every);
        world.control.rotate_keys().await.unwrap();
        let after = world.token("/t/hooli", &robot).await.unwrap();
        let header = |token: &str| token.split('.').next().unwrap().to_owned();
        assert_ne!(header(&before), header(&after));

        // Withdrawn: nothing it signed is good from the next bundle on.
        let active = kids().await.into_iter().find(|kid| !first.contains(kid)).unwrap();
        world.control.withdraw_signing_key(&ACTOR, &active).await.unwrap();
        let wall = world.wall().await;
        assert_eq!(lets_in(&wall, &after), Err("key_unknown"));
        let fresh = world.token("/t/hooli", &robot).await.unwrap();
        assert_eq!(lets_in(&world.wall().await, &fresh), Ok(silo));
    }
}
