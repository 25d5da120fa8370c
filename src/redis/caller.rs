//! Who runs a command: which connection, and which ACL user.
//!
//! A script, a function and a call from another module have neither. They run on a client of the server's own, which never
//! closes, cannot safely be blocked (a call that is given up while it waits, RM_CallReplyPromiseAbort, stops Redis 8.0 and
//! Valkey 9.1 by an assertion), may have no user, and may bear the id of a connection it has nothing to do with ([`modules`]).

use std::cell::Cell;

use super::api::{self, Ctx, Flags};
use super::call::Call;
use super::state::MainThread;
use super::{client_list, modules, users};
use crate::lock::User;

/// The client that asked last; it had connected. Ids are never given twice.
static LAST_CLIENT: MainThread<Cell<u64>> = MainThread::new(Cell::new(0));

/// The user that runs a command, for the search for deadlocks. A call from a module that runs in a transaction may be taken for
/// a command of the connection whose id it bears; then its hold is looked at with those of that connection's user.
pub fn user(ctx: Ctx) -> Option<User> {
    if modules::others() && is_call(ctx.flags()) {
        return None;
    }
    let client = ctx.client();
    // Its user may be another than the last time: it may have said AUTH.
    if client == LAST_CLIENT.get().get() && !modules::others() {
        return ctx.with_user(users::number);
    }
    let user = ctx.with_user_of(client, users::number)?;
    LAST_CLIENT.get().set(client);
    Some(user)
}

/// Whether the client of a command that must wait may be blocked, as far as [`Flags::denies_blocking`] does not tell.
pub fn may_wait(call: &Call) -> bool {
    !modules::others() || !api::calls_can_wait() || connection(call).is_some()
}

/// The connection that a command came on. A call in a transaction that bears the id of the very connection whose transaction it
/// is, cannot be told from that connection's own command, and passes for it.
pub fn connection(call: &Call) -> Option<u64> {
    let flags = call.ctx.flags();
    if is_call(flags) {
        return None;
    }
    let client = call.ctx.connected_client()?;
    // Where flags do not tell, CLIENT LIST does, at some 20 000 instructions.
    let flags_tell = !modules::others() || !(flags.is_in_transaction() || api::calls_can_wait());
    (flags_tell || runs_it(call, client, flags)).then_some(client)
}

/// Whether a script, a function or another module's call runs, as far as flags tell: they do not tell of a call in a
/// transaction, nor of one that may wait.
fn is_call(flags: Flags) -> bool {
    flags.is_in_script() || (flags.forbids_waiting() && !flags.is_in_transaction())
}

/// Whether it is this connection that runs the command, a LOCK.ACQUIRE.
fn runs_it(call: &Call, client: u64, flags: Flags) -> bool {
    // What another module calls while it is told of a lock's event, is no connection's command.
    !call.is_nested
        && client_list::activity(call.ctx, client).is_some_and(|activity| {
            if flags.is_in_transaction() {
                activity.is_in_transaction && activity.is_executing
            } else {
                activity.is_acquiring && activity.has_arguments && !activity.is_blocked
            }
        })
}
