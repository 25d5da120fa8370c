//! A lock in words: how `table.txt` writes states, requests and effects.
//!
//! ```text
//! state     free, or the holds by fence; the queue; answers on their way: `A:20s#10 B1:5 ~10:3`
//!           A:20#10       A holds alone, 20 ms are left of its lease, the fence is 10; `A:0#10`: the lease has run out
//!           A:20s#10      A holds shared; `A:20s2#10`: with LIMIT 2; `A:20s#10.1`: raised to a fence that another has
//!           A:5/20#10!@1  5 ms are left of a lease of 20, the hold is inherited, and bound to session 1
//!           B1:5s2<3@1    B waits under ticket 1 for a lease of 5 ms, shared with LIMIT 2, 3 ms more, on session 1;
//!                         `B1:5<0`: its wait has run out. Ticket n has waited for n ms, but for 9, which is new
//!           ~10:1@1+,2    requests 1 and 2 are told of fence 10, 1 on session 1; its answer has arrived (`+`)
//!           max2          two may hold together; else a hundred
//! request   try B 7s2 @1 | wait B 7 <3 | release A #10 | downgrade A #10 | extend A 7 #10 >500 | close A @1
//!           advance | reconcile | undelivered 10 1 | delivered 10 1 (hold, ticket)
//! told      a fence, null, waits, release first, full | 1, 0 | - | later (an answer on that session is on its way)
//! effects   granted 101 (after 2: to one who waited 2 ms) | again 10 (its owner asked again) | extended 10
//!           downgraded 10 | rebound 10 from @1 | ended A#10 expired | 1: 101 (ticket 1 is told of it) | 1: timeout ...
//! ```
//! The clock stands at 100, or at the largest fence there is: the first one drawn is 101. One who joins has ticket 9.

use super::bench::{inherited, session};
use super::*;

const NOW: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(101) };
/// The ticket of one who joins.
const NEW: u64 = 9;

/// A lock at [`NOW`].
#[derive(Debug)]
pub struct Lock {
    holders: Holders,
    queue: WaitQueue,
    fences: FenceClock,
    holders_max: usize,
}

/// The same holders, waiters and answers.
impl PartialEq for Lock {
    fn eq(&self, other: &Lock) -> bool {
        self.holders == other.holders && self.queue == other.queue
    }
}

fn number(digits: &str) -> u64 {
    digits.parse().unwrap_or_else(|_| panic!("{digits:?} is no number"))
}

fn who(name: &str) -> Who {
    *Who::ALL.iter().find(|who| format!("{who:?}") == name).unwrap_or_else(|| panic!("{name:?} is no owner"))
}

fn fence(digits: &str) -> Fence {
    Fence::new(number(digits)).unwrap()
}

fn hold_id(word: &str) -> HoldId {
    let (number, nth) = word.split_once('.').unwrap_or((word, "0"));
    HoldId { fence: fence(number), nth: nth.parse().unwrap() }
}

/// What stands behind a mark, and the rest.
fn cut(word: &str, mark: char) -> (&str, Option<&str>) {
    word.split_once(mark).map_or((word, None), |(rest, behind)| (rest, Some(behind)))
}

/// `7`, `7s` or `7s2`.
fn lease_and_mode(word: &str) -> (&str, Mode) {
    match cut(word, 's') {
        (lease, None) => (lease, Mode::Exclusive),
        (lease, Some("")) => (lease, Mode::Shared(None)),
        (lease, Some(limit)) => (lease, Mode::Shared(Limit::new(number(limit)))),
    }
}

pub fn lock(text: &str) -> Lock {
    let (holders, queue, fences) = (Holders::Free, WaitQueue::default(), FenceClock::new());
    let mut lock = Lock { holders, queue, fences, holders_max: 100 };
    lock.fences.observe(fence("100"));
    for word in text.split_whitespace().filter(|word| *word != "free") {
        if let Some(holders_max) = word.strip_prefix("max") {
            lock.holders_max = holders_max.parse().unwrap();
        } else if let Some(answers) = word.strip_prefix('~') {
            read_in_flight(&mut lock.queue, answers);
        } else if word.contains('#') {
            let id = read_hold(&mut lock.holders, word);
            lock.fences.observe(id.fence);
        } else {
            let (name, rest) = word.split_once(':').unwrap();
            let ticket = number(&name[1..]);
            lock.queue.join(Ticket(ticket), read_waiter(who(&name[..1]), ticket, rest));
        }
    }
    lock
}

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

fn read_hold(holders: &mut Holders, word: &str) -> HoldId {
    let (name, rest) = word.split_once(':').unwrap();
    let (times, name_of_hold) = rest.split_once('#').unwrap();
    let (name_of_hold, on) = cut(name_of_hold, '@');
    let (times, mode) = lease_and_mode(times);
    let (left, lease) = times.split_once('/').unwrap_or((times, times));
    let id = hold_id(name_of_hold.trim_end_matches('!'));
    let mut hold = inherited(who(name), id.fence, number(left), NOW);
    (hold.lease, hold.session) = (Millis(number(lease)), on.map(|on| session(number(on))));
    if !name_of_hold.ends_with('!') {
        hold.origin = Origin::Granted;
    }
    // One that was not raised to its fence after another, but whose other has gone.
    let other = (id.nth == 1 && !holders.iter().any(|(_, hold)| hold.fence == id.fence))
        .then(|| holders.put(mode, inherited(Who::D, id.fence, 1, NOW)));
    assert_eq!(holders.put(mode, hold), id, "{word}");
    other.map(|other| holders.remove(other));
    id
}

fn read_waiter(who: Who, ticket: u64, word: &str) -> Waiter {
    let (word, on) = cut(word, '@');
    let (word, left) = cut(word, '<');
    let (lease, mode) = lease_and_mode(word);
    let since = Steady(NOW.steady.0 - if ticket == NEW { 0 } else { ticket as i64 * 1000 });
    let until = left.map(|left| NOW.steady + Millis(number(left)));
    let (lease, session) = (Millis(number(lease)), on.map(|on| session(number(on))));
    Waiter { request: Request { owner: who.owner().into(), mode, lease, session, user: None }, since, until }
}

/// Lets a request happen: what it was told, and what is done about it.
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
            let mut step = Step { holders, queue, fences, holders_max, now: NOW, rights, effects };
            ask(&mut step, &words)
        }
    };
    lock.queue.assert_sound();
    let effects: Vec<String> = effects.iter().map(write_effect).collect();
    (returned, if effects.is_empty() { "-".to_string() } else { effects.join(", ") })
}

fn ask(step: &mut Step, words: &[&str]) -> String {
    let option = |mark: char| words.iter().find_map(|word| word.strip_prefix(mark)).map(number);
    let (tag, raise) = (option('#').and_then(Fence::new), option('>').and_then(Fence::new));
    let session = option('@').map(session);
    let plain =
        words.get(2).filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(|word| lease_and_mode(word));
    let lease = plain.map(|(lease, _)| Millis(number(lease)));
    let name = words.get(1).filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
    let owner = name.map(|name| who(name).owner());
    let owner = owner.as_ref().map(Owner::borrow);
    match words[0] {
        "try" | "wait" => {
            let until = option('<').map(|ms| NOW.steady + Millis(ms));
            let wait = if words[0] == "try" { Wait::No } else { Wait::Join { ticket: Ticket(NEW), until } };
            let (mode, lease) = (plain.unwrap().1, lease.unwrap());
            match step.acquire(Request { owner: owner.unwrap(), mode, lease, session, user: None }, wait) {
                Acquired::Granted(fence) => fence.get().to_string(),
                Acquired::Refused => "null".to_string(),
                Acquired::Waits => "waits".to_string(),
                Acquired::MustRelease => "release first".to_string(),
                Acquired::Full => "full".to_string(),
            }
        }
        "release" => u8::from(step.release(owner.unwrap(), tag)).to_string(),
        "downgrade" => u8::from(step.downgrade(owner.unwrap(), tag)).to_string(),
        "extend" => u8::from(step.extend(Extend { owner: owner.unwrap(), lease, fence: tag, raise })).to_string(),
        "close" => if step.close(owner.unwrap(), session.unwrap()) { "-" } else { "later" }.to_string(),
        other => {
            match other {
                "undelivered" => drop(step.undelivered(hold_id(words[1]), Ticket(number(words[2])))),
                "advance" => step.advance(),
                "reconcile" => step.reconcile(),
                _ => panic!("{other:?} is no request"),
            }
            "-".to_string()
        }
    }
}

fn write_id(id: HoldId) -> String {
    let nth = if id.nth == 0 { String::new() } else { format!(".{}", id.nth) };
    format!("{}{nth}", id.fence.get())
}

fn write_effect(effect: &Effect) -> String {
    let name = |id: &HoldId| write_id(*id);
    match effect {
        Effect::Granted(id, None) => format!("granted {}", name(id)),
        Effect::Granted(id, Some(since)) => format!("granted {} after {}", name(id), (NOW.steady.0 - since.0) / 1000),
        Effect::Changed(id, HoldChange::Reacquired) => format!("again {}", name(id)),
        Effect::Changed(id, HoldChange::Extended) => format!("extended {}", name(id)),
        Effect::Changed(id, HoldChange::Downgraded) => format!("downgraded {}", name(id)),
        Effect::Rebound(id, _, None) => format!("rebound {} from none", name(id)),
        Effect::Rebound(id, _, Some(before)) => format!("rebound {} from @{}", name(id), before.0),
        Effect::Ended(hold, why) => {
            let why = format!("{why:?}").to_lowercase();
            format!("ended {:?}#{} {why}", Who::of(&hold.owner), hold.fence.get())
        }
        Effect::Expired(_) => "expired".to_owned(),
        Effect::Answer(Ticket(ticket), answer) => match answer {
            Answer::Granted(id) => format!("{ticket}: {}", name(id)),
            Answer::TimedOut => format!("{ticket}: timeout"),
            Answer::Withdrawn => format!("{ticket}: withdrawn"),
            Answer::NoPermission => format!("{ticket}: no permission"),
            Answer::MustRelease => format!("{ticket}: release first"),
        },
    }
}
