//! Servers whose wall clock is wrong.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::builder::ServerBuilder;
use super::module::root;
use super::server::Server;
use super::skip::skip;

/// A wall clock that can be set while servers run by it.
#[derive(Debug)]
pub struct WallClock {
    dir: TempDir,
    file: File,
}

impl WallClock {
    /// One that is right.
    #[expect(clippy::new_without_default, reason = "it makes a file")]
    pub fn new() -> WallClock {
        let dir = tempfile::Builder::new().prefix("redis-lock-clock-").tempdir().unwrap();
        let file = File::create(dir.path().join("seconds")).unwrap();
        let clock = WallClock { dir, file };
        clock.set_off_by(0);
        clock
    }

    /// Puts it so many seconds ahead of the true time, or (negative) behind.
    pub fn set_off_by(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("seconds")
    }
}

/// A machine that can be put to sleep, as a program sees it: afterwards its wall clock and `CLOCK_BOOTTIME` are ahead,
/// and `CLOCK_MONOTONIC` is not. For programs that ask the C library for the time.
#[derive(Debug)]
pub struct MachineSleep {
    clock: WallClock,
    slept: i64,
}

impl MachineSleep {
    /// A machine that has not slept.
    #[expect(clippy::new_without_default, reason = "it makes a file")]
    pub fn new() -> MachineSleep {
        MachineSleep { clock: WallClock::new(), slept: 0 }
    }

    /// Starts this program on the machine.
    pub fn host(&self, command: &mut Command) {
        command.env("LD_PRELOAD", shim()).env("REDIS_LOCK_SLEEP_FILE", self.clock.path());
    }

    /// Lets the machine sleep for so many seconds, which takes no time.
    pub fn sleep(&mut self, seconds: i64) {
        self.slept += seconds;
        self.clock.set_off_by(self.slept);
    }
}

impl ServerBuilder {
    /// The server's wall clock is this one. Its monotonic clock is right.
    pub fn clock(self, clock: &WallClock) -> ServerBuilder {
        self.env("LD_PRELOAD", shim().to_str().unwrap()).env("REDIS_LOCK_CLOCK_FILE", clock.path().to_str().unwrap())
    }

    /// The server's wall clock is off by so many seconds, ahead or (negative) behind. Its monotonic clock is right.
    pub fn clock_off_by(self, seconds: i64) -> ServerBuilder {
        self.env("LD_PRELOAD", shim().to_str().unwrap()).env("REDIS_LOCK_CLOCK_S", &seconds.to_string())
    }
}

/// Whether a module goes by that clock, too; says so if it does not. Valkey 8.1 binds what a module calls to the C library
/// before anything that is preloaded (RTLD_DEEPBIND).
pub fn clocks_can_be_wrong() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let can = *CAN.get_or_init(|| {
        let hour = Server::builder().clock_off_by(3600).start();
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        // Fences are microseconds of the server's clock, from a minute ahead on.
        hour.cmd(&["LOCK.ACQUIRE", "k", "a"]).int().unsigned_abs() / 1_000_000 > now + 1800
    });
    if !can {
        skip("this server binds modules to the C library before what is preloaded (RTLD_DEEPBIND)");
    }
    can
}

/// The library that makes it so (clock.c), built once a process. It calls nothing but the oldest parts of libc, so that it
/// fits every server.
fn shim() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = root().join("target/test-clock");
        fs::create_dir_all(&dir).unwrap();
        let (made, place) = (dir.join(format!("clock-{}.so", std::process::id())), dir.join("clock.so"));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&made)
            .arg(root().join("tests/support/clock.c"))
            .status()
            .unwrap_or_else(|error| panic!("cc: {error}"));
        assert!(built.success(), "clock.c was not compiled");
        // Others may be at it as well.
        fs::rename(made, &place).unwrap();
        place.canonicalize().unwrap()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_that_its_machine_has_slept() {
        let mut machine = MachineSleep::new();
        let now = || UNIX_EPOCH.elapsed().unwrap().as_secs();
        let seen = |machine: &MachineSleep| -> u64 {
            let mut command = Command::new("date");
            machine.host(command.arg("+%s"));
            String::from_utf8(command.output().unwrap().stdout).unwrap().trim().parse().unwrap()
        };
        assert!(seen(&machine) <= now());
        machine.sleep(7200);
        assert!(seen(&machine) > now() + 7000);
    }
}
