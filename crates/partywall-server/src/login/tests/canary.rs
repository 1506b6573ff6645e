//! Every secret that passes through here in a day, and where it must not lie afterwards (L-02, R-18):
//! in the log at its most talkative, and in the database in clear.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use tracing_subscriber::filter::LevelFilter;

use super::*;
use crate::{
    NewOperatorKey,
    provider::testing::{TESTER, as_application, as_machine},
    storage::{
        alone::{Log, alone},
        catalogue,
    },
};

/// Whether `secret` stands in `text`, in any of the dresses that secrets go out in.
fn is_in(text: &str, secret: &str) -> bool {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let dresses = [
        secret.to_owned(),
        Base64::encode_string(secret.as_bytes()),
        Base64UrlUnpadded::encode_string(secret.as_bytes()),
        hex.to_uppercase(),
        hex,
        escaped,
    ];
    dresses.iter().any(|dress| text.contains(dress.as_str()))
}

/// Every row of every table, as text.
async fn everything(scene: &Scene) -> String {
    let db = scene.control.inner.db.reader();
    let mut dump = String::new();
    for (table, columns) in catalogue::tables(db).await {
        let all: Vec<_> = columns.iter().map(|c| catalogue::quoted(db, &c.name)).collect();
        let sql = format!("SELECT {} FROM {table}", all.join(" || ',' || "));
        dump.push_str(&format!("{table}: {:?}\n", catalogue::texts(db, sql).await));
    }
    dump
}

#[test]
fn r18_no_secret_is_in_the_log_or_in_clear_in_the_database() {
    alone("login::tests::canary::a_day");
}

#[tokio::test]
#[ignore = "in a process of its own"]
async fn a_day() {
    let (log, _listening) = Log::listen(LevelFilter::TRACE);

    let mut scene = Scene::new().await;
    let mut secrets: Vec<(&str, String)> = Vec::new();
    let app = application(&scene.control, None, json!({ "authentication": "client_secret" })).await;
    secrets.push(("a client's secret", app.secret.as_ref().unwrap().expose().to_owned()));
    scene.app = app;
    let robot = scene.machine().await;
    secrets.push(("a machine's secret", robot.secret.expose().to_owned()));

    // Somebody comes, sets up what they sign in with, signs in to an application and stays.
    let (_, link) = links::invited(&scene, &scene.tenant, "new@acme.test").await;
    secrets.push(("an invitation", link.split_once('.').unwrap().1.to_owned()));
    let mut new = Surfer::default();
    let typed = "a canary that nobody else would type";
    let own = new.post(&scene, &link, &[("password", typed)]).await.leads_to();
    secrets.push(("a password", typed.to_owned()));
    let shown = new.post(&scene, &own, &[("do", "add_app")]).await;
    let drawn = between(&shown.body, "<code>", "</code>").replace(' ', "");
    let id = between(&shown.body, "name=\"id\" value=\"", "\"");
    let code = totp::tests::app_shows(&Secret::new(drawn.clone()), scene.control.now());
    let form = [("do", "confirm_app"), ("id", &*id), ("code", &*code)];
    assert!(new.post(&scene, &own, &form).await.leads_to().ends_with("?said=added"));
    secrets.push(("an authenticator app's secret", drawn));
    let codes = new.post(&scene, &own, &[("do", "new_codes")]).await;
    secrets.push(("a recovery code", between(&codes.body, "<code>", "</code>")));
    let query = format!(
        "client_id={}&redirect_uri=https://app.test/cb&response_type=code&scope=openid+offline_access\
         &state=s&code_challenge={CHALLENGE}&code_challenge_method=S256",
        scene.app.client_id
    );
    let answer = new.get(&scene, &format!("/authorize?{query}")).await.answer();
    secrets.push(("a code", answer["code"].clone()));
    let form = format!(
        "grant_type=authorization_code&{}&redirect_uri=https://app.test/cb&code_verifier={VERIFIER}\
         &code={}",
        as_application(&scene.app),
        answer["code"]
    );
    let (status, tokens) = scene.post("/token", &form).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let form =
        format!("grant_type=refresh_token&{}&refresh_token={refresh}", as_application(&scene.app));
    let (_, turned) = scene.post("/token", &form).await;
    let form = format!("grant_type=client_credentials&{}", as_machine(&robot));
    let (_, of_machine) = scene.post("/token", &form).await;
    for tokens in [&tokens, &turned, &of_machine] {
        for name in ["access_token", "refresh_token", "id_token"] {
            if let Some(token) = tokens[name].as_str() {
                let signature = token.rsplit('.').next().unwrap();
                secrets.push((name, signature.to_owned()));
            }
        }
    }
    secrets.extend(new.cookies.values().map(|value| ("a cookie", value.clone())));

    // Refused, all of them, which is when most is said.
    for form in [
        format!("grant_type=authorization_code&code={}", answer["code"]),
        format!("grant_type=refresh_token&refresh_token={refresh}"),
        "grant_type=client_credentials".to_owned(),
    ] {
        let wrong = "a canary for a secret";
        let form = format!("{form}&client_id={}&client_secret={wrong}", scene.app.client_id);
        assert!(scene.post("/token", &form).await.0.is_client_error());
        secrets.push(("a wrong secret", wrong.to_owned()));
    }
    let mut wrong = Surfer::default();
    let path = wrong.sets_out(&scene, &[]).await;
    let guessed = "a canary for a wrong password";
    wrong.signs_in(&scene, &path, "new@acme.test", guessed).await;
    secrets.push(("a wrong password", guessed.to_owned()));
    let reset = "/reset/_.a-canary-for-a-link-that-is-none";
    assert_eq!(wrong.get(&scene, reset).await.status, StatusCode::NOT_FOUND);
    secrets.push(("a link", reset.trim_start_matches("/reset/_.").to_owned()));

    let key = NewOperatorKey { name: "olga".to_owned(), lasts: Duration::from_secs(60) };
    let key = scene.control.create_operator_key(&TESTER, key).await.unwrap();
    secrets.push(("an operator's key", key.expose().rsplit('.').next().unwrap().to_owned()));
    let key = json!({ "name": "ci", "holder": robot.client_id, "lasts_seconds": 60 });
    let key = serde_json::from_value(key).unwrap();
    let key = scene.control.create_api_key(&TESTER, &scene.tenant, key).await.unwrap();
    secrets.push(("an API key", key.text.expose().rsplit('.').next().unwrap().to_owned()));
    for path in ["/par", "/device_authorization"] {
        let form = format!(
            "{}&response_type=code&redirect_uri=https://app.test/cb&scope=openid\
             &code_challenge={CHALLENGE}&code_challenge_method=S256",
            as_application(&scene.app)
        );
        let (_, answer) = scene.post(path, &form).await;
        let text = answer["request_uri"].as_str().or(answer["device_code"].as_str()).unwrap();
        secrets.push((path, text.rsplit([':', '.']).next().unwrap().to_owned()));
    }

    let log = log.take();
    let database = everything(&scene).await;
    // The controls: this is the log, and the database, of just that day.
    assert!(log.contains("an access token was issued") && log.contains("request.refused"));
    assert!(database.contains("new@acme.test") && is_in(&database, robot.client_id.as_str()));
    assert!(secrets.len() > 20, "{secrets:?}");
    for (what, secret) in &secrets {
        assert!(secret.len() >= 8, "{what} is too short to look for: {secret}");
        assert!(!is_in(&log, secret), "{what} is in the log: {secret}");
        assert!(!is_in(&database, secret), "{what} is in the database: {secret}");
    }
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before}: {text}"));
    rest.split_once(after).unwrap().0.to_owned()
}
