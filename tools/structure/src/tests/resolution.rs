//! Where paths lead to, seen through the circles that they close.

use super::{error_with, findings, CONFIG};

/// The uses in the only circle of a crate, without the lines.
fn circle(files: &[(&str, &str)]) -> String {
    let found = findings(files);
    let [finding] = found.as_slice() else { panic!("{found:#?}") };
    let (_, steps) = finding.split_once("modules: ").unwrap();
    steps.split(". ").next().unwrap().replace("src/", "")
}

#[test]
fn re_exports_lead_to_the_file_that_defines_the_item() {
    let lib = ("src/lib.rs", "mod a;\nmod f;");
    let f = ("src/f/mod.rs", "mod inner;\npub use inner::{Hold as Kept, Other};");
    let inner = ("src/f/inner.rs", "pub struct Hold;\npub use crate::a::Other;");
    let a = ("src/a.rs", "use crate::f::Kept;\npub struct Other;");
    let expected = "a.rs:1 uses f/inner.rs (`crate::f::Kept`), f/inner.rs:2 uses a.rs (`crate::a::Other`)";
    assert_eq!(circle(&[lib, f, inner, a]), expected);
}

#[test]
fn a_glob_leads_to_the_file_that_defines_the_item() {
    let lib = ("src/lib.rs", "mod a;\nmod f;");
    let f = ("src/f/mod.rs", "mod inner;\npub use inner::*;");
    let inner = ("src/f/inner.rs", "use crate::a::A;\npub struct Hold;");
    let a = ("src/a.rs", "use crate::f::*;\npub struct A(Hold);");
    let expected = "a.rs:2 uses f/inner.rs (`Hold`), f/inner.rs:1 uses a.rs (`crate::a::A`)";
    assert_eq!(circle(&[lib, f, inner, a]), expected);
}

#[test]
fn an_item_that_a_macro_makes_belongs_to_the_module_on_its_path() {
    let lib = ("src/lib.rs", "mod a;\nmod b;");
    let a = ("src/a.rs", "use crate::b::Made;");
    let b = ("src/b.rs", "make! { Made }\nuse crate::a;");
    assert_eq!(circle(&[lib, a, b]), "a.rs:1 uses b.rs (`crate::b::Made`), b.rs:2 uses a.rs (`crate::a`)");
}

#[test]
fn functions_and_modules_of_one_name_are_told_apart() {
    let lib = ("src/lib.rs", "mod call;\nmod user;\nmod f;");
    // `call` of `f` is a function, and the module `call` is not used.
    let f = ("src/f.rs", "pub fn call() {}");
    let user = ("src/user.rs", "use crate::f::call;\npub fn run() { call() }");
    let call = ("src/call.rs", "use crate::user::run;");
    assert_eq!(findings(&[lib, f, user, call]), [""; 0]);
}

#[test]
fn variants_and_functions_of_a_type_lead_to_the_type() {
    let lib = ("src/lib.rs", "mod a;\nmod b;");
    let a = ("src/a.rs", "use crate::b::Kind;\nfn f() { Kind::One.call(); }\npub fn g() {}");
    let b = ("src/b.rs", "pub enum Kind { One }\nfn f() { use Kind::*; crate::a::g() }");
    assert_eq!(circle(&[lib, a, b]), "a.rs:1 uses b.rs (`crate::b::Kind`), b.rs:2 uses a.rs (`crate::a::g`)");
}

#[test]
fn a_macro_without_a_path_is_found() {
    let lib = ("src/lib.rs", "#[macro_use]\nmod b;\nmod a;");
    let a = ("src/a.rs", "run! { 1 }\npub fn f() {}");
    let b = ("src/b.rs", "macro_rules! run { () => { $crate::a::f() } }");
    assert_eq!(circle(&[lib, a, b]), "a.rs:1 uses b.rs (`run`), b.rs:1 uses a.rs (`crate::a::f`)");
}

#[test]
fn imports_of_each_other_end() {
    let lib = ("src/lib.rs", "mod a;\nmod b;");
    let a = ("src/a.rs", "pub use crate::b::X;\npub use crate::b::*;\nfn f(_: X, _: Y) {}");
    let b = ("src/b.rs", "pub use crate::a::X;\npub use crate::a::*;");
    assert!(!findings(&[lib, a, b]).is_empty());
}

#[test]
fn files_are_found_as_rust_finds_them() {
    let lib = ("src/lib.rs", "mod a;\nmod inner { mod deep; }\n#[path = \"odd/name.rs\"]\nmod b;");
    let a = ("src/a.rs", "mod child;");
    let child = ("src/a/child.rs", "");
    let deep = ("src/inner/deep/mod.rs", "");
    let b = ("src/odd/name.rs", "mod beside;");
    assert_eq!(findings(&[lib, a, child, deep, b, ("src/odd/beside.rs", "")]), [""; 0]);
}

#[test]
fn two_declarations_may_lead_to_one_file() {
    let lib = ("src/lib.rs", "#[cfg(unix)]\nmod a;\n#[cfg(not(unix))]\nmod a;\nuse a::A;");
    assert_eq!(findings(&[lib, ("src/a.rs", "pub struct A;")]), [""; 0]);
}

#[test]
fn says_why_a_crate_cannot_be_read() {
    assert_eq!(error_with(CONFIG, &[]), "demo: there is no folder elsewhere/src or src");
    assert_eq!(error_with(CONFIG, &[("src/a.rs", "")]), "src: there is neither lib.rs nor main.rs");
    assert_eq!(error_with(CONFIG, &[("src/lib.rs", "\nmod a;")]), "src/lib.rs:2: there is no file for `mod a;`");
    let error = error_with(CONFIG, &[("src/lib.rs", "\nfn f( {}")]);
    assert!(error.starts_with("src/lib.rs:2: the file cannot be parsed: "), "{error}");
}
