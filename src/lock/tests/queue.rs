//! What is asked of a queue about who stands before whom.

use super::*;

fn waiter(who: Who, until: Option<Steady>) -> Waiter {
    let (mode, lease, since) = (Mode::Exclusive, Millis(5), bench::START.steady);
    Waiter { request: Request { owner: who.owner().into(), mode, lease, session: None, user: None }, since, until }
}

/// These wait under tickets from 1 on, B only for 3 ms.
fn queue(owners: &[Who]) -> WaitQueue {
    let mut queue = WaitQueue::default();
    for (n, who) in (1..).zip(owners) {
        let until = (*who == Who::B).then(|| bench::START.steady + Millis(3));
        queue.join(Ticket(n), waiter(*who, until));
    }
    queue
}

#[test]
fn those_before_a_waiter_come_nearest_first() {
    let queue = queue(&Who::ALL);
    let before = |ticket| queue.before(Ticket(ticket)).map(|(Ticket(other), _)| other).collect::<Vec<_>>();
    assert_eq!([before(4), before(3), before(1)], [vec![3, 2, 1], vec![2, 1], vec![]]);
}

#[test]
fn an_owner_asked_before_if_a_request_of_its_own_that_runs_stands_before_this_one() {
    let (now, later) = (bench::START.steady, bench::START.steady + Millis(3));
    let queue = queue(&[Who::A, Who::B, Who::A, Who::C, Who::B]);
    let asked_before = |ticket, now| queue.asked_before(Ticket(ticket), now);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|ticket| asked_before(ticket, now)), [false, false, true, false, true, false]);
    // The wait under ticket 2 has run out.
    assert!(!asked_before(5, later));
}
