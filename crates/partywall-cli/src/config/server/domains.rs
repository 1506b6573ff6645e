//! `server.dns_servers` and `server.free_mail`: who is asked about domains, and which are nobody's.

use std::net::SocketAddr;

use partywall_server::DomainName;
use toml::Spanned;

use crate::config::document::Section;

/// The name servers to ask instead of the system's.
pub(super) fn read_dns_servers(server: &mut Section<'_, '_>) -> Vec<SocketAddr> {
    const EXAMPLE: &str = r#"dns_servers = ["192.0.2.53:53"]"#;
    let Some(read) = server.optional::<Vec<String>>("dns_servers", EXAMPLE) else {
        return Vec::new();
    };
    let mut servers = Vec::new();
    for given in read.get_ref() {
        match given.parse() {
            Ok(address) => servers.push(address),
            Err(_) => {
                let what = format!("{given:?} is no address with a port");
                server.fault_at(&read.span(), "dns_servers", what, format!("write `{EXAMPLE}`"));
            }
        }
    }
    servers
}

/// The domains that no tenant may claim, beside those on the server's own list.
pub(super) fn read_free_mail(server: &mut Section<'_, '_>) -> Vec<String> {
    const EXAMPLE: &str = r#"free_mail = ["mail.example.net"]"#;
    let Some(read) = server.optional::<Vec<String>>("free_mail", EXAMPLE) else {
        return Vec::new();
    };
    for given in read.get_ref() {
        if let Err(error) = given.parse::<DomainName>() {
            let what = format!("{given:?}: {error}");
            server.fault_at(&read.span(), "free_mail", what, format!("write `{EXAMPLE}`"));
        }
    }
    Spanned::into_inner(read)
}
