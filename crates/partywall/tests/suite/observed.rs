//! What operators see: the log and the metrics.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::Request, routing::get};
use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use partywall::{
    DeploymentModel, Partywall, TenantContext, TenantStatus,
    axum::Hint,
    bundle::{BundleSource, Generation, SourceError},
    testing::{ControlPlane, placed, tenant},
};
use tower::ServiceExt;

fn control() -> ControlPlane {
    let pooled = placed("main", DeploymentModel::Pool, "eu-1");
    ControlPlane::new(vec![tenant("acme", pooled.clone()), tenant("globex", pooled)])
}

/// Counts counters, by name and labels, and keeps what gauges show.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>, Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let name = key.name().to_owned();
        Gauge::from_arc(Arc::clone(self.1.lock().unwrap().entry(name).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn r16_a_refused_bundle_raises_a_metric() {
    let (control, counts) = (control(), Counts::default());
    let wall = control.wall();
    metrics::with_local_recorder(&counts, || {
        let mut damaged = control.sign(2, None);
        let inside = damaged.len() - 200;
        damaged[inside] ^= 1;
        assert!(wall.accept(damaged).is_err());
        assert!(wall.accept(control.sign(0, None)).is_err());
        assert!(wall.accept(control.sign(1, None)).is_ok(), "what is known raises none");
        assert!(wall.accept(control.sign(2, None)).is_ok(), "nor what is newer");
    });
    assert_eq!(counts.of("partywall_bundle_refused_total reason=checksum"), 1);
    assert_eq!(counts.of("partywall_bundle_refused_total reason=not_newer"), 1);
    assert_eq!(counts.0.lock().unwrap().len(), 2);
}

#[test]
fn r19_a_stored_bundle_that_is_not_trusted_raises_a_metric() {
    let (control, counts) = (control(), Counts::default());
    let dir = tempfile::tempdir().unwrap();
    let start = || control.builder().state_dir(dir.path()).build().unwrap();
    start().accept(control.sign(1, None)).unwrap();
    metrics::with_local_recorder(&counts, || {
        assert!(start().generation().is_some(), "the control raises none");
        std::fs::write(dir.path().join("bundle.pwb"), "torn").unwrap();
        assert!(start().generation().is_none());
    });
    assert_eq!(counts.of("partywall_bundle_refused_total reason=not_a_bundle"), 1);
    assert_eq!(counts.0.lock().unwrap().len(), 1);
}

/// A source that is asked and never answers.
struct Silent;

impl BundleSource for Silent {
    async fn next(&self, _: Option<Generation>) -> Result<Option<Bytes>, SourceError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn r01_the_bundles_age_grows_while_the_source_hangs() {
    let (control, counts) = (control(), Counts::default());
    let wall = control.wall();
    let _recording = metrics::set_default_local_recorder(&counts);
    let age = || {
        let gauges = counts.1.lock().unwrap();
        let bits = gauges.get("partywall_bundle_age_seconds")?.load(Ordering::Relaxed);
        Some(f64::from_bits(bits))
    };
    let following = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(age(), Some(0.0), "the control: just made");
        control.clock().set(ControlPlane::START + Duration::from_secs(7200));
        for _ in 0..100 {
            if age() == Some(7200.0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the age still shows {:?}", age());
    };
    tokio::select! {
        () = wall.follow(&Silent) => panic!("following ended"),
        () = following => {}
    }
}

/// A log one can read back.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// What was written since the last time.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn l01_every_refused_crossing_is_logged_and_l02_no_token_is() {
    let (control, lines) = (control(), Lines::default());
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let layer = control.wall().layer().hint(Hint::Header("x-tenant".parse().unwrap()));
    let app = Router::new()
        .route("/", get(async |tenant: TenantContext| tenant.tenant().to_string()))
        .layer(layer);
    let (token, stranger) = (control.token("acme", "u:ada"), control.token("initech", "u:eve"));
    let ask = async |token: &str, hint: &str| {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.header("x-tenant", hint).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&token, "acme").await, 200);
    assert_eq!(lines.text(), "", "what is in order is not worth a line");
    assert_eq!(ask(&token, "globex").await, 403);
    assert_eq!(ask(&stranger, "initech").await, 401);

    let text = lines.text();
    let (crossing, unknown) = text.trim_end().split_once('\n').unwrap();
    for part in ["tenant.id=acme", "principal=user u:ada", r#"reason="tenant_hint""#] {
        assert!(crossing.contains(part), "{part} is not in {crossing}");
    }
    for part in ["tenant.id=initech", "principal=user u:eve", r#"reason="tenant_unknown""#] {
        assert!(unknown.contains(part), "{part} is not in {unknown}");
    }
    // L-02: not the token, nor the part of it that could be used.
    for token in [token, stranger] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!text.contains(signature), "a token's signature is in the log");
    }
}

/// Every refusal of a token that verified says whose it was.
#[tokio::test]
async fn l01_a_refusal_is_logged_with_its_tenant_and_principal() {
    let (mut control, lines) = (control(), Lines::default());
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let routes = || Router::new().route("/", get(async || ""));
    let ask = async |wall: &Partywall, token: &str| {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let app = routes().layer(wall.layer());
        (app.oneshot(request).await.unwrap().status().as_u16(), lines.take())
    };
    let wall = control.wall();
    let token = control.token("acme", "u:ada");
    assert_eq!(ask(&wall, &token).await, (200, String::new()), "the control");

    let refused = async |wall: &Partywall, reason: &str| {
        let (status, line) = ask(wall, &token).await;
        assert_eq!(status, 401, "{reason}");
        let reason = format!("reason={reason:?}");
        for part in ["tenant.id=acme", "principal=user u:ada", &reason] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    };
    let pinned = control.builder().pinned_to("globex".parse().unwrap()).build().unwrap();
    pinned.accept(control.publish()).unwrap();
    refused(&pinned, "pinned_elsewhere").await;

    let good = control.contents.clone();
    control.contents.tenants[0].status = TenantStatus::Suspended;
    wall.accept(control.publish()).unwrap();
    refused(&wall, "tenant_not_active").await;

    control.contents = good.clone();
    control.contents.tenants[0].epoch = 1;
    control.contents.tenants[0].epoch_at = ControlPlane::START;
    wall.accept(control.publish()).unwrap();
    refused(&wall, "epoch_passed").await;

    control.contents = good;
    let (tenant, subject) = ("acme".parse().unwrap(), "u:ada".parse().unwrap());
    control.contents.revocations.revoke_subject(&tenant, &subject, ControlPlane::START);
    wall.accept(control.publish()).unwrap();
    refused(&wall, "revoked").await;
}

/// L-03: what a caller sends cannot start a line of its own in the log.
#[tokio::test]
async fn l03_a_caller_cannot_write_lines_into_the_log() {
    let (control, lines) = (control(), Lines::default());
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let app = Router::new().route("/{*any}", get(async || "")).layer(control.wall().layer());
    let path = "/%0A2026-01-01%20INFO%20all%20is%20well%1b[31m";
    let mut claims = control.claims("acme", "u:ada");
    claims["iss"] = "https://evil.test\n2026-01-01 INFO all is well\u{1b}[31m".into();
    let request = Request::get(path)
        .header("authorization", format!("Bearer {}", control.sign_token(&claims)))
        .body(Body::empty())
        .unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status().as_u16(), 401);
    let text = lines.text();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
