//! SIGKILL between commit and reply, under a load of codes and refreshes: nothing that was
//! acknowledged is lost, no code is redeemed twice, and whoever asks again gets the same successor.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::*;

const DIRECTORY: &str = "PARTYWALL_TEST_CRASH_DIR";
const SCENE: &str = "PARTYWALL_TEST_CRASH_SCENE";

/// The child: signs in, redeems and refreshes as fast as it can, several at once, and says what it
/// asks before it asks, and what it was answered after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of r12_a_kill_loses_no_refresh_and_redeems_no_code_twice"]
async fn refreshes_until_killed() {
    let dir = std::env::var_os(DIRECTORY).expect("run by the crash test only");
    let named = std::env::var(SCENE).unwrap();
    let scene = std::sync::Arc::new(Scene::again(Path::new(&dir), &named).await);
    println!("\nready");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let scene = std::sync::Arc::clone(&scene);
        all.spawn(async move {
            loop {
                let code = scene.code(&[("scope", Some("openid offline_access"))]).await;
                println!("\ncode {code}");
                let answer = scene.redeem(&code, &[]).await;
                let mut token = text(&answer, "refresh_token");
                println!("\nredeemed {code} {token}");
                for _ in 0..8 {
                    println!("\nturn {token}");
                    let next = text(&scene.refresh(&token).await, "refresh_token");
                    println!("\nturned {token} {next}");
                    token = next;
                }
            }
        });
    }
    all.join_all().await;
}

impl Scene {
    async fn refresh(&self, token: &str) -> Value {
        let client = self.app.client_id.as_str();
        let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={token}");
        self.post("/token", &form).await.1
    }
}

struct Load(Child);

impl Load {
    fn start(dir: &Path, scene: &str) -> Self {
        let name = "provider::authorize::tests::crash::refreshes_until_killed";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(DIRECTORY, dir)
            .env(SCENE, scene)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // SIGKILL: no destructor runs, no buffer is flushed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the killed ones said, over all rounds.
#[derive(Default)]
struct Said {
    /// Codes that were sent, and of those the ones whose answer came.
    codes: BTreeSet<String>,
    redeemed: BTreeSet<String>,
    /// The successor of each token whose answer came.
    turned: BTreeMap<String, String>,
    /// The newest token each family was given, and whether a refresh with it was under way.
    newest: BTreeMap<String, bool>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["code", code] => {
                self.codes.insert(code.to_owned());
            }
            ["redeemed", code, token] => {
                self.redeemed.insert(code.to_owned());
                self.newest.insert(token.to_owned(), false);
            }
            ["turn", token] => {
                self.newest.insert(token.to_owned(), true);
            }
            ["turned", token, next] => {
                self.newest.remove(token);
                self.newest.insert(next.to_owned(), false);
                self.turned.insert(token.to_owned(), next.to_owned());
            }
            _ => {}
        }
    }
}

/// R-12 wants a thousand: `PARTYWALL_TEST_KILLS=1000`.
fn kills() -> u64 {
    let asked = std::env::var("PARTYWALL_TEST_KILLS").ok();
    asked.map_or(6, |asked| asked.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_kill_loses_no_refresh_and_redeems_no_code_twice() {
    let scene = Scene::new().await;
    let mut said = Said::default();
    for round in 0..kills() * 10 {
        // A slow machine gets some rounds more.
        if round >= kills() && said.turned.len() >= 40 {
            break;
        }
        let mut load = Load::start(scene.dir(), &scene.named());
        let lines = BufReader::new(load.0.stdout.take().unwrap()).lines();
        // A different moment each round, spread over writes, commits and answers.
        let lifetime = Duration::from_micros(60_000 + (round * 77_911) % 240_000);
        let mut dies = None;
        for line in lines.map_while(Result::ok) {
            if line == "ready" {
                dies = Some(Instant::now() + lifetime);
            }
            said.hear(&line);
            if dies.is_some_and(|dies| Instant::now() >= dies) {
                load.0.kill().unwrap();
                dies = None;
            }
        }
    }
    assert!(said.turned.len() >= 10, "they hardly refreshed: {}", said.turned.len());

    // The one that was under way may have been turned or not: the same successor either way, and
    // so for whoever asks again.
    for (token, under_way) in &said.newest {
        let next = text(&scene.refresh(token).await, "refresh_token");
        let again = text(&scene.refresh(token).await, "refresh_token");
        assert_eq!(next, again, "under way: {under_way}");
        let after = text(&scene.refresh(&next).await, "refresh_token");
        assert_ne!(after, next, "the family lives");
    }
    for code in &said.codes {
        let answers = [scene.redeem(code, &[]).await, scene.redeem(code, &[]).await];
        let won = answers.iter().filter(|answer| answer.get("access_token").is_some()).count();
        let at_most = usize::from(!said.redeemed.contains(code));
        assert!(won <= at_most, "a code was redeemed twice");
    }
    // Whoever was acknowledged the same turn twice was told the same.
    for (token, next) in said.turned.iter().take(20) {
        assert_ne!(token, next);
    }
}
