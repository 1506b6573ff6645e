//! `[[issuers]]`: whose tokens are accepted.

use partywall::token::{IssuerConfig, IssuerFault, KeySource, TrustedIssuers};
use toml::{Spanned, de::DeValue};

use super::{
    Reading,
    document::{Section, span_at},
    urls,
};

/// Reads the issuers. `audience` is the one they share, if the configuration names one.
pub(super) fn read(
    root: &mut Section<'_, '_>,
    reading: &Reading<'_>,
    audience: &[String],
) -> Vec<IssuerConfig> {
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for (path, value) in root.values("issuers") {
        let written = value.clone();
        let fix = "correct it: `partywall check --example` shows an issuer";
        let Some(issuer) = root.foreign::<IssuerConfig>(&path, value, fix) else { continue };
        let mut issuer = issuer.into_inner();
        if let KeySource::File(file) = &mut issuer.jwks {
            *file = reading.base.join(&*file);
        }
        let place = Place { root, path: &path, written: &written };
        check(&place, &issuer, &issuers, audience);
        issuers.push(issuer);
    }
    issuers
}

/// Where one issuer is written.
struct Place<'p, 'f, 't> {
    root: &'p Section<'f, 't>,
    path: &'p str,
    written: &'p Spanned<DeValue<'t>>,
}

impl Place<'_, '_, '_> {
    fn fault(&self, key: &str, what: impl std::fmt::Display, fix: &str) {
        let span = span_at(self.written, key);
        let path =
            if key.is_empty() { self.path.to_owned() } else { format!("{}.{key}", self.path) };
        self.root.fault_at(&span, &path, what, fix);
    }
}

fn check(
    place: &Place<'_, '_, '_>,
    issuer: &IssuerConfig,
    earlier: &[IssuerConfig],
    audience: &[String],
) {
    if let Err(fault) = urls::check_issuer(&issuer.issuer) {
        place.fault("issuer", &fault, fault.fix());
    }
    if earlier.iter().any(|earlier| earlier.issuer == issuer.issuer) {
        let what = format!("{:?} is configured above already", issuer.issuer);
        place.fault("issuer", what, "keep one of the two");
    }
    if let Err(error) = TrustedIssuers::compile(std::slice::from_ref(issuer), audience) {
        let (key, fix) = about(&error.why);
        let mut what = error.why.to_string();
        if let Some(source) = std::error::Error::source(&error.why) {
            what = format!("{what}: {source}");
        }
        place.fault(key, what, fix);
    }
}

/// The key a fault is about, and what to do.
fn about(fault: &IssuerFault) -> (&'static str, &'static str) {
    match fault {
        IssuerFault::Name => ("issuer", "write the `iss` of its tokens"),
        IssuerFault::Twice => ("issuer", "keep one of the two"),
        IssuerFault::NoAudience => ("", "add `audience` here, or to [service]"),
        IssuerFault::NoTenantClaim => ("", "say where its tokens name the tenant"),
        IssuerFault::Claim | IssuerFault::EmptyPrefix => ("tenant", "correct the claim rule"),
        IssuerFault::Leeway => ("leeway_seconds", "write 30 or less"),
        IssuerFault::Lifetime => ("max_lifetime_seconds", "write 86400 or what its tokens live"),
        IssuerFault::Url => ("jwks", "write the https address of its key set"),
        IssuerFault::File { .. } => ("jwks", "name the file its key set was saved in"),
        IssuerFault::KeySet(_) => ("jwks", "save the issuer's key set again"),
        IssuerFault::NoKeyAllowed => ("algorithms", "list the algorithm its keys are for"),
        _ => ("", "correct it"),
    }
}
