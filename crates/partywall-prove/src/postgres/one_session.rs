//! Both tenants on one connection, in one transaction that is always rolled back.

use super::{
    sql::ident,
    stage::{Answer, Done, Gone, Session, Stage, Who, copy_out},
    tenancy::{Assume, Tenancy, Tenant},
};

/// Both tenants on one connection: what one side wrote the other could see, without a commit.
pub struct OneSession {
    session: Session,
    tenancy: Tenancy,
    attacker: Tenant,
    victim: Tenant,
    /// Whether the savepoint that attempts go back to is there.
    saved: bool,
}

impl OneSession {
    /// Goes on in the transaction that `session` is in.
    pub fn new(session: Session, tenancy: Tenancy, attacker: Tenant, victim: Tenant) -> Self {
        Self { session, tenancy, attacker, victim, saved: false }
    }

    /// From now on the victim attacks, and the attacker is attacked.
    pub fn turn(&mut self) {
        std::mem::swap(&mut self.attacker, &mut self.victim);
    }

    /// How tenants are told apart here.
    pub fn tenancy(&self) -> &Tenancy {
        &self.tenancy
    }

    /// The tenant that is `who`.
    pub fn tenant(&self, who: Who) -> Option<&Tenant> {
        match who {
            Who::Attacker => Some(&self.attacker),
            Who::Victim => Some(&self.victim),
            Who::Nobody => None,
        }
    }

    /// Runs a message as `who` and keeps what it did, until the transaction is rolled back.
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn keep(&mut self, who: Who, sql: &str) -> Result<Answer, Gone> {
        let enter = self.tenancy.enter(who, self.tenant(who));
        self.in_savepoint(&format!("{enter}{sql}"), true).await
    }

    /// Runs a message as the connection's own role and keeps what it did, until the transaction is
    /// rolled back.
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn keep_as_self(&mut self, sql: &str) -> Result<Answer, Gone> {
        self.in_savepoint(sql, true).await
    }

    /// Runs a message as `owner`, a role that the connection's own can become, and keeps what it
    /// did; as the connection's own where the owner may not, without triggers when that is a
    /// superuser: nobody's code should run with such rights.
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn keep_for(&mut self, owner: &str, sql: &str) -> Result<Answer, Gone> {
        let superuser = matches!(self.tenancy.assume, Assume::Session(_));
        let as_owner = format!("SET LOCAL ROLE {}; ", ident(owner));
        let as_self = if superuser { "SET LOCAL session_replication_role = replica; " } else { "" };
        let mut answer = Answer::Done(Done::default());
        for before in [&as_owner, as_self] {
            self.save().await?;
            answer = self.session.send(&format!("{before}{sql}")).await?;
            if matches!(answer, Answer::Refused(_)) {
                self.go_back(false).await?;
                continue;
            }
            let reset = if superuser { "RESET session_replication_role; " } else { "" };
            self.plainly(&format!("SET LOCAL ROLE NONE; {reset}")).await?;
            self.go_back(true).await?;
            break;
        }
        Ok(answer)
    }

    /// Runs a message as `role` with no tenant set, and undoes it.
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn attempt_as(&mut self, role: &str, sql: &str) -> Result<Answer, Gone> {
        let assume = match &self.tenancy.assume {
            Assume::Session(_) => Assume::Session(role.to_owned()),
            Assume::Role(_) | Assume::Already => Assume::Role(role.to_owned()),
        };
        let tenancy = Tenancy { assume, ..self.tenancy.clone() };
        let enter = tenancy.enter(Who::Nobody, None);
        self.in_savepoint(&format!("{enter}{sql}"), false).await
    }

    /// Whether the connection's own role is another than the application's.
    pub fn has_own_role(&self) -> bool {
        self.tenancy.assume != Assume::Already
    }

    /// The connection, to look things up as its own role.
    pub fn session(&mut self) -> &mut Session {
        // What is done by it is not undone with the next attempt.
        self.saved = false;
        &mut self.session
    }

    /// Sets a mark to come [back](Self::back_to_mark) to, so that what is kept meanwhile is undone.
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn mark(&mut self, name: &str) -> Result<(), Gone> {
        // The attempts that follow go back to here at most.
        self.saved = false;
        self.plainly(&format!("SAVEPOINT {name}")).await
    }

    /// Undoes everything since the [mark](Self::mark).
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn back_to_mark(&mut self, name: &str) -> Result<(), Gone> {
        self.saved = false;
        self.plainly(&format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")).await
    }

    /// Undoes everything.
    ///
    /// # Errors
    ///
    /// When the connection is gone, which undoes everything, too.
    pub async fn roll_back(mut self) -> Result<(), Gone> {
        self.session.send("ROLLBACK").await?;
        self.session.close().await;
        Ok(())
    }

    async fn in_savepoint(&mut self, sql: &str, keep: bool) -> Result<Answer, Gone> {
        self.save().await?;
        let answer = self.session.send(sql).await?;
        self.go_back(keep && matches!(answer, Answer::Done(_))).await?;
        Ok(answer)
    }

    /// Makes the savepoint, in a message of its own: one that cannot be parsed does nothing at all.
    async fn save(&mut self) -> Result<(), Gone> {
        if !self.saved {
            self.plainly("SAVEPOINT partywall_attempt").await?;
            self.saved = true;
        }
        Ok(())
    }

    async fn go_back(&mut self, keep: bool) -> Result<(), Gone> {
        if !keep {
            return self.plainly("ROLLBACK TO SAVEPOINT partywall_attempt").await;
        }
        // The rows stay; role and settings, which a release would keep, too, go back.
        let leave = self.tenancy.leave();
        let renew = "RELEASE SAVEPOINT partywall_attempt; SAVEPOINT partywall_attempt";
        self.plainly(&format!("{leave}{renew}")).await
    }

    /// A message that cannot fail while the transaction is ours.
    async fn plainly(&mut self, sql: &str) -> Result<(), Gone> {
        match self.session.send(sql).await? {
            Answer::Done(_) => Ok(()),
            Answer::Refused(refusal) => Err(Gone::Ended(refusal)),
        }
    }
}

impl Stage for OneSession {
    async fn attempt(&mut self, who: Who, sql: &str) -> Result<Answer, Gone> {
        let enter = self.tenancy.enter(who, self.tenant(who));
        self.in_savepoint(&format!("{enter}{sql}"), false).await
    }

    async fn copy_out(&mut self, who: Who, sql: &str) -> Result<Answer, Gone> {
        let enter = self.tenancy.enter(who, self.tenant(who));
        self.save().await?;
        let answer = match self.session.send(&enter).await? {
            Answer::Done(_) => copy_out(self.session.conn(), sql).await?,
            refused => refused,
        };
        self.go_back(false).await?;
        Ok(answer)
    }

    fn name(&self, who: Who) -> &str {
        self.tenant(who).map_or("nobody", |tenant| &tenant.id)
    }

    fn can_be(&self, who: Who) -> bool {
        // Where each tenant has a role, there is none without, but the one that changes into them.
        who != Who::Nobody || self.attacker.role.is_none() || !self.has_own_role()
    }
}
