//! Sets `cfg(fuzzing)`, with which the module's sources compile their test support for the fuzzer.

fn main() {
    println!("cargo::rustc-cfg=fuzzing");
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    // The sources ask for this feature, which is never set here.
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"failpoints\"))");
    println!("cargo::rerun-if-changed=build.rs");
}
