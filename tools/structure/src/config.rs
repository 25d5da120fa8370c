//! The configuration, `structure.toml`.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

/// Where the configuration stands, from the root of the repository.
pub const FILE: &str = "tools/structure/structure.toml";

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The conditions, such as `test`, under which code counts as test code.
    pub test_cfgs: Vec<String>,
    /// How long a file may be.
    pub lines: Lines,
    /// Where unsafe code may stand.
    #[serde(rename = "unsafe")]
    pub unsafe_code: UnsafeCode,
    /// The crates whose modules are checked.
    #[serde(rename = "crate")]
    pub crates: Vec<Crate>,
    /// Files that may break a rule.
    #[serde(rename = "exception", default)]
    pub exceptions: Vec<Exception>,
    /// The text that this was read from, from which [`Config::line`] counts.
    #[serde(skip)]
    text: String,
}

/// How long a file may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// The largest number of lines of a file that is not a test.
    pub max: usize,
    /// The largest number of lines of a test file.
    pub max_in_tests: usize,
    /// Names of folders that are not read.
    pub skip: Vec<String>,
}

/// Where unsafe code may stand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsafeCode {
    /// Files and folders, from the root of the repository.
    pub allowed: Vec<String>,
}

/// A crate whose modules are checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crate {
    /// The package's name, for messages.
    pub name: String,
    /// Folders that may hold `lib.rs` or `main.rs`, from the root of the repository. The first one that exists is read.
    pub source: Vec<String>,
    /// Paths of modules such as `redis/commands`, from the lowest layer to the highest.
    #[serde(default)]
    pub layers: Vec<Spanned<String>>,
}

/// A file that may break a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The file, from the root of the repository.
    pub file: Spanned<String>,
    /// The rule that the file may break.
    pub rule: Rule,
    /// Why the file may break the rule.
    #[serde(default)]
    pub reason: String,
}

/// A rule that findings belong to and that an exception can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Modules of a crate use each other in a circle.
    Circle,
    /// A module uses a higher layer, or belongs to no layer.
    Layer,
    /// Unsafe code stands outside the folders that may hold it.
    Unsafe,
    /// A file is too long.
    Lines,
    /// No `mod` declaration leads to a file.
    Unreached,
    /// The configuration itself is wrong. No exception can name this rule.
    #[serde(skip)]
    Config,
}

impl fmt::Display for Rule {
    /// The name by which an exception calls the rule.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Rule::Circle => "circle",
            Rule::Layer => "layer",
            Rule::Unsafe => "unsafe",
            Rule::Lines => "lines",
            Rule::Unreached => "unreached",
            Rule::Config => "config",
        })
    }
}

impl Config {
    /// Reads the configuration of the repository at `root`. The error is a message for the user.
    pub fn read(root: &Path) -> Result<Config, String> {
        let text = fs::read_to_string(root.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        let mut config: Config = toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?;
        config.text = text;
        Ok(config)
    }

    /// The line, from 1, on which a value of the configuration begins.
    pub fn line(&self, value: &Spanned<String>) -> usize {
        let before = self.text.bytes().take(value.span().start);
        1 + before.filter(|byte| *byte == b'\n').count()
    }
}
