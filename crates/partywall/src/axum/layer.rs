//! The tower layer: verify, compare the hints, let in.

use std::{
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use tower::{Layer, Service};

use super::{Hint, Problem, hint};
use crate::{
    AccessToken, Partywall, Refusal, TenantContext,
    token::{DpopProof, TokenError},
};

/// See [`Partywall::layer`].
#[derive(Clone)]
pub struct WallLayer {
    wall: Partywall,
    hints: Arc<[Hint]>,
    origin: Option<Arc<str>>,
}

impl WallLayer {
    pub(super) fn new(wall: Partywall) -> Self {
        Self { wall, hints: Arc::new([]), origin: None }
    }

    /// Lets in tokens that are bound to a key, if each request proves that its sender holds it
    /// (RFC 9449). `origin` is this service's address as its callers know it, without a path:
    /// `https://api.example.com`. Proofs are for an address, and behind a proxy no request says
    /// which that is. Without an origin such tokens are refused: a bearer token they are not.
    #[must_use]
    pub fn dpop(mut self, origin: impl Into<Arc<str>>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Reads a tenant hint. It can only *select among* what the token proves (M-05, T-01): a
    /// request whose hint names another tenant is refused with 403 and logged, whether that
    /// tenant exists or not.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.hints = self.hints.iter().cloned().chain([hint]).collect();
        self
    }
}

impl<S> Layer<S> for WallLayer {
    type Service = WallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WallService {
            wall: self.wall.clone(),
            hints: Arc::clone(&self.hints),
            origin: self.origin.clone(),
            inner,
        }
    }
}

/// The service made by [`WallLayer`].
#[derive(Clone)]
pub struct WallService<S> {
    wall: Partywall,
    hints: Arc<[Hint]>,
    origin: Option<Arc<str>>,
    inner: S,
}

impl<S> Service<Request<Body>> for WallService<S>
where
    S: Service<Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<
        Ready<Result<Response, S::Error>>,
        Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Whatever came from outside under our type is not ours.
        request.extensions_mut().remove::<TenantContext>();
        match self.admit(&request) {
            Ok(context) => {
                request.extensions_mut().insert(context.clone());
                Either::Right(Box::pin(context.carry(self.inner.call(request))))
            }
            #[cfg(feature = "http")]
            Err(Turned::Away(refusal @ Refusal::Token(TokenError::KeyUnknown { .. }))) => {
                // The service that was polled ready is the one to call.
                let fresh = self.clone();
                let ready = std::mem::replace(self, fresh);
                Either::Right(Box::pin(ready.admit_once_learned(request, refusal)))
            }
            Err(turned) => Either::Left(ready(Ok(turned.answer(&request)))),
        }
    }
}

impl<S> WallService<S> {
    fn admit(&self, request: &Request<Body>) -> Result<TenantContext, Turned> {
        let context = self.verify(request)?;
        let is_own = |named: &str| is_own(&context, named);
        match self.hints.iter().find(|hint| !hint.agrees(request, is_own)) {
            Some(hint) => Err(Turned::Crossing { hint: hint.clone(), context }),
            None => Ok(context),
        }
    }

    /// The token, and with the scheme `DPoP` the proof that comes with it (RFC 9449 7.1).
    fn verify(&self, request: &Request<Body>) -> Result<TenantContext, Refusal> {
        let (headers, method) = (request.headers(), request.method().as_str());
        let authorization = the_one(headers, AUTHORIZATION, "two Authorization headers")?;
        let authorization = authorization.ok_or(TokenError::Missing)?;
        let (Some(origin), Ok(token)) =
            (&self.origin, AccessToken::from_dpop_header(authorization))
        else {
            return self.wall.verify(AccessToken::from_header(authorization)?);
        };
        let proof = the_one(headers, DPOP, "two DPoP headers")?;
        let proof = proof.and_then(|proof| std::str::from_utf8(proof).ok());
        let proof = DpopProof::new(proof.ok_or(TokenError::ProofRequired)?);
        let path = hint::uris(request).next().unwrap_or(request.uri()).path();
        let uri = format!("{origin}{path}");
        self.wall.verify(token.with_proof(proof, method, &uri))
    }

    /// The issuer may have a key it published a moment ago.
    #[cfg(feature = "http")]
    async fn admit_once_learned(
        mut self,
        mut request: Request<Body>,
        refusal: Refusal,
    ) -> Result<Response, S::Error>
    where
        S: Service<Request<Body>, Response = Response>,
    {
        if !self.wall.learn_key(&refusal).await {
            return Ok(Turned::Away(refusal).answer(&request));
        }
        match self.admit(&request) {
            Ok(context) => {
                request.extensions_mut().insert(context.clone());
                context.carry(self.inner.call(request)).await
            }
            Err(turned) => Ok(turned.answer(&request)),
        }
    }
}

/// Whether `named` is this tenant's id or its slug now.
fn is_own(context: &TenantContext, named: &str) -> bool {
    let slug = context.bundle().tenant(context.tenant()).map(|tenant| tenant.slug());
    named == context.tenant().as_str() || Some(named) == slug
}

/// The value of a header that must not be there twice. A token anywhere else is no token (O-23).
fn the_one<'r>(
    headers: &'r HeaderMap,
    name: HeaderName,
    twice: &'static str,
) -> Result<Option<&'r [u8]>, TokenError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(TokenError::Malformed { what: twice }),
    }
}

/// Where a proof of possession is (RFC 9449 4.1).
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Why a request does not reach the handler.
enum Turned {
    Away(Refusal),
    /// It named another tenant than its token proves.
    Crossing {
        context: TenantContext,
        hint: Hint,
    },
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::Away(refusal)
    }
}

impl Turned {
    /// The reason for the log and the metric, and the answer for the caller.
    fn answer(self, request: &Request<Body>) -> Response {
        let whole = hint::uris(request).next().unwrap_or(request.uri());
        let (method, path) = (request.method(), whole.path());
        match self {
            Self::Away(refusal) => {
                let reason = refusal.code();
                metrics::counter!("partywall_refused_total", "reason" => reason).increment(1);
                tracing::warn!(
                    decision = "refused",
                    reason,
                    tenant.id = refusal.tenant().map(tracing::field::display),
                    principal = refusal.principal().map(tracing::field::display),
                    http.method = %method,
                    http.path = path,
                    "a request was refused: {refusal}",
                );
                refusal.into_response()
            }
            Self::Crossing { context, hint } => {
                let reason = "tenant_hint";
                metrics::counter!("partywall_refused_total", "reason" => reason).increment(1);
                tracing::warn!(
                    decision = "refused",
                    reason,
                    tenant.id = %context.tenant(),
                    principal = %context.principal(),
                    ?hint,
                    http.method = %method,
                    http.path = path,
                    "a request named another tenant than its token proves",
                );
                Problem::of(StatusCode::FORBIDDEN).into_response()
            }
        }
    }
}
