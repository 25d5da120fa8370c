//! Servers whose wall clock is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::builder::ServerBuilder;
use super::module::root;

impl ServerBuilder {
    /// The server's wall clock is off by so many seconds, ahead or (negative) behind. Its monotonic clock is right.
    pub fn clock_off_by(self, seconds: i64) -> ServerBuilder {
        self.env("LD_PRELOAD", shim().to_str().unwrap()).env("REDIS_LOCK_CLOCK_S", &seconds.to_string())
    }
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
