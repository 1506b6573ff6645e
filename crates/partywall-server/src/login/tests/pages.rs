//! What every page has in common.

use super::*;
use crate::control::Branding;

#[tokio::test]
async fn o19_every_page_is_kept_by_nobody_and_framed_by_nobody() {
    let scene = scene().await;
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[]).await;
    let own = format!("/account/{}", scene.tenant);
    let device = format!("/device/{}", scene.tenant);
    let posts = [
        (&*path, "identify"),
        ("/sign-in/none", "identify"),
        (&*own, "end_session"),
        ("/device", ""),
        (&*device, ""),
        ("/forgot", ""),
        ("/reset/_.x", ""),
        ("/invitation/t.x", ""),
    ];
    for (page, step) in posts {
        let form = [("step", step), ("do", step), ("email", "x@y.test")];
        let posted = ada.post(&scene, page, &form).await;
        // RFC 9700 4.12: what was posted is not posted on.
        assert!([303, 404].contains(&posted.status.as_u16()), "{page}: {}", posted.status);
        assert_eq!(posted.headers["cache-control"], "no-store", "{page}");
        let stolen = ada.post_from(&scene, page, &form, Some("https://evil.test")).await;
        assert_eq!(stolen.status, StatusCode::FORBIDDEN, "{page}");
    }
    let in_browser = scene.surfer(&scene.user).await.cookies;
    ada.cookies.extend(in_browser);
    let pages = [
        &*path,
        "/sign-in/none",
        &*own,
        "/signed-out",
        "/device",
        "/forgot",
        "/forgot?sent",
        "/reset/_.x",
        "/reset/done",
        "/invitation/t.x",
    ];
    for page in pages {
        let page = ada.get(&scene, page).await;
        let header =
            |name: &str| page.headers.get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        let policy = header("content-security-policy");
        for demand in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(demand), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.body.matches("<h1>").count(), 1);
        assert!(page.body.contains("<html lang=\"en\">"));
    }
    // Only a page that leads to an application may lead away, and to it.
    let mut targets = Vec::new();
    for page in [&*path, &*own] {
        let page = ada.get(&scene, page).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        let target = policy.split("; ").find(|part| part.starts_with("form-action")).unwrap();
        targets.push(target.to_owned());
    }
    assert_eq!(targets, ["form-action 'self' https:", "form-action 'self'"]);
    let page = ada.get(&scene, &path).await;
    let from = page.body.find("/assets/").unwrap();
    let style: String = page.body[from..].chars().take_while(|c| *c != '"').collect();
    let style = ada.get(&scene, &style).await;
    assert_eq!(style.status, StatusCode::OK);
    assert!(style.headers["cache-control"].to_str().unwrap().contains("immutable"));
}

#[tokio::test]
async fn a_tenant_that_shows_itself_is_seen_and_cannot_break_out() {
    let scene = scene().await;
    let branding = Branding {
        display_name: Some("Acme <script>".to_owned()),
        logo_uri: Some("https://cdn.acme.test/logo.png".to_owned()),
        accent: Some("#ffcc00".to_owned()),
    };
    let settings = SignInSettings { branding, ..SignInSettings::default() };
    let db = scene.control.inner.db.reader();
    sign_in_policies::replace(db, &scene.tenant, &settings, scene.control.now()).await.unwrap();
    let mut ada = Surfer::default();
    let path = ada.sets_out(&scene, &[("tenant", "acme")]).await;
    let page = ada.get(&scene, &path).await;
    assert!(page.body.contains("Acme &#60;script&#62;"), "{}", page.body);
    assert!(page.body.contains("--accent: #ffcc00; --on-accent: #000000"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("img-src https://cdn.acme.test;"), "{policy}");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.body.contains(&format!("<style nonce=\"{nonce}\">")));
    let again = ada.get(&scene, &path).await;
    assert!(!again.body.contains(nonce), "a nonce is used once");
}
