//! SQL as a row of words: enough to read policies and function bodies, no more.

/// The settings that an expression or a function's text reads, in the order they are read.
pub(super) fn settings(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let called = tokens.windows(3).filter_map(|window| match window {
        [Token::Word(name), Token::Punct('('), Token::Text(setting)]
            if name.eq_ignore_ascii_case("current_setting") =>
        {
            Some(setting.clone())
        }
        _ => None,
    });
    let mut found: Vec<String> = Vec::new();
    for setting in called {
        if !found.contains(&setting) {
            found.push(setting);
        }
    }
    found
}

/// Whether an expression asks which role the session runs as.
pub(super) fn reads_role(text: &str) -> bool {
    let names = ["current_user", "session_user", "current_role"];
    tokens(text).iter().any(|token| names.iter().any(|name| token.is(name)))
}

/// Whether a function's body names everything with its schema, operators and types, too: then no
/// `search_path` can put another thing in its place.
///
/// Says no when in doubt: an unqualified call, operator, table or declared type, or a statement
/// built at run time.
pub(super) fn qualifies_everything(body: &str) -> bool {
    let tokens = tokens(body);
    let keywords = [
        "OPERATOR", "AND", "OR", "NOT", "IF", "WHEN", "THEN", "ELSE", "CASE", "SELECT", "FROM",
        "WHERE", "IN", "AS", "VALUES", "RETURN", "EXISTS", "BY", "ON",
    ];
    let is_keyword = |token: &Token| keywords.iter().any(|keyword| token.is(keyword));
    let unqualified = tokens.iter().enumerate().any(|(at, token)| {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let after = tokens.get(at + 1);
        match token {
            // RAISE … USING ERRCODE = '…' is no comparison.
            Token::Operator(op) => {
                let raises = ["ERRCODE", "HINT", "DETAIL", "MESSAGE"];
                let assigns = before.is_some_and(|t| raises.iter().any(|word| t.is(word)));
                op != ":=" && !assigns && before != Some(&Token::Punct('.'))
            }
            Token::Word(_) if token.is("EXECUTE") => true,
            Token::Word(_) if after == Some(&Token::Punct('(')) => {
                before != Some(&Token::Punct('.')) && !is_keyword(token)
            }
            Token::Word(_) if before.is_some_and(|t| t.is("FROM") || t.is("JOIN")) => {
                after != Some(&Token::Punct('.'))
            }
            _ => false,
        }
    });
    !unqualified && declares_qualified(&tokens)
}

/// `DECLARE name schema.type …;`
fn declares_qualified(tokens: &[Token]) -> bool {
    let Some(start) = tokens.iter().position(|token| token.is("DECLARE")) else { return true };
    let declared = tokens.get(start + 1..).unwrap_or_default();
    let end = declared.iter().position(|token| token.is("BEGIN")).unwrap_or(declared.len());
    declared
        .get(..end)
        .unwrap_or_default()
        .split(|token| *token == Token::Punct(';'))
        .filter(|declaration| !declaration.is_empty())
        .all(|declaration| {
            matches!(declaration, [Token::Word(_), Token::Word(_), Token::Punct('.'), ..])
        })
}

/// A word of SQL, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    /// A name or keyword; quoted names without their quotes.
    Word(String),
    /// A string literal's content.
    Text(String),
    Number(String),
    /// A run of operator characters.
    Operator(String),
    Punct(char),
}

impl Token {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Splits SQL into its words, without comments and casts of literals.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    let word_char = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    while let Some(c) = rest.next() {
        let take = |first: char,
                    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
                    more: &dyn Fn(char) -> bool| {
            let mut taken = String::from(first);
            while let Some(next) = rest.next_if(|c| more(*c)) {
                taken.push(next);
            }
            taken
        };
        match c {
            c if c.is_whitespace() => {}
            '-' if rest.peek() == Some(&'-') => while rest.next_if(|c| *c != '\n').is_some() {},
            '/' if rest.peek() == Some(&'*') => skip_comment(&mut rest),
            '\'' | '"' => {
                let content = quoted(c, &mut rest);
                tokens.push(if c == '"' { Token::Word(content) } else { Token::Text(content) });
            }
            // E'…' as the server writes literals with a backslash.
            'E' if rest.peek() == Some(&'\'') => {}
            c if c.is_ascii_digit() => {
                let number = take(c, &mut rest, &|c| c.is_ascii_digit() || c == '.');
                tokens.push(Token::Number(number));
            }
            c if word_char(c) => tokens.push(Token::Word(take(c, &mut rest, &word_char))),
            '(' | ')' | '[' | ']' | ',' | '.' | ';' => tokens.push(Token::Punct(c)),
            c => {
                let operator = |c: char| "+-*/<>=~!@#%^&|`?:".contains(c);
                tokens.push(Token::Operator(take(c, &mut rest, &operator)));
            }
        }
    }
    without_literal_casts(tokens)
}

fn skip_comment(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut last = ' ';
    rest.next(); // the star
    for c in rest.by_ref() {
        if last == '*' && c == '/' {
            return;
        }
        last = c;
    }
}

fn quoted(quote: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut content = String::new();
    while let Some(c) = rest.next() {
        if c == quote && rest.next_if_eq(&quote).is_none() {
            break;
        }
        content.push(c);
    }
    content
}

/// `'x'::text` is a text; the type says nothing about the tenant.
fn without_literal_casts(tokens: Vec<Token>) -> Vec<Token> {
    let mut plain: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let literal = matches!(plain.last(), Some(Token::Text(_) | Token::Number(_)));
        if literal && token == Token::Operator("::".to_owned()) {
            tokens.next();
            continue;
        }
        plain.push(token);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m24_settings_are_read_out_of_expressions_and_bodies() {
        let body =
            "select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'";
        assert_eq!(settings(body), ["request.jwt.claims"]);
        assert_eq!(settings("pg_catalog.current_setting('a.b'::text)"), ["a.b"]);
        assert_eq!(settings("'current_setting(''x'')'"), [""; 0]);
    }

    #[test]
    fn t07_a_body_that_leaves_nothing_to_the_search_path_is_known() {
        for qualified in [
            "DECLARE t pg_catalog.text := pg_catalog.current_setting('a.b'); -- count(*)
             BEGIN IF t IS NULL THEN RAISE EXCEPTION 'no = sign'; END IF;
             RETURN (SELECT k.name FROM app.key k WHERE k.id OPERATOR(pg_catalog.=) t); END",
            "SELECT pg_catalog.current_setting('a.b')",
        ] {
            assert!(qualifies_everything(qualified), "{qualified}");
        }
        for open in [
            "SELECT current_setting('a.b')",
            "SELECT name FROM key",
            "SELECT k.name FROM app.key k WHERE k.id = 1",
            "DECLARE t text; BEGIN RETURN t; END",
            "BEGIN EXECUTE pg_catalog.format('%s', 'x'); END",
        ] {
            assert!(!qualifies_everything(open), "{open}");
        }
    }
}
