//! LOCK.TOP: the locks that most clients wait for, or that have kept somebody waiting longest.

use support::{
    acquire, assert_both_clean, held, release, run, until, until_synced, waiter, waiter_in, Client, Server, Value,
};

/// The keys of LOCK.TOP with these options, in its order.
#[track_caller]
fn top(client: &mut Client, options: &[&str]) -> Vec<String> {
    let answer = client.cmd(&[&["LOCK.TOP"], options].concat());
    answer.array().iter().map(|entry| entry.get("key").text()).collect()
}

#[test]
fn the_locks_with_the_most_waiters_or_the_longest_wait_come_first() {
    let server = Server::start();
    let mut c = server.client();
    let mut waiters: Vec<Client> = Vec::new();
    for (key, count) in [("one", 1), ("three", 3), ("two", 2)] {
        acquire(&mut c, key, "holder");
        for n in 0..count {
            waiters.push(waiter(&server, key, &format!("w{n}")));
        }
        let waited = |client: &mut Client| {
            let answer = client.cmd(&["LOCK.TOP", "COUNT", "1000"]);
            answer.array().iter().find(|entry| entry.get("key") == key).unwrap().get("waited").int()
        };
        until("time passes", || waited(&mut c) > 5);
    }
    acquire(&mut c, "uncontended", "holder");
    assert_eq!(top(&mut c, &[]), ["three", "two", "one"]);
    assert_eq!(top(&mut c, &["BY", "WAITERS", "COUNT", "2"]), ["three", "two"]);
    assert_eq!(top(&mut c, &["by", "waited"]), ["one", "three", "two"]);
    assert_eq!(top(&mut c, &["COUNT", "1", "BY", "WAITED"]), ["one"]);
    c.select(1);
    assert_eq!(top(&mut c, &[]), [""; 0]);
    drop(waiters);
    server.until_blocked(0);
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

/// Whoever waits for several locks waits in the queues of free ones, too, and just as long. What keeps it is what must be seen.
#[test]
fn of_the_locks_of_one_request_the_one_that_is_held_comes_first() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "zz", "holder");
    let mut waiting = server.client();
    server.send_to_wait(&mut waiting, &["LOCK.MACQUIRE", "3", "aa", "zz", "bb", "me", "BLOCK", "0"]);
    for order in ["WAITED", "WAITERS"] {
        assert_eq!(top(&mut c, &["BY", order]), ["zz", "aa", "bb"]);
        assert_eq!(top(&mut c, &["COUNT", "1", "BY", order]), ["zz"]);
    }
    release(&mut c, "zz", "holder");
    assert_eq!(waiting.read().array().len(), 3);
    assert_eq!(c.cmd(&["LOCK.MRELEASE", "3", "aa", "zz", "bb", "me"]), 3);
    server.assert_clean();
}

#[test]
fn an_entry_is_that_of_list_with_the_first_waiters() {
    let (server, mut a, fence) = held();
    let mut waiters: Vec<Client> = (0..4).map(|n| waiter(&server, "k", &format!("w{n}"))).collect();
    let mut b = server.client();
    b.select(1);
    acquire(&mut b, "k", "b");
    let elsewhere = waiter_in(&server, 1, "k", "x");
    let mut three = server.client();
    three.resp3();
    let answer = three.cmd(&["LOCK.TOP"]);
    let [found] = answer.array() else { panic!("{answer:?}") };
    let names: Vec<String> = found.map().into_iter().map(|(name, _)| name).collect();
    let expected = ["key", "mode", "owner", "holders-count", "fence", "ttl", "held", "waiters", "waited", "queue"];
    assert_eq!(names, expected);
    assert_eq!((found.get("owner").text(), found.get("fence")), ("a".into(), Value::Int(fence)));
    assert_eq!(found.get("waiters"), 4);
    let queue = found.get("queue");
    assert_eq!(queue.array().len(), 3);
    assert_eq!(queue.array()[0].get("waited"), found.get("waited"));
    for (n, entry) in queue.array().iter().enumerate() {
        assert_eq!((entry.get("owner").text(), entry.get("mode").text()), (format!("w{n}"), "exclusive".into()));
        let id = entry.get("client").int();
        assert!(server.cmd(&["CLIENT", "LIST", "ID", &id.to_string()]).text().contains("cmd=lock.acquire"));
    }
    assert_eq!(server.cmd(&["LOCK.TOP"]).array()[0].array().len(), 20, "a flat array in RESP2");
    // The id is all that is needed to end a wait.
    let first = queue.array()[0].get("client").int().to_string();
    assert_eq!(server.cmd(&["CLIENT", "KILL", "ID", &first]), 1);
    waiters.remove(0).expect_closed();
    release(&mut a, "k", "a");
    waiters[0].read().int();
    drop((waiters, elsewhere));
    server.until_blocked(0);
    assert_eq!(a.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

/// Nobody holds it any more, and the queue cannot be served yet.
#[test]
fn a_paused_server_tells_of_a_lock_whose_lease_has_run_out() {
    let server = Server::start();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "300"]).int();
    let mut w = waiter(&server, "k", "w");
    assert_eq!(server.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
    until("the lease runs out", || server.cmd(&["LOCK.TOP"]).array()[0].get("mode") == "free");
    let found = server.cmd(&["LOCK.TOP"]).array()[0].clone();
    assert_eq!((found.get("owner").text(), found.get("holders-count")), (String::new(), Value::Int(0)));
    assert_eq!((found.get("fence"), found.get("waiters")), (Value::Int(0), Value::Int(1)));
    assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    w.read().int();
    release(&mut w, "k", "w");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn only_keys_that_the_user_may_read_are_told_of() {
    let server = Server::start();
    let mut c = server.client();
    let mut waiters = Vec::new();
    for key in ["app:1", "other", "app:2"] {
        acquire(&mut c, key, "holder");
        waiters.push(waiter(&server, key, "w"));
    }
    waiters.push(waiter(&server, "other", "v"));
    let rules = ["ACL", "SETUSER", "app", "reset", "on", ">secret", "+lock.top", "+eval", "~app:*"];
    assert_eq!(server.cmd(&rules), "OK");
    let mut user = server.client();
    assert_eq!(user.cmd(&["AUTH", "app", "secret"]), "OK");
    assert_eq!(top(&mut user, &["COUNT", "1"]), ["app:1"]);
    let answer = user.cmd(&["EVAL", "return redis.call('LOCK.TOP')", "0"]);
    assert_eq!(answer.array().len(), 2);
    drop(waiters);
    server.until_blocked(0);
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

#[test]
fn a_replica_answers_with_no_locks_because_nobody_waits_there() {
    let (primary, mut a, _) = held();
    let replica = Server::builder().replica_of(&primary).start();
    let mut w = waiter(&primary, "k", "w");
    until_synced(&primary, &replica);
    assert_eq!(top(&mut replica.client(), &[]), [""; 0]);
    assert_eq!(top(&mut a, &[]), ["k"]);
    release(&mut a, "k", "a");
    w.read().int();
    release(&mut w, "k", "w");
    assert_both_clean(&primary, &replica);
}

#[test]
fn requests_that_make_no_sense_are_told_what_is_allowed() {
    let server = Server::start();
    for (request, expected) in [
        ("LOCK.TOP COUNT 0", "ERR COUNT must be a number from 1 to 1000"),
        ("LOCK.TOP COUNT x", "ERR COUNT must be a number from 1 to 1000"),
        ("LOCK.TOP BY", "ERR BY needs a value"),
        ("LOCK.TOP BY OWNER", "ERR BY must be WAITERS or WAITED"),
        ("LOCK.TOP BY WAITED BY WAITED", "ERR BY is given twice"),
        ("LOCK.TOP WAITED", "ERR unknown option 'WAITED', expected one of COUNT, BY"),
        ("LOCK.TOP ", "ERR unknown option '', expected one of COUNT, BY"),
    ] {
        assert_eq!(run(&mut server.client(), request).err_text(), expected, "{request}");
    }
    server.assert_clean();
}
