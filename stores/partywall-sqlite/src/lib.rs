//! partywall-sqlite
