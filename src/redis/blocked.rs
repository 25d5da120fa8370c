//! Clients that wait in LOCK.ACQUIRE: how they are blocked, answered and freed.

use super::ffi::blocked::{Blocked, OnBlocked};
use super::ffi::Ctx;
use super::state::{self, module};
use super::waiting_client::{BlockedClient, PendingReply, SentGrant};
use super::{delivery, reply, timer};
use crate::engine::{KeyRef, Reply};
use crate::wire::errors::{self, Refused};

/// Blocks the client of a command, which must not reply after that. `None` if the server neither blocked the client nor
/// replied to it, so the command must reply.
pub fn block(ctx: Ctx) -> Option<BlockedClient> {
    let number = ctx.client();
    let blocked = Blocked::block::<Waiter>(ctx, module().capabilities.get().client_unblock())?;
    Some(BlockedClient::new(blocked, number))
}

struct Waiter;

impl OnBlocked for Waiter {
    type Answer = PendingReply;

    fn reply(ctx: Ctx, answer: Option<&mut PendingReply>) {
        let Some(PendingReply { key, reply, is_sent }) = answer else { return ctx.reply_null() };
        *is_sent = true;
        match reply {
            Reply::Granted(hold, ticket, made_owner) => {
                reply::grant(ctx, made_owner.as_ref().map(|owner| owner.as_bytes()), hold.fence);
                delivery::track(ctx.client(), SentGrant { key: key.clone(), hold: *hold, ticket: *ticket });
            }
            Reply::Null => ctx.reply_null(),
            Reply::MustRelease => ctx.reply_error(&Refused::MustRelease.to_string()),
            Reply::NoPermission => ctx.reply_error(errors::NO_PERMISSION),
            Reply::WrongType => ctx.reply_error(errors::WRONG_TYPE),
            Reply::TryAgain => ctx.reply_error(errors::TRY_AGAIN),
            Reply::ClusterDown => ctx.reply_error(errors::CLUSTER_DOWN),
        }
    }

    fn free(answer: Box<PendingReply>) {
        if let (Reply::Granted(hold, ticket, _), false) = (&answer.reply, answer.is_sent) {
            let key = KeyRef { db: answer.key.0, name: &answer.key.1 }.to_id();
            state::with_inbox(|inbox| inbox.undelivered.push((key, *hold, *ticket)));
            timer::kick();
        }
    }

    fn disconnected(id: usize) {
        leave(id);
    }

    fn unblocked(ctx: Ctx, id: usize) {
        leave(id);
        ctx.reply_null();
    }
}

/// The client waits no longer, so the client behind it in the queue may be served now. If its answer is on the way already,
/// nothing happens here: [`OnBlocked::free`] learns whether it was sent.
fn leave(id: usize) {
    let has_ready_work = state::with_engine(|engine| engine.leave(id) && engine.has_ready_work());
    if has_ready_work == Some(true) {
        timer::kick();
    }
}
