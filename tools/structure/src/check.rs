//! Runs all rules over a repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::config::{Config, Rule};
use crate::files::{is_in, rust_files, too_long, unsafe_code};
use crate::finding::{apply_exceptions, Finding};
use crate::modules::Modules;
use crate::resolve::uses;
use crate::source::Source;

/// All findings in the repository at `root`, sorted by file and line. The error is a message for the user: why the
/// repository could not be checked.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let config = Config::read(root)?;
    let files = rust_files(root, &config.lines.skip)?;
    let mut findings = Vec::new();
    for file in &files {
        let text = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        findings.extend(too_long(file, &text, &config.lines));
    }
    let mut needed = BTreeSet::new();
    for member in &config.crates {
        let Some(folder) = member.source.iter().find(|folder| root.join(folder).is_dir()) else {
            return Err(format!("{}: there is no folder {}", member.name, member.source.join(" or ")));
        };
        let own = || files.iter().map(String::as_str).filter(|file| is_in(file, folder));
        for file in own() {
            findings.extend(unsafe_code(root, file, &config.unsafe_code)?);
        }
        let source = Source::read(root, folder, &config.test_cfgs)?;
        let modules = Modules { config: member, source: &source, uses: &uses(&source) };
        findings.extend(modules.unreached(own()));
        findings.extend(modules.layers(&config));
        findings.extend(modules.circles(&excepted_from_circles(&config, None)));
        needed.extend(needed_for_circles(&config, &modules));
    }
    Ok(apply_exceptions(&config, findings, |exception| needed.contains(&exception)))
}

/// The exceptions, by their indexes, without which a circle would be found.
fn needed_for_circles(config: &Config, modules: &Modules) -> Vec<usize> {
    let exceptions = config.exceptions.iter().enumerate().filter(|(_, exception)| exception.rule == Rule::Circle);
    let is_needed = |index, file: &str| modules.is_in_circle(file, &excepted_from_circles(config, Some(index)));
    exceptions.filter(|(index, it)| is_needed(*index, it.file.get_ref())).map(|(index, _)| index).collect()
}

/// The files whose uses do not count in a circle, without the exception of this index.
fn excepted_from_circles(config: &Config, without: Option<usize>) -> BTreeSet<&str> {
    let exceptions = config.exceptions.iter().enumerate().filter(|(_, exception)| exception.rule == Rule::Circle);
    exceptions.filter(|(index, _)| Some(*index) != without).map(|(_, it)| it.file.get_ref().as_str()).collect()
}
