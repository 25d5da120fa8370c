//! Clients that wait in LOCK.ACQUIRE and LOCK.MACQUIRE: how they are blocked, answered and freed.

use std::rc::Rc;

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
            Reply::GrantedTogether(granted, ticket, made_owner) => {
                let made_owner = made_owner.as_ref().map(|owner| owner.as_bytes());
                reply::grants(ctx, made_owner, granted.iter().map(|lock| lock.hold.fence));
                for lock in granted {
                    let key = (key.0, Rc::clone(&lock.name));
                    delivery::track(ctx.client(), SentGrant { key, hold: lock.hold, ticket: *ticket });
                }
            }
            Reply::Null => ctx.reply_null(),
            Reply::MustRelease => ctx.reply_error(&Refused::MustRelease.to_string()),
            Reply::NoPermission => ctx.reply_error(errors::NO_PERMISSION),
            Reply::NoPermissionToAll => ctx.reply_error(errors::NO_PERMISSION_TO_ALL),
            Reply::WrongType => ctx.reply_error(errors::WRONG_TYPE),
            Reply::TryAgain => ctx.reply_error(errors::TRY_AGAIN),
            Reply::ClusterDown => ctx.reply_error(errors::CLUSTER_DOWN),
        }
    }

    fn free(answer: Box<PendingReply>) {
        if answer.is_sent {
            return;
        }
        let (db, name) = (answer.key.0, &answer.key.1);
        let lost = |name: &[u8], hold, ticket| {
            state::with_inbox(|inbox| inbox.undelivered.push((KeyRef { db, name }.to_id(), hold, ticket)));
            timer::kick();
        };
        match &answer.reply {
            Reply::Granted(hold, ticket, _) => lost(name, *hold, *ticket),
            Reply::GrantedTogether(granted, ticket, _) => {
                granted.iter().for_each(|lock| lost(&lock.name, lock.hold, *ticket));
            }
            Reply::Null
            | Reply::MustRelease
            | Reply::NoPermission
            | Reply::NoPermissionToAll
            | Reply::WrongType
            | Reply::TryAgain
            | Reply::ClusterDown => {}
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
