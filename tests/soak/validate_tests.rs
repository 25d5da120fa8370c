//! Histories made by hand: what is wrong is found, and what only looks wrong is not.

use super::*;
use crate::history::{
    Act, Connection, Deed, Heard, Holder, Lock, Options, Sample, Seen, SeenClient, Term, Us, Use, NEVER,
};
use crate::traffic::words;

fn lock() -> Lock {
    Lock { db: 0, name: "k".to_owned() }
}

/// One server, and a connection for each of four clients.
fn start() -> History {
    let term = Term { server: 0, ended_us: NEVER, superseded_us: NEVER };
    let connection = |n: usize| Connection { address: address(n), term: 0, closing_us: NEVER, closed_us: NEVER };
    History { terms: vec![term], connections: (0..4).map(connection).collect(), ..History::default() }
}

fn address(n: usize) -> String {
    format!("127.0.0.1:{}", 1000 + n)
}

fn acquire(lease_ms: u64, block_ms: Option<u64>) -> Asked {
    Asked::Acquire { is_shared: false, limit: None, lease_ms, block_ms, is_session: false, options: Options::default() }
}

fn shared(lease_ms: u64, limit: Option<u64>) -> Asked {
    Asked::Acquire { is_shared: true, limit, lease_ms, block_ms: None, is_session: false, options: Options::default() }
}

impl History {
    /// An operation of the owner whose name begins with the number of its connection, in milliseconds.
    fn op(mut self, owner: &str, asked: Asked, (call_ms, ret_ms): (Us, Us), reply: Reply) -> History {
        let connection = owner[..1].parse().unwrap();
        let ret_us = if reply == Reply::Unknown { NEVER } else { ret_ms * 1000 };
        let (client, owner, lock, call_us) = ("c".to_owned(), owner.to_owned(), lock(), call_ms * 1000);
        // The server runs them as they are written down here.
        let (address, words) = (address(connection), words(&lock, &owner, &asked));
        self.heard.push(Heard { term: 0, at_us: ret_ms * 1000, address, words });
        self.ops.push(Op { client, connection, lock, owner, asked, call_us, ret_us, reply, together: None });
        self
    }

    fn act(mut self, deed: Deed, (call_ms, ret_ms): (Us, Us)) -> History {
        self.acts.push(Act { deed, call_us: call_ms * 1000, ret_us: ret_ms * 1000 });
        self
    }

    /// Looks every 5 ms; these clients are blocked.
    fn looks(mut self, (from_ms, to_ms): (Us, Us), seen: Option<&Seen>, blocked: &[usize]) -> History {
        for at_ms in (from_ms..=to_ms).step_by(5) {
            let clients =
                (0..4).map(|n| SeenClient { id: n as u64 + 1, address: address(n), is_blocked: blocked.contains(&n) });
            let (call_us, ret_us) = (at_ms * 1000, at_ms * 1000 + 200);
            let locks = vec![(lock(), seen.cloned())];
            self.samples.push(Sample { term: 0, call_us, ret_us, locks, clients: clients.collect() });
        }
        self
    }

    #[track_caller]
    fn must_be_right(self) {
        assert_eq!(validate(&self), Vec::<String>::new());
    }

    #[track_caller]
    fn must_be_wrong(self, because: &str) {
        let wrong = validate(&self);
        assert!(wrong.iter().any(|one| one.contains(because)), "{because}: {wrong:#?}");
    }
}

fn seen(is_shared: bool, holders: &[(&str, u64, u64)]) -> Seen {
    let holder = |(owner, fence, limit): &(&str, u64, u64)| Holder {
        owner: (*owner).to_owned(),
        fence: *fence,
        ttl_ms: 100,
        limit: *limit,
        weight: 1,
        session: 0,
    };
    Seen { is_shared, is_cooling: false, holders: holders.iter().map(holder).collect(), waiters: 0, queue: Vec::new() }
}

const NO_FENCE: Asked = Asked::Release { fence: None };

#[test]
fn a_right_history_is_right() {
    start()
        .op("0", acquire(1000, None), (0, 1), Reply::Fence(10))
        .op("1", acquire(1000, None), (2, 3), Reply::Null)
        .op("1", acquire(1000, Some(100)), (4, 9), Reply::Fence(11))
        .op("0", NO_FENCE, (5, 6), Reply::Yes)
        .op("1", Asked::Extend { lease_ms: Some(50), fence: Some(11) }, (10, 11), Reply::Yes)
        .op("0", acquire(20, None), (70, 71), Reply::Fence(12))
        .op("2", shared(100, Some(2)), (100, 101), Reply::Fence(13))
        .op("3", shared(100, Some(2)), (100, 102), Reply::Fence(14))
        .looks((110, 120), Some(&seen(true, &[("2", 13, 2), ("3", 14, 2)])), &[])
        .must_be_right();
}

#[test]
fn two_holders_are_found() {
    let held = || start().op("0", acquire(1000, None), (0, 1), Reply::Fence(10));
    held().op("1", acquire(1000, None), (2, 3), Reply::Fence(11)).must_be_wrong("two hold at once");
    held().op("1", shared(1000, None), (2, 3), Reply::Fence(11)).must_be_wrong("two hold at once");
    held().op("0", NO_FENCE, (2, 9), Reply::Yes).op("1", acquire(1000, None), (2, 3), Reply::Fence(11)).must_be_right();
    // Nobody knows whether it was released.
    held()
        .op("0", NO_FENCE, (2, 3), Reply::Unknown)
        .op("1", acquire(1000, None), (4, 5), Reply::Fence(11))
        .must_be_right();
    held().act(Deed::Remove(lock()), (2, 3)).op("1", acquire(1000, None), (4, 5), Reply::Fence(11)).must_be_right();
}

#[test]
fn one_shared_holder_too_many_is_found() {
    let beyond = seen(true, &[("0", 10, 1), ("1", 11, 0)]);
    start()
        .op("0", shared(100, Some(1)), (0, 1), Reply::Fence(10))
        .op("1", shared(100, None), (0, 1), Reply::Fence(11))
        .looks((5, 5), Some(&beyond), &[])
        .must_be_wrong("more holders");
}

#[test]
fn a_release_by_one_who_cannot_hold_is_found() {
    let held = || start().op("0", acquire(100, None), (0, 1), Reply::Fence(10));
    held().op("1", NO_FENCE, (2, 3), Reply::Yes).must_be_wrong("cannot have held");
    held().op("0", NO_FENCE, (2, 3), Reply::No).must_be_wrong("it held all the time");
    held().op("0", NO_FENCE, (120, 121), Reply::Yes).must_be_wrong("cannot have held");
    held().op("0", Asked::Release { fence: Some(9) }, (2, 3), Reply::Yes).must_be_wrong("cannot have held");
    held().op("0", Asked::Release { fence: Some(9) }, (2, 3), Reply::No).must_be_right();
    held()
        .op("0", NO_FENCE, (2, 3), Reply::Yes)
        .op("0", NO_FENCE, (4, 5), Reply::Yes)
        .must_be_wrong("cannot have held");
    held().act(Deed::Flush, (2, 3)).op("0", NO_FENCE, (4, 5), Reply::Yes).must_be_wrong("cannot have held");
}

#[test]
fn a_lease_that_ends_early_or_late_is_found() {
    let held = || start().op("0", acquire(100, None), (0, 1), Reply::Fence(10));
    held().op("0", Asked::Check, (50, 51), Reply::Null).must_be_wrong("it held all the time");
    held().op("0", Asked::Check, (98, 104), Reply::Null).must_be_right();
    held().op("0", Asked::Check, (120, 121), Reply::Held { fence: 10, ttl_ms: 1 }).must_be_wrong("cannot have held");
    held().looks((50, 50), None, &[]).must_be_wrong("not held any more");
    held().looks((120, 120), Some(&seen(false, &[("0", 10, 0)])), &[]).must_be_wrong("cannot hold");
    held().op("1", acquire(100, None), (150, 151), Reply::Null).must_be_wrong("nobody can have held");
}

/// After a load the owner reacquires the hold for a shorter lease: it gets another fence, and the hold ends when it would have.
#[test]
fn a_hold_that_was_loaded_goes_on_under_another_fence() {
    let renewed = || {
        start().op("0", acquire(1000, None), (0, 1), Reply::Fence(10)).act(Deed::Load, (5, 6)).op(
            "0",
            acquire(50, None),
            (7, 8),
            Reply::Fence(11),
        )
    };
    renewed().op("0", Asked::Release { fence: Some(10) }, (9, 10), Reply::No).must_be_right();
    start()
        .op("0", acquire(1000, None), (0, 1), Reply::Fence(10))
        .act(Deed::Load, (5, 6))
        .op("0", Asked::Check, (7, 8), Reply::Held { fence: 10, ttl_ms: 990 })
        .op("0", acquire(50, None), (9, 10), Reply::Fence(11))
        .must_be_right();
    renewed().op("0", Asked::Extend { lease_ms: None, fence: Some(11) }, (500, 501), Reply::Yes).must_be_right();
    renewed().op("0", Asked::Release { fence: Some(11) }, (1200, 1201), Reply::Yes).must_be_wrong("cannot have held");
}

#[test]
fn an_end_that_moves_by_itself_is_found() {
    let at = |ttl_ms| {
        let mut seen = seen(false, &[("0", 10, 0)]);
        seen.holders[0].ttl_ms = ttl_ms;
        seen
    };
    let held = || start().op("0", acquire(1000, None), (0, 1), Reply::Fence(10)).looks((10, 10), Some(&at(990)), &[]);
    held().act(Deed::Load, (20, 30)).looks((40, 40), Some(&at(960)), &[]).must_be_right();
    held().act(Deed::Load, (20, 30)).looks((40, 40), Some(&at(990)), &[]).must_be_wrong("the end of a hold");
    held().act(Deed::Load, (20, 30)).looks((40, 40), Some(&at(500)), &[]).must_be_wrong("the end of a hold");
    held()
        .op("0", Asked::Extend { lease_ms: Some(500), fence: None }, (20, 30), Reply::Yes)
        .looks((30, 30), Some(&at(495)), &[])
        .must_be_right();
}

#[test]
fn fences_that_do_not_rise_are_found() {
    let first = || start().op("0", acquire(10, None), (0, 1), Reply::Fence(10));
    first().op("1", acquire(10, None), (50, 51), Reply::Fence(9)).must_be_wrong("fences fell");
    first().op("1", acquire(10, None), (50, 51), Reply::Fence(10)).must_be_wrong("one fence for two owners");
    first().act(Deed::Flush, (3, 4)).op("1", acquire(10, None), (5, 6), Reply::Fence(9)).must_be_wrong("fences fell");
    // Asked at the same time: either may have been first.
    start()
        .op("0", shared(10, None), (0, 5), Reply::Fence(11))
        .op("1", shared(10, None), (1, 4), Reply::Fence(10))
        .must_be_wrong("passed");
    first().op("0", acquire(10, None), (2, 3), Reply::Fence(11)).must_be_wrong("got another fence");
    first().act(Deed::Load, (2, 3)).op("0", acquire(10, None), (4, 5), Reply::Fence(11)).must_be_right();
}

#[test]
fn a_later_life_of_the_server_gives_larger_fences() {
    let mut history = start().op("0", acquire(10, None), (0, 1), Reply::Fence(10));
    history.terms[0].ended_us = 5_000;
    history.terms.push(Term { server: 0, ended_us: NEVER, superseded_us: NEVER });
    history.connections[1].term = 1;
    history.op("1", acquire(10, None), (50, 51), Reply::Fence(10)).must_be_wrong("a later primary gave a fence below");
}

#[test]
fn who_passes_a_waiter_is_found() {
    let wait = acquire(100, Some(1000));
    let line = || {
        start()
            .op("0", acquire(1000, None), (0, 1), Reply::Fence(10))
            .op("1", wait.clone(), (2, 30), Reply::Fence(12))
            .op("2", wait.clone(), (4, 20), Reply::Fence(11))
    };
    line().op("0", NO_FENCE, (15, 16), Reply::Yes).op("2", NO_FENCE, (21, 22), Reply::Yes).must_be_wrong("passed");
    // The owner of the second had asked before the first, by a request that nobody knows about.
    let mut history = start()
        .op("0", acquire(1000, None), (0, 1), Reply::Fence(10))
        .op("2", wait.clone(), (1, 2), Reply::Unknown)
        .op("1", wait.clone(), (2, 30), Reply::Fence(12));
    history.connections[3].closed_us = 1_500;
    history.ops[1].connection = 3;
    history.heard[1].address = address(3);
    let history = history.op("2", wait.clone(), (4, 20), Reply::Fence(11));
    history.op("0", NO_FENCE, (15, 16), Reply::Yes).op("2", NO_FENCE, (21, 22), Reply::Yes).must_be_right();
    // In vain.
    start()
        .op("0", acquire(10, None), (0, 1), Reply::Fence(10))
        .op("1", acquire(10, Some(500)), (2, 503), Reply::Null)
        .op("2", acquire(10, None), (50, 51), Reply::Fence(11))
        .must_be_wrong("passed");
}

#[test]
fn a_wait_that_ends_too_soon_is_found() {
    let held = || start().op("0", acquire(1000, None), (0, 1), Reply::Fence(10));
    held().op("1", acquire(10, Some(500)), (2, 100), Reply::Null).must_be_wrong("before its time");
    held()
        .op("1", acquire(10, Some(500)), (2, 100), Reply::Null)
        .op("1", NO_FENCE, (50, 99), Reply::No)
        .must_be_right();
}

#[test]
fn a_lost_wake_up_is_found() {
    let waits = || {
        start().op("0", acquire(50, None), (0, 1), Reply::Fence(10)).op(
            "1",
            acquire(50, Some(1500)),
            (10, 400),
            Reply::Fence(11),
        )
    };
    let held = seen(false, &[("0", 10, 0)]);
    waits().looks((20, 40), Some(&held), &[1]).looks((60, 300), None, &[1]).must_be_wrong("nothing is in the way");
    // For a moment it may be so.
    waits().looks((20, 40), Some(&held), &[1]).looks((60, 120), None, &[1]).must_be_right();
}

#[test]
fn a_grant_to_one_who_is_gone_is_found() {
    let mut history = start()
        .op("0", acquire(1500, None), (0, 1), Reply::Fence(10))
        .op("1", acquire(500, Some(0)), (5, 6), Reply::Unknown)
        .looks((7, 15), Some(&seen(false, &[("0", 10, 0)])), &[1])
        .looks((20, 60), Some(&seen(false, &[("0", 10, 0)])), &[])
        .op("0", NO_FENCE, (70, 71), Reply::Yes)
        .looks((75, 80), Some(&seen(false, &[("1", 11, 0)])), &[]);
    (history.connections[1].closing_us, history.connections[1].closed_us) = (17_000, 17_000);
    for sample in &mut history.samples[2..] {
        sample.clients.remove(1);
    }
    history.must_be_wrong("was gone");
}

#[test]
fn a_grant_that_was_never_delivered_and_goes_on_is_found() {
    start()
        .op("0", acquire(1000, None), (0, 1), Reply::Fence(10))
        .op("1", acquire(1500, Some(0)), (2, 3), Reply::Unknown)
        .act(Deed::KillInLine { lock: lock(), owner: "1".to_owned() }, (10, 11))
        .op("0", NO_FENCE, (10, 11), Reply::Yes)
        .looks((15, 200), Some(&seen(false, &[("1", 11, 0)])), &[])
        .must_be_wrong("was killed while it waited");
}

#[test]
fn a_session_that_outlives_its_connection_is_found() {
    let asked = Asked::Acquire {
        is_shared: false,
        limit: None,
        lease_ms: 1500,
        block_ms: None,
        is_session: true,
        options: Options::default(),
    };
    let mut history =
        start().op("0", asked, (0, 1), Reply::Fence(10)).looks((15, 250), Some(&seen(false, &[("0", 10, 0)])), &[]);
    (history.connections[0].closing_us, history.connections[0].closed_us) = (12_000, 12_000);
    for sample in &mut history.samples {
        sample.clients.remove(0);
    }
    history.must_be_wrong("with a connection that is gone");
}

#[test]
fn a_holder_that_the_resource_rejects_is_found() {
    let mut history = start().op("0", acquire(1000, None), (0, 1), Reply::Fence(10));
    history.uses.push(Use { lock: lock(), owner: "0".to_owned(), fence: 10, at_us: 5_000, is_accepted: false });
    history.must_be_wrong("a holder was rejected");
}

#[test]
fn an_error_out_of_place_is_found() {
    let asks = |text: &str| start().op("0", acquire(10, None), (0, 1), Reply::Error(text.to_owned()));
    asks("ERR internal error").must_be_wrong("an unexpected error");
    asks("NOREPLICAS Not enough good replicas to write.").must_be_wrong("an unexpected error");
    asks("DEADLOCK").must_be_wrong("an unexpected error");
}
