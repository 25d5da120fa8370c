//! More leases that have run out than one step ends.

use super::*;

const NOW: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(1_000_000) };
const LEASE: Millis = Millis(5);

fn owner(n: usize) -> Owner {
    OwnerRef::new(format!("owner {n}").as_bytes()).unwrap().to_owner()
}

/// A lock whose ten holders' leases ran out when the last of them was granted.
struct Lapsed {
    holders: Holders,
    line: Line,
    fences: FenceClock,
    effects: Vec<Effect>,
}

impl Lapsed {
    fn new() -> Lapsed {
        let mut lock =
            Lapsed { holders: Holders::Free, line: Line::default(), fences: FenceClock::new(), effects: Vec::new() };
        let before = Now { steady: Steady(NOW.steady.0 - 5_000), ..NOW };
        for n in 0..10 {
            let asked = acquire(Mode::Shared(None), Wait::No);
            let owner = owner(n);
            assert!(matches!(
                lock.turn(before).acquire(Acquire { owner: owner.borrow(), ..asked }),
                Acquired::Granted(_)
            ));
        }
        lock.effects.clear();
        lock
    }

    fn turn(&mut self, now: Now) -> Turn<'_> {
        let Lapsed { holders, line, fences, effects } = self;
        Turn { holders, line, fences, holders_max: 100, now, effects }
    }

    fn ended(&self) -> usize {
        self.effects.iter().filter(|effect| matches!(effect, Effect::Ended(_, End::Lapsed))).count()
    }
}

fn acquire(mode: Mode, wait: Wait) -> Acquire<'static> {
    let owner = OwnerRef::new(b"-").unwrap();
    Acquire { owner, mode, lease: LEASE, session: None, user: None, wait }
}

#[test]
fn the_timer_ends_some_at_a_time_and_in_the_end_all_are_over() {
    let mut lock = Lapsed::new();
    let mut steps = 0;
    while lock.holders != Holders::Free {
        assert!(lock.holders.first_end().unwrap() <= NOW.steady, "nothing brings the next step");
        lock.turn(NOW).advance_some();
        steps += 1;
        assert!(steps < 10, "it never ends");
    }
    assert!(steps > 1, "all in one step");
    assert_eq!(lock.ended(), 10);
}

#[test]
fn a_request_in_between_is_answered_as_if_all_were_over() {
    type Request = fn(&mut Turn, OwnerRef) -> bool;
    let requests: [Request; 4] = [
        |turn, owner| turn.release(owner, None),
        |turn, owner| turn.downgrade(owner, None),
        |turn, owner| turn.extend(Extend { owner, lease: None, fence: None, raise: None }),
        |turn, _| turn.acquire(acquire(Mode::Exclusive, Wait::No)) == Acquired::Refused,
    ];
    for request in requests {
        let mut lock = Lapsed::new();
        lock.turn(NOW).advance_some();
        assert!((1..10).contains(&lock.ended()));
        let last = owner(9);
        assert!(!request(&mut lock.turn(NOW), last.borrow()));
        assert_eq!(lock.ended(), 10);
    }
}

#[test]
fn those_the_timer_has_not_come_to_are_waited_for_and_the_line_is_served_when_they_are_over() {
    let mut lock = Lapsed::new();
    let waiter = Waiter {
        owner: owner(77).into(),
        mode: Mode::Exclusive,
        lease: LEASE,
        since: NOW.steady,
        until: None,
        session: None,
        user: None,
    };
    lock.line.join(Ticket(1), waiter);
    while lock.ended() < 10 {
        assert!(!lock.line.is_empty());
        lock.turn(NOW).advance_some();
    }
    assert!(lock.line.is_empty() && matches!(lock.holders, Holders::Exclusive(_)));
}
