//! The engine's state, and what others read of it.

use super::agenda::{Agenda, Task};
use super::cluster::Cluster;
use super::deadlines::Deadlines;
use super::events::{EventLog, Events};
use super::names::KeyId;
use super::quarantine::Quarantine;
use super::relocated::RelocatedHolds;
use super::server::{KeyEvent, Waiting};
use super::sessions::Sessions;
use super::settings::Settings;
use super::stats::Stats;
use super::wait_table::WaitTable;
use crate::lock::{Effect, FenceClock, Holders, Millis, Session, Steady};

/// All state outside the data set. `W` is a client that waits.
pub struct Engine<W: Waiting> {
    pub(super) fences: FenceClock,
    pub(super) settings: Settings,
    pub(super) stats: Stats,
    /// The queues, and the clients that wait.
    pub(super) waits: WaitTable<W>,
    /// When the next lease of each lock that is held ends.
    pub(super) leases: Deadlines<KeyId>,
    /// The holds that end with a connection.
    pub(super) sessions: Sessions,
    /// What is still to be done.
    pub(super) agenda: Agenda,
    /// What is still to be published.
    pub(super) events: EventLog,
    /// Where holds are now whose locks were moved while the answers were in flight.
    pub(super) relocated: RelocatedHolds,
    /// What a node of a cluster keeps.
    pub(super) cluster: Cluster,
    /// Whether this server grants locks yet.
    pub(super) quarantine: Quarantine,
    pub(super) scratch: Scratch,
}

/// What a step works with. Nothing of it lasts from one step to the next, but for the memory of the lists.
pub struct Scratch {
    /// What the rules want done.
    pub effects: Vec<Effect>,
    /// What replicas and the AOF are told.
    pub replicated: Vec<u8>,
    /// The holders of a lock that has no key yet. Free between two steps.
    pub no_holders: Holders,
    /// Whether the last step changed what is saved.
    pub has_recorded: bool,
}

impl<W: Waiting> Engine<W> {
    /// The state of a server that has just started.
    pub fn new() -> Engine<W> {
        Engine {
            fences: FenceClock::new(),
            settings: Settings::new(),
            stats: Stats::default(),
            waits: WaitTable::new(),
            leases: Deadlines::new(),
            sessions: Sessions::new(),
            agenda: Agenda::default(),
            events: EventLog::default(),
            relocated: RelocatedHolds::default(),
            cluster: Cluster::default(),
            quarantine: Quarantine::none(),
            scratch: Scratch {
                effects: Vec::new(),
                replicated: Vec::new(),
                no_holders: Holders::Free,
                has_recorded: false,
            },
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings. The next tick serves every queue: a limit that held a waiter back may be gone.
    pub fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.quarantine.set_length(self.settings.start_quarantine());
        self.advance_all();
    }

    /// Takes note that the server starts now. Called once, before its settings are known.
    pub fn server_starts(&mut self, now: Steady) {
        self.quarantine.begin(now);
    }

    /// How long this server still grants nothing.
    pub fn quarantine_left(&self, now: Steady) -> Millis {
        self.quarantine.left(now)
    }

    /// The next tick serves every queue.
    pub(super) fn advance_all(&mut self) {
        for key in self.waits.keys(None) {
            self.agenda.push(Task::Advance(key));
        }
    }

    /// The counters since the start of the server.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The number of locks that are held.
    pub fn locks_held(&self) -> usize {
        self.leases.len()
    }

    /// Counts locks that left this server with their slots, and that the server reported one by one.
    pub fn count_moved_away(&mut self, locks: u64) {
        self.stats.moved_away += locks;
    }

    /// The number of clients that wait.
    pub fn waiters(&self) -> usize {
        self.waits.len()
    }

    /// The name of every lock that has a queue.
    pub fn waited_for(&self) -> Vec<KeyId> {
        self.waits.keys(None)
    }

    /// The session of a client that is connected.
    pub fn session(&mut self, client: u64) -> Session {
        self.sessions.of_client(client)
    }

    /// The fence clock.
    pub fn fences(&mut self) -> &mut FenceClock {
        &mut self.fences
    }

    /// The next moment at which a lease or a wait ends or a check is due. If there is work already it is the beginning of
    /// time; `None` if nothing is due at any time.
    #[inline]
    pub fn first_deadline(&self) -> Option<Steady> {
        if self.has_ready_work() {
            return Some(Steady(i64::MIN));
        }
        // `None` sorts before every moment, so it must not take part in the minimum.
        let ends = match (self.leases.first(), self.waits.first_timeout()) {
            (Some(lease), Some(wait)) => Some(lease.min(wait)),
            (lease, wait) => lease.or(wait),
        };
        let ends = self.next_check().map_or(ends, |check| ends.into_iter().chain([check]).min());
        match self.quarantine.due() {
            Some(over) if self.waits.len() > 0 => ends.into_iter().chain([over]).min(),
            _ => ends,
        }
    }

    /// When the server is asked next about queues or slots, or the next locks that left with their slots are forgotten.
    /// Outside a cluster never.
    pub(super) fn next_check(&self) -> Option<Steady> {
        self.next_queue_check().into_iter().chain(self.next_slot_check()).chain(self.cluster.departures.due()).min()
    }

    /// Takes the keyspace events of a command. They are published once its key is closed.
    pub fn take_events(&mut self) -> Events {
        self.events.take_of_command()
    }

    /// Takes the keyspace events of the timer's tick, or of a command with several keys, with their keys.
    pub fn take_filed_events(&mut self) -> Vec<(KeyId, KeyEvent)> {
        self.events.take_filed()
    }

    /// Whether steps left work for the next tick, whatever the time.
    pub fn has_ready_work(&self) -> bool {
        self.agenda.has_ready_work()
    }
}
