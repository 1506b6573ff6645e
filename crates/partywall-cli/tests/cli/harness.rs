//! Running the binary in a folder of its own.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use partywall::token::{Algorithm, SigningKey};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder in which the binary runs.
pub(crate) struct Folder(TempDir);

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Writes a file that is its owner's alone.
    pub(crate) fn write_secret(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.write(name, contents);
        self.set_mode(name, 0o600);
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_partywall"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env_remove("PARTYWALL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).spawn().unwrap(), Vec::new())
    }

    pub(crate) fn run_with(&self, args: &[&str], stdin: impl Into<Vec<u8>>) -> Ran {
        let child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        Ran::of(child, stdin.into())
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        self.0.path()
    }
}

impl Ran {
    pub(crate) fn of(mut child: Child, input: Vec<u8>) -> Self {
        let stdin = child.stdin.take();
        let feeding = thread::spawn(move || {
            if let Some(mut stdin) = stdin {
                // Who ends early is judged by its exit code.
                let _ = stdin.write_all(&input);
            }
        });
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Each line of the output, as JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) const ISSUER: &str = "https://login.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";
/// When every test's tokens were issued: 2026-01-01T00:00:00Z.
pub(crate) const ISSUED: u64 = 1_767_225_600;
/// When they expire.
pub(crate) const EXPIRES: u64 = ISSUED + 600;

/// An issuer with a key made for this test.
pub(crate) struct Issuer(SigningKey);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(SigningKey::generate(Algorithm::Es256).unwrap())
    }

    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.0.public_jwk()] }).to_string()
    }

    pub(crate) fn token(&self) -> String {
        self.sign(&claims())
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.0.sign_jws("at+jwt", claims).unwrap()
    }

    pub(crate) fn sign_as(&self, typ: &str, claims: &Value) -> String {
        self.0.sign_jws(typ, claims).unwrap()
    }

    /// The good token with one claim changed; `null` takes it away.
    pub(crate) fn token_with(&self, claim: &str, value: Value) -> String {
        let mut claims = claims();
        let object = claims.as_object_mut().unwrap();
        match value {
            Value::Null => drop(object.remove(claim)),
            value => drop(object.insert(claim.to_owned(), value)),
        }
        self.sign(&claims)
    }
}

/// The claims of a good token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "m:robot", "aud": AUDIENCE, "client_id": "m:robot",
        "iat": ISSUED, "exp": EXPIRES, "jti": "one", "tid": "acme-7f3k", "roles": ["clerk"],
    })
}
