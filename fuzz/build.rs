//! The sources of the module show their tests' worlds to the fuzzer only if they are asked to.

fn main() {
    println!("cargo::rustc-cfg=fuzzing");
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    // Never set here.
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"failpoints\"))");
    println!("cargo::rerun-if-changed=build.rs");
}
