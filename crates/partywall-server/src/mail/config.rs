//! Where mail is given up, and by whom it is from.

use lettre::message::Mailbox;

use crate::secret::Secret;

/// A server that takes our mail (RFC 6409).
#[derive(Clone)]
pub struct MailConfig {
    /// `smtps://host:465`, or `smtp://host:587`, which insists on STARTTLS unless the host is a
    /// loopback address.
    pub server: String,
    /// Who it is from: `Name <address>`, or an address.
    pub from: String,
    /// A name and a password for the server, if it wants them.
    pub credentials: Option<(String, Secret<String>)>,
}

impl MailConfig {
    pub(super) fn sender(&self) -> Result<Mailbox, InvalidMail> {
        self.from.parse().map_err(|_| InvalidMail::From { given: self.from.clone() })
    }

    /// Scheme, host and port.
    pub(super) fn address(&self) -> Result<Address, InvalidMail> {
        let refused = || InvalidMail::Server { given: self.server.clone() };
        let url = url::Url::parse(&self.server).map_err(|_| refused())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(refused)?.to_owned();
        let plain = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none();
        let loopback = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        let (security, default) = match url.scheme() {
            "smtps" => (Security::Tls, 465),
            "smtp" if loopback => (Security::None, 25),
            "smtp" => (Security::StartTls, 587),
            _ => return Err(refused()),
        };
        if !plain {
            return Err(refused());
        }
        Ok(Address { host, port: url.port().unwrap_or(default), security })
    }

    /// Whether mail can be sent like that; whether the server answers is another matter.
    ///
    /// # Errors
    ///
    /// [`InvalidMail::Server`] and [`InvalidMail::From`].
    pub fn check(&self) -> Result<(), InvalidMail> {
        self.sender()?;
        self.address().map(|_| ())
    }
}

pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
}

pub(super) enum Security {
    Tls,
    StartTls,
    /// To this very machine.
    None,
}

/// Why mail cannot be sent like that.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMail {
    /// Not a server.
    #[error(
        "mail server {given:?}: expected smtps://host:port or smtp://host:port, without user, path or query"
    )]
    Server {
        /// What was given.
        given: String,
    },
    /// Not a sender.
    #[error("mail sender {given:?}: expected an address, or Name <address>")]
    From {
        /// What was given.
        given: String,
    },
    /// The library would not have it.
    #[error("the mail server cannot be spoken to over TLS")]
    Tls,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_leaves_this_machine_over_tls_only() {
        let of = |server: &str| {
            let config = MailConfig {
                server: server.to_owned(),
                from: "Vendor <login@vendor.example>".to_owned(),
                credentials: None,
            };
            config.sender().unwrap();
            config.address()
        };
        assert!(matches!(of("smtps://mail.example").unwrap().security, Security::Tls));
        assert!(matches!(of("smtp://mail.example").unwrap().security, Security::StartTls));
        assert!(matches!(of("smtp://127.0.0.1:2525").unwrap().security, Security::None));
        for refused in ["mail.example", "http://mail.example", "smtp://u:p@mail.example", "smtp://"]
        {
            assert!(of(refused).is_err(), "{refused}");
        }
    }
}
