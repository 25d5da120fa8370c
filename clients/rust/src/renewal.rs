//! Renewal: one task of each runtime renews all holds that were acquired there, watches over their ends, and asks about
//! those whose locks a server reports as changed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc;
use tokio::time::{sleep, Instant};

use crate::clock::Moment;
use crate::core::Core;
use crate::error::Error;
use crate::fault::{is_planted, Fault};
use crate::hold::{Hold, Loss};
use crate::net::events::{Event, Events};
use crate::reply::Checked;
use crate::sync::lock;

/// The age from which a hold is watched. A shorter hold is not worth the command.
const WATCH_DELAY: Duration = Duration::from_millis(50);
/// In what time the locks of all holds are looked at after a connection was lost, so that they are not all looked at at
/// once.
const RELOOK: Duration = Duration::from_secs(2);
/// The longest time for which the clock is not looked at. Timers stand still while the machine sleeps.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);
/// The longest pause after a renewal that failed, and the shortest.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);

/// The tasks that renew holds, one for each runtime.
pub(crate) struct Renewals {
    core: Arc<Core>,
    events: Events,
    tasks: Mutex<HashMap<Id, mpsc::UnboundedSender<Message>>>,
    next: AtomicU64,
}

enum Message {
    Add(u64, Arc<Hold>),
    /// The lease has changed.
    Replan(u64),
    Remove(u64),
}

/// A hold that is renewed. Dropping this ends the renewal.
pub(crate) struct Renewed {
    id: u64,
    task: mpsc::UnboundedSender<Message>,
}

impl Renewed {
    /// Plans the next renewal anew, because the hold has another lease now.
    pub fn replan(&self) {
        let _ = self.task.send(Message::Replan(self.id));
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        let _ = self.task.send(Message::Remove(self.id));
    }
}

impl Renewals {
    pub fn new(core: &Arc<Core>, events: &Events) -> Arc<Renewals> {
        Arc::new(Renewals {
            core: Arc::clone(core),
            events: events.clone(),
            tasks: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// Renews the hold in this runtime from now on.
    pub fn add(&self, hold: &Arc<Hold>, runtime: &Handle) -> Renewed {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut tasks = lock(&self.tasks);
        // The task of a runtime that has ended receives nothing any more.
        tasks.retain(|_, task| !task.is_closed());
        let task = tasks.entry(runtime.id()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            runtime.spawn(Task::new(Arc::clone(&self.core), self.events.clone()).run(receiver));
            sender
        });
        let _ = task.send(Message::Add(id, Arc::clone(hold)));
        Renewed { id, task: task.clone() }
    }
}

/// What is to be done at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Renew,
    Look,
    Expire,
}

/// What an undertaking has found.
enum Found {
    Renewed(Result<Duration, Error>),
    Looked(Result<Checked, Error>),
    SessionEnded,
    Aborted,
}

/// A hold in the care of a task.
struct Entry {
    hold: Arc<Hold>,
    /// Ends what is under way for the hold.
    undertakings: Vec<AbortHandle>,
    /// When the next renewal is due. A duty for another moment is out of date.
    renews_at: Option<Moment>,
    is_renewing: bool,
    is_looking: bool,
    /// The lock changed while it was looked at.
    looks_again: bool,
}

struct Task {
    core: Arc<Core>,
    events: Events,
    entries: BTreeMap<u64, Entry>,
    by_key: HashMap<Vec<u8>, Vec<u64>>,
    duties: BinaryHeap<Reverse<(Moment, u64, Duty)>>,
    under_way: FuturesUnordered<BoxFuture<'static, (u64, Found)>>,
}

impl Task {
    fn new(core: Arc<Core>, events: Events) -> Task {
        Task {
            core,
            events,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            duties: BinaryHeap::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    /// Runs until the client is dropped.
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut reports = self.events.listen();
        loop {
            let pause = match self.duties.peek() {
                Some(Reverse((due, ..))) => due.since(self.core.clock.now()).min(LOOK_AT_CLOCK),
                None => LOOK_AT_CLOCK,
            };
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(Message::Add(id, hold)) => self.add(id, hold),
                    Some(Message::Replan(id)) => self.replan(id),
                    Some(Message::Remove(id)) => self.remove(id),
                    None => return,
                },
                Some((id, found)) = self.under_way.next(), if !self.under_way.is_empty() => self.handle(id, found),
                event = reports.next() => self.heed(event),
                () = sleep(pause), if !self.duties.is_empty() => {}
            }
            self.do_duties();
        }
    }

    fn add(&mut self, id: u64, hold: Arc<Hold>) {
        let now = self.core.clock.now();
        if let Some(valid_until) = hold.valid_until() {
            self.duties.push(Reverse((valid_until, id, Duty::Expire)));
        }
        if hold.is_exclusive() {
            self.duties.push(Reverse((now + WATCH_DELAY, id, Duty::Look)));
        }
        for key in &hold.held.spec.keys {
            self.by_key.entry(key.clone()).or_default().push(id);
        }
        let session = hold.session.clone();
        // The grant may have taken a part of the lease.
        let left = hold.remaining().saturating_sub(hold.lease() * 2 / 3);
        let pause = self.until_renewal(hold.lease()).min(left);
        let entry = Entry {
            hold,
            undertakings: Vec::new(),
            renews_at: None,
            is_renewing: false,
            is_looking: false,
            looks_again: false,
        };
        self.entries.insert(id, entry);
        self.plan_renewal(id, pause);
        if let Some(session) = session {
            self.undertake(id, async move {
                session.broken().await;
                Found::SessionEnded
            });
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        for undertaking in &entry.undertakings {
            undertaking.abort();
        }
        for key in &entry.hold.held.spec.keys {
            if let Some(ids) = self.by_key.get_mut(key) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }

    fn plan_renewal(&mut self, id: u64, pause: Duration) {
        let due = self.core.clock.now() + pause;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.renews_at = Some(due);
            self.duties.push(Reverse((due, id, Duty::Renew)));
        }
    }

    fn replan(&mut self, id: u64) {
        let Some(entry) = self.entries.get(&id) else { return };
        let (lease, valid_until) = (entry.hold.lease(), entry.hold.valid_until());
        let pause = self.until_renewal(lease);
        self.plan_renewal(id, pause);
        // A shorter lease ends before the moment for which its end was expected.
        if let Some(valid_until) = valid_until {
            self.duties.push(Reverse((valid_until, id, Duty::Expire)));
        }
    }

    /// A third of the lease, or a little less, so that holds which began together are not renewed together for ever.
    fn until_renewal(&self, lease: Duration) -> Duration {
        let third = lease / 3;
        third - self.core.chance.up_to(third / 10)
    }

    /// Does what is due.
    fn do_duties(&mut self) {
        let now = self.core.clock.now();
        while let Some(Reverse((due, id, duty))) = self.duties.peek().copied() {
            if due > now {
                return;
            }
            self.duties.pop();
            let Some(entry) = self.entries.get(&id) else { continue };
            let Some(valid_until) = entry.hold.valid_until() else {
                self.remove(id);
                continue;
            };
            match duty {
                Duty::Expire if valid_until > now => self.duties.push(Reverse((valid_until, id, Duty::Expire))),
                Duty::Expire => self.lose(id, Loss::Expired),
                Duty::Renew if entry.renews_at == Some(due) => self.renew(id),
                // Another renewal has been planned since.
                Duty::Renew => {}
                Duty::Look => self.look(id),
            }
        }
    }

    fn renew(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.is_renewing || !entry.hold.can_be_longer() {
            return;
        }
        entry.is_renewing = true;
        let hold = Arc::clone(&entry.hold);
        let deadline = Instant::now() + hold.remaining();
        self.undertake(id, async move { Found::Renewed(hold.extend(hold.lease(), deadline).await) });
    }

    fn look(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.is_looking {
            entry.looks_again = true;
            return;
        }
        entry.is_looking = true;
        let hold = Arc::clone(&entry.hold);
        let deadline = Instant::now() + hold.remaining();
        self.undertake(id, async move { Found::Looked(hold.backend.look(&hold.held, deadline).await) });
    }

    fn undertake(&mut self, id: u64, undertaking: impl std::future::Future<Output = Found> + Send + 'static) {
        let (handle, registration) = AbortHandle::new_pair();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.undertakings.retain(|handle| !handle.is_aborted());
            entry.undertakings.push(handle);
        }
        let undertaking = Abortable::new(undertaking, registration);
        self.under_way.push(undertaking.map(move |found| (id, found.unwrap_or(Found::Aborted))).boxed());
    }

    fn handle(&mut self, id: u64, found: Found) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // At most one renewal, one look and one session are under way for a hold.
        match found {
            Found::Aborted => {}
            Found::SessionEnded => self.lose(id, Loss::SessionEnded),
            Found::Renewed(renewed) => {
                entry.is_renewing = false;
                let lease = entry.hold.lease();
                let pause = match renewed {
                    Ok(_) => {
                        self.core.counters.renewals.add_one();
                        self.until_renewal(lease)
                    }
                    Err(Error::NotHeld) => return self.lose(id, Loss::Removed),
                    // The lock may still be held, and there may be time for another attempt.
                    Err(_) => {
                        self.core.counters.renewals_failed.add_one();
                        let most = (lease / 12).clamp(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
                        self.core.chance.around(most)
                    }
                };
                self.plan_renewal(id, pause);
            }
            Found::Looked(looked) => {
                entry.is_looking = false;
                let looks_again = std::mem::take(&mut entry.looks_again);
                match looked {
                    Ok(Checked::NotHeld) => self.lose(id, Loss::Removed),
                    Ok(Checked::Held { fence, .. }) if fence != entry.hold.held.fence() => {
                        // Only the server knows whether this is the same hold. An extension names the fence.
                        self.renew(id);
                    }
                    Ok(Checked::Held { .. }) if looks_again => self.look(id),
                    // A user who may not run LOCK.CHECK learns of a loss from the next renewal.
                    Ok(Checked::Held { .. }) | Err(_) => {}
                }
            }
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            if !entry.is_renewing && !entry.is_looking && entry.hold.session.is_none() {
                entry.undertakings.clear();
            }
        }
    }

    /// Looks at the locks that a server reports as changed.
    fn heed(&mut self, event: Event) {
        match event {
            Event::Changed(keys) => {
                let ids: Vec<u64> = keys.iter().filter_map(|key| self.by_key.get(key)).flatten().copied().collect();
                for id in ids {
                    if self.is_watched(id) {
                        self.look(id);
                    }
                }
            }
            Event::Unknown => {
                let now = self.core.clock.now();
                for (id, entry) in &self.entries {
                    if entry.hold.is_exclusive() {
                        let pause = self.core.chance.up_to(RELOOK.min(entry.hold.lease() / 3));
                        self.duties.push(Reverse((now + pause, *id, Duty::Look)));
                    }
                }
            }
        }
    }

    /// A shared hold is not watched, because its lock changes whenever any holder comes or goes.
    fn is_watched(&self, id: u64) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.hold.is_exclusive())
    }

    fn lose(&mut self, id: u64, loss: Loss) {
        if loss == Loss::Expired && is_planted(Fault::NoClock) {
            return;
        }
        if let Some(entry) = self.entries.get(&id) {
            entry.hold.lose(loss);
        }
        self.remove(id);
    }
}
