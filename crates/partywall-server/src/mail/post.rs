//! Giving mail to a server.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::AddressError,
    message::{Mailbox, MultiPart},
    transport::smtp::{self, authentication::Credentials},
};

use super::config::{InvalidMail, MailConfig, Security};
use crate::control::Email;

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
        let letter = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.as_str().parse()?))
            .subject(subject)
            .multipart(MultiPart::alternative_plain_html(text.to_owned(), html.to_owned()))?;
        self.transport.send(letter).await?;
        Ok(())
    }
}

/// Why a server did not take a letter.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the address is none")]
    Address(#[from] AddressError),
    #[error("the letter is none")]
    Letter(#[from] lettre::error::Error),
    #[error("the mail server did not take it")]
    Server(#[from] smtp::Error),
}

const TIMEOUT: Duration = Duration::from_secs(20);
