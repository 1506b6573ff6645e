//! partywall-server
