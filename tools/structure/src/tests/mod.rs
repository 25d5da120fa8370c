//! Tests with small source trees.

mod circles;
mod exceptions;
mod files;
mod layers;
mod resolution;

use std::fs;

use tempfile::TempDir;

use crate::check::check;
use crate::config::FILE;

/// A configuration with one crate that has no layers.
const CONFIG: &str = r#"
test_cfgs = ["test"]
lines = { max = 10, max_in_tests = 15, skip = ["target"] }
unsafe = { allowed = ["src/redis"] }
[[crate]]
name = "demo"
source = ["elsewhere/src", "src"]
"#;

/// Writes a repository with this configuration and these files, each a path and a text.
fn repository(config: &str, files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files.iter().chain([&(FILE, config)]) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The findings in such a repository, as they are printed.
fn findings_with(config: &str, files: &[(&str, &str)]) -> Vec<String> {
    let findings = check(repository(config, files).path()).unwrap();
    findings.iter().map(ToString::to_string).collect()
}

/// The findings in a repository of one crate without layers.
fn findings(files: &[(&str, &str)]) -> Vec<String> {
    findings_with(CONFIG, files)
}

/// Why such a repository cannot be checked.
fn error_with(config: &str, files: &[(&str, &str)]) -> String {
    check(repository(config, files).path()).unwrap_err()
}

/// Asserts that there is one finding, that it begins with `start`, and that it contains each of `parts`.
#[track_caller]
fn assert_one(findings: &[String], start: &str, parts: &[&str]) {
    let [finding] = findings else { panic!("not one finding, but {findings:#?}") };
    assert!(finding.starts_with(start), "{finding}");
    for part in parts {
        assert!(finding.contains(part), "there is no `{part}` in `{finding}`");
    }
}
