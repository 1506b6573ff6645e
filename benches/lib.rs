//! Benchmarks live beside this file; run `cargo bench -p partywall-benches`.
