//! Trap 38: no panic inside the module brings the server down.

use support::{acquire, release, Client, Server, Value};

/// What the log may say here and nowhere else: the lines about the panics that were planted.
const PLANTED: [&str; 3] = ["planted in a command", "planted in the timer", "a panic in "];

fn faulty() -> Server {
    Server::builder().faulty_module().start()
}

/// Sees to it that the timer panics, now.
#[track_caller]
fn break_timer(server: &Server) {
    let before = server.log().matches("planted in the timer").count();
    assert_eq!(server.cmd(&["LOCK.__FAILPOINT", "timer"]), "OK");
    support::until("the log tells of the panic in the timer", || {
        server.log().matches("planted in the timer").count() > before
    });
}

/// Grant, refusal, wait and hand-off, a wait that runs out, a lease that ends.
#[track_caller]
fn assert_locks_work(server: &Server) {
    let (mut a, mut b) = (server.client(), server.client());
    let first = a.cmd(&["LOCK.ACQUIRE", "tour", "x", "PX", "60000"]).int();
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "tour", "y"]), Value::NullBulk);
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "tour", "y", "BLOCK", "20"]), Value::NullBulk);
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "tour", "y", "PX", "50", "BLOCK", "0"]);
    release(&mut a, "tour", "x");
    assert!(b.read().int() > first);
    a.cmd(&["LOCK.ACQUIRE", "tour", "x", "BLOCK", "0"]).int();
    release(&mut a, "tour", "x");
}

/// Trap 38: a panic in a command is an error reply and a log line.
#[test]
fn panic_in_a_command_is_an_error_reply_and_the_server_lives() {
    let server = faulty();
    let (mut a, mut b) = (server.client(), server.client());
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "60000"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    for _ in 0..100 {
        let answer = a.cmd(&["LOCK.__FAILPOINT", "command"]);
        assert!(answer.err_text().starts_with("ERR internal error"), "{answer:?}");
    }
    assert_eq!(server.log().matches("planted in a command").count(), 100, "each panic is logged");
    assert_locks_work(&server);
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "a"]), fence, "the hold from before goes on");
    release(&mut a, "k", "a");
    assert!(b.read().int() > fence, "the waiter from before is served");
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean_except(&PLANTED);
}

/// Trap 38: the same inside MULTI, where the error is one of EXEC's replies and the other commands count.
#[test]
fn panic_inside_a_transaction_leaves_its_other_commands_alone() {
    let server = faulty();
    let mut c = server.client();
    let commands: [&[&str]; 5] = [
        &["MULTI"],
        &["LOCK.ACQUIRE", "k", "a", "PX", "60000"],
        &["LOCK.__FAILPOINT", "command"],
        &["LOCK.EXTEND", "k", "a"],
        &["EXEC"],
    ];
    let exec = c.pipeline(&commands).pop().unwrap();
    let [granted, failed, extended] = exec.array() else { panic!("{exec:?}") };
    assert!(granted.int() > 0 && failed.is_err(), "{exec:?}");
    assert_eq!(*extended, 1);
    release(&mut c, "k", "a");
    assert_locks_work(&server);
    server.assert_no_keys();
    server.assert_clean_except(&PLANTED);
}

/// Trap 38: a panic in the timer is a log line, and the timer rings again.
#[test]
fn panic_in_the_timer_is_logged_and_timers_go_on() {
    let server = faulty();
    for _ in 0..3 {
        break_timer(&server);
        assert_locks_work(&server);
    }
    server.assert_no_keys();
    server.assert_clean_except(&PLANTED);
}

/// Trap 38: what was due later than the panic is done all the same: leases end, waits run out, waiters are served.
#[test]
fn panic_in_the_timer_loses_no_deadline() {
    let server = faulty();
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    let [a, b, c] = clients.as_mut_slice() else { unreachable!() };
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "700"]).int();
    server.send_to_wait(b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "400"]);
    server.send_to_wait(c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    break_timer(&server);
    assert_eq!(b.read(), Value::NullBulk, "the wait runs out");
    c.read().int();
    release(c, "k", "c");
    server.assert_no_keys();
    server.assert_clean_except(&PLANTED);
}

/// Trap 38: a panic in the very turn in which something is due postpones it and no more: DEL's note is not lost.
#[test]
fn panic_in_the_timers_turn_after_a_removal_still_serves_the_waiter() {
    let server = faulty();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k", "a");
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    // One write, one turn of the loop: the timer that panics is the one that would serve the waiter.
    let answers = a.pipeline(&[&["LOCK.__FAILPOINT", "timer"], &["DEL", "k"]]);
    assert_eq!(answers[1], 1);
    b.read().int();
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean_except(&PLANTED);
}

/// Trap 38: the fault is not in what is released.
#[test]
fn released_module_has_no_failpoints() {
    let server = Server::start();
    for what in ["command", "timer"] {
        let answer = server.cmd(&["LOCK.__FAILPOINT", what]);
        assert!(answer.err_text().starts_with("ERR unknown command"), "{answer:?}");
    }
    assert!(server.cmd(&["COMMAND", "INFO", "LOCK.__FAILPOINT"]).array()[0].is_nil());
    // Nor does it know how to choose one.
    let module = std::fs::read(support::module_path()).unwrap();
    let knows = |word: &[u8]| module.windows(word.len()).any(|part| part == word);
    assert!(knows(b"LOCK.__APPLY") && !knows(b"REDIS_LOCK_FAILPOINT") && !knows(b"grant-out-of-order"));
    server.assert_clean();
}
