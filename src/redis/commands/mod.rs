//! The commands. Each has a file of its own: its row (name, flags, ACL categories, what COMMAND DOCS says), and its handler.
//!
//! To add a command, add a file and its row to [`TABLE`].

mod acquire;
mod apply;
mod check;
mod extend;
#[cfg(feature = "failpoints")]
mod failpoint;
mod fence;
mod info;
mod list;
mod macquire;
mod mextend;
mod mrelease;
mod release;
mod top;

use super::ffi::command::CommandRow;

/// All commands.
pub const TABLE: &[&CommandRow] = &[
    &acquire::ROW,
    &release::ROW,
    &extend::ROW,
    &macquire::ROW,
    &mrelease::ROW,
    &mextend::ROW,
    &check::ROW,
    &info::ROW,
    &list::ROW,
    &top::ROW,
    &apply::ROW,
    &fence::ROW,
    #[cfg(feature = "failpoints")]
    &failpoint::ROW,
];

#[cfg(test)]
mod tests {
    use super::super::ffi::command::{Audience, KeyUse};
    use super::*;

    #[test]
    fn internal_commands_are_those_with_two_underscores() {
        for row in TABLE {
            let is_internal = row.name.to_bytes().starts_with(b"lock.__");
            assert_eq!(row.audience == Audience::Internal, is_internal, "{:?}", row.name);
        }
    }

    #[test]
    fn the_arity_is_that_of_the_name_the_key_and_the_arguments() {
        for row in TABLE {
            let key = match row.key {
                KeyUse::None => 0,
                KeyUse::Read | KeyUse::ReadWrite => 1,
                KeyUse::ReadWriteSeveral => 2,
            };
            let least = i32::try_from(1 + key + row.args.len()).unwrap();
            let is_fixed = row.options.is_empty() && row.key != KeyUse::ReadWriteSeveral;
            let expected = if is_fixed { least } else { -least };
            assert_eq!(row.arity, expected, "{:?}", row.name);
        }
    }

    #[test]
    fn a_command_that_changes_its_key_is_a_write() {
        for row in TABLE {
            let flags = row.flags.to_str().unwrap();
            match row.key {
                KeyUse::ReadWrite | KeyUse::ReadWriteSeveral => assert!(flags.contains("write"), "{:?}", row.name),
                KeyUse::Read => assert!(flags.contains("readonly"), "{:?}", row.name),
                KeyUse::None => {}
            }
        }
    }
}
