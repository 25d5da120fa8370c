//! A server, the engine, and what the edge does between the two.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::fake::{FakeKeys, Seen};
use super::*;
use crate::lock::HoldId;
use crate::wire::{key_slot, SlotSet};

pub type Name = (i32, &'static str);

pub fn at((db, name): Name) -> KeyRef<'static> {
    KeyRef { db, name: name.as_bytes() }
}

pub fn owner(name: &str) -> OwnerRef<'_> {
    OwnerRef::new(name.as_bytes()).unwrap()
}

/// LOCK.ACQUIRE.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    key: Name,
    who: &'a str,
    lease: u64,
    patience: Patience,
    mode: Mode,
    max: Option<Millis>,
    delay: Option<Millis>,
    connection: Option<u64>,
    user: u32,
}

/// `LOCK.ACQUIRE key who PX 1000` by user 1.
pub fn ask(key: Name, who: &str) -> Ask<'_> {
    let (patience, mode) = (Patience::None, Mode::Exclusive);
    Ask { key, who, lease: 1000, patience, mode, max: None, delay: None, connection: None, user: 1 }
}

impl Ask<'_> {
    pub fn lease(self, ms: u64) -> Self {
        Ask { lease: ms, ..self }
    }

    /// `BLOCK ms`
    pub fn block(self, ms: u64) -> Self {
        Ask { patience: if ms == 0 { Patience::Endless } else { Patience::For(Millis(ms)) }, ..self }
    }

    pub fn shared(self) -> Self {
        Ask { mode: Mode::Shared(None), ..self }
    }

    /// `SHARED LIMIT holders`
    pub fn limit(self, holders: u64) -> Self {
        Ask { mode: Mode::Shared(Limit::new(holders)), ..self }
    }

    /// `SESSION`, on this connection.
    pub fn on(self, connection: u64) -> Self {
        Ask { connection: Some(connection), ..self }
    }

    pub fn user(self, user: u32) -> Self {
        Ask { user, ..self }
    }
}

/// How random tests ask for a lock.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub lease: u64,
    pub patience: Patience,
    pub mode: Mode,
    pub max: Option<Millis>,
    pub delay: Option<Millis>,
    pub connection: Option<u64>,
}

/// What random tests do with a lock that an owner releases.
#[derive(Clone, Copy, Debug)]
pub enum After {
    Free,
    Downgrade,
    Cool(u64),
}

impl After {
    pub fn request(self, who: &str) -> ReleaseRequest<'_> {
        let cool = if let After::Cool(ms) = self { Some(Millis(ms)) } else { None };
        ReleaseRequest { owner: owner(who), fence: None, is_downgrade: matches!(self, After::Downgrade), cool }
    }
}

pub fn after() -> impl Strategy<Value = After> {
    prop_oneof![5 => Just(After::Free), 3 => Just(After::Downgrade), 2 => (1..9u64).prop_map(After::Cool)]
}

/// Short leases, short waits, all modes, few connections.
pub fn how() -> impl Strategy<Value = How> {
    let mode = prop_oneof![
        2 => Just(Mode::Exclusive),
        3 => Just(Mode::Shared(None)),
        2 => (1..4u64).prop_map(|holders| Mode::Shared(Limit::new(holders))),
        1 => (1..4u64).prop_map(|units| Mode::Shared(Limit::weighted(units, 1 + units / 2))),
    ];
    let length = || prop::option::weighted(0.2, (1..9u64).prop_map(Millis));
    let patience = prop_oneof![
        2 => Just(Patience::None),
        2 => (1..9u64).prop_map(|ms| Patience::For(Millis(ms))),
        2 => Just(Patience::Endless),
    ];
    let all = (1..9u64, patience, mode, prop::option::of(0..3u64), length(), length());
    all.prop_map(|(lease, patience, mode, connection, max, delay)| {
        let delay = delay.filter(|_| mode == Mode::Exclusive);
        How { lease, patience, mode, max, delay, connection }
    })
}

pub struct World {
    pub engine: Engine<Client>,
    pub fake: Fake,
    pub inbox: Inbox,
    /// How many clients have waited.
    pub clients: u64,
    /// How many locks searches for deadlocks have looked at.
    pub looks: usize,
    /// The sessions of connections that have closed.
    pub closed: BTreeSet<Session>,
    /// How often the invariants were to be checked.
    pub checks: usize,
}

impl World {
    pub fn new() -> World {
        let (mut engine, fake) = (Engine::new(), Fake::new());
        engine.server_starts(fake.now.steady);
        World { engine, fake, inbox: Inbox::new(), clients: 0, looks: 0, closed: BTreeSet::new(), checks: 0 }
    }

    /// What was done since this was asked last.
    pub fn did(&self) -> Vec<Did> {
        self.fake.log.take()
    }

    /// Only the answers.
    pub fn answers(&self) -> Vec<(u64, Reply)> {
        let answer = |did| match did {
            Did::Answered(client, reply) => Some((client, reply)),
            _ => None,
        };
        self.did().into_iter().filter_map(answer).collect()
    }

    /// Takes the log, and returns the clients that were granted.
    pub fn granted(&self) -> Vec<u64> {
        let granted = |(client, reply)| matches!(reply, Reply::Granted(..)).then_some(client);
        self.answers().into_iter().filter_map(granted).collect()
    }

    /// This user may not ask for this lock any more.
    pub fn deny(&mut self, user: u32, (db, name): Name) {
        let user = User(NonZeroU32::new(user).unwrap());
        self.fake.denied.borrow_mut().insert((user, (db, name.as_bytes().to_vec())));
    }

    /// This user may ask for this lock again.
    pub fn allow(&mut self, user: u32, (db, name): Name) {
        let user = User(NonZeroU32::new(user).unwrap());
        self.fake.denied.borrow_mut().remove(&(user, (db, name.as_bytes().to_vec())));
    }

    /// Whether the user of [`ask`] may not ask for this lock.
    pub fn is_denied(&self, (db, name): Name) -> bool {
        let (user, key) = (User(NonZeroU32::MIN), (db, name.as_bytes().to_vec()));
        self.fake.denied.borrow().contains(&(user, key))
    }

    pub fn pass(&mut self, ms: u64) {
        self.fake.pass_us(ms * 1000);
    }

    pub fn set_to(&mut self, name: &str, value: i64) {
        let place = SETTINGS.iter().position(|setting| setting.name == name).unwrap();
        self.engine.change_settings(|settings| settings.set(place, value));
    }

    /// A client that waits is parked, and numbered from 1 in the order of coming.
    pub fn send(&mut self, ask: Ask) -> Result<Outcome, WrongType> {
        let Ask { key, who, lease, patience, mode, max, delay, connection, user } = ask;
        let session = connection.map(|connection| self.engine.session(connection));
        let user = std::num::NonZeroU32::new(user).map(User);
        let asked = Request { owner: owner(who), mode, lease: Millis(lease), max, delay, session, user };
        // Only requests that wait start a search; showing every lock to all others would take too long.
        let (fence, from) = self.before();
        let mut seen = if patience == Patience::None { Seen::default() } else { self.fake.seen() };
        let now = self.fake.now;
        let mut open = self.fake.open(at(key)).unwrap().reflected_in(&seen);
        let outcome = self.engine.acquire(at(key), &mut open, now, asked, patience, &mut seen)?;
        self.looks += seen.looks.get();
        if let Outcome::Waits(ticket) = outcome {
            self.clients += 1;
            self.engine.park(ticket, Client { id: self.clients, log: self.fake.log.clone() }, at(key), false);
        }
        self.publish(key);
        self.after(fence, from);
        Ok(outcome)
    }

    /// LOCK.MACQUIRE, of keys in one database. A client that waits is parked, and numbered as others are.
    pub fn send_all(&mut self, keys: &[Name], who: &str, how: How) -> Result<OutcomeOfAll, WrongType> {
        let How { lease, patience, mode, max, connection, .. } = how;
        let session = connection.map(|connection| self.engine.session(connection));
        let user = Some(User(NonZeroU32::MIN));
        let asked = Request { owner: owner(who), mode, lease: Millis(lease), max, delay: None, session, user };
        let ((fence, from), mut seen, now) = (self.before(), self.fake.seen(), self.fake.now);
        let names: Vec<KeyRef> = keys.iter().map(|key| at(*key)).collect();
        let mirror = seen.again();
        let mut open = FakeKeys { fake: &mut self.fake, seen: &mirror };
        let outcome = self.engine.acquire_all(&names, &mut open, now, asked, patience, &mut seen)?;
        self.looks += seen.looks.get();
        if let OutcomeOfAll::Waits { ticket, watched } = outcome {
            self.clients += 1;
            let client = Client { id: self.clients, log: self.fake.log.clone() };
            self.engine.park_multi_key(ticket, client, &names, watched, false);
        }
        self.publish_filed();
        self.after(fence, from);
        Ok(outcome)
    }

    /// LOCK.MRELEASE.
    pub fn release_all(&mut self, keys: &[Name], who: &str) -> Result<usize, WrongType> {
        let ((fence, from), seen, now) = (self.before(), Seen::default(), self.fake.now);
        let names: Vec<KeyRef> = keys.iter().map(|key| at(*key)).collect();
        let mut open = FakeKeys { fake: &mut self.fake, seen: &seen };
        let held = self.engine.release_all(&names, &mut open, now, owner(who));
        self.publish_filed();
        self.after(fence, from);
        held
    }

    /// LOCK.MEXTEND.
    pub fn extend_all(&mut self, keys: &[Name], who: &str, lease: u64) -> Result<usize, WrongType> {
        let ((fence, from), seen, now) = (self.before(), Seen::default(), self.fake.now);
        let names: Vec<KeyRef> = keys.iter().map(|key| at(*key)).collect();
        let mut open = FakeKeys { fake: &mut self.fake, seen: &seen };
        let request = ExtendRequest { owner: owner(who), lease: Some(Millis(lease)), fence: None, raise: None };
        let held = self.engine.extend_all(&names, &mut open, now, &request);
        self.publish_filed();
        self.after(fence, from);
        held
    }

    pub fn grants(&mut self, ask: Ask) -> Fence {
        match self.send(ask) {
            Ok(Outcome::Granted(fence)) => fence,
            other => panic!("not granted, {other:?}: {ask:?}"),
        }
    }

    /// LOCK.ACQUIRE as random tests ask.
    pub fn send_with(&mut self, key: Name, who: &str, how: How) -> Result<Outcome, WrongType> {
        let How { lease, patience, mode, max, delay, connection } = how;
        self.send(Ask { patience, mode, max, delay, connection, ..ask(key, who).lease(lease) })
    }

    /// The client's number.
    pub fn waits(&mut self, ask: Ask) -> u64 {
        match self.send(ask) {
            Ok(Outcome::Waits(_)) => self.clients,
            other => panic!("does not wait, {other:?}: {ask:?}"),
        }
    }

    pub fn grant(&mut self, key: Name, who: &str, lease: u64) -> Fence {
        self.grants(ask(key, who).lease(lease))
    }

    pub fn wait(&mut self, key: Name, who: &str, lease: u64, patience: Patience) -> u64 {
        self.waits(Ask { patience, ..ask(key, who).lease(lease) })
    }

    pub fn release_with(&mut self, key: Name, request: ReleaseRequest) -> Result<bool, WrongType> {
        self.released(key, request).map(|released| released == Released::Yes)
    }

    pub fn released(&mut self, key: Name, request: ReleaseRequest) -> Result<Released, WrongType> {
        let (now, (fence, from)) = (self.fake.now, self.before());
        let held = self.engine.release(at(key), &mut self.fake.open(at(key)).unwrap(), now, &request);
        self.publish(key);
        self.after(fence, from);
        held
    }

    pub fn release(&mut self, key: Name, who: &str) -> Result<bool, WrongType> {
        self.release_with(key, ReleaseRequest { owner: owner(who), fence: None, is_downgrade: false, cool: None })
    }

    pub fn downgrade(&mut self, key: Name, who: &str) -> Result<bool, WrongType> {
        self.release_with(key, ReleaseRequest { owner: owner(who), fence: None, is_downgrade: true, cool: None })
    }

    pub fn extend_with(&mut self, key: Name, request: ExtendRequest) -> Result<bool, WrongType> {
        let (now, (fence, from)) = (self.fake.now, self.before());
        let held = self.engine.extend(at(key), &mut self.fake.open(at(key)).unwrap(), now, &request);
        self.publish(key);
        self.after(fence, from);
        held
    }

    pub fn extend(&mut self, key: Name, who: &str, lease: u64) -> Result<bool, WrongType> {
        let lease = Some(Millis(lease));
        self.extend_with(key, ExtendRequest { owner: owner(who), lease, fence: None, raise: None })
    }

    /// `LOCK.EXTEND key who RAISE fence`
    pub fn raise(&mut self, key: Name, who: &str, fence: u64) -> Result<bool, WrongType> {
        self.extend_with(key, ExtendRequest { owner: owner(who), lease: None, fence: None, raise: Fence::new(fence) })
    }

    /// The timer rings once.
    pub fn run(&mut self) -> Option<Steady> {
        let (fence, from) = self.before();
        let next = self.engine.tick(&mut self.fake, &mut self.inbox);
        self.publish_filed();
        self.after(fence, from);
        next
    }

    /// Publishes the events of a tick, or of a command with several keys.
    fn publish_filed(&mut self) {
        for (key, event) in self.engine.take_filed_events() {
            self.fake.log.borrow_mut().push(Did::Published(show(key.db(), key.name()), event));
        }
    }

    /// The last fence, and the length of the log, before a call of the engine.
    fn before(&mut self) -> (Option<Fence>, usize) {
        let from = self.fake.log.borrow().len();
        (self.engine.fences().last(), from)
    }

    /// Checks the invariants after a call of the engine.
    fn after(&mut self, fence: Option<Fence>, from: usize) {
        self.check_e8_recorded_first(fence, from);
        self.check();
    }

    /// Publishes the events of a command on this key.
    fn publish(&mut self, key: Name) {
        for event in self.engine.take_events() {
            self.fake.log.borrow_mut().push(Did::Published(show(key.0, key.1.as_bytes()), event));
        }
    }

    /// The timer rings as long as it asks to ring at once.
    pub fn settle(&mut self) -> Option<Steady> {
        for _ in 0..10_000 {
            let next = self.run();
            if next.is_none_or(|next| next > self.fake.now.steady) {
                return next;
            }
        }
        panic!("the timer never comes to rest");
    }

    /// The timer rings until it comes to rest, and tasks that the server refused are tried again. The server may write.
    pub fn rest(&mut self) {
        self.settle();
        for _ in 0..3 {
            if self.engine.agenda.has_retries() {
                self.pass(20);
                self.settle();
            }
        }
    }

    /// An answer was delivered.
    pub fn deliver(&mut self, key: Name, reply: &Reply) {
        for (key, hold, ticket) in told(key, reply) {
            self.engine.delivered(key.borrow(), hold, ticket);
        }
        self.check();
    }

    /// An answer could not be delivered.
    pub fn lose(&mut self, key: Name, reply: &Reply) {
        self.inbox.undelivered.extend(told(key, reply));
    }

    /// A connection closes.
    pub fn hang_up(&mut self, connection: u64) {
        self.closed.insert(self.engine.session(connection));
        self.engine.disconnected(connection, &mut self.inbox);
        self.check();
    }

    /// The server changes its role.
    pub fn change_role(&mut self, state: ServerState) {
        self.fake.state = state;
        self.closed.clear();
        self.engine.forget_sessions(&mut self.inbox);
        self.check();
    }

    pub fn hold(&self, key: Name) -> Option<(String, u64)> {
        self.fake.lock(key)?.holders.iter().next().map(|(_, hold)| (name_of(hold), hold.fence.get()))
    }

    /// Who holds, by name.
    pub fn holders(&self, key: Name) -> Vec<String> {
        let mut names: Vec<_> = self
            .fake
            .lock(key)
            .iter()
            .flat_map(|stored| stored.holders.iter())
            .map(|(_, hold)| name_of(hold))
            .collect();
        names.sort();
        names
    }

    pub fn ms(&self, ms: i64) -> Steady {
        Steady(ms * 1000)
    }

    // What others do to the data set, with the notes that the edge takes of it.

    /// The value leaves its key.
    pub fn unlink(&mut self, key: Name) -> Option<Value> {
        let value = self.fake.data.remove(&(key.0, key.1.as_bytes().to_vec()))?;
        if let Value::Lock(stored) = &value {
            if self.engine.unlinked(at(key), stored).is_waited_for {
                self.inbox.unlinked.push((at(key).to_id(), stored.lease));
            }
        }
        Some(value)
    }

    /// The value leaves a key that the engine has opened, so the engine cannot be called.
    pub fn unlink_unseen(&mut self, key: Name) -> Option<Value> {
        let value = self.fake.data.remove(&(key.0, key.1.as_bytes().to_vec()))?;
        if let Value::Lock(stored) = &value {
            self.inbox.unlinked.push((at(key).to_id(), stored.lease));
        }
        Some(value)
    }

    pub fn place(&mut self, key: Name, value: Value) {
        self.unlink(key);
        self.fake.data.insert((key.0, key.1.as_bytes().to_vec()), value);
        self.inbox.changed.push(at(key).to_id());
        self.check();
    }

    /// SET over whatever there is.
    pub fn set(&mut self, key: Name) {
        self.unlink(key);
        self.fake.data.insert((key.0, key.1.as_bytes().to_vec()), Value::Other);
        self.check();
    }

    /// RENAME, or MOVE.
    pub fn rename(&mut self, from: Name, to: Name) {
        if let Some(value) = self.unlink(from) {
            if let Value::Lock(stored) = &value {
                self.engine.moved_here(at(to), stored);
            }
            self.place(to, value);
        }
    }

    /// RESTORE REPLACE, or a key of an RDB file.
    pub fn restore(&mut self, key: Name, who: &str, lease: u64, fence: u64) {
        self.restore_all(key, &[(who, Mode::Exclusive)], lease, fence);
    }

    /// RESTORE REPLACE of a lock with several holders, whose fences rise.
    pub fn restore_all(&mut self, key: Name, who: &[(&str, Mode)], lease: u64, fence: u64) {
        let (since, lease) = (self.fake.now.steady, Millis(lease));
        let mut holders = Holders::Free;
        for ((who, mode), fence) in who.iter().zip(fence..) {
            let (owner, fence) = (owner(who).to_owner(), Fence::new(fence).unwrap());
            let (expires_at, session) = (since + lease, None);
            let terms = Terms::new(lease, Origin::Inherited);
            holders.put(*mode, Hold { owner, fence, expires_at, since, terms, session });
        }
        self.engine.loaded(&holders);
        self.place(key, Value::Lock(Stored { holders, lease: EntryId::NONE }));
    }

    pub fn flush(&mut self, scope: Scope) -> usize {
        self.fake.data.retain(|(db, _), _| scope != Scope::All && scope != Scope::Db(*db));
        let locks = self.engine.flushed(scope, &mut self.inbox);
        self.check();
        locks
    }

    /// The slots of these keys leave, with all that is in them, in every database.
    pub fn slots_leave(&mut self, keys: &[Name], why: Leaving) {
        let mut slots = SlotSet::new();
        keys.iter().for_each(|(_, name)| slots.insert(key_slot(name.as_bytes())));
        self.fake.data.retain(|(_, name), _| !slots.contains(key_slot(name)));
        self.engine.slots_left(slots, why, &mut self.inbox);
        self.check();
    }

    pub fn swap(&mut self, one: i32, other: i32) {
        let moved = |db: i32| match db {
            db if db == one => other,
            db if db == other => one,
            db => db,
        };
        let data = std::mem::take(&mut self.fake.data);
        self.fake.data = data.into_iter().map(|((db, name), value)| ((moved(db), name), value)).collect();
        self.engine.swapped(one, other, &mut self.inbox);
        self.check();
    }
}

/// The new holds that an answer tells of: `key` is that of the request, or one in its database.
fn told(key: Name, reply: &Reply) -> Vec<(KeyId, HoldId, Ticket)> {
    match reply {
        Reply::Granted(hold, ticket, _) => vec![(at(key).to_id(), *hold, *ticket)],
        Reply::GrantedTogether(granted, ticket, _) => {
            granted.iter().map(|lock| (KeyRef { db: key.0, name: &lock.name }.to_id(), lock.hold, *ticket)).collect()
        }
        other => panic!("no grant: {other:?}"),
    }
}

fn name_of(hold: &Hold) -> String {
    String::from_utf8_lossy(hold.owner.as_bytes()).into_owned()
}
