//! Circles between files.

use super::{assert_one, findings};

const LIB: (&str, &str) = ("src/lib.rs", "mod a;\nmod b;\nmod c;\n");
const NOTHING: (&str, &str) = ("src/c.rs", "");

/// The findings if `a` uses `b`, and `b` contains this.
fn with_b(text: &str) -> Vec<String> {
    findings(&[LIB, ("src/a.rs", "use crate::b::B;\npub struct A;\n"), ("src/b.rs", text), NOTHING])
}

#[test]
fn finds_two_files_that_use_each_other() {
    let found = with_b("pub struct B;\n\nuse super::a::A;\n");
    assert_one(
        &found,
        "src/a.rs:1: circle of modules: src/a.rs:1 uses src/b.rs (`crate::b::B`)",
        &["src/b.rs:3 uses src/a.rs (`super::a::A`).", "Move what they share"],
    );
    assert!(!found[0].contains("In all"), "{found:?}");
}

#[test]
fn every_kind_of_path_counts() {
    for text in [
        "use crate::a;",
        "use crate::{c, a::{self, A}};",
        "use super::a::{A as Other};",
        "use super::a::*;",
        "use crate::a::A as _;",
        "pub use crate::a::A;",
        "fn f() { super::a::f() }",
        "fn f() { use crate::a::A; }",
        "fn f(_: &[crate::a::A]) {}",
        "fn f() -> Option<crate::a::A> { None }",
        "fn f<T: crate::a::A>() {}",
        "impl crate::a::A for B {}",
        "impl B { fn f() { let _ = <B as crate::a::A>::f; } }",
        "fn f() { let _ = <crate::a::A>::new(); }",
        "fn f() { let _ = crate::a::A { x: 1 }; }",
        "fn f(b: B) { match b { crate::a::A => {} } }",
        "fn f() { assert_eq!(crate::a::f(), 1); }",
        "fn f() { println!(\"{}\", g(|| vec![super::a::f()])); }",
        "fn f() { assert!(crate::a::MAX != 1); }",
        "fn f() { matches!(b, Some(..crate::a::MAX)); }",
        "fn f() { check! { x: Vec<crate::a::A> } }",
        "fn f() { crate::a::run!(1) }",
        "macro_rules! m { () => { $crate::a::f() } }",
        "thread_local! { static X: crate::a::A = 1; }",
        "mod inner { fn f() { super::super::a::f() } }",
        "mod inner { use crate::a::A; }",
        "#[cfg(feature = \"x\")]\nuse crate::a::A;",
        "#[cfg(not(test))]\nuse crate::a::A;",
        "#[cfg(any(test, unix))]\nuse crate::a::A;",
    ] {
        assert_eq!(with_b(text).len(), 1, "{text}");
    }
}

#[test]
fn what_is_no_use_does_not_count() {
    for text in [
        "",
        "/// [`crate::a::A`]\npub struct B;",
        "use std::a::A;",
        "use ::a::A;",
        "fn f() { ::a::f() }",
        "fn a() {} fn f() { a(); self::a() }",
        "struct S { a: u8 } fn f(s: S) -> u8 { s.a }",
        "fn f(a: &str) { a.len(); println!(\"{a} crate::a::A {}\", a) }",
        "pub(super) struct B;",
        "pub(in crate::b) struct B;",
        "#[cfg(test)]\nuse crate::a::A;",
        "#[cfg(all(test, unix))]\nuse crate::a::A;",
        "#[cfg(test)]\nfn f() { crate::a::f() }",
        "impl B { #[cfg(test)] fn f() { crate::a::f() } }",
        "struct S { #[cfg(test)] a: crate::a::A }",
        "fn f() { #[cfg(test)] crate::a::f(); }",
        "fn f() { #[cfg(test)] { crate::a::f() } #[cfg(test)] let a = crate::a::f(); #[cfg(test)] crate::a::m!(); }",
        "#[cfg(test)]\nmod inner { use crate::a::A; }",
        "mod tests { use crate::a::A; }",
        "#![cfg(test)]\nuse crate::a::A;",
    ] {
        assert_eq!(with_b(text), [""; 0], "{text}");
    }
}

#[test]
fn finds_a_long_circle_once() {
    let a = ("src/a.rs", "use crate::b::B;");
    let b = ("src/b.rs", "\nuse crate::c::C;");
    let c = ("src/c.rs", "use crate::a::A;");
    let found = findings(&[LIB, a, b, c]);
    assert_one(&found, "src/a.rs:1: circle", &["src/a.rs:1 uses", "src/b.rs:2 uses", "src/c.rs:1 uses src/a.rs"]);
}

#[test]
fn finds_each_circle_of_a_tangle() {
    let a = ("src/a.rs", "use crate::{b::B, c::C};");
    let b = ("src/b.rs", "use crate::a::A;");
    let c = ("src/c.rs", "use crate::a::A;");
    let found = findings(&[LIB, a, b, c]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|finding| finding.contains("In all, 3 files reach each other in circles.")), "{found:#?}");
}

#[test]
fn a_module_inside_a_file_is_part_of_it() {
    assert_eq!(findings(&[("src/lib.rs", "mod x { use super::y::Y; }\nmod y { use super::x::X; }\n")]), [""; 0]);
}

#[test]
fn the_root_takes_part() {
    let root = "mod a;\nuse a::A;\npub struct Root;\n";
    assert_one(
        &findings(&[("src/lib.rs", root), ("src/a.rs", "use crate::Root;")]),
        "src/a.rs:1: circle",
        &["src/lib.rs:2 uses"],
    );
}

#[test]
fn a_file_that_re_exports_an_item_is_used_with_it() {
    let a = ("src/a.rs", "use crate::b::C;");
    let b = ("src/b.rs", "pub use crate::c::C;\nuse crate::a::A;");
    assert_one(
        &findings(&[LIB, a, b, ("src/c.rs", "pub struct C;")]),
        "src/a.rs:1: circle",
        &["src/b.rs:2 uses src/a.rs"],
    );
}

/// The findings in a folder with this `mod.rs` and this child.
fn folder(parent: &str, child: &str) -> Vec<String> {
    findings(&[("src/lib.rs", "mod f;"), ("src/f/mod.rs", parent), ("src/f/child.rs", child), ("src/f/other.rs", "")])
}

#[test]
fn a_child_may_use_what_its_parent_shows_of_others() {
    let parent = "mod child;\nmod other;\npub use child::Child;\npub use other::Other;\n";
    assert_eq!(folder(parent, "use super::Other;\npub struct Child;\n"), [""; 0]);
    let with_code = "mod child;\nmod other;\npub use other::Other;\nuse child::Child;\npub struct P(Child);\n";
    assert_eq!(folder(with_code, "use super::Other;\npub struct Child(Other);\n"), [""; 0]);
}

#[test]
fn a_child_may_use_what_its_parent_defines_or_the_other_way_round() {
    assert_eq!(folder("mod child;\nmod other;\npub use child::*;\npub struct P;\n", "use super::P;"), [""; 0]);
    assert_eq!(folder("mod child;\nmod other;\nuse child::Child;\npub struct P;\n", "pub struct Child;"), [""; 0]);
}

#[test]
fn a_child_and_its_parent_must_not_use_each_other() {
    let child = "use super::P;\npub struct Child;\n";
    let private = "mod child;\nmod other;\nuse child::Child;\npub struct P;\n";
    assert_one(&folder(private, child), "src/f/child.rs:1: circle", &["src/f/mod.rs:3 uses src/f/child.rs"]);
    let named = "mod child;\nmod other;\npub use child::Child;\npub struct P(Child);\n";
    assert_one(&folder(named, child), "src/f/child.rs:1: circle", &["src/f/mod.rs:4 uses src/f/child.rs (`Child`)"]);
    let in_macro = "mod child;\nmod other;\npub use child::Child;\nfn p() { f!(x: Child) }\n";
    assert_one(&folder(in_macro, child), "src/f/child.rs:1: circle", &["src/f/mod.rs:4 uses src/f/child.rs (`Child`)"]);
    let glob = "mod child;\nmod other;\npub use child::*;\nfn p(_: Child) {}\n";
    assert_one(&folder(glob, child), "src/f/child.rs:1: circle", &["src/f/mod.rs:4 uses src/f/child.rs (`Child`)"]);
}

#[test]
fn a_variable_is_not_taken_for_a_function_of_its_name() {
    let parent = "mod child;\nmod other;\npub use child::slot;\npub fn p(slot: u8) -> u8 { slot + 1 }\n";
    assert_eq!(folder(parent, "use super::p;\npub fn slot() {}\n"), [""; 0]);
}
