//! `[server.passwords]` and `[server.mail]`: what people sign in with, and how they are written to.

use partywall_server::{InvalidMail, MailConfig, PasswordConfig};
use serde::{Deserialize, Serialize};

use super::super::{Reading, SecretRef, document::Section};

/// How passwords are hashed (Argon2id).
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Passwords {
    /// Memory for one hash.
    pub(crate) memory_kib: u32,
    /// Passes over it.
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
    /// Threads that do nothing else.
    pub(crate) threads: usize,
}

impl Passwords {
    pub(super) fn read(server: &mut Section<'_, '_>) -> Self {
        let default = Self::from(PasswordConfig::default());
        let Some(mut section) = server.section("passwords", "[server.passwords]") else {
            return default;
        };
        let read = Self {
            memory_kib: number(
                &mut section,
                "memory_kib",
                "memory_kib = 19456",
                default.memory_kib,
            ),
            passes: number(&mut section, "passes", "passes = 2", default.passes),
            lanes: number(&mut section, "lanes", "lanes = 1", default.lanes),
            threads: number(&mut section, "threads", "threads = 2", default.threads),
        };
        if let Err(error) = PasswordConfig::from(read).check() {
            section.fault(error, "leave out what you have no reason to change");
        }
        section.finish();
        read
    }
}

fn number<T: serde::de::DeserializeOwned>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    example: &str,
    default: T,
) -> T {
    section.optional(key, example).map_or(default, toml::Spanned::into_inner)
}

impl From<PasswordConfig> for Passwords {
    fn from(config: PasswordConfig) -> Self {
        let PasswordConfig { memory_kib, passes, lanes, threads } = config;
        Self { memory_kib, passes, lanes, threads }
    }
}

impl From<Passwords> for PasswordConfig {
    fn from(read: Passwords) -> Self {
        let Passwords { memory_kib, passes, lanes, threads } = read;
        Self { memory_kib, passes, lanes, threads }
    }
}

/// Where mail is given up (SMTP).
#[derive(Debug, Serialize)]
pub(crate) struct Mail {
    /// `smtps://host`, or `smtp://host` with STARTTLS; in the clear to this very machine only.
    pub(crate) server: String,
    /// Who it is from.
    pub(crate) from: String,
    /// The name to sign in to the server with, if it wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<SecretRef>,
}

const SERVER: &str = r#"server = "smtps://mail.example.com""#;
const FROM: &str = r#"from = "Example <login@example.com>""#;
const USER: &str = r#"user = "login""#;

impl Mail {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        let server = section.required::<String>("server", SERVER);
        let from = section.required::<String>("from", FROM);
        let user = section.optional::<String>("user", USER);
        let password = match section.has("password") {
            true => reading.secret(&mut section, "password"),
            false => None,
        };
        if user.is_some() != password.is_some() {
            let fix = "give both `user` and `password`, or neither";
            section.fault("one half of what the mail server is shown", fix);
        }
        if let (Some(server), Some(from)) = (&server, &from) {
            let config = MailConfig {
                server: server.get_ref().clone(),
                from: from.get_ref().clone(),
                credentials: None,
            };
            match config.check() {
                Ok(()) => {}
                Err(error @ InvalidMail::From { .. }) => {
                    section.fault_at(&from.span(), "from", error, format!("write `{FROM}`"));
                }
                Err(error) => {
                    section.fault_at(&server.span(), "server", error, format!("write `{SERVER}`"));
                }
            }
        }
        section.finish();
        Some(Self {
            server: server?.into_inner(),
            from: from?.into_inner(),
            user: user.map(toml::Spanned::into_inner),
            password,
        })
    }
}
