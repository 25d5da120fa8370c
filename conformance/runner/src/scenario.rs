//! Scenarios as they stand in conformance/scenarios/*.feature.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gherkin::{Feature, GherkinEnv};

use crate::outcome::{fail, Outcome};

/// How long a scenario may take if no tag says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// One step of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The text behind the keyword.
    pub text: String,
    /// The rows of the table below it.
    pub table: Vec<Vec<String>>,
    /// The line in the file.
    pub line: usize,
}

/// One scenario, with the steps of its background before its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The file.
    pub path: PathBuf,
    /// The name of its feature.
    pub feature: String,
    /// Its own name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Whether it belongs to the quick part.
    pub is_quick: bool,
    /// Whether it runs alone, because it measures time or fills the machine.
    pub is_alone: bool,
    /// What the client must be able to do.
    pub needs: BTreeSet<String>,
    /// The planted faults that it must find.
    pub finds: BTreeSet<String>,
    /// How long it may take.
    pub limit: Duration,
}

/// Reads all scenarios in a folder, sorted by file.
pub fn read_all(folder: &Path) -> Outcome<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "feature"));
    paths.sort();
    let mut scenarios = Vec::new();
    let mut names = BTreeSet::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for scenario in parse(&text, &path)? {
            if !names.insert(scenario.name.clone()) {
                return fail(format!("{}: there are two scenarios '{}'", path.display(), scenario.name));
            }
            scenarios.push(scenario);
        }
    }
    Ok(scenarios)
}

/// Reads the scenarios of one file. An outline becomes one scenario for each row of its examples.
pub fn parse(text: &str, path: &Path) -> Outcome<Vec<Scenario>> {
    let feature = Feature::parse(text, GherkinEnv::default());
    let feature = feature.map_err(|error| format!("{}: {error}", path.display()))?;
    let background = feature.background.as_ref().map(|it| it.steps.iter().map(step).collect::<Vec<_>>());
    let mut scenarios = Vec::new();
    for it in &feature.scenarios {
        let tags: Vec<&String> = feature.tags.iter().chain(&it.tags).collect();
        let mut base = Scenario {
            path: path.to_owned(),
            feature: feature.name.clone(),
            name: it.name.clone(),
            steps: background.clone().unwrap_or_default(),
            is_quick: false,
            is_alone: false,
            needs: BTreeSet::new(),
            finds: BTreeSet::new(),
            limit: LIMIT,
        };
        for tag in tags {
            apply_tag(&mut base, tag).map_err(|error| format!("{}: {}: {error}", path.display(), it.name))?;
        }
        base.steps.extend(it.steps.iter().map(step));
        if it.examples.is_empty() {
            scenarios.push(base);
            continue;
        }
        for examples in &it.examples {
            let mut tagged = base.clone();
            for tag in &examples.tags {
                apply_tag(&mut tagged, tag).map_err(|error| format!("{}: {}: {error}", path.display(), it.name))?;
            }
            let rows = examples.table.as_ref().and_then(|table| table.rows.split_first());
            let Some((head, rows)) = rows else { continue };
            scenarios.extend(rows.iter().map(|row| filled(&tagged, head, row)));
        }
    }
    Ok(scenarios)
}

fn step(step: &gherkin::Step) -> Step {
    let table = step.table.as_ref().map(|table| table.rows.clone()).unwrap_or_default();
    Step { text: step.value.clone(), table, line: step.position.line }
}

fn apply_tag(scenario: &mut Scenario, tag: &str) -> Outcome<()> {
    let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
    match (name, value) {
        ("quick", "") => scenario.is_quick = true,
        ("alone", "") => scenario.is_alone = true,
        ("needs", feature) if !feature.is_empty() => drop(scenario.needs.insert(feature.to_owned())),
        ("finds", fault) if !fault.is_empty() => drop(scenario.finds.insert(fault.to_owned())),
        ("limit", seconds) => {
            let seconds = seconds.parse().map_err(|_| format!("the tag @{tag} does not name seconds"))?;
            scenario.limit = Duration::from_secs(seconds);
        }
        _ => return fail(format!("the tag @{tag} means nothing")),
    }
    Ok(())
}

/// The scenario of one row of examples: `<column>` stands for the row's value.
fn filled(outline: &Scenario, head: &[String], row: &[String]) -> Scenario {
    let fill = |text: &String| {
        let put = |text: String, (name, value): (&String, &String)| text.replace(&format!("<{name}>"), value);
        head.iter().zip(row).fold(text.clone(), put)
    };
    let mut scenario = outline.clone();
    scenario.name = fill(&outline.name);
    if scenario.name == outline.name {
        scenario.name = format!("{} ({})", outline.name, row.join(", "));
    }
    for step in &mut scenario.steps {
        step.text = fill(&step.text);
        step.table.iter_mut().flatten().for_each(|cell| *cell = fill(cell));
    }
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
@needs:shared
Feature: Locks
  Background:
    Given a server

  @quick @limit:7
  Scenario: one
    When x happens
      | a | 1 |

  Scenario Outline: two
    When <what> happens <n> times
    Examples:
      | what | n |
      | this | 1 |
    @alone
    Examples:
      | what | n |
      | that | 2 |
";

    fn scenarios(text: &str) -> Outcome<Vec<Scenario>> {
        parse(text, Path::new("x.feature"))
    }

    #[test]
    fn a_feature_becomes_scenarios_with_background_tags_and_examples() {
        let all = scenarios(TEXT).unwrap();
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["one", "two (this, 1)", "two (that, 2)"]);
        assert!(all[0].is_quick && !all[1].is_quick && all[0].limit == Duration::from_secs(7));
        assert!(!all[1].is_alone && all[2].is_alone);
        assert!(all.iter().all(|it| it.needs.contains("shared") && it.steps[0].text == "a server"));
        assert_eq!(all[0].steps[1].table, [["a", "1"]]);
        assert_eq!(all[2].steps[1].text, "that happens 2 times");
    }

    #[test]
    fn tags_that_mean_nothing_are_refused() {
        let error = scenarios(&TEXT.replace("@quick", "@quik")).unwrap_err();
        assert!(error.contains("@quik means nothing"), "{error}");
        assert!(scenarios(&TEXT.replace("limit:7", "limit:x")).unwrap_err().contains("does not name seconds"));
    }
}
