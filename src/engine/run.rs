//! The timer's turn: what ended, what ran out, and what events left behind.

use std::mem;

use super::inbox::Inbox;
use super::server::{Found, Key, KeyId, Reply, Server, Standing, Verdict, Waiting};
use super::Engine;
use crate::lock::{Fence, Millis, Steady};

/// How long one turn may take before the event loop gets its chance, in milliseconds.
const SLICE: Millis = Millis(2);
/// How often the clock is read within a slice: once for this many keys.
const KEYS_PER_READING: u32 = 16;
/// When to look again after the server would not let a turn write, in milliseconds.
const RETRY: Millis = Millis(20);

/// One key's turn that is due.
#[derive(Debug)]
pub enum Task {
    /// The grant with this fence found nobody.
    Revoke(KeyId, Fence),
    /// See what the key holds, end what is over, serve its line.
    Look(KeyId),
}

impl Task {
    fn key(&self) -> &KeyId {
        match self {
            Task::Revoke(key, _) | Task::Look(key) => key,
        }
    }

    /// The key, if the task is about the value there; what is about waiters stays where they wait.
    pub fn value_key(&mut self) -> Option<&mut KeyId> {
        match self {
            Task::Look(key) => Some(key),
            Task::Revoke(..) => None,
        }
    }
}

/// How far a turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Done,
    SliceOver,
    Halted,
}

/// A slice of time, and how much of it is left.
struct Slice {
    end: Steady,
    keys: u32,
}

impl Slice {
    fn is_over<S: Server>(&mut self, server: &S) -> bool {
        self.keys += 1;
        self.keys.is_multiple_of(KEYS_PER_READING) && server.now().steady >= self.end
    }
}

impl<W: Waiting> Engine<W> {
    /// Does what is due, a slice at most. Returns when to come again; `None`: not before something happens.
    pub fn run<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox) -> Option<Steady> {
        let begin = server.now().steady;
        let mut slice = Slice { end: begin + SLICE, keys: 0 };
        // Waits run out whatever the server may do: nothing is written by it.
        while !slice.is_over(server) {
            let Some(ticket) = self.waiters.take_due(begin) else { break };
            self.leave_line(ticket);
            self.waiters.answer(ticket, |_| Reply::Null);
        }
        let progress = match server.standing() {
            Standing::Writable => self.write(server, inbox, &mut slice),
            Standing::Replica => return self.follow(server, inbox, &mut slice),
            Standing::Loading | Standing::Halted => Progress::Halted,
        };
        let (now, retry) = (server.now().steady, begin + RETRY);
        match progress {
            Progress::SliceOver => Some(now),
            Progress::Done if self.postponed.is_empty() => self.first_deadline(),
            Progress::Done => self.first_deadline().into_iter().chain([retry]).min(),
            Progress::Halted => {
                let pending = !(inbox.is_empty() && self.postponed.is_empty());
                let again = if pending { Some(retry) } else { self.leases.first().map(|end| end.max(retry)) };
                again.into_iter().chain(self.waiters.first_end()).min()
            }
        }
    }

    /// On a server that may write: whatever there is to do.
    fn write<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox, slice: &mut Slice) -> Progress {
        // A clock that nobody drew from need not be remembered: whoever starts leaps anyway.
        if mem::take(&mut inbox.announce_fence) && self.fences.has_granted() {
            if let Some(last) = self.fences.last() {
                server.replicate_fence(last);
            }
        }
        // What came since goes first: however much was put off, it holds up nothing else, and it never fills slice after
        // slice.
        let mut again = mem::take(&mut self.postponed);
        let mut progress = loop {
            if slice.is_over(server) {
                break Progress::SliceOver;
            }
            let Some(task) = self.next_task(server, inbox) else { break Progress::Done };
            if !self.attempt(server, task) {
                break Progress::Halted;
            }
        };
        while progress == Progress::Done && !slice.is_over(server) {
            let Some(task) = again.pop() else { break };
            if !self.attempt(server, task) {
                progress = Progress::Halted;
            }
        }
        self.postponed.append(&mut again);
        progress
    }

    /// Does a task, or puts it off. False if the server takes no writes at all now.
    fn attempt<S: Server>(&mut self, server: &mut S, task: Task) -> bool {
        match server.verdict(task.key().borrow()) {
            Verdict::Accepts => self.perform(server, &task),
            Verdict::Foreign if !self.matters(server, task.key()) => {}
            Verdict::Foreign => self.postponed.push(task),
            Verdict::Halted => {
                self.postponed.push(task);
                return false;
            }
        }
        true
    }

    /// Whether there is anything at this key, or anybody waiting for it.
    fn matters<S: Server>(&mut self, server: &mut S, key: &KeyId) -> bool {
        let at = key.borrow();
        self.lines.get_mut(at).is_some() || server.open(at).is_some_and(|open| open.found() == Found::Lock)
    }

    fn next_task<S: Server>(&mut self, server: &S, inbox: &mut Inbox) -> Option<Task> {
        if let Some((key, fence)) = inbox.undelivered.pop() {
            return Some(Task::Revoke(key, fence));
        }
        self.next_noted(inbox).or_else(|| self.leases.take_due(server.now().steady)).map(Task::Look)
    }

    /// The next key that events noted.
    fn next_noted(&mut self, inbox: &mut Inbox) -> Option<KeyId> {
        let Some((key, lease)) = inbox.unlinked.pop() else { return inbox.changed.pop() };
        self.leases.remove(lease);
        Some(key)
    }

    fn perform<S: Server>(&mut self, server: &mut S, task: &Task) {
        let at = task.key().borrow();
        let now = server.now();
        let Some(mut key) = server.open(at) else { return };
        // A key of another type turned its line away; there is nobody here to be told of it.
        let _ = self.turn(at, &mut key, now, |turn| match task {
            Task::Revoke(_, fence) => turn.undelivered(*fence),
            Task::Look(_) => turn.reconcile(),
        });
        self.index(at, &mut key);
    }

    /// On a replica: keeps the deadlines right for the day it is promoted, and writes nothing.
    fn follow<S: Server>(&mut self, server: &mut S, inbox: &mut Inbox, slice: &mut Slice) -> Option<Steady> {
        inbox.announce_fence = false;
        for task in mem::take(&mut self.postponed) {
            match task {
                Task::Revoke(key, fence) => inbox.undelivered.push((key, fence)),
                Task::Look(key) => inbox.changed.push(key),
            }
        }
        for (key, fence) in inbox.undelivered.drain(..) {
            // Not its to take back any more.
            self.delivered(key.borrow(), fence);
        }
        while !slice.is_over(server) {
            // Its leases are the primary's to end.
            let Some(key) = self.next_noted(inbox) else { return self.waiters.first_end() };
            let open = server.open(key.borrow());
            if let Some(mut open) = open {
                self.index(key.borrow(), &mut open);
            }
        }
        Some(server.now().steady)
    }
}
