//! Grants that have just been handed over.
//!
//! A client whose output buffer overflows, or whose ACL user is deleted, is closed by the server only at the end of the
//! turn of its loop in which that happens. Until then it takes answers like any other, and they are lost. So a grant counts
//! as delivered when that turn is over, or when its client was closed in it (QUIT) and had been sent all there was.
//!
//! The turn is over when the server has slept, before it reads from any client: one that has read its grant and leaves at
//! once may be the first it reads from. The server tells its modules of every sleep if they ask for that, which costs some
//! 800 instructions a turn; so it is asked only while grants are handed over.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::mem;
use std::rc::Rc;

use redis_module::raw;

use super::api::{self, call, Ctx, RawCtx};
use super::guard::guard;
use super::state::{self, MainThread};
use crate::engine::KeyRef;
use crate::lock::{HoldId, Millis, Steady, Ticket};

/// A grant on its way to a client's socket.
struct Handed {
    client: u64,
    key: (i32, Rc<[u8]>),
    hold: HoldId,
    ticket: Ticket,
}

/// Those of this turn.
static HANDED: MainThread<RefCell<Vec<Handed>>> = MainThread::new(RefCell::new(Vec::new()));

/// Whether the server tells of its sleeps, and whether any grant was handed over since the timer last rang.
static LISTENS: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));
static IN_USE: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// When the first of this turn was handed over.
static SINCE: MainThread<Cell<Steady>> = MainThread::new(Cell::new(Steady(0)));

/// In the midst of a script that takes longer than `busy-reply-threshold` clients are served, answered and read from, and no
/// sleep is told of. After so long, in milliseconds, that is more likely than a client that was never answered.
const LONG: Millis = Millis(50);
/// For how many room is kept.
const KEPT: usize = 256;
/// How long nothing must have been handed over until the server is asked to be silent again, in milliseconds.
const IDLE_MS: i64 = 1000;

/// This client was given this hold, in answer to this request.
pub fn to(client: u64, key: (i32, Rc<[u8]>), hold: HoldId, ticket: Ticket) {
    let mut handed = HANDED.get().borrow_mut();
    if handed.is_empty() {
        listen();
        SINCE.get().set(api::now().steady);
    }
    handed.push(Handed { client, key, hold, ticket });
}

/// The client is being closed. If answers to it were not sent any more, so was not what it was given in this turn: that is
/// noted. True if there was such.
pub fn closed(ctx: Ctx, client: u64) -> bool {
    let is_concerned = HANDED.get().borrow().iter().any(|handed| handed.client == client);
    if !is_concerned || SINCE.get().get() + LONG < api::now().steady || !ctx.has_lost_answers(client) {
        return false;
    }
    let lost: Vec<Handed> = HANDED.get().borrow_mut().extract_if(.., |handed| handed.client == client).collect();
    let notes = lost.iter().map(|lost| (KeyRef { db: lost.key.0, name: &lost.key.1 }.to_id(), lost.hold, lost.ticket));
    state::with_inbox(|inbox| inbox.undelivered.extend(notes));
    !lost.is_empty()
}

fn listen() {
    IN_USE.get().set(true);
    if !LISTENS.get().replace(true) {
        subscribe(Some(on_sleep));
        Ctx::detached().create_timer(IDLE_MS, on_idle);
    }
}

fn subscribe(callback: raw::RedisModuleEventCallback) {
    let event = raw::RedisModuleEvent { id: raw::REDISMODULE_EVENT_EVENTLOOP, dataver: 1 };
    // SAFETY: the context names the module; the callback lives as long as the process.
    unsafe { call!(RedisModule_SubscribeToServerEvent(Ctx::detached().raw(), event, callback)) };
}

/// The subscription ends in a timer, because the server must not be telling its modules of anything meanwhile.
unsafe extern "C" fn on_idle(ctx: *mut RawCtx, _: *mut c_void) {
    guard("an idle timer", (), || {
        if IN_USE.get().take() {
            // SAFETY: Redis lends the context for the call.
            unsafe { Ctx::new(ctx) }.create_timer(IDLE_MS, on_idle);
        } else {
            subscribe(None);
            LISTENS.get().set(false);
        }
    });
}

unsafe extern "C" fn on_sleep(_: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if sub == raw::REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP {
        guard("a sleep of the server", (), note_arrivals);
    }
}

fn note_arrivals() {
    let mut arrived = mem::take(&mut *HANDED.get().borrow_mut());
    state::with_engine(|engine| {
        for Handed { key, hold, ticket, .. } in arrived.drain(..) {
            engine.delivered(KeyRef { db: key.0, name: &key.1 }, hold, ticket);
        }
    });
    if arrived.capacity() <= KEPT {
        *HANDED.get().borrow_mut() = arrived;
    }
}
