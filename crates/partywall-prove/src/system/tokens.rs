//! Tokens that nobody may accept, shown to the application.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream};

use super::{
    Decoy, Issuer, Route,
    canary::Canary,
    catalogue::token as attacks,
    client::{AT_ONCE, Answer, Credentials, Request},
    estate::{Estate, Missing},
    forge::{Forged, Mould},
    ground::{Ground, Tally, is_unclear},
};
use crate::{Attack, Control, Log, Observation, Trial};

/// Every route that was not declared public, asked by nobody.
pub(super) async fn without_any(ground: &Ground<'_>, owner: &mut Estate, log: &mut Log<'_>) {
    for route in ground.routes.iter().filter(|route| !route.public) {
        let draft = Trial::of(&attacks::MISSING, route.to_string()).between("nobody", owner.name());
        if !route.is_safe() && !ground.options.writes {
            log.record(draft.skip("it writes, and writing was not allowed"));
            continue;
        }
        // What goes through would change something: something that is there for that.
        let (ids, marker) = match route.is_safe() {
            true => (owner.ids.clone(), owner.main_marker.clone()),
            false => ground.spare(owner).await,
        };
        let request = match route.fill(&ids, &marker) {
            Ok(request) => request,
            Err(Missing(what)) => {
                log.record(draft.skip(what));
                continue;
            }
        };
        let answer = ground.client.send(&request, Credentials::None).await;
        owner.note_created(route, &request, &answer);
        // The same with a token: not what it would do, only that it gets past this door. What both
        // are told alike is no door: there is no such route, or it looks at the body first.
        let owned = ground.client.send(&request, owner.credentials()).await;
        owner.note_created(route, &request, &owned);
        let seen = format!("{owned} to {}", owner.name());
        let control = match owned.status() {
            _ if is_unclear(&owned) => Control::failed(seen),
            Some(401 | 403) => Control::failed(seen),
            status if status == answer.status() && !owned.is_success() => {
                Control::failed(format!("{seen}, too"))
            }
            _ => Control::held(seen),
        };
        let draft = draft.tried(format!("{request}, no credentials"));
        log.record(draft.judge(turned_away(&answer, owned.is_success()), control));
    }
}

/// Where tokens are tried: a route that needs one, as the victim calls it.
struct Probe {
    route: Route,
    request: Request,
    shows: bool,
    /// What it answers to no token, and to one whose signature is none.
    turns_away: BTreeSet<u16>,
}

impl Probe {
    /// All there are, the one that shows most first.
    async fn find(ground: &Ground<'_>, victim: &Estate) -> Vec<Self> {
        let mut probes = Vec::new();
        for route in ground.readers() {
            let Some(sight) = ground.owner_sees(victim, route).await else { continue };
            let anonymous = ground.client.send(&sight.request, Credentials::None).await;
            if !sight.answer.is_success() || anonymous.is_success() {
                continue;
            }
            let turns_away = anonymous.status().into_iter().collect();
            let (request, shows) = (sight.request, sight.evidence.is_some());
            probes.push(Self { route: route.clone(), request, shows, turns_away });
        }
        probes.sort_by_key(|probe| !probe.shows);
        probes
    }

    /// The victim itself, with its own token.
    async fn control(&self, ground: &Ground<'_>, victim: &Estate) -> Control {
        let answer = ground.client.send(&self.request, victim.credentials()).await;
        let seen = format!("{answer} to {}'s own token", victim.name());
        if answer.is_success() { Control::held(seen) } else { Control::failed(seen) }
    }
}

/// Everything that can be done to become `victim` with tokens.
pub(super) async fn attack<I: Issuer>(
    ground: &Ground<'_>,
    attacker: &Estate,
    victim: &Estate,
    issuer: &I,
    log: &mut Log<'_>,
) {
    let probes = Probe::find(ground, victim).await;
    if probes.is_empty() {
        for attack in super::CATALOGUE.iter().filter(|attack| attack.id.starts_with("token.")) {
            if attack.id != attacks::MISSING.id {
                let draft = Trial::of(attack, "tokens").between(attacker.name(), victim.name());
                log.record(draft.skip("no route to GET answers its owner and turns nobody away"));
            }
        }
        return;
    }
    for (n, probe) in probes.into_iter().enumerate() {
        log.begin(&format!("{} with tokens for {}", probe.route, victim.name()));
        let mut assault = Assault { ground, attacker, victim, probe };
        assault.learn().await;
        if n == 0 {
            assault.forged(log).await;
            assault.misplaced(log).await;
            for decoy in Decoy::ALL {
                assault.decoy(issuer, decoy, log).await;
            }
        } else {
            assault.other_door(issuer, log).await;
        }
    }
}

struct Assault<'a> {
    ground: &'a Ground<'a>,
    attacker: &'a Estate,
    victim: &'a Estate,
    probe: Probe,
}

impl Assault<'_> {
    fn draft(&self, attack: &'static Attack) -> crate::Draft {
        let place = self.probe.route.to_string();
        Trial::of(attack, place).between(self.attacker.name(), self.victim.name())
    }

    fn mould(&self) -> Option<Mould> {
        let claim = &self.ground.options.tenant_claim;
        Mould::new(&self.attacker.token, claim, self.victim.tenant.id.as_str())
    }

    /// What a token gets that is turned away for being none.
    async fn learn(&mut self) {
        let Some(forged) = self.mould().and_then(|mould| mould.bad_signatures().pop()) else {
            return;
        };
        let values = [format!("Bearer {}", forged.token)];
        let answer = self.ground.client.send(&self.probe.request, Credentials::Raw(&values)).await;
        self.probe.turns_away.extend(answer.status());
    }

    /// A route may have a verifier of its own: the forgeries and decoys that careless ones take.
    async fn other_door<I: Issuer>(&self, issuer: &I, log: &mut Log<'_>) {
        if let Some(mould) = self.mould() {
            self.all(&attacks::REWRITTEN, mould.rewritten(), log).await;
            self.all(&attacks::NONE, mould.none(), log).await;
        }
        for decoy in [Decoy::Expired, Decoy::OtherAudience, Decoy::OtherIssuer, Decoy::OtherType] {
            self.decoy(issuer, decoy, log).await;
        }
    }

    async fn forged(&self, log: &mut Log<'_>) {
        let Some(mould) = self.mould() else {
            for attack in FORGED {
                log.record(
                    self.draft(attack).skip("the tokens are no JWTs (RFC 7519): nothing to forge"),
                );
            }
            return;
        };
        self.all(&attacks::SIGNATURE, mould.bad_signatures(), log).await;
        self.all(&attacks::REWRITTEN, mould.rewritten(), log).await;
        self.all(&attacks::NONE, mould.none(), log).await;
        match self.ground.keys {
            Some(keys) => self.all(&attacks::HMAC, mould.hmac(keys), log).await,
            None => log.record(
                self.draft(&attacks::HMAC)
                    .skip("the issuer's public keys are not known: name its key set"),
            ),
        }
        self.all(&attacks::ALGORITHM, mould.algorithms(), log).await;
        self.all(&attacks::KEY, mould.own_key(), log).await;
        self.key_in_header(&mould, log).await;
        self.all(&attacks::SHAPE, mould.spellings(), log).await;
        self.all(&attacks::OVERSIZE, mould.oversize(), log).await;
        self.two_headers(&mould, log).await;
    }

    /// Shows every one of them, and says what the worst came to.
    async fn all(&self, attack: &'static Attack, forged: Vec<Forged>, log: &mut Log<'_>) {
        let tally = self.show_all(forged).await;
        self.judge(attack, tally, log).await;
    }

    async fn judge(&self, attack: &'static Attack, tally: Tally, log: &mut Log<'_>) {
        let control = self.probe.control(self.ground, self.victim).await;
        let tried = format!("{}, with: {}", self.probe.request, tally.tried());
        log.record(self.draft(attack).tried(tried).judge(tally.observation(), control));
    }

    async fn show_all(&self, forged: Vec<Forged>) -> Tally {
        let showing: Vec<_> = forged.iter().map(|forged| self.show(&forged.token)).collect();
        let seen: Vec<_> = stream::iter(showing).buffered(AT_ONCE).collect().await;
        let mut tally = Tally::new(self.probe.route.to_string());
        for (Forged { what, .. }, seen) in forged.iter().zip(seen) {
            tally.add(what, seen);
        }
        tally
    }

    async fn show(&self, token: &str) -> Observation {
        let values = [format!("Bearer {token}")];
        let answer = self.ground.client.send(&self.probe.request, Credentials::Raw(&values)).await;
        turned_away(&answer, true)
    }

    /// A decoy must be refused for what it is: it has no roles, and one who is let in and may do
    /// nothing gets another answer (RFC 6750 3.1) than one whose token is none.
    async fn show_decoy(&self, token: &str) -> Observation {
        let values = [format!("Bearer {token}")];
        let answer = self.ground.client.send(&self.probe.request, Credentials::Raw(&values)).await;
        match (turned_away(&answer, true), answer.status()) {
            (Observation::Refused(seen) | Observation::Nothing(seen), Some(status))
                if status != 401 && !self.probe.turns_away.contains(&status) =>
            {
                Observation::unclear(format!(
                    "{seen}, and not what a token gets that is none: this one may have been let in, \
                     and refused for want of a role"
                ))
            }
            (seen, _) => seen,
        }
    }

    async fn key_in_header(&self, mould: &Mould, log: &mut Log<'_>) {
        let canary = match Canary::serve(mould.own_key_set().to_string()).await {
            Ok(canary) => canary,
            Err(error) => {
                let why = format!("no listener for the key addresses could be opened: {error}");
                return log.record(self.draft(&attacks::HEADER_KEY).skip(why));
            }
        };
        if !self.ground.client.is_local() {
            log.note(
                self.probe.route.to_string(),
                "whether keys are fetched from an address that a token names can be seen only from \
                 the machine the application runs on",
            );
        }
        let mut tally = self.show_all(mould.key_in_header(&canary.address)).await;
        // Whoever asks in the background has had time by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if canary.visits() > 0 {
            let seen = format!("{} connections to the address a token named", canary.visits());
            tally.add("jku, x5u and kid as an address", Observation::reached(seen));
        }
        self.judge(&attacks::HEADER_KEY, tally, log).await;
    }

    async fn two_headers(&self, mould: &Mould, log: &mut Log<'_>) {
        let draft = self.draft(&attacks::TWO_HEADERS);
        if !self.probe.shows {
            return log.record(
                draft.skip(
                    "nothing of the victim's can be seen, so nobody knows whose answer it is",
                ),
            );
        }
        let own = format!("Bearer {}", self.attacker.token.expose());
        let forged = format!("Bearer {}", mould.unsigned());
        let mut tally = Tally::new(self.probe.route.to_string());
        for (what, values) in [
            ("own first, then the victim's", [own.clone(), forged.clone()]),
            ("the victim's first, then own", [forged, own]),
        ] {
            let request = &self.probe.request;
            let answer = self.ground.client.send(request, Credentials::Raw(&values)).await;
            let seen = match self.victim.seen_in(&answer, request) {
                Some(evidence) => Observation::reached(format!("{answer}, with {evidence}")),
                None if is_unclear(&answer) => Observation::unclear(answer.to_string()),
                None if answer.is_success() => {
                    Observation::nothing(format!("{answer}, with nothing of the victim's"))
                }
                None => turned_away(&answer, true),
            };
            tally.add(what, seen);
        }
        self.judge(&attacks::TWO_HEADERS, tally, log).await;
    }

    /// The victim's own good token, in places where no token belongs.
    async fn misplaced(&self, log: &mut Log<'_>) {
        let token = self.victim.token.expose();
        let mut tally = Tally::new(self.probe.route.to_string());
        for name in ["access_token", "token", "jwt", "authorization"] {
            let request = self.probe.request.clone().with_query(name, token);
            let answer = self.ground.client.send(&request, Credentials::None).await;
            tally.add(format!("?{name}=…"), turned_away(&answer, true));
        }
        self.judge(&attacks::QUERY, tally, log).await;
        let mut tally = Tally::new(self.probe.route.to_string());
        for name in ["access_token", "token", "jwt", "session", "Authorization"] {
            let cookie = format!("{name}={token}");
            let request = self.probe.request.clone().with_header("cookie", cookie);
            let answer = self.ground.client.send(&request, Credentials::None).await;
            tally.add(format!("Cookie: {name}=…"), turned_away(&answer, true));
        }
        self.judge(&attacks::COOKIE, tally, log).await;
    }

    /// A token signed with the real key, wrong in one way.
    async fn decoy<I: Issuer>(&self, issuer: &I, decoy: Decoy, log: &mut Log<'_>) {
        let attack = attack_of(decoy);
        let token = match issuer.decoy(&self.victim.tenant.id, decoy).await {
            Ok(Some(token)) => token,
            Ok(None) => {
                let why =
                    "only the issuer can sign such a token, and this one was not asked for it";
                return log.record(self.draft(attack).skip(why));
            }
            Err(error) => {
                let seen = Observation::unclear(format!("the issuer made no such token: {error}"));
                let control = self.probe.control(self.ground, self.victim).await;
                return log.record(self.draft(attack).judge(seen, control));
            }
        };
        let started = tokio::time::Instant::now();
        let mut seen = self.show_decoy(token.expose()).await;
        // What the control plane has just changed takes a while to arrive everywhere.
        let travels = matches!(decoy, Decoy::Revoked | Decoy::StaleEpoch | Decoy::Suspended);
        while travels
            && matches!(seen, Observation::Reached(_))
            && started.elapsed() < self.ground.options.settle
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
            seen = self.show_decoy(token.expose()).await;
        }
        let mut tally = Tally::new(self.probe.route.to_string());
        tally.add(attack.title, seen);
        self.judge(attack, tally, log).await;
    }
}

/// The attacks that need no more than a genuine token to begin with.
const FORGED: [&Attack; 10] = [
    &attacks::SIGNATURE,
    &attacks::REWRITTEN,
    &attacks::NONE,
    &attacks::HMAC,
    &attacks::ALGORITHM,
    &attacks::KEY,
    &attacks::HEADER_KEY,
    &attacks::SHAPE,
    &attacks::OVERSIZE,
    &attacks::TWO_HEADERS,
];

fn attack_of(decoy: Decoy) -> &'static Attack {
    match decoy {
        Decoy::Expired => &attacks::EXPIRED,
        Decoy::NotYetValid => &attacks::NOT_YET,
        Decoy::OtherAudience => &attacks::AUDIENCE,
        Decoy::OtherIssuer => &attacks::ISSUER,
        Decoy::OtherType => &attacks::TYPE,
        Decoy::Revoked => &attacks::REVOKED,
        Decoy::StaleEpoch => &attacks::EPOCH,
        Decoy::Suspended => &attacks::SUSPENDED,
        Decoy::UnknownTenant => &attacks::UNKNOWN,
        Decoy::TwoTenants => &attacks::TWO_TENANTS,
        Decoy::NoTenant => &attacks::NO_TENANT,
        Decoy::RepeatedClaim => &attacks::REPEATED,
    }
}

/// Reads an answer to credentials that are none, where a good token gets a success, or does not.
fn turned_away(answer: &Answer, opens: bool) -> Observation {
    let seen = answer.to_string();
    match answer.status() {
        _ if is_unclear(answer) => Observation::unclear(seen),
        Some(200..=299) => Observation::reached(seen),
        // To a page to sign in at, where the owner is not sent there.
        Some(302 | 303 | 307) if opens => Observation::refused(format!("{seen}, elsewhere")),
        Some(300..=399) => Observation::unclear(format!("{seen}: a redirect is no denial")),
        Some(404 | 410) => Observation::nothing(seen),
        _ => Observation::refused(seen),
    }
}
