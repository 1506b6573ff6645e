//! Who may import whom, which features of ours they may switch on, and which outside crates have
//! no business where. Direct imports suffice: what is true of every edge is true of every path.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The part of `cargo metadata` the rules are about.
#[derive(Deserialize)]
pub(super) struct House {
    pub(super) packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for what is linked; otherwise `build` or `dev`.
    kind: Option<String>,
    features: Vec<String>,
}

impl Dependency {
    fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// What a crate is for. Its folder says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Room {
    Library,
    Saml,
    Store,
    Server,
    Gateway,
    Prove,
    Cli,
    Example,
    Suite,
}

impl Room {
    fn of(folder: &Path) -> Option<Self> {
        let parts: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
        Some(match parts.as_slice() {
            ["crates", "partywall"] => Self::Library,
            ["crates", "partywall-saml"] => Self::Saml,
            ["crates", "partywall-server"] => Self::Server,
            ["crates", "partywall-gateway"] => Self::Gateway,
            ["crates", "partywall-prove"] => Self::Prove,
            ["crates", "partywall-cli"] => Self::Cli,
            ["stores", _] => Self::Store,
            ["examples", _] => Self::Example,
            ["tests" | "benches" | "fuzz", ..] => Self::Suite,
            _ => return None,
        })
    }
}

/// Every broken rule, as a sentence that names the crate, the import and the reason.
pub(super) fn broken(house: &House) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &house.packages {
        let Some(room) = house.room_of(package) else {
            broken.push(format!(
                "{} at {} is in no room of the house: give it one in ARCHITECTURE.md and in this test",
                package.name,
                house.folder_of(package).display(),
            ));
            continue;
        };
        for import in &package.dependencies {
            if let Some(why) = house.why_not(package, room, import) {
                let how = if import.is_dev() { " in its tests" } else { "" };
                broken.push(format!("{} imports {}{how}: {why}", package.name, import.name));
            }
        }
    }
    broken
}

impl House {
    pub(super) fn folder_of<'a>(&self, package: &'a Package) -> &'a Path {
        let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
        folder.strip_prefix(&self.workspace_root).unwrap_or(folder)
    }

    fn room_of(&self, package: &Package) -> Option<Room> {
        Room::of(self.folder_of(package))
    }

    fn why_not(&self, from: &Package, room: Room, import: &Dependency) -> Option<&'static str> {
        let Some(ours) = self.packages.iter().find(|package| package.name == import.name) else {
            return why_not_outsider(from, room, import);
        };
        if ours.name == from.name {
            return None; // its own tests, with more features on
        }
        // A room we do not know has a complaint of its own.
        let of_ours = self.room_of(ours)?;
        why_not_ours(room, of_ours, &ours.name).or_else(|| why_not_features(room, of_ours, import))
    }
}

fn why_not_ours(from: Room, to: Room, name: &str) -> Option<&'static str> {
    Some(match (from, to) {
        (_, Room::Suite) => "nothing may need the suites in order to be built",
        (Room::Suite, _) => return None,
        (_, Room::Cli) => "the binary is where everything ends; nothing starts from it",

        (Room::Library, _) => "every application links partywall, so it imports nothing of ours",
        (Room::Saml, _) => {
            "the SAML verifier is fuzzed and reviewed alone, so it imports nothing of ours"
        }

        (_, Room::Library) => return None,

        (Room::Store, Room::Store) => {
            "a store knows no other store; what two share belongs in partywall"
        }
        (Room::Store, _) => "a store implements partywall's traits and knows nothing else of ours",

        (Room::Gateway, Room::Server) => {
            "the gateway must be unable to hold signing keys, and the server brings them; \
             ask the control plane over HTTP"
        }
        (Room::Gateway, _) => {
            "the gateway stands in front of any language and knows partywall only"
        }

        (Room::Server, Room::Saml) => return None,
        (Room::Server, Room::Store)
            if matches!(name, "partywall-postgres" | "partywall-sqlite") =>
        {
            return None;
        }
        (Room::Server, _) => {
            "the control plane keeps its state in PostgreSQL or SQLite and knows no other part"
        }

        (Room::Prove, Room::Store) => return None,
        (Room::Prove, _) => {
            "the attacks are written apart from the walls and see only what a tenant sees"
        }

        (Room::Example, Room::Store) => return None,
        (Room::Example, _) => {
            "an application depends on partywall and the stores it uses, and so does ours"
        }

        (Room::Cli, _) => return None,
    })
}

/// `testing` makes contexts without a token, and `sign` makes signatures.
fn why_not_features(from: Room, to: Room, import: &Dependency) -> Option<&'static str> {
    if to != Room::Library || import.is_dev() || from == Room::Suite {
        return None;
    }
    let has = |feature| import.features.iter().any(|on| on == feature);
    if has("testing") && from != Room::Prove {
        return Some(
            "with feature `testing` linked, a tenant context needs no token; \
             it is for dev-dependencies",
        );
    }
    if has("sign") && matches!(from, Room::Gateway | Room::Store) {
        return Some("with feature `sign` it could make tokens; it only has to check them");
    }
    None
}

/// What the crates of others may not be linked into. Tests may use what they like.
fn why_not_outsider(from: &Package, room: Room, import: &Dependency) -> Option<&'static str> {
    if import.is_dev() || room == Room::Suite {
        return None;
    }
    let name = import.name.as_str();
    let is = |crates: &[&str]| crates.contains(&name);
    let drivers = is(&[
        "sqlx",
        "sea-orm",
        "rusqlite",
        "tokio-postgres",
        "mongodb",
        "redis",
        "fred",
        "diesel",
    ]);
    if name.starts_with("aws-sdk-") && from.name != "partywall-aws" {
        return Some("AWS is spoken to in partywall-aws only, whose build takes minutes");
    }
    if name == "mongodb" && from.name != "partywall-mongodb" {
        return Some("MongoDB is spoken to in partywall-mongodb only");
    }
    if drivers && matches!(room, Room::Library | Room::Saml | Room::Gateway) {
        return Some("drivers belong in the crates under stores/");
    }
    if room == Room::Saml && is(&["tokio", "reqwest", "hyper", "axum", "time", "chrono"]) {
        return Some("the SAML verifier has no network and no clock");
    }
    if name == "jsonwebtoken" {
        return Some(
            "used the ordinary way it ignores `crit`, `typ` and `nbf`; \
             it is a peer to measure and an oracle in tests, never the verifier",
        );
    }
    if name == "miette" && room != Room::Cli {
        return Some("errors are values; only the command line dresses them up");
    }
    None
}

mod tests {
    use super::*;

    /// A house of the given crates, each with its imports: `name`, `dev:name` or `name+feature`.
    fn house(crates: &[(&str, &[&str])]) -> House {
        let package = |(folder, imports): &(&str, &[&str])| Package {
            name: folder.rsplit('/').next().unwrap().to_owned(),
            manifest_path: Path::new("/house").join(folder).join("Cargo.toml"),
            dependencies: imports.iter().map(|import| dependency(import)).collect(),
        };
        House { packages: crates.iter().map(package).collect(), workspace_root: "/house".into() }
    }

    fn dependency(written: &str) -> Dependency {
        let (kind, rest) = match written.strip_prefix("dev:") {
            Some(rest) => (Some("dev".to_owned()), rest),
            None => (None, written),
        };
        let mut parts = rest.split('+').map(str::to_owned);
        Dependency { name: parts.next().unwrap(), kind, features: parts.collect() }
    }

    /// The rooms of DESIGN, each with everything it may import.
    const GOOD: &[(&str, &[&str])] = &[
        ("crates/partywall", &["dev:partywall+testing", "aws-lc-rs", "dev:sqlx"]),
        ("crates/partywall-saml", &["roxmltree"]),
        ("stores/partywall-postgres", &["partywall", "dev:partywall+testing", "sqlx"]),
        ("stores/partywall-sqlite", &["partywall", "rusqlite"]),
        ("stores/partywall-aws", &["partywall", "aws-sdk-s3"]),
        (
            "crates/partywall-server",
            &[
                "partywall+sign",
                "partywall-saml",
                "partywall-postgres",
                "partywall-sqlite",
                "dev:jsonwebtoken",
            ],
        ),
        ("crates/partywall-gateway", &["partywall", "hyper"]),
        ("crates/partywall-prove", &["partywall+testing", "partywall-postgres", "partywall-aws"]),
        (
            "crates/partywall-cli",
            &[
                "partywall+sign",
                "partywall-server",
                "partywall-gateway",
                "partywall-prove",
                "partywall-sqlite",
                "invoices",
                "miette",
            ],
        ),
        ("examples/invoices", &["partywall", "partywall-postgres", "sqlx"]),
        ("tests", &["dev:partywall-server", "dev:partywall-gateway"]),
        ("benches", &["dev:partywall+testing", "dev:jsonwebtoken"]),
    ];

    #[test]
    fn a_good_house_breaks_no_rule() {
        assert_eq!(broken(&house(GOOD)), Vec::<String>::new());
    }

    /// One more import in a good house, and what is said about it.
    #[track_caller]
    fn adding(import: &'static str, into: &'static str) -> Vec<String> {
        let mut crates: Vec<(&str, &[&str])> = GOOD.to_vec();
        let one_more = [import];
        crates.push((into, &one_more));
        broken(&house(&crates))
    }

    #[test]
    fn each_forbidden_import_is_named_with_its_reason() {
        for (import, into, because) in [
            ("partywall-server", "crates/partywall-gateway", "signing keys"),
            ("dev:partywall-server", "crates/partywall-gateway", "signing keys"),
            ("partywall-sqlite", "stores/partywall-postgres", "no other store"),
            ("partywall-server", "stores/partywall-postgres", "partywall's traits"),
            ("partywall-saml", "crates/partywall", "imports nothing of ours"),
            ("dev:partywall-sqlite", "crates/partywall", "imports nothing of ours"),
            ("partywall", "crates/partywall-saml", "imports nothing of ours"),
            ("partywall-aws", "crates/partywall-server", "PostgreSQL or SQLite"),
            ("partywall-gateway", "crates/partywall-server", "PostgreSQL or SQLite"),
            ("partywall-server", "crates/partywall-prove", "apart from the walls"),
            ("partywall-server", "examples/invoices", "the stores it uses"),
            ("partywall-cli", "crates/partywall-server", "nothing starts from it"),
            ("tests", "crates/partywall-cli", "the suites"),
            ("partywall+testing", "crates/partywall-server", "needs no token"),
            ("partywall+testing", "examples/invoices", "needs no token"),
            ("partywall+sign", "crates/partywall-gateway", "make tokens"),
            ("partywall+sign", "stores/partywall-sqlite", "make tokens"),
            ("sqlx", "crates/partywall", "under stores/"),
            ("rusqlite", "crates/partywall-gateway", "under stores/"),
            ("aws-sdk-sts", "crates/partywall-server", "partywall-aws only"),
            ("mongodb", "crates/partywall-server", "partywall-mongodb only"),
            ("tokio", "crates/partywall-saml", "no network"),
            ("jsonwebtoken", "crates/partywall", "never the verifier"),
            ("miette", "crates/partywall-server", "only the command line"),
        ] {
            let broken = adding(import, into);
            let [said] = broken.as_slice() else {
                panic!("{import} into {into}: {broken:?}");
            };
            let name = into.rsplit('/').next().unwrap();
            assert!(said.starts_with(name) && said.contains(because), "{said}");
        }
    }

    #[test]
    fn a_crate_without_a_room_is_refused() {
        let broken = broken(&house(&[("crates/partywall-helper", &["partywall-server"])]));
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken.iter().all(|said| said.contains("in no room of the house")), "{broken:?}");
    }
}
