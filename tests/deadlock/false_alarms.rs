//! What looks like a deadlock and is none: whoever can still be served is never refused for it. Each test builds all of
//! a cycle but its last request, breaks it somewhere, and sees that the last request may wait and is served.

use support::{acquire, args, exec, release, skip, until, Client, Server, Value};

/// a holds k1, b holds k2 and waits for k1: the next request of a for k2 would close the cycle.
struct HalfCycle {
    server: Server,
    a: Client,
    /// Holds k2.
    b: Client,
    /// Waits for k1, as b.
    waiting: Client,
}

impl HalfCycle {
    /// b waits with these options.
    #[track_caller]
    fn with(options: &[&str]) -> HalfCycle {
        let server = Server::start();
        let [mut a, mut b, mut waiting] = [(); 3].map(|()| server.client());
        acquire(&mut a, "k1", "a");
        acquire(&mut b, "k2", "b");
        waiting.id();
        server.send_to_wait(&mut waiting, &[&["LOCK.ACQUIRE", "k1", "b", "PX", "600000"], options].concat());
        HalfCycle { server, a, b, waiting }
    }

    #[track_caller]
    fn new() -> HalfCycle {
        HalfCycle::with(&["BLOCK", "0"])
    }

    /// a waits for k2 and is served in its turn.
    #[track_caller]
    fn a_may_wait(&mut self) {
        wait_and_be_served(&self.server, &mut self.a, &mut self.b);
    }

    /// [`HalfCycle::a_may_wait`], then whoever holds k1 gives it up.
    #[track_caller]
    fn end(mut self, holder_of_k1: Option<&str>) {
        self.a_may_wait();
        release(&mut self.a, "k2", "a");
        if let Some(owner) = holder_of_k1 {
            release(&mut self.a, "k1", owner);
        }
        self.server.assert_no_keys();
        self.server.assert_clean();
    }
}

/// a asks for k2, which b holds, and is granted when b gives it up.
#[track_caller]
fn wait_and_be_served(server: &Server, a: &mut Client, b: &mut Client) {
    server.send_to_wait(a, &["LOCK.ACQUIRE", "k2", "a", "PX", "600000", "BLOCK", "0"]);
    release(b, "k2", "b");
    a.read().int();
}

#[test]
fn no_alarm_after_a_release_in_between() {
    let mut half = HalfCycle::new();
    release(&mut half.a, "k1", "a");
    half.waiting.read().int();
    half.end(Some("b"));
}

#[test]
fn no_alarm_after_a_downgrade_in_between() {
    let mut half = HalfCycle::with(&["SHARED", "BLOCK", "0"]);
    assert_eq!(half.a.cmd(&["LOCK.RELEASE", "k1", "a", "DOWNGRADE"]), 1);
    half.waiting.read().int();
    release(&mut half.a, "k1", "b");
    half.end(Some("a"));
}

#[test]
fn no_alarm_after_a_wait_that_ran_out_in_between() {
    let mut half = HalfCycle::with(&["BLOCK", "1000"]);
    assert_eq!(half.waiting.read(), Value::NullBulk);
    half.end(Some("a"));
}

#[test]
fn no_alarm_after_a_withdrawn_wait_in_between() {
    let mut half = HalfCycle::new();
    assert_eq!(half.b.cmd(&["LOCK.RELEASE", "k1", "b"]), 0, "b waits and holds nothing there");
    assert_eq!(half.waiting.read(), Value::NullBulk);
    half.end(Some("a"));
}

#[test]
fn no_alarm_after_the_waiter_closed_its_connection() {
    let mut half = HalfCycle::new();
    let waiting = std::mem::replace(&mut half.waiting, half.server.client());
    waiting.close();
    half.server.until_blocked(0);
    half.end(Some("a"));
}

#[test]
fn no_alarm_after_the_waiter_was_killed() {
    let mut half = HalfCycle::new();
    let id = half.waiting.id();
    assert_eq!(half.a.cmd(&args!["CLIENT", "KILL", "ID", id]), 1);
    half.waiting.expect_closed();
    half.end(Some("a"));
}

#[test]
fn no_alarm_after_client_unblock_in_between() {
    for how in ["TIMEOUT", "ERROR"] {
        let mut half = HalfCycle::new();
        if !half.server.version().can_unblock_waiters() {
            return skip("below Redis 7.4 and Valkey 8 CLIENT UNBLOCK does not reach waiters");
        }
        let id = half.waiting.id();
        assert_eq!(half.a.cmd(&args!["CLIENT", "UNBLOCK", id, how]), 1);
        half.waiting.read();
        half.end(Some("a"));
    }
}

#[test]
fn no_alarm_after_a_lease_end_in_between() {
    let mut half = HalfCycle::new();
    assert_eq!(half.a.cmd(&["LOCK.EXTEND", "k1", "a", "PX", "30"]), 1);
    half.waiting.read().int();
    half.end(Some("b"));
}

/// The lease ran out, and the request comes before anybody could act on it: a waits for nothing of its own.
#[test]
fn no_alarm_over_a_lease_that_has_run_out_but_was_not_acted_on_yet() {
    let mut half = HalfCycle::new();
    half.a.send_many(&[
        &["LOCK.EXTEND", "k1", "a", "PX", "30"][..],
        &["DEBUG", "SLEEP", "0.06"],
        &["LOCK.ACQUIRE", "k2", "a", "PX", "600000", "BLOCK", "0"],
    ]);
    assert_eq!((half.a.read(), half.a.read()), (Value::Int(1), Value::Simple("OK".into())));
    half.waiting.read().int();
    half.server.assert_waiting(&mut half.a);
    release(&mut half.b, "k2", "b");
    half.a.read().int();
    release(&mut half.a, "k2", "a");
    release(&mut half.b, "k1", "b");
    half.server.assert_no_keys();
    half.server.assert_clean();
}

#[test]
fn no_alarm_after_a_session_end_in_between() {
    let mut half = HalfCycle::new();
    let mut session = half.server.client();
    session.cmd(&["LOCK.ACQUIRE", "k1", "a", "SESSION"]).int();
    session.close();
    half.waiting.read().int();
    half.end(Some("b"));
}

#[test]
fn no_alarm_after_an_operator_removed_the_key_in_between() {
    for removal in ["DEL k1", "UNLINK k1"] {
        let mut half = HalfCycle::new();
        exec(&mut half.a, &[removal]);
        half.waiting.read().int();
        half.end(Some("b"));
    }
    let mut half = HalfCycle::new();
    assert_eq!(half.a.cmd(&["SET", "k1", "x"]), "OK");
    assert!(half.waiting.read().err_text().starts_with("WRONGTYPE "));
    half.a.cmd(&["DEL", "k1"]);
    half.end(None);
}

/// Renamed away, the hold is in nobody's way at the old name.
#[test]
fn no_alarm_after_the_hold_was_renamed_away() {
    let mut half = HalfCycle::new();
    if !half.server.hears_of_moved_keys() {
        return;
    }
    assert_eq!(half.a.cmd(&["RENAME", "k1", "elsewhere"]), "OK");
    half.waiting.read().int();
    release(&mut half.a, "elsewhere", "a");
    half.end(Some("b"));
}

/// Only who waits can wait for ever.
#[test]
fn request_that_does_not_wait_is_answered_null_and_not_refused() {
    let mut half = HalfCycle::new();
    assert_eq!(half.a.cmd(&["LOCK.ACQUIRE", "k2", "a"]), Value::NullBulk);
    assert_eq!(exec(&mut half.a, &["LOCK.ACQUIRE k2 a BLOCK 0"]), [Value::NullBulk]);
    let script = "return redis.call('LOCK.ACQUIRE', KEYS[1], 'a', 'BLOCK', '0')";
    assert_eq!(half.a.cmd(&["EVAL", script, "1", "k2"]), Value::NullBulk);
    // And with BLOCK it is refused: the cycle was there all the time.
    let answer = half.a.cmd(&["LOCK.ACQUIRE", "k2", "a", "BLOCK", "0"]);
    assert!(answer.err_text().starts_with("DEADLOCK "), "{answer:?}");
    release(&mut half.a, "k1", "a");
    half.waiting.read().int();
    half.end(Some("b"));
}

/// A request sent again while the first one still stands in the queue (the client gave up its connection, the server has
/// not heard) waits for nobody but those before the first.
#[test]
fn owner_that_waits_twice_in_one_queue_is_not_refused() {
    for others_between in [0, 1, 3] {
        let server = Server::start();
        let mut h = server.client();
        acquire(&mut h, "k", "h");
        let ask = |owner: &str| {
            let mut client = server.client();
            server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "k", owner, "PX", "600000", "BLOCK", "0"]);
            client
        };
        let mut first = ask("twice");
        let mut others: Vec<Client> = (0..others_between).map(|number| ask(&format!("other{number}"))).collect();
        let mut second = ask("twice");
        release(&mut h, "k", "h");
        let fence = first.read().int();
        assert_eq!(second.read(), fence, "one hold answers both");
        release(&mut h, "k", "twice");
        for (number, other) in others.iter_mut().enumerate() {
            other.read().int();
            release(other, "k", &format!("other{number}"));
        }
        server.assert_no_keys();
        server.assert_clean();
    }
}

#[test]
fn holder_that_reacquires_is_answered_whoever_waits_behind_it() {
    let mut half = HalfCycle::new();
    half.a.cmd(&["LOCK.ACQUIRE", "k1", "a", "BLOCK", "0"]).int();
    half.a.cmd(&["LOCK.ACQUIRE", "k1", "a", "SHARED", "BLOCK", "0"]).int();
    half.b.cmd(&["LOCK.ACQUIRE", "k2", "b", "BLOCK", "0"]).int();
    release(&mut half.a, "k1", "a");
    half.waiting.read().int();
    half.end(Some("b"));
}

/// Owners meet where they wait, and nowhere else: the same names in another database are other locks.
#[test]
fn same_key_in_another_database_closes_no_cycle() {
    let server = Server::start();
    let [mut a, mut b, mut z, mut waiting] = [(); 4].map(|()| server.client());
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    for client in [&mut z, &mut waiting] {
        client.select(1);
    }
    acquire(&mut z, "k1", "z");
    server.send_to_wait(&mut waiting, &["LOCK.ACQUIRE", "k1", "b", "PX", "600000", "BLOCK", "0"]);
    wait_and_be_served(&server, &mut a, &mut b);
    release(&mut z, "k1", "z");
    waiting.read().int();
    server.assert_clean();
}

/// A shared request does not wait for shared holders, so nothing goes through them.
#[test]
fn shared_request_that_is_let_in_waits_for_nobody() {
    let server = Server::start();
    let [mut a, mut b] = [(); 2].map(|()| server.client());
    a.cmd(&["LOCK.ACQUIRE", "k1", "a", "SHARED"]).int();
    b.cmd(&["LOCK.ACQUIRE", "k1", "b", "SHARED"]).int();
    acquire(&mut b, "k2", "b");
    wait_and_be_served(&server, &mut a, &mut b);
    server.assert_clean();
}

/// Any of the other permits may come back: whether such a request waits for ever cannot be told.
#[test]
fn request_with_a_limit_above_one_takes_no_part() {
    let two = ["SHARED", "LIMIT", "2", "PX", "600000"];
    let hold = |client: &mut Client, key: &str, owner: &str| {
        client.cmd(&[&["LOCK.ACQUIRE", key, owner], &two[..]].concat()).int();
    };
    let server = Server::start();
    let [mut a, mut b, mut waiting] = [(); 3].map(|()| server.client());
    hold(&mut a, "k1", "a");
    hold(&mut a, "k1", "other");
    acquire(&mut b, "k2", "b");
    server.send_to_wait(&mut waiting, &[&["LOCK.ACQUIRE", "k1", "b", "BLOCK", "0"], &two[..]].concat());
    // The request in the middle of the cycle has a limit.
    wait_and_be_served(&server, &mut a, &mut b);
    release(&mut a, "k2", "a");
    release(&mut a, "k1", "other");
    waiting.read().int();
    release(&mut a, "k1", "a");
    release(&mut a, "k1", "b");

    // The request that would close it has one.
    acquire(&mut a, "k1", "a");
    hold(&mut b, "k2", "b");
    hold(&mut b, "k2", "other");
    server.send_to_wait(&mut waiting, &["LOCK.ACQUIRE", "k1", "b", "PX", "600000", "BLOCK", "0"]);
    server.send_to_wait(&mut a, &[&["LOCK.ACQUIRE", "k2", "a", "BLOCK", "0"], &two[..]].concat());
    release(&mut b, "k2", "b");
    a.read().int();
    release(&mut a, "k1", "a");
    waiting.read().int();
    for (key, owner) in [("k1", "b"), ("k2", "a"), ("k2", "other")] {
        release(&mut a, key, owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Many owners wait for one another in the right order: nobody is refused, and all are served.
#[test]
fn owners_that_take_their_locks_in_one_order_are_never_refused() {
    let server = Server::start();
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let mut client = server.client();
            std::thread::spawn(move || {
                for round in 0..50 {
                    let owner = format!("owner{number}.{round}");
                    for key in ["k1", "k2", "k3"] {
                        client.cmd(&["LOCK.ACQUIRE", key, &owner, "BLOCK", "0"]).int();
                    }
                    for key in ["k2", "k1", "k3"] {
                        release(&mut client, key, &owner);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    until("all are free", || server.cmd(&["DBSIZE"]) == 0);
    server.assert_clean();
}
