//! What a person reads while scenarios run, and of those that failed.

use crate::run::{Run, Verdict};

/// The runs of one server, by the name that the table shows.
pub type Results = Vec<(String, Vec<Run>)>;

/// One line for a run that has ended.
pub fn line(run: &Run) -> String {
    let verdict = match &run.verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Skipped(feature) => format!("skipped: the client lacks '{feature}'"),
        Verdict::Failed(_) => "FAILED".to_owned(),
    };
    let fault = run.fault.as_ref().map(|fault| format!(" with the fault {fault}")).unwrap_or_default();
    let notes = if run.notes.is_empty() { String::new() } else { format!(" ({})", run.notes.join("; ")) };
    let why = match &run.verdict {
        // The first two lines of a report say where it failed, and why.
        Verdict::Failed(why) => why.lines().take(2).map(|line| format!("\n         {}", line.trim())).collect(),
        _ => String::new(),
    };
    let took = run.took.as_secs_f64();
    format!("{verdict:8} {:15} {}{fault} [{took:.1} s]{notes}{why}", run.client, run.scenario.name)
}

/// All that failed, whole.
pub fn failures(results: &Results) -> String {
    let mut text = String::new();
    for (server, runs) in results {
        for run in runs {
            if let Verdict::Failed(why) = &run.verdict {
                let scenario = &run.scenario;
                text.push_str(&format!("\n=== {} / {} / {server}\n", scenario.name, run.client));
                text.push_str(&format!("{}, {why}", scenario.path.display()));
            }
        }
    }
    text
}

/// How many passed, failed and were skipped.
pub fn totals(results: &Results) -> (usize, usize, usize) {
    let mut counts = (0, 0, 0);
    for run in results.iter().flat_map(|(_, runs)| runs) {
        match run.verdict {
            Verdict::Passed => counts.0 += 1,
            Verdict::Failed(_) => counts.1 += 1,
            Verdict::Skipped(_) => counts.2 += 1,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;
    use std::path::Path;
    use std::time::Duration;

    fn run(verdict: Verdict) -> Run {
        let scenario =
            parse("Feature: Locks\n  Scenario: one\n    When x\n", Path::new("x.feature")).unwrap().remove(0);
        let (client, library) = ("a".to_owned(), "lib 1".to_owned());
        Run { scenario, client, fault: None, verdict, notes: vec!["3 ms".into()], library, took: Duration::ZERO }
    }

    #[test]
    fn a_report_counts_the_runs_and_shows_what_failed() {
        let results = vec![
            ("Redis 7".to_owned(), vec![run(Verdict::Passed), run(Verdict::Skipped("x".into()))]),
            ("Valkey 9".to_owned(), vec![run(Verdict::Failed("why".into()))]),
        ];
        assert_eq!(totals(&results), (1, 1, 1));
        assert!(failures(&results).contains("=== one / a / Valkey 9\nx.feature, why"));
        assert!(line(&run(Verdict::Passed)).ends_with("(3 ms)"));
        let failed = line(&run(Verdict::Failed("line 7: x\n  why\n--- transcript".into())));
        assert!(failed.ends_with("\n         line 7: x\n         why"), "{failed}");
    }
}
