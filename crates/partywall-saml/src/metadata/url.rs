//! Addresses a browser will be sent to (I-26).

/// Whether it is one: absolute, `https` (or `http` where that is allowed), of the characters RFC
/// 3986 knows, with a host, without credentials and without a fragment.
pub(crate) fn is_acceptable(url: &str, allow_http: bool) -> bool {
    let rest = match url.strip_prefix("https://") {
        Some(rest) => Some(rest),
        None => url.strip_prefix("http://").filter(|_| allow_http),
    };
    let Some(rest) = rest else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    url.len() <= 2048
        && url.bytes().all(|b| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b))
        && !authority.contains('@')
        && !authority.starts_with(':')
        && !authority.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i26_addresses_are_https_and_nothing_odd() {
        for url in [
            "https://idp.example",
            "https://idp.example:8443/sso?a=b&c=%20",
            "https://[2001:db8::1]/sso",
            "https://idp.example/a@b",
        ] {
            assert!(is_acceptable(url, false), "{url}");
        }
        assert!(!is_acceptable("http://idp.example/sso", false));
        assert!(is_acceptable("http://idp.example/sso", true));
        for url in [
            "",
            "https://",
            "https:///sso",
            "https://:443/sso",
            "HTTPS://idp.example/sso",
            "//idp.example/sso",
            "/sso",
            "javascript:alert(1)//https://idp.example",
            "data:text/html,x",
            "https://idp.example@evil.example/sso",
            "https://idp.example/sso#fragment",
            "https://idp.example\\@evil.example/",
            "https://idp.example/a b",
            "https://idp.example/\"onload=",
            "https://idp.example/<script>",
            "https://idp.example/\r\nLocation: x",
            "https://idp.exämple/",
            " https://idp.example/sso",
        ] {
            assert!(!is_acceptable(url, true), "{url}");
        }
        assert!(!is_acceptable(&format!("https://idp.example/{}", "a".repeat(2048)), false));
    }
}
