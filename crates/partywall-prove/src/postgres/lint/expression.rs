//! Reads a policy's expression as the server writes it out, and says whether it ties a row to the
//! session's tenant.
//!
//! The server parenthesises everything, so the reading is shallow on purpose: AND, OR and NOT are
//! understood, what stands between them is looked at as a whole. What is not understood is never
//! taken for a wall.

use super::tokens::{Token, tokens};

/// What an expression does for the tenant column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Judgement {
    /// Every row let through is compared with something the session is.
    Binds,
    /// It lets everything through.
    True,
    /// It lets everything through while nothing is set; the part that does.
    FailsOpen(String),
    /// It compares a beginning or a pattern; the part that does.
    Prefix(String),
    /// One arm of an OR lets rows through by something else; that arm.
    Widens(String),
    /// The tenant column decides nothing. `opaque` when a subquery or function over other columns
    /// may yet do it.
    Unrelated { opaque: bool },
}

/// A table's name and columns, as needed to read its policies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    pub(super) table: &'a str,
    pub(super) tenant: &'a str,
    pub(super) all: &'a [String],
}

/// Judges one expression.
pub(super) fn judge(text: &str, columns: Columns<'_>) -> Judgement {
    Expression::parse(&tokens(text)).judge(columns)
}

/// Whether a column of the row is compared with something the session is: what a wall looks like,
/// whoever named the column.
pub(super) fn compares(text: &str, table: &str, column: &str) -> bool {
    let columns = Columns { table, tenant: column, all: &[] };
    let mut found = false;
    Expression::parse(&tokens(text)).each_atom(&mut |atom| {
        found |= atom.judge(columns) == Judgement::Binds && !is_false(&atom.0);
    });
    found
}

enum Expression {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    Atom(Atom),
}

struct Atom(Vec<Token>);

impl Expression {
    fn parse(tokens: &[Token]) -> Self {
        let tokens = unwrapped(tokens);
        for (keyword, join) in [("OR", Self::Or as fn(Vec<Self>) -> Self), ("AND", Self::And)] {
            let parts = split(tokens, keyword);
            if parts.len() > 1 {
                return join(parts.into_iter().map(Self::parse).collect());
            }
        }
        match tokens {
            [first, rest @ ..] if first.is("NOT") => Self::Not(Box::new(Self::parse(rest))),
            _ => Self::Atom(Atom(tokens.to_vec())),
        }
    }

    fn judge(&self, columns: Columns<'_>) -> Judgement {
        match self {
            Self::Atom(atom) => atom.judge(columns),
            Self::Not(inner) => inner.judge_negated(columns),
            Self::And(parts) => {
                let mut judged: Vec<_> = parts.iter().map(|part| part.judge(columns)).collect();
                if judged.contains(&Judgement::Binds) {
                    return Judgement::Binds;
                }
                judged.retain(|judgement| *judgement != Judgement::True);
                judged.into_iter().reduce(nearer).unwrap_or(Judgement::True)
            }
            Self::Or(arms) => self.judge_or(arms, columns),
        }
    }

    fn judge_or(&self, arms: &[Self], columns: Columns<'_>) -> Judgement {
        let judged: Vec<_> = arms.iter().map(|arm| (arm, arm.judge(columns))).collect();
        if judged.iter().all(|(_, judgement)| *judgement == Judgement::Binds) {
            return Judgement::Binds;
        }
        if judged.iter().any(|(_, judgement)| *judgement == Judgement::True) {
            return Judgement::True;
        }
        for (arm, judgement) in &judged {
            if arm.asks_whether_unset() {
                return Judgement::FailsOpen(arm.text());
            }
            if matches!(judgement, Judgement::FailsOpen(_) | Judgement::Prefix(_)) {
                return judgement.clone();
            }
        }
        let binds =
            |judgement: &Judgement| matches!(judgement, Judgement::Binds | Judgement::Widens(_));
        if judged.iter().any(|(_, judgement)| binds(judgement)) {
            let around = judged.iter().find(|(_, judgement)| *judgement != Judgement::Binds);
            return Judgement::Widens(around.map(|(arm, _)| arm.text()).unwrap_or_default());
        }
        judged.into_iter().map(|(_, judgement)| judgement).reduce(nearer).unwrap_or(Judgement::True)
    }

    /// NOT is not looked through: only that of a constant is known.
    fn judge_negated(&self, _columns: Columns<'_>) -> Judgement {
        match self {
            Self::Atom(atom) if is_false(&atom.0) => Judgement::True,
            Self::Atom(atom) if matches!(&atom.0[..], [word] if word.is("true")) => {
                Judgement::Binds
            }
            _ => Judgement::Unrelated { opaque: true },
        }
    }

    /// `current_setting(…) IS NULL` or `= ''`: true as long as nobody is anybody.
    fn asks_whether_unset(&self) -> bool {
        let Self::Atom(Atom(tokens)) = self else {
            return matches!(self, Self::And(parts) if parts.iter().all(Self::asks_whether_unset));
        };
        let session = tokens.iter().any(|t| t.is("current_setting")) || calls(tokens);
        let null = tokens.windows(2).any(|w| matches!(w, [a, b] if a.is("IS") && b.is("NULL")));
        let empty = tokens.windows(2).any(|w| {
            matches!(w, [Token::Operator(op), Token::Text(text)] if op == "=" && text.is_empty())
        });
        session && (null || empty)
    }

    fn each_atom(&self, look: &mut impl FnMut(&Atom)) {
        match self {
            Self::Atom(atom) => look(atom),
            Self::Not(inner) => inner.each_atom(look),
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.each_atom(look));
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Atom(atom) => atom.text(),
            Self::Not(inner) => format!("NOT ({})", inner.text()),
            Self::And(parts) => parts.iter().map(Self::text).collect::<Vec<_>>().join(" AND "),
            Self::Or(arms) => arms.iter().map(Self::text).collect::<Vec<_>>().join(" OR "),
        }
    }
}

impl Atom {
    fn judge(&self, columns: Columns<'_>) -> Judgement {
        let tokens = &self.0;
        if is_true(tokens) {
            return Judgement::True;
        }
        if is_false(tokens) {
            return Judgement::Binds; // nothing comes through
        }
        if !mentions(tokens, columns.table, columns.tenant) {
            // A CASE that ends in `true` without the tenant is as open as its conditions.
            let others = columns.all.iter().filter(|column| **column != columns.tenant);
            let opaque = calls(tokens)
                && others.into_iter().any(|column| mentions(tokens, columns.table, column));
            return Judgement::Unrelated { opaque };
        }
        if self.falls_back_open(columns) {
            return Judgement::FailsOpen(self.text());
        }
        if self.compares_a_part() {
            return Judgement::Prefix(self.text());
        }
        if self.compares_with_itself(columns) {
            return Judgement::True;
        }
        let equal = tokens
            .iter()
            .any(|token| token.is("IN") || matches!(token, Token::Operator(op) if op == "="));
        let unequal = tokens
            .iter()
            .any(|t| matches!(t, Token::Operator(op) if matches!(op.as_str(), "<>" | "!=" | "<" | ">" | "<=" | ">=")));
        let handed_over = !equal && !unequal && self.is_call();
        if (equal || handed_over) && self.asks_the_session() {
            Judgement::Binds
        } else {
            Judgement::Unrelated { opaque: false }
        }
    }

    /// `COALESCE(setting, tenant_id)`, `CASE … ELSE true END`: open as soon as nothing is set.
    fn falls_back_open(&self, columns: Columns<'_>) -> bool {
        let tokens = &self.0;
        let ends_true = tokens.windows(2).any(
            |window| matches!(window, [a, b] if (a.is("THEN") || a.is("ELSE")) && b.is("true")),
        );
        let falls_back = tokens.iter().enumerate().any(|(at, token)| {
            token.is("COALESCE")
                && arguments(tokens.get(at + 1..).unwrap_or_default()).iter().skip(1).any(
                    |argument| {
                        is_true(argument)
                            || (mentions(argument, columns.table, columns.tenant)
                                && !argument.iter().any(|t| t.is("SELECT")))
                    },
                )
        });
        ends_true || falls_back
    }

    fn compares_a_part(&self) -> bool {
        self.0.iter().any(|token| match token {
            Token::Operator(op) => {
                matches!(op.as_str(), "~~" | "~~*" | "~" | "~*" | "^@" | "!~~" | "%")
            }
            word => [
                "LIKE",
                "ILIKE",
                "SIMILAR",
                "starts_with",
                "left",
                "strpos",
                "substr",
                "substring",
                "split_part",
                "regexp_match",
                "position",
            ]
            .iter()
            .any(|name| word.is(name)),
        })
    }

    fn compares_with_itself(&self, columns: Columns<'_>) -> bool {
        let plain: Vec<_> =
            self.0.iter().filter(|t| !matches!(t, Token::Punct('(' | ')'))).collect();
        let is_column = |t: &Token| matches!(t, Token::Word(word) if word == columns.tenant);
        matches!(plain.as_slice(), [a, Token::Operator(op), b] if op == "=" && is_column(a) && is_column(b))
    }

    /// A function, subquery or name that differs between sessions; a literal does not.
    fn asks_the_session(&self) -> bool {
        let names = ["current_user", "session_user", "current_role", "user", "SELECT"];
        calls(&self.0) || self.0.iter().any(|token| names.iter().any(|name| token.is(name)))
    }

    /// Nothing but `function(…)` or `EXISTS (…)`.
    fn is_call(&self) -> bool {
        matches!(self.0.first(), Some(Token::Word(_)))
            && calls(&self.0)
            && !self.0.iter().any(|token| token.is("IS"))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut glue = true;
        for token in &self.0 {
            let (written, before, after) = match token {
                Token::Word(word) => (word.clone(), true, true),
                Token::Text(literal) => (format!("'{}'", literal.replace('\'', "''")), true, true),
                Token::Number(number) => (number.clone(), true, true),
                Token::Operator(op) if op == "::" => (op.clone(), false, false),
                Token::Operator(op) => (op.clone(), true, true),
                Token::Punct('.') => (".".to_owned(), false, false),
                Token::Punct('(' | '[') => {
                    let open = if matches!(token, Token::Punct('(')) { "(" } else { "[" };
                    (open.to_owned(), false, false)
                }
                Token::Punct(',') => (",".to_owned(), false, true),
                Token::Punct(c) => (c.to_string(), false, true),
            };
            if before && !glue {
                text.push(' ');
            }
            text += &written;
            glue = !after;
        }
        text
    }
}

/// Of two reasons not to be a wall, the one that says more.
fn nearer(a: Judgement, b: Judgement) -> Judgement {
    let rank = |judgement: &Judgement| match judgement {
        Judgement::FailsOpen(_) => 0,
        Judgement::Prefix(_) => 1,
        Judgement::Widens(_) => 2,
        Judgement::Unrelated { opaque: true } => 3,
        Judgement::Unrelated { opaque: false } => 4,
        Judgement::True => 5,
        Judgement::Binds => 6,
    };
    if rank(&b) < rank(&a) { b } else { a }
}

fn is_true(tokens: &[Token]) -> bool {
    match unwrapped(tokens) {
        [word] => word.is("true"),
        [a, Token::Operator(op), b] => {
            op == "=" && a == b && matches!(a, Token::Number(_) | Token::Text(_))
        }
        _ => false,
    }
}

fn is_false(tokens: &[Token]) -> bool {
    matches!(unwrapped(tokens), [word] if word.is("false"))
}

/// The column of this table: unqualified, or qualified with its name. Another table's column of
/// the same name is always written with its table.
fn mentions(tokens: &[Token], table: &str, column: &str) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let named = matches!(token, Token::Word(word) if word == column);
        let before = |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at));
        let is_call = matches!(tokens.get(at + 1), Some(Token::Punct('(')));
        let is_type = matches!(before(1), Some(Token::Operator(op)) if op == "::");
        named
            && !is_call
            && !is_type
            && match before(1) {
                Some(Token::Punct('.')) => {
                    matches!(before(2), Some(Token::Word(word)) if word == table)
                }
                _ => true,
            }
    })
}

/// Whether a function is called, as far as one can see from a name before a parenthesis.
fn calls(tokens: &[Token]) -> bool {
    const NO_CALL: [&str; 12] = [
        "AND", "OR", "NOT", "IN", "ANY", "ALL", "SELECT", "WHERE", "THEN", "ELSE", "WHEN",
        "varchar",
    ];
    tokens.windows(2).any(|window| {
        matches!(window, [Token::Word(word), Token::Punct('(')]
            if !NO_CALL.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)))
    })
}

/// What stands between the parentheses that `tokens` begin with, split at the commas.
fn arguments(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    let end = tokens.iter().position(|token| {
        depth = depth_after(depth, token);
        depth == 0
    });
    let inside = end.and_then(|end| tokens.get(1..end)).unwrap_or_default();
    let mut depth = 0_usize;
    inside
        .split(|token| {
            depth = depth_after(depth, token);
            depth == 0 && *token == Token::Punct(',')
        })
        .collect()
}

/// Without parentheses around the whole.
fn unwrapped(mut tokens: &[Token]) -> &[Token] {
    while let [Token::Punct('('), inside @ .., Token::Punct(')')] = tokens {
        let mut depth = 1_usize;
        let closes_early = inside.iter().any(|token| {
            depth = depth_after(depth, token);
            depth == 0
        });
        if closes_early || inside.first().is_some_and(|token| token.is("SELECT")) {
            break;
        }
        tokens = inside;
    }
    tokens
}

/// The parts between a keyword that stands outside of all parentheses and CASEs.
fn split<'t>(tokens: &'t [Token], keyword: &str) -> Vec<&'t [Token]> {
    let mut depth = 0_usize;
    tokens
        .split(|token| {
            depth = depth_after(depth, token);
            depth == 0 && token.is(keyword)
        })
        .collect()
}

fn depth_after(depth: usize, token: &Token) -> usize {
    match token {
        Token::Punct('(' | '[') => depth + 1,
        Token::Punct(')' | ']') => depth.saturating_sub(1),
        word if word.is("CASE") => depth + 1,
        word if word.is("END") => depth.saturating_sub(1),
        _ => depth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Judgement {
        let all = ["id", "tenant_id", "is_public", "parent"].map(str::to_owned);
        judge(text, Columns { table: "invoices", tenant: "tenant_id", all: &all })
    }

    #[test]
    fn m24_walls_are_told_from_holes() {
        for wall in [
            "(tenant_id = (current_setting('app.tenant_id'::text))::uuid)",
            "(tenant_id = ( SELECT partywall.tenant_id() AS tenant_id))",
            "((tenant_id = app.tenant()) AND (deleted_at IS NULL))",
            "((tenant_id = app.tenant()) OR (tenant_id = app.parent()))",
            "((tenant_id)::text = CURRENT_USER)",
            "app.may_see(tenant_id)",
            "(tenant_id IN ( SELECT m.tenant_id FROM members m WHERE (m.u = auth.uid())))",
            "(EXISTS ( SELECT 1 FROM members m WHERE ((m.org = invoices.tenant_id) AND (m.u = auth.uid()))))",
            "false",
        ] {
            assert_eq!(judged(wall), Judgement::Binds, "{wall}");
        }
        for open in [
            "true",
            "((tenant_id = app.tenant()) OR true)",
            "(1 = 1)",
            "('a'::text = 'a'::text)",
            "(tenant_id = tenant_id)",
            "(NOT false)",
        ] {
            assert_eq!(judged(open), Judgement::True, "{open}");
        }
        for open in [
            "(tenant_id = COALESCE((current_setting('app.tenant_id'::text, true))::uuid, tenant_id))",
            "((current_setting('app.t'::text, true) IS NULL) OR (tenant_id = app.tenant()))",
            "((current_setting('app.t'::text, true) = ''::text) OR (tenant_id = app.tenant()))",
            "CASE WHEN (app.tenant() IS NULL) THEN true ELSE (tenant_id = app.tenant()) END",
            "COALESCE((tenant_id = app.tenant()), true)",
        ] {
            assert!(matches!(judged(open), Judgement::FailsOpen(_)), "{open}: {:?}", judged(open));
        }
        for prefix in [
            "((tenant_id)::text ~~ (current_setting('app.t'::text) || '%'::text))",
            "starts_with((tenant_id)::text, current_setting('app.t'::text))",
            "(left(tenant_id, 3) = current_setting('app.t'::text))",
        ] {
            assert!(matches!(judged(prefix), Judgement::Prefix(_)), "{prefix}");
        }
        for (wide, arm) in [
            ("((tenant_id = app.tenant()) OR is_public)", "is_public"),
            (
                "((tenant_id = app.tenant()) OR (current_setting('app.admin'::text) = 'on'::text))",
                "current_setting('app.admin') = 'on'",
            ),
            ("((tenant_id = app.tenant()) OR (tenant_id IS NULL))", "tenant_id IS NULL"),
        ] {
            assert_eq!(judged(wide), Judgement::Widens(arm.to_owned()), "{wide}");
        }
        for (unrelated, opaque) in [
            ("(deleted_at IS NULL)", false),
            ("(tenant_id IS NOT NULL)", false),
            ("(tenant_id = 'acme'::text)", false),
            ("(tenant_id <> app.tenant())", false),
            ("(EXISTS ( SELECT 1 FROM members m WHERE (m.tenant_id = auth.uid())))", false),
            ("(EXISTS ( SELECT 1 FROM parents p WHERE (p.id = invoices.parent)))", false),
            ("app.may_see(parent)", true),
            ("(NOT (tenant_id <> app.tenant()))", true),
        ] {
            let judged = judged(unrelated);
            assert!(matches!(judged, Judgement::Unrelated { .. }), "{unrelated}: {judged:?}");
            if opaque {
                assert_eq!(judged, Judgement::Unrelated { opaque }, "{unrelated}");
            }
        }
    }

    #[test]
    fn m24_a_column_counts_as_compared_only_with_the_session() {
        assert!(compares("((user_id = auth.uid()) OR is_public)", "notes", "user_id"));
        assert!(!compares("((user_id = auth.uid()) OR is_public)", "notes", "is_public"));
    }
}
