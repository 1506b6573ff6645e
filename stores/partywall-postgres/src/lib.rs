//! partywall-postgres
