//! Grants that have just been handed over.
//!
//! A client whose output buffer overflows, or whose ACL user is deleted, is closed by the server only at the end of the
//! iteration of the event loop in which that happens. Until then it takes answers like any other, and they are lost. So a grant counts
//! as delivered when that turn is over, or when its client was closed in it and may have been sent it.
//!
//! In doubt a grant was delivered. One that was not ends with its lease; one that was and is taken back would be held twice.
//!
//! The turn is over when the server has slept, before it reads from any client: one that has read its grant and leaves at
//! once may be the first it reads from. The server tells its modules of every sleep if they ask for that, which costs some
//! 800 instructions a turn; so it is asked only while grants are handed over.
//!
//! Known: where Valkey's I/O threads send answers, the server learns of it later in its turn. A client that another one
//! closes (CLIENT KILL, ACL DELUSER) between the two, in the turn of its grant, counts as not told.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem;
use std::rc::Rc;

use redis_module::raw;

use super::api::{self, call, Ctx, RawCtx};
use super::client_list::{self, Ending};
use super::guard::guard;
use super::state::{self, MainThread};
use super::timer;
use crate::engine::KeyRef;
use crate::lock::{HoldId, Millis, Steady, Ticket};

/// A grant on its way to a client's socket.
struct InFlight {
    client: u64,
    key: (i32, Rc<[u8]>),
    hold: HoldId,
    ticket: Ticket,
}

/// Those of this turn.
static IN_FLIGHT: MainThread<RefCell<Vec<InFlight>>> = MainThread::new(RefCell::new(Vec::new()));

/// Whether the server tells of its sleeps.
static LISTENS: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// When something was delivered last: the first of its turn.
static SINCE: MainThread<Cell<Steady>> = MainThread::new(Cell::new(Steady(0)));

/// How long a turn may take after a grant, in milliseconds, in which the server does not serve others in between.
const LONG: Millis = Millis(50);
/// For how many room is kept.
const KEPT: usize = 256;
/// How long nothing must have been handed over until the server is asked to be silent again, in milliseconds.
const IDLE: Millis = Millis(1000);

/// This client was given this hold, in answer to this request.
pub fn track(client: u64, key: (i32, Rc<[u8]>), hold: HoldId, ticket: Ticket) {
    let mut in_flight = IN_FLIGHT.get().borrow_mut();
    if in_flight.is_empty() {
        SINCE.get().set(api::now().steady);
        listen();
    }
    in_flight.push(InFlight { client, key, hold, ticket });
    drop(in_flight);
    if !LISTENS.get().get() {
        note_arrivals();
    }
}

/// The client is being closed. If what it was given in this turn cannot have been sent, that is noted. True if there was such.
pub fn client_closed(ctx: Ctx, client: u64) -> bool {
    let is_concerned = IN_FLIGHT.get().borrow().iter().any(|in_flight| in_flight.client == client);
    if !is_concerned || !client_list::ending(ctx, client).is_some_and(|ending| is_lost(ctx, ending)) {
        return false;
    }
    let lost: Vec<InFlight> =
        IN_FLIGHT.get().borrow_mut().extract_if(.., |in_flight| in_flight.client == client).collect();
    let notes = lost.iter().map(|lost| (KeyRef { db: lost.key.0, name: &lost.key.1 }.to_id(), lost.hold, lost.ticket));
    state::with_inbox(|inbox| inbox.undelivered.extend(notes));
    !lost.is_empty()
}

/// Whether a client that ends so was not sent what it was given in this turn.
fn is_lost(ctx: Ctx, ending: Ending) -> bool {
    // While the server is busy with a script, a load or another module's command for long, it serves others in between, and
    // tells of no sleep: the mark may be that of a client which was sent its grant, and whose end was read since.
    let may_have_slept =
        ctx.flags().is_in_script() || ctx.flags().is_loading() || SINCE.get().get() + LONG < api::now().steady;
    ending.has_unsent || (ending.is_marked && !may_have_slept)
}

/// Asks to be told of sleeps. No server refuses; if one did, grants would count as delivered at once.
fn listen() {
    if !LISTENS.get().get() && subscribe(Some(on_sleep)) {
        LISTENS.get().set(true);
        timer::arm(Ctx::detached(), Some(SINCE.get().get() + IDLE));
    }
}

/// Asks to be told no more if nothing was delivered for a while; otherwise says when to look again. In the timer only: the
/// server must not be telling its modules of anything meanwhile.
pub fn unsubscribe_if_idle() -> Option<Steady> {
    if !LISTENS.get().get() {
        return None;
    }
    let end = SINCE.get().get() + IDLE;
    if end > api::now().steady {
        return Some(end);
    }
    subscribe(None);
    LISTENS.get().set(false);
    None
}

/// False if the server refuses.
fn subscribe(callback: raw::RedisModuleEventCallback) -> bool {
    let event = raw::RedisModuleEvent { id: raw::REDISMODULE_EVENT_EVENTLOOP, dataver: 1 };
    // SAFETY: the context names the module; the callback lives as long as the process.
    let done = unsafe { call!(RedisModule_SubscribeToServerEvent(Ctx::detached().raw(), event, callback)) };
    done == raw::REDISMODULE_OK as c_int
}

unsafe extern "C" fn on_sleep(_: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if sub == raw::REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP {
        guard("a sleep of the server", (), note_arrivals);
    }
}

fn note_arrivals() {
    let mut arrived = mem::take(&mut *IN_FLIGHT.get().borrow_mut());
    state::with_engine(|engine| {
        for InFlight { key, hold, ticket, .. } in arrived.drain(..) {
            engine.delivered(KeyRef { db: key.0, name: &key.1 }, hold, ticket);
        }
    });
    if arrived.capacity() <= KEPT {
        *IN_FLIGHT.get().borrow_mut() = arrived;
    }
}
