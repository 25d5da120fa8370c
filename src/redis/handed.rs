//! Grants that have just been handed over.
//!
//! A client whose output buffer overflows, or whose ACL user is deleted, is closed by the server only at the end of the
//! turn of its loop in which that happens. Until then it takes answers like any other, and they are lost. So a grant counts
//! as delivered when that turn is over, or when its client was closed in it (QUIT) and had been sent all there was.

use std::cell::RefCell;
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::rc::Rc;

use redis_module::raw;

use super::api::{call, Ctx};
use super::guard::guard;
use super::state::{self, MainThread};
use crate::engine::KeyRef;
use crate::lock::{HoldId, Ticket};

/// A grant on its way to a client's socket.
struct Handed {
    client: u64,
    key: (i32, Rc<[u8]>),
    hold: HoldId,
    ticket: Ticket,
}

/// Those of this turn.
static HANDED: MainThread<RefCell<Vec<Handed>>> = MainThread::new(RefCell::new(Vec::new()));

/// For how many room is kept.
const KEPT: usize = 256;

/// This client was given this hold, in answer to this request.
pub fn to(client: u64, key: (i32, Rc<[u8]>), hold: HoldId, ticket: Ticket) {
    let mut handed = HANDED.get().borrow_mut();
    if handed.is_empty() {
        // The next turn begins with this: it is noted before the answer leaves, so the loop finds it before anything that
        // the client does upon it.
        // SAFETY: the callback lives as long as the process and takes no data.
        unsafe { call!(RedisModule_EventLoopAddOneShot(Some(on_next_turn), ptr::null_mut())) };
    }
    handed.push(Handed { client, key, hold, ticket });
}

/// The client is being closed. If answers to it were not sent any more, so was not what it was given in this turn: that is
/// noted. True if there was such.
pub fn closed(ctx: Ctx, client: u64) -> bool {
    let is_concerned = HANDED.get().borrow().iter().any(|handed| handed.client == client);
    if !is_concerned || !ctx.has_lost_answers(client) {
        return false;
    }
    let lost: Vec<Handed> = HANDED.get().borrow_mut().extract_if(.., |handed| handed.client == client).collect();
    let notes = lost.iter().map(|lost| (KeyRef { db: lost.key.0, name: &lost.key.1 }.to_id(), lost.hold, lost.ticket));
    state::with_inbox(|inbox| inbox.undelivered.extend(notes));
    !lost.is_empty()
}

unsafe extern "C" fn on_next_turn(_: *mut c_void) {
    guard("taking note of answers", (), || {
        let mut arrived = mem::take(&mut *HANDED.get().borrow_mut());
        state::with_engine(|engine| {
            for Handed { key, hold, ticket, .. } in arrived.drain(..) {
                engine.delivered(KeyRef { db: key.0, name: &key.1 }, hold, ticket);
            }
        });
        if arrived.capacity() <= KEPT {
            *HANDED.get().borrow_mut() = arrived;
        }
    });
}
