//! The server's events: databases that were swapped or flushed, changes of role, loads, clients that left, time that
//! passes.
//!
//! Callbacks only leave notes and change the engine's own tables. All writing is left to the timer.

use super::ffi::events::{subscribe_to_server_events, OnServerEvent, ServerEvent};
use super::ffi::{clock, log, Ctx, Level};
use super::state::{self, module};
use super::waiting_client::BlockedClient;
use super::{delivery, modules, propagation, removals, timer, value};
use crate::engine::{Engine, Inbox, Scope};
use crate::policy::role::Role;

/// Subscribes to the server's events; false if it refuses.
pub fn subscribe(ctx: Ctx) -> bool {
    subscribe_to_server_events::<Events>(ctx)
}

struct Events;

impl OnServerEvent for Events {
    fn happened(ctx: Ctx, event: ServerEvent) {
        match event {
            ServerEvent::Cron => {
                timer::check();
                propagation::refresh();
                module().removals.borrow_mut().forget_flush();
            }
            ServerEvent::BecamePrimary => role_changed(Role::Primary),
            ServerEvent::BecameReplica => role_changed(Role::Replica),
            ServerEvent::Flushed(db) => {
                let scope = db.map_or(Scope::All, Scope::Db);
                tell(|engine, inbox| removals::flushed(engine.flushed(scope, inbox) as u64));
            }
            ServerEvent::Swapped(one, other) => tell(|engine, inbox| engine.swapped(one, other, inbox)),
            ServerEvent::DataSetReplaced => tell(|engine, inbox| {
                engine.flushed(Scope::All, inbox);
            }),
            ServerEvent::Disconnected(client) => disconnected(ctx, client),
            ServerEvent::ModulesChanged => modules::refresh(Ctx::detached()),
            ServerEvent::LoadsOwnData => {
                module().removals.borrow_mut().loads();
                value::database_is_known();
            }
            ServerEvent::LoadsPrimarysData => {
                module().removals.borrow_mut().loads();
                value::primarys_load_begins(ctx);
            }
            ServerEvent::Loaded => {
                value::database_is_known();
                timer::kick();
            }
            ServerEvent::Forked => {
                propagation::listeners_may_have_come();
                aof_rewritten();
            }
        }
    }
}

/// A connection closed. What ends with it is left to the timer: this may be in the middle of a script.
fn disconnected(ctx: Ctx, client: u64) {
    let has_lost_grants = delivery::client_closed(ctx, client);
    let has_left_notes = state::with_inbox(|inbox| {
        state::with_engine(|engine| engine.disconnected(client, inbox));
        !inbox.closed.is_empty()
    });
    if has_lost_grants || has_left_notes == Some(true) {
        timer::kick();
    }
}

/// Lets the engine change its tables and leave notes, and asks for a tick.
fn tell(body: impl FnOnce(&mut Engine<BlockedClient>, &mut Inbox)) {
    state::with_inbox(|inbox| state::with_engine(|engine| body(engine, inbox)));
    timer::kick();
}

/// A promoted replica may not know the last fences that its primary gave, so it leaps over them before it grants anything.
fn role_changed(role: Role) {
    module().role.set(role);
    module().removals.borrow_mut().forget_flush();
    if role == Role::Primary {
        state::with_engine(|engine| engine.begin_term(clock::now()));
        state::with_inbox(|inbox| inbox.announce_fence = true);
        log(Level::Notice, "this server is the primary now and takes over the leases of its locks");
    }
    propagation::listeners_may_have_come();
    tell(|engine, inbox| engine.forget_sessions(inbox));
}

/// An AOF rewrite drops the fences of free locks, so the fence clock is written to the AOF again after it.
fn aof_rewritten() {
    if Ctx::detached().flags().has_aof() {
        state::with_inbox(|inbox| inbox.announce_fence = true);
        timer::kick();
    }
}
