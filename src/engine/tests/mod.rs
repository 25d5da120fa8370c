//! The engine with a fake server, which does nothing but write down what it is told, in order.

mod notes;
mod order;
mod random;
mod slices;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::lock::{Hold, Origin, UnixMicros};

/// What the engine did to the server, in order. Keys are written `0:k`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Replicated(String, String, u64),
    Removed(String),
    ClearedTtl(String),
    Signalled(String),
    Answered(u64, Reply),
    Abandoned(u64),
    ReplicatedFence(u64),
}

type Log = Rc<RefCell<Vec<Did>>>;
type Name = (i32, &'static str);

#[derive(Debug)]
enum Value {
    Lock(Stored),
    Other,
}

/// A server with a data set.
struct Fake {
    now: Now,
    standing: Standing,
    /// What it says of keys that are in no list.
    verdict: Verdict,
    foreign: Vec<Name>,
    data: BTreeMap<(i32, Vec<u8>), Value>,
    /// How long it takes over one key, in microseconds.
    cost_us: u64,
    asked: usize,
    log: Log,
}

struct OpenKey<'a> {
    at: (i32, Vec<u8>),
    data: &'a mut BTreeMap<(i32, Vec<u8>), Value>,
    log: Log,
}

fn show(db: i32, name: &[u8]) -> String {
    format!("{db}:{}", name.escape_ascii())
}

impl OpenKey<'_> {
    fn log(&self, did: impl FnOnce(String) -> Did) {
        self.log.borrow_mut().push(did(show(self.at.0, &self.at.1)));
    }
}

impl Key for OpenKey<'_> {
    fn found(&self) -> Found {
        match self.data.get(&self.at) {
            None => Found::Free,
            Some(Value::Lock(_)) => Found::Lock,
            Some(Value::Other) => Found::Other,
        }
    }

    fn stored(&mut self) -> Option<&mut Stored> {
        match self.data.get_mut(&self.at) {
            Some(Value::Lock(stored)) => Some(stored),
            Some(Value::Other) | None => None,
        }
    }

    fn create(&mut self, stored: Stored) {
        assert!(self.found() != Found::Lock, "created over a lock");
        assert!(stored.holders != Holders::Free, "a free lock is no key");
        self.data.insert(self.at.clone(), Value::Lock(stored));
    }

    fn remove(&mut self) {
        assert!(self.found() == Found::Lock, "removed what is no lock");
        self.data.remove(&self.at);
    }

    fn replicate_freed(&mut self) {
        assert!(self.found() == Found::Free, "told that what is there is gone");
        self.log(Did::Removed);
    }

    fn clear_ttl(&mut self) {
        self.log(Did::ClearedTtl);
    }

    fn replicate(&mut self, _: Told, _: Mode, hold: &Hold, _: Now) {
        let owner = String::from_utf8_lossy(hold.owner.as_bytes()).into_owned();
        self.log(|key| Did::Replicated(key, owner, hold.fence.get()));
    }

    fn signal_changed(&mut self) {
        self.log(Did::Signalled);
    }
}

impl Server for Fake {
    type Key<'a> = OpenKey<'a>;

    fn now(&self) -> Now {
        self.now
    }

    fn standing(&mut self) -> Standing {
        self.standing
    }

    fn verdict(&mut self, key: KeyRef) -> Verdict {
        self.asked += 1;
        self.pass_us(self.cost_us);
        let is_foreign = self.foreign.iter().any(|(db, name)| (*db, name.as_bytes()) == (key.db, key.name));
        if is_foreign {
            Verdict::Foreign
        } else {
            self.verdict
        }
    }

    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<OpenKey<'a>> {
        Some(OpenKey { at: (key.db, key.name.to_vec()), data: &mut self.data, log: self.log.clone() })
    }

    fn replicate_fence(&mut self, last: Fence) {
        self.log.borrow_mut().push(Did::ReplicatedFence(last.get()));
    }
}

impl Fake {
    fn pass_us(&mut self, us: u64) {
        self.now.steady.0 += us as i64;
        self.now.unix.0 += us;
    }
}

/// A client that waits.
struct Client {
    id: u64,
    log: Log,
}

impl Waiting for Client {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn answer(self, _: (i32, Rc<[u8]>), reply: Reply) {
        self.log.borrow_mut().push(Did::Answered(self.id, reply));
    }

    fn abandon(self) {
        self.log.borrow_mut().push(Did::Abandoned(self.id));
    }
}

/// A server, the engine, and what the edge does between the two.
struct World {
    engine: Engine<Client>,
    fake: Fake,
    inbox: Inbox,
    clients: u64,
}

fn at((db, name): Name) -> KeyRef<'static> {
    KeyRef { db, name: name.as_bytes() }
}

fn owner(name: &str) -> OwnerRef<'_> {
    OwnerRef::new(name.as_bytes()).unwrap()
}

impl World {
    fn new() -> World {
        let now = Now { steady: Steady(0), unix: UnixMicros(1_000_000) };
        let (standing, verdict) = (Standing::Writable, Verdict::Accepts);
        let (foreign, data, log) = (Vec::new(), BTreeMap::new(), Log::default());
        let fake = Fake { now, standing, verdict, foreign, data, cost_us: 0, asked: 0, log };
        World { engine: Engine::new(), fake, inbox: Inbox::new(), clients: 0 }
    }

    /// What was done since this was asked last.
    fn did(&self) -> Vec<Did> {
        self.fake.log.take()
    }

    /// Only the answers.
    fn answers(&self) -> Vec<(u64, Reply)> {
        let answer = |did| match did {
            Did::Answered(client, reply) => Some((client, reply)),
            _ => None,
        };
        self.did().into_iter().filter_map(answer).collect()
    }

    fn pass(&mut self, ms: u64) {
        self.fake.pass_us(ms * 1000);
    }

    /// LOCK.ACQUIRE; a client that waits is parked, and numbered from 1 in the order of coming.
    fn ask(&mut self, key: Name, who: &str, lease: u64, patience: Patience) -> Result<Outcome, WrongType> {
        let asked = Asked { owner: owner(who), lease: Millis(lease), patience };
        let now = self.fake.now;
        let mut open = self.fake.open(at(key)).unwrap();
        let outcome = self.engine.acquire(at(key), &mut open, now, asked)?;
        if let Outcome::Waits(ticket) = outcome {
            self.clients += 1;
            let client = Client { id: self.clients, log: self.fake.log.clone() };
            self.engine.park(ticket, client, at(key), None);
        }
        Ok(outcome)
    }

    fn grant(&mut self, key: Name, who: &str, lease: u64) -> Fence {
        match self.ask(key, who, lease, Patience::None) {
            Ok(Outcome::Granted(fence)) => fence,
            other => panic!("{who} was not granted {key:?}: {other:?}"),
        }
    }

    /// Waits; the client's number.
    fn wait(&mut self, key: Name, who: &str, lease: u64, patience: Patience) -> u64 {
        match self.ask(key, who, lease, patience) {
            Ok(Outcome::Waits(_)) => self.clients,
            other => panic!("{who} does not wait for {key:?}: {other:?}"),
        }
    }

    fn release(&mut self, key: Name, who: &str) -> Result<bool, WrongType> {
        let now = self.fake.now;
        let request = ReleaseRequest { owner: owner(who), fence: None };
        self.engine.release(at(key), &mut self.fake.open(at(key)).unwrap(), now, &request)
    }

    fn extend(&mut self, key: Name, who: &str, lease: u64) -> Result<bool, WrongType> {
        let now = self.fake.now;
        let request = ExtendRequest { owner: owner(who), lease: Some(Millis(lease)), fence: None, raise: None };
        self.engine.extend(at(key), &mut self.fake.open(at(key)).unwrap(), now, &request)
    }

    /// The timer rings once.
    fn run(&mut self) -> Option<Steady> {
        self.engine.run(&mut self.fake, &mut self.inbox)
    }

    /// The timer rings as long as it asks to ring at once.
    fn settle(&mut self) -> Option<Steady> {
        for _ in 0..1000 {
            let next = self.run();
            if next.is_none_or(|next| next > self.fake.now.steady) {
                return next;
            }
        }
        panic!("the timer never comes to rest");
    }

    fn hold(&mut self, key: Name) -> Option<(String, u64)> {
        let mut open = self.fake.open(at(key)).unwrap();
        let stored = open.stored()?;
        let hold = stored.holders.iter().next()?;
        Some((String::from_utf8_lossy(hold.owner.as_bytes()).into_owned(), hold.fence.get()))
    }

    fn ms(&self, ms: i64) -> Steady {
        Steady(ms * 1000)
    }

    // What others do to the data set, with the notes that the edge takes of it.

    /// The value leaves its key.
    fn unlink(&mut self, key: Name) -> Option<Value> {
        let value = self.fake.data.remove(&(key.0, key.1.as_bytes().to_vec()))?;
        if let Value::Lock(stored) = &value {
            self.inbox.unlinked.push((at(key).to_id(), stored.lease));
        }
        Some(value)
    }

    fn place(&mut self, key: Name, value: Value) {
        self.unlink(key);
        self.fake.data.insert((key.0, key.1.as_bytes().to_vec()), value);
        self.inbox.changed.push(at(key).to_id());
    }

    /// SET over whatever there is.
    fn set(&mut self, key: Name) {
        self.unlink(key);
        self.fake.data.insert((key.0, key.1.as_bytes().to_vec()), Value::Other);
    }

    /// RENAME, or MOVE.
    fn rename(&mut self, from: Name, to: Name) {
        if let Some(value) = self.unlink(from) {
            self.place(to, value);
        }
    }

    /// RESTORE REPLACE, or a key of an RDB file.
    fn restore(&mut self, key: Name, who: &str, lease: u64, fence: u64) {
        let (now, lease) = (self.fake.now.steady, Millis(lease));
        let (owner, fence, origin) = (owner(who).to_owner(), Fence::new(fence).unwrap(), Origin::Inherited);
        let holders = Holders::Exclusive(Hold { owner, fence, end: now + lease, lease, since: now, origin });
        self.engine.loaded(&holders);
        self.place(key, Value::Lock(Stored { holders, lease: Slot::NONE }));
    }

    fn flush(&mut self, scope: Scope) {
        self.fake.data.retain(|(db, _), _| scope != Scope::All && scope != Scope::Db(*db));
        self.engine.flushed(scope, &mut self.inbox);
    }

    fn swap(&mut self, one: i32, other: i32) {
        let moved = |db: i32| {
            if db == one {
                other
            } else if db == other {
                one
            } else {
                db
            }
        };
        let data = std::mem::take(&mut self.fake.data);
        self.fake.data = data.into_iter().map(|((db, name), value)| ((moved(db), name), value)).collect();
        self.engine.swapped(one, other, &mut self.inbox);
    }

    /// Panics unless every lock there is has one deadline, under its own name, and nothing else has.
    fn assert_deadlines(&mut self) {
        let mut ends = Vec::new();
        for ((db, name), value) in &self.fake.data {
            if let Value::Lock(stored) = value {
                let key = KeyRef { db: *db, name };
                let there = self.engine.leases.get_mut(stored.lease).map(|key| show(key.db, &key.name));
                assert_eq!(there, Some(show(*db, name)), "the deadline of {key:?}");
                ends.extend(stored.holders.first_end());
            }
        }
        assert_eq!(self.engine.leases.len(), ends.len(), "deadlines of locks that are no more");
        assert_eq!(self.engine.leases.first(), ends.into_iter().min());
    }

    /// The same, and that each stands at the lock's end. Takes the deadlines apart.
    fn assert_ends(mut self) {
        self.assert_deadlines();
        let mut ends = Vec::new();
        for ((db, name), value) in &self.fake.data {
            if let Value::Lock(stored) = value {
                ends.push((stored.holders.first_end().unwrap(), show(*db, name)));
            }
        }
        let mut deadlines = Vec::new();
        while let Some(end) = self.engine.leases.first() {
            let key = self.engine.leases.take_due(end).unwrap();
            deadlines.push((end, show(key.db, &key.name)));
        }
        ends.sort();
        deadlines.sort();
        assert_eq!(deadlines, ends);
    }
}
