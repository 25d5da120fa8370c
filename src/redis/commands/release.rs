//! `LOCK.RELEASE key owner [FENCE n] [DOWNGRADE | COOL ms]`

use super::super::call::{Answer, Answered, Call, Handler};
use super::super::ffi::clock;
use super::super::ffi::command::{entry, Arg, ArgKind, Audience, CommandRow, KeyUse};
use crate::lock::Released;
use crate::wire::errors::Refused;
use crate::wire::{ReleaseRequest, RELEASE_OPTIONS};

pub const ROW: CommandRow = CommandRow {
    name: c"lock.release",
    flags: c"write fast",
    categories: "write fast",
    audience: Audience::Clients,
    key: KeyUse::ReadWrite,
    entry: entry::<Release>,
    summary: "Releases a lock and withdraws the owner's waits for it. Returns 1 if the owner held it, else 0.",
    complexity: "O(log N) with N being the number of locks and waiters.",
    arity: -3,
    args: &[Arg { name: "owner", kind: ArgKind::Text, summary: "The owner that holds the lock or waits for it." }],
    options: RELEASE_OPTIONS,
};

struct Release;

impl Handler for Release {
    const NAME: &'static str = "LOCK.RELEASE";

    fn handle(call: &Call) -> Answered {
        let request = ReleaseRequest::parse(call.args)?;
        call.check_role()?;
        call.change(|engine, key| {
            Ok(match engine.release(call.at, key, clock::now(), &request)? {
                Released::Yes => Ok(Answer::held(true)),
                Released::NotHeld => Ok(Answer::held(false)),
                Released::IsShared => Err(Refused::CoolShared.into()),
            })
        })
    }
}
