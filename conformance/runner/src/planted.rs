//! Whether the suite finds the faults that drivers plant in their clients.

use std::sync::Arc;

use crate::outcome::{fail, Outcome};
use crate::run::{run_all, Run, Verdict};
use crate::scenario::Scenario;
use crate::vocabulary::Vocabulary;
use crate::world::Subject;

/// Which of the scenarios must find a fault.
fn finders(scenarios: &[Scenario], fault: &str) -> Vec<Scenario> {
    scenarios.iter().filter(|it| it.finds.contains(fault)).cloned().collect()
}

/// Runs, for each planted fault of each client, the scenarios that must find it, and first without the fault: a scenario
/// that fails anyway finds nothing. Returns a line for each fault, or what the suite did not notice. If `is_part`, the
/// scenarios are only some of all, and faults that none of them must find are left out.
pub fn check(
    vocabulary: &Arc<Vocabulary>,
    scenarios: &[Scenario],
    subjects: &[Subject],
    is_part: bool,
    jobs: usize,
    tell: &(impl Fn(&Run) + Sync),
) -> Outcome<Vec<String>> {
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for subject in subjects {
        let client = &subject.client;
        for fault in &client.planted_faults {
            let finders = finders(scenarios, fault);
            if finders.is_empty() && is_part {
                continue;
            }
            let run = |fault: Option<&String>| {
                let subject = Subject { fault: fault.cloned(), ..subject.clone() };
                let work = finders.iter().map(|scenario| (scenario.clone(), subject.clone())).collect();
                run_all(vocabulary, work, jobs, tell)
            };
            let broken = run(None);
            let passes = |name: &str| broken.iter().any(|it| it.scenario.name == name && it.verdict == Verdict::Passed);
            let by = |run: &&Run| matches!(run.verdict, Verdict::Failed(_)) && passes(&run.scenario.name);
            let planted = run(Some(fault));
            let names: Vec<String> = planted.iter().filter(by).map(|run| run.scenario.name.clone()).collect();
            if names.is_empty() {
                missed.push(format!("{}: the fault {fault} was not noticed", client.name));
            } else {
                found.push(format!("{}: the fault {fault} was found by: {}", client.name, names.join("; ")));
            }
        }
    }
    if missed.is_empty() {
        Ok(found)
    } else {
        fail(missed.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_all;
    use std::path::Path;

    #[test]
    fn every_fault_of_the_protocol_has_a_scenario_in_the_quick_part_that_must_find_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let protocol = std::fs::read_to_string(folder.join("PROTOCOL.md")).unwrap();
        let rows = protocol.split("| `PLANTED_FAULT` |").nth(1).unwrap().lines().skip(2);
        let faults: Vec<&str> = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        assert!(faults.len() >= 5, "{faults:?}");
        let scenarios = read_all(&folder.join("scenarios")).unwrap();
        for fault in faults {
            assert!(finders(&scenarios, fault).iter().any(|it| it.is_quick), "no quick scenario finds {fault}");
        }
    }
}
