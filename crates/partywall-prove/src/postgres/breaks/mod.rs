//! `--break`: takes each wall down in turn, attacks again, and must notice.
//!
//! An attack that never bites looks the same as a wall that holds. So every wall of the database is
//! taken down, one at a time and in the one transaction that is rolled back, and the attacks are made
//! where it stood. Those that go through now, and did not before, are what the wall is worth. Where
//! nothing goes through, the prover is blind.
//!
//! [`Broken`] and [`Fall`] say nothing about PostgreSQL: a store whose wall is a document (an AWS
//! session policy) is broken by taking each statement of the document away, and reports the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    access::Address,
    attacks,
    ground::Ground,
    one_session::OneSession,
    options::Options,
    prove::{self, CannotRun},
    schema::{Class, Relation, Schema},
    stage::{Answer, Gone},
    tenancy::Assume,
};
use crate::{Exit, Log, Progress, Silent, Verdict};

mod policy;
mod walls;

use walls::{Scope, Wall};

/// A wall that was taken down, and who noticed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Broken {
    /// The wall, in words: `row security on shop.orders`.
    pub wall: String,
    /// What took it down, so that it can be tried by hand.
    pub statement: String,
    /// The attacks that go through without it and do not with it, as `attack@place`: what it is
    /// worth.
    pub noticed_by: Vec<String>,
    /// What came of it.
    pub verdict: Fall,
}

/// What came of taking a wall down.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fall {
    /// At least one attack goes through now.
    Noticed,
    /// None does, for another wall stands behind it, which is itself among those broken.
    Held {
        /// The other wall.
        by: String,
    },
    /// None does, and nothing else should have held: the attacks are blind here.
    Unnoticed,
    /// Nobody can say: it could not be taken down, or was down before.
    CouldNotBreak {
        /// Why not.
        why: String,
    },
}

impl Fall {
    /// `noticed`, `held`, `unnoticed`, `could not break`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::Held { .. } => "held",
            Self::Unnoticed => "unnoticed",
            Self::CouldNotBreak { .. } => "could not break",
        }
    }
}

/// What all the falls amount to: proven when each was noticed or held, undecided when one was not,
/// could not run when there was no wall at all.
pub fn exit(broken: &[Broken]) -> Exit {
    let seen = |one: &Broken| matches!(one.verdict, Fall::Noticed | Fall::Held { .. });
    if !broken.iter().any(|one| one.verdict == Fall::Noticed) && broken.iter().all(seen) {
        Exit::CouldNotRun
    } else if broken.iter().all(seen) {
        Exit::Proven
    } else {
        Exit::Undecided
    }
}

/// Takes each wall of the database at `address` down in turn, and attacks where it stood.
///
/// Everything happens in one transaction, which is rolled back. While a wall is down its table is
/// locked for everybody (`ACCESS EXCLUSIVE`), so production is refused, whatever the options say.
///
/// # Errors
///
/// [`CannotRun`] as for [`prove`](super::prove), and when the options ask for reading only or the
/// address is not an administrator's.
pub async fn break_walls(
    address: &Address,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Broken>, CannotRun> {
    if options.read_only {
        return Err(CannotRun::BreakWrites);
    }
    let options = Options { even_in_production: false, ..options.clone() };
    let mut log = Log::new(Vec::new(), &Silent);
    let (mut stage, mut ground, _) = prove::prepare(address, &options, &mut log).await?;
    if stage.tenancy().assume == Assume::Already {
        return Err(CannotRun::BreakNeedsOwner);
    }
    attacks::prepare(&mut stage, &mut ground, &mut log).await?;
    ground.take_sides();
    let roles = roles(&stage);
    let mut breaker = Breaker { stage, ground, roles, standing: BTreeMap::new() };
    let walls = breaker.walls().await?;
    let mut broken = Vec::with_capacity(walls.len());
    for wall in walls {
        progress.begin(&wall.name);
        broken.push(breaker.take_down(wall).await?);
    }
    breaker.stage.roll_back().await?;
    Ok(broken)
}

/// The roles the attacks run as.
fn roles(stage: &OneSession) -> Vec<String> {
    let tenants = [super::stage::Who::Attacker, super::stage::Who::Victim];
    let own = tenants.iter().filter_map(|who| stage.tenant(*who)?.role.clone());
    let mut roles: Vec<String> = own.collect();
    if roles.is_empty() {
        roles.extend(stage.tenancy().role().map(str::to_owned));
    }
    roles
}

struct Breaker {
    stage: OneSession,
    ground: Ground,
    roles: Vec<String>,
    /// What goes through with every wall up, by where it was tried.
    standing: BTreeMap<Scope, BTreeSet<String>>,
}

impl Breaker {
    async fn walls(&mut self) -> Result<Vec<Wall>, Gone> {
        let known: Vec<&str> =
            self.roles.iter().chain(&self.ground.beside).map(String::as_str).collect();
        let policies = policy::read(self.stage.session(), &known).await?;
        Ok(walls::of(&self.stage, &self.ground, &policies, &self.roles))
    }

    async fn take_down(&mut self, wall: Wall) -> Result<Broken, Gone> {
        let mut standing = match wall.given.as_str() {
            "" => self.standing(&wall.scope).await?,
            // Measured below, with what is given arranged.
            _ => BTreeSet::new(),
        };
        self.stage.mark(MARK).await?;
        let mut why = None;
        if !wall.given.is_empty() {
            match self.stage.keep_as_self(&wall.given).await? {
                Answer::Done(_) => standing = self.attack_anew(&wall).await?,
                Answer::Refused(no) => why = Some(no.to_string()),
            }
        }
        let mut noticed_by = Vec::new();
        if why.is_none() {
            match self.stage.keep_as_self(&wall.down).await? {
                Answer::Done(_) => {
                    let through = self.attack_anew(&wall).await?;
                    noticed_by = through.difference(&standing).cloned().collect();
                }
                Answer::Refused(no) => why = Some(no.to_string()),
            }
        }
        self.stage.back_to_mark(MARK).await?;
        let verdict = match (why, wall.held_by) {
            (Some(why), _) => Fall::CouldNotBreak { why },
            (None, _) if !noticed_by.is_empty() => Fall::Noticed,
            (None, Some(by)) => Fall::Held { by },
            (None, None) => self.unnoticed(&wall.scope, &standing),
        };
        let statement = match wall.given.as_str() {
            "" => wall.down,
            given => format!("{given}; {}", wall.down),
        };
        Ok(Broken { wall: wall.name, statement, noticed_by, verdict })
    }

    /// Nothing new went through. Where there was nothing to reach, or all of it was open before,
    /// that says nothing.
    fn unnoticed(&self, scope: &Scope, standing: &BTreeSet<String>) -> Fall {
        let lacks_rows = |oid| {
            let relation = self.ground.schema.relation(oid)?;
            let both = [super::stage::Who::Attacker, super::stage::Who::Victim];
            let lacking = both.iter().any(|who| self.ground.row(relation, *who).is_none());
            (relation.is_table() && relation.parent.is_none() && lacking).then_some(relation)
        };
        if let Scope::Table(oid) = scope
            && let Some(relation) = lacks_rows(*oid)
        {
            let why = format!(
                "there is no row of each tenant in {} to be reached: see postgres.own-rows in an ordinary run",
                relation.place()
            );
            return Fall::CouldNotBreak { why };
        }
        match standing.first() {
            Some(open) => {
                let why = format!("it is open with every wall up ({open}): mend that first");
                Fall::CouldNotBreak { why }
            }
            None => Fall::Unnoticed,
        }
    }

    /// What goes through with every wall up.
    async fn standing(&mut self, scope: &Scope) -> Result<BTreeSet<String>, Gone> {
        if let Some(known) = self.standing.get(scope) {
            return Ok(known.clone());
        }
        let ground = self.ground.clone();
        let through = attack(&mut self.stage, &ground, scope, &[]).await?;
        self.standing.insert(scope.clone(), through.clone());
        Ok(through)
    }

    /// What goes through now, after the catalogues were changed.
    async fn attack_anew(&mut self, wall: &Wall) -> Result<BTreeSet<String>, Gone> {
        let mut ground = self.ground.clone();
        let mut new = Vec::new();
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        if wall.changes_schema {
            let mut schema = Schema::read(self.stage.session(), &ground.options.schemas).await?;
            new = carry_over(&ground.schema, &mut schema, &wall.scope);
            ground.schema = schema;
        }
        ground.schema.read_grants(self.stage.session(), &roles).await?;
        attack(&mut self.stage, &ground, &wall.scope, &new).await
    }
}

/// Says of each relation whose rows it holds, as was found before; those that were not there hold
/// what the broken table does. Returns the new ones.
fn carry_over(before: &Schema, now: &mut Schema, scope: &Scope) -> Vec<u32> {
    let broken = match scope {
        Scope::Table(oid) => before.relation(*oid),
        Scope::Everything | Scope::Functions | Scope::Session(_) => None,
    };
    let mut new = Vec::new();
    now.relations.retain_mut(|relation| {
        match (before.relation(relation.oid), broken) {
            (Some(known), _) => relation.class = known.class.clone(),
            (None, Some(broken)) => {
                relation.class = broken.class.clone();
                new.push(relation.oid);
            }
            (None, None) => return false,
        }
        true
    });
    new
}

/// Attacks where the wall stood, in one direction; `attack@place` of all that leaks.
async fn attack(
    stage: &mut OneSession,
    ground: &Ground,
    scope: &Scope,
    new: &[u32],
) -> Result<BTreeSet<String>, Gone> {
    let mut log = Log::new(Vec::new(), &Silent);
    let concerned = |relation: &&Relation| match scope {
        Scope::Table(oid) => relation.oid == *oid || new.contains(&relation.oid),
        Scope::Everything => !matches!(relation.class, Class::Shared | Class::Undeclared),
        Scope::Functions | Scope::Session(_) => false,
    };
    let relations: Vec<Relation> =
        ground.schema.relations.iter().filter(concerned).cloned().collect();
    for relation in &relations {
        attacks::at(stage, ground, relation, &mut log).await?;
    }
    if *scope == Scope::Functions {
        attacks::functions::attack(stage, ground, &mut log).await?;
    }
    if let Scope::Session(owner) = scope {
        let tenancy = stage.tenancy().clone();
        let mut ground = ground.clone();
        if let Some(owner) = owner {
            ground.schema.relations.retain(|relation| relation.owner == *owner);
        }
        attacks::session::attack(stage, &ground, &tenancy, &mut log).await?;
    }
    let leaked = log.trials().iter().filter(|trial| trial.verdict == Verdict::Leaked);
    Ok(leaked.map(|trial| format!("{}@{}", trial.attack, trial.place)).collect())
}

const MARK: &str = "partywall_wall";

#[cfg(test)]
mod tests {
    use super::*;

    fn fall(verdict: Fall) -> Broken {
        let (wall, statement) = ("a wall".to_owned(), "a statement".to_owned());
        Broken { wall, statement, noticed_by: Vec::new(), verdict }
    }

    #[test]
    fn r07_a_fall_that_nobody_noticed_is_not_proven() {
        let (noticed, held) = (fall(Fall::Noticed), fall(Fall::Held { by: "another".to_owned() }));
        let could_not = fall(Fall::CouldNotBreak { why: "locked".to_owned() });
        assert_eq!(exit(&[]), Exit::CouldNotRun);
        assert_eq!(exit(std::slice::from_ref(&held)), Exit::CouldNotRun);
        assert_eq!(exit(&[noticed.clone(), held]), Exit::Proven);
        assert_eq!(exit(&[noticed.clone(), fall(Fall::Unnoticed)]), Exit::Undecided);
        assert_eq!(exit(&[noticed, could_not.clone()]), Exit::Undecided);
        assert_eq!(exit(&[could_not]), Exit::Undecided);
    }
}
