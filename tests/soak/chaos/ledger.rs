//! What clients were told, and what follows from it at once.

use std::collections::{HashMap, HashSet};

use support::Value;

use super::clients::Asked;
use super::plan::is_of_one_request;

/// Fences count microseconds since 1970, and no other number that is answered is as large.
const FENCE_MIN: i64 = 1_000_000_000_000_000;
/// How long an owner is that the server made.
const MADE_LENGTH: usize = 32;

/// A payload of DUMP, and the fences of the holds in it.
#[derive(Debug)]
struct Dump {
    payload: Vec<u8>,
    fences: Vec<u64>,
}

/// What is known of the grants of a run.
#[derive(Debug)]
pub struct Ledger {
    /// The fences that clients were told.
    told: HashSet<u64>,
    /// The largest of them.
    highest: u64,
    /// Owners that may have been granted without being told: their client closed the connection, or the server did as it ended.
    /// And how often all was at rest since.
    excused: HashMap<String, u32>,
    /// Whether the user whose rights change has none, and no grant from before is on its way any more.
    is_without_rights: bool,
    dump: Option<Dump>,
    /// Calls of another module that wait.
    promises: Vec<Promise>,
    wrong: Vec<String>,
}

/// A call of another module that waits, and its number there.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The number.
    pub number: i64,
    /// What is called.
    pub asked: Asked,
}

impl Ledger {
    /// Nobody was told anything.
    pub fn new() -> Ledger {
        Ledger {
            told: HashSet::new(),
            highest: 0,
            excused: HashMap::new(),
            is_without_rights: false,
            dump: None,
            promises: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// The largest fence that anybody knows.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// How many grants clients were told of.
    pub fn grants(&self) -> usize {
        self.told.len()
    }

    /// What turned out to be wrong.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Takes note of an answer; `is_of_user`: to a client of the user whose rights change.
    pub fn heard(&mut self, asked: &Asked, answer: &Value, is_of_user: bool) {
        let mut fences = Vec::new();
        fences_in(answer, &mut fences);
        if let (Value::Array(answers), true) = (answer, asked.is("EXEC")) {
            self.keep_dump(answers);
        }
        if let (Value::Array(both), true) = (answer, asked.is("CALLER.DO")) {
            if let [Value::Simple(_), Value::Int(number)] = both.as_slice() {
                self.promises.push(Promise { number: *number, asked: asked.called() });
            }
        }
        if asked.is_of_another_module() && asked.has("SESSION") && !fences.is_empty() {
            self.wrong.push(format!("sessions: a call of another module was bound to a connection: {asked}"));
        }
        if let Some(owner) = asked.owner() {
            if let (true, Some(fence)) = (self.is_without_rights && is_of_user, fences.first()) {
                self.wrong.push(format!("rights: granted under {fence} though its user may not ask: {asked}"));
            }
            let is_new = owner == "*" || is_of_one_request(owner);
            for fence in fences.iter().filter(|fence| is_new && **fence <= asked.floor) {
                self.wrong.push(format!("fences: {fence} after {} was known: {asked}", asked.floor));
            }
        }
        // CHECK tells what was told before.
        if !asked.is("LOCK.CHECK") {
            self.highest = fences.iter().copied().chain([self.highest]).max().unwrap_or_default();
            self.told.extend(fences);
        }
    }

    /// Takes note that this will not be answered, and that the server is not to blame for it.
    pub fn excuse(&mut self, asked: &Asked) {
        self.excused.extend(asked.owners().into_iter().map(|owner| (owner, 0)));
    }

    /// The calls of another module that waited when they were last looked at.
    pub fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// What the other module says of that call.
    pub fn looked_at(&mut self, promise: &Promise, state: &Value) {
        if *state == "waits" {
            return;
        }
        self.promises.retain(|one| one.number != promise.number);
        self.heard(&promise.asked, state, false);
    }

    /// The other module's memory is gone.
    pub fn forget_promises(&mut self) {
        for promise in std::mem::take(&mut self.promises) {
            self.excuse(&promise.asked);
        }
    }

    /// All is at rest, and these hold. An owner that does not hold needs its excuse no longer, unless a call of another module
    /// was on its way.
    pub fn rested(&mut self, holders: &HashSet<String>) {
        self.excused.retain(|owner, rests| {
            *rests += 1;
            *rests < 2 || holders.iter().any(|holder| asked_for(holder) == owner)
        });
    }

    /// The user's rights are taken away, or given back.
    pub fn set_rights(&mut self, is_without: bool) {
        self.is_without_rights = is_without;
    }

    /// Whether this hold is one that a client was told of, or that nobody can be blamed for.
    pub fn is_known(&self, owner: &str, fence: u64) -> bool {
        self.told.contains(&fence) || self.excused.contains_key(asked_for(owner))
    }

    /// The latest payload, to be restored: what is in it may be held from now on.
    pub fn restored(&mut self) -> Vec<u8> {
        let Some(dump) = &self.dump else { return Vec::new() };
        self.told.extend(&dump.fences);
        dump.payload.clone()
    }

    /// Keeps the payload of a transaction of LOCK.INFO and DUMP.
    fn keep_dump(&mut self, answers: &[Value]) {
        if let [info @ Value::Array(_), Value::Bulk(payload)] = answers {
            let holders = info.get("holders");
            let fences = holders.array().iter().map(|hold| hold.get("fence").int().unsigned_abs()).collect();
            self.dump = Some(Dump { payload: payload.clone(), fences });
        }
    }
}

/// The owner as it was asked for: `*` for one that the server made.
pub fn asked_for(owner: &str) -> &str {
    let is_made = owner.len() == MADE_LENGTH && owner.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_made {
        "*"
    } else {
        owner
    }
}

/// The fences in an answer that came with a grant.
fn fences_in(answer: &Value, found: &mut Vec<u64>) {
    match answer {
        Value::Int(number) if *number >= FENCE_MIN => found.push(number.unsigned_abs()),
        Value::Array(items) => items.iter().for_each(|item| fences_in(item, found)),
        _ => {}
    }
}
