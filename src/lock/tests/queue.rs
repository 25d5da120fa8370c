//! The order of waiters in a queue: which ones are before a waiter, and which of them are its owner's own.

use super::*;

/// A waiter for an exclusive hold.
fn waiter(client: Client, until: Option<Steady>) -> Waiter {
    let (mode, lease, since) = (Mode::Exclusive, Millis(5), harness::START.steady);
    let owner = client.owner().into();
    let request = Request { owner, mode, lease, max: None, delay: None, session: None, user: None };
    Waiter { request, since, until, is_multi_key: false }
}

/// A queue in which these clients wait with the tickets 1, 2 and so on. The waits of B have a limit of 3 ms.
fn queue(owners: &[Client]) -> WaitQueue {
    let mut queue = WaitQueue::default();
    for (n, client) in (1..).zip(owners) {
        let until = (*client == Client::B).then(|| harness::START.steady + Millis(3));
        queue.join(Ticket(n), waiter(*client, until));
    }
    queue
}

#[test]
fn earlier_waiters_are_listed_nearest_first() {
    let queue = queue(&Client::ALL);
    let before = |ticket| queue.before(Ticket(ticket)).map(|(Ticket(other), _)| other).collect::<Vec<_>>();
    assert_eq!([before(4), before(3), before(1)], [vec![3, 2, 1], vec![2, 1], vec![]]);
}

#[test]
fn an_owner_asked_before_only_if_an_earlier_request_of_its_own_has_not_timed_out() {
    let (now, later) = (harness::START.steady, harness::START.steady + Millis(3));
    let queue = queue(&[Client::A, Client::B, Client::A, Client::C, Client::B]);
    let asked_before = |ticket, now| queue.asked_before(Ticket(ticket), now);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|ticket| asked_before(ticket, now)), [false, false, true, false, true, false]);
    // The wait with ticket 2 has timed out.
    assert!(!asked_before(5, later));
}
