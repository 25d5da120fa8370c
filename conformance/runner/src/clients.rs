//! The clients that the suite knows: conformance/clients.toml.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::outcome::{fail, Outcome};

/// A client and how its driver is started.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// The name by which `CLIENT` chooses it.
    pub name: String,
    /// Other names that choose it together with others, such as a language.
    #[serde(default)]
    pub groups: Vec<String>,
    /// A command that is run once before, such as the build of the driver. May be empty.
    #[serde(default)]
    pub setup: Vec<String>,
    /// The command that starts the driver, run in the project's directory.
    pub command: Vec<String>,
    /// The planted faults that this driver has, by the names in PROTOCOL.md.
    #[serde(default)]
    pub planted_faults: Vec<String>,
    /// Whether the driver asks the C library for the time, so that the runner can give it a clock of its own.
    #[serde(default)]
    pub clock_can_be_set: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    client: Vec<ClientSpec>,
}

/// Reads the list of clients.
pub fn read(path: &Path) -> Outcome<Vec<ClientSpec>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Outcome<Vec<ClientSpec>> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    for client in &file.client {
        if !names.insert(client.name.clone()) {
            return fail(format!("the client {} is there twice", client.name));
        }
        if client.command.is_empty() {
            return fail(format!("the client {} has no command", client.name));
        }
    }
    Ok(file.client)
}

/// The clients that these names or groups choose, in the order of the list; all of them if there are no names.
pub fn choose(all: &[ClientSpec], names: &[String]) -> Outcome<Vec<ClientSpec>> {
    let is = |client: &ClientSpec, name: &String| client.name == *name || client.groups.contains(name);
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|client| is(client, name))) {
        let known: Vec<&str> = all.iter().map(|client| client.name.as_str()).collect();
        return fail(format!("there is no client {unknown}; there are: {}", known.join(", ")));
    }
    let chosen = |client: &&ClientSpec| names.is_empty() || names.iter().any(|name| is(client, name));
    Ok(all.iter().filter(chosen).cloned().collect())
}

impl ClientSpec {
    /// Runs the command in `setup`.
    pub fn set_up(&self, root: &Path) -> Outcome<()> {
        let Some((program, arguments)) = self.setup.split_first() else { return Ok(()) };
        let status = Command::new(program).args(arguments).current_dir(root).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => fail(format!("{}: '{}' ended with {status}", self.name, self.setup.join(" "))),
            Err(error) => fail(format!("{}: '{program}' cannot be run: {error}", self.name)),
        }
    }

    /// The driver's command, to be run in `root`.
    pub fn driver(&self, root: &Path) -> Outcome<Command> {
        let (program, arguments) = self.command.split_first().ok_or("the client has no command")?;
        // A program that is named by a path is looked for in the project, not in the directory of the runner.
        let program = if program.contains('/') { root.join(program) } else { PathBuf::from(program) };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(root);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        [[client]]
        name = "one"
        groups = ["both"]
        command = ["true"]
        [[client]]
        name = "two"
        groups = ["both"]
        command = ["true"]
    "#;

    #[test]
    fn clients_are_chosen_by_name_or_group() {
        let all = parse(LIST).unwrap();
        let names = |chosen: &[&str]| {
            let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            choose(&all, &chosen).map(|list| list.into_iter().map(|client| client.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["one", "two"]);
        assert_eq!(names(&["two"]).unwrap(), ["two"]);
        assert_eq!(names(&["both"]).unwrap(), ["one", "two"]);
        assert_eq!(names(&["three"]).unwrap_err(), "there is no client three; there are: one, two");
    }

    #[test]
    fn mistakes_in_the_list_are_named() {
        assert!(parse("[[client]]\nname = \"a\"\ncommand = []").unwrap_err().contains("has no command"));
        assert!(parse("[[client]]\nname = \"a\"\ncommand = [\"x\"]\ncolour = 1").unwrap_err().contains("colour"));
        let twice = "[[client]]\nname = \"a\"\ncommand = [\"x\"]\n".repeat(2);
        assert!(parse(&twice).unwrap_err().contains("twice"));
    }
}
