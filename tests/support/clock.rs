//! Servers whose wall clock is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use super::builder::ServerBuilder;
use super::module::root;
use super::server::Server;
use super::skip::skip;

impl ServerBuilder {
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
