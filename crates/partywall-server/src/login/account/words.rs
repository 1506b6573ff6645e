//! The words of the account page: what its forms ask for, and what it says afterwards.

use crate::login::{factors::password::WeakPassword, links::word_for};

/// What can be done on the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Do {
    SignOut,
    EndSession,
    TakeBack,
    ChangePassword,
    AddApp,
    ConfirmApp,
    RemoveApp,
    NewCodes,
    AddPasskey,
    RenamePasskey,
    RemovePasskey,
    Link,
    Unlink,
}

impl Do {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "sign_out" => Self::SignOut,
            "end_session" => Self::EndSession,
            "take_back" => Self::TakeBack,
            "change_password" => Self::ChangePassword,
            "add_app" => Self::AddApp,
            "confirm_app" => Self::ConfirmApp,
            "remove_app" => Self::RemoveApp,
            "new_codes" => Self::NewCodes,
            "add_passkey" => Self::AddPasskey,
            "rename_passkey" => Self::RenamePasskey,
            "remove_passkey" => Self::RemovePasskey,
            "link" => Self::Link,
            "unlink" => Self::Unlink,
            _ => return None,
        })
    }

    pub(super) fn needs_fresh(self) -> bool {
        match self {
            Self::SignOut | Self::EndSession | Self::TakeBack | Self::RenamePasskey => false,
            Self::ChangePassword
            | Self::AddApp
            | Self::ConfirmApp
            | Self::RemoveApp
            | Self::NewCodes
            | Self::AddPasskey
            | Self::RemovePasskey
            | Self::Link
            | Self::Unlink => true,
        }
    }

    pub(super) fn event(self) -> &'static str {
        match self {
            Self::SignOut => "sign_out",
            Self::EndSession => "session.ended",
            Self::TakeBack => "consent.taken_back",
            Self::ChangePassword => "factor.password_changed",
            Self::AddApp | Self::ConfirmApp => "factor.totp_added",
            Self::RemoveApp => "factor.totp_removed",
            Self::NewCodes => "factor.recovery_codes_drawn",
            Self::AddPasskey => "factor.passkey_added",
            Self::RenamePasskey => "factor.passkey_renamed",
            Self::RemovePasskey => "factor.passkey_removed",
            Self::Link => "identity.link",
            Self::Unlink => "identity.unlink",
        }
    }
}

/// What the page says of the last change.
#[derive(Clone, Copy)]
pub(super) enum Said {
    SessionEnded,
    TakenBack,
    PasswordChanged,
    Added,
    Removed,
    Renamed,
    Gone,
    WrongCode,
    TooMany,
    PasskeyFailed,
    Linked,
    LinkedToAnother,
    NotLinked,
    LastWayIn,
    Weak(WeakPassword),
}

impl Said {
    const ALL: [Self; 17] = [
        Self::SessionEnded,
        Self::TakenBack,
        Self::PasswordChanged,
        Self::Added,
        Self::Removed,
        Self::Renamed,
        Self::Gone,
        Self::WrongCode,
        Self::TooMany,
        Self::PasskeyFailed,
        Self::Linked,
        Self::LinkedToAnother,
        Self::NotLinked,
        Self::LastWayIn,
        Self::Weak(WeakPassword::Short),
        Self::Weak(WeakPassword::Long),
        Self::Weak(WeakPassword::Common),
    ];

    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|said| said.word() == word)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::TakenBack => "taken_back",
            Self::PasswordChanged => "password_changed",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Gone => "gone",
            Self::WrongCode => "wrong_code",
            Self::TooMany => "too_many",
            Self::PasskeyFailed => "passkey_failed",
            Self::Linked => "linked",
            Self::LinkedToAnother => "linked_to_another",
            Self::NotLinked => "not_linked",
            Self::LastWayIn => "last_way_in",
            Self::Weak(weak) => word_for(weak),
        }
    }

    pub(super) fn is_error(self) -> bool {
        match self {
            Self::SessionEnded
            | Self::TakenBack
            | Self::PasswordChanged
            | Self::Added
            | Self::Removed
            | Self::Renamed
            | Self::Linked => false,
            Self::Gone
            | Self::WrongCode
            | Self::TooMany
            | Self::PasskeyFailed
            | Self::LinkedToAnother
            | Self::NotLinked
            | Self::LastWayIn
            | Self::Weak(_) => true,
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::SessionEnded => "That session is signed out.".to_owned(),
            Self::TakenBack => "The application may do nothing for you any more.".to_owned(),
            Self::PasswordChanged => {
                "Your password is changed. Everywhere else you are signed out.".to_owned()
            }
            Self::Added => "It is added.".to_owned(),
            Self::Removed => "It is removed.".to_owned(),
            Self::Renamed => "It is renamed.".to_owned(),
            Self::Gone => "It was gone already.".to_owned(),
            Self::WrongCode => "That code was not right. Set the app up once more.".to_owned(),
            Self::TooMany => "You have as many as you may. Remove one first.".to_owned(),
            Self::PasskeyFailed => "That did not work. Try once more.".to_owned(),
            Self::Linked => "You can sign in that way from now on.".to_owned(),
            Self::LinkedToAnother => {
                "Whoever you signed in as there is somebody else here already.".to_owned()
            }
            Self::NotLinked => "That did not work. Try once more.".to_owned(),
            Self::LastWayIn => "That is your only way in. Add another one first.".to_owned(),
            Self::Weak(weak) => weak.to_string(),
        }
    }
}
