//! Another module of the same server calls LOCK.* commands, and acts inside the events of locks (traps 8 and 53).

use support::{
    acquire, assert_same, caller_module_path, say, until, until_synced, waiter, Client, Received, Server,
    ServerBuilder, Value,
};

/// A server with both modules.
fn both() -> ServerBuilder {
    Server::builder().config(format!("loadmodule {}", caller_module_path().display()))
}

fn call(server: &Server, command: &str) -> Value {
    say(server, &format!("CALLER.CALL {command}"))
}

#[track_caller]
fn nobody_waits(server: &Server) {
    assert_eq!(server.info_field("clients", "blocked_clients"), "0");
    assert_eq!(server.info_field("redislock", "redislock_waiters"), "0");
}

/// Trap 8: a call cannot wait, so it is answered at once, and nothing of it stays.
#[test]
fn call_that_would_wait_is_answered_at_once() {
    let server = both().start();
    let fence = acquire(&mut server.client(), "k", "a");
    for _ in 0..100 {
        for mode in ["", " SHARED", " SHARED LIMIT 1"] {
            let answer = call(&server, &format!("LOCK.ACQUIRE k b BLOCK 0{mode}"));
            assert!(answer.is_nil(), "{mode}: {answer:?}");
        }
    }
    nobody_waits(&server);
    let mut c = waiter(&server, "k", "c");
    assert!(call(&server, "LOCK.ACQUIRE k b BLOCK 0").is_nil());
    assert_eq!(call(&server, "LOCK.RELEASE k a"), 1);
    let next = c.read().int();
    assert!(next > fence, "a waiter is served by another module's release");
    assert_eq!(call(&server, "LOCK.RELEASE k c"), 1);
    assert!(call(&server, "LOCK.ACQUIRE k b BLOCK 0").int() > next, "granted if it is free");
    assert_eq!(call(&server, "LOCK.EXTEND k b PX 60000"), 1);
    assert_eq!(call(&server, "LOCK.CHECK k b").array().len(), 2);
    assert_eq!(call(&server, "LOCK.RELEASE k b"), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 53: the caller's client is not one that closes.
#[test]
fn session_of_a_call_is_refused_and_holds_nothing() {
    let server = both().start();
    for command in ["LOCK.ACQUIRE k a SESSION", "LOCK.ACQUIRE k a SESSION BLOCK 0", "LOCK.ACQUIRE k * SHARED SESSION"] {
        let answer = call(&server, command);
        assert!(answer.err_text().contains("SESSION"), "{command}: {answer:?}");
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// What a call changes is recorded like any other change.
#[test]
fn calls_are_saved_and_replicated() {
    let primary = both().aof().start();
    let replica = both().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let fence = call(&primary, "LOCK.ACQUIRE k a PX 600000").int();
    call(&primary, "LOCK.ACQUIRE gone a PX 600000");
    call(&primary, "LOCK.RELEASE gone a");
    say(&primary, "LOCK.ACQUIRE s a SHARED PX 600000");
    call(&primary, "LOCK.ACQUIRE s b SHARED PX 600000");
    assert_same(&primary, &replica);
    primary.restart();
    assert_eq!(primary.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence);
    assert_eq!(primary.cmd(&["DBSIZE"]), 2);
    until_synced(&primary, &replica);
    assert_same(&primary, &replica);
}

/// Inside the callback of an event of a lock, the key is at rest: another module may do with it what it likes.
#[test]
fn what_another_module_does_at_an_event_is_done_whole() {
    let server = both().aof().start();
    for act in ["LOCK.RELEASE k a", "DEL k", "SET k x", "FLUSHALL", "LOCK.EXTEND k a PX 5000", "RENAME k other"] {
        server.cmd(&["FLUSHALL"]);
        say(&server, &format!("CALLER.AT_NEXT_EVENT {act}"));
        let fence = acquire(&mut server.client(), "k", "a");
        assert!(server.log().contains(&format!("{:?}", act.split(' ').collect::<Vec<_>>())), "{act} was called");
        let kept = act.starts_with("LOCK.EXTEND");
        let still = |key: &str| matches!(server.cmd(&["LOCK.CHECK", key, "a"]), Value::Array(hold) if hold[0] == fence);
        assert_eq!(still("k"), kept, "{act}");
        if act.starts_with("RENAME") {
            assert!(still("other"));
        }
        if act.starts_with("SET") {
            assert_eq!(server.cmd(&["GET", "k"]), "x");
        }
    }
    server.cmd(&["FLUSHALL"]);
    server.assert_clean();
}

/// A waiter's turn comes although another module removes the lock, or takes it away, in the event of its release.
#[test]
fn waiters_are_served_whatever_another_module_does_at_an_event() {
    let server = both().start();
    for (act, is_granted) in [("DEL k", true), ("LOCK.RELEASE k b", true), ("SET k x", false)] {
        server.cmd(&["FLUSHALL"]);
        acquire(&mut server.client(), "k", "a");
        let mut line: Vec<Client> = ["b", "c"].map(|owner| waiter(&server, "k", owner)).into();
        say(&server, &format!("CALLER.AT_NEXT_EVENT {act}"));
        assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
        // b was granted in the step of the release; then its hold was taken away, in the same turn.
        let first = line[0].read();
        assert!(matches!(first, Value::Int(_)), "{act}: {first:?}");
        match line[1].receive(std::time::Duration::from_secs(20)) {
            Received::Reply(Value::Int(fence)) if is_granted => assert!(fence > first.int(), "{act}"),
            Received::Reply(Value::Error(text)) if !is_granted => assert!(text.starts_with("WRONGTYPE"), "{text}"),
            other => panic!("{act}: {other:?}"),
        }
        until("nobody waits", || server.info_field("redislock", "redislock_waiters") == "0");
    }
    nobody_waits(&server);
    server.assert_clean();
}
