//! Where the module under test lies. `cargo test` does not build a cdylib, so whoever asks first builds it: without
//! that, tests would run against a stale one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The module as released: `REDIS_LOCK_MODULE`, or `target/release/libredis_lock.so`, built once a process.
pub fn module_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find("REDIS_LOCK_MODULE", "target", &[]))
}

/// The module with failpoints: `REDIS_LOCK_FAILPOINT_MODULE`, or built into a target directory of its own, so that
/// the two never overwrite each other.
pub fn faulty_module_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find("REDIS_LOCK_FAILPOINT_MODULE", "target/failpoints", &["--features", "failpoints"]))
}

/// Another module, which calls LOCK.* commands (tests/calling_module).
pub fn caller_module_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        build("target", &["--package", "redis-lock-calling-module"]).join("libredis_lock_calling_module.so")
    })
}

/// The least that a module can do (benches/floor).
pub fn floor_module_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("target", &["--package", "redis-lock-bench-floor"]).join("libredis_lock_bench_floor.so"))
}

fn find(variable: &str, target_dir: &str, options: &[&str]) -> PathBuf {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => build(target_dir, options).join("libredis_lock.so"),
    };
    path.canonicalize().unwrap_or_else(|error| panic!("no module at {}: {error}", path.display()))
}

/// The project's directory.
pub fn root() -> &'static Path {
    // This package lies in tests/support.
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds a module; the folder it is in then. Cargo's own lock on the target directory makes parallel test processes take turns.
fn build(target_dir: &str, options: &[&str]) -> PathBuf {
    let home = root();
    let target = home.join(target_dir);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--lib", "--manifest-path"])
        .arg(home.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .args(options)
        // A test that was not started by cargo would let packages choose a toolchain of their own.
        .envs(option_env!("RUSTUP_TOOLCHAIN").map(|toolchain| ("RUSTUP_TOOLCHAIN", toolchain)))
        .output()
        .unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(output.status.success(), "cargo build of the module failed:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join("release")
}
