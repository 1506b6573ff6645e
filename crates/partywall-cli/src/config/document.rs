//! Reading a TOML document so that everything wrong with it is found in one go, each finding with
//! its place.
//!
//! Serde stops at the first fault. Here a section gives up its keys one by one, each value is
//! read by serde on its own, and what nobody asked for is an unknown key.

use std::{cell::RefCell, fmt, ops::Range, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

/// One thing wrong, where it is, and how to put it right.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Finding {
    /// Counted from 1.
    pub(crate) line: usize,
    /// In characters, counted from 1.
    pub(crate) column: usize,
    /// The dotted path of the key (`server.listen`); empty for the file as a whole.
    pub(crate) key: String,
    /// What was wrong.
    pub(crate) what: String,
    /// What to do.
    pub(crate) fix: String,
}

impl Finding {
    /// The line an editor can jump from: `file:line:column: key: what; fix`.
    pub(crate) fn in_file(&self, file: &Path) -> impl fmt::Display {
        let Self { line, column, key, what, fix } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        format!("{}:{line}:{column}: {key}{what}; {fix}", file.display())
    }
}

/// The findings in one text, gathered while it is read.
pub(crate) struct Findings<'t> {
    text: &'t str,
    found: RefCell<Vec<Finding>>,
}

impl<'t> Findings<'t> {
    pub(crate) fn in_text(text: &'t str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Notes what is wrong at `span`.
    pub(crate) fn add(
        &self,
        span: &Range<usize>,
        key: impl fmt::Display,
        what: impl fmt::Display,
        fix: impl fmt::Display,
    ) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let [key, what, fix] = [key.to_string(), what.to_string(), fix.to_string()];
        self.found.borrow_mut().push(Finding { line, column, key, what, fix });
    }

    /// All of them, in the order of the text.
    pub(crate) fn into_sorted(self) -> Vec<Finding> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        found
    }

    /// Reads the text as TOML. What cannot be read is noted; the rest is still looked at.
    pub(crate) fn parse(&self) -> Section<'_, 't> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            self.add(&span, "", format!("not TOML: {}", error.message()), "correct the syntax");
        }
        let span = table.span();
        Section::new(self, String::new(), span, table.into_inner())
    }
}

/// A table of the document, whose keys are taken out one by one.
pub(crate) struct Section<'f, 't> {
    findings: &'f Findings<'t>,
    path: String,
    span: Range<usize>,
    table: DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'f, 't> Section<'f, 't> {
    fn new(
        findings: &'f Findings<'t>,
        path: String,
        span: Range<usize>,
        table: DeTable<'t>,
    ) -> Self {
        Self { findings, path, span, table, known: Vec::new() }
    }

    /// Where the table is: its header, or its braces.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The dotted path of `key` in this table.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes what is wrong with the table as a whole.
    pub(crate) fn fault(&self, what: impl fmt::Display, fix: impl fmt::Display) {
        self.findings.add(&self.span, &self.path, what, fix);
    }

    /// Notes what is wrong with the value of `key`.
    pub(crate) fn fault_at(
        &self,
        span: &Range<usize>,
        key: &str,
        what: impl fmt::Display,
        fix: impl fmt::Display,
    ) {
        self.findings.add(span, self.path_of(key), what, fix);
    }

    /// The value of `key`, which need not be there.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(error) => {
                let at = error.span().unwrap_or(span);
                self.fault_at(&at, key, one_line(error.message()), format!("write `{example}`"));
                None
            }
        }
    }

    /// The value of `key`, which must be there.
    pub(crate) fn required<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<Spanned<T>> {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.optional(key, example)
    }

    /// Notes that `key` is not there.
    pub(crate) fn missing(&mut self, key: &'static str, example: &str) {
        self.known.push(key);
        self.fault_at(&self.span(), key, "missing", format!("add `{example}`"));
    }

    /// Whether `key` is still to be taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The table under `key`, if there is one.
    pub(crate) fn section(&mut self, key: &'static str, example: &str) -> Option<Self> {
        let value = self.take(key)?;
        self.table_of(self.path_of(key), value, example)
    }

    /// The array of tables under `key`; one table will do.
    pub(crate) fn values(&mut self, key: &'static str) -> Vec<(String, Spanned<DeValue<'t>>)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(values) => values
                .into_iter()
                .enumerate()
                .map(|(at, value)| (format!("{}[{at}]", self.path_of(key)), value))
                .collect(),
            single => vec![(self.path_of(key), Spanned::new(span, single))],
        }
    }

    /// Every table left in this one, under the name it was given.
    pub(crate) fn named_sections(&mut self, example: &str) -> Vec<(Spanned<String>, Self)> {
        std::mem::take(&mut self.table)
            .into_iter()
            .filter_map(|(name, value)| {
                let path = self.path_of(name.get_ref());
                let table = self.table_of(path, value, example)?;
                Some((Spanned::new(name.span(), name.into_inner().into_owned()), table))
            })
            .collect()
    }

    /// Takes the raw value of `key`.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Reads a value that has a deserialiser of its own, noting every unknown key in it.
    pub(crate) fn foreign<T: DeserializeOwned>(
        &self,
        path: &str,
        mut value: Spanned<DeValue<'t>>,
        fix: &str,
    ) -> Option<Spanned<T>> {
        loop {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return Some(Spanned::new(value.span(), read)),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| value.span());
            let path = path_to(path, &value, &span);
            let Some((key, known)) = unknown_field(error.message()) else {
                self.findings.add(&span, path, one_line(error.message()), fix);
                return None;
            };
            self.findings.add(&span, path, "unknown key", fix_unknown(key, &known));
            // Left out, to see what else is wrong.
            if !remove_at(&mut value, &span) {
                return None;
            }
        }
    }

    /// Notes every key that nobody took.
    pub(crate) fn finish(self) {
        for key in self.table.keys() {
            let fix = fix_unknown(key.get_ref(), &self.known);
            self.fault_at(&key.span(), key.get_ref(), "unknown key", fix);
        }
    }

    fn table_of(&self, path: String, value: Spanned<DeValue<'t>>, example: &str) -> Option<Self> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Self::new(self.findings, path, span, table)),
            _ => {
                self.findings.add(&span, path, "not a table", format!("write `{example}`"));
                None
            }
        }
    }
}

/// The path to what is at `span` below `value`.
fn path_to(path: &str, value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> String {
    let mut path = path.to_owned();
    let mut value = value.get_ref();
    while let DeValue::Table(table) = value {
        let holds = |outer: Range<usize>| outer.contains(&span.start);
        let Some((key, inner)) =
            table.iter().find(|(key, inner)| holds(key.span()) || holds(inner.span()))
        else {
            break;
        };
        path = format!("{path}.{}", key.get_ref());
        value = inner.get_ref();
    }
    path
}

/// Where `key` of the table `value` is written; without it, where the table is.
pub(crate) fn span_at(value: &Spanned<DeValue<'_>>, key: &str) -> Range<usize> {
    let DeValue::Table(table) = value.get_ref() else { return value.span() };
    table.get(key).map_or_else(|| value.span(), Spanned::span)
}

/// Removes the key written at `span`; whether there was one.
fn remove_at(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let DeValue::Table(table) = value.get_mut() else { return false };
    let here = table.keys().find(|key| key.span() == *span).map(|key| key.get_ref().clone());
    match here {
        Some(key) => table.remove(key.as_ref()).is_some(),
        None => table.iter_mut().any(|(_, inner)| remove_at(inner, span)),
    }
}

/// The key that serde does not know, and those it does.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

fn fix_unknown(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(known) => format!("did you mean `{known}`? Otherwise remove it"),
        None => format!("remove it; known here: {}", known.join(", ")),
    }
}

fn one_line(message: &str) -> String {
    message.trim().replace('\n', ", ")
}

/// The known key that `key` is a slip of the finger away from.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (distance(key, known), *known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein's distance, over bytes: keys are ASCII or wrong.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut left = i + 1;
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), left);
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        for (a, b, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), slips, "{a} {b}");
        }
        assert_eq!(nearest("lisen", &["issuer", "listen"]), Some("listen"));
        assert_eq!(nearest("colour", &["issuer", "listen"]), None);
    }

    #[test]
    fn columns_are_characters() {
        let findings = Findings::in_text("a = 1\n\"ü\" = { b = 2 }\n");
        let mut root = findings.parse();
        root.take("a");
        root.finish();
        let found = findings.into_sorted();
        assert_eq!((found[0].line, found[0].column), (2, 1));
        let findings = Findings::in_text("\"ü\" = { b = 2 }\n");
        findings.add(&(9..10), "b", "x", "y");
        assert_eq!(findings.into_sorted()[0].column, 9, "the ü has two bytes and is one character");
    }

    #[test]
    fn every_syntax_error_is_found() {
        let findings = Findings::in_text("a = \nb = 1\nc = ]\n");
        drop(findings.parse());
        let found = findings.into_sorted();
        assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [1, 3]);
    }
}
