//! Rules about what the server said of itself, all of it in one moment.
//!
//! What must not last is told when it was seen again and again, over a tenth of a second in which the server may write and took
//! turns: its own view, so a slow machine is no excuse and no reason.

use std::collections::{HashMap, HashSet};

use crate::history::{Asked, Deed, Holder, Lock, Op, Sample, Seen, Us};
use crate::model::Model;

/// How long what must not last may last.
const LASTS_US: Us = 100_000;
/// How long it may last where the wall clock was set. The server keeps timers by it, and the module looks ten times a second
/// whether one is overdue.
const LASTS_BY_A_WRONG_CLOCK_US: Us = 300_000;
/// How often it must be seen at least.
const LOOKS: usize = 6;
/// How far an end may seem to move, by rounding here and in the AOF.
const MOVES_US: Us = 10_000;
/// What a pause between two looks counts at most: in a longer one the machine was busy with something else.
const GAP_US: Us = 15_000;

/// All of them.
pub fn check(model: &Model) -> Vec<String> {
    let mut wrong = Vec::new();
    for sample in &model.history.samples {
        for (lock, seen) in &sample.locks {
            if let Some(seen) = seen {
                wrong.extend(beyond_limit(sample, lock, seen));
                wrong.extend(cannot_hold(model, sample, lock, seen));
            }
        }
    }
    wrong.extend(vanished(model));
    wrong.extend(moved(model));
    wrong.extend(granted_when_gone(model));
    wrong.extend(lasting(model));
    wrong
}

/// Never more holders than the smallest limit among them, and never one beside an exclusive one.
fn beyond_limit(sample: &Sample, lock: &Lock, seen: &Seen) -> Option<String> {
    let limit = seen.holders.iter().map(|holder| holder.limit).filter(|limit| *limit > 0).min();
    let max = if seen.is_shared { limit } else { Some(1) };
    let is_beyond = max.is_some_and(|max| units(seen) > max);
    is_beyond.then(|| format!("more holders of {lock} than may be, at {} us: {seen:?}", sample.call_us))
}

/// The units that all holders take together.
fn units(seen: &Seen) -> u64 {
    seen.holders.iter().map(|holder| holder.weight).sum()
}

/// Whoever holds may hold by what is known.
fn cannot_hold(model: &Model, sample: &Sample, lock: &Lock, seen: &Seen) -> Option<String> {
    let cannot = seen.holders.iter().find(|holder| {
        let of = |lock: &Lock| {
            let fence = if model.may_be_inherited(0, sample.ret_us) { None } else { Some(holder.fence) };
            model.may_have_held(lock, &holder.owner, fence, sample.call_us, sample.ret_us)
        };
        !of(lock)
    })?;
    Some(format!("{lock} is held by one who cannot hold it, at {} us: {cannot:?}", sample.call_us))
}

/// Whoever surely holds is among the holders.
fn vanished(model: &Model) -> Vec<String> {
    let samples = &model.history.samples;
    let locks: HashSet<&Lock> = model.history.ops.iter().map(|op| &op.lock).collect();
    let mut wrong = Vec::new();
    for lock in locks {
        for sure in model.sure(lock) {
            let begin = samples.partition_point(|sample| sample.call_us < sure.from_us);
            let meanwhile = samples[begin..].iter().take_while(|sample| sample.ret_us < sure.until_us);
            let holds = |sample: &Sample| {
                let seen = sample.locks.iter().find(|(one, _)| one == lock).and_then(|(_, seen)| seen.as_ref());
                seen.is_some_and(|seen| {
                    seen.holders.iter().any(|one| one.owner == sure.owner && one.fence >= sure.fence)
                })
            };
            let mut missing = meanwhile.filter(|sample| sample.term >= sure.term && !holds(sample));
            if let Some(sample) = missing.next() {
                wrong.push(format!("{lock} is not held any more at {} us by {sure:?}", sample.call_us));
            }
        }
    }
    wrong
}

/// The end of a hold moves only when its owner asks for that; not when the server crashes and loads its data.
fn moved(model: &Model) -> Vec<String> {
    let acts = &model.history.acts;
    if acts.iter().any(|act| act.deed == Deed::SetClock) {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for pair in model.history.samples.windows(2) {
        let [before, after] = pair else { continue };
        let is_moved_by_act = acts.iter().any(|act| {
            let may_move = matches!(act.deed, Deed::Swap | Deed::Promote);
            may_move && act.ret_us >= before.call_us && act.call_us <= after.ret_us
        });
        let is_lossy = model.history.terms[before.term..=after.term.max(before.term)]
            .iter()
            .any(|term| term.superseded_us <= after.ret_us);
        if is_moved_by_act || is_lossy {
            continue;
        }
        for ((lock, one), (_, other)) in before.locks.iter().zip(&after.locks) {
            let (Some(one), Some(other)) = (one, other) else { continue };
            for holder in &one.holders {
                let same = |other: &&Holder| other.owner == holder.owner && other.fence == holder.fence;
                let Some(later) = other.holders.iter().find(same) else { continue };
                let ends_us = |sample: &Sample, holder: &Holder| {
                    (sample.call_us + holder.ttl_ms * 1000, sample.ret_us + holder.ttl_ms * 1000)
                };
                let ((from_us, to_us), (later_from_us, later_to_us)) = (ends_us(before, holder), ends_us(after, later));
                let is_moved = later_to_us + MOVES_US < from_us || later_from_us > to_us + MOVES_US;
                if is_moved && !model.may_have_been_extended(lock, &holder.owner, before.call_us, after.ret_us) {
                    wrong.push(format!(
                        "the end of a hold of {lock} moved between {} and {} us: {holder:?} {later:?}",
                        before.call_us, after.call_us
                    ));
                }
            }
        }
    }
    wrong
}

/// An owner all of whose connections are gone is not granted anything.
fn granted_when_gone(model: &Model) -> Vec<String> {
    // Owner, and the last moment at which any of its requests could still be granted.
    let mut gone: HashMap<&str, Us> = HashMap::new();
    for (n, op) in model.history.ops.iter().enumerate() {
        if let Asked::Acquire { .. } = op.asked {
            let last_us = gone.entry(&op.owner).or_default();
            *last_us = (*last_us).max(model.latest_us[n]);
        }
    }
    let mut leaving: Vec<(Us, &str)> = gone.into_iter().map(|(owner, last_us)| (last_us, owner)).collect();
    leaving.sort_unstable();
    let mut leaving = leaving.into_iter().peekable();
    // Those that are gone, but held when they went; and those that did not.
    let mut holding: HashSet<&str> = HashSet::new();
    let mut free_since: HashMap<&str, Us> = HashMap::new();
    let mut wrong = Vec::new();
    for sample in &model.history.samples {
        // A failover or a swap may bring a hold back that was not to be seen.
        if model.may_come_back(sample.ret_us) {
            break;
        }
        let seen = sample.locks.iter().filter_map(|(_, seen)| seen.as_ref());
        let holders: HashSet<&str> = seen.flat_map(|seen| seen.holders.iter().map(|one| one.owner.as_str())).collect();
        for holder in &holders {
            if let Some(at_us) = free_since.get(holder) {
                wrong.push(format!("{holder} is granted at {} us, and was gone at {at_us} us", sample.call_us));
            }
        }
        while let Some((_, owner)) = leaving.next_if(|(last_us, _)| *last_us < sample.call_us) {
            holding.insert(owner);
        }
        holding.retain(|owner| {
            let holds = holders.contains(owner);
            if !holds {
                free_since.insert(owner, sample.call_us);
            }
            holds
        });
    }
    wrong
}

/// Something that must not last: what, of whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Ill {
    /// Nothing stands in the way of this waiter.
    LostWakeUp(usize),
    /// This wait ran out.
    Overdue(usize),
    /// A hold is bound to a connection that is gone.
    SessionGone(Lock, String),
    /// This owner was killed in the queue and granted all the same.
    Undelivered(Lock, String),
    /// There are more waiters than blocked clients.
    Leaked,
}

/// Since when something was seen, how often, and for how long it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    since_us: Us,
    looks: usize,
    lasts_us: Us,
}

/// What lasted though it must not.
fn lasting(model: &Model) -> Vec<String> {
    let mut courses: HashMap<Ill, Course> = HashMap::new();
    let mut told: HashSet<Ill> = HashSet::new();
    let mut wrong = Vec::new();
    let mut before: Option<&Sample> = None;
    let view = Waits::of(model);
    let is_clock_set = model.history.acts.iter().any(|act| act.deed == Deed::SetClock);
    let lasts_us = if is_clock_set { LASTS_BY_A_WRONG_CLOCK_US } else { LASTS_US };
    for sample in &model.history.samples {
        let since_us = before.map_or(sample.call_us, |before| before.call_us);
        let is_halted = model.history.halts.iter().any(|halt| halt.from_us <= sample.ret_us && halt.to_us >= since_us);
        let is_same_term = before.is_some_and(|before| before.term == sample.term);
        let superseded_us = model.history.terms[sample.term].superseded_us;
        if is_halted || !is_same_term || superseded_us <= sample.ret_us {
            courses.clear();
        }
        before = Some(sample);
        if is_halted {
            continue;
        }
        let ills = view.ills(model, sample);
        courses.retain(|ill, _| ills.contains(ill));
        for ill in ills {
            let first = Course { since_us: sample.call_us, looks: 0, lasts_us: 0 };
            let course = courses.entry(ill.clone()).or_insert(first);
            if course.looks > 0 {
                course.lasts_us += (sample.call_us - since_us).min(GAP_US);
            }
            course.looks += 1;
            if course.lasts_us > lasts_us && course.looks >= LOOKS && told.insert(ill.clone()) {
                wrong.push(format!("{} since {} us", ill.say(model), course.since_us));
            }
        }
    }
    wrong
}

impl Ill {
    fn say(&self, model: &Model) -> String {
        let op = |n: &usize| format!("operation {n} {}", model.history.ops[*n]);
        match self {
            Ill::LostWakeUp(n) => format!("nothing is in the way of a waiter, and it waits: {}", op(n)),
            Ill::Overdue(n) => format!("a wait ran out, and goes on: {}", op(n)),
            Ill::SessionGone(lock, owner) => format!("{owner} holds {lock} with a connection that is gone"),
            Ill::Undelivered(lock, owner) => format!("{owner} holds {lock}, but was killed while it waited"),
            Ill::Leaked => "there are more waiters than blocked clients".to_owned(),
        }
    }
}

/// What each connection asked for, in order; and the connections that holds of an owner are to end with, if that is only one.
struct Waits<'a> {
    of: HashMap<(usize, &'a str), Vec<usize>>,
    sessions: HashMap<&'a str, (Us, usize)>,
}

impl<'a> Waits<'a> {
    fn of(model: &Model<'a>) -> Waits<'a> {
        let mut all: HashMap<(usize, &str), Vec<usize>> = HashMap::new();
        for (n, op) in model.history.ops.iter().enumerate() {
            let connection = &model.history.connections[op.connection];
            all.entry((connection.term, &connection.address)).or_default().push(n);
        }
        Waits { of: all, sessions: sessions(model) }
    }

    /// Whether this owner's holds were to end with a connection that was gone long before.
    fn is_session_gone(&self, model: &Model, owner: &str, sample: &Sample) -> bool {
        let Some((call_us, connection)) = self.sessions.get(owner) else { return false };
        let is_gone = model.gone_us[*connection] < sample.call_us;
        is_gone
            && model.history.connections[*connection].term == sample.term
            && !model.may_be_inherited(*call_us, sample.ret_us)
    }

    /// The requests of clients that are blocked in this sample.
    fn blocked(&self, model: &Model<'a>, sample: &Sample) -> Vec<usize> {
        let blocked = sample.clients.iter().filter(|client| client.is_blocked);
        let requests = blocked.filter_map(|client| {
            let all = self.of.get(&(sample.term, client.address.as_str()))?;
            let at = all.partition_point(|n| model.history.ops[*n].call_us < sample.call_us);
            let n = *all.get(at.checked_sub(1)?)?;
            let op = &model.history.ops[n];
            (op.is_blocking() && op.ret_us > sample.call_us).then_some(n)
        });
        requests.collect()
    }

    fn ills(&self, model: &Model<'a>, sample: &Sample) -> Vec<Ill> {
        let mut ills = Vec::new();
        let blocked = self.blocked(model, sample);
        let mut waiters = 0;
        for (lock, seen) in &sample.locks {
            let is_here = |op: &Op| op.lock == *lock && op.together.is_none();
            let mut here = blocked.iter().copied().filter(|n| is_here(&model.history.ops[*n]));
            match seen {
                None => ills.extend(here.map(Ill::LostWakeUp)),
                Some(seen) => {
                    waiters += seen.waiters;
                    let head = seen.queue.first();
                    let head = head.and_then(|owner| here.find(|n| model.history.ops[*n].owner == *owner));
                    let is_alone = |owner: &String| seen.queue.iter().filter(|one| *one == owner).count() == 1;
                    let head = head.filter(|n| is_alone(&model.history.ops[*n].owner));
                    ills.extend(head.filter(|n| admits(seen, &model.history.ops[*n])).map(Ill::LostWakeUp));
                    for holder in &seen.holders {
                        let is_gone = sample.clients.iter().all(|client| client.id != holder.session);
                        if (holder.session > 0 && is_gone) || self.is_session_gone(model, &holder.owner, sample) {
                            ills.push(Ill::SessionGone(lock.clone(), holder.owner.clone()));
                        }
                        if was_killed_in_line(model, lock, &holder.owner, sample.call_us) {
                            ills.push(Ill::Undelivered(lock.clone(), holder.owner.clone()));
                        }
                    }
                }
            }
        }
        for n in &blocked {
            let op = &model.history.ops[*n];
            if op.together.is_some() && model.history.command_of(op).iter().all(|op| is_ready(sample, op)) {
                ills.push(Ill::LostWakeUp(*n));
            }
            if let (Asked::Acquire { block_ms: Some(block_ms @ 1..), .. }, Some(at)) = (&op.asked, model.position[*n]) {
                if model.history.heard[at].at_us + block_ms * 1000 < sample.call_us {
                    ills.push(Ill::Overdue(*n));
                }
            }
        }
        // A client that waits for several locks stands in the queue of each.
        let more = |n: &usize| model.history.command_of(&model.history.ops[*n]).len() - 1;
        let places =
            sample.clients.iter().filter(|client| client.is_blocked).count() + blocked.iter().map(more).sum::<usize>();
        if waiters > places as u64 {
            ills.push(Ill::Leaked);
        }
        ills
    }
}

/// The owners whose every request was for a hold that ends with one and the same connection: since when, and which.
fn sessions<'a>(model: &Model<'a>) -> HashMap<&'a str, (Us, usize)> {
    let mut all: HashMap<&str, Option<(Us, usize)>> = HashMap::new();
    for op in &model.history.ops {
        if let Asked::Acquire { is_session, .. } = op.asked {
            let known = all.entry(&op.owner).or_insert(Some((op.call_us, op.connection)));
            *known = known.filter(|(_, connection)| is_session && *connection == op.connection);
        }
    }
    all.into_iter().filter_map(|(owner, session)| Some((owner, session?))).collect()
}

/// Whether a lock is ready for this request, which waits for several: its owner holds it, or it is first and can be let in.
fn is_ready(sample: &Sample, op: &Op) -> bool {
    let Some((_, Some(seen))) = sample.locks.iter().find(|(lock, _)| *lock == op.lock) else { return false };
    let is_held = seen.holders.iter().any(|holder| holder.owner == op.owner);
    let is_alone = seen.queue.iter().filter(|owner| **owner == op.owner).count() == 1;
    is_held || (is_alone && seen.queue.first() == Some(&op.owner) && admits(seen, op))
}

/// Whether a lock lets this request in beside its holders.
fn admits(seen: &Seen, op: &Op) -> bool {
    if seen.holders.is_empty() {
        return !seen.is_cooling;
    }
    let Asked::Acquire { is_shared: true, limit, options, .. } = op.asked else { return false };
    let limits = seen.holders.iter().map(|holder| holder.limit).filter(|limit| *limit > 0).chain(limit);
    let weight = options.weight.unwrap_or(1);
    seen.is_shared && limits.min().is_none_or(|limit| units(seen) + weight <= limit)
}

fn was_killed_in_line(model: &Model, lock: &Lock, owner: &str, by_us: Us) -> bool {
    model.history.acts.iter().any(|act| match &act.deed {
        Deed::KillInLine { lock: its, owner: whose } => its == lock && whose == owner && act.ret_us < by_us,
        _ => false,
    })
}
