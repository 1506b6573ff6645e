//! Users, processes and files, as the starter needs them.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

use super::LocalError;

/// The user the server runs as when we are root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unprivileged {
    uid: u32,
    gid: u32,
}

impl Unprivileged {
    pub(super) fn find() -> Result<Option<Self>, LocalError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = Path::new("/etc/passwd");
        let users = fs::read_to_string(passwd).map_err(|e| LocalError::io(passwd, e))?;
        let find = |wanted: &str| {
            users.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                (name == wanted && uid != 0).then_some(Self { uid, gid })
            })
        };
        find("postgres").or_else(|| find("nobody")).map(Some).ok_or(LocalError::NoUser)
    }
}

/// The processes whose working directory this is: a server's are in its data directory.
pub(super) fn working_in(data: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|dir| dir == data))
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

pub(super) fn signal_process(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The process may have ended meanwhile, which is what is wanted.
        let _already_gone = kill_process(pid, signal);
    }
}

pub(super) fn run_as(command: &mut Command, user: Option<Unprivileged>) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command.current_dir("/");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
}

pub(super) fn own_directory(dir: &Path, user: Option<Unprivileged>) -> Result<(), LocalError> {
    fs::create_dir_all(dir).map_err(|e| LocalError::io(dir, e))?;
    set_mode(dir, 0o700)?;
    give_to(dir, user)
}

pub(super) fn give_to(path: &Path, user: Option<Unprivileged>) -> Result<(), LocalError> {
    let Some(user) = user else { return Ok(()) };
    let owner = fs::metadata(path).map_err(|e| LocalError::io(path, e))?.uid();
    if owner == user.uid {
        return Ok(());
    }
    chown(path, Some(user.uid), Some(user.gid)).map_err(|e| LocalError::io(path, e))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), LocalError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| LocalError::io(path, e))
}

pub(super) fn write_private(file: &Path, text: &str) -> Result<(), LocalError> {
    let _not_there = fs::remove_file(file);
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    opened
        .and_then(|mut f| io::Write::write_all(&mut f, text.as_bytes()))
        .map_err(|e| LocalError::io(file, e))
}

pub(super) fn random_hex() -> Result<Zeroizing<String>, LocalError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice())
        .map_err(|_| LocalError::io(Path::new("random"), io::Error::other("no randomness")))?;
    Ok(Zeroizing::new(bytes.iter().map(|b| format!("{b:02x}")).collect()))
}

pub(super) fn free_port() -> Result<u16, LocalError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| LocalError::io(Path::new("127.0.0.1"), e))
}
