//! The notation of `table.txt`: a lock's state, a request, its reply and its effects, each as a few words.
//!
//! ```text
//! state     `free`, or the holds in the order of their fences; then the waiters, the answers in flight, and the limit
//!           of holders, for example `A:20s#10 B1:5 ~10:3 max2`
//!
//!           A:20#10       A has an exclusive hold with fence 10, and 20 ms are left of its lease (0: it has expired)
//!           A:20s#10      the hold is shared
//!           A:20s2#10     the hold is shared with LIMIT 2
//!           A:20s#10.1    the fence was raised to 10, which another hold had already
//!           A:20s3w2#10   the hold is shared with LIMIT 3 and WEIGHT 2
//!           A:20m30d5#10  the hold has MAX 30, counted from now, and DELAY 5
//!           A:5/20#10     5 ms are left of a lease of 20 ms
//!           A:20#10!      the hold is inherited
//!           A:20#10@1     the hold is bound to session 1
//!
//!           B1:5          B waits with ticket 1 for an exclusive hold with a lease of 5 ms
//!           B1:5s2@1      it waits for a shared hold with LIMIT 2, on session 1
//!           B1:5+         it waits for several locks, of which this is one
//!           B1:5<3        its wait times out in 3 ms (0: it has timed out)
//!                         Ticket n has waited for n ms, except for ticket 9, which has just joined the queue.
//!
//!           ~10:1@1+,2    answers with the hold of fence 10 were sent to the tickets 1 (on session 1) and 2;
//!                         the one with a + has arrived
//!           cooling:5/20  nobody holds the lock, and 5 of 20 ms of cooling are left
//!           max2          at most two owners may hold the lock (100 if it is not given)
//!
//! request   try B 7s2 @1        ask for the lock without waiting: owner, lease and mode, session
//!           wait B 7 <3         ask for the lock and wait up to 3 ms
//!           release A #10 *5    with a fence, and COOL 5; `downgrade A #10` likewise
//!           extend A 7 #10 >500 set the lease to 7 ms if the fence is 10, and raise the fence to 500
//!           take B 7s           grant this lock to a request for several, if it is ready; `join B 7s`: such a request waits
//!           serve 1             grant this lock to ticket 1, which waits for several, if it is ready
//!           close A @1          end A's hold if it is bound to session 1, which has closed
//!           delivered 10 1      the answer with hold 10 to ticket 1 has arrived; `undelivered 10 1`: it is lost
//!           advance             a step without a request; `reconcile`: a step after a change from outside
//!
//! reply     of try and wait: a fence, `null` (refused), `waits`, `release first`, or `full`
//!           of release, downgrade and extend: 1 or 0; of release with COOL also `shared`
//!           of take and serve: the fence, with `held` before it if the owner held the lock already, or why the lock is
//!           not ready: `taken`, `full`, `release first`, `no permission`, `gone` (the ticket does not wait any more)
//!           of close: `later` if an answer is still in flight on that session, else `-`; of all others: `-`
//!
//! effects   granted 101, granted 101 after 2 (to a waiter that waited for 2 ms), reacquired 10, extended 10,
//!           downgraded 10, rebound 10 from @1, ended A#10 expired, cools, cooled, 1: 101 (ticket 1 is answered with that hold),
//!           1: ready (several locks, of which this one is), 1: timeout, 1: withdrawn, 1: no permission, 1: release first
//! ```
//! The fence clock stands at 100, or at the largest fence of a hold if that is larger. So the next fence is 101 or
//! larger.

use super::harness::{inherited, session};
use super::*;

/// The time of every step in the table.
const NOW: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(101) };
/// The ticket of a request that joins the queue.
const NEW: u64 = 9;

/// A lock at the time [`NOW`].
#[derive(Debug)]
pub struct Lock {
    holders: Holders,
    queue: WaitQueue,
    fences: FenceClock,
    /// How many owners may hold the lock together.
    holders_max: usize,
}

/// Two locks are equal if their holders, waiters and answers in flight are.
impl PartialEq for Lock {
    fn eq(&self, other: &Lock) -> bool {
        self.holders == other.holders && self.queue == other.queue
    }
}

fn number(digits: &str) -> u64 {
    digits.parse().unwrap_or_else(|_| panic!("{digits:?} is not a number"))
}

/// The client with this letter.
fn client(name: &str) -> Client {
    *Client::ALL
        .iter()
        .find(|client| format!("{client:?}") == name)
        .unwrap_or_else(|| panic!("{name:?} is not a client"))
}

fn fence(digits: &str) -> Fence {
    Fence::new(number(digits)).unwrap()
}

/// Reads a hold's id: `10`, or `10.1` for the second hold with fence 10.
fn hold_id(word: &str) -> HoldId {
    let (number, nth) = word.split_once('.').unwrap_or((word, "0"));
    HoldId { fence: fence(number), nth: nth.parse().unwrap() }
}

/// The text before a mark, and the text behind it if the mark is there.
fn cut(word: &str, mark: char) -> (&str, Option<&str>) {
    word.split_once(mark).map_or((word, None), |(rest, behind)| (rest, Some(behind)))
}

/// The options MAX and DELAY.
#[derive(Clone, Copy)]
struct Options {
    max: Option<Millis>,
    delay: Option<Millis>,
}

/// Reads a lease, a mode, MAX and DELAY: `7` (exclusive), `7s` (shared), `7s3w2` (shared with LIMIT 3 and WEIGHT 2), `7m20d5`
/// (exclusive with MAX 20 and DELAY 5).
fn lease_and_mode(word: &str) -> (&str, Mode, Options) {
    let (word, delay) = cut(word, 'd');
    let (word, max) = cut(word, 'm');
    let length = |digits: &str| Millis(number(digits));
    let options = Options { max: max.map(length), delay: delay.map(length) };
    let (lease, mode) = match cut(word, 's') {
        (lease, None) => (lease, Mode::Exclusive),
        (lease, Some("")) => (lease, Mode::Shared(None)),
        (lease, Some(limit)) => {
            let (units, weight) = cut(limit, 'w');
            (lease, Mode::Shared(Limit::weighted(number(units), weight.map_or(1, number))))
        }
    };
    (lease, mode, options)
}

/// Reads a state.
pub fn lock(text: &str) -> Lock {
    let (holders, queue, fences) = (Holders::Free, WaitQueue::default(), FenceClock::new());
    let mut lock = Lock { holders, queue, fences, holders_max: 100 };
    lock.fences.observe(fence("100"));
    for word in text.split_whitespace().filter(|word| *word != "free") {
        if let Some(times) = word.strip_prefix("cooling:") {
            let (left, length) = times.split_once('/').unwrap_or((times, times));
            let until = NOW.steady + Millis(number(left));
            lock.holders = Holders::Cooling(Cooling { until, length: Millis(number(length)) });
        } else if let Some(holders_max) = word.strip_prefix("max") {
            lock.holders_max = holders_max.parse().unwrap();
        } else if let Some(answers) = word.strip_prefix('~') {
            read_in_flight(&mut lock.queue, answers);
        } else if word.contains('#') {
            let id = read_hold(&mut lock.holders, word);
            lock.fences.observe(id.fence);
        } else {
            let (name, rest) = word.split_once(':').unwrap();
            let ticket = number(&name[1..]);
            lock.queue.join(Ticket(ticket), read_waiter(client(&name[..1]), ticket, rest));
        }
    }
    lock
}

/// Reads answers in flight, such as `10:1@1+,2`.
fn read_in_flight(queue: &mut WaitQueue, word: &str) {
    let (hold, tickets) = word.split_once(':').unwrap();
    let returned: Vec<(Ticket, Option<Session>, bool)> = tickets
        .split(',')
        .map(|word| {
            let (ticket, on) = cut(word.trim_end_matches('+'), '@');
            (Ticket(number(ticket)), on.map(|on| session(number(on))), word.ends_with('+'))
        })
        .collect();
    queue.start_delivery(hold_id(hold), returned.iter().map(|(ticket, session, _)| (*ticket, *session)));
    for (ticket, ..) in returned.iter().filter(|(.., arrived)| *arrived) {
        queue.delivered(hold_id(hold), *ticket);
    }
}

/// Reads a hold, such as `A:5/20s2#10.1!@1`, and adds it to the holders.
fn read_hold(holders: &mut Holders, word: &str) -> HoldId {
    let (name, rest) = word.split_once(':').unwrap();
    let (times, name_of_hold) = rest.split_once('#').unwrap();
    let (name_of_hold, on) = cut(name_of_hold, '@');
    let (times, mode, options) = lease_and_mode(times);
    let (left, lease) = times.split_once('/').unwrap_or((times, times));
    let id = hold_id(name_of_hold.trim_end_matches('!'));
    let mut hold = inherited(client(name), id.fence, number(left), NOW);
    hold.terms.set_lease(Millis(number(lease)));
    hold.session = on.map(|on| session(number(on)));
    hold.terms = hold.terms.with(options.max, options.delay);
    if !name_of_hold.ends_with('!') {
        hold.terms.set_origin(Origin::Granted);
    }
    // A second hold with the same fence whose first one has ended: add the first one and remove it.
    let other = (id.nth == 1 && !holders.iter().any(|(_, hold)| hold.fence == id.fence))
        .then(|| holders.put(mode, inherited(Client::D, id.fence, 1, NOW)));
    assert_eq!(holders.put(mode, hold), id, "{word}");
    other.map(|other| holders.remove(other));
    id
}

/// Reads a waiter without its name and ticket, such as `5s2<3@1`.
fn read_waiter(client: Client, ticket: u64, word: &str) -> Waiter {
    let (word, is_multi_key) = match word.strip_suffix('+') {
        Some(word) => (word, true),
        None => (word, false),
    };
    let (word, on) = cut(word, '@');
    let (word, left) = cut(word, '<');
    let (lease, mode, Options { max, delay }) = lease_and_mode(word);
    let since = Steady(NOW.steady.0 - if ticket == NEW { 0 } else { ticket as i64 * 1000 });
    let until = left.map(|left| NOW.steady + Millis(number(left)));
    let (lease, session) = (Millis(number(lease)), on.map(|on| session(number(on))));
    Waiter {
        request: Request { owner: client.owner().into(), mode, lease, max, delay, session, user: None },
        since,
        until,
        is_multi_key,
    }
}

/// Applies a request. Returns its reply and its effects as they are written in the table.
pub fn run(lock: &mut Lock, request: &str) -> (String, String) {
    let words: Vec<&str> = request.split_whitespace().collect();
    let mut effects = Vec::new();
    let returned = match words[0] {
        "delivered" => {
            lock.queue.delivered(hold_id(words[1]), Ticket(number(words[2])));
            "-".to_string()
        }
        _ => {
            let Lock { holders, queue, fences, holders_max, .. } = lock;
            let (holders_max, rights, effects) = (*holders_max, &mut BTreeSet::new(), &mut effects);
            let mut step = Step { holders, queue, fences, holders_max, may_grant: true, now: NOW, rights, effects };
            make_step(&mut step, &words)
        }
    };
    lock.queue.assert_sound();
    let effects: Vec<String> = effects.iter().map(write_effect).collect();
    (returned, if effects.is_empty() { "-".to_string() } else { effects.join(", ") })
}

/// Applies a request that is a step. Returns its reply.
fn make_step(step: &mut Step, words: &[&str]) -> String {
    let option = |mark: char| words.iter().find_map(|word| word.strip_prefix(mark)).map(number);
    let (fence_option, raise) = (option('#').and_then(Fence::new), option('>').and_then(Fence::new));
    let session = option('@').map(session);
    let plain =
        words.get(2).filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(|word| lease_and_mode(word));
    let lease = plain.map(|(lease, ..)| Millis(number(lease)));
    let name = words.get(1).filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
    let owner = name.map(|name| client(name).owner());
    let owner = owner.as_ref().map(Owner::borrow);
    match words[0] {
        "try" | "wait" => {
            let until = option('<').map(|ms| NOW.steady + Millis(ms));
            let wait = if words[0] == "try" { Wait::No } else { Wait::Join { ticket: Ticket(NEW), until } };
            let (_, mode, Options { max, delay }) = plain.unwrap();
            let (owner, lease) = (owner.unwrap(), lease.unwrap());
            match step.acquire(Request { owner, mode, lease, max, delay, session, user: None }, wait) {
                Acquired::Granted(fence) => fence.get().to_string(),
                Acquired::Refused => "null".to_string(),
                Acquired::Waits => "waits".to_string(),
                Acquired::MustRelease => "release first".to_string(),
                Acquired::MayNotGrant | Acquired::Full => "full".to_string(),
            }
        }
        "release" => match step.release(owner.unwrap(), fence_option, option('*').map(Millis)) {
            Released::Yes => "1".to_string(),
            Released::NotHeld => "0".to_string(),
            Released::IsShared => "shared".to_string(),
        },
        "take" => {
            let (_, mode, Options { max, delay }) = plain.unwrap();
            let (owner, lease) = (owner.unwrap(), lease.unwrap());
            match step.readiness(owner, mode) {
                ready @ (Readiness::Free | Readiness::Held) => {
                    let request = Request { owner, mode, lease, max, delay, session, user: None };
                    write_granted(ready == Readiness::Held, step.acquire_one_of_several(request))
                }
                not_ready => write_readiness(Some(not_ready)),
            }
        }
        "serve" => {
            let ticket = Ticket(number(words[1]));
            match step.readiness_of(ticket) {
                Some(ready) if ready.is_ready() => {
                    let granted = step.grant_one_of_several(ticket).unwrap();
                    write_granted(ready == Readiness::Held, granted.fence)
                }
                not_ready => write_readiness(not_ready),
            }
        }
        "join" => {
            let (_, mode, Options { max, delay }) = plain.unwrap();
            let (owner, lease) = (owner.unwrap(), lease.unwrap());
            step.join(Request { owner, mode, lease, max, delay, session, user: None }, Ticket(NEW), None);
            "-".to_string()
        }
        "downgrade" => u8::from(step.downgrade(owner.unwrap(), fence_option)).to_string(),
        "extend" => {
            u8::from(step.extend(Extend { owner: owner.unwrap(), lease, fence: fence_option, raise })).to_string()
        }
        "close" => if step.close(owner.unwrap(), session.unwrap()) { "-" } else { "later" }.to_string(),
        other => {
            match other {
                "undelivered" => drop(step.undelivered(hold_id(words[1]), Ticket(number(words[2])))),
                "advance" => step.advance(),
                "reconcile" => step.reconcile(),
                _ => panic!("{other:?} is not a request"),
            }
            "-".to_string()
        }
    }
}

/// Writes what a request for several locks is granted.
fn write_granted(is_held: bool, fence: Fence) -> String {
    format!("{}{}", if is_held { "held " } else { "" }, fence.get())
}

/// Writes why a lock is not granted to a request for several.
fn write_readiness(readiness: Option<Readiness>) -> String {
    match readiness {
        Some(Readiness::Held | Readiness::Free) => panic!("it is ready"),
        Some(Readiness::Taken) => "taken",
        Some(Readiness::Full) => "full",
        Some(Readiness::MustRelease) => "release first",
        None => "gone",
    }
    .to_string()
}

/// Writes a hold's id.
fn write_id(id: HoldId) -> String {
    let nth = if id.nth == 0 { String::new() } else { format!(".{}", id.nth) };
    format!("{}{nth}", id.fence.get())
}

/// Writes an effect.
fn write_effect(effect: &Effect) -> String {
    let name = |id: &HoldId| write_id(*id);
    match effect {
        Effect::Granted(id, None) => format!("granted {}", name(id)),
        Effect::Granted(id, Some(since)) => format!("granted {} after {}", name(id), (NOW.steady.0 - since.0) / 1000),
        Effect::Changed(id, HoldChange::Reacquired) => format!("reacquired {}", name(id)),
        Effect::Changed(id, HoldChange::Extended) => format!("extended {}", name(id)),
        Effect::Changed(id, HoldChange::Downgraded) => format!("downgraded {}", name(id)),
        Effect::Rebound(id, _, None) => format!("rebound {} from none", name(id)),
        Effect::Rebound(id, _, Some(before)) => format!("rebound {} from @{}", name(id), before.0),
        Effect::Ended(hold, why) => {
            let why = format!("{why:?}").to_lowercase();
            format!("ended {:?}#{} {why}", Client::of(&hold.owner), hold.fence.get())
        }
        Effect::Expired(_) => "expired".to_owned(),
        Effect::Cools => "cools".to_owned(),
        Effect::Cooled => "cooled".to_owned(),
        Effect::Ready(Ticket(ticket)) => format!("{ticket}: ready"),
        Effect::Answer(Ticket(ticket), answer) => match answer {
            Answer::Granted(id) => format!("{ticket}: {}", name(id)),
            Answer::TimedOut => format!("{ticket}: timeout"),
            Answer::Withdrawn => format!("{ticket}: withdrawn"),
            Answer::NoPermission => format!("{ticket}: no permission"),
            Answer::MustRelease => format!("{ticket}: release first"),
        },
    }
}
