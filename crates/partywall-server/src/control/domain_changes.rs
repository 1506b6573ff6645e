//! Domains through their lives: claimed, proved, looked at again, given up.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use partywall::TenantId;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Actor, ConnectionId, ControlError, ControlPlane, Domain, THE_SERVER, domain::Outcome,
    tenant::MAX_PAGE,
};
use crate::{
    federation::domains::{DomainName, InvalidDomain},
    random,
    storage::{
        AuditEvent, StorageError, connections, domains,
        security_events::{self, SecurityEvent},
        tenants,
    },
};

impl ControlPlane {
    /// Claims a domain for a tenant: what it has to publish to prove it is part of the claim. Who
    /// else claims it, or has proved it, is not said here.
    ///
    /// # Errors
    ///
    /// [`ControlError::Domain`] for one that speaks for no organisation,
    /// [`ControlError::DomainClaimed`], [`ControlError::TooManyDomains`],
    /// [`ControlError::UnknownTenant`] and [`ControlError::UnknownConnection`].
    pub async fn claim_domain(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: DomainName,
        connection: Option<ConnectionId>,
    ) -> Result<Domain, ControlError> {
        if name.is_free_mail(&self.inner.config.free_mail) {
            return Err(InvalidDomain::FreeMail.into());
        }
        let token: [u8; 32] = random::fill(&self.inner.random)?;
        let now = self.now();
        let domain = Domain {
            tenant: tenant.clone(),
            name,
            token: Base64UrlUnpadded::encode_string(&token),
            connection,
            verified_at: None,
            checked_at: None,
            seen: None,
            due_at: None,
            failing_since: None,
            created_at: now,
            version: 1,
        };
        let change = self.inner.db.change(now).await?;
        if tenants::find(change.rows(), tenant).await?.is_none() {
            return Err(ControlError::UnknownTenant { tenant: tenant.clone() });
        }
        self.check_leads_to(change.rows(), &domain).await?;
        if domains::count(change.rows(), tenant).await? >= MAX_DOMAINS {
            return Err(ControlError::TooManyDomains);
        }
        let inserted = domains::insert(change.rows(), &domain).await;
        inserted.map_err(|error| match error {
            StorageError::Duplicate => ControlError::DomainClaimed { domain: domain.name.clone() },
            error => error.into(),
        })?;
        self.commit(change, event(actor, &domain, "domain.claim")).await?;
        Ok(domain)
    }

    /// The tenant's claim to a domain, proved or not.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn domain(
        &self,
        tenant: &TenantId,
        name: &DomainName,
    ) -> Result<Option<Domain>, ControlError> {
        Ok(domains::find(self.inner.db.reader(), tenant, name).await?)
    }

    /// Up to `limit` (at most 1,000) domains of a tenant by name, from the one behind `after`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_domains(
        &self,
        tenant: &TenantId,
        after: Option<&DomainName>,
        limit: u32,
    ) -> Result<Vec<Domain>, ControlError> {
        let limit = u64::from(limit.min(MAX_PAGE));
        Ok(domains::page(self.inner.db.reader(), tenant, after, limit).await?)
    }

    /// Asks DNS for a domain's record now, and says what it made of the claim.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownDomain`]; [`ControlError::DomainTaken`], where the record is there and
    /// the domain is proved for another tenant; [`ControlError::Conflict`], where the claim was
    /// changed meanwhile.
    pub async fn check_domain(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &DomainName,
    ) -> Result<Domain, ControlError> {
        let unknown = || ControlError::UnknownDomain { domain: name.clone() };
        let domain = self.domain(tenant, name).await?.ok_or_else(unknown)?;
        self.look_at(actor, domain).await
    }

    /// Sends people with an address at a domain to a connection of the same tenant, or to none, if
    /// `expected` holds of the domain now. It counts once the domain is proved.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownDomain`], [`ControlError::UnknownConnection`], and
    /// [`ControlError::Conflict`] when `expected` does not hold.
    pub async fn route_domain(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &DomainName,
        connection: Option<ConnectionId>,
        expected: impl FnOnce(&Domain) -> bool + Send,
    ) -> Result<Domain, ControlError> {
        let change = self.inner.db.change(self.now()).await?;
        let unknown = || ControlError::UnknownDomain { domain: name.clone() };
        let mut domain = domains::find(change.rows(), tenant, name).await?.ok_or_else(unknown)?;
        if !expected(&domain) {
            return Err(ControlError::Conflict);
        }
        domain.connection = connection;
        domain.version += 1;
        self.check_leads_to(change.rows(), &domain).await?;
        if !domains::update(change.rows(), &domain).await? {
            return Err(ControlError::Conflict);
        }
        self.commit(change, event(actor, &domain, "domain.route")).await?;
        Ok(domain)
    }

    /// Gives a domain up, if `expected` holds of it now. From then on nobody is sent anywhere for
    /// an address there; claiming it again begins anew.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownDomain`], and [`ControlError::Conflict`] when `expected` does not
    /// hold.
    pub async fn remove_domain(
        &self,
        actor: &Actor,
        tenant: &TenantId,
        name: &DomainName,
        expected: impl FnOnce(&Domain) -> bool + Send,
    ) -> Result<(), ControlError> {
        let change = self.inner.db.change(self.now()).await?;
        let unknown = || ControlError::UnknownDomain { domain: name.clone() };
        let domain = domains::find(change.rows(), tenant, name).await?.ok_or_else(unknown)?;
        if !expected(&domain) {
            return Err(ControlError::Conflict);
        }
        domains::delete(change.rows(), tenant, name).await?;
        self.commit(change, event(actor, &domain, "domain.remove")).await?;
        Ok(())
    }

    /// Looks at some of the proofs that are due to be looked at again. Several servers may do so:
    /// each takes its own.
    pub(crate) async fn look_at_due_domains(&self) -> Result<(), ControlError> {
        let now = self.now();
        let mut looking = JoinSet::new();
        for domain in domains::due(self.inner.db.reader(), now, AT_A_TIME).await? {
            let taken = {
                let single = self.inner.db.single().await;
                domains::take(single.db(), &domain, now + TAKEN_FOR).await?
            };
            if taken {
                let control = self.clone();
                looking.spawn(async move { control.look_at(&THE_SERVER, domain).await });
            }
        }
        // One that cannot be looked at is due again later, and keeps no other from being.
        let mut failed = None;
        while let Some(looked) = looking.join_next().await {
            match looked {
                // Changed meanwhile: it is looked at again as what it is now.
                Ok(Ok(_) | Err(ControlError::Conflict)) | Err(_) => {}
                Ok(Err(error)) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks DNS about the claim that was read, and writes down what it said of that claim: one that
    /// was edited or made anew while DNS was asked was not the one that was asked about (I-17).
    async fn look_at(&self, actor: &Actor, domain: Domain) -> Result<Domain, ControlError> {
        let seen = self.inner.resolver.look(&domain.name, &domain.record_value()).await;
        let now = self.now();
        let (after, outcome) = domain.clone().having_seen(seen.into(), now);
        let Some(action) = outcome.action() else {
            let single = self.inner.db.single().await;
            let updated = domains::update(single.db(), &after).await?;
            return if updated { Ok(after) } else { Err(ControlError::Conflict) };
        };
        let change = self.inner.db.change(now).await?;
        match domains::update(change.rows(), &after).await {
            Ok(true) => {}
            Ok(false) => return Err(ControlError::Conflict),
            Err(StorageError::Duplicate) => {
                drop(change);
                return self.note_taken(domain, actor).await;
            }
            Err(error) => return Err(error.into()),
        }
        self.commit(change, event(actor, &after, action)).await?;
        if matches!(outcome, Outcome::Failing | Outcome::ProvedNoMore) {
            tracing::warn!(
                tenant.id = %after.tenant, domain = %after.name, seen = seen_word(&after), action,
                "the record that proves a domain is not there"
            );
        }
        Ok(after)
    }

    /// Somebody who may edit a domain's DNS is told that it is another's; nobody else is. The
    /// operator finds both in the log.
    async fn note_taken(&self, domain: Domain, actor: &Actor) -> Result<Domain, ControlError> {
        let holder = domains::proved(self.inner.db.reader(), &domain.name).await?;
        let holder = holder.map(|(tenant, _)| tenant.to_string());
        tracing::warn!(
            tenant.id = %domain.tenant, holder.id = holder, domain = %domain.name,
            "a tenant has the record of a domain that is proved for another"
        );
        let event = SecurityEvent {
            tenant: Some(&domain.tenant),
            event: "domain.refused",
            outcome: "taken",
            subject: None,
            client: None,
            detail: json!({ "domain": domain.name, "by": actor.name() }),
        };
        let single = self.inner.db.single().await;
        security_events::record(single.db(), &event, self.now()).await?;
        Err(ControlError::DomainTaken { domain: domain.name })
    }

    async fn check_leads_to(
        &self,
        db: &impl sea_orm::ConnectionTrait,
        domain: &Domain,
    ) -> Result<(), ControlError> {
        let Some(connection) = &domain.connection else { return Ok(()) };
        let found = connections::find(db, &domain.tenant, connection).await?;
        let unknown = || ControlError::UnknownConnection { connection: connection.clone() };
        found.map(|_| ()).ok_or_else(unknown)
    }
}

fn event<'e>(actor: &'e Actor, domain: &'e Domain, action: &'static str) -> AuditEvent<'e> {
    AuditEvent {
        actor,
        tenant: Some(&domain.tenant),
        action,
        detail: json!({
            "domain": domain.name, "connection": domain.connection,
            "seen": domain.seen, "failing_since": domain.failing_since.map(|at| at.0),
        }),
    }
}

fn seen_word(domain: &Domain) -> &'static str {
    domain.seen.map_or("nothing", super::DomainSeen::as_str)
}

/// A tenant's. Whoever has more has their names in a zone we could be asked about all day.
const MAX_DOMAINS: u64 = 200;
/// Looked at side by side: a few of the places there are for asking, so that whoever waits for an
/// answer finds one, too.
const AT_A_TIME: u64 = 16;
/// Longer than looking takes; a server that dies meanwhile holds nothing up for longer.
const TAKEN_FOR: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use partywall::{FixedClock, Timestamp};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        DomainStatus, NewTenant,
        control::tests_support::control_with,
        federation::domains::name_server::{Answer, NameServer, Record},
    };

    const TESTER: Actor = Actor::System("test");
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct Town {
        control: ControlPlane,
        clock: Arc<FixedClock>,
        dns: NameServer,
        acme: TenantId,
        bond: TenantId,
        _dir: tempfile::TempDir,
    }

    impl Town {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let dns = NameServer::start().await;
            let (control, clock) = control_with(dir.path(), |config| {
                config.dns_servers = vec![dns.address()];
                config.free_mail = vec!["club.example".parse().unwrap()];
            })
            .await;
            let acme = tenant(&control, "acme").await;
            let bond = tenant(&control, "bond").await;
            Self { control, clock, dns, acme, bond, _dir: dir }
        }

        async fn claim(&self, tenant: &TenantId) -> Domain {
            self.control.claim_domain(&TESTER, tenant, name(), None).await.unwrap()
        }

        async fn check(&self, tenant: &TenantId) -> Result<Domain, ControlError> {
            self.control.check_domain(&TESTER, tenant, &name()).await
        }

        async fn remove(&self, tenant: &TenantId) {
            self.control.remove_domain(&TESTER, tenant, &name(), |_| true).await.unwrap();
        }

        fn publish(&self, claims: &[&Domain]) {
            let values: Vec<String> = claims.iter().map(|claim| claim.record_value()).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            self.dns.publish(&name().challenge_name(), &values);
        }

        fn later(&self, by: Duration) {
            self.clock.set(self.control.now() + by);
        }

        async fn holder(&self) -> Option<TenantId> {
            let db = self.control.inner.db.reader();
            domains::proved(db, &name()).await.unwrap().map(|(tenant, _)| tenant)
        }

        async fn actions(&self, tenant: &TenantId) -> Vec<String> {
            let events = self.control.audit_trail(tenant, 100).await.unwrap();
            let events = events.into_iter().map(|event| event.action);
            events.filter(|action| action.starts_with("domain.")).rev().collect()
        }
    }

    async fn tenant(control: &ControlPlane, slug: &str) -> TenantId {
        let new =
            NewTenant::new(slug.parse().unwrap(), "free".parse().unwrap(), Default::default());
        control.create_tenant(&TESTER, new).await.unwrap().id().clone()
    }

    fn name() -> DomainName {
        "example.com".parse().unwrap()
    }

    #[tokio::test]
    async fn f03_a_domain_is_whose_value_dns_has() {
        let town = Town::new().await;
        let (ours, theirs) = (town.claim(&town.acme).await, town.claim(&town.bond).await);
        assert_ne!(ours.token, theirs.token);
        assert_eq!(ours.token.len(), 43, "256 bits");
        assert_eq!(town.check(&town.acme).await.unwrap().status(), DomainStatus::Claimed);
        // Another tenant's value, and one's own of a claim that was given up, are worth nothing.
        town.publish(&[&theirs]);
        let checked = town.check(&town.acme).await.unwrap();
        assert_eq!((checked.status(), checked.seen), (DomainStatus::Claimed, Some(OTHER_VALUES)));
        town.remove(&town.acme).await;
        let again = town.claim(&town.acme).await;
        town.publish(&[&ours]);
        assert_eq!(town.check(&town.acme).await.unwrap().status(), DomainStatus::Claimed);
        assert_eq!(town.holder().await, None);

        town.publish(&[&again]);
        assert_eq!(town.check(&town.acme).await.unwrap().status(), DomainStatus::Proved);
        assert_eq!(town.holder().await.as_ref(), Some(&town.acme));
        let db = town.control.inner.db.reader();
        assert!(domains::is_proved_for(db, &town.acme, &name()).await.unwrap());
        assert!(!domains::is_proved_for(db, &town.bond, &name()).await.unwrap());
        // Exactly that domain (I-19).
        for other in ["www.example.com", "badexample.com", "example.org"] {
            let other = other.parse().unwrap();
            assert_eq!(domains::proved(db, &other).await.unwrap(), None, "{other}");
        }
        town.remove(&town.acme).await;
        assert_eq!(town.holder().await, None);
        let expected =
            ["domain.claim", "domain.remove", "domain.claim", "domain.prove", "domain.remove"];
        assert_eq!(town.actions(&town.acme).await, expected);
    }

    const OTHER_VALUES: crate::DomainSeen = crate::DomainSeen::OtherValues;

    #[tokio::test]
    async fn b28_a_domain_is_proved_for_one_and_only_who_may_edit_its_dns_learns_so() {
        let town = Town::new().await;
        let ours = town.claim(&town.acme).await;
        town.publish(&[&ours]);
        town.check(&town.acme).await.unwrap();
        // Whoever asks for it, and has shown nothing, sees what they would see of any.
        let theirs = town.claim(&town.bond).await;
        let checked = town.check(&town.bond).await.unwrap();
        assert_eq!((checked.status(), checked.seen), (DomainStatus::Claimed, Some(OTHER_VALUES)));
        town.publish(&[&ours, &theirs]);
        let taken = town.check(&town.bond).await.unwrap_err();
        assert!(matches!(taken, ControlError::DomainTaken { .. }), "{taken}");
        assert!(!taken.to_string().contains(town.acme.as_str()));
        assert_eq!(town.holder().await.as_ref(), Some(&town.acme));
        let seen = town.control.list_security_events(&town.bond, None, 10).await.unwrap();
        assert!(seen.iter().any(|e| e.event == "domain.refused" && e.outcome == "taken"));
        assert!(seen.iter().all(|e| !e.detail.contains(town.acme.as_str())));
        // Given up, it is the next one's.
        town.remove(&town.acme).await;
        assert_eq!(town.check(&town.bond).await.unwrap().status(), DomainStatus::Proved);
    }

    /// F-03's number. Each time both have their value in DNS, and ask at the same moment.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn f03_of_two_that_prove_a_domain_at_the_same_time_one_wins_a_thousand_times() {
        let town = Town::new().await;
        let mut wins = [0, 0];
        for turn in 0..1_000 {
            let (ours, theirs) = (town.claim(&town.acme).await, town.claim(&town.bond).await);
            town.publish(&[&ours, &theirs]);
            let both = if turn % 2 == 0 {
                tokio::join!(town.check(&town.acme), town.check(&town.bond))
            } else {
                let (theirs, ours) = tokio::join!(town.check(&town.bond), town.check(&town.acme));
                (ours, theirs)
            };
            let holder = town.holder().await;
            match both {
                (Ok(domain), Err(ControlError::DomainTaken { .. })) => {
                    assert_eq!(domain.status(), DomainStatus::Proved);
                    assert_eq!(holder.as_ref(), Some(&town.acme));
                    wins[0] += 1;
                }
                (Err(ControlError::DomainTaken { .. }), Ok(domain)) => {
                    assert_eq!(domain.status(), DomainStatus::Proved);
                    assert_eq!(holder.as_ref(), Some(&town.bond));
                    wins[1] += 1;
                }
                other => panic!("{other:?}"),
            }
            town.remove(&town.acme).await;
            town.remove(&town.bond).await;
        }
        assert!(wins.iter().all(|wins| *wins > 0), "always the same one: {wins:?}");
    }

    #[tokio::test]
    async fn i17_a_claim_that_is_edited_while_dns_is_asked_is_not_the_one_that_was_asked_about() {
        let town = Town::new().await;
        let before = town.claim(&town.acme).await;
        for edit in ["made anew", "led elsewhere", "given up"] {
            let claim = match town.control.domain(&town.acme, &name()).await.unwrap() {
                Some(claim) => claim,
                None => before.clone(),
            };
            let go = Arc::new(Semaphore::new(0));
            let held = Answer::Held(Arc::clone(&go), vec![Record::text(&claim.record_value())]);
            town.dns.say(&name().challenge_name(), held);
            let asked = town.dns.questions();
            let checking = tokio::spawn({
                let (control, acme) = (town.control.clone(), town.acme.clone());
                async move { control.check_domain(&TESTER, &acme, &name()).await }
            });
            while town.dns.questions() == asked {
                tokio::task::yield_now().await;
            }
            match edit {
                "made anew" => {
                    town.remove(&town.acme).await;
                    town.claim(&town.acme).await;
                }
                "led elsewhere" => {
                    let control = &town.control;
                    control
                        .route_domain(&TESTER, &town.acme, &name(), None, |_| true)
                        .await
                        .unwrap();
                }
                _ => town.remove(&town.acme).await,
            }
            go.add_permits(100);
            let checked = checking.await.unwrap();
            assert!(matches!(checked, Err(ControlError::Conflict)), "{edit}: {checked:?}");
            assert_eq!(town.holder().await, None, "{edit}");
        }
        // The control: nobody edits.
        let claim = town.claim(&town.acme).await;
        town.publish(&[&claim]);
        assert_eq!(town.check(&town.acme).await.unwrap().status(), DomainStatus::Proved);
    }

    #[tokio::test]
    async fn i17_proofs_are_looked_at_again_and_expire() {
        let town = Town::new().await;
        let claim = town.claim(&town.acme).await;
        town.publish(&[&claim]);
        town.check(&town.acme).await.unwrap();
        let status = async || {
            town.control.look_at_due_domains().await.unwrap();
            town.control.domain(&town.acme, &name()).await.unwrap().unwrap().status()
        };
        let asked = town.dns.questions();
        assert_eq!(status().await, DomainStatus::Proved);
        assert_eq!(town.dns.questions(), asked, "it is not due");
        town.later(DAY);
        assert_eq!(status().await, DomainStatus::Proved);
        assert_eq!(town.dns.questions(), asked + 1);
        // The record is gone; its servers do not answer; it is another.
        town.later(DAY);
        town.dns.say(&name().challenge_name(), Answer::Code(3));
        assert_eq!(status().await, DomainStatus::Failing);
        assert_eq!(town.holder().await.as_ref(), Some(&town.acme), "it counts meanwhile");
        for answer in [Answer::Code(2), Answer::Records(vec![Record::text("else")])] {
            town.dns.say(&name().challenge_name(), answer);
            town.later(3 * DAY);
            assert_eq!(status().await, DomainStatus::Failing);
        }
        town.later(DAY);
        assert_eq!(status().await, DomainStatus::Claimed);
        assert_eq!(town.holder().await, None, "nobody is sent anywhere for it");
        let failed = ["domain.fail"; 3];
        let expected =
            [&["domain.claim", "domain.prove"], &failed[..], &["domain.expire"]].concat();
        assert_eq!(town.actions(&town.acme).await, expected);
        // The next one's, and it is proved at once.
        let theirs = town.claim(&town.bond).await;
        town.publish(&[&theirs]);
        assert_eq!(town.check(&town.bond).await.unwrap().status(), DomainStatus::Proved);
    }

    #[tokio::test]
    async fn i17_of_several_servers_one_looks_at_a_proof() {
        let town = Town::new().await;
        let claim = town.claim(&town.acme).await;
        town.publish(&[&claim]);
        town.check(&town.acme).await.unwrap();
        town.later(DAY);
        let (db, now) = (&town.control.inner.db, town.control.now());
        let due = domains::due(db.reader(), now, 10).await.unwrap();
        let take = async |until: Timestamp| domains::take(db.reader(), &due[0], until).await;
        assert!(take(now + HOUR).await.unwrap());
        assert!(!take(now + HOUR).await.unwrap(), "another server has it");
        assert_eq!(domains::due(db.reader(), now, 10).await.unwrap().len(), 0);
        // That one dies: it is due again later.
        let later = domains::due(db.reader(), now + HOUR, 10).await.unwrap();
        assert!(domains::take(db.reader(), &later[0], now + DAY).await.unwrap());
    }

    #[tokio::test]
    async fn i17_what_is_nobodys_is_not_claimed() {
        let town = Town::new().await;
        let claim = async |name: &str| {
            let name = name.parse().unwrap();
            town.control.claim_domain(&TESTER, &town.acme, name, None).await
        };
        for free in ["gmail.com", "a.gmail.com", "club.example", "a.club.example"] {
            let refused = claim(free).await;
            let free_mail = ControlError::Domain(InvalidDomain::FreeMail);
            assert_eq!(refused.unwrap_err().to_string(), free_mail.to_string(), "{free}");
        }
        claim("example.com").await.unwrap();
        let twice = claim("EXAMPLE.com").await.unwrap_err();
        assert!(matches!(twice, ControlError::DomainClaimed { .. }), "{twice}");
        let unknown = "t-nobody".parse().unwrap();
        let nobody = town.control.claim_domain(&TESTER, &unknown, name(), None).await;
        assert!(matches!(nobody, Err(ControlError::UnknownTenant { .. })));
        for number in 1..MAX_DOMAINS {
            claim(&format!("d{number}.example.com")).await.unwrap();
        }
        let more = claim("more.example.com").await.unwrap_err();
        assert!(matches!(more, ControlError::TooManyDomains), "{more}");
    }

    #[tokio::test]
    async fn i33_a_domain_leads_to_a_connection_of_its_own_tenant() {
        let town = Town::new().await;
        let control = &town.control;
        let connection = async |tenant: &TenantId| {
            let new = serde_json::from_value(json!({
                "name": "own", "client_secret": "s3cret",
                "provider": { "protocol": "oidc", "issuer": "https://idp.test", "client_id": "us" },
            }))
            .unwrap();
            control.create_connection(&TESTER, tenant, new).await.unwrap().id
        };
        let (ours, theirs) = (connection(&town.acme).await, connection(&town.bond).await);
        let claim = town.claim(&town.acme).await;
        town.publish(&[&claim]);
        town.check(&town.acme).await.unwrap();
        let route = async |to: &ConnectionId| {
            let to = Some(to.clone());
            control.route_domain(&TESTER, &town.acme, &name(), to, |_| true).await
        };
        let refused = route(&theirs).await.unwrap_err();
        assert!(matches!(refused, ControlError::UnknownConnection { .. }), "{refused}");
        let elsewhere = "more.example.com".parse().unwrap();
        let refused =
            control.claim_domain(&TESTER, &town.acme, elsewhere, Some(theirs.clone())).await;
        assert!(matches!(refused, Err(ControlError::UnknownConnection { .. })));
        route(&ours).await.unwrap();
        let db = control.inner.db.reader();
        let proved = domains::proved(db, &name()).await.unwrap();
        assert_eq!(proved, Some((town.acme.clone(), Some(ours.clone()))));
        control.delete_connection(&TESTER, &town.acme, &ours, |_| true).await.unwrap();
        let proved = domains::proved(db, &name()).await.unwrap();
        assert_eq!(proved, Some((town.acme.clone(), None)), "it leads nowhere");
    }
}
