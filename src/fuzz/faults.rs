//! The faults that tools/fuzz-faults.sh plants: each is still one.

use std::fs;
use std::path::Path;

use super::TARGETS;

/// A patch that no longer fits is noticed when somebody looks for the fault it plants, which takes half an hour.
#[test]
fn faults_planted_for_the_fuzzer_fit_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches: Vec<_> = fs::read_dir(root.join("fuzz/faults")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(patches.len() >= 20, "{} faults", patches.len());
    for patch in patches {
        let (name, text) = (patch.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&patch).unwrap());
        assert!(TARGETS.iter().any(|(target, _)| name.starts_with(&format!("{target}-"))), "{name}: which target?");
        let source = text.lines().find_map(|line| line.strip_prefix("--- a/")).expect("which file");
        let source = fs::read_to_string(root.join(source)).unwrap();
        let hunks: Vec<&str> = text.split("\n@@ ").skip(1).collect();
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for hunk in hunks {
            let before: String = hunk.lines().skip(1).filter_map(before).map(|line| format!("{line}\n")).collect();
            assert!(source.contains(&before), "{name} does not fit any more:\n{before}");
        }
    }
}

/// What stood in this line of a patch before; `None` for one that is new.
fn before(line: &str) -> Option<&str> {
    match line.strip_prefix('-').or_else(|| line.strip_prefix(' ')) {
        Some(line) => Some(line),
        None if line.is_empty() => Some(""),
        None => None,
    }
}
