//! Which connection and which ACL user run a command. [`crate::policy::caller`] says how they are told apart from scripts and
//! from other modules' calls.
//!
//! Scripts and calls are never blocked: a call that is given up while it waits (RM_CallReplyPromiseAbort) stops Redis 8.0
//! and Valkey 9.1 by an assertion.

use super::call::Call;
use super::ffi::acl::Reader;
use super::ffi::{Ctx, Flags};
use super::state::module;
use super::users;
use crate::lock::User;
use crate::policy::caller::{Environment, OtherModules, Run};
use crate::policy::client_list::Activity;
use crate::policy::users::must_look_up;

/// The user that runs a command, for the search for deadlocks; `None` for scripts and calls. A call from a module that runs in
/// a transaction may be taken for a command of the connection whose id it bears. Then that connection's user counts as the
/// one who asked.
pub fn user(ctx: Ctx) -> Option<User> {
    let others = module().other_modules.get();
    if others == OtherModules::Present && run(ctx.flags()).is_call() {
        return None;
    }
    let client = ctx.client();
    if !must_look_up(client, module().last_client.get(), others) {
        return ctx.with_user(users::number);
    }
    let user = ctx.with_user_of(client, users::number)?;
    module().last_client.set(client);
    Some(user)
}

/// Whose rights to read keys count for a command. Scripts run with those of their caller. A call from a module has the rights
/// of the user for whom the module runs it, or all rights.
pub fn reader(ctx: Ctx) -> Reader {
    if module().other_modules.get() == OtherModules::Present && !ctx.has_user() {
        return Reader::UNBOUNDED;
    }
    ctx.with_user(|name| Some(Reader::named(name))).unwrap_or(Reader::UNBOUNDED)
}

/// Whether the client of a command that must wait may be blocked, if the flags of the command allow it.
pub fn may_wait(call: &Call) -> bool {
    !environment().may_hide_calls() || connection(call).is_some()
}

/// The connection that a command came on; `None` for scripts and calls. A call in a transaction that bears the id of the very
/// connection whose transaction it is cannot be told from that connection's own command, and passes for it.
pub fn connection(call: &Call) -> Option<u64> {
    let run = run(call.ctx.flags());
    if run.is_call() {
        return None;
    }
    let client = call.ctx.connected_client()?;
    // If flags do not tell, CLIENT LIST does, at some 20 000 instructions.
    (environment().shows_calls(run) || is_run_by(call, client, run)).then_some(client)
}

/// Whether this connection runs the command, a LOCK.ACQUIRE.
fn is_run_by(call: &Call, client: u64, run: Run) -> bool {
    // What another module calls while it is told of a lock's event is no connection's command.
    !call.is_nested && call.ctx.client_list(client, Activity::read).is_some_and(|activity| run.is_run_by(activity))
}

fn run(flags: Flags) -> Run {
    Run {
        is_in_script: flags.is_in_script(),
        forbids_waiting: flags.forbids_waiting(),
        is_in_transaction: flags.is_in_transaction(),
    }
}

fn environment() -> Environment {
    Environment { others: module().other_modules.get(), calls_can_wait: module().capabilities.get().calls_can_wait() }
}
