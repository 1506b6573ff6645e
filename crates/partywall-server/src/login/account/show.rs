//! What the account page shows.

use askama::Template;
use axum::{
    http::{StatusCode, Uri},
    response::Response,
};
use partywall::Timestamp;

use super::{Here, link::Linkable, words::Said};
use crate::{
    login::{
        page::{Look, page},
        problem::PageError,
        sign_in::show::{in_words, name_of},
    },
    provider::Form,
    storage::{consents, passkeys, recovery_codes, sessions, totp_secrets},
};

impl Here<'_> {
    pub(super) async fn page(&self, uri: &Uri) -> Result<Response, PageError> {
        let (control, db, now) = (self.control, self.control.inner.db.reader(), self.control.now());
        let tenant = self.admitted.tenant();
        let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
        let get = |name| query.as_ref().and_then(|query| query.get(name));
        let after = get("sessions_after");
        let mut live =
            sessions::live_of_user(db, tenant, &self.user.id, after, PAGE + 1, now).await?;
        let more = live.len() as u64 > PAGE;
        live.truncate(usize::try_from(PAGE).unwrap_or_default());
        let more_sessions = live.last().filter(|_| more).map(|last| last.sid.clone());
        let sessions: Vec<SessionRow> = live
            .into_iter()
            .map(|session| SessionRow {
                here: session.sid == self.sid,
                since: date(session.created_at),
                browser: browser_in_words(&session.user_agent),
                sid: session.sid,
            })
            .collect();
        let mut given = Vec::new();
        for consent in consents::of_user(db, tenant, &self.user.id).await? {
            let name = name_of(control, &consent.client).await?;
            let scopes: Vec<String> = consent.scopes.iter().map(in_words).collect();
            given.push(ConsentRow {
                application: name.unwrap_or_else(|| consent.client.to_string()),
                client: consent.client.to_string(),
                scopes: scopes.join(", "),
                since: date(consent.given_at),
            });
        }
        let (mut apps, mut keys, mut codes_left) = (Vec::new(), Vec::new(), 0);
        if let Some(account) = &self.account {
            let all = totp_secrets::of_account(db, &account.id).await?;
            apps = all.into_iter().filter(|app| app.confirmed_at.is_some()).collect();
            keys = passkeys::of_account(db, &account.id).await?;
            codes_left = recovery_codes::left(db, &account.id).await?;
        }
        let links = self.links().await?;
        let look = &Look::inside(control, self.at, tenant).await?;
        let shown = AccountPage {
            look,
            said: get("said").and_then(Said::of),
            name: &self.user.name,
            email: self.user.email.as_str(),
            has_account: self.account.is_some(),
            fresh: self.fresh,
            options: format!("{}/account/{tenant}/passkey", self.at.issuer()),
            apps: apps
                .iter()
                .map(|app| Row { id: &app.id, name: &app.name, since: date(app.created_at) })
                .collect(),
            keys: keys
                .iter()
                .map(|key| Row {
                    id: &key.credential_id,
                    name: &key.name,
                    since: date(key.created_at),
                })
                .collect(),
            codes_left,
            sessions,
            more_sessions,
            consents: given,
            links: &links,
        };
        Ok(page(StatusCode::OK, look, &shown))
    }
}

/// Sessions on one page.
const PAGE: u64 = 20;

/// A date people everywhere read the same, in UTC.
pub(crate) fn date(at: Timestamp) -> String {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; after 1970.
    let days = at.0 / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// What people know their browser by; all it says of itself, where we do not know it.
fn browser_in_words(user_agent: &str) -> String {
    let has = |word: &str| user_agent.contains(word);
    let name = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]
    .into_iter()
    .find(|(mark, _)| has(mark));
    let system = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    ]
    .into_iter()
    .find(|(mark, _)| has(mark));
    match (name, system) {
        (Some((_, name)), Some((_, system))) => format!("{name} on {system}"),
        (Some((_, name)), None) => name.to_owned(),
        (None, _) if user_agent.is_empty() => "A browser".to_owned(),
        (None, _) => user_agent.chars().take(60).collect(),
    }
}

struct SessionRow {
    sid: String,
    browser: String,
    since: String,
    here: bool,
}

struct ConsentRow {
    client: String,
    application: String,
    scopes: String,
    since: String,
}

struct Row<'r> {
    id: &'r str,
    name: &'r str,
    since: String,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'p> {
    look: &'p Look,
    said: Option<Said>,
    name: &'p str,
    email: &'p str,
    has_account: bool,
    fresh: bool,
    /// Where the script asks what it needs to make a passkey.
    options: String,
    apps: Vec<Row<'p>>,
    keys: Vec<Row<'p>>,
    codes_left: u64,
    sessions: Vec<SessionRow>,
    more_sessions: Option<String>,
    consents: Vec<ConsentRow>,
    links: &'p [Linkable],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, day) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_800_000_000, "2027-01-15")]
        {
            assert_eq!(date(Timestamp(seconds)), day);
        }
    }
}
