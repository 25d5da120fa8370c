//! Random sequences of everything that commands, clients, connections, operators and time can do to a small data set.
//! The invariants E1 to E8 are checked after each of them, and all others when the timer comes to rest.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[derive(Clone, Debug)]
pub enum Event {
    Acquire(Name, &'static str, How),
    Release(Name, &'static str, After),
    /// LOCK.MACQUIRE of these keys.
    AcquireAll(&'static [Name], &'static str, How),
    ReleaseAll(&'static [Name], &'static str),
    ExtendAll(&'static [Name], &'static str, u64),
    Extend(Name, &'static str, u64, bool),
    Leave(u64),
    HangUp(u64),
    Unlink(Name),
    UnlinkUnseen(Name),
    Set(Name),
    Rename(Name, Name),
    Restore(Name, &'static str, bool, u64),
    Flush(Scope),
    /// The key's slot leaves, and is back.
    SlotLeaves(Name),
    Swap(i32, i32),
    Pass(u64),
    Ring,
    ServerState(ServerState),
    WriteCheck(WriteCheck),
    Foreign(Name),
    /// The user may not ask for this lock any more, or may again.
    Rights(Name),
    MaxHolders(i64),
    /// The server grants nothing for this long after its start; 0: it grants.
    Quarantine(i64),
    /// Deliver the oldest answer in flight, or the newest, or lose it: `(is delivered, is the oldest)`.
    Deliver(bool, bool),
    /// More than a step ends ask for a shared hold.
    Many(Name, How),
}

/// Keys that are asked for together.
pub const TOGETHER: [&[Name]; 6] = [
    &[(0, "k"), (0, "l")],
    &[(0, "l"), (0, "k")],
    &[(0, "k"), (0, "m"), (0, "l")],
    &[(0, "m"), (0, "l")],
    &[(1, "k"), (1, "l")],
    &[(0, "k")],
];

/// More than a step ends.
const MANY: [&str; 9] = ["a", "n", "o", "p", "q", "r", "s", "t", "u"];

fn event() -> impl Strategy<Value = Event> {
    let name = || prop::sample::select(vec![(0, "k"), (0, "l"), (1, "k"), (1, "l")]);
    let together = || prop::sample::select(TOGETHER.to_vec());
    let who = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let state = prop::sample::select(vec![
        ServerState::Writable,
        ServerState::Halted,
        ServerState::Loading,
        ServerState::Replica,
    ]);
    let write_check = prop::sample::select(vec![WriteCheck::Accepts, WriteCheck::Halted]);
    let scope = prop::sample::select(vec![Scope::All, Scope::Db(0), Scope::Db(1)]);
    prop_oneof![
        20 => (name(), who(), how()).prop_map(|(name, who, how)| Event::Acquire(name, who, how)),
        8 => (name(), who(), after()).prop_map(|(name, who, after)| Event::Release(name, who, after)),
        8 => (together(), who(), how()).prop_map(|(keys, who, how)| Event::AcquireAll(keys, who, how)),
        2 => (together(), who()).prop_map(|(keys, who)| Event::ReleaseAll(keys, who)),
        1 => (together(), who(), 1..9u64).prop_map(|(keys, who, ms)| Event::ExtendAll(keys, who, ms)),
        4 => (name(), who(), 1..9u64, any::<bool>()).prop_map(|(name, who, ms, raise)| Event::Extend(name, who, ms, raise)),
        2 => (1..20u64).prop_map(Event::Leave),
        4 => (0..3u64).prop_map(Event::HangUp),
        2 => name().prop_map(Event::Unlink),
        1 => name().prop_map(Event::UnlinkUnseen),
        1 => name().prop_map(Event::Set),
        3 => (name(), name()).prop_map(|(from, to)| Event::Rename(from, to)),
        2 => (name(), who(), any::<bool>(), 1..9u64)
            .prop_map(|(name, who, shared, lease)| Event::Restore(name, who, shared, lease)),
        1 => scope.prop_map(Event::Flush),
        2 => name().prop_map(Event::SlotLeaves),
        2 => Just(Event::Swap(0, 1)),
        8 => (1..6u64).prop_map(Event::Pass),
        8 => Just(Event::Ring),
        2 => state.prop_map(Event::ServerState),
        2 => write_check.prop_map(Event::WriteCheck),
        2 => name().prop_map(Event::Foreign),
        2 => name().prop_map(Event::Rights),
        1 => (1..4i64).prop_map(Event::MaxHolders),
        1 => prop_oneof![Just(0), 1..300i64].prop_map(Event::Quarantine),
        6 => any::<(bool, bool)>().prop_map(|(arrives, first)| Event::Deliver(arrives, first)),
        3 => (name(), how()).prop_map(|(name, how)| Event::Many(name, how)),
    ]
}

/// A client that waited, or still does.
struct Waited {
    keys: Vec<Name>,
    connection: Option<u64>,
}

/// A world, and what is on the way in it.
pub struct Story {
    world: World,
    /// The answers in flight, with their clients.
    flying: Vec<(u64, Reply)>,
    waited: BTreeMap<u64, Waited>,
    answered: BTreeSet<u64>,
    /// Whether a lock vanished unseen. Then a connection may still know a hold that has ended.
    unseen: bool,
    fences: u64,
    /// Connections 0, 1 and 2 of this generation are open.
    generation: u64,
}

impl Story {
    pub fn new() -> Story {
        Story {
            world: World::new(),
            flying: Vec::new(),
            waited: BTreeMap::new(),
            answered: BTreeSet::new(),
            unseen: false,
            fences: 1_000_000,
            generation: 0,
        }
    }

    pub fn happen(&mut self, event: &Event) {
        let may_command = self.may_command();
        let world = &mut self.world;
        match *event {
            Event::Acquire(..) | Event::Release(..) | Event::Extend(..) | Event::Many(..) if !may_command => {}
            Event::AcquireAll(..) | Event::ReleaseAll(..) | Event::ExtendAll(..) if !may_command => {}
            Event::Acquire(key, who, how) => self.acquire(key, who, how),
            Event::Release(key, who, after) => done(world.release_with(key, after.request(who))),
            Event::AcquireAll(keys, who, how) => self.acquire_all(keys, who, how),
            Event::ReleaseAll(keys, who) => done(world.release_all(keys, who)),
            Event::ExtendAll(keys, who, lease) => done(world.extend_all(keys, who, lease)),
            Event::Extend(key, who, lease, false) => done(world.extend(key, who, lease)),
            Event::Extend(key, who, lease, true) => {
                self.fences += lease;
                done(world.raise(key, who, self.fences));
            }
            Event::Leave(client) => done(world.engine.leave(client)),
            Event::HangUp(connection) => self.hang_up(connection),
            Event::Unlink(key) => done(world.unlink(key)),
            Event::UnlinkUnseen(key) => {
                done(world.unlink_unseen(key));
                self.unseen = true;
            }
            Event::Set(key) => world.set(key),
            Event::Rename(from, to) if from != to => world.rename(from, to),
            Event::Rename(..) => {}
            Event::Restore(key, who, shared, lease) => {
                self.fences += 100_000;
                let mode = if shared { Mode::Shared(None) } else { Mode::Exclusive };
                world.restore_all(key, &[(who, mode), ("e", mode)][..1 + usize::from(shared)], lease, self.fences);
            }
            Event::Flush(scope) => done(world.flush(scope)),
            Event::SlotLeaves(key) => world.slots_leave(&[key], Leaving::Moved),
            Event::Swap(one, other) => world.swap(one, other),
            Event::Pass(ms) => world.pass(ms),
            Event::Ring => done(world.run()),
            Event::ServerState(state) => self.stand(state),
            Event::WriteCheck(write_check) => world.fake.write_check = write_check,
            Event::Foreign(key) => match world.fake.foreign.iter().position(|foreign| *foreign == key) {
                Some(n) => done(world.fake.foreign.remove(n)),
                None => world.fake.foreign.push(key),
            },
            Event::Rights(key) if world.is_denied(key) => world.allow(1, key),
            Event::Rights(key) => world.deny(1, key),
            Event::MaxHolders(max) => world.set_to("max-holders", max),
            Event::Quarantine(ms) => world.set_to("start-quarantine", ms),
            Event::Deliver(arrives, first) => {
                if !self.flying.is_empty() {
                    let place = if first { 0 } else { self.flying.len() - 1 };
                    let (client, reply) = self.flying.remove(place);
                    self.arrive(client, &reply, arrives);
                }
            }
            Event::Many(key, how) => {
                let how = How { patience: Patience::None, mode: Mode::Shared(None), delay: None, ..how };
                MANY.iter().for_each(|who| self.acquire(key, who, how));
            }
        }
        self.read_log();
    }

    /// Commands that decide are refused on a replica and while loading.
    fn may_command(&self) -> bool {
        matches!(self.world.fake.state, ServerState::Writable | ServerState::Halted)
    }

    fn acquire(&mut self, key: Name, who: &str, how: How) {
        let Some(connection) = self.connection(&[key], how) else { return };
        let told = self.world.send_with(key, who, How { connection, ..how });
        if let Ok(Outcome::Waits(_)) = told {
            assert!(how.patience != Patience::None);
            self.waited.insert(self.world.clients, Waited { keys: vec![key], connection });
        }
    }

    fn acquire_all(&mut self, keys: &[Name], who: &str, how: How) {
        let Some(connection) = self.connection(keys, how) else { return };
        let told = self.world.send_all(keys, who, How { connection, ..how });
        if let Ok(OutcomeOfAll::Waits { .. }) = told {
            assert!(how.patience != Patience::None);
            self.waited.insert(self.world.clients, Waited { keys: keys.to_vec(), connection });
        }
    }

    /// The connection on which a request comes, if it is bound to one. `None` if the request cannot come: the server refuses
    /// it, or the connection waits for something else.
    fn connection(&self, keys: &[Name], how: How) -> Option<Option<u64>> {
        let connection = how.connection.map(|connection| connection + 10 * self.generation);
        let is_busy = |(client, waited): (&u64, &Waited)| {
            waited.connection == connection && connection.is_some() && !self.answered.contains(client)
        };
        let is_denied = keys.iter().any(|key| self.world.is_denied(*key));
        (!is_denied && !self.waited.iter().any(is_busy)).then_some(connection)
    }

    /// The three connections close one after the other, and others take their place: a client's id is never used again.
    fn hang_up(&mut self, connection: u64) {
        let connection = connection + 10 * self.generation;
        self.world.hang_up(connection);
        let theirs = |(client, waited): (&u64, &Waited)| (waited.connection == Some(connection)).then_some(*client);
        let theirs: Vec<u64> = self.waited.iter().filter_map(theirs).collect();
        for client in theirs {
            self.world.engine.leave(client);
            while let Some(place) = self.flying.iter().position(|(told, _)| *told == client) {
                let (client, reply) = self.flying.remove(place);
                self.arrive(client, &reply, false);
            }
        }
        self.generation += 1;
    }

    fn arrive(&mut self, client: u64, reply: &Reply, arrives: bool) {
        let key = self.waited[&client].keys[0];
        if arrives {
            self.world.deliver(key, reply);
        } else {
            self.world.lose(key, reply);
        }
    }

    fn stand(&mut self, state: ServerState) {
        let was_replica = self.world.fake.state == ServerState::Replica;
        if was_replica != (state == ServerState::Replica) {
            self.world.change_role(state);
        }
        self.world.fake.state = state;
        // A server that is demoted lets all its blocked clients go.
        for client in (1..=self.world.clients).filter(|_| state == ServerState::Replica) {
            self.world.engine.leave(client);
        }
    }

    fn read_log(&mut self) {
        for did in self.world.did() {
            match did {
                Did::Answered(client, reply) => {
                    assert!(self.answered.insert(client), "client {client} was answered twice");
                    let keys = &self.waited[&client].keys;
                    let is_denied = keys.iter().any(|key| self.world.is_denied(*key));
                    let is_sent_away = matches!(reply, Reply::NoPermission | Reply::NoPermissionToAll);
                    assert!(!is_sent_away || is_denied, "client {client} was sent away");
                    if let Reply::GrantedTogether(granted, ..) = &reply {
                        let names: Vec<&[u8]> = granted.iter().map(|lock| &*lock.name).collect();
                        let asked: Vec<&[u8]> = keys.iter().map(|key| key.1.as_bytes()).collect();
                        assert_eq!(names, asked, "I11: all or none");
                    }
                    if matches!(reply, Reply::Granted(..) | Reply::GrantedTogether(..)) {
                        assert!(!is_denied, "client {client} was granted without the right");
                        self.flying.push((client, reply));
                    }
                }
                Did::Abandoned(client) => assert!(self.answered.insert(client), "client {client} was let go twice"),
                Did::Replicated(..) | Did::Counted(_) | Did::ReplicatedFence(_) => {}
                Did::ClearedTtl(_) | Did::Signalled(_) | Did::Published(..) => {}
            }
        }
    }

    /// The server writes again, and the timer rings until it has nothing to do.
    pub fn settle(&mut self) {
        self.stand(ServerState::Writable);
        self.world.fake.write_check = WriteCheck::Accepts;
        self.world.fake.foreign.clear();
        self.world.rest();
        self.read_log();
        for (client, reply) in std::mem::take(&mut self.flying) {
            self.arrive(client, &reply, true);
        }
        self.world.rest();
        self.read_log();
        self.world.assert_at_rest();
        for key in self.fake_locks() {
            self.assert_modes(key);
        }
    }

    fn fake_locks(&self) -> Vec<(i32, Vec<u8>)> {
        self.world.fake.data.keys().cloned().collect()
    }

    /// I1, and I7: nobody waits for a lock that its own owner holds, unless it waits for several.
    fn assert_modes(&self, key: (i32, Vec<u8>)) {
        let Some(Value::Lock(stored)) = self.world.fake.data.get(&key) else { return };
        let at = KeyRef { db: key.0, name: &key.1 };
        for (_, waiter) in self.world.engine.waits.queue(at).into_iter().flat_map(WaitQueue::iter) {
            let is_held = stored.holders.of((*waiter.request.owner).borrow()).is_some();
            assert!(!is_held || waiter.is_multi_key, "{waiter:?} waits for itself");
        }
    }

    /// Everything ends. Then every client was answered or abandoned, and nothing is kept.
    pub fn end(mut self) {
        for connection in 0..3 {
            let connection = connection + 10 * self.generation;
            if self.unseen {
                self.world.hang_up(connection);
            } else {
                self.world.hang_up_at_rest(connection);
            }
        }
        self.settle();
        let mut rounds = 0;
        while self.world.engine.waiters() > 0 {
            self.world.pass(10);
            self.settle();
            rounds += 1;
            assert!(rounds < 1000, "somebody waits for ever");
        }
        assert!(self.waited.keys().all(|client| self.answered.contains(client)), "somebody was never answered");
        assert!(self.world.engine.waited_for().is_empty(), "a queue of nobody is kept");
        assert!(!self.world.engine.waits.clients().has_repeated_owner());
        let (kept, nothing) = (self.world.engine.waits.contended(), Contended::default());
        assert_eq!(format!("{kept:?}"), format!("{nothing:?}"), "who holds locks without a queue is kept");
        self.world.assert_ends();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_lock_keeps_one_deadline_every_hold_its_connection_and_every_client_gets_one_answer(
        stretches in prop::collection::vec(prop::collection::vec(event(), 1..16), 1..5)
    ) {
        let mut story = Story::new();
        for stretch in &stretches {
            for event in stretch {
                story.happen(event);
            }
            story.settle();
        }
        story.end();
    }
}
