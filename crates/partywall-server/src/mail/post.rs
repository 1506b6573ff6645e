//! Giving mail to a server.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::AddressError,
    message::{Mailbox, MultiPart},
    transport::smtp::{self, authentication::Credentials},
};

use super::config::{InvalidMail, MailConfig, Security};
use crate::{control::Email, keys::SealError};

/// A server that takes our mail.
pub(crate) struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Post {
    pub(crate) fn to(config: &MailConfig) -> Result<Self, InvalidMail> {
        let address = config.address()?;
        let transport = match address.security {
            Security::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(&address.host),
            Security::StartTls => {
                AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&address.host)
            }
            Security::None => {
                Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&address.host))
            }
        };
        let mut transport =
            transport.map_err(|_| InvalidMail::Tls)?.port(address.port).timeout(Some(TIMEOUT));
        if let Some((name, password)) = &config.credentials {
            let credentials = Credentials::new(name.clone(), password.expose().clone());
            transport = transport.credentials(credentials);
        }
        Ok(Self { transport: transport.build(), from: config.sender()? })
    }

    /// Gives the server one letter. Headers are built and encoded by the library; no text of ours
    /// or anybody's ends a line of them.
    pub(super) async fn send(
        &self,
        to: &Email,
        subject: &str,
        text: &str,
        html: &str,
    ) -> Result<(), PostError> {
        self.transport.send(letter(&self.from, to, subject, text, html)?).await?;
        Ok(())
    }
}

fn letter(
    from: &Mailbox,
    to: &Email,
    subject: &str,
    text: &str,
    html: &str,
) -> Result<Message, PostError> {
    Ok(Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.as_str().parse()?))
        .subject(subject)
        .multipart(MultiPart::alternative_plain_html(text.to_owned(), html.to_owned()))?)
}

/// Why a server did not take a letter.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the letter does not open: was the sealing key changed?")]
    Sealed(#[from] SealError),
    #[error("the letter is not readable")]
    Unreadable,
    #[error("the address is none")]
    Address(#[from] AddressError),
    #[error("the letter is none")]
    Letter(#[from] lettre::error::Error),
    #[error("the mail server did not take it")]
    Server(#[from] smtp::Error),
}

const TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_tenant_becomes_a_header() {
        let from: Mailbox = "login@vendor.test".parse().unwrap();
        let to: Email = "ada@x.test".parse().unwrap();
        let headers = |subject: &str| {
            let letter = letter(&from, &to, subject, "text", "<p>html</p>").unwrap().formatted();
            let letter = String::from_utf8(letter).unwrap();
            letter.split("\r\n\r\n").next().unwrap().to_owned()
        };
        assert!(headers("You are invited to acme").contains("Subject: You are invited to acme"));
        for line_end in ["\r\n", "\n", "\r"] {
            let headers = headers(&format!("Hello{line_end}Bcc: eve@x.test{line_end}{line_end}x"));
            let starts = |line: &str| line.to_lowercase().starts_with("bcc:");
            assert!(!headers.split(['\r', '\n']).any(starts), "{headers}");
        }
        for address in ["ada@x.test\r\nBcc: eve@x.test", "ada@x.test, eve@x.test"] {
            assert!(address.parse::<Email>().is_err(), "{address:?}");
        }
    }
}
