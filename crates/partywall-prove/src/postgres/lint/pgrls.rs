//! Findings of `pgrls`, the schema linter of others' making, beside ours.

use serde::Deserialize;

use super::{Finding, LintError, Rule, Severity, rules};

/// Takes the findings out of what `pgrls lint --format json` wrote.
///
/// Each keeps its own rule (`pgrls.SEC001`) and severity, is marked with the tool's name, and
/// names the rule of ours that looks at the same thing, where there is one.
///
/// # Errors
///
/// [`LintError::NotPgrls`] when it is something else.
pub fn import(json: &str) -> Result<Vec<Finding>, LintError> {
    let report: Report =
        serde_json::from_str(json).map_err(|source| LintError::NotPgrls { source })?;
    Ok(report.violations.into_iter().map(Violation::into_finding).collect())
}

/// The rule of ours that looks at the same thing as this one of pgrls.
pub fn counterpart(rule: &str) -> Option<&'static Rule> {
    COUNTERPARTS.iter().find(|(theirs, _)| *theirs == rule).map(|(_, ours)| *ours)
}

/// The document, as far as it is read. Its keys are its project's promise to CI systems.
#[derive(Deserialize)]
struct Report {
    violations: Vec<Violation>,
}

#[derive(Deserialize)]
struct Violation {
    rule_id: String,
    severity: String,
    title: String,
    message: String,
    location: Option<String>,
}

impl Violation {
    fn into_finding(self) -> Finding {
        let ours = counterpart(&self.rule_id);
        Finding {
            fix: format!("pgrls explain {}", self.rule_id),
            rule: format!("pgrls.{}", self.rule_id),
            severity: match &*self.severity {
                "info" => Severity::Note,
                "warning" => Severity::Warning,
                // One that we do not know is not taken lightly.
                _ => Severity::Error,
            },
            place: self.location.unwrap_or_else(|| "database".to_owned()),
            what: self.title,
            evidence: self.message,
            page: format!(
                "{}/blob/main/docs/book/lint.md#beside-pgrls",
                env!("CARGO_PKG_REPOSITORY")
            ),
            accepted: None,
            tool: Some("pgrls".to_owned()),
            ours: ours.map(|rule| rule.id.to_owned()),
        }
    }
}

/// Of version 0.57; `docs/book/lint.md` says why where a rule of either side has none.
const COUNTERPARTS: &[(&str, &Rule)] = &[
    ("SEC001", &rules::ROW_SECURITY_OFF),
    ("SEC002", &rules::ROW_SECURITY_NOT_FORCED),
    ("SEC004", &rules::POLICY_FAILS_OPEN),
    ("SEC005", &rules::POLICY_WITHOUT_TENANT),
    ("SEC008", &rules::POLICY_TRUE),
    ("SEC009", &rules::NO_POLICY),
    ("SEC011", &rules::POLICY_TRUE),
    ("SEC012", &rules::POLICY_COMMAND),
    ("SEC013", &rules::TRIGGER_DEFINER),
    ("SEC014", &rules::DEFINER_FUNCTION),
    ("SEC015", &rules::DEFINER_SEARCH_PATH),
    ("SEC016", &rules::ROLE_BYPASSES),
    ("SEC017", &rules::LEAKPROOF_FUNCTION),
    ("SEC018", &rules::POLICY_WITHOUT_TENANT),
    ("SEC020", &rules::POLICY_CHECK_OPEN),
    ("SEC022", &rules::POLICY_COMMAND),
    ("SEC025", &rules::POLICY_LOOKUP),
    ("SEC026", &rules::POLICY_PREFIX),
    ("SEC027", &rules::POLICY_WITHOUT_TENANT),
    ("SEC028", &rules::POLICY_CHECK_OPEN),
    ("SEC029", &rules::ROLE_BECOMES),
    ("SEC030", &rules::NULLABLE_TENANT),
    ("SEC032", &rules::ROW_SECURITY_OFF),
    ("SEC033", &rules::CONTEXT_SETTABLE),
    ("SEC035", &rules::UNIQUE_WITHOUT_TENANT),
    ("SEC038", &rules::POLICY_FAILS_OPEN),
    ("SEC039", &rules::POLICY_CHECK_OPEN),
    ("SEC040", &rules::POLICY_CHECK_OPEN),
    ("SEC041", &rules::GRANT_PARTITION),
    ("SEC042", &rules::DEFINER_FUNCTION),
    ("SEC043", &rules::GRANT_PARTITION),
    ("SEC044", &rules::DEFAULT_PRIVILEGES),
    ("SEC045", &rules::GRANT_COLUMN),
    ("SEC046", &rules::CONTEXT_IMMUTABLE),
    ("SEC047", &rules::FOREIGN_KEY_WITHOUT_TENANT),
    ("SEC048", &rules::ROW_SECURITY_NOT_FORCED),
    ("SEC051", &rules::PUBLICATION),
    ("SEC053", &rules::FOREIGN_TABLE),
    ("SEC054", &rules::MATERIALIZED_VIEW),
    ("VIEW001", &rules::VIEW_OWNER_RIGHTS),
    ("VIEW003", &rules::MATERIALIZED_VIEW),
    ("VIEW004", &rules::DEFINER_FUNCTION),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_findings_of_pgrls_keep_their_name_and_find_ours() {
        let json = r#"{"violations": [
            {"rule_id": "SEC001", "severity": "error", "title": "RLS not enabled on table",
             "message": "public.t …", "location": "public.t"},
            {"rule_id": "PERF001", "severity": "info", "title": "Auth function called per-row",
             "message": "…", "location": null, "counterexample": {"a": 1}},
            {"rule_id": "X1", "severity": "fatal", "title": "t", "message": "m", "location": null}],
            "summary": {"errors": 1, "warnings": 0, "infos": 1, "total": 2}}"#;
        let findings = import(json).unwrap();
        assert_eq!(findings[0].rule, "pgrls.SEC001");
        assert_eq!(findings[0].ours.as_deref(), Some("postgres-lint.row-security-off"));
        assert_eq!(findings[0].tool.as_deref(), Some("pgrls"));
        assert_eq!((findings[1].severity, findings[1].ours.as_deref()), (Severity::Note, None));
        assert_eq!(findings[2].severity, Severity::Error);
        assert!(matches!(import("[]"), Err(LintError::NotPgrls { .. })));
        assert!(matches!(import("{\"findings\": []}"), Err(LintError::NotPgrls { .. })));
    }
}
