//! Fifty tables with references between them, two tenants.

use std::{fmt::Write as _, time::Instant};

use partywall_prove::{
    Exit,
    postgres::{Adversary, Options},
};

use crate::harness::{bench, open};

/// `t0` … `t49`, each referring to the one before it.
fn fifty_tables() -> String {
    let mut sql = "CREATE ROLE {db}_app LOGIN; CREATE ROLE {db}_owner; CREATE SCHEMA s AUTHORIZATION {db}_owner; GRANT USAGE ON SCHEMA s TO {db}_app; SET ROLE {db}_owner;".to_owned();
    for n in 0..50 {
        let parent = match n {
            0 => String::new(),
            n => format!(
                ", parent uuid NOT NULL, FOREIGN KEY (tenant_id, parent) REFERENCES s.t{}",
                n - 1
            ),
        };
        write!(sql, "CREATE TABLE s.t{n} (tenant_id uuid NOT NULL, id uuid DEFAULT gen_random_uuid(), name text NOT NULL, total numeric NOT NULL CHECK (total >= 0){parent}, PRIMARY KEY (tenant_id, id));
            ALTER TABLE s.t{n} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
            CREATE POLICY wall ON s.t{n} USING (tenant_id = nullif(current_setting('s.tenant', true), '')::uuid);
            GRANT SELECT, INSERT, UPDATE, DELETE ON s.t{n} TO {{db}}_app;").unwrap();
    }
    sql + "RESET ROLE;"
}

#[tokio::test]
async fn m24_fifty_tables_are_attacked_in_one_go() {
    let Some(bench) = bench() else { return };
    let database = bench.database(&fifty_tables()).await;
    let options = Options { adversary: Adversary::Parameters, ..Options::default() };
    let began = Instant::now();
    let run = database.prove(&database.as_role("{db}_app"), &options).await.unwrap();
    // What it takes is for the bench to judge: tests run beside each other, and unoptimised.
    println!("50 tables: {} trials in {:?}", run.trials.len(), began.elapsed());
    let bad: Vec<String> =
        open(&run).into_iter().filter(|line| !line.contains(": not tested")).collect();
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(run.exit(), Exit::Proven);
}
