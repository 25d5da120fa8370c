//! `LOCK.MRELEASE numkeys key [key ...] owner`

use super::super::call::{Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry_of_several, Arg, ArgKind, Audience, CommandRow, KeyUse};
use crate::wire::parse_mrelease;

pub const ROW: CommandRow = CommandRow {
    name: c"lock.mrelease",
    flags: c"write getkeys-api",
    categories: "write slow",
    audience: Audience::Clients,
    key: KeyUse::ReadWriteSeveral,
    entry: entry_of_several::<Mrelease>,
    summary:
        "Releases several locks and withdraws the owner's waits for them. Returns how many of them the owner held.",
    complexity: "O(K*log N) with K being the number of keys and N the number of locks and waiters.",
    arity: -4,
    args: &[Arg { name: "owner", kind: ArgKind::Text, summary: "The owner that holds the locks or waits for them." }],
    options: &[],
};

struct Mrelease;

impl Handler for Mrelease {
    const NAME: &'static str = "LOCK.MRELEASE";

    fn handle(call: &Call) -> Answered {
        let keys = call.keys()?;
        let owner = parse_mrelease(keys.args)?;
        call.check_role()?;
        call.change_all(&keys, |engine, names, open| engine.release_all(names, open, clock::now(), owner))
    }
}
