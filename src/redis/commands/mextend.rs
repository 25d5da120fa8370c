//! `LOCK.MEXTEND numkeys key [key ...] owner [PX ms | EX s]`

use super::super::call::{Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry_of_several, Arg, ArgKind, Audience, CommandRow, KeyUse};
use crate::wire::{parse_mextend, MEXTEND_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.mextend",
    flags: c"write getkeys-api",
    categories: "write slow",
    audience: Audience::Clients,
    key: KeyUse::ReadWriteSeveral,
    entry: entry_of_several::<Mextend>,
    summary: "Sets the leases of several locks, counted from now. Returns how many of them the owner holds.",
    complexity: "O(K*log N) with K being the number of keys and N the number of locks and waiters.",
    arity: -4,
    args: &[Arg { name: "owner", kind: ArgKind::Text, summary: "The owner that holds the locks." }],
    options: MEXTEND_OPTIONS,
};

struct Mextend;

impl Handler for Mextend {
    const NAME: &'static str = "LOCK.MEXTEND";

    fn handle(call: &Call) -> Answered {
        let keys = call.keys()?;
        let request = parse_mextend(keys.args, call.leases()?)?;
        call.check_role()?;
        call.change_all(&keys, |engine, names, open| engine.extend_all(names, open, clock::now(), &request))
    }
}
