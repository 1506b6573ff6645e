//! What the layer adds to an axum handler.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use axum::{Router, body::Body, http::Request, routing::get};
use criterion::{Criterion, criterion_group, criterion_main};
use partywall::{
    DeploymentModel, TenantContext,
    axum::Hint,
    testing::{ControlPlane, placed, tenant},
};
use tower::ServiceExt;

fn layer(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let acme = tenant("acme", placed("main", DeploymentModel::Pool, "eu-1"));
    let control = ControlPlane::new(vec![acme]);
    let token = format!("Bearer {}", control.token("acme", "u:ada"));
    let bare = Router::new().route("/", get(async || "ok"));
    let walled = Router::new()
        .route("/", get(async |_: TenantContext| "ok"))
        .layer(control.wall().layer().hint(Hint::Header("x-tenant".parse().unwrap())));

    let mut group = c.benchmark_group("layer");
    for (name, app) in [("bare handler", bare), ("behind the wall", walled)] {
        group.bench_function(name, |b| {
            b.to_async(Rt(&runtime)).iter(|| async {
                let request = Request::get("/").header("authorization", &token);
                let request = request.header("x-tenant", "acme").body(Body::empty()).unwrap();
                let response = app.clone().oneshot(request).await.unwrap();
                assert!(response.status().is_success());
            });
        });
    }
    group.finish();
}

/// criterion runs futures on whatever can.
struct Rt<'r>(&'r tokio::runtime::Runtime);

impl criterion::async_executor::AsyncExecutor for Rt<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

criterion_group!(benches, layer);
criterion_main!(benches);
