//! Requests that wait for several locks: their place in every queue, and the grant.

use support::{run, say, until, wait, Server};

use super::{assert_all_over, assert_holds, fences, holder};

#[test]
fn request_is_granted_when_the_last_of_its_locks_is_free() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE a x PX 600000").int();
    say(&server, "LOCK.ACQUIRE b y PX 600000").int();
    let mut waiting = wait(&server, "LOCK.MACQUIRE 3 c a b me PX 600000 BLOCK 0");
    assert_eq!(server.info_number("redislock", "redislock_waiters"), 1, "a client counts once");
    let info = say(&server, "LOCK.INFO c");
    assert_eq!((info.get("mode").text(), info.get("waiters").int()), ("free".into(), 1));
    assert!(say(&server, "LOCK.ACQUIRE c you").is_nil(), "no newcomer passes, though the lock is free");
    for release in ["LOCK.RELEASE a x", "LOCK.RELEASE b y"] {
        server.assert_waiting(&mut waiting);
        assert_eq!(holder(&server, "c"), "", "all or none");
        assert_eq!(say(&server, release), 1);
    }
    let granted = fences(&waiting.read());
    assert_eq!(granted.len(), 3);
    assert_holds(&server, "a b c", "me");
    assert_eq!(say(&server, "LOCK.MRELEASE 3 a b c me"), 3);
    assert_all_over(&server);
}

/// Every order of the keys, and many requests at once: tickets put all queues in one order.
#[test]
fn requests_for_the_same_locks_are_served_in_the_order_in_which_they_came() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE b x PX 600000").int();
    let orders = ["a b c", "c b a", "b a c", "b c a"];
    let mut waiting: Vec<_> = (0..12)
        .map(|n| wait(&server, &format!("LOCK.MACQUIRE 3 {} w{n} PX 600000 BLOCK 0", orders[n % orders.len()])))
        .collect();
    assert_eq!(say(&server, "LOCK.RELEASE b x"), 1);
    for (n, client) in waiting.iter_mut().enumerate() {
        assert_eq!(fences(&client.read()).len(), 3, "w{n}");
        assert_holds(&server, "a b c", &format!("w{n}"));
        assert_eq!(say(&server, &format!("LOCK.MRELEASE 3 b c a w{n}")), 3);
    }
    assert_all_over(&server);
}

#[test]
fn single_requests_and_requests_for_several_share_the_queues() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE a x PX 600000").int();
    say(&server, "LOCK.ACQUIRE b y PX 600000").int();
    let mut both = wait(&server, "LOCK.MACQUIRE 2 a b me PX 600000 BLOCK 0");
    let mut last = wait(&server, "LOCK.ACQUIRE b z PX 600000 BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE b y"), 1);
    server.assert_waiting(&mut last);
    assert_eq!(say(&server, "LOCK.RELEASE a x"), 1);
    assert_eq!(fences(&both.read()).len(), 2);
    server.assert_waiting(&mut last);
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b me"), 2);
    last.read().int();
    assert_eq!(say(&server, "LOCK.RELEASE b z"), 1);
    assert_all_over(&server);
}

#[test]
fn shared_requests_for_several_locks_are_let_in_together() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE a x PX 600000").int();
    say(&server, "LOCK.ACQUIRE b reader PX 600000 SHARED").int();
    let mut one = wait(&server, "LOCK.MACQUIRE 2 a b one PX 600000 SHARED BLOCK 0");
    let mut two = wait(&server, "LOCK.MACQUIRE 2 b a two PX 600000 SHARED BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE a x"), 1);
    for client in [&mut one, &mut two] {
        assert_eq!(fences(&client.read()).len(), 2);
    }
    assert_eq!(say(&server, "LOCK.INFO b").get("holders-count").int(), 3);
    assert_eq!(say(&server, "LOCK.RELEASE b reader"), 1);
    for owner in ["one", "two"] {
        assert_eq!(say(&server, &format!("LOCK.MRELEASE 2 a b {owner}")), 2);
    }
    assert_all_over(&server);
}

/// Those that the owner holds keep their fences; if one of these holds ends meanwhile, the place in its queue is kept.
#[test]
fn locks_that_the_owner_holds_already_are_asked_for_again() {
    let server = Server::start();
    let held = say(&server, "LOCK.ACQUIRE b me PX 600000").int();
    say(&server, "LOCK.ACQUIRE a x PX 600000").int();
    let mut behind = wait(&server, "LOCK.ACQUIRE b z PX 600000 BLOCK 0");
    let mut waiting = wait(&server, "LOCK.MACQUIRE 2 a b me PX 600000 BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE a x"), 1);
    let granted = fences(&waiting.read());
    assert_eq!(granted[1], held);
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b me"), 2);
    behind.read().int();
    assert_eq!(say(&server, "LOCK.RELEASE b z"), 1);
    // The hold ends by its lease.
    say(&server, "LOCK.ACQUIRE b me PX 50").int();
    say(&server, "LOCK.ACQUIRE a x PX 600000").int();
    let mut waiting = wait(&server, "LOCK.MACQUIRE 2 a b me PX 600000 BLOCK 0");
    until("its lease has ended", || holder(&server, "b").is_empty());
    assert!(say(&server, "LOCK.ACQUIRE b z").is_nil());
    assert_eq!(say(&server, "LOCK.RELEASE a x"), 1);
    assert_eq!(fences(&waiting.read()).len(), 2);
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b me"), 2);
    assert_all_over(&server);
}

#[test]
fn waits_that_would_close_a_cycle_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    say(&server, "LOCK.ACQUIRE a x PX 600000").int();
    say(&server, "LOCK.ACQUIRE c y PX 600000").int();
    let mut y = wait(&server, "LOCK.MACQUIRE 2 b a y PX 600000 BLOCK 0");
    for command in ["LOCK.MACQUIRE 2 d c x BLOCK 0", "LOCK.ACQUIRE c x BLOCK 0", "LOCK.ACQUIRE b x BLOCK 0"] {
        let refused = run(&mut client, command);
        assert!(refused.is_err() && refused.err_text().starts_with("DEADLOCK "), "{command}: {refused:?}");
    }
    assert!(say(&server, "LOCK.INFO d").is_nil(), "the refused request stands in no queue");
    assert_eq!(say(&server, "LOCK.RELEASE a x"), 1);
    assert_eq!(fences(&y.read()).len(), 2);
    assert_eq!(say(&server, "LOCK.MRELEASE 3 a b c y"), 3);
    assert_all_over(&server);
}

#[test]
fn events_name_each_lock() {
    let server = Server::builder().config("notify-keyspace-events Ed").start();
    let mut events = server.client();
    run(&mut events, "PSUBSCRIBE __keyevent@0__:lock.*");
    let expected = |events: &mut support::Client, wanted: &[(&str, &str)]| {
        for (event, key) in wanted {
            let told = events.read();
            let told = (told.array()[2].text(), told.array()[3].text());
            assert_eq!(told, (format!("__keyevent@0__:lock.{event}"), (*key).to_owned()));
        }
    };
    say(&server, "LOCK.MACQUIRE 2 a b x PX 600000");
    expected(&mut events, &[("acquire", "a"), ("acquire", "b")]);
    let mut waiting = wait(&server, "LOCK.MACQUIRE 2 b c me PX 600000 BLOCK 0");
    expected(&mut events, &[("contended", "b"), ("contended", "c")]);
    assert_eq!(say(&server, "LOCK.MEXTEND 2 a b x PX 600000"), 2);
    expected(&mut events, &[("extend", "a"), ("extend", "b")]);
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b x"), 2);
    expected(&mut events, &[("release", "a"), ("release", "b"), ("acquire", "b"), ("acquire", "c")]);
    waiting.read();
    assert_eq!(say(&server, "LOCK.MRELEASE 2 b c me"), 2);
    expected(&mut events, &[("release", "b"), ("release", "c")]);
    assert_all_over(&server);
}
