//! Rules about single files.

use super::{assert_one, findings};

const LIB: (&str, &str) = ("src/lib.rs", "mod a;\nmod redis;\n");

/// The findings if a file outside `src/redis` contains this.
fn with_a(text: &str) -> Vec<String> {
    findings(&[LIB, ("src/a.rs", text), ("src/redis.rs", "")])
}

#[test]
fn finds_unsafe_code() {
    for (text, line, what) in [
        ("fn f() {\n unsafe { g() }\n}", 2, "an unsafe block"),
        ("unsafe fn f() {}", 1, "an unsafe function"),
        ("\npub unsafe extern \"C\" fn f() {}", 2, "an unsafe function or extern block"),
        ("unsafe extern \"C\" {}", 1, "an unsafe function or extern block"),
        ("unsafe impl Send for A {}", 1, "an unsafe implementation"),
        ("unsafe trait T {}", 1, "an unsafe trait"),
        ("struct S(unsafe fn());", 1, "an unsafe function"),
        ("#[unsafe(no_mangle)]\nfn f() {}", 1, "an unsafe attribute"),
        ("#![allow(unsafe_code)]", 1, "an attribute that lets `unsafe_code` pass"),
        ("\n#[expect(unused, unsafe_code)]\nfn f() {}", 2, "an attribute that lets `unsafe_code` pass"),
        ("#[cfg_attr(unix, allow(unsafe_code))]\nfn f() {}", 1, "an attribute that lets `unsafe_code` pass"),
        ("fn f() { run!(unsafe { g() }) }", 1, "an unsafe block"),
        ("macro_rules! m { () => { unsafe { g() } } }", 1, "an unsafe block"),
        ("#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }", 2, "an unsafe block"),
    ] {
        let start = format!("src/a.rs:{line}: {what} stands here: it is allowed in src/redis only.");
        assert_one(&with_a(text), &start, &["Call a safe function from there instead."]);
    }
}

#[test]
fn finds_no_unsafe_code_in_words() {
    for text in [
        "// unsafe { }",
        "/// unsafe { }\nfn f() -> &'static str { \"unsafe { }\" }",
        "#![deny(unsafe_code)]",
        "#![forbid(unsafe_code)]",
        "#![allow(unsafe_op_in_unsafe_fn)]",
        "fn unsafely() {}",
    ] {
        assert_eq!(with_a(text), [""; 0], "{text}");
    }
}

#[test]
fn unsafe_code_may_stand_in_its_folder() {
    let lib = ("src/lib.rs", "mod redis;\nmod redis_like;\n");
    let text = "#![allow(unsafe_code)]\npub fn f() { unsafe { g() } }\n";
    let inner = ("src/redis/ffi.rs", "pub unsafe fn g() {}\n");
    let files = [lib, ("src/redis/mod.rs", "mod ffi;\n"), inner, ("src/redis_like.rs", "")];
    assert_eq!(findings(&files), [""; 0]);
    let outside = [lib, ("src/redis/mod.rs", "mod ffi;\n"), inner, ("src/redis_like.rs", text)];
    assert_eq!(findings(&outside).len(), 2, "`src/redis_like.rs` is not in `src/redis`");
}

#[test]
fn unsafe_code_outside_the_crates_is_not_looked_at() {
    assert_eq!(findings(&[LIB, ("src/a.rs", ""), ("src/redis.rs", ""), ("tests/t.rs", "unsafe fn f() {}")]), [""; 0]);
}

#[test]
fn finds_files_that_are_too_long() {
    let (fits, long) = ("// a line\n".repeat(10), "// a line\n".repeat(11));
    let (fits_tests, long_tests) = ("// a line\n".repeat(15), "// a line".to_owned() + &"\n".repeat(16));
    let start = |file: &str| format!("{file}:11: the file has 11 lines, and a file may have 10. Split it by subject.");
    assert_eq!(with_a(&fits), [""; 0]);
    assert_eq!(with_a(&long), [start("src/a.rs")]);
    let base = [LIB, ("src/a.rs", ""), ("src/redis.rs", "")];
    for file in ["benches/b.rs", "tools/x/src/y.rs", "clients/rust/src/z.rs", "build.rs", "src/redis/latest.rs"] {
        let mut files = base.to_vec();
        if file.starts_with("src/") {
            files[2].1 = "mod latest;";
        }
        assert_eq!(findings(&[files.clone(), vec![(file, fits.as_str())]].concat()), [""; 0]);
        assert_eq!(findings(&[files, vec![(file, long.as_str())]].concat()), [start(file)]);
    }
    for file in ["tests/t.rs", "tests/soak/deep/t.rs", "clients/rust/tests/t.rs", "benches/tests.rs", "x/some_tests.rs"]
    {
        let files = |text| [base.to_vec(), vec![(file, text)]].concat();
        assert_eq!(findings(&files(fits_tests.as_str())), [""; 0]);
        assert_one(
            &findings(&files(long_tests.as_str())),
            &format!("{file}:16: the file has 16 lines"),
            &["a test file"],
        );
    }
}

#[test]
fn hidden_and_skipped_folders_and_other_files_are_not_read() {
    let long = "// a line\n".repeat(100);
    let base = [LIB, ("src/a.rs", ""), ("src/redis.rs", "")];
    for file in ["target/x.rs", "fuzz/target/debug/x.rs", ".git/x.rs", "docs/x.md"] {
        assert_eq!(findings(&[base.to_vec(), vec![(file, long.as_str())]].concat()), [""; 0]);
    }
}

#[test]
fn finds_a_file_that_nothing_declares() {
    let found = findings(&[LIB, ("src/a.rs", ""), ("src/redis.rs", ""), ("src/lost.rs", "")]);
    assert_one(&found, "src/lost.rs:1: no `mod` declaration leads to this file", &["Declare it, or remove it."]);
}
