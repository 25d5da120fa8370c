//! PostgreSQL with a new cluster of its own, as its package sets it. It refuses root, so root starts it as the package's
//! user.

use std::fs;
use std::os::unix::fs::{chown, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{poll, Port};
use tempfile::TempDir;

use crate::process::{find, output, Process};

const READY: Duration = Duration::from_secs(30);
/// Room for every client of the largest job, and for those of the job before that are just leaving.
const CONNECTIONS: usize = 300;

pub struct Postgres {
    pub version: String,
    port: Port,
    _process: Process,
    _dir: TempDir,
}

/// Whom it runs as, if not as ourselves.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    pub fn start() -> Result<Postgres, String> {
        let text = |error: std::io::Error| error.to_string();
        let programs = programs();
        let missing = "PostgreSQL is not installed: tools/bench-setup.sh";
        let [initdb, postgres] = ["initdb", "postgres"].map(|name| find(name, &programs).ok_or(missing));
        let (initdb, postgres) = (initdb?, postgres?);
        let version = output(Command::new(&postgres).arg("--version"))?;
        let user = user()?;
        let dir = tempfile::Builder::new().prefix("redis-lock-postgres-").tempdir().map_err(text)?;
        if let Some(user) = user {
            chown(dir.path(), Some(user.uid), Some(user.gid)).map_err(text)?;
        }
        let data = dir.path().join("data");
        let mut command = of(user, &initdb, dir.path());
        output(command.args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(&data))?;
        let port = Port::reserve();
        let mut command = of(user, &postgres, dir.path());
        command.arg("-D").arg(&data).args(["-p", &port.number().to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(["-c", &format!("max_connections={CONNECTIONS}")]);
        // SIGINT: it closes its connections and ends; SIGTERM would wait for them.
        let mut process = Process::start(command, libc::SIGINT).map_err(text)?;
        let is_ready = |process: &mut Process| process.said().contains("ready to accept connections");
        let ready = poll(READY, || (process.has_ended() || is_ready(&mut process)).then_some(()));
        if ready.is_none() || process.has_ended() {
            return Err(format!("PostgreSQL did not start: {}", process.said()));
        }
        Ok(Postgres { version, port, _process: process, _dir: dir })
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port.number())
    }
}

/// Where Debian puts them: one folder a version, none of them in PATH. The newest comes first.
fn programs() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    versions.into_iter().map(|version| version.join("bin")).collect()
}

fn user() -> Result<Option<User>, String> {
    if fs::metadata("/proc/self").map_err(|error| error.to_string())?.uid() != 0 {
        return Ok(None);
    }
    let id = |option| {
        let number = output(Command::new("id").args([option, "postgres"]))?;
        number.parse::<u32>().map_err(|error| error.to_string())
    };
    Ok(Some(User { uid: id("-u")?, gid: id("-g")? }))
}

fn of(user: Option<User>, program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}
