//! What CLIENT LIST tells of one client, and nothing else does.

use std::ffi::c_longlong;

use redis_module::raw;

use super::api::{call, read_reply, Ctx};

/// How a client that is being closed ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// Something stands in the buffer that answers go to first, and was not sent. (What stands in the list behind it may have
    /// come after an answer that was.)
    pub has_unsent: bool,
    /// It was marked to be closed as soon as possible, which drops all answers after that, and was not to be closed after its
    /// last answer (QUIT). The server takes the mark away before it closes those that were marked by somebody else's doing; a
    /// client has it that was marked before the server came to what it had sent behind its wait, and one whose end was read.
    pub is_marked: bool,
}

/// What a client does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// It runs a command, or has sent a part of one, or waits in one: the server keeps the command's arguments.
    pub has_arguments: bool,
    /// It waits in a command.
    pub is_blocked: bool,
    /// It has begun a transaction.
    pub is_in_transaction: bool,
    /// Its last command is LOCK.ACQUIRE.
    pub is_acquiring: bool,
    /// Its last command is EXEC.
    pub is_executing: bool,
}

/// In which state this client, which is being closed, is left. `None` if the server does not say.
pub fn ending(ctx: Ctx, client: u64) -> Option<Ending> {
    let mut ending = Ending::default();
    see_fields(ctx, client, |name, value| match name {
        b"flags" => ending.is_marked = value.contains(&b'A') && !value.contains(&b'c'),
        b"obl" => ending.has_unsent = value != b"0",
        _ => {}
    })?;
    Some(ending)
}

/// What this client does. `None` if the server does not say.
pub fn activity(ctx: Ctx, client: u64) -> Option<Activity> {
    let mut activity = Activity::default();
    see_fields(ctx, client, |name, value| match name {
        b"flags" => {
            activity.is_blocked = value.contains(&b'b');
            activity.is_in_transaction = value.contains(&b'x');
        }
        b"argv-mem" => activity.has_arguments = value != b"0",
        b"cmd" => {
            activity.is_acquiring = value.eq_ignore_ascii_case(b"lock.acquire");
            activity.is_executing = value.eq_ignore_ascii_case(b"exec");
        }
        _ => {}
    })?;
    Some(activity)
}

/// Looks at the fields of the client's line.
fn see_fields(ctx: Ctx, client: u64, mut see: impl FnMut(&[u8], &[u8])) -> Option<()> {
    let id = c_longlong::try_from(client).ok()?;
    let (command, list, by_id) = (c"CLIENT".as_ptr(), c"LIST".as_ptr(), c"ID".as_ptr());
    // SAFETY: the format takes two strings, which live until the call returns, and a number.
    let reply = unsafe { call!(RedisModule_Call(ctx.raw(), command, c"ccl".as_ptr(), list, by_id, id)) };
    read_reply(reply, |line| {
        for field in line.split(|byte| byte.is_ascii_whitespace()) {
            let mut parts = field.splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                see(name, value);
            }
        }
    })
}
