//! A tenant's claim to a domain, and what seeing its record, or not, makes of it (F-03, I-17).

use std::time::Duration;

use partywall::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::ConnectionId;
use crate::federation::domains::{self, DomainName, Seen};

/// A domain that a tenant claims.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain {
    /// Who claims it.
    pub tenant: TenantId,
    /// The domain.
    pub name: DomainName,
    /// What its record says: 256 bits, drawn for this claim. No secret: it will be in DNS.
    pub(crate) token: String,
    /// Where people with an address there are sent. Without it they sign in here.
    pub connection: Option<ConnectionId>,
    /// When it was proved; never, for a claim.
    pub verified_at: Option<Timestamp>,
    /// When DNS was last asked.
    pub checked_at: Option<Timestamp>,
    /// What was there then.
    pub seen: Option<DomainSeen>,
    /// When a proof is looked at again.
    pub(crate) due_at: Option<Timestamp>,
    /// Since when a proof has not been there.
    pub failing_since: Option<Timestamp>,
    /// When it was claimed.
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: u64,
}

/// Whether a domain is its tenant's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainStatus {
    /// Somebody says so.
    Claimed,
    /// DNS says so.
    Proved,
    /// DNS said so within the last week, and does not now: it still counts.
    Failing,
}

/// What was at the name of the record when DNS was asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainSeen {
    /// The whole value.
    Value,
    /// Other values only.
    OtherValues,
    /// No record.
    Nothing,
    /// No answer that says anything.
    Undecided,
}

impl DomainSeen {
    pub(crate) const ALL: [Self; 4] =
        [Self::Value, Self::OtherValues, Self::Nothing, Self::Undecided];

    /// The word it is stored and shown as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::OtherValues => "other_values",
            Self::Nothing => "nothing",
            Self::Undecided => "undecided",
        }
    }
}

impl From<Seen> for DomainSeen {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Value => Self::Value,
            Seen::OtherValues(_) => Self::OtherValues,
            Seen::Nothing => Self::Nothing,
            Seen::Undecided => Self::Undecided,
        }
    }
}

impl Domain {
    /// Whether it is its tenant's.
    pub fn status(&self) -> DomainStatus {
        match (self.verified_at, self.failing_since) {
            (None, _) => DomainStatus::Claimed,
            (Some(_), None) => DomainStatus::Proved,
            (Some(_), Some(_)) => DomainStatus::Failing,
        }
    }

    /// The name of the TXT record that proves it.
    pub fn record_name(&self) -> String {
        self.name.challenge_name()
    }

    /// The whole value of that record.
    pub fn record_value(&self) -> String {
        domains::value_of(&self.token)
    }

    /// What it is after DNS was asked, and what is to be accounted for. No answer proves nothing,
    /// and takes as long to take a proof away as a wrong one.
    pub(super) fn having_seen(mut self, seen: DomainSeen, now: Timestamp) -> (Self, Outcome) {
        let asked_before = self.checked_at.replace(now);
        self.seen = Some(seen);
        self.version += 1;
        let outcome = match (self.verified_at, seen) {
            (None, DomainSeen::Value) => {
                self.verified_at = Some(now);
                self.due_at = Some(now + LOOK_AGAIN_AFTER);
                Outcome::Proved
            }
            (None, _) => Outcome::StillAClaim,
            (Some(_), DomainSeen::Value) => {
                self.due_at = Some(now + LOOK_AGAIN_AFTER);
                match self.failing_since.take() {
                    Some(_) => Outcome::BackAgain,
                    None => Outcome::StillProved,
                }
            }
            (Some(_), _) => {
                let since = *self.failing_since.get_or_insert(now);
                if now >= since + GRACE {
                    (self.verified_at, self.failing_since, self.due_at) = (None, None, None);
                    return (self, Outcome::ProvedNoMore);
                }
                self.due_at = Some(now + LOOK_AGAIN_AFTER_FAILURE);
                let days = |at: Timestamp| at.0.saturating_sub(since.0) / DAY.as_secs();
                let told_today =
                    asked_before.is_some_and(|at| at >= since && days(at) == days(now));
                if told_today { Outcome::StillFailing } else { Outcome::Failing }
            }
        };
        (self, outcome)
    }
}

/// What came of asking DNS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Proved,
    StillAClaim,
    StillProved,
    /// A proof is not there: said once a day.
    Failing,
    StillFailing,
    BackAgain,
    ProvedNoMore,
}

impl Outcome {
    /// How the audit trail calls it, if it changes anything.
    pub(super) fn action(self) -> Option<&'static str> {
        match self {
            Self::Proved => Some("domain.prove"),
            Self::Failing => Some("domain.fail"),
            Self::BackAgain => Some("domain.recover"),
            Self::ProvedNoMore => Some("domain.expire"),
            Self::StillAClaim | Self::StillProved | Self::StillFailing => None,
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A proof is looked at so often.
const LOOK_AGAIN_AFTER: Duration = DAY;
/// And one that is not there.
const LOOK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(3600);
/// For how long it still counts: a long weekend, and time to find whoever may edit DNS.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const START: Timestamp = Timestamp(1_800_000_000);

    fn claim() -> Domain {
        Domain {
            tenant: "acme".parse().unwrap(),
            name: "example.com".parse().unwrap(),
            token: "dG9rZW4".to_owned(),
            connection: None,
            verified_at: None,
            checked_at: None,
            seen: None,
            due_at: None,
            failing_since: None,
            created_at: START,
            version: 1,
        }
    }

    #[test]
    fn i17_only_the_value_makes_a_claim_a_proof() {
        for seen in DomainSeen::ALL {
            let (domain, outcome) = claim().having_seen(seen, START);
            let proves = seen == DomainSeen::Value;
            assert_eq!(domain.status() == DomainStatus::Proved, proves, "{seen:?}");
            assert_eq!(outcome == Outcome::Proved, proves, "{seen:?}");
            assert_eq!((domain.version, domain.checked_at), (2, Some(START)));
        }
    }

    #[test]
    fn i17_a_proof_that_is_gone_for_a_week_is_none() {
        for gone in [DomainSeen::Nothing, DomainSeen::OtherValues, DomainSeen::Undecided] {
            let (mut domain, _) = claim().having_seen(DomainSeen::Value, START);
            assert_eq!(domain.due_at, Some(START + DAY));
            let mut now = START + DAY;
            let gone_at = now;
            let mut told = 0;
            loop {
                let (next, outcome) = domain.having_seen(gone, now);
                domain = next;
                told += u32::from(outcome == Outcome::Failing);
                if outcome == Outcome::ProvedNoMore {
                    break;
                }
                assert_eq!(domain.status(), DomainStatus::Failing, "it counts meanwhile");
                assert_eq!(domain.due_at, Some(now + HOUR));
                now = now + HOUR;
            }
            assert_eq!(now, gone_at + GRACE);
            assert_eq!(told, 7, "once a day");
            assert_eq!(domain.status(), DomainStatus::Claimed);
            assert_eq!(domain.due_at, None, "a claim is looked at when somebody asks");
        }
    }

    #[test]
    fn i17_a_proof_that_comes_back_has_its_week_again() {
        let (domain, _) = claim().having_seen(DomainSeen::Value, START);
        let (domain, outcome) = domain.having_seen(DomainSeen::Nothing, START + DAY);
        assert_eq!(outcome, Outcome::Failing);
        let later = START + DAY + 6 * DAY;
        let (domain, outcome) = domain.having_seen(DomainSeen::Value, later);
        assert_eq!((outcome, domain.status()), (Outcome::BackAgain, DomainStatus::Proved));
        let (domain, outcome) = domain.having_seen(DomainSeen::Value, later + DAY);
        assert_eq!((outcome, domain.due_at), (Outcome::StillProved, Some(later + DAY + DAY)));
        let (domain, _) = domain.having_seen(DomainSeen::Nothing, later + 2 * DAY);
        let (domain, _) = domain.having_seen(DomainSeen::Nothing, later + 8 * DAY);
        assert_eq!(domain.status(), DomainStatus::Failing);
    }
}
