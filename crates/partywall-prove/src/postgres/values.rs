//! Values for columns, made up so that a row can be written into any table.

use super::schema::{Column, Relation, Schema};
use super::sql::{literals_in, typed};

/// How many different rows are tried before a table is given up.
pub(crate) const VARIANTS: usize = 8;

/// A value for `column`, as an SQL expression: the `variant`th idea, with `n` making it unlike all
/// others where the type has room. `None` when nothing is known about the type.
pub(crate) fn value(
    schema: &Schema,
    relation: &Relation,
    column: &Column,
    variant: usize,
    n: u64,
) -> Option<String> {
    let (base, mut checks) = base_of(schema, &column.type_name);
    checks.extend(relation.checks.iter().filter(|check| mentions(check, &column.name)).cloned());
    let ideas = ideas(schema, &base, column.category, &checks, n);
    let idea = ideas.get(variant % ideas.len().max(1))?;
    Some(typed(idea, &column.type_name))
}

/// The type below a domain, and what the domain checks.
pub(crate) fn base_of(schema: &Schema, type_name: &str) -> (String, Vec<String>) {
    let (mut base, mut checks) = (type_name.to_owned(), Vec::new());
    // A domain may stand on another; a circle cannot be.
    while let Some((below, more)) = schema.domains.get(&base) {
        checks.extend(more.iter().cloned());
        base = below.clone();
    }
    (base, checks)
}

/// Whether a check, as the server prints it, is about the column.
fn mentions(check: &str, column: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    check.split(|c| !word(c)).any(|found| found == column)
}

/// What could be in a column of the type, the most ordinary first.
fn ideas(schema: &Schema, base: &str, category: char, checks: &[String], n: u64) -> Vec<String> {
    if let Some(labels) = schema.enums.get(base) {
        return labels.clone();
    }
    if base.ends_with("[]") || category == 'A' {
        return vec!["{}".to_owned()];
    }
    let (name, length) = name_and_length(base);
    // An extension's type is named with its schema: `extensions.citext`.
    let name = name.rsplit('.').next().unwrap_or(name);
    let mut ideas = ordinary(name, length, n);
    // What a check names is what it wants, most often: `status IN ('open', 'closed')`.
    let named = checks.iter().flat_map(|check| wanted(check, category));
    let known = named.filter(|text| length.is_none_or(|length| text.chars().count() <= length));
    // The most ordinary value comes first, for most checks want nothing special.
    ideas.splice(ideas.len().min(1)..ideas.len().min(1), known);
    if ideas.is_empty() && matches!(category, 'S' | 'U') {
        ideas.push(word(length, n));
    }
    ideas
}

fn ordinary(name: &str, length: Option<usize>, n: u64) -> Vec<String> {
    let all = |ideas: &[&str]| ideas.iter().map(|idea| (*idea).to_owned()).collect();
    // What an extension brings has its schema before its name.
    match name.rsplit('.').next().unwrap_or(name) {
        "smallint" => vec![(n % 30_000 + 1).to_string(), "1".to_owned(), "0".to_owned()],
        "integer" | "bigint" => {
            vec![
                (n % 1_000_000_000 + 1).to_string(),
                "1".to_owned(),
                "0".to_owned(),
                "100".to_owned(),
            ]
        }
        "numeric" | "real" | "double precision" | "money" => all(&["1", "0", "100", "0.5", "-1"]),
        "boolean" => all(&["false", "true"]),
        "uuid" => vec![format!("{:08x}-0000-4000-8000-{:012x}", n >> 32, n & 0xffff_ffff_ffff)],
        "text" | "character varying" | "character" | "\"char\"" | "name" | "citext" | "bpchar" => {
            let word = word(length, n);
            let upper = word.to_uppercase();
            let mail = format!("{word}@example.com");
            let link = format!("https://example.com/{word}");
            let fits = |text: &String| length.is_none_or(|length| text.len() <= length);
            [word, mail, link, upper].into_iter().filter(fits).collect()
        }
        "timestamp without time zone" | "timestamp with time zone" | "date" => {
            all(&["2026-01-01", "now", "2099-01-01", "1999-01-01"])
        }
        "time without time zone" | "time with time zone" => all(&["12:00"]),
        "interval" => all(&["1 hour"]),
        "json" | "jsonb" => all(&["{}", "[]", "\"a\""]),
        "bytea" => vec![format!("\\x{n:016x}")],
        "inet" => all(&["192.0.2.1"]),
        "cidr" => all(&["192.0.2.0/24"]),
        "macaddr" => all(&["02:00:00:00:00:01"]),
        "macaddr8" => all(&["02:00:00:ff:fe:00:00:01"]),
        "point" => all(&["(0,0)"]),
        "line" => all(&["{1,1,0}"]),
        "lseg" | "path" => all(&["[(0,0),(1,1)]"]),
        "box" => all(&["(1,1),(0,0)"]),
        "polygon" => all(&["((0,0),(0,1),(1,1))"]),
        "circle" => all(&["<(0,0),1>"]),
        "bit" => vec!["1".repeat(length.unwrap_or(1))],
        "bit varying" => all(&["1"]),
        "tsvector" | "tsquery" => all(&["word"]),
        "xml" => all(&["<a/>"]),
        // Apart from one another, for exclusion constraints.
        "int4range" | "int8range" | "numrange" => {
            let from = n % 1_000_000_000;
            vec![format!("[{from},{})", from + 1), "[1,2)".to_owned()]
        }
        "daterange" | "tsrange" | "tstzrange" => {
            let (year, month) = (2_000 + n / 12 % 7_000, n % 12 + 1);
            let (from, to) = (format!("{year}-{month:02}-01"), format!("{year}-{month:02}-02"));
            vec![format!("[{from},{to})"), "[2026-01-01,2026-01-02)".to_owned()]
        }
        "int4multirange" | "int8multirange" | "nummultirange" | "datemultirange"
        | "tsmultirange" | "tstzmultirange" => all(&["{}"]),
        "oid" => all(&["1"]),
        "pg_lsn" => all(&["0/1"]),
        "hstore" | "ltree" => all(&["a"]),
        _ => Vec::new(),
    }
}

/// `character varying(20)` is `character varying` with 20; `character(3)` and `bit(8)` likewise.
pub(crate) fn name_and_length(base: &str) -> (&str, Option<usize>) {
    let Some((name, rest)) = base.split_once('(') else {
        return (base, if base == "character" || base == "bit" { Some(1) } else { None });
    };
    // `timestamp(3) with time zone`
    if let Some((_, tail)) = rest.split_once(") ") {
        let whole = match (name, tail) {
            ("timestamp", "with time zone") => "timestamp with time zone",
            ("timestamp", _) => "timestamp without time zone",
            ("time", "with time zone") => "time with time zone",
            _ => "time without time zone",
        };
        return (whole, None);
    }
    let limited = matches!(name, "character varying" | "character" | "bit" | "bit varying");
    (name, limited.then(|| rest.trim_end_matches(')').parse().ok()).flatten())
}

fn word(length: Option<usize>, n: u64) -> String {
    let word = format!("pw{n:x}");
    match length {
        // The end differs more than the beginning.
        Some(length) if length < word.len() => word.chars().skip(word.len() - length).collect(),
        _ => word,
    }
}

/// The values a check names.
fn wanted(check: &str, category: char) -> Vec<String> {
    if category == 'N' {
        let number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let numbers = check.split(|c| !number(c)).filter(|text| text.parse::<f64>().is_ok());
        return numbers.map(str::to_owned).collect();
    }
    literals_in(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_from_their_lengths() {
        assert_eq!(name_and_length("character varying(20)"), ("character varying", Some(20)));
        assert_eq!(name_and_length("numeric(10,2)"), ("numeric", None));
        assert_eq!(
            name_and_length("timestamp(3) with time zone"),
            ("timestamp with time zone", None)
        );
        assert_eq!(word(Some(3), 0xabcdef), "def");
    }

    #[test]
    fn checks_name_what_they_want() {
        let check = "CHECK ((status = ANY (ARRAY['open'::text, 'closed'::text])))";
        assert_eq!(wanted(check, 'S'), ["open", "closed"]);
        assert!(mentions(check, "status") && !mentions(check, "stat"));
        assert_eq!(wanted("CHECK ((level >= 10))", 'N'), ["10"]);
    }
}
