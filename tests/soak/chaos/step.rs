//! One step of a plan, and the line of text that stands for it.
//!
//! `c3/1: LOCK.ACQUIRE k a PX 50 BLOCK 0` is client 3 in database 1, `;` stands between commands that are sent in one write,
//! `!` before a deed of the driver's own. A word that begins with `@` is filled in when the step is taken.

use std::fmt;
use std::str::FromStr;

/// The words of a command.
pub type Words = Vec<String>;

/// A command from its text.
pub fn words(text: &str) -> Words {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client sends these in one write, if it has all its answers.
    Send {
        /// Which client.
        client: usize,
        /// In which database.
        db: u32,
        /// What.
        commands: Vec<Words>,
    },
    /// Something that no command does.
    Do(Deed),
}

/// What the driver does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A client closes its connection (FIN).
    HangUp(usize),
    /// A client resets its connection (RST).
    Reset(usize),
    /// Another server becomes a replica of the primary: a new one, or one that was detached.
    Attach,
    /// The same, and it loads beside the data it has.
    AttachSwapdb,
    /// A replica becomes a server of its own, with the data it has.
    Detach,
    /// A replica becomes the primary, and the old primary its replica.
    Promote,
    /// The primary is killed, and a replica becomes the primary.
    KillAndPromote,
    /// The primary is killed and started with what is on its disk.
    KillAndStart,
    /// The primary saves, is killed and started.
    SaveAndStart,
    /// Nothing happens for so many milliseconds.
    Wait(u64),
    /// Everybody waits until nothing more is due; then all is looked at.
    Rest,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Send { client, db, commands } => {
                let commands: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
                write!(f, "c{client}/{db}: {}", commands.join(" ; "))
            }
            Step::Do(deed) => write!(f, "! {deed}"),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::HangUp(client) => write!(f, "hang-up {client}"),
            Deed::Reset(client) => write!(f, "reset {client}"),
            Deed::Attach => f.write_str("attach"),
            Deed::AttachSwapdb => f.write_str("attach-swapdb"),
            Deed::Detach => f.write_str("detach"),
            Deed::Promote => f.write_str("promote"),
            Deed::KillAndPromote => f.write_str("kill-and-promote"),
            Deed::KillAndStart => f.write_str("kill-and-start"),
            Deed::SaveAndStart => f.write_str("save-and-start"),
            Deed::Wait(ms) => write!(f, "wait {ms}"),
            Deed::Rest => f.write_str("rest"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Step, String> {
        let wrong = || format!("not a step: {line}");
        if let Some(deed) = line.strip_prefix("! ") {
            return deed.parse().map(Step::Do).map_err(|()| wrong());
        }
        let (place, commands) = line.split_once(": ").ok_or_else(wrong)?;
        let (client, db) = place.strip_prefix('c').and_then(|place| place.split_once('/')).ok_or_else(wrong)?;
        Ok(Step::Send {
            client: client.parse().map_err(|_| wrong())?,
            db: db.parse().map_err(|_| wrong())?,
            commands: commands.split(" ; ").map(words).collect(),
        })
    }
}

impl FromStr for Deed {
    type Err = ();

    fn from_str(text: &str) -> Result<Deed, ()> {
        let (name, number) = text.split_once(' ').unwrap_or((text, "0"));
        let number: u64 = number.parse().map_err(|_| ())?;
        let client = usize::try_from(number).map_err(|_| ())?;
        match name {
            "hang-up" => Ok(Deed::HangUp(client)),
            "reset" => Ok(Deed::Reset(client)),
            "attach" => Ok(Deed::Attach),
            "attach-swapdb" => Ok(Deed::AttachSwapdb),
            "detach" => Ok(Deed::Detach),
            "promote" => Ok(Deed::Promote),
            "kill-and-promote" => Ok(Deed::KillAndPromote),
            "kill-and-start" => Ok(Deed::KillAndStart),
            "save-and-start" => Ok(Deed::SaveAndStart),
            "wait" => Ok(Deed::Wait(number)),
            "rest" => Ok(Deed::Rest),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::plan::Planner;

    #[test]
    fn every_step_can_be_read_again() {
        let mut planner = Planner::of_seed(3, true);
        for _ in 0..5000 {
            let step = planner.next_step();
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        assert!("! fly".parse::<Step>().is_err());
        assert!("LOCK.ACQUIRE k a".parse::<Step>().is_err());
    }

    #[test]
    fn a_seed_always_plans_the_same() {
        let plan = |seed| {
            let mut planner = Planner::of_seed(seed, true);
            (0..200).map(|_| planner.next_step().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }
}
