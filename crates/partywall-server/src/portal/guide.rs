//! What to do at well-known providers, step by step.

use crate::control::OidcProfile;

/// How a provider is set up, in its own words.
pub(super) struct Guide {
    /// In addresses.
    pub(super) id: &'static str,
    /// To people.
    pub(super) name: &'static str,
    pub(super) protocol: Protocol,
    pub(super) steps: &'static [&'static str],
    /// Where what we have to be told is found.
    pub(super) then: &'static str,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Saml,
    Oidc(OidcProfile),
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Saml => "saml",
            Self::Oidc(_) => "oidc",
        }
    }
}

impl Guide {
    pub(super) fn of(id: &str) -> Option<&'static Self> {
        GUIDES.iter().find(|guide| guide.id == id)
    }

    /// What people read on the button that leads there, until an administrator calls it otherwise.
    pub(super) fn button(&self) -> &'static str {
        match self.id {
            "saml" | "oidc" => "Single sign-on",
            _ => self.name.split(" (").next().unwrap_or(self.name),
        }
    }

    pub(super) fn is_saml(&self) -> bool {
        self.protocol == Protocol::Saml
    }
}

pub(super) const GUIDES: [Guide; 9] = [
    Guide {
        id: "entra",
        name: "Microsoft Entra ID (SAML)",
        protocol: Protocol::Saml,
        steps: &[
            "In the Entra admin center open Enterprise applications, then New application, then \
             Create your own application, and choose the one for applications not in the gallery.",
            "Open the new application, then Single sign-on, then SAML.",
            "In Basic SAML Configuration enter the Entity ID as Identifier, and the Assertion \
             Consumer Service as Reply URL. Leave Sign on URL empty.",
            "In Attributes & Claims leave the defaults. To have groups decide on roles, add a \
             group claim with Security groups.",
            "In Users and groups assign whoever is to sign in.",
        ],
        then: "In SAML Certificates copy the App Federation Metadata Url.",
    },
    Guide {
        id: "okta",
        name: "Okta (SAML)",
        protocol: Protocol::Saml,
        steps: &[
            "In the Okta admin console open Applications, then Create App Integration, and choose \
             SAML 2.0.",
            "Enter the Assertion Consumer Service as Single sign-on URL, and the Entity ID as \
             Audience URI (SP Entity ID).",
            "Set Name ID format to Persistent, or to EmailAddress if you have no other name that \
             stays the same.",
            "Add attribute statements email (user.email) and name (user.displayName), and, to \
             have groups decide on roles, a group attribute statement groups.",
            "In Assignments assign whoever is to sign in.",
        ],
        then: "In Sign On copy the Metadata URL.",
    },
    Guide {
        id: "google",
        name: "Google Workspace (SAML)",
        protocol: Protocol::Saml,
        steps: &[
            "In the Google admin console open Apps, Web and mobile apps, then Add app, Add custom \
             SAML app.",
            "On the second page download the IdP metadata, which you will need below.",
            "Enter the Assertion Consumer Service as ACS URL, and the Entity ID as Entity ID. \
             Tick Signed response.",
            "Map Primary email to email.",
            "Turn User access on for whoever is to sign in.",
        ],
        then: "Paste the metadata you have downloaded.",
    },
    Guide {
        id: "keycloak",
        name: "Keycloak (SAML)",
        protocol: Protocol::Saml,
        steps: &[
            "In your realm open Clients, then Create client, and choose SAML with the Entity ID as \
             Client ID.",
            "Enter the Assertion Consumer Service as Valid redirect URI and as Master SAML \
             Processing URL.",
            "Set Name ID format to persistent, and turn Sign assertions on.",
            "In Keys turn Client signature required on, and import our certificate from the \
             metadata address, once this connection has been made.",
            "In Client scopes add mappers for email, name and groups.",
        ],
        then: "The realm's metadata is at /realms/{realm}/protocol/saml/descriptor.",
    },
    Guide {
        id: "saml",
        name: "Another SAML 2.0 provider",
        protocol: Protocol::Saml,
        steps: &[
            "Register a service provider with the Entity ID and the Assertion Consumer Service, \
             with the HTTP-POST binding.",
            "Have assertions signed with RSA or ECDSA and SHA-256 or better. SHA-1 is refused.",
            "Choose a name identifier that stays the same for a person: persistent is best, \
             transient cannot be used.",
            "Have email and name sent as attributes, and groups, if they are to decide on roles.",
        ],
        then: "Paste its metadata, or the address of it.",
    },
    Guide {
        id: "entra-oidc",
        name: "Microsoft Entra ID (OpenID Connect)",
        protocol: Protocol::Oidc(OidcProfile::EntraId),
        steps: &[
            "In the Entra admin center open App registrations, then New registration, with \
             accounts in this organizational directory only.",
            "Enter the Redirect URI for the platform Web.",
            "In Certificates & secrets make a New client secret, and copy its Value.",
            "In Token configuration add the optional claims email and xms_edov to the ID token, \
             and a groups claim, if groups are to decide on roles.",
        ],
        then: "The issuer is https://login.microsoftonline.com/{Directory (tenant) ID}/v2.0.",
    },
    Guide {
        id: "okta-oidc",
        name: "Okta (OpenID Connect)",
        protocol: Protocol::Oidc(OidcProfile::Okta),
        steps: &[
            "In the Okta admin console open Applications, then Create App Integration, and choose \
             OIDC and Web Application.",
            "Enter the Redirect URI as Sign-in redirect URI.",
            "In Assignments assign whoever is to sign in.",
        ],
        then: "The issuer is your Okta address, such as https://acme.okta.com.",
    },
    Guide {
        id: "keycloak-oidc",
        name: "Keycloak (OpenID Connect)",
        protocol: Protocol::Oidc(OidcProfile::Keycloak),
        steps: &[
            "In your realm open Clients, then Create client, and choose OpenID Connect.",
            "Turn Client authentication on, and leave the Standard flow only.",
            "Enter the Redirect URI as Valid redirect URI.",
            "In Client scopes add a mapper for groups, if groups are to decide on roles.",
        ],
        then: "The issuer is the address of the realm, such as https://sso.acme.example/realms/acme.",
    },
    Guide {
        id: "oidc",
        name: "Another OpenID Connect provider",
        protocol: Protocol::Oidc(OidcProfile::Generic),
        steps: &[
            "Register a confidential web client with the Redirect URI, for the authorization code \
             flow with PKCE.",
            "Have email, email_verified and name in ID tokens, and groups, if they are to decide \
             on roles.",
        ],
        then: "The issuer is the address below which /.well-known/openid-configuration is.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn guides_have_names_of_their_own() {
        let ids: BTreeSet<&str> = GUIDES.iter().map(|guide| guide.id).collect();
        assert_eq!(ids.len(), GUIDES.len());
        assert!(GUIDES.iter().all(|guide| guide.steps.len() > 1 && !guide.then.is_empty()));
        assert!(Guide::of("entra").is_some_and(Guide::is_saml) && Guide::of("..").is_none());
    }
}
