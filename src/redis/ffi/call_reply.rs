//! Commands that the module itself runs, and what they answer.

use std::ffi::{c_int, CStr};
use std::marker::PhantomData;
use std::ptr::NonNull;

use redis_module::raw;

use super::api::call;
use super::context::Ctx;
use super::internal_names;

/// The answer to a command, until it is dropped.
struct CallReply(NonNull<raw::RedisModuleCallReply>);

/// An answer, or a part of one.
#[derive(Clone, Copy)]
struct ReplyRef<'a>(NonNull<raw::RedisModuleCallReply>, PhantomData<&'a ()>);

impl CallReply {
    fn as_ref(&self) -> ReplyRef<'_> {
        ReplyRef(self.0, PhantomData)
    }
}

impl Drop for CallReply {
    fn drop(&mut self) {
        // SAFETY: freed once; its elements go with it.
        unsafe { call!(RedisModule_FreeCallReply(self.0.as_ptr())) };
    }
}

impl<'a> ReplyRef<'a> {
    /// Its text; empty if it has none.
    fn text(self) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the reply is live.
        let text = unsafe { call!(RedisModule_CallReplyStringPtr(self.0.as_ptr(), &mut len)) };
        if text.is_null() {
            return &[];
        }
        // SAFETY: so many bytes belong to the reply.
        unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) }
    }

    /// How many elements it has.
    fn len(self) -> usize {
        // SAFETY: the reply is live.
        unsafe { call!(RedisModule_CallReplyLength(self.0.as_ptr())) }
    }

    /// The element at this place; `None` if there is none.
    fn element(self, place: usize) -> Option<ReplyRef<'a>> {
        // SAFETY: the reply is live; null is returned if it has no such element.
        let element = unsafe { call!(RedisModule_CallReplyArrayElement(self.0.as_ptr(), place)) };
        Some(ReplyRef(NonNull::new(element)?, PhantomData))
    }

    /// Whether it is a string.
    fn is_string(self) -> bool {
        // SAFETY: the reply is live.
        unsafe { call!(RedisModule_CallReplyType(self.0.as_ptr())) == raw::REDISMODULE_REPLY_STRING as c_int }
    }
}

/// How the server checks a write that the module only tries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Those of a client's write: number of replicas, disk errors, slot.
    All,
    /// Only whether the key's slot is here.
    SlotOnly,
}

/// The most arguments that [`run`] takes.
const ARGS: usize = 3;

/// Runs a command; `None` if the server answers nothing. The format has one `b` for each argument that is passed on;
/// arguments beyond it are left out. A prefix of `E` makes the server return errors as replies, and `S` makes it check as
/// strictly as for a script.
fn run(ctx: Ctx, command: &CStr, format: &CStr, args: [&[u8]; ARGS]) -> Option<CallReply> {
    debug_assert!(format.to_bytes().iter().filter(|code| **code == b'b').count() <= ARGS);
    let [(one, one_len), (two, two_len), (three, three_len)] = args.map(|arg| (arg.as_ptr(), arg.len()));
    // SAFETY: each "b" takes a pointer and a length, which live until the call returns; the function reads no more than the
    // format says.
    let reply = unsafe {
        call!(RedisModule_Call(
            ctx.raw(),
            command.as_ptr(),
            format.as_ptr(),
            one,
            one_len,
            two,
            two_len,
            three,
            three_len
        ))
    };
    NonNull::new(reply).map(CallReply)
}

impl Ctx {
    /// Reads the value of a setting of the server; `None` if it has no such setting.
    pub fn config<R>(self, name: &[u8], read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // The answer is the setting's name and its value.
        let reply = run(self, c"CONFIG", c"bb", [b"GET", name, b""])?;
        let value = reply.as_ref().element(1)?;
        Some(read(value.text()))
    }

    /// Reads what CLUSTER NODES answers; `None` if the server answers nothing.
    pub fn cluster_nodes<R>(self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let reply = run(self, c"CLUSTER", c"b", [b"NODES", b"", b""])?;
        Some(read(reply.as_ref().text()))
    }

    /// Reads the line of CLIENT LIST about the client of this id; `None` if the server answers nothing.
    pub fn client_list<R>(self, client: u64, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let reply = run(self, c"CLIENT", c"bbb", [b"LIST", b"ID", client.to_string().as_bytes()])?;
        Some(read(reply.as_ref().text()))
    }

    /// Whether the client of the command has an ACL user. Another module's call may have none, and then older servers do not
    /// expect to be asked for its name. The server refuses to run a command as a user who is not there, whichever it is.
    pub fn has_user(self) -> bool {
        const NO_USER: &[u8] = b"run as user";
        let Some(reply) = run(self, c"ACL", c"CEb", [b"WHOAMI", b"", b""]) else { return false };
        !reply.as_ref().text().windows(NO_USER.len()).any(|part| part == NO_USER)
    }

    /// Whether the names of all modules of the server fulfil a condition; false if the server does not tell them.
    pub fn all_modules(self, mut condition: impl FnMut(&[u8]) -> bool) -> bool {
        let Some(list) = run(self, c"MODULE", c"b", [b"LIST", b"", b""]) else { return false };
        let list = list.as_ref();
        // In each entry the name follows the word "name".
        let name = |place| list.element(place)?.element(1).filter(|name| name.is_string());
        (0..list.len()).all(|place| name(place).is_some_and(|name| condition(name.text())))
    }

    /// Asks the server whether it would let a client write to this key, by a write command that changes nothing: an empty
    /// LOCK.__APPLY. The server checks before the command runs; what replication writes skips these checks. Reads `OK` or an
    /// error; `None` if the server answers nothing.
    pub fn probe_write<R>(self, key: &[u8], checks: Checks, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let format = match checks {
            Checks::All => c"SEbb",
            Checks::SlotOnly => c"Ebb",
        };
        let reply = run(self, internal_names::APPLY, format, [key, b"", b""])?;
        Some(read(reply.as_ref().text()))
    }
}
