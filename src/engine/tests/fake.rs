//! The fake server: a data set, clocks that stand still, and a log.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::policy::slot_owner::SlotOwner;
use crate::wire::{decode_effect, Change, ChangeKind, OwnSlots};

/// What the engine did to the server, in order. Keys are written `0:k`, effects as replicas read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    Replicated(String, String),
    Counted(String),
    ClearedTtl(String),
    Signalled(String),
    Published(String, KeyEvent),
    Answered(u64, Reply),
    Abandoned(u64),
    ReplicatedFence(u64),
}

/// How many databases there are.
pub const DATABASES: i32 = 100_000;

type Log = Rc<RefCell<Vec<Did>>>;
/// The effects as they were replicated, with their keys.
type Effects = Rc<RefCell<Vec<(KeyId, Vec<u8>)>>>;
type Data = BTreeMap<(i32, Vec<u8>), Value>;

#[derive(Debug)]
pub enum Value {
    Lock(Stored),
    Other,
}

/// A server with a data set.
pub struct Fake {
    pub now: Now,
    pub state: ServerState,
    /// What it says of keys that are in no list.
    pub write_check: WriteCheck,
    pub foreign: Vec<Name>,
    /// The cluster is down.
    pub is_down: bool,
    /// The slots that it says are its own.
    pub own_slots: Option<OwnSlots>,
    /// How often it was asked for the owner of a slot.
    pub probed: usize,
    pub data: Data,
    /// How long it takes to check a write to one key, in microseconds.
    pub cost_us: u64,
    /// How long it takes to open a key in the timer's tick, in microseconds.
    pub open_cost_us: u64,
    pub asked: usize,
    pub is_heard: bool,
    /// Which users may not ask for which locks any more.
    pub denied: Denied,
    pub effects: Effects,
    pub log: Log,
}

/// Users and keys.
pub type Denied = Rc<RefCell<BTreeSet<(User, (i32, Vec<u8>))>>>;

/// What users may do with one key.
pub struct KeyRights {
    at: (i32, Vec<u8>),
    denied: Denied,
}

impl Rights for KeyRights {
    fn may_acquire(&mut self, user: User) -> bool {
        !self.denied.borrow().contains(&(user, self.at.clone()))
    }
}

pub struct OpenKey<'a> {
    at: (i32, Vec<u8>),
    data: &'a mut Data,
    now: Now,
    is_heard: bool,
    denied: Denied,
    effects: Effects,
    log: Log,
    /// Where a command's search sees this lock as it is after its step.
    mirror: Option<Rc<RefCell<Mirror>>>,
}

type Mirror = BTreeMap<(i32, Vec<u8>), Holders>;

/// The locks of the server as a search sees them, and how many it looked at.
#[derive(Default)]
pub struct Seen {
    mirror: Rc<RefCell<Mirror>>,
    pub looks: Cell<usize>,
}

pub fn show(db: i32, name: &[u8]) -> String {
    format!("{db}:{}", name.escape_ascii())
}

/// An effect in words: `granted a 7, ended b`.
fn spell(effect: &[u8], now: Now) -> String {
    let spell = |news: &Change| match news {
        Change::Held(told, mode, hold) => {
            let told = if *told == ChangeKind::Granted { "granted" } else { "changed" };
            let mode = match mode {
                Mode::Exclusive => String::new(),
                Mode::Shared(None) => " shared".into(),
                Mode::Shared(Some(limit)) => format!(" shared/{}", limit.units()),
            };
            format!("{told} {} {}{mode}", hold.owner.as_bytes().escape_ascii(), hold.fence.get())
        }
        Change::Ended(owner) => format!("ended {}", owner.as_bytes().escape_ascii()),
        Change::Cooling(_) => "cooling".into(),
        Change::Freed => "freed".into(),
    };
    decode_effect(effect, now).unwrap().iter().map(spell).collect::<Vec<_>>().join(", ")
}

impl OpenKey<'_> {
    fn log(&self, did: impl FnOnce(String) -> Did) {
        self.log.borrow_mut().push(did(show(self.at.0, &self.at.1)));
    }

    /// Every call begins with it, so the search that follows a step sees what the step left.
    fn reflect(&self) {
        let Some(mirror) = &self.mirror else { return };
        match self.data.get(&self.at) {
            Some(Value::Lock(stored)) => mirror.borrow_mut().insert(self.at.clone(), stored.holders.clone()),
            Some(Value::Other) | None => mirror.borrow_mut().remove(&self.at),
        };
    }

    pub fn reflected_in(self, seen: &Seen) -> Self {
        OpenKey { mirror: Some(Rc::clone(&seen.mirror)), ..self }
    }
}

impl Key for OpenKey<'_> {
    type Rights = KeyRights;

    fn rights(&self) -> KeyRights {
        KeyRights { at: self.at.clone(), denied: Rc::clone(&self.denied) }
    }

    fn found(&self) -> Found {
        match self.data.get(&self.at) {
            None => Found::Free,
            Some(Value::Lock(_)) => Found::Lock,
            Some(Value::Other) => Found::Other,
        }
    }

    fn stored(&mut self) -> Option<&mut Stored> {
        self.reflect();
        match self.data.get_mut(&self.at) {
            Some(Value::Lock(stored)) => Some(stored),
            Some(Value::Other) | None => None,
        }
    }

    fn create(&mut self, stored: Stored) {
        assert!(self.found() != Found::Lock, "created over a lock");
        assert!(stored.holders != Holders::Free, "a free lock is no key");
        self.data.insert(self.at.clone(), Value::Lock(stored));
        self.reflect();
    }

    fn remove(&mut self) {
        self.data.remove(&self.at);
        self.reflect();
    }

    fn clear_ttl(&mut self) {
        self.log(Did::ClearedTtl);
    }

    fn is_heard(&self) -> bool {
        self.reflect();
        self.is_heard
    }

    fn replicate(&mut self, effect: &[u8]) {
        assert!(self.is_heard, "told nobody");
        let spelled = spell(effect, self.now);
        assert_eq!(spelled == "freed", self.found() == Found::Free, "{spelled}");
        self.effects.borrow_mut().push((KeyRef { db: self.at.0, name: &self.at.1 }.to_id(), effect.to_vec()));
        self.log(|key| Did::Replicated(key, spelled));
    }

    fn count_change(&mut self) {
        assert!(!self.is_heard, "what is replicated is counted by that");
        self.log(Did::Counted);
    }

    fn signal_changed(&mut self) {
        self.log(Did::Signalled);
    }
}

impl Keyspace for Seen {
    fn with_holders(&mut self, key: KeyRef, look: &mut dyn FnMut(&Holders)) {
        self.looks.set(self.looks.get() + 1);
        if let Some(holders) = self.mirror.borrow().get(&(key.db, key.name.to_vec())) {
            look(holders);
        }
    }
}

impl Seen {
    /// The same locks, for another who looks.
    pub fn again(&self) -> Seen {
        Seen { mirror: Rc::clone(&self.mirror), looks: Cell::new(0) }
    }
}

/// The keys of a command with several.
pub struct FakeKeys<'f> {
    pub fake: &'f mut Fake,
    pub seen: &'f Seen,
}

impl KeySet for FakeKeys<'_> {
    type Key<'a>
        = OpenKey<'a>
    where
        Self: 'a;

    fn open<'a>(&'a mut self, _place: usize, at: KeyRef<'a>) -> Option<OpenKey<'a>> {
        Some(self.fake.open(at)?.reflected_in(self.seen))
    }
}

impl Server for Fake {
    type Key<'a> = OpenKey<'a>;

    fn now(&self) -> Now {
        self.now
    }

    fn state(&mut self) -> ServerState {
        self.state
    }

    fn write_check(&mut self, key: KeyRef) -> WriteCheck {
        self.asked += 1;
        self.pass_us(self.cost_us);
        let is_foreign = self.foreign.iter().any(|(db, name)| (*db, name.as_bytes()) == (key.db, key.name));
        if is_foreign {
            WriteCheck::Foreign
        } else {
            self.write_check
        }
    }

    fn slot_owner(&mut self, key: KeyRef) -> SlotOwner {
        self.probed += 1;
        if self.is_down {
            SlotOwner::Down
        } else if self.foreign.iter().any(|(db, name)| (*db, name.as_bytes()) == (key.db, key.name)) {
            SlotOwner::Elsewhere
        } else {
            SlotOwner::Here
        }
    }

    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<OpenKey<'a>> {
        if key.db >= DATABASES {
            return None;
        }
        self.pass_us(self.open_cost_us);
        Some(OpenKey {
            at: (key.db, key.name.to_vec()),
            data: &mut self.data,
            now: self.now,
            is_heard: self.is_heard,
            denied: Rc::clone(&self.denied),
            effects: Rc::clone(&self.effects),
            log: Rc::clone(&self.log),
            mirror: None,
        })
    }

    fn may_acquire_all(&mut self, user: User, keys: &[KeyRef]) -> bool {
        let denied = self.denied.borrow();
        keys.iter().all(|key| !denied.contains(&(user, (key.db, key.name.to_vec()))))
    }

    fn own_slots(&mut self) -> Option<OwnSlots> {
        self.own_slots.clone()
    }

    fn replicate_fence(&mut self, last: Fence) {
        self.log.borrow_mut().push(Did::ReplicatedFence(last.get()));
    }
}

impl Fake {
    pub fn new() -> Fake {
        Fake {
            now: Now { steady: Steady(0), unix: UnixMicros(1_000_000) },
            state: ServerState::Writable,
            write_check: WriteCheck::Accepts,
            foreign: Vec::new(),
            is_down: false,
            own_slots: None,
            probed: 0,
            data: BTreeMap::new(),
            cost_us: 0,
            open_cost_us: 0,
            asked: 0,
            is_heard: true,
            denied: Denied::default(),
            effects: Rc::default(),
            log: Log::default(),
        }
    }

    pub fn pass_us(&mut self, us: u64) {
        self.now.steady.0 += us as i64;
        self.now.unix.0 += us;
    }

    /// The locks as they are.
    pub fn seen(&self) -> Seen {
        let locks = self.data.iter().filter_map(|(at, value)| match value {
            Value::Lock(stored) => Some((at.clone(), stored.holders.clone())),
            Value::Other => None,
        });
        Seen { mirror: Rc::new(RefCell::new(locks.collect())), looks: Cell::new(0) }
    }

    pub fn lock(&self, key: Name) -> Option<&Stored> {
        match self.data.get(&(key.0, key.1.as_bytes().to_vec())) {
            Some(Value::Lock(stored)) => Some(stored),
            Some(Value::Other) | None => None,
        }
    }
}

/// A client that waits.
pub struct Client {
    pub id: u64,
    pub log: Log,
}

impl Waiting for Client {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn number(&self) -> u64 {
        1000 + self.id
    }

    fn answer(self, _: (i32, Rc<[u8]>), reply: Reply) {
        self.log.borrow_mut().push(Did::Answered(self.id, reply));
    }

    fn abandon(self) {
        self.log.borrow_mut().push(Did::Abandoned(self.id));
    }
}
