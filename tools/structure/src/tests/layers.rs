//! Layers.

use super::{assert_one, findings_with, CONFIG};

/// The findings in a crate with these files and the layers `low`, `high` and `high/top`.
fn layered(files: &[(&str, &str)]) -> Vec<String> {
    let config = format!("{CONFIG}layers = [\n  \"low\",\n  \"high\",\n  \"high/top\",\n]\n");
    let mut all = vec![
        ("src/lib.rs", "mod low;\nmod high;\npub struct Root;\n"),
        ("src/low.rs", "pub struct Low;\n"),
        ("src/high/mod.rs", "pub mod side;\nmod top;\npub use top::Top;\n"),
        ("src/high/side.rs", "use crate::low::Low;\npub struct Side;\n"),
        ("src/high/top.rs", "use crate::low::Low;\nuse super::side::Side;\npub struct Top;\n"),
    ];
    all.retain(|(old, _)| files.iter().all(|(new, _)| new != old));
    all.extend(files);
    findings_with(&config, &all)
}

#[test]
fn a_module_may_use_lower_layers() {
    assert_eq!(layered(&[]), [""; 0]);
}

#[test]
fn a_module_must_not_use_a_higher_layer() {
    let found = layered(&[("src/low.rs", "pub struct Low;\nfn f() { crate::high::h() }\n")]);
    assert_one(
        &found,
        "src/low.rs:2: `crate::high::h` uses src/high/mod.rs: the layer `low` stands below `high`.",
        &["Move what is used down"],
    );
}

#[test]
fn a_use_through_a_re_export_is_found_once() {
    let found =
        layered(&[("src/low.rs", "pub struct Low;\nuse crate::high::Top;\n"), ("src/high/top.rs", "pub struct Top;")]);
    assert_one(
        &found,
        "src/low.rs:2: `crate::high::Top` uses src/high/mod.rs: the layer `low` stands below `high`.",
        &[],
    );
}

#[test]
fn a_folder_in_a_layer_of_its_own_is_higher_than_the_folder_around_it() {
    let found = layered(&[("src/high/side.rs", "use super::Top;\n")]);
    assert_eq!(found.len(), 2, "it is a circle too: {found:#?}");
    let found = layered(&[("src/high/top.rs", "pub struct Top;\n"), ("src/high/side.rs", "use super::Top;\n")]);
    assert_one(
        &found,
        "src/high/side.rs:1: `super::Top` uses src/high/top.rs: the layer `high` stands below `high/top`",
        &[],
    );
}

#[test]
fn the_root_stands_above_all_layers() {
    let found = layered(&[("src/high/top.rs", "use crate::Root;\npub struct Top;\n")]);
    assert_one(&found, "src/high/top.rs:1: `crate::Root` uses src/lib.rs", &["stands below `the crate's root`"]);
    assert_eq!(layered(&[("src/lib.rs", "mod low;\nmod high;\nuse high::Top;\n")]), [""; 0]);
}

#[test]
fn tests_may_use_every_layer() {
    let low = "pub struct Low;\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(layered(&[("src/low.rs", low), ("src/low/tests.rs", "use crate::high::Top;\n")]), [""; 0]);
    let low = "pub struct Low;\n#[cfg(test)]\nuse crate::high::Top;\n";
    assert_eq!(layered(&[("src/low.rs", low)]), [""; 0]);
}

#[test]
fn every_module_belongs_to_a_layer() {
    let lib = "mod low;\nmod lower;\nmod high;\n#[cfg(test)]\nmod fuzz;\nmod inside { }\n";
    let found = layered(&[("src/lib.rs", lib), ("src/lower.rs", ""), ("src/fuzz.rs", "")]);
    assert_one(&found, "src/lower.rs:1: the module `lower` belongs to no layer.", &["`layers` in tools/structure"]);
}

#[test]
fn every_layer_has_a_module() {
    let found = layered(&[("src/high/mod.rs", "pub mod side;\n"), ("src/high/top.rs", "")]);
    let lost = found.iter().filter(|finding| finding.starts_with("src/high/top.rs:1: no `mod`")).count();
    let start = "tools/structure/structure.toml:11: the layer `high/top` has no module.";
    let empty = found.iter().filter(|finding| finding.starts_with(start)).count();
    assert_eq!((found.len(), lost, empty), (2, 1, 1), "{found:#?}");
}
