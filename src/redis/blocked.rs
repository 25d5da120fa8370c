//! Clients blocked in LOCK.ACQUIRE.
//!
//! The server is never given a time-out: a client that is unblocked and times out in the same iteration of the event loop
//! gets no answer on Redis 7.0 and crashes 7.2. The engine keeps the time itself.

use std::ffi::{c_int, c_void};
use std::rc::Rc;

use redis_module::raw;

use super::api::{call, server_version, Ctx, RawBlocked, RawCtx, RawString};
use super::call::WRONG_TYPE;
use super::guard::guard;
use super::{delivery, reply, state, timer};
use crate::engine::{KeyRef, Reply, Waiting};
use crate::wire::Refused;

/// From this version on, Redis and Valkey can be told what to answer to CLIENT UNBLOCK without the race that loses the
/// reply (redis/redis#13015). Below it, CLIENT UNBLOCK answers 0 and the waiter goes on waiting.
const UNBLOCK_CALLBACK_SINCE: i32 = 0x0007_0400;

/// What a cluster client takes as a reason to ask again in a moment; it is sent to the right server then.
const TRY_AGAIN: &str = "TRYAGAIN the slot of this key is leaving or has left this server, ask again";
/// In the words of Redis, which names neither the user nor the key either.
const NO_PERMISSION: &str = "NOPERM No permissions to run the 'lock.acquire' command on this key any more";
/// What Redis itself says.
const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";

/// A client that waits.
#[derive(Debug)]
pub struct BlockedClient(*mut RawBlocked);

/// An answer on its way to a client.
struct Delivery {
    key: (i32, Rc<[u8]>),
    reply: Reply,
    delivered: bool,
}

impl BlockedClient {
    /// Blocks the client of a command, from whose context no reply must follow. `None`: the server does not let it wait, and
    /// said nothing to it. From 8.1 on Valkey treats so whoever has subscribed to a channel (RESP3).
    pub fn block(ctx: Ctx) -> Option<BlockedClient> {
        let on_unblock: raw::RedisModuleCmdFunc =
            if server_version() >= UNBLOCK_CALLBACK_SINCE { Some(on_unblock) } else { None };
        // SAFETY: the context is that of a command whose client may block; the callbacks live as long as the process.
        let client = unsafe { call!(RedisModule_BlockClient(ctx.raw(), Some(on_reply), on_unblock, Some(on_free), 0)) };
        if client.is_null() {
            return None;
        }
        // SAFETY: the handle was made above.
        unsafe { call!(RedisModule_SetDisconnectCallback(client, Some(on_disconnect))) };
        Some(BlockedClient(client))
    }
}

impl Waiting for BlockedClient {
    type Id = usize;

    fn id(&self) -> usize {
        self.0.addr()
    }

    fn answer(self, key: (i32, Rc<[u8]>), reply: Reply) {
        let delivery = Box::into_raw(Box::new(Delivery { key, reply, delivered: false }));
        // SAFETY: the handle is unblocked once, as `self` is consumed; `on_free` takes the delivery back.
        unsafe { call!(RedisModule_UnblockClient(self.0, delivery.cast())) };
    }

    fn abandon(self) {
        // SAFETY: the handle is unblocked once, as `self` is consumed.
        unsafe { call!(RedisModule_UnblockClient(self.0, std::ptr::null_mut())) };
    }
}

/// Hands the answer over. The client is alive.
unsafe extern "C" fn on_reply(ctx: *mut RawCtx, _: *mut *mut RawString, _: c_int) -> c_int {
    guard("handing over an answer", (), || {
        // SAFETY: Redis lends the context for the call.
        let ctx = unsafe { Ctx::new(ctx) };
        // SAFETY: as above.
        let delivery = unsafe { call!(RedisModule_GetBlockedClientPrivateData(ctx.raw())) };
        // SAFETY: `answer` put it there, and `on_free` has not run yet.
        let Some(delivery) = (unsafe { delivery.cast::<Delivery>().as_mut() }) else { return ctx.reply_null() };
        delivery.delivered = true;
        match &delivery.reply {
            Reply::Granted(hold, ticket, made_owner) => {
                reply::granted(ctx, made_owner.as_ref().map(|owner| owner.as_bytes()), hold.fence);
                delivery::track(ctx.client(), delivery.key.clone(), *hold, *ticket);
            }
            Reply::Null => ctx.reply_null(),
            Reply::MustRelease => ctx.reply_error(&Refused::MustRelease.to_string()),
            Reply::NoPermission => ctx.reply_error(NO_PERMISSION),
            Reply::WrongType => ctx.reply_error(WRONG_TYPE),
            Reply::TryAgain => ctx.reply_error(TRY_AGAIN),
            Reply::ClusterDown => ctx.reply_error(CLUSTER_DOWN),
        }
    });
    raw::REDISMODULE_OK as c_int
}

/// Takes the answer back, delivered or not. The client may be gone; only a note can be left here.
unsafe extern "C" fn on_free(_: *mut RawCtx, delivery: *mut c_void) {
    guard("freeing an answer", (), || {
        // SAFETY: `answer` made it, and Redis calls this once.
        let delivery = unsafe { Box::from_raw(delivery.cast::<Delivery>()) };
        if let (Reply::Granted(hold, ticket, _), false) = (&delivery.reply, delivery.delivered) {
            let key = KeyRef { db: delivery.key.0, name: &delivery.key.1 }.to_id();
            state::with_inbox(|inbox| inbox.undelivered.push((key, *hold, *ticket)));
            timer::kick();
        }
    });
}

/// The connection is gone, or the server told the client to stop waiting.
unsafe extern "C" fn on_disconnect(_: *mut RawCtx, client: *mut RawBlocked) {
    guard("a waiter's disconnect", (), || {
        // False when its answer is on the way: `on_free` will learn that it was not delivered.
        leave(client);
    });
}

/// The client waits no longer; whoever stood behind it may be served now.
fn leave(client: *mut RawBlocked) {
    let is_pressed = state::with_engine(|engine| engine.leave(client.addr()) && engine.has_ready_work());
    if is_pressed == Some(true) {
        timer::kick();
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT]`
unsafe extern "C" fn on_unblock(ctx: *mut RawCtx, _: *mut *mut RawString, _: c_int) -> c_int {
    guard("CLIENT UNBLOCK", (), || {
        // SAFETY: Redis lends the context for the call.
        let ctx = unsafe { Ctx::new(ctx) };
        // SAFETY: as above.
        let client = unsafe { call!(RedisModule_GetBlockedClientHandle(ctx.raw())) };
        leave(client);
        ctx.reply_null();
    });
    raw::REDISMODULE_OK as c_int
}
