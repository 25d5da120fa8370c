//! The faults in `fuzz/faults`, which tools/fuzz-faults.sh puts into the sources to see whether the fuzzer finds them.
//! They are patches, which must keep fitting.

use std::fs;
use std::path::Path;

use super::TARGETS;

/// Without this test, a patch that no longer applies would be noticed only by a run of tools/fuzz-faults.sh, which
/// takes half an hour.
#[test]
fn every_fault_of_the_fuzzer_still_applies_to_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches: Vec<_> = fs::read_dir(root.join("fuzz/faults")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(patches.len() >= 20, "only {} faults", patches.len());
    for patch in patches {
        let (name, text) = (patch.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&patch).unwrap());
        assert!(
            TARGETS.iter().any(|(target, _)| name.starts_with(&format!("{target}-"))),
            "{name}: the name does not begin with a target"
        );
        let source = text.lines().find_map(|line| line.strip_prefix("--- a/")).expect("a patch names its file");
        let source = fs::read_to_string(root.join(source)).unwrap();
        let hunks: Vec<&str> = text.split("\n@@ ").skip(1).collect();
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for hunk in hunks {
            let before: String = hunk.lines().skip(1).filter_map(before).map(|line| format!("{line}\n")).collect();
            assert!(source.contains(&before), "{name} does not apply any more:\n{before}");
        }
    }
}

/// The text of this line of a patch before the change; `None` if the patch adds the line.
fn before(line: &str) -> Option<&str> {
    match line.strip_prefix('-').or_else(|| line.strip_prefix(' ')) {
        Some(line) => Some(line),
        None if line.is_empty() => Some(""),
        None => None,
    }
}
