//! Checks the structure of the code. `make check` runs it, and so can you, from any folder of the repository:
//!
//! ```text
//! cargo run -p redis-lock-structure
//! ```
//!
//! It prints each finding as `file:line: what is wrong, and what to do`. It ends with status 1 if there are findings,
//! and with status 2 if it could not check.
//!
//! # Rules
//!
//! **No circles** (`circle`). Files of a crate must not use each other in a circle, however long. A file uses another
//! if it names an item of it: in a `use` line, in a path such as `super::timer::arm()`, or in the arguments of a
//! macro.
//!
//! * A path is followed through re-exports to the file that defines the item. Suppose `lock/mod.rs` contains
//!   `pub use hold::Hold`. Then `use crate::lock::Hold` uses both `lock/mod.rs` and `lock/hold.rs`. Inside the folder
//!   `lock`, `use super::Hold` uses `lock/hold.rs` only.
//! * `mod name;` is not a use. Neither is a `pub use` (or `pub(crate) use`) of an item from inside the module itself:
//!   it only shows the item to others. If other code of the file names the item, that is a use.
//! * So a child may use what `mod.rs` defines, or `mod.rs` may use what the child defines, but not both. Move the
//!   shared item from `mod.rs` to a file of its own, and re-export it.
//! * A module inside a file (`mod name { ... }`) counts as part of the file.
//! * `use name::*` is a use of the file of `name`, whatever names it brings.
//! * The check sees names, not types: a call of a method or a field of a value names no module.
//!
//! **Layers** (`layer`). A module uses its own layer and those below it, never one above. The layers stand in
//! `structure.toml`, lowest first. Each file belongs to one; only the crate's root (`lib.rs`) stands above them all.
//!
//! **Unsafe code** (`unsafe`). Unsafe blocks, functions, implementations, traits and attributes, and attributes that
//! allow the lint `unsafe_code`, stand only in the folders that `structure.toml` names. This holds for the source
//! folders of all crates in `structure.toml`, test code included.
//!
//! **Size** (`lines`). No Rust file of the repository is longer than the limits in `structure.toml`: one for test
//! files, which stand in a folder `tests` or are named `tests.rs` or `..._tests.rs`, and one for all others. All
//! lines count.
//!
//! **No lost files** (`unreached`). Some `mod` declaration leads to every file of a crate.
//!
//! Test code may use any module: circles and layers leave out modules named `tests`, and code under `#[cfg(test)]` or
//! another condition of `test_cfgs` in `structure.toml`.
//!
//! # Exceptions
//!
//! If a file must break a rule, add an `[[exception]]` with the file, the rule and the reason to `structure.toml`.
//! For a circle, name the file whose uses are to be left out. An exception without a reason, or one that is not
//! needed, is a finding as well.

mod check;
mod collector;
mod config;
mod files;
mod finding;
mod graph;
mod modules;
mod names;
mod resolve;
mod source;
mod test_code;
#[cfg(test)]
mod tests;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let findings = match repository().and_then(|root| check::check(&root)) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("redis-lock-structure: {error}");
            return ExitCode::from(2);
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => return ExitCode::SUCCESS,
        1 => eprintln!("redis-lock-structure: 1 finding. tools/structure/src/main.rs explains the rules."),
        more => eprintln!("redis-lock-structure: {more} findings. tools/structure/src/main.rs explains the rules."),
    }
    ExitCode::FAILURE
}

/// The root of the repository: the first argument, or the nearest folder around the current one that has a configuration.
fn repository() -> Result<PathBuf, String> {
    if let Some(root) = env::args_os().nth(1) {
        return Ok(PathBuf::from(root));
    }
    let here = env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
    let root = here.ancestors().find(|folder| folder.join(config::FILE).is_file());
    root.map(PathBuf::from).ok_or_else(|| format!("no folder around {} holds {}", here.display(), config::FILE))
}
