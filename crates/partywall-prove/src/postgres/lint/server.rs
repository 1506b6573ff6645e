//! The server's version against what is known of it.

use super::{Finding, LintError, Severity, rules, scope::Scope};

/// A published hole that bears on row security, or that ends every wall.
struct Advisory {
    cve: &'static str,
    about: &'static str,
    /// Only where this extension is installed.
    extension: Option<&'static str>,
    /// Major version and the first minor release without it. A major version that is not listed
    /// never had it, or has no fix: those are at their end, and said by another finding.
    fixed: &'static [(i32, i32)],
}

/// From the project's security page, `https://www.postgresql.org/support/security/CVE-…/`, and the
/// announcement of the release that carried the fix.
const ADVISORIES: &[Advisory] = &[
    Advisory {
        cve: "CVE-2021-3393",
        about: "partition constraint errors show values of columns that may not be read",
        extension: None,
        fixed: &[(13, 2)],
    },
    Advisory {
        cve: "CVE-2023-2455",
        about: "policies of another role are applied after a function was inlined",
        extension: None,
        fixed: &[(13, 11), (14, 8), (15, 3)],
    },
    Advisory {
        cve: "CVE-2023-39418",
        about: "MERGE writes rows that UPDATE and SELECT policies forbid",
        extension: None,
        fixed: &[(15, 4)],
    },
    Advisory {
        cve: "CVE-2024-4317",
        about: "extended statistics show others' most common values",
        extension: None,
        fixed: &[(14, 12), (15, 7), (16, 3)],
    },
    Advisory {
        cve: "CVE-2024-10976",
        about: "policies below a subquery are those of whoever planned the query",
        extension: None,
        fixed: &[(13, 17), (14, 14), (15, 9), (16, 5), (17, 1)],
    },
    Advisory {
        cve: "CVE-2024-10978",
        about: "SET ROLE is reset to the wrong user",
        extension: None,
        fixed: &[(13, 17), (14, 14), (15, 9), (16, 5), (17, 1)],
    },
    Advisory {
        cve: "CVE-2025-8713",
        about: "statistics show sampled rows that a policy hides",
        extension: None,
        fixed: &[(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)],
    },
    Advisory {
        cve: "CVE-2026-2005",
        about: "pgcrypto overflows its buffer: code runs in the server, past every wall",
        extension: Some("pgcrypto"),
        fixed: &[(14, 21), (15, 16), (16, 12), (17, 8), (18, 2)],
    },
    Advisory {
        cve: "CVE-2026-6473",
        about: "any SQL user overflows a buffer: code may run in the server, past every wall",
        extension: None,
        fixed: &[(14, 23), (15, 18), (16, 14), (17, 10), (18, 4)],
    },
];

/// The oldest major version that still gets fixes; 13 had its last release in November 2025.
const OLDEST_MAINTAINED: i32 = 14;

pub(super) async fn check(scope: &mut Scope<'_>) -> Result<Vec<Finding>, LintError> {
    let extensions: Vec<(String,)> =
        scope.ask("extensions", "SELECT extname::text FROM pg_extension").await?;
    let installed: Vec<&str> = extensions.iter().map(|(name,)| &**name).collect();
    Ok(judge(scope.version, &installed))
}

fn judge(version: i32, installed: &[&str]) -> Vec<Finding> {
    let (major, minor) = (version / 10_000, version % 10_000);
    let open = ADVISORIES.iter().filter_map(|advisory| {
        if advisory.extension.is_some_and(|name| !installed.contains(&name)) {
            return None;
        }
        let (_, floor) = advisory.fixed.iter().find(|(of, _)| *of == major)?;
        (minor < *floor).then_some((advisory, *floor))
    });
    let open: Vec<_> = open.collect();
    let mut findings = Vec::new();
    if let Some(floor) = open.iter().map(|(_, floor)| *floor).max() {
        let known: Vec<String> = open
            .iter()
            .map(|(a, floor)| format!("{} ({}; fixed in {major}.{floor})", a.cve, a.about))
            .collect();
        let what = format!("PostgreSQL {major}.{minor} has {} known hole(s)", known.len());
        let fix = format!("update the server to {major}.{floor} or later");
        findings.push(
            Finding::of(&rules::SERVER_VERSION, "server", what, fix)
                .severity(Severity::Error)
                .evidence(known.join("; ")),
        );
    }
    if major < OLDEST_MAINTAINED {
        let what = format!("PostgreSQL {major} gets no more fixes: holes found since are open");
        let fix = "upgrade to a maintained major version";
        findings.push(Finding::of(&rules::SERVER_VERSION, "server", what, fix));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t08_versions_are_held_against_what_is_known() {
        assert_eq!(judge(150_020, &["pgcrypto"]), []);
        assert_eq!(judge(190_000, &[]), []);
        let [finding] = &judge(150_003, &[])[..] else { panic!() };
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.evidence.contains("CVE-2023-39418"), "{}", finding.evidence);
        assert!(!finding.evidence.contains("CVE-2023-2455"), "{}", finding.evidence);
        assert!(!finding.evidence.contains("CVE-2026-2005"), "pgcrypto is not installed");
        assert_eq!(finding.fix, "update the server to 15.18 or later");
        // MERGE came with 15.
        assert!(!judge(140_000, &[])[0].evidence.contains("CVE-2023-39418"));
        assert!(judge(140_020, &["pgcrypto"])[0].evidence.contains("CVE-2026-2005"));
        assert!(judge(130_023, &[]).iter().all(|f| f.severity == Severity::Warning));
        let place = "server";
        assert!(judge(180_003, &[]).iter().all(|f| f.place == place));
    }
}
