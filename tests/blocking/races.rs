//! Races around blocked clients: the answer to a waiter meets its time-out, CLIENT UNBLOCK, the end of its connection or
//! its next request.

use super::waiter;
use support::{args, assert_nothing_unread, exec, held, holds, let_it_catch_up, release, Client, Server, Value};

/// Trap 1: the release is processed after the waiter's deadline but before anybody could act on it (same turn of the
/// loop). One answer, and not a grant; the next one is served.
#[test]
fn release_in_the_turn_in_which_a_wait_runs_out_gives_each_waiter_one_answer() {
    let (server, mut a, _) = held();
    let (mut b, mut c) = (server.client(), server.client());
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "800"]);
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    a.send_many(&[&["DEBUG", "SLEEP", "0.9"][..], &["LOCK.RELEASE", "k", "a"]]);
    assert_eq!((a.read(), a.read()), (Value::Simple("OK".into()), Value::Int(1)));
    assert_eq!(b.read(), Value::NullBulk);
    c.read().int();
    release(&mut c, "k", "c");

    // And close to the deadline, from both sides of it: whichever wins, there is one answer and one holder.
    for round in 0..40 {
        a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
        b.send(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "12"]);
        c.send(&["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
        let nap = format!("0.0{:02}", 6 + round % 12);
        a.send_many(&[&["DEBUG", "SLEEP", &nap][..], &["LOCK.RELEASE", "k", "a"]]);
        assert_eq!((a.read(), a.read()), (Value::Simple("OK".into()), Value::Int(1)));
        if b.read().opt_int().is_some() {
            release(&mut b, "k", "b");
        }
        c.read().int();
        assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "b"]), 0, "two holders");
        release(&mut c, "k", "c");
        for client in [&mut b, &mut c] {
            assert_nothing_unread(client);
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 2: the waiter that was just granted is unblocked before its answer is handed over.
#[test]
fn client_unblock_in_the_turn_of_the_grant_leaves_one_answer_and_one_holder() {
    let server = Server::start();
    let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| server.client());
    let b_id = b.id();
    for round in 0..24 {
        a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
        for (client, owner) in [(&mut b, "b"), (&mut c, "c"), (&mut d, "d")] {
            server.send_to_wait(client, &["LOCK.ACQUIRE", "k", owner, "BLOCK", "60000"]);
        }
        let unblock = format!("CLIENT UNBLOCK {b_id} {}", ["TIMEOUT", "ERROR"][round % 2]);
        let turn = if round % 4 < 2 { ["LOCK.RELEASE k a", &unblock] } else { [&unblock, "LOCK.RELEASE k a"] };
        exec(&mut a, &turn);
        match b.read() {
            Value::Int(_) => release(&mut b, "k", "b"),
            Value::NullBulk => {}
            Value::Error(text) => assert!(text.starts_with("UNBLOCKED "), "{text}"),
            other => panic!("{other:?}"),
        }
        // Whoever did not learn of a grant has none: the next ones are served in turn.
        c.read().int();
        assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
        release(&mut c, "k", "c");
        d.read().int();
        release(&mut d, "k", "d");
        for client in [&mut b, &mut c, &mut d] {
            assert_nothing_unread(client);
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 3: CLIENT UNBLOCK on a waiter in the line, TIMEOUT and ERROR.
#[test]
fn client_unblock_takes_a_waiter_out_of_the_queue_or_says_that_it_cannot() {
    let (server, mut a, _) = held();
    let unblocks = server.version().can_unblock_waiters();
    let ((mut b, b_id), (mut c, c_id), (mut d, _)) = (waiter(&server, "b"), waiter(&server, "c"), waiter(&server, "d"));
    let told = i64::from(unblocks);
    assert_eq!(a.cmd(&args!["CLIENT", "UNBLOCK", b_id, "TIMEOUT"]), told);
    assert_eq!(a.cmd(&args!["CLIENT", "UNBLOCK", c_id, "ERROR"]), told);
    if unblocks {
        assert_eq!(b.read(), Value::NullBulk);
        assert!(c.read().err_text().starts_with("UNBLOCKED "));
        server.until_blocked(1);
        // They may come again, and then stand at the end.
        server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
        server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    }
    release(&mut a, "k", "a");
    let mut order = [(&mut b, "b"), (&mut c, "c"), (&mut d, "d")];
    order.rotate_right(usize::from(unblocks));
    for (client, owner) in order {
        client.read().int();
        release(client, "k", owner);
        assert_nothing_unread(client);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 4: the waiter that was just granted is killed before its answer is handed over, and so is the one after it.
#[test]
fn grant_to_a_killed_waiter_goes_to_the_next_one() {
    let (server, mut a, mut fence) = held();
    let eval = format!("EVAL {} 1 k a", "return{redis.call('LOCK.RELEASE',KEYS[1],ARGV[1])}");
    for release_it in ["LOCK.RELEASE k a", &eval] {
        let ((mut b, b_id), (mut c, c_id), (mut d, _)) =
            (waiter(&server, "b"), waiter(&server, "c"), waiter(&server, "d"));
        let (kill_b, kill_c) = (format!("CLIENT KILL ID {b_id}"), format!("CLIENT KILL ID {c_id}"));
        exec(&mut a, &[release_it, &kill_b, &kill_c]);
        let granted = d.read().int();
        assert!(granted > fence);
        b.expect_closed();
        c.expect_closed();
        for owner in ["a", "b", "c"] {
            assert_eq!(a.cmd(&["LOCK.RELEASE", "k", owner]), 0);
        }
        release(&mut d, "k", "d");
        fence = a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
        assert!(fence > granted);
    }
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 5: a waiter's connection closes while it is in the line.
#[test]
fn closed_waiter_leaves_the_queue_at_once() {
    let (server, mut a, _) = held();
    let (gone, _) = waiter(&server, "gone");
    let (mut b, _) = waiter(&server, "b");
    let (killed, killed_id) = waiter(&server, "killed");
    assert_eq!(server.blocked(), 3);
    gone.close();
    assert_eq!(a.cmd(&args!["CLIENT", "KILL", "ID", killed_id]), 1);
    server.until_blocked(1);
    drop(killed);
    release(&mut a, "k", "a");
    b.read().int();
    release(&mut b, "k", "b");

    // Had one that is gone been left in the line, the lock would not be free for the newcomer in that very turn.
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    let ((gone, _), (reset, _)) = (waiter(&server, "gone"), waiter(&server, "reset"));
    gone.close();
    reset.reset();
    server.until_blocked(0);
    exec(&mut a, &["LOCK.RELEASE k a", "LOCK.ACQUIRE k new"])[1].int();
    release(&mut a, "k", "new");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 6: a wait runs out, is withdrawn, and the lock released, all in one turn: the client is unblocked once.
#[test]
fn waiter_with_three_reasons_to_be_answered_is_answered_once() {
    let (server, mut a, _) = held();
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for round in 0..5 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(&args!["LOCK.ACQUIRE", "k", format!("w{}", n % 4), "BLOCK", 30 + n]);
        }
        // Even rounds end some waits in the middle of it, odd ones all.
        let sleep = ["DEBUG SLEEP 0.04", "DEBUG SLEEP 0.1"][round % 2];
        exec(&mut a, &[sleep, "LOCK.RELEASE k w0", "LOCK.RELEASE k w1", "LOCK.RELEASE k a", "LOCK.ACQUIRE k a"]);
        for client in &mut clients {
            client.read().opt_int();
        }
        for client in &mut clients {
            assert_nothing_unread(client);
        }
        for owner in ["w2", "w3"] {
            a.cmd(&["LOCK.RELEASE", "k", owner]).int();
        }
        a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    }
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 7: by the time an undelivered grant is taken back, the lock has a newer holder.
#[test]
fn taking_back_an_undelivered_grant_spares_every_newer_hold() {
    // The newer hold is somebody else's, or once more that of the same owner.
    for newer in ["c", "b"] {
        let (server, mut a, _) = held();
        let (_dead, id) = waiter(&server, "b");
        let (kill, acquire) = (format!("CLIENT KILL ID {id}"), format!("LOCK.ACQUIRE k {newer}"));
        let answers = exec(&mut a, &["LOCK.RELEASE k a", &kill, "LOCK.RELEASE k b", &acquire]);
        assert_eq!(answers[2], 1, "the grant was not made in the turn of the release");
        let fence = answers[3].int();
        let (mut next, _) = waiter(&server, "next");
        let_it_catch_up(&server);
        server.assert_waiting(&mut next);
        assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", newer, "FENCE", fence]), 1);
        assert!(next.read().int() > fence);
        release(&mut next, "k", "next");
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Trap 8: BLOCK where the server does not let clients block.
#[test]
fn block_in_transactions_scripts_and_functions_is_answered_at_once() {
    let (server, mut a, _) = held();
    let mut b = server.client();
    let call = "redis.call('LOCK.ACQUIRE', KEYS[1], ARGV[1], 'BLOCK', '0')";
    let script = format!("return {call}");
    let library = format!("#!lua name=locks\nredis.register_function('lock', function(KEYS, ARGV) return {call} end)");
    assert_eq!(b.cmd(&["FUNCTION", "LOAD", &library]), "locks");
    let ways: [&[&str]; 3] = [&["EVAL", &script, "1", "k"], &["FCALL", "lock", "1", "k"], &["LOCK.ACQUIRE", "k"]];
    let mut ask = |way: &[&str], owner: &str| -> Value {
        let command = [way, &[owner]].concat();
        if way.len() > 2 {
            return b.cmd(&command);
        }
        exec(&mut b, &[&format!("{} BLOCK 0", command.join(" "))]).remove(0)
    };
    for way in ways {
        assert_eq!(ask(way, "b"), Value::NullBulk, "{way:?}");
        assert_eq!(server.blocked(), 0);
    }
    release(&mut a, "k", "a");
    // Nobody of them waits after all.
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    for way in ways {
        ask(way, "b").int();
        release(&mut a, "k", "b");
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 49: of two waiters of one owner one dies with the grant on its way to both.
#[test]
fn grant_is_kept_as_long_as_its_owner_was_or_will_be_told() {
    // What else happens in the turn of the grant, and whether the hold is kept.
    let cases: [(&[&str], bool); 5] = [
        (&["kill first"], true),
        (&["kill second"], true),
        (&["kill first", "kill second"], false),
        (&["kill first", "kill second", "LOCK.EXTEND k b"], true),
        (&["kill first", "LOCK.ACQUIRE k b", "kill second"], true),
    ];
    for (turn, kept) in cases {
        let (server, mut a, fence) = held();
        let ((first, first_id), (mut next, _), (second, second_id)) =
            (waiter(&server, "b"), waiter(&server, "next"), waiter(&server, "b"));
        let (kill_first, kill_second) = (format!("CLIENT KILL ID {first_id}"), format!("CLIENT KILL ID {second_id}"));
        let turn: Vec<&str> = turn
            .iter()
            .map(|step| match *step {
                "kill first" => kill_first.as_str(),
                "kill second" => kill_second.as_str(),
                command => command,
            })
            .collect();
        exec(&mut a, &[&["LOCK.RELEASE k a"], &turn[..]].concat());
        for (mut client, kill) in [(first, &kill_first), (second, &kill_second)] {
            match turn.contains(&kill.as_str()) {
                true => client.expect_closed(),
                false => assert!(client.read().int() > fence),
            }
        }
        let_it_catch_up(&server);
        if kept {
            server.assert_waiting(&mut next);
            assert!(holds(&mut a, "k", "b"), "{turn:?}");
            release(&mut a, "k", "b");
        }
        next.read().int();
        assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0, "{turn:?}");
        release(&mut next, "k", "next");
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Valkey from 8.1 on does not let a client wait that has subscribed, and says so by a null pointer.
#[test]
fn subscriber_that_asks_to_wait_waits_or_is_answered_at_once() {
    let (server, mut a, _) = held();
    let mut b = server.client();
    b.resp3();
    b.send(&["SUBSCRIBE", "news"]);
    b.read_push();
    for options in [&["BLOCK", "100"][..], &["BLOCK", "100", "SHARED"]] {
        assert!(b.cmd(&[&["LOCK.ACQUIRE", "k", "b"], options].concat()).is_nil());
        assert_eq!(server.cmd(&["LOCK.INFO", "k"]).get("waiters"), 0);
    }
    release(&mut a, "k", "a");
    b.cmd(&["LOCK.ACQUIRE", "k", "b"]).int();
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}
