//! The page docs/conformance.md, and the results that it is written from.
//!
//! Each run of the suite replaces the results of its own clients and servers in `target/conformance/results.json`, so
//! that a page can be brought up to date for one client.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::report::Results;
use crate::run::Verdict;

/// What came of a scenario for a client on a server.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    feature: String,
    scenario: String,
    client: String,
    server: String,
    library: String,
    /// `yes`, `no` or `-`.
    mark: String,
    measured: String,
}

/// The entries of these results.
fn entries(results: &Results) -> Vec<Entry> {
    let runs = results.iter().flat_map(|(server, runs)| runs.iter().map(move |run| (server, run)));
    let entry = |(server, run): (&String, &crate::run::Run)| Entry {
        feature: run.scenario.feature.clone(),
        scenario: run.scenario.name.clone(),
        client: run.client.clone(),
        server: server.clone(),
        library: run.library.clone(),
        mark: match run.verdict {
            Verdict::Passed => "yes",
            Verdict::Failed(_) => "**no**",
            Verdict::Skipped(_) => "-",
        }
        .to_owned(),
        measured: run.notes.join("; "),
    };
    runs.map(entry).collect()
}

/// The kept entries with these in the place of older ones. Scenarios that no longer exist are left out.
fn updated(kept: Vec<Entry>, new: Vec<Entry>, scenarios: &BTreeSet<String>) -> Vec<Entry> {
    let key = |entry: &Entry| (entry.scenario.clone(), entry.client.clone(), entry.server.clone());
    let mut all: BTreeMap<_, _> = kept.into_iter().map(|entry| (key(&entry), entry)).collect();
    all.extend(new.into_iter().map(|entry| (key(&entry), entry)));
    all.into_values().filter(|entry| scenarios.contains(&entry.scenario)).collect()
}

/// Adds these results to the file of all, and writes the page from it. `scenarios` are the names of all that exist.
pub fn write(results: &Results, scenarios: &BTreeSet<String>, file: &Path, page: &Path) -> Outcome<()> {
    let shown = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let kept = match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?,
        Err(_) => Vec::new(),
    };
    let all = updated(kept, entries(results), scenarios);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| shown(folder, error))?;
    }
    let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
    std::fs::write(file, text).map_err(|error| shown(file, error))?;
    std::fs::write(page, render(&all)).map_err(|error| shown(page, error))
}

const HEAD: &str = "# What each client does

The [conformance suite](../conformance/README.md) ran these scenarios against real servers, and wrote this page:
`make conformance TABLE=docs/conformance.md`.

* `yes`: the client did what the scenario demands.
* `no`: it did not.
* `-`: the client does not offer what the scenario needs.
";

fn render(entries: &[Entry]) -> String {
    let columns: BTreeSet<(&str, &str)> = entries.iter().map(|it| (it.client.as_str(), it.server.as_str())).collect();
    let rows: BTreeSet<(&str, &str)> = entries.iter().map(|it| (it.feature.as_str(), it.scenario.as_str())).collect();
    let libraries: BTreeSet<(&str, &str)> = entries
        .iter()
        .filter(|it| !it.library.is_empty())
        .map(|it| (it.client.as_str(), it.library.as_str()))
        .collect();
    let mut text = format!("{HEAD}\n| client | library |\n|---|---|\n");
    libraries.iter().for_each(|(client, library)| text.push_str(&format!("| {client} | {library} |\n")));
    let mut last = "";
    for (feature, scenario) in rows {
        if feature != last {
            last = feature;
            let names: String = columns.iter().map(|(client, server)| format!(" {client}, {server} |")).collect();
            let rule = "---|".repeat(columns.len());
            text.push_str(&format!("\n## {feature}\n\n| scenario |{names}\n|---|{rule}\n"));
        }
        let mark = |(client, server): &(&str, &str)| {
            let is = |it: &&Entry| it.scenario == scenario && it.client == *client && it.server == *server;
            entries.iter().find(is).map_or("", |it| it.mark.as_str())
        };
        let marks: String = columns.iter().map(|column| format!(" {} |", mark(column))).collect();
        text.push_str(&format!("| {scenario} |{marks}\n"));
    }
    text.push_str("\n## Measured\n\nBy the runs that this page was written from, several scenarios at a time.\n\n");
    text.push_str("| scenario | client | server | measured |\n|---|---|---|---|\n");
    let mut measured: Vec<&Entry> = entries.iter().filter(|it| it.mark == "yes" && !it.measured.is_empty()).collect();
    measured.sort();
    for it in measured {
        text.push_str(&format!("| {} | {} | {} | {} |\n", it.scenario, it.client, it.server, it.measured));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(client: &str, server: &str, mark: &str, measured: &str) -> Entry {
        Entry {
            feature: "Locks".into(),
            scenario: "one".into(),
            client: client.into(),
            server: server.into(),
            library: "lib 1".into(),
            mark: mark.into(),
            measured: measured.into(),
        }
    }

    #[test]
    fn the_page_has_a_row_a_scenario_and_a_column_a_client_and_server() {
        let page = render(&[
            entry("a", "Redis 7", "yes", "3 ms"),
            entry("b", "Redis 7", "-", ""),
            entry("a", "Valkey 9", "**no**", "9 ms"),
        ]);
        assert!(page.contains("| scenario | a, Redis 7 | a, Valkey 9 | b, Redis 7 |\n"), "{page}");
        assert!(page.contains("| one | yes | **no** | - |\n"), "{page}");
        assert!(page.contains("| a | lib 1 |\n"), "{page}");
        assert!(page.contains("| one | a | Redis 7 | 3 ms |\n") && !page.contains("9 ms"), "{page}");
    }

    #[test]
    fn new_results_replace_those_of_the_same_client_and_server_only() {
        let kept = vec![entry("a", "Redis 7", "**no**", ""), entry("b", "Redis 7", "yes", "")];
        let gone = Entry { scenario: "gone".into(), ..entry("b", "Redis 7", "yes", "") };
        let scenarios = BTreeSet::from(["one".to_owned()]);
        let kept = [kept, vec![gone]].concat();
        let all = updated(kept, vec![entry("a", "Redis 7", "yes", "")], &scenarios);
        assert_eq!(all, [entry("a", "Redis 7", "yes", ""), entry("b", "Redis 7", "yes", "")]);
    }
}
