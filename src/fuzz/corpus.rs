//! Runs every target with the inputs that the fuzzer kept, so that every test run reaches the code that the fuzzer
//! reached.

use std::fs;
use std::path::{Path, PathBuf};

use super::TARGETS;

/// The files with the kept inputs of a target.
fn kept(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    inputs.map(|input| input.unwrap().path()).collect()
}

#[test]
fn kept_inputs_of_the_fuzzer_keep_every_promise() {
    for (name, target) in TARGETS {
        let inputs = kept(name);
        assert!(inputs.len() >= 20, "{name} has only {} inputs", inputs.len());
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "failed (see above) with {}", input.display());
        }
    }
}
