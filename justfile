# What one types here. `just` alone lists it; every line also works without just.

_default:
    @just --list --unsorted

# Every gate, with what is on the machine
check:
    ./scripts/test --no-install

# Format, clippy and tests
test:
    ./scripts/test --no-install --fast

# One crate's tests: just t partywall-postgres
t crate *args:
    cargo test -p {{ crate }} {{ args }}

# Everything on this machine until Ctrl-C: just up --data sqlite
up *args:
    cargo run --release -- up {{ args }}

# The benchmarks, peers beside us
bench *args:
    ./scripts/bench {{ args }}

# What building and testing need
install:
    ./scripts/install

# Format in place
fmt:
    cargo fmt --all

# The reference, as a reader sees it
doc:
    cargo doc --workspace --no-deps --open
