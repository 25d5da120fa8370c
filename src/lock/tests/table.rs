//! Single steps as a table, in `table.txt`: every request in every kind of state.
//!
//! ```text
//! state     free, or the hold, then the line: `A:20#10 B:5 C:7<3`
//!           A:20#10     A holds, 20 ms are left of its lease, the fence is 10; `A:0#10`: the lease has run out
//!           A:5/20#10   5 ms are left of a lease of 20
//!           A:20#10!    the hold is inherited
//!           B:5         B waits for a lease of 5 ms; `B:5<3`: for 3 ms more; `B:5<0`: its wait has run out
//!           ~10x2       two answers with fence 10 are on their way
//! request   try B 7 | wait B 7 | wait B 7 <3 | release A | release A #10 | extend A | extend A 7 #10 >500
//!           advance | reconcile | undelivered 10
//! told      a fence, null, waits | 1, 0 | -
//! effects   granted 101, changed 10, ended 10 lapsed, 1: 101 (the first in line is told of fence 101), 2: null
//! ```
//! The clock stands at 100, so that the first fence drawn is 101. One who joins the line is number 9.

use super::*;

const TABLE: &str = include_str!("table.txt");
const NOW: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(101) };

struct Lock {
    holders: Holders,
    line: Line,
    fences: FenceClock,
}

fn number(digits: &str) -> u64 {
    digits.parse().unwrap_or_else(|_| panic!("{digits:?} is no number"))
}

fn who(name: &str) -> Who {
    match name {
        "A" => Who::A,
        "B" => Who::B,
        "C" => Who::C,
        other => panic!("{other:?} is no owner"),
    }
}

fn read_state(text: &str) -> Lock {
    let mut lock = Lock { holders: Holders::Free, line: Line::default(), fences: FenceClock::new() };
    lock.fences.learn(Fence::new(100).unwrap());
    let mut tickets = 1..;
    for word in text.split_whitespace().filter(|word| *word != "free") {
        if let Some(handed) = word.strip_prefix('~') {
            let (fence, pending) = handed.split_once('x').unwrap();
            lock.line.hand(Fence::new(number(fence)).unwrap(), number(pending) as usize);
        } else if word.contains('#') {
            lock.holders.put(Mode::Exclusive, read_hold(word));
        } else {
            lock.line.join(Ticket(tickets.next().unwrap()), read_waiter(word));
        }
    }
    lock
}

fn read_hold(word: &str) -> Hold {
    let (name, rest) = word.split_once(':').unwrap();
    let (times, fence) = rest.split_once('#').unwrap();
    let (left, lease) = times.split_once('/').unwrap_or((times, times));
    let mut hold = inherited(who(name), Fence::new(number(fence.trim_end_matches('!'))).unwrap(), number(left), NOW);
    hold.lease = Millis(number(lease));
    if !fence.ends_with('!') {
        hold.origin = Origin::Granted;
    }
    hold
}

fn read_waiter(word: &str) -> Waiter {
    let (name, rest) = word.split_once(':').unwrap();
    let (lease, left) = rest.split_once('<').map_or((rest, None), |(lease, left)| (lease, Some(left)));
    let until = left.map(|left| NOW.steady + Millis(number(left)));
    Waiter { owner: who(name).owner().into(), mode: Mode::Exclusive, lease: Millis(number(lease)), until }
}

fn left(end: Steady) -> i64 {
    (end.0 - NOW.steady.0) / 1000
}

fn write_state(lock: &Lock) -> String {
    let mut words = Vec::new();
    for hold in lock.holders.iter() {
        let (who, left, lease, fence) = (Who::of(&hold.owner), left(hold.end), hold.lease.0, hold.fence.get());
        let lease = if left == lease as i64 { String::new() } else { format!("/{lease}") };
        let origin = if hold.origin == Origin::Inherited { "!" } else { "" };
        words.push(format!("{who:?}:{left}{lease}#{fence}{origin}"));
    }
    if words.is_empty() {
        words.push("free".to_string());
    }
    for (_, waiter) in lock.line.iter() {
        let until = waiter.until.map_or(String::new(), |until| format!("<{}", left(until)));
        words.push(format!("{:?}:{}{until}", Who::of(&waiter.owner), waiter.lease.0));
    }
    for fence in (1..1000).filter_map(Fence::new) {
        let mut probe = lock.line.clone();
        if let Some(pending) = (1..9).find(|_| probe.undelivered(fence)) {
            words.push(format!("~{}x{pending}", fence.get()));
        }
    }
    words.join(" ")
}

/// Runs a request; what it was told.
fn run(lock: &mut Lock, request: &str, effects: &mut Vec<Effect>) -> String {
    let words: Vec<&str> = request.split_whitespace().collect();
    let option = |mark: char| words.iter().find_map(|word| word.strip_prefix(mark)).map(number);
    let fence = option('#').and_then(Fence::new);
    let plain =
        words.get(2).filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(|word| Millis(number(word)));
    let owner = words.get(1).filter(|_| words[0] != "undelivered").map(|name| who(name).owner());
    let owner = owner.as_ref().map(Owner::borrow);
    let mut turn =
        Turn { holders: &mut lock.holders, line: &mut lock.line, fences: &mut lock.fences, now: NOW, effects };
    match words[0] {
        "try" | "wait" => {
            let until = option('<').map(|ms| NOW.steady + Millis(ms));
            let wait = if words[0] == "try" { Wait::No } else { Wait::Join { ticket: Ticket(9), until } };
            let asked = Acquire { owner: owner.unwrap(), mode: Mode::Exclusive, lease: plain.unwrap(), wait };
            match turn.acquire(asked) {
                Acquired::Granted(fence) => fence.get().to_string(),
                Acquired::Refused => "null".to_string(),
                Acquired::Waits => "waits".to_string(),
            }
        }
        "release" => u8::from(turn.release(owner.unwrap(), fence)).to_string(),
        "extend" => {
            let raise = option('>').and_then(Fence::new);
            u8::from(turn.extend(Extend { owner: owner.unwrap(), lease: plain, fence, raise })).to_string()
        }
        "advance" => {
            turn.advance();
            "-".to_string()
        }
        "reconcile" => {
            turn.reconcile();
            "-".to_string()
        }
        "undelivered" => {
            turn.undelivered(Fence::new(number(words[1])).unwrap());
            "-".to_string()
        }
        other => panic!("{other:?} is no request"),
    }
}

fn write_effect(effect: &Effect) -> String {
    match effect {
        Effect::Granted(fence) => format!("granted {}", fence.get()),
        Effect::Changed(fence) => format!("changed {}", fence.get()),
        Effect::Ended(fence, End::Released) => format!("ended {} released", fence.get()),
        Effect::Ended(fence, End::Lapsed) => format!("ended {} lapsed", fence.get()),
        Effect::Ended(fence, End::Undelivered) => format!("ended {} undelivered", fence.get()),
        Effect::Answer(Ticket(ticket), Answer::Granted(fence)) => format!("{ticket}: {}", fence.get()),
        Effect::Answer(Ticket(ticket), Answer::Null) => format!("{ticket}: null"),
    }
}

/// The row as it should be written.
fn row(state: &str, request: &str) -> [String; 5] {
    let (mut lock, mut effects) = (read_state(state), Vec::new());
    let told = run(&mut lock, request, &mut effects);
    lock.line.assert_sound();
    let effects: Vec<String> = effects.iter().map(write_effect).collect();
    let effects = if effects.is_empty() { "-".to_string() } else { effects.join(", ") };
    [state.to_string(), request.to_string(), told, effects, write_state(&lock)]
}

fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let lines = TABLE.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('|').map(str::trim).collect())
}

#[test]
fn every_request_does_in_every_state_what_the_table_says() {
    let wrong: Vec<String> = rows()
        .filter_map(|expected| {
            let found = row(expected[0], expected[1]);
            (found[..] != expected[..])
                .then(|| format!("expected: {}\nfound:    {}\n", expected.join(" | "), found.join(" | ")))
        })
        .collect();
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_a_row_for_every_pair_of_state_and_request() {
    use std::collections::BTreeSet;
    let states: BTreeSet<_> = rows().map(|row| row[0]).collect();
    let requests: BTreeSet<_> = rows().map(|row| row[1]).collect();
    let pairs: BTreeSet<_> = rows().map(|row| (row[0], row[1])).collect();
    assert_eq!(pairs.len(), rows().count(), "a row stands there twice");
    assert_eq!(pairs.len(), states.len() * requests.len(), "a pair is missing");
    assert!(states.len() >= 14 && requests.len() >= 14);
}
