//! The suite of partywall-prove, over a real PostgreSQL.
