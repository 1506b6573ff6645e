//! A good token of one tenant, and a request that names another in every other way.

use super::{
    Route,
    catalogue::hint as attacks,
    client::Request,
    estate::Estate,
    ground::{Ground, Tally, is_unclear},
    reach::{Snapshot, own_call},
};
use crate::{Attack, Control, Log, Observation, Trial};

/// Names the victim beside the attacker's own token, wherever the victim's things could be seen.
pub(super) async fn attack(
    ground: &Ground<'_>,
    attacker: &mut Estate,
    victim: &mut Estate,
    log: &mut Log<'_>,
) {
    let mut seen_somewhere = false;
    for route in ground.readers() {
        let Some(sight) = ground.owner_sees(victim, route).await else { continue };
        if sight.evidence.is_none() {
            continue;
        }
        seen_somewhere = true;
        for (attack, _) in KINDS {
            let mut tally = Tally::new(route.to_string());
            let (whats, requests): (Vec<_>, Vec<_>) =
                variants(ground, attack, victim, &sight.request).into_iter().unzip();
            let answers = ground.client.send_all(&requests, attacker.credentials()).await;
            for ((what, request), answer) in whats.into_iter().zip(requests).zip(answers) {
                let seen = match victim.seen_in(&answer, &request) {
                    Some(evidence) => Observation::reached(format!("{answer}, with {evidence}")),
                    None if is_unclear(&answer) => Observation::unclear(answer.to_string()),
                    None if matches!(answer.status(), Some(400..=403 | 421 | 422)) => {
                        Observation::refused(answer.to_string())
                    }
                    None => Observation::nothing(answer.to_string()),
                };
                tally.add(what, seen);
            }
            let draft = Trial::of(attack, tally.place()).between(attacker.name(), victim.name());
            let tried = format!("{}, with: {}", sight.request, tally.tried());
            let seen = ground.fairly(attacker, tally.observation()).await;
            log.record(draft.tried(tried).judge(seen, sight.control(victim)));
        }
    }
    if !seen_somewhere {
        for (attack, _) in KINDS {
            let draft = Trial::of(attack, "hints").between(attacker.name(), victim.name());
            log.record(draft.skip("no route shows anything of the victim's to the victim itself"));
        }
    }
    if ground.options.writes {
        for route in &ground.creators {
            create(ground, route, attacker, victim, log).await;
        }
        let changes = |route: &&Route| !route.is_safe() && !route.params().is_empty();
        for route in ground.routes.iter().filter(changes) {
            change(ground, route, attacker, victim, log).await;
        }
    }
}

/// How the requests of a kind are made.
type Make = fn(&Ground<'_>, &[String], &Request) -> Variants;

const KINDS: [(&Attack, Make); 6] = [
    (&attacks::HINT_HEADER, headers),
    (&attacks::HINT_HOST, hosts),
    (&attacks::HINT_PATH, |_, names, plain| paths(names, plain)),
    (&attacks::HINT_QUERY, |_, names, plain| queries(names, plain)),
    (&attacks::HINT_COOKIE, |_, names, plain| cookies(names, plain)),
    (&attacks::HINT_RESERVED, |ground, _, plain| reserved(ground, plain)),
];

/// A creation that names the victim: does the victim find it among its own?
async fn create(
    ground: &Ground<'_>,
    route: &Route,
    attacker: &mut Estate,
    victim: &Estate,
    log: &mut Log<'_>,
) {
    let control = own_call(ground, attacker, route).await;
    for (attack, _) in KINDS {
        let marker = attacker.next_marker();
        let Ok(plain) = route.fill(&attacker.ids, &marker) else { return };
        let mut tally = Tally::new(route.to_string());
        for (what, request) in at_once(ground, attack, victim, &plain) {
            let answer = ground.client.send(&request, attacker.credentials()).await;
            attacker.note_created(route, &request, &answer);
            let seen = match is_unclear(&answer) {
                true => Observation::unclear(answer.to_string()),
                false if answer.is_success() => Observation::nothing(answer.to_string()),
                false => Observation::refused(answer.to_string()),
            };
            tally.add(what, seen);
        }
        if tally.is_empty() {
            continue;
        }
        if let Some(found) = found_by(ground, victim, &marker).await {
            tally.add("afterwards", Observation::reached(found));
        }
        let draft = Trial::of(attack, tally.place()).between(attacker.name(), victim.name());
        let tried = format!("{plain}, with: {}", tally.tried());
        log.record(draft.tried(tried).judge(tally.observation(), control.clone()));
    }
}

/// A change or removal of the victim's, beside every hint that it is the victim who asks.
async fn change(
    ground: &Ground<'_>,
    route: &Route,
    attacker: &mut Estate,
    victim: &mut Estate,
    log: &mut Log<'_>,
) {
    let control = own_call(ground, victim, route).await;
    let Ok(plain) = route.fill(&victim.ids, &attacker.next_marker()) else { return };
    let before = Snapshot::take(ground, victim, attacker).await;
    for (attack, _) in KINDS {
        let mut tally = Tally::new(route.to_string());
        for (what, request) in at_once(ground, attack, victim, &plain) {
            let answer = ground.client.send(&request, attacker.credentials()).await;
            attacker.note_created(route, &request, &answer);
            let seen = match victim.seen_in(&answer, &request) {
                Some(evidence) => Observation::reached(format!("{answer}, with {evidence}")),
                None if is_unclear(&answer) => Observation::unclear(answer.to_string()),
                None if answer.is_success() => Observation::nothing(answer.to_string()),
                None => Observation::refused(answer.to_string()),
            };
            tally.add(what, seen);
        }
        if tally.is_empty() {
            continue;
        }
        let draft = Trial::of(attack, tally.place()).between(attacker.name(), victim.name());
        let draft = draft.tried(format!("{plain}, with: {}", tally.tried()));
        match before.compare(ground, victim).await {
            Ok(unchanged) => {
                let control =
                    if let Control::Held(_) = control { unchanged } else { control.clone() };
                let seen = ground.fairly(attacker, tally.observation()).await;
                log.record(draft.judge(seen, control));
            }
            Err(changed) => {
                log.record(draft.judge(Observation::reached(changed), control));
                // What later attacks are aimed at is no longer there, or no longer the same.
                (victim.ids, victim.main_marker) = ground.spare(victim).await;
                return;
            }
        }
    }
}

/// All forms of a kind in as few requests as they go into: each creation leaves something behind.
fn at_once(
    ground: &Ground<'_>,
    attack: &'static Attack,
    victim: &Estate,
    plain: &Request,
) -> Variants {
    let together = |variants: Variants, what: String| {
        let mut together = plain.clone();
        for (_, variant) in variants {
            together.headers.extend(variant.headers.into_iter().skip(plain.headers.len()));
            together.query.extend(variant.query.into_iter().skip(plain.query.len()));
        }
        // RFC 6265 5.4: one header with all of them.
        let (cookies, mut headers): (Vec<_>, Vec<_>) =
            together.headers.into_iter().partition(|(name, _)| name == "cookie");
        if !cookies.is_empty() {
            let all: Vec<String> = cookies.into_iter().map(|(_, value)| value).collect();
            headers.push(("cookie".to_owned(), all.join("; ")));
        }
        together.headers = headers;
        (what, together)
    };
    // Whoever reads names may not know ids, and the other way round.
    let all = |make: &dyn Fn(&[String]) -> Variants, what: &str| -> Variants {
        let named = |name: String| {
            let what = format!("{what}: {name}");
            together(make(&[name]), what)
        };
        names(victim).into_iter().map(named).collect()
    };
    match attack.id {
        id_of if id_of == attacks::HINT_HEADER.id => {
            all(&|names| headers(ground, names, plain), "all tenant headers at once")
        }
        id_of if id_of == attacks::HINT_QUERY.id => {
            all(&|names| queries(names, plain), "all tenant parameters at once")
        }
        id_of if id_of == attacks::HINT_COOKIE.id => {
            all(&|names| cookies(names, plain), "all tenant cookies at once")
        }
        id_of if id_of == attacks::HINT_HOST.id => {
            let name = [victim.tenant.name.clone()];
            hosts(ground, &name, plain).into_iter().take(2).collect()
        }
        id_of if id_of == attacks::HINT_PATH.id => {
            let name = [victim.tenant.name.clone()];
            let in_path = |(_, variant): &(String, Request)| variant.path != plain.path;
            paths(&name, plain).into_iter().filter(in_path).collect()
        }
        _ => Variants::new(),
    }
}

/// Whether `tenant` finds a text that is not its own among what it can list.
pub(super) async fn found_by(ground: &Ground<'_>, tenant: &Estate, marker: &str) -> Option<String> {
    for route in ground.readers().filter(|route| !route.takes_id()) {
        let Ok(request) = route.fill(&tenant.ids, marker) else { continue };
        let answer = ground.client.send(&request, tenant.credentials()).await;
        // A search for it echoes it; what a list shows is what is there.
        if answer.contains(marker) && !request.says(marker) {
            return Some(format!("{} finds it with {route}", tenant.name()));
        }
    }
    None
}

/// What a request with these changes would be, and what was changed in a few words.
type Variants = Vec<(String, Request)>;

fn variants(
    ground: &Ground<'_>,
    attack: &'static Attack,
    victim: &Estate,
    plain: &Request,
) -> Variants {
    let of_kind = KINDS.iter().find(|(kind, _)| kind.id == attack.id);
    of_kind.map(|(_, make)| make(ground, &names(victim), plain)).unwrap_or_default()
}

/// What a hint may call it.
fn names(tenant: &Estate) -> Vec<String> {
    let mut names = vec![tenant.tenant.id.as_str().to_owned(), tenant.tenant.name.clone()];
    names.dedup();
    names
}

const HEADERS: [&str; 17] = [
    "X-Tenant-Id",
    "X-Tenant",
    "X-Tenant-Name",
    "X-Tenant-Slug",
    "X-Forwarded-Tenant",
    "Tenant-Id",
    "Tenant",
    "X-Team-Id",
    "X-Org-Id",
    "X-Org",
    "X-Organization-Id",
    "X-Account-Id",
    "X-Customer-Id",
    "X-Workspace-Id",
    "X-Company-Id",
    "X-Client-Id",
    "X-Scope-OrgID",
];

fn header_names(ground: &Ground<'_>) -> Vec<String> {
    let own = ground.options.headers.iter().cloned();
    own.chain(HEADERS.map(str::to_owned)).collect()
}

fn headers(ground: &Ground<'_>, names: &[String], plain: &Request) -> Variants {
    let mut all = Variants::new();
    for header in header_names(ground) {
        for name in names {
            all.push((format!("{header}: {name}"), plain.clone().with_header(&header, name)));
        }
    }
    all
}

fn hosts(ground: &Ground<'_>, names: &[String], plain: &Request) -> Variants {
    let authority = ground.client.authority();
    let domain = ground.options.domain.clone().unwrap_or_else(|| authority.clone());
    let mut all = Variants::new();
    for name in names {
        let host = format!("{name}.{domain}");
        let with = |header: &str, value: String| {
            (format!("{header}: {value}"), plain.clone().with_header(header, value))
        };
        all.push(with("Host", host.clone()));
        all.push(with("X-Forwarded-Host", host.clone()));
        all.push(with("X-Original-Host", host.clone()));
        all.push(with("Forwarded", format!("host=\"{host}\"")));
        all.push(with("Origin", format!("https://{host}")));
        all.push(with("Referer", format!("https://{host}/")));
    }
    all
}

fn paths(names: &[String], plain: &Request) -> Variants {
    let mut all = Variants::new();
    for name in names {
        for before in ["t", "tenants", "tenant", "orgs", "o", ""] {
            let front = if before.is_empty() { String::new() } else { format!("/{before}") };
            let mut request = plain.clone();
            request.path = format!("{front}/{name}{}", plain.path);
            all.push((request.path.clone(), request));
        }
        let path = format!("/{name}{}", plain.path);
        for header in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"] {
            all.push((format!("{header}: {path}"), plain.clone().with_header(header, &*path)));
        }
    }
    all
}

fn queries(names: &[String], plain: &Request) -> Variants {
    let places = [
        "tenant_id",
        "tenant",
        "tenantId",
        "tenant_slug",
        "tid",
        "org_id",
        "org",
        "organization_id",
        "account_id",
        "customer_id",
        "team_id",
        "workspace",
        "workspace_id",
    ];
    let mut all = Variants::new();
    for place in places {
        for name in names {
            all.push((format!("?{place}={name}"), plain.clone().with_query(place, name)));
        }
    }
    all
}

fn cookies(names: &[String], plain: &Request) -> Variants {
    let mut all = Variants::new();
    for place in ["tenant_id", "tenant", "org_id", "org"] {
        for name in names {
            let cookie = format!("{place}={name}");
            all.push((format!("Cookie: {cookie}"), plain.clone().with_header("cookie", cookie)));
        }
    }
    all
}

/// Names that some code reads as "all" or "internal".
fn reserved(ground: &Ground<'_>, plain: &Request) -> Variants {
    let mut all = Variants::new();
    for header in header_names(ground).into_iter().take(ground.options.headers.len() + 2) {
        for name in
            ["*", "%", "all", "admin", "system", "root", "default", "public", "null", "0", ""]
        {
            all.push((format!("{header}: {name:?}"), plain.clone().with_header(&header, name)));
        }
    }
    for name in ["*", "all", "admin", ""] {
        all.push((format!("?tenant_id={name}"), plain.clone().with_query("tenant_id", name)));
    }
    all
}
