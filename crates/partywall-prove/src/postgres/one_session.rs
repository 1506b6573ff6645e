//! Both tenants on one connection, in one transaction that is always rolled back.

use super::{
    stage::{Answer, Gone, Session, Stage, Who, copy_out},
    tenancy::{Assume, Tenancy, Tenant},
};

/// Both tenants on one connection: what one side wrote the other could see, without a commit.
pub struct OneSession {
    session: Session,
    tenancy: Tenancy,
    attacker: Tenant,
    victim: Tenant,
}

impl OneSession {
    /// Goes on in the transaction that `session` is in.
    pub fn new(session: Session, tenancy: Tenancy, attacker: Tenant, victim: Tenant) -> Self {
        Self { session, tenancy, attacker, victim }
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

    /// Whether the connection's own role is another than the application's.
    pub fn has_own_role(&self) -> bool {
        self.tenancy.assume != Assume::Already
    }

    /// The connection, to look things up as its own role.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Sets a mark to come [back](Self::back_to_mark) to, so that what is kept meanwhile is undone.
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn mark(&mut self, name: &str) -> Result<(), Gone> {
        self.plainly(&format!("SAVEPOINT {name}")).await
    }

    /// Undoes everything since the [mark](Self::mark).
    ///
    /// # Errors
    ///
    /// As [`Stage::attempt`].
    pub async fn back_to_mark(&mut self, name: &str) -> Result<(), Gone> {
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
        let answer = self.session.send(&format!("SAVEPOINT partywall_attempt; {sql}")).await?;
        self.leave_savepoint(keep && matches!(answer, Answer::Done(_))).await?;
        Ok(answer)
    }

    async fn leave_savepoint(&mut self, keep: bool) -> Result<(), Gone> {
        let leave = if keep {
            // The rows stay; role and settings, which a release would keep, too, go back.
            &format!("{}RELEASE SAVEPOINT partywall_attempt", self.tenancy.leave())
        } else {
            "ROLLBACK TO SAVEPOINT partywall_attempt; RELEASE SAVEPOINT partywall_attempt"
        };
        self.plainly(leave).await
    }

    /// A statement that cannot fail while the transaction is ours.
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
        self.session.send(&format!("SAVEPOINT partywall_attempt; {enter}")).await?;
        let answer = copy_out(self.session.conn(), sql).await?;
        self.leave_savepoint(false).await?;
        Ok(answer)
    }

    fn name(&self, who: Who) -> &str {
        self.tenant(who).map_or("nobody", |tenant| &tenant.id)
    }

    fn can_be(&self, _who: Who) -> bool {
        true
    }
}
