//! What the check reports.

use std::fmt;

use crate::config::{Config, Exception, Rule, FILE};

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the repository's root.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule that is broken.
    pub rule: Rule,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// Takes out the findings that exceptions allow, and adds one for each exception that has no reason or is not needed.
///
/// `is_needed_otherwise` says of an exception, by its index, whether it is needed although no finding names its file.
pub fn apply_exceptions(
    config: &Config,
    findings: Vec<Finding>,
    is_needed_otherwise: impl Fn(usize) -> bool,
) -> Vec<Finding> {
    let is_excepted = |finding: &Finding| {
        let covers =
            |exception: &Exception| exception.rule == finding.rule && *exception.file.get_ref() == finding.file;
        config.exceptions.iter().any(covers)
    };
    let (excepted, mut rest): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(is_excepted);
    for (index, exception) in config.exceptions.iter().enumerate() {
        let file = exception.file.get_ref();
        let line = config.line(&exception.file);
        let mut report = |text| rest.push(Finding { file: FILE.to_owned(), line, rule: Rule::Config, text });
        if exception.reason.trim().is_empty() {
            report(format!("the exception for {file} has no reason. Say in `reason` why the file may break the rule."));
        }
        let covers = |finding: &Finding| finding.rule == exception.rule && finding.file == *file;
        if !excepted.iter().any(covers) && !is_needed_otherwise(index) {
            report(format!("{file} does not break the rule `{}`. Remove the exception.", exception.rule));
        }
    }
    rest.sort();
    rest
}
