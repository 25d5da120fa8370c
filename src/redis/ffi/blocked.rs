//! Blocked clients.
//!
//! The server is never given a timeout; see "Time of waiters" in [`super::compat`].

use std::ffi::{c_int, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use redis_module::raw;

use super::api::{call, RawBlocked, RawCtx, RawString, OK};
use super::compat::ClientUnblock;
use super::context::Ctx;
use super::guard::guard;

/// What becomes of a blocked client.
pub trait OnBlocked {
    /// What answers it.
    type Answer;

    /// Sends the answer. The client is alive. `None`: it was unblocked without an answer.
    fn reply(ctx: Ctx, answer: Option<&mut Self::Answer>);
    /// Takes the answer back, sent or not. The client may be gone, so only notes can be left.
    fn free(answer: Box<Self::Answer>);
    /// The client's connection closed, or the server told it to stop waiting. `id` is that of [`Blocked::id`].
    fn disconnected(id: usize);
    /// CLIENT UNBLOCK: the client is to be answered now.
    fn unblocked(ctx: Ctx, id: usize);
}

/// A blocked client, which an `A` answers. It is consumed when it is unblocked, so that happens once.
pub struct Blocked<A>(*mut RawBlocked, PhantomData<A>);

impl<A> fmt::Debug for Blocked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocked").field(&self.0).finish()
    }
}

impl<A> Blocked<A> {
    /// Blocks the client of a command. No reply to it may follow from the context. `None` if the server does not let the
    /// client wait; then the server has not replied either. (Valkey 8.1 and later refuse clients that have subscribed to a
    /// channel with RESP3.)
    pub fn block<B: OnBlocked<Answer = A>>(ctx: Ctx, unblock: ClientUnblock) -> Option<Blocked<A>> {
        let on_unblock: raw::RedisModuleCmdFunc = match unblock {
            ClientUnblock::Answers => Some(on_unblock::<B>),
            ClientUnblock::DoesNothing => None,
        };
        let (on_reply, on_free) = (Some(on_reply::<B> as _), Some(on_free::<B> as _));
        // SAFETY: the context is that of a command whose client may block; the callbacks live as long as the process.
        let client = unsafe { call!(RedisModule_BlockClient(ctx.raw(), on_reply, on_unblock, on_free, 0)) };
        if client.is_null() {
            return None;
        }
        // SAFETY: the handle was made above.
        unsafe { call!(RedisModule_SetDisconnectCallback(client, Some(on_disconnect::<B>))) };
        Some(Blocked(client, PhantomData))
    }

    /// Tells blocked clients apart while they are blocked.
    pub fn id(&self) -> usize {
        self.0.addr()
    }

    /// Unblocks the client with an answer.
    pub fn answer(self, answer: A) {
        let answer = Box::into_raw(Box::new(answer));
        // SAFETY: the handle is unblocked once, as `self` is consumed; `on_free` takes the answer back.
        unsafe { call!(RedisModule_UnblockClient(self.0, answer.cast())) };
    }

    /// Lets go of a client that is gone, or that the server itself told something.
    pub fn abandon(self) {
        // SAFETY: the handle is unblocked once, as `self` is consumed.
        unsafe { call!(RedisModule_UnblockClient(self.0, ptr::null_mut())) };
    }
}

unsafe extern "C" fn on_reply<B: OnBlocked>(ctx: *mut RawCtx, _: *mut *mut RawString, _: c_int) -> c_int {
    guard("delivering an answer", (), || {
        // SAFETY: Redis lends the context for the call.
        let ctx = unsafe { Ctx::new(ctx) };
        // SAFETY: as above.
        let answer = unsafe { call!(RedisModule_GetBlockedClientPrivateData(ctx.raw())) };
        // SAFETY: `answer` put it there, and `on_free` has not run yet.
        B::reply(ctx, unsafe { answer.cast::<B::Answer>().as_mut() });
    });
    OK
}

unsafe extern "C" fn on_free<B: OnBlocked>(_: *mut RawCtx, answer: *mut c_void) {
    guard("freeing an answer", (), || {
        // SAFETY: `answer` made it, and Redis calls this once.
        B::free(unsafe { Box::from_raw(answer.cast::<B::Answer>()) });
    });
}

unsafe extern "C" fn on_disconnect<B: OnBlocked>(_: *mut RawCtx, client: *mut RawBlocked) {
    guard("a waiter's disconnect", (), || B::disconnected(client.addr()));
}

unsafe extern "C" fn on_unblock<B: OnBlocked>(ctx: *mut RawCtx, _: *mut *mut RawString, _: c_int) -> c_int {
    guard("CLIENT UNBLOCK", (), || {
        // SAFETY: Redis lends the context for the call.
        let ctx = unsafe { Ctx::new(ctx) };
        // SAFETY: as above.
        let client = unsafe { call!(RedisModule_GetBlockedClientHandle(ctx.raw())) };
        B::unblocked(ctx, client.addr());
    });
    OK
}
