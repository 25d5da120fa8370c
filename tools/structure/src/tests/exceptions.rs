//! Exceptions.

use super::{assert_one, error_with, findings_with, CONFIG};

const LIB: (&str, &str) = ("src/lib.rs", "mod a;\nmod b;\nmod c;\n");
const UNSAFE: (&str, &str) = ("src/a.rs", "unsafe fn f() {}\n\nunsafe fn g() {}\n");
const EMPTY_B: (&str, &str) = ("src/b.rs", "");
const EMPTY_C: (&str, &str) = ("src/c.rs", "");

/// An exception, as it stands in the configuration.
fn exception(file: &str, rule: &str, reason: &str) -> String {
    format!("[[exception]]\nrule = \"{rule}\"\nfile = \"{file}\"\nreason = \"{reason}\"\n")
}

fn with(exceptions: &[String], files: &[(&str, &str)]) -> Vec<String> {
    findings_with(&[CONFIG, &exceptions.concat()].concat(), files)
}

#[test]
fn an_exception_lets_its_file_break_its_rule() {
    let files = [LIB, UNSAFE, EMPTY_B, EMPTY_C];
    assert_eq!(with(&[exception("src/a.rs", "unsafe", "A test.")], &files), [""; 0]);
    assert_eq!(with(&[], &files).len(), 2);
    let long = "// a line\n".repeat(11);
    let files = [LIB, ("src/a.rs", &long), EMPTY_B, EMPTY_C];
    assert_eq!(with(&[exception("src/a.rs", "lines", "A table.")], &files), [""; 0]);
    let files = [LIB, ("src/a.rs", ""), EMPTY_B, EMPTY_C, ("src/d.rs", "")];
    assert_eq!(with(&[exception("src/d.rs", "unreached", "Included by a macro.")], &files), [""; 0]);
}

#[test]
fn an_exception_is_for_one_file_and_one_rule() {
    let files = [LIB, UNSAFE, ("src/b.rs", "unsafe fn f() {}"), EMPTY_C];
    assert_one(&with(&[exception("src/a.rs", "unsafe", "A test.")], &files), "src/b.rs:1: an unsafe function", &[]);
    let files = [LIB, UNSAFE, EMPTY_B, EMPTY_C];
    assert_eq!(with(&[exception("src/a.rs", "lines", "A test.")], &files).len(), 3, "and it is not needed");
}

#[test]
fn an_exception_needs_a_reason() {
    let files = [LIB, UNSAFE, EMPTY_B, EMPTY_C];
    let start = "tools/structure/structure.toml:10: the exception for src/a.rs has no reason.";
    assert_one(&with(&[exception("src/a.rs", "unsafe", "  ")], &files), start, &["Say in `reason`"]);
    let without = "[[exception]]\nrule = \"unsafe\"\nfile = \"src/a.rs\"\n".to_owned();
    assert_one(&with(&[without], &files), start, &[]);
}

#[test]
fn an_exception_must_be_needed() {
    let files = [LIB, ("src/a.rs", ""), EMPTY_B, EMPTY_C];
    for rule in ["circle", "layer", "unsafe", "lines", "unreached"] {
        for file in ["src/a.rs", "src/gone.rs"] {
            let start = format!("tools/structure/structure.toml:10: {file} does not break the rule `{rule}`");
            assert_one(&with(&[exception(file, rule, "A test.")], &files), &start, &["Remove the exception."]);
        }
    }
}

#[test]
fn an_exception_from_circles_leaves_out_the_uses_of_its_file() {
    let (a, b) = (("src/a.rs", "use crate::b::B;\nuse crate::c::C;"), ("src/b.rs", "use crate::a::A;"));
    let c = ("src/c.rs", "use crate::a::A;");
    assert_eq!(with(&[exception("src/a.rs", "circle", "A test.")], &[LIB, a, b, c]), [""; 0]);
    let rest = with(&[exception("src/b.rs", "circle", "A test.")], &[LIB, a, b, c]);
    assert_one(&rest, "src/a.rs:2: circle of modules: src/a.rs:2 uses src/c.rs", &[]);
    let both = [exception("src/b.rs", "circle", "A test."), exception("src/c.rs", "circle", "A test.")];
    assert_eq!(with(&both, &[LIB, a, b, c]), [""; 0]);
    let too_many = [exception("src/a.rs", "circle", "A test."), exception("src/b.rs", "circle", "A test.")];
    let found = with(&too_many, &[LIB, a, b, c]);
    assert_one(&found, "tools/structure/structure.toml:14: src/b.rs does not break the rule `circle`", &[]);
}

#[test]
fn an_exception_from_layers_is_needed_where_a_layer_is_broken() {
    let config = format!("{CONFIG}layers = [\"a\", \"b\", \"c\"]\n{}", exception("src/a.rs", "layer", "A test."));
    let files = [LIB, ("src/a.rs", "use crate::b::B;"), EMPTY_B, EMPTY_C];
    assert_eq!(findings_with(&config, &files), [""; 0]);
}

#[test]
fn the_configuration_must_be_right() {
    let wrong = [
        (exception("src/a.rs", "size", "A test."), "unknown variant `size`"),
        (exception("src/a.rs", "config", "A test."), "unknown variant `config`"),
        ("[[exception]]\nrule = \"lines\"\n".to_owned(), "missing field `file`"),
        ("[[exception]]\nrule = \"lines\"\nfile = \"x\"\nreasons = \"x\"\n".to_owned(), "unknown field `reasons`"),
    ];
    for (exception, expected) in wrong {
        let error = error_with(&[CONFIG, &exception].concat(), &[LIB]);
        assert!(error.starts_with("tools/structure/structure.toml: TOML parse error at line "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
