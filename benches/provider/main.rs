//! The identity provider beside npm's `oidc-provider`, in one run: requests per second of CPU, each
//! server alone on the machine's first core and the load on the others. Then what a million
//! clients, a hundred thousand tenants, a person in two thousand of them, three thousand tenants with
//! a provider of their own and a storm of passwords
//! do to the time of an answer.
//!
//! Ours has every code and every turn of a refresh token on the disk before it answers. The peer is
//! measured twice: keeping everything in memory, and appending each change to a file on the disk.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench stops at the first surprise"
)]

mod child;
mod load;
mod ours;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use child::Served;
use load::{Answer, Connection, Times, fail, get, load, post, post_from};
use ours::Wanted;
use partywall_benches::{only_a_test, wanted};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, directory, algorithm, clients, tenants, memberships, connections] =
        arguments.as_slice()
        && first == "ours"
    {
        let number = |text: &String| text.parse().unwrap();
        return ours::run(&Wanted {
            directory: directory.into(),
            algorithm: algorithm.clone(),
            clients: number(clients),
            tenants: number(tenants),
            memberships: number(memberships),
            connections: number(connections),
        });
    }
    if !wanted("provider") {
        return;
    }
    let Some(parts) = node_modules() else {
        println!("skipped: no oidc-provider on this machine: scripts/install");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(&Bench { parts, scratch: Scratch::new() }));
}

/// Where `scripts/install` put npm's parts.
fn node_modules() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let parts = cache.join("partywall/node/node_modules");
    parts.join("oidc-provider").exists().then_some(parts)
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        // On a disk: in memory nothing would be durable.
        let target = std::env::current_exe().unwrap();
        let path = target.with_file_name(format!("provider-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where a server runs, and nothing else.
const FIRST_CORE: &str = "0";

struct Bench {
    parts: PathBuf,
    scratch: Scratch,
}

impl Bench {
    fn ours(&self, algorithm: &str, clients: usize, tenants: usize, memberships: usize) -> Served {
        self.ours_on(FIRST_CORE, algorithm, [clients, tenants, memberships, 0])
    }

    /// Of so many clients, tenants, memberships and connections.
    fn ours_on(&self, cores: &str, algorithm: &str, numbers: [usize; 4]) -> Served {
        let [clients, tenants, memberships, connections] = numbers.map(|number| number.to_string());
        let name = format!("{algorithm}-{clients}-{tenants}-{memberships}-{connections}");
        let directory = self.scratch.0.join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let program = std::env::current_exe().unwrap();
        let directory = directory.display().to_string();
        let arguments =
            ["ours", &directory, algorithm, &clients, &tenants, &memberships, &connections];
        Served::start(cores, &program.display().to_string(), &arguments)
    }

    fn peer(&self, algorithm: &str) -> Served {
        self.peer_with(algorithm, &[])
    }

    /// One that has each change on the disk before it answers.
    fn durable_peer(&self, algorithm: &str) -> Served {
        let log = self.scratch.0.join("peer.log").display().to_string();
        self.peer_with(algorithm, &[&log])
    }

    fn peer_with(&self, algorithm: &str, more: &[&str]) -> Served {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("provider/peer.mjs");
        let (script, parts) = (script.display().to_string(), self.parts.display().to_string());
        let arguments = [&["--no-warnings", &script, &parts, algorithm], more].concat();
        Served::start(FIRST_CORE, "node", &arguments)
    }
}

fn seconds() -> Duration {
    if only_a_test() { Duration::from_millis(300) } else { Duration::from_secs(8) }
}

/// Whether the command line asks for this part: `provider people`. Without a part, for all of them.
fn part(name: &str) -> bool {
    let mut asked = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).skip(1);
    asked.next().is_none_or(|part| part == name)
}

async fn run(bench: &Bench) {
    if part("idle") {
        let idle = bench.ours("ES256", 1, 10, 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("idle: {:.0} MiB resident (mark: 50)\n", idle.resident());
    }
    if part("machines") {
        for (algorithm, mark) in [("ES256", 10.0), ("RS256", 2.0)] {
            let peer = machines_of(&bench.peer(algorithm), algorithm).await;
            let ours = machines_of(&bench.ours(algorithm, 256, 10, 1), algorithm).await;
            println!("  {:.1} times as many per second of CPU (mark: {mark})\n", ours / peer);
        }
    }
    if part("people") {
        let forgetful = people_of(&bench.peer("ES256"), "in memory").await;
        let durable = people_of(&bench.durable_peer("ES256"), "durable").await;
        let ours = people_of(&bench.ours("ES256", 1, 10, 1), "durable").await;
        println!(
            "  {:.1} times as many per second of CPU (mark: 4), {:.1} times where the peer forgets\n",
            ours / durable,
            ours / forgetful
        );
    }
    if part("flat") {
        let (million, crowd) = if only_a_test() { (2_000, 2_000) } else { (1_000_000, 100_000) };
        flat("machines: one, and a million", bench, (1, 10), (million, 10)).await;
        flat("tenants: ten, and a hundred thousand", bench, (256, 10), (256, crowd)).await;
        memberships(bench).await;
    }
    if part("connections") {
        connections(bench).await;
    }
    if part("storm") {
        storm(bench).await;
    }
}

fn machine_requests(served: &Served) -> Vec<Vec<u8>> {
    let path = served.text("token");
    let request = |(id, secret): &(String, String)| {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        post(&path, &form)
    };
    served.machines.iter().map(request).collect()
}

/// Access tokens for machines, per second of CPU.
async fn machines_of(served: &Served, algorithm: &str) -> f64 {
    let requests = machine_requests(served);
    let check = Connection::open(&served.address).await.ask(&requests[0]).await;
    let token = check.member("access_token");
    assert_eq!(token.split('.').count(), 3, "both issue signed tokens: {token}");
    load(&served.address, &requests, 8, seconds() / 4).await;
    let before = served.cpu();
    let mut times = load(&served.address, &requests, 8, seconds()).await;
    let per_second = per_second(times.count(), served.cpu() - before);
    println!(
        "client credentials, {algorithm}, {}: {per_second:6.0} per CPU second, p50 {:.0} µs, p99 {:.0} µs",
        whose(served),
        times.at(0.5),
        times.at(0.99)
    );
    per_second
}

fn whose(served: &Served) -> &'static str {
    if served.text("issuer").is_empty() { "oidc-provider" } else { "partywall    " }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn per_second(count: usize, cpu: Duration) -> f64 {
    count as f64 / cpu.as_secs_f64()
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A browser that has signed in.
struct Browser<'s> {
    served: &'s Served,
    connection: Connection,
    cookies: Vec<(String, String)>,
}

impl<'s> Browser<'s> {
    async fn new(served: &'s Served) -> Self {
        let connection = Connection::open(&served.address).await;
        Self { served, connection, cookies: Vec::new() }
    }

    fn cookies(&self) -> String {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    async fn ask(&mut self, request: Vec<u8>) -> Answer {
        let answer = self.connection.ask(&request).await;
        for set in answer.header("set-cookie") {
            let pair = set.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        let request = get(path, &self.cookies());
        self.ask(request).await
    }

    async fn post(&mut self, path: &str, form: &str) -> Answer {
        let origin = format!("http://{}", self.served.address);
        let request = post_from(path, &origin, &self.cookies(), form);
        self.ask(request).await
    }

    fn authorize_path(&self) -> String {
        format!(
            "{}?client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb&response_type=code\
             &scope=openid%20offline_access%20invoices%3Aread&state=s&nonce=n\
             &code_challenge={CHALLENGE}&code_challenge_method=S256{}",
            self.served.text("authorize"),
            self.served.text("web"),
            if self.served.text("tenant").is_empty() {
                "&resource=https%3A%2F%2Fapi.test".to_owned()
            } else {
                format!("&tenant={}", self.served.text("tenant"))
            },
        )
    }

    /// Where an answer leads, on the same server.
    fn onward(&self, answer: &Answer) -> String {
        let location = answer.header("location").next();
        let location = location.unwrap_or_else(|| {
            fail(&format!(
                "{} leads nowhere: {}",
                answer.head,
                String::from_utf8_lossy(&answer.body)
            ))
        });
        let own = format!("http://{}", self.served.address);
        location.strip_prefix(&own).unwrap_or(location).to_owned()
    }

    /// Signs in, as slowly as it takes.
    async fn sign_in(&mut self) {
        let invitation = self.served.text("invitation");
        if !invitation.is_empty() {
            let own = format!("http://{}", self.served.address);
            let path = invitation.strip_prefix(&own).unwrap();
            self.post(path, "password=correct+horse+battery").await;
        }
        let authorize = self.authorize_path();
        let mut answer = self.get(&authorize).await;
        for _ in 0..8 {
            let path = self.onward(&answer);
            if path.starts_with("https://app.test/cb") {
                return;
            }
            answer = if invitation.is_empty() {
                self.get(&path).await
            } else {
                self.post(&path, "step=identify&email=ada%40acme.test").await;
                self.post(&path, "step=password&password=correct+horse+battery").await
            };
        }
        fail(&format!("signing in leads nowhere: {}", answer.head));
    }

    async fn code(&mut self) -> String {
        let request = get(&self.authorize_path(), &self.cookies());
        let answer = self.connection.ask(&request).await;
        let location = answer.header("location").next().unwrap_or_default().to_owned();
        let code = location.split(['?', '&']).find_map(|pair| pair.strip_prefix("code="));
        code.unwrap_or_else(|| fail(&format!("no code: {}", answer.head))).to_owned()
    }

    async fn redeem(&mut self, code: &str) -> String {
        let form = format!(
            "grant_type=authorization_code&client_id={}&code={code}&code_verifier={VERIFIER}\
             &redirect_uri=https%3A%2F%2Fapp.test%2Fcb",
            self.served.text("web")
        );
        let path = self.served.text("token");
        let answer = self.connection.ask(&post(&path, &form)).await;
        answer.member("access_token");
        answer.member("refresh_token")
    }

    async fn refresh(&mut self, token: &str) -> String {
        let web = self.served.text("web");
        let form = format!("grant_type=refresh_token&client_id={web}&refresh_token={token}");
        let path = self.served.text("token");
        self.connection.ask(&post(&path, &form)).await.member("refresh_token")
    }
}

const IN_A_BATCH: usize = 100;

/// Codes redeemed and refresh tokens turned, per second of CPU. What leads to a code is not timed.
async fn people_of(served: &Served, keeping: &str) -> f64 {
    let mut browser = Browser::new(served).await;
    browser.sign_in().await;
    let (mut cpu, mut pairs) = (Duration::ZERO, 0);
    let (mut redeemed, mut refreshed) = (Times::default(), Times::default());
    let until = Instant::now() + seconds();
    while Instant::now() < until {
        let mut codes = Vec::new();
        for _ in 0..IN_A_BATCH {
            codes.push(browser.code().await);
        }
        let before = served.cpu();
        for code in codes {
            let began = Instant::now();
            let token = browser.redeem(&code).await;
            redeemed.note(began.elapsed());
            let began = Instant::now();
            browser.refresh(&token).await;
            refreshed.note(began.elapsed());
            pairs += 1;
        }
        cpu += served.cpu() - before;
    }
    let per_second = per_second(pairs, cpu);
    println!(
        "a code and a refresh, ES256, {}, {keeping}: {per_second:6.0} pairs per CPU second, p50 {:.0} and {:.0} µs",
        whose(served),
        redeemed.at(0.5),
        refreshed.at(0.5),
    );
    per_second
}

/// The 99th percentile of two servers, turn by turn so that a busy moment hits both.
async fn flat(what: &str, bench: &Bench, few: (usize, usize), many: (usize, usize)) {
    let few = bench.ours("ES256", few.0, few.1, 1);
    let many = bench.ours("ES256", many.0, many.1, 1);
    let (of_few, of_many) = (machine_requests(&few), machine_requests(&many));
    let mut p99 = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let turn = seconds() / 8;
        p99.0.push(load(&few.address, &of_few, 1, turn).await.at(0.99));
        p99.1.push(load(&many.address, &of_many, 1, turn).await.at(0.99));
    }
    let (few, many) = (median(p99.0), median(p99.1));
    println!("{what}: p99 {few:.0} and {many:.0} µs, ratio {:.2} (mark: 1.2)", many / few);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn memberships(bench: &Bench) {
    let number = if only_a_test() { 20 } else { 2_000 };
    let (one, many) = (bench.ours("ES256", 1, 10, 1), bench.ours("ES256", 1, 10, number));
    let (mut of_one, mut of_many) = (Browser::new(&one).await, Browser::new(&many).await);
    of_one.sign_in().await;
    of_many.sign_in().await;
    let mut p99 = (Vec::new(), Vec::new());
    for _ in 0..9 {
        for (browser, p99) in [(&mut of_one, &mut p99.0), (&mut of_many, &mut p99.1)] {
            let mut times = Times::default();
            for _ in 0..if only_a_test() { 3 } else { 200 } {
                let began = Instant::now();
                let code = browser.code().await;
                let token = browser.redeem(&code).await;
                browser.refresh(&token).await;
                times.note(began.elapsed());
            }
            p99.push(times.at(0.99));
        }
    }
    let (few, many) = (median(p99.0), median(p99.1));
    println!(
        "a person in one tenant, and in {number}: request, code and refresh p99 {few:.0} and {many:.0} µs, ratio {:.2} (mark: 1.2)",
        many / few
    );
}

/// Somebody who is sent to their tenant's own provider by their address: what other tenants have
/// registered is nothing to them.
async fn connections(bench: &Bench) {
    let number = if only_a_test() { 30 } else { 3_000 };
    let served = |number| bench.ours_on(FIRST_CORE, "ES256", [1, number + 10, 1, number]);
    let (few, many) = (served(10), served(number));
    let mut p99 = (Vec::new(), Vec::new());
    for _ in 0..9 {
        for (served, p99) in [(&few, &mut p99.0), (&many, &mut p99.1)] {
            let path = format!(
                "{}?client_id={}&redirect_uri=https%3A%2F%2Fapp.test%2Fcb&response_type=code\
                 &scope=openid&state=s&code_challenge={CHALLENGE}&code_challenge_method=S256\
                 &login_hint=zoe%40acme.test",
                served.text("authorize"),
                served.text("web"),
            );
            let (request, mut times) = (get(&path, ""), Times::default());
            let mut connection = Connection::open(&served.address).await;
            for _ in 0..if only_a_test() { 3 } else { 300 } {
                let began = Instant::now();
                let answer = connection.ask(&request).await;
                times.note(began.elapsed());
                if answer.status() != 303 {
                    fail(&format!("nobody was sent away: {}", answer.head));
                }
            }
            p99.push(times.at(0.99));
        }
    }
    let (few, many) = (median(p99.0), median(p99.1));
    println!(
        "sent to one's own provider, of ten tenants with one and of {number}: p99 {few:.0} and {many:.0} µs, ratio {:.2} (mark: 1.2)",
        many / few
    );
}

/// Wrong passwords as fast as they are heard, while machines ask for tokens at their leisure. On all
/// cores: on one, whoever hashes is in the way of whoever does not.
async fn storm(bench: &Bench) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let served = bench.ours_on(&format!("0-{}", cores - 1), "ES256", [256, 10, 1, 0]);
    let requests = machine_requests(&served);
    let mut guessers = Vec::new();
    for number in 0..16 {
        let mut browser = Browser::new(&served).await;
        let path = browser.authorize_path();
        let answer = browser.get(&path).await;
        let path = browser.onward(&answer);
        browser.post(&path, &format!("step=identify&email=nobody-{number}%40acme.test")).await;
        let origin = format!("http://{}", served.address);
        guessers.push(post_from(
            &path,
            &origin,
            &browser.cookies(),
            "step=password&password=guessed-wrong",
        ));
    }
    let calm = median_of_calm(&served, &requests).await;
    let mut all = tokio::task::JoinSet::new();
    for guess in guessers {
        let address = served.address.clone();
        all.spawn(async move {
            let mut connection = Connection::open(&address).await;
            loop {
                connection.ask(&guess).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stormy = median_of_calm(&served, &requests).await;
    println!(
        "a storm of passwords: machines' p99 {calm:.0} µs before and {stormy:.0} µs in it, ratio {:.2} (mark: 1.2)",
        stormy / calm
    );
}

async fn median_of_calm(served: &Served, requests: &[Vec<u8>]) -> f64 {
    let mut p99 = Vec::new();
    let mut connection = Connection::open(&served.address).await;
    for _ in 0..5 {
        let mut times = Times::default();
        let until = Instant::now() + seconds() / 4;
        for request in requests.iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            let began = Instant::now();
            if connection.ask(request).await.status() != 200 {
                fail("a machine was refused in the storm");
            }
            times.note(began.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        p99.push(times.at(0.99));
    }
    median(p99)
}
