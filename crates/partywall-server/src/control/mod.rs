//! The control plane: who the tenants are, which machines act for them, and what is revoked.
//!
//! Every change, the audit event that accounts for it, and the generation it leads to are written
//! in one transaction; then every enforcement point hears of it through the next bundle.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use partywall::{Clock, TenantId, Timestamp, bundle::Generation, token::IssuerError};
use tokio::sync::{Semaphore, watch};

use crate::{
    bundle::{CompileError, Publisher},
    config::{ConfigError, ServerConfig},
    federation::{
        domains::{DomainName, InvalidDomain, Resolver},
        oidc::Oidc,
    },
    keys::{
        BundleSigner, KeyError, KeyPurpose, KeyRing, RefreshKey, RingError, SealError, TokenKeys,
    },
    login::factors::password::{Hasher, HasherError},
    mail::{MailError, Post},
    outbound::Outbound,
    provider::device,
    random::RandomError,
    rate::Strangers,
    storage::{
        AuditEvent, Change, Database, StorageError, directory,
        policy::{self, Policy},
    },
};
pub use account::{Account, AccountId, AccountStatus, Email, InvalidAccount};
pub(crate) use actor::administers;
pub use actor::{ADMIN_SCOPE, Actor, TENANT_ADMIN};
pub use api_key::{
    ApiKey, ApiKeyCredentials, ApiKeyHolder, ApiKeyId, ApiKeyStatus, InvalidApiKey, NewApiKey,
};
pub(crate) use api_key::{ApiKeyHash, PresentedApiKey};
pub use application::{
    Application, ApplicationCredentials, ApplicationId, ApplicationStatus, ClientAuthentication,
    Grant, InvalidApplication, NewApplication, Registration,
};
pub use connection::{
    Connection, ConnectionId, ConnectionRules, ConnectionStatus, IdentityProvider,
    InvalidConnection, OidcProfile, OidcProvider, SamlProvider, UpstreamMultiFactor,
};
pub use connection_changes::{ConnectionPatch, KeyStep, NewConnection};
pub use decoy::{Decoy, SignedDecoy};
pub use domain::{Domain, DomainSeen, DomainStatus};
pub(crate) use grant::{GrantEnd, NewGrant};
pub use machine::{
    ClientId, ClientSecret, InvalidMachine, Machine, MachineCredentials, MachineStatus, NewMachine,
    Scope,
};
pub(crate) use machine::{REQUESTS_UNDER_WAY, SecretHash};
pub use setup_link::{Intent, NewSetupLink, SetupLink, SetupLinkAddress};
pub use sign_in_policy::{Branding, InvalidPolicy, SignInMethod, SignInPolicy};
pub use tenant::{
    Administrator, BillingReference, InvalidProfile, Metadata, NewTenant, Tenant, TenantProfile,
};

pub use application_changes::ApplicationPatch;
pub use machine_changes::MachinePatch;
pub(crate) use operator_key::PREFIX as OPERATOR_KEY;
pub use operator_key::{NewOperatorKey, OperatorKey, OperatorKeySecret};
pub(crate) use scim_token::PresentedScimToken;
pub use scim_token::{
    InvalidScimToken, NewScimToken, ScimToken, ScimTokenCredentials, ScimTokenId,
};
pub use session::SessionRecord;
pub use sign_in_settings::{LockPreview, SignInSettings};
pub use signing_keys::SigningKeyRecord;
pub use tenant_changes::{AdministratorPatch, TenantPatch};
pub use trail::{AuditRecord, SecurityRecord};
pub use user::{InvalidUser, NewUser, User, UserId, UserStatus};
pub use user_changes::UserPatch;

mod account;
mod actor;
mod api_key;
mod application;
mod application_changes;
mod connection;
mod connection_changes;
mod decoy;
mod domain;
mod domain_changes;
mod grant;
mod machine;
mod machine_changes;
mod opening;
mod operator_key;
pub(crate) mod own_issuer;
mod revocation;
mod scim_token;
mod session;
pub(crate) mod setup_link;
mod sign_in_policy;
mod sign_in_settings;
mod signing_keys;
mod tenant;
mod tenant_changes;
mod trail;
mod user;
mod user_changes;

/// The control plane's Rust interface. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ControlPlane {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: ServerConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: SystemRandom,
    pub(crate) db: Database,
    pub(crate) hasher: Hasher,
    pub(crate) post: Option<Post>,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) resolver: Resolver,
    pub(crate) oidc: Oidc,
    /// What the latest start of any server on this database asked for.
    policy: ArcSwap<Policy>,
    pub(crate) ring: KeyRing,
    pub(crate) own_issuers: own_issuer::OwnIssuers,
    pub(crate) bundle_signer: BundleSigner,
    pub(crate) refresh_key: RefreshKey,
    pub(crate) device_guesses: device::Guesses,
    pub(crate) strangers: Strangers,
    pub(crate) publisher: Publisher,
    /// The latest generation known here; long polls wait on it.
    pub(crate) generation: watch::Sender<Generation>,
    /// One for each poll that may wait at the same time.
    pub(crate) polls: Semaphore,
    /// Set once the server is told to stop.
    pub(crate) stopping: watch::Sender<bool>,
    /// The generation as of which the ring was read.
    ring_read_at: AtomicU64,
    /// Held from reading ring or policy to putting it in force, so that an older reading never replaces
    /// a newer one: it could bring a withdrawn key back.
    rereading: tokio::sync::Mutex<()>,
}

impl ControlPlane {
    /// Opens the database, making it on first use, and readies keys and bundle.
    ///
    /// # Errors
    ///
    /// When the configuration is refused, the database does not open, or the sealing key is not
    /// the one its private keys are sealed with.
    pub async fn open(config: ServerConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        config.check()?;
        let mut config = opening::with_issuers_inlined(config)?;
        let admin = crate::admin::audience(config.issuer.as_str()).parse()?;
        config.resources = config.resources.and(admin);
        let db = Database::open(&config.database).await?;
        let now = clock.now();
        opening::prepare_keys(&db, &config, now).await?;
        let bundle_signer = opening::bundle_signer(&db, &config, now).await?;
        let refresh_key = opening::refresh_key(&db, &config, now).await?;
        let policy = opening::note_policy(&db, &config, now).await?;
        let random = SystemRandom::new();
        let post = config.mail.as_ref().map(Post::to).transpose().map_err(ConfigError::Mail)?;
        let hasher = Hasher::start(&config.passwords, &random)?;
        let outbound = Arc::new(Outbound::new(config.call_private_addresses));
        let resolver = Resolver::new(config.dns_servers.clone());
        let strangers = Strangers::new(&config.rates);
        let control = Self {
            inner: Arc::new(Inner {
                config,
                clock,
                random,
                hasher,
                post,
                oidc: Oidc::new(Arc::clone(&outbound)),
                outbound,
                resolver,
                db,
                policy: ArcSwap::from_pointee(policy),
                ring: KeyRing::default(),
                own_issuers: own_issuer::OwnIssuers::default(),
                bundle_signer,
                refresh_key,
                device_guesses: device::Guesses::default(),
                strangers,
                publisher: Publisher::default(),
                generation: watch::Sender::new(Generation(0)),
                polls: Semaphore::new((crate::connections::at_most() / 4).max(1)),
                stopping: watch::Sender::new(false),
                ring_read_at: AtomicU64::new(0),
                rereading: tokio::sync::Mutex::new(()),
            }),
        };
        control.rotate_keys().await?;
        control.refresh().await?;
        let given = control.give_missing_issuers().await;
        given.map_err(|source| OpenError::OwnIssuer(Box::new(source)))?;
        Ok(control)
    }

    /// The generation in force.
    pub fn generation(&self) -> Generation {
        *self.inner.generation.borrow()
    }

    /// Makes a change last and tells everyone who waits for it.
    pub(crate) async fn commit(
        &self,
        change: Change<'_>,
        event: AuditEvent<'_>,
    ) -> Result<Generation, StorageError> {
        let action = event.action;
        let tenant = event.tenant.map(ToString::to_string);
        let generation = change.commit(event).await?;
        tracing::info!(action, tenant.id = tenant, %generation, "the directory changed");
        self.announce(generation);
        Ok(generation)
    }

    /// Takes over what other servers on the same database have changed since.
    ///
    /// # Errors
    ///
    /// When the database fails or a key does not open. What was known before stays in force.
    pub async fn refresh(&self) -> Result<(), RingError> {
        let db = self.inner.db.reader();
        let (generation, _) = directory::current(db).await?;
        if self.inner.ring_read_at.load(Ordering::Acquire) < generation.0 {
            self.reread_policy().await?;
            self.reread_keys(generation).await?;
        }
        self.announce(generation);
        Ok(())
    }

    async fn reread_policy(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.inner.rereading.lock().await;
        let policy = policy::in_force(self.inner.db.reader()).await?;
        self.inner.policy.store(Arc::new(policy));
        Ok(())
    }

    /// Reads the ring, which is at least as new as `generation` afterwards.
    pub(crate) async fn reread_keys(&self, generation: Generation) -> Result<(), RingError> {
        let _one_at_a_time = self.inner.rereading.lock().await;
        let db = self.inner.db.reader();
        let keys =
            crate::keys::load(db, &KeyPurpose::Token, &self.inner.config.sealing_key).await?;
        self.inner.ring.replace(keys.ok_or(KeyError::NoActiveKey)?);
        self.inner.ring_read_at.fetch_max(generation.0, Ordering::Release);
        Ok(())
    }

    fn announce(&self, generation: Generation) {
        self.inner.generation.send_if_modified(|latest| {
            let newer = generation > *latest;
            *latest = generation.max(*latest);
            #[expect(clippy::cast_precision_loss, reason = "exact for the first 2^53 changes")]
            metrics::gauge!("partywall_generation").set(latest.0 as f64);
            newer
        });
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// What every server on this database goes by.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.inner.policy.load_full()
    }

    pub(crate) fn token_keys(&self) -> Result<Arc<TokenKeys>, KeyError> {
        self.inner.ring.current()
    }
}

pub(crate) static THE_SERVER: Actor = Actor::System("server");

/// An event nobody asked for.
pub(crate) fn by_itself(action: &'static str, detail: serde_json::Value) -> AuditEvent<'static> {
    AuditEvent { actor: &THE_SERVER, tenant: None, action, detail }
}

/// Why the control plane did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nothing to hash passwords with.
    #[error(transparent)]
    Hasher(#[from] HasherError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A tenant with a silo.
    #[error("a tenant with a silo could not be given the issuer of its own that it needs")]
    OwnIssuer(#[source] Box<ControlError>),
    /// An external issuer that no enforcement point could use.
    #[error("an external issuer cannot be used")]
    Issuer(#[from] IssuerError),
    /// An external issuer's key set file.
    #[error("the key set {} of an external issuer: {source}", path.display())]
    KeySetFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// The database's private keys are sealed under another key.
    #[error(
        "the sealing key is not the one this database's private keys are sealed with: restore that key, or start with an empty database"
    )]
    WrongSealingKey,
}

impl From<RingError> for OpenError {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Storage(error) => Self::Storage(error),
            RingError::Key(error) => Self::Key(error),
        }
    }
}

/// Why a change was not made, or a question not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No such tenant, or it was erased.
    #[error("there is no tenant {tenant}")]
    UnknownTenant {
        /// The tenant asked for.
        tenant: TenantId,
    },
    /// No such machine in that tenant.
    #[error("there is no machine {client}")]
    UnknownMachine {
        /// The machine asked for.
        client: ClientId,
    },
    /// No such user in that tenant.
    #[error("there is no user {user} in that tenant")]
    UnknownUser {
        /// The user asked for.
        user: UserId,
    },
    /// The user cannot be invited: it has accepted already, or is not ours to sign in.
    #[error("user {user} has no invitation to accept")]
    NotInvited {
        /// The user.
        user: UserId,
    },
    /// Another user of the tenant has that address.
    #[error("another user of the tenant has the address {email}")]
    EmailTaken {
        /// The address.
        email: Email,
    },
    /// No such application, or another tenant's.
    #[error("there is no application {client}")]
    UnknownApplication {
        /// The application asked for.
        client: ApplicationId,
    },
    /// No such connection in that tenant.
    #[error("there is no connection {connection} in that tenant")]
    UnknownConnection {
        /// The connection asked for.
        connection: ConnectionId,
    },
    /// A tenant has as many connections as it may.
    #[error("a tenant may have 50 connections: delete one that is not used")]
    TooManyConnections,
    /// The change would redefine who is who.
    #[error(
        "people are linked through connection {connection}, and the change redefines who they are: another issuer, client or profile, or none of the certificates trusted so far. Say redefine_identities if you mean it"
    )]
    RedefinesIdentities {
        /// The connection.
        connection: ConnectionId,
    },
    /// No such domain of that tenant's.
    #[error("the tenant does not claim {domain}")]
    UnknownDomain {
        /// The domain asked for.
        domain: DomainName,
    },
    /// The tenant claims that domain already.
    #[error("the tenant claims {domain} already")]
    DomainClaimed {
        /// The domain.
        domain: DomainName,
    },
    /// The record is there, and the domain is another tenant's. Only somebody who may edit its DNS
    /// is told, and not whose it is.
    #[error("{domain} is already proved by another organisation: contact support")]
    DomainTaken {
        /// The domain.
        domain: DomainName,
    },
    /// A tenant claims too much.
    #[error("a tenant may claim 200 domains: remove some first")]
    TooManyDomains,
    /// No such link of that tenant's, or it has run out.
    #[error("there is no such setup link")]
    UnknownSetupLink,
    /// A link would be good for too long, or not at all.
    #[error("a setup link can be opened for up to 72 hours")]
    SetupLinkLife,
    /// The application has no secret to rotate.
    #[error("application {client} does not authenticate with a secret")]
    NoSecret {
        /// The application.
        client: ApplicationId,
    },
    /// No such session of that tenant, or it has ended.
    #[error("there is no such session in that tenant")]
    UnknownSession,
    /// No such operator key, or it was revoked.
    #[error("there is no operator key {id} in use")]
    UnknownOperatorKey {
        /// The key asked for.
        id: String,
    },
    /// An operator key cannot be made like that.
    #[error("an operator key needs a name of 1 to 64 characters and a life of up to 400 days")]
    OperatorKey,
    /// Only an active user can be suspended, and only a suspended one let in again.
    #[error(
        "user {user} is {status}: only an active user can be suspended, and only a suspended one activated"
    )]
    UserStatus {
        /// The user.
        user: UserId,
        /// What it is.
        status: &'static str,
    },
    /// The application was revoked, for good.
    #[error("application {client} was revoked: create another")]
    ApplicationRevoked {
        /// The application.
        client: ApplicationId,
    },
    /// Somebody else changed it meanwhile.
    #[error("it was changed by somebody else meanwhile: read it again")]
    Conflict,
    /// The machine was revoked, for good.
    #[error("machine {client} was revoked: create another")]
    MachineRevoked {
        /// The machine.
        client: ClientId,
    },
    /// Another tenant goes by that slug.
    #[error("slug {slug} is taken by another tenant")]
    SlugTaken {
        /// The slug.
        slug: partywall::Slug,
    },
    /// The slug reads as a tenant's id.
    #[error("slug {slug} has the shape of a tenant id: choose a readable one")]
    SlugLikeId {
        /// The slug.
        slug: partywall::Slug,
    },
    /// No signing key in use has that id.
    #[error("there is no signing key {kid} in use: the key set at /jwks lists those there are")]
    UnknownSigningKey {
        /// The key asked for.
        kid: String,
    },
    /// A tenant with a silo has an issuer of its own, always.
    #[error("tenant {tenant} has data in a silo, which its own issuer goes with: move it first")]
    SiloNeedsIssuer {
        /// The tenant.
        tenant: TenantId,
    },
    /// Only a tenant that is pending erasure is erased.
    #[error("tenant {tenant} is not pending erasure: set that status first")]
    NotPendingErase {
        /// The tenant.
        tenant: TenantId,
    },
    /// A tenant's epoch is at its end.
    #[error("tenant {tenant} has used up its epochs")]
    EpochsUsedUp {
        /// The tenant.
        tenant: TenantId,
    },
    /// The tenant cannot be described like that.
    #[error(transparent)]
    Profile(#[from] InvalidProfile),
    /// The user cannot be like that.
    #[error(transparent)]
    User(#[from] InvalidUser),
    /// There is no such API key, or there cannot be.
    #[error(transparent)]
    ApiKey(#[from] InvalidApiKey),
    /// There is no such SCIM token, or there cannot be.
    #[error(transparent)]
    ScimToken(#[from] InvalidScimToken),
    /// The application cannot be like that.
    #[error(transparent)]
    Application(#[from] InvalidApplication),
    /// The connection cannot be like that.
    #[error(transparent)]
    Connection(#[from] InvalidConnection),
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Nobody can claim that domain.
    #[error(transparent)]
    Domain(#[from] InvalidDomain),
    /// The sign-in policy cannot be like that.
    #[error(transparent)]
    SignInPolicy(#[from] InvalidPolicy),
    /// The machine cannot be made like that.
    #[error(transparent)]
    Machine(#[from] InvalidMachine),
    /// A mail could not be written.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The bundle could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

impl From<RingError> for ControlError {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Storage(error) => Self::Storage(error),
            RingError::Key(error) => Self::Key(error),
        }
    }
}

/// A control plane for unit tests: on SQLite, at a time of its own.
#[cfg(test)]
pub(crate) mod tests_support {
    use partywall::FixedClock;

    use super::*;
    use crate::{DatabaseConfig, Resources, SealingKey, Secret};

    pub(crate) const START: Timestamp = Timestamp(1_800_000_000);

    pub(crate) async fn control(dir: &std::path::Path) -> ControlPlane {
        control_with_clock(dir).await.0
    }

    pub(crate) async fn control_with_clock(
        dir: &std::path::Path,
    ) -> (ControlPlane, Arc<FixedClock>) {
        control_with(dir, |_| {}).await
    }

    /// One whose operator has decided something else.
    pub(crate) async fn control_with(
        dir: &std::path::Path,
        alter: impl FnOnce(&mut ServerConfig),
    ) -> (ControlPlane, Arc<FixedClock>) {
        let mut config = ServerConfig::new(
            database(dir).await,
            SealingKey::from_bytes(&Secret::new([7; 32])).unwrap(),
            "https://id.test".parse().unwrap(),
            Resources::new(
                "https://api.test".parse().unwrap(),
                ["https://other-api.test".parse().unwrap()],
            ),
        );
        config.call_private_addresses = true;
        // Nobody's: no test asks the system's.
        config.dns_servers = vec!["127.0.0.1:9".parse().unwrap()];
        alter(&mut config);
        let clock = Arc::new(FixedClock::at(START));
        let control = ControlPlane::open(config, Arc::<FixedClock>::clone(&clock)).await.unwrap();
        (control, clock)
    }

    /// A mail server that is not there: port 9 takes nothing of use.
    pub(crate) fn no_mail_server() -> crate::MailConfig {
        crate::MailConfig {
            server: "smtp://127.0.0.1:9".to_owned(),
            from: "login@vendor.test".to_owned(),
            credentials: None,
        }
    }

    /// The database that belongs to `dir`, of the kind this run of the tests is on.
    pub(crate) async fn database(dir: &std::path::Path) -> DatabaseConfig {
        match crate::storage::databases::postgres(dir).await {
            Some(url) => DatabaseConfig::Postgres { url: Secret::new(url) },
            None => DatabaseConfig::Sqlite { path: dir.join("control.db") },
        }
    }

    /// An account without factors.
    pub(crate) async fn account(control: &ControlPlane, email: &str) -> Account {
        let account = Account {
            id: AccountId::draw(&control.inner.random).unwrap(),
            email: email.parse().unwrap(),
            email_verified_at: None,
            status: AccountStatus::Active,
            created_at: control.now(),
            changed_at: control.now(),
        };
        crate::storage::accounts::insert(control.inner.db.reader(), &account).await.unwrap();
        account
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn i11_an_older_reading_of_the_keys_never_replaces_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let control = tests_support::control(dir.path()).await;
        let names = |control: &ControlPlane, kid: &str| {
            let jwks = control.token_keys().unwrap().jwks().clone();
            String::from_utf8_lossy(&jwks).contains(kid)
        };
        let jwks: serde_json::Value =
            serde_json::from_slice(control.token_keys().unwrap().jwks()).unwrap();
        let kid = jwks["keys"][0]["kid"].as_str().unwrap().to_owned();

        // A refresh that has read the keys, and is held up before it puts them in force.
        let held_up = control.inner.rereading.lock().await;
        let sealing = &control.inner.config.sealing_key;
        let read = crate::keys::load(control.inner.db.reader(), &KeyPurpose::Token, sealing);
        let read = read.await.unwrap().unwrap();
        let mut withdrawing = tokio::spawn({
            let (control, kid) = (control.clone(), kid.clone());
            async move { control.withdraw_signing_key(&THE_SERVER, &kid).await }
        });
        let early = tokio::time::timeout(Duration::from_millis(300), &mut withdrawing).await;
        assert!(early.is_err(), "it does not wait for the one before");
        control.inner.ring.replace(read);
        drop(held_up);
        withdrawing.await.unwrap().unwrap();
        assert!(!names(&control, &kid), "the withdrawn key is in force again");
    }
}
