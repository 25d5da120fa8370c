//! Grants that were just sent to waiters. [`crate::policy::delivery`] says when they count as delivered.

use super::ffi::events::{subscribe_to_sleeps, unsubscribe_from_sleeps, OnSleep};
use super::ffi::{clock, Ctx};
use super::state::{self, module};
use super::timer;
use super::waiting_client::SentGrant;
use crate::engine::KeyRef;
use crate::lock::Steady;
use crate::policy::client_list::Ending;
use crate::policy::delivery::{Business, Idle};

/// A grant was written to the connection of this client.
pub fn track(client: u64, grant: SentGrant) {
    let mut deliveries = module().deliveries.borrow_mut();
    // No server refuses to tell of sleeps. If one did, grants would count as delivered at once.
    if deliveries.is_empty() && deliveries.begin(clock::now().steady) && subscribe_to_sleeps::<Sleeps>() {
        deliveries.told_of_sleeps();
        timer::arm(Ctx::detached(), Some(deliveries.idle_at()));
    }
    let is_delivered = deliveries.add(client, grant);
    drop(deliveries);
    if is_delivered {
        note_arrivals();
    }
}

/// The client is being closed. Notes the grants of this iteration of the event loop that cannot have been sent to it. True
/// if there were any.
pub fn client_closed(ctx: Ctx, client: u64) -> bool {
    if !module().deliveries.borrow().has_grant_for(client) {
        return false;
    }
    let Some(ending) = ctx.client_list(client, Ending::read) else { return false };
    let flags = ctx.flags();
    let business = Business { is_in_script: flags.is_in_script(), is_loading: flags.is_loading() };
    let mut deliveries = module().deliveries.borrow_mut();
    if !deliveries.is_lost(ending, business, clock::now().steady) {
        return false;
    }
    let lost = deliveries.take_grants_of(client);
    drop(deliveries);
    let notes = lost.iter().map(|lost| (KeyRef { db: lost.key.0, name: &lost.key.1 }.to_id(), lost.hold, lost.ticket));
    state::with_inbox(|inbox| inbox.undelivered.extend(notes));
    !lost.is_empty()
}

/// Unsubscribes from sleeps if nothing was sent for a while. Otherwise returns when to look again. To be called in the
/// timer only, because the server must not be sending events to its modules meanwhile.
pub fn unsubscribe_if_idle() -> Option<Steady> {
    match module().deliveries.borrow_mut().check_idle(clock::now().steady) {
        Idle::NotTold => None,
        Idle::CheckAt(moment) => Some(moment),
        Idle::Unsubscribe => {
            unsubscribe_from_sleeps();
            None
        }
    }
}

struct Sleeps;

impl OnSleep for Sleeps {
    fn slept() {
        note_arrivals();
    }
}

/// Counts everything in flight as delivered.
fn note_arrivals() {
    let mut arrived = module().deliveries.borrow_mut().take_all();
    state::with_engine(|engine| {
        for in_flight in arrived.drain(..) {
            let SentGrant { key, hold, ticket } = in_flight.grant;
            engine.delivered(KeyRef { db: key.0, name: &key.1 }, hold, ticket);
        }
    });
    module().deliveries.borrow_mut().reuse(arrived);
}
