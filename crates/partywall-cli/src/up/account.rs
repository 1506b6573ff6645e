//! What `up` tries on the running system, and what it saw.
//!
//! Every refusal has a control beside it: the same request by the one who may.

use std::fmt::Display;

use partywall::{AccessToken, Partywall};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    UpError,
    data::{Attacker, Data},
    tenants::Served,
};

/// One attempt.
pub(super) struct Attempt {
    pub(super) what: String,
    pub(super) seen: String,
    pub(super) held: bool,
}

/// All of them, in the order they were made.
#[derive(Default)]
pub(super) struct Account {
    pub(super) attempts: Vec<Attempt>,
}

impl Account {
    pub(super) fn held(&self) -> bool {
        !self.attempts.is_empty() && self.attempts.iter().all(|attempt| attempt.held)
    }

    pub(super) fn note(&mut self, what: impl Into<String>, seen: impl Into<String>, held: bool) {
        self.attempts.push(Attempt { what: what.into(), seen: seen.into(), held });
    }
}

/// A tenant of the running system, with a fresh token.
pub(super) struct Caller<'t> {
    pub(super) tenant: &'t Served,
    pub(super) token: String,
}

/// Makes every request, against the addresses a user would use.
pub(super) async fn take<D: Data>(
    http: &reqwest::Client,
    invoices: &str,
    wall: &Partywall,
    data: &D,
    store: &D::Store,
    callers: &[Caller<'_>],
) -> Result<Account, UpError> {
    let mut account = Account::default();
    let api = Api { http, base: invoices };
    let mut owned = Vec::new();
    for caller in callers {
        owned.push(own_data(&api, &mut account, caller).await?);
    }
    for (n, caller) in callers.iter().enumerate() {
        // The next tenant, whatever its model: pool → pool → bridge → silo → pool.
        let at = (n + 1) % callers.len();
        let (Some(victim), Some(invoice)) = (callers.get(at), owned.get(at)) else { continue };
        across(&api, &mut account, caller, victim, invoice).await?;
        let context = wall.verify(AccessToken::new(&caller.token)).map_err(UpError::OwnToken)?;
        let attacker =
            Attacker { context: &context, tenant: caller.tenant, victim: victim.tenant, invoice };
        data.reach_across(store, &attacker, &mut account).await?;
    }
    if let Some(caller) = callers.first() {
        forged(&api, &mut account, caller).await?;
    }
    Ok(account)
}

/// Writes an invoice, reads it back and lists: the controls.
async fn own_data(
    api: &Api<'_>,
    account: &mut Account,
    caller: &Caller<'_>,
) -> Result<String, UpError> {
    let name = &caller.tenant.slug;
    let customer = format!("a customer of {name}");
    let new = json!({ "customer": customer, "amount_cents": 4200 });
    let (written, created) = api.post("/invoices", &caller.token, Some(&new)).await?;
    let id = text(&created, "id").unwrap_or_default().to_owned();
    let (read, invoice) = api.get(&format!("/invoices/{id}"), &caller.token).await?;
    let (listed, list) = api.get("/invoices", &caller.token).await?;
    let all = list.as_array().map_or(&[] as &[Value], Vec::as_slice);
    // Customers added by hand since the last start are this tenant's, too; the others' are not.
    let others = |invoice: &&Value| {
        let of = text(invoice, "customer").and_then(|c| c.strip_prefix("a customer of "));
        of.is_some_and(|of| of != name.as_str())
    };
    let foreign = all.iter().filter(others).count();
    let statuses = [written, read, listed].map(|status| status.as_u16());
    let held = statuses == [201, 200, 200] && text(&invoice, "customer") == Some(&customer);
    account.note(
        format!("{name} writes, reads and lists its own"),
        format!("{}, {}, {foreign} foreign", joined(&statuses), rows(all.len())),
        held && !all.is_empty() && foreign == 0,
    );
    Ok(id)
}

/// The same for another tenant's invoice: not found, as one that never was, and left as it is.
async fn across(
    api: &Api<'_>,
    account: &mut Account,
    caller: &Caller<'_>,
    victim: &Caller<'_>,
    invoice: &str,
) -> Result<(), UpError> {
    let path = format!("/invoices/{invoice}");
    let never_was = "/invoices/00000000-0000-4000-8000-000000000000";
    let (read, foreign) = api.get(&path, &caller.token).await?;
    let (_, absent) = api.get(never_was, &caller.token).await?;
    let (paid, _) = api.post(&format!("{path}/payment"), &caller.token, None).await?;
    let (control, still) = api.get(&path, &victim.token).await?;
    let untouched = control == StatusCode::OK && still.get("paid") == Some(&json!(false));
    let statuses = [read, paid].map(|status| status.as_u16());
    let same = if foreign == absent { ", as one that never was" } else { ", unlike an absent one" };
    account.note(
        format!("{} reads and pays {}'s", caller.tenant.slug, victim.tenant.slug),
        format!("{}{same}{}", joined(&statuses), if untouched { "" } else { ", and it CHANGED" }),
        statuses == [404, 404] && foreign == absent && untouched,
    );
    Ok(())
}

/// Tokens that are none.
async fn forged(api: &Api<'_>, account: &mut Account, caller: &Caller<'_>) -> Result<(), UpError> {
    let mut parts = caller.token.split('.');
    let (Some(header), Some(payload), Some(signature)) = (parts.next(), parts.next(), parts.next())
    else {
        return Ok(());
    };
    // One letter of the signature, not the last one: well formed still, and wrong.
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let wrong: String = std::iter::once(first).chain(signature.chars().skip(1)).collect();
    // {"alg":"none","typ":"at+jwt"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    for (what, token) in [
        ("a token with a forged signature", format!("{header}.{payload}.{wrong}")),
        ("a token that says `alg: none`", format!("{none}.{payload}.")),
    ] {
        let (status, _) = api.get("/invoices", &token).await?;
        account.note(what, joined(&[status.as_u16()]), status == StatusCode::UNAUTHORIZED);
    }
    let status = api.http.get(format!("{}/invoices", api.base)).send().await?.status();
    account.note("no token at all", joined(&[status.as_u16()]), status == StatusCode::UNAUTHORIZED);
    Ok(())
}

/// `1 row`, `2 rows`.
pub(super) fn rows(count: impl Display) -> String {
    let count = count.to_string();
    let unit = if count == "1" { "row" } else { "rows" };
    format!("{count} {unit}")
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field)?.as_str()
}

fn joined(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

struct Api<'a> {
    http: &'a reqwest::Client,
    base: &'a str,
}

impl Api<'_> {
    async fn get(&self, path: &str, token: &str) -> Result<(StatusCode, Value), UpError> {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(token);
        answer(request.send().await?).await
    }

    async fn post(
        &self,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), UpError> {
        let mut request = self.http.post(format!("{}{path}", self.base)).bearer_auth(token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        answer(request.send().await?).await
    }
}

async fn answer(response: reqwest::Response) -> Result<(StatusCode, Value), UpError> {
    let status = response.status();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}
