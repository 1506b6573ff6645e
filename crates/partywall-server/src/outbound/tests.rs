//! Addresses and answers of those who mean harm. Each beside what a client used the ordinary way
//! does, or beside the honest one.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use partywall::TenantId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;

mod tls;

/// What tests put in place of the system's.
#[derive(Default)]
pub(super) struct Given {
    pub(super) names: Option<Arc<dyn Names>>,
    pub(super) roots: Vec<reqwest::Certificate>,
}

/// Names' addresses, in the order they are given out; the last one for ever.
#[derive(Default)]
struct Zone {
    addresses: Mutex<HashMap<&'static str, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Zone {
    fn new(names: &[(&'static str, &[&[&str]])]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let answers = |answers: &&[&[&str]]| answers.iter().map(parse).collect();
        let addresses = names.iter().map(|(name, all)| (*name, answers(all))).collect();
        Arc::new(Self { addresses: Mutex::new(addresses), ..Self::default() })
    }
}

impl Names for Zone {
    fn look_up<'n>(&'n self, name: &'n str) -> address::Answer<'n> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut all = self.addresses.lock().unwrap();
        let found = all
            .get_mut(name.trim_end_matches('.'))
            .map(|answers| if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

/// Listens on this machine only, and counts who comes.
struct Canary {
    port: u16,
    visits: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Canary {
    async fn new() -> Self {
        // Both families where there are two.
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
        };
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        let listening = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { port, visits, listening }
    }

    fn visits(&self) -> usize {
        self.visits.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Says the same to everybody who asks, once the request's head is there.
async fn saying(answer: impl Fn(usize) -> Vec<u8> + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for n in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let answer = answer(n);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    (url, serving)
}

fn ok(content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn line(tenant: &str) -> Line {
    Line::of(&tenant.parse::<TenantId>().unwrap(), "c-1")
}

async fn get(outbound: &Outbound, url: &str) -> Result<Vec<u8>, CallError> {
    outbound.get(&line("acme"), url, Media::Json).await
}

/// What leads to this machine, or into its network, in the spellings that have got past filters.
/// `true`: an ordinary client comes to this machine by it.
const ADDRESSES: &[(&str, bool)] = &[
    ("https://127.0.0.1:{port}/", true),
    ("https://127.0.0.2:{port}/", true),
    ("https://127.255.255.254:{port}/", true),
    ("https://127.1:{port}/", true),
    ("https://127.0.1:{port}/", true),
    ("https://0177.0.0.1:{port}/", true),
    ("https://0177.0.0.01:{port}/", true),
    ("https://0x7f.0.0.1:{port}/", true),
    ("https://0x7f.1:{port}/", true),
    ("https://0x7f000001:{port}/", true),
    ("https://2130706433:{port}/", true),
    ("https://017700000001:{port}/", true),
    ("https://127.0.0.1.:{port}/", true),
    ("https://127.0x0.0.1:{port}/", true),
    ("https://%31%32%37.0.0.1:{port}/", true),
    ("https://①②⑦.⓪.⓪.①:{port}/", true),
    ("https://127。0。0。1:{port}/", true),
    ("https://0.0.0.0:{port}/", true),
    ("https://0:{port}/", true),
    ("https://[::ffff:127.0.0.1]:{port}/", true),
    ("https://[::ffff:7f00:1]:{port}/", true),
    ("https://[0:0:0:0:0:ffff:7f00:0001]:{port}/", true),
    ("https://localhost:{port}/", true),
    ("https://LOCALHOST:{port}/", true),
    ("https://localhost.:{port}/", true),
    ("https://inside.test:{port}/", true),
    ("https://inside.test.:{port}/", true),
    ("https://mapped.test:{port}/", true),
    ("https://any.test:{port}/", true),
    ("https://user@127.0.0.1:{port}/", true),
    ("https://id.example:secret@127.0.0.1:{port}/", true),
    ("https://id.example%40@127.0.0.1:{port}/", true),
    ("https://127.0.0.1:{port}/?q=@id.example", true),
    ("https://127.0.0.1:{port}\\@id.example/", true),
    ("https:127.0.0.1:{port}/", true),
    ("https:\\\\127.0.0.1:{port}/", true),
    (" https://127.0.0.1:{port}/", true),
    ("https://127.0.0\t.1:{port}/", true),
    ("http://127.0.0.1:{port}/", true),
    ("HTTP://localhost:{port}/", true),
    ("http://inside.test:{port}/", true),
    // Nobody is there on this machine; elsewhere there is.
    ("https://[::1]:{port}/", false),
    ("https://[::]:{port}/", false),
    ("https://[::127.0.0.1]:{port}/", false),
    ("https://[64:ff9b::7f00:1]:{port}/", false),
    ("https://[64:ff9b:1::7f00:1]:{port}/", false),
    ("https://[2002:7f00:1::]:{port}/", false),
    ("https://[2002:a9fe:a9fe::]:{port}/", false),
    ("https://[2001::7f00:1]:{port}/", false),
    ("https://[fe80::1]:{port}/", false),
    ("https://[fd00:ec2::254]/latest/meta-data/", false),
    ("https://10.0.0.1:{port}/", false),
    ("https://172.16.0.1:{port}/", false),
    ("https://192.168.0.1:{port}/", false),
    ("https://100.64.0.1:{port}/", false),
    ("https://169.254.169.254/latest/meta-data/", false),
    ("https://[::ffff:169.254.169.254]/latest/meta-data/", false),
    ("https://169.254.43518/", false),
    ("https://2852039166/", false),
    ("https://metadata.test/computeMetadata/v1/", false),
    ("https://198.18.0.1:{port}/", false),
    ("https://224.0.0.1:{port}/", false),
    ("https://255.255.255.255:{port}/", false),
    ("https://1.1.1.1:22/", false),
    ("https://1.1.1.1:25/", false),
    ("https://1.1.1.1:80/", false),
    ("https://1.1.1.1/#fragment", false),
    ("http://1.1.1.1/", false),
    ("file:///etc/passwd", false),
    ("gopher://127.0.0.1:{port}/_", false),
    ("ftp://127.0.0.1:{port}/", false),
    ("unix:///run/docker.sock", false),
    ("data:application/json,{}", false),
    ("//127.0.0.1:{port}/", false),
    ("", false),
];

fn zone() -> Arc<Zone> {
    Zone::new(&[
        ("localhost", &[&["127.0.0.1"]]),
        ("inside.test", &[&["127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("any.test", &[&["0.0.0.0"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
    ])
}

#[tokio::test]
async fn f05_no_spelling_of_an_address_leads_inside() {
    let canary = Canary::new().await;
    let mut outbound = Outbound::new(false);
    outbound.given.names = Some(zone());
    // The ordinary client believes the same names, and connects wherever they lead.
    let anywhere = Resolver { reach: Reach { private_too: true }, names: zone() };
    let naive =
        Client::builder().dns_resolver(anywhere).timeout(Duration::from_secs(2)).build().unwrap();
    for (url, is_here) in ADDRESSES {
        let url = url.replace("{port}", &canary.port.to_string());
        let refused = get(&outbound, &url).await.unwrap_err();
        let what_it_is = matches!(
            refused,
            CallError::NotPublic(_)
                | CallError::Address(_)
                | CallError::NotHttps
                | CallError::Decorated
                | CallError::Port
        );
        assert!(what_it_is, "{url}: {refused:?}");
        assert_eq!(canary.visits(), 0, "{url}");
        if *is_here {
            let _ = naive.get(&url).send().await;
            assert_ne!(canary.visits(), 0, "the ordinary client does not come by {url} either");
        }
    }
    assert!(ADDRESSES.len() >= 60);
    // The filter lets through what is public.
    for public in ["https://id.example/", "https://1.1.1.1:8443/x?y", "https://[2606:4700::1]/"] {
        assert!(Reach { private_too: false }.check(public).is_ok(), "{public}");
    }
    // And the operator's word opens it.
    let mut open = Outbound::new(true);
    open.given.names = Some(zone());
    let _ = get(&open, &format!("http://inside.test:{}/", canary.port)).await;
    assert_eq!(canary.visits(), 1);
}

#[tokio::test]
async fn f05_a_name_cannot_change_between_check_and_call() {
    // Global by its prefix, and given to nobody: the first call ends there.
    const NOWHERE: &str = "3fff:ffff::1";
    let canary = Canary::new().await;
    let rebinding = || Zone::new(&[("rebind.test", &[&[NOWHERE], &["127.0.0.1"]])]);
    let url = format!("https://rebind.test:{}/", canary.port);

    // Looked up, found good, and looked up again to connect.
    let names: Arc<Zone> = rebinding();
    let first = names.look_up("rebind.test").await.unwrap();
    assert!(first.iter().all(|address| address::is_public(*address)));
    let anywhere = Resolver { reach: Reach { private_too: true }, names };
    let naive = Client::builder().dns_resolver(anywhere).build().unwrap();
    let _ = naive.get(&url).send().await;
    assert_eq!(canary.visits(), 1);

    let names = rebinding();
    let mut outbound = Outbound::new(false);
    outbound.given.names = Some(names.clone());
    let _ = get(&outbound, &url).await.unwrap_err();
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    // It answers with its other face now, and is judged by that one.
    let again = outbound.get(&line("bond"), &url, Media::Json).await.unwrap_err();
    assert!(matches!(again, CallError::NotPublic(_)), "{again:?}");
    // Both faces at once: only one of them is called.
    outbound = Outbound::new(false);
    outbound.given.names = Some(Zone::new(&[("rebind.test", &[&["127.0.0.1", NOWHERE]])]));
    let _ = get(&outbound, &url).await.unwrap_err();
    assert_eq!(canary.visits(), 0);
}

#[tokio::test]
async fn f05_redirects_are_not_followed() {
    let canary = Canary::new().await;
    let to = canary.port;
    for status in [301, 302, 303, 307, 308] {
        let location = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: http://127.0.0.1:{to}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (url, serving) = saying(move |_| location.clone().into_bytes()).await;
        let refused = get(&Outbound::new(true), &url).await.unwrap_err();
        assert!(matches!(refused, CallError::Answer(answer) if answer == status), "{refused:?}");
        assert_eq!(canary.visits(), 0);
        let naive = Client::builder().timeout(Duration::from_millis(500)).build().unwrap();
        let _ = naive.get(&url).send().await;
        assert_eq!(canary.visits(), 1, "{status}");
        serving.abort();
    }
}

#[tokio::test]
async fn r09_an_answer_is_small_of_its_kind_and_whole() {
    let exactly = || ok("application/json", &vec![b' '; MAX_BODY]);
    let one_more = || ok("application/json", &vec![b' '; MAX_BODY + 1]);
    let endless = || {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec();
        answer.resize(8 << 20, b' ');
        answer
    };
    let cut = || b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}".to_vec();
    type Expected = fn(&CallError) -> bool;
    let cases: Vec<(Vec<u8>, Expected)> = vec![
        (one_more(), |error| matches!(error, CallError::TooLarge)),
        (endless(), |error| matches!(error, CallError::TooLarge)),
        (cut(), |error| matches!(error, CallError::Http(_))),
        (ok("text/html; charset=utf-8", b"{}"), |error| matches!(error, CallError::Kind(_))),
        (ok("image/png", b"{}"), |error| matches!(error, CallError::Kind(_))),
        (
            b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
            |error| matches!(error, CallError::Answer(status) if *status == 500),
        ),
        (
            b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
            |error| matches!(error, CallError::Answer(status) if *status == 404),
        ),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), |error| matches!(error, CallError::Http(_))),
    ];
    for (answer, expected) in cases {
        let (url, serving) = saying(move |_| answer.clone()).await;
        let refused = get(&Outbound::new(true), &url).await.unwrap_err();
        assert!(expected(&refused), "{refused:?}");
        serving.abort();
    }
    for good in [
        exactly(),
        ok("application/json; charset=utf-8", b"{}"),
        ok("application/jwk-set+json", b"{}"),
        ok("text/plain", b"{}"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
    ] {
        let (url, serving) = saying(move |_| good.clone()).await;
        assert!(get(&Outbound::new(true), &url).await.is_ok());
        serving.abort();
    }
}

#[tokio::test]
async fn r09_a_drip_ends_and_holds_up_its_own_tenant_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = format!("http://{}/", listener.local_addr().unwrap());
    let dripping = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
                let mut sent = stream.write_all(head).await;
                while sent.is_ok() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    sent = stream.write_all(b" ").await;
                }
            });
        }
    });
    let (quick, serving) = saying(|_| ok("application/json", b"{}")).await;
    let outbound = Arc::new(Outbound::new(true));
    let began = std::time::Instant::now();
    let mut slow_ones = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (outbound, slow) = (Arc::clone(&outbound), slow.clone());
        slow_ones.spawn(async move {
            outbound.post_form(&line("acme"), &slow, String::new(), None).await.err()
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let other = std::time::Instant::now();
    assert!(outbound.get(&line("bond"), &quick, Media::Json).await.is_ok());
    assert!(other.elapsed() < Duration::from_secs(1), "another tenant was held up");
    let refused = slow_ones.join_all().await;
    assert!(began.elapsed() < WHOLE + Duration::from_secs(2), "took {:?}", began.elapsed());
    assert!(refused.iter().all(Option::is_some));
    let called = refused.iter().flatten().filter(|error| matches!(error, CallError::TooSlow));
    assert_eq!(called.count(), line::CALLS_OF_A_TENANT, "{refused:?}");
    // From now on it is told at once.
    let again = std::time::Instant::now();
    let resting = get(&outbound, &slow).await.unwrap_err();
    assert!(matches!(resting, CallError::Resting), "{resting:?}");
    assert!(again.elapsed() < Duration::from_millis(500));
    dripping.abort();
    serving.abort();
}

#[tokio::test]
async fn r09_documents_of_a_line_are_fetched_one_at_a_time() {
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let counted = (Arc::clone(&at_once), Arc::clone(&most));
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (at_once, most) = (Arc::clone(&counted.0), Arc::clone(&counted.1));
            tokio::spawn(async move {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                let _ = stream.write_all(&ok("application/json", b"{}")).await;
            });
        }
    });
    let outbound = Arc::new(Outbound::new(true));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (outbound, url) = (Arc::clone(&outbound), url.clone());
        all.spawn(async move { get(&outbound, &url).await.is_ok() });
    }
    assert!(all.join_all().await.into_iter().all(|fetched| fetched));
    assert_eq!(most.load(Ordering::SeqCst), 1);
    serving.abort();
}
