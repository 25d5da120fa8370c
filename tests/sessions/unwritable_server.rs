//! SESSION: connections that close while the server does not accept writes, and requests without a connection.
//! `roles.rs` tests loading and changes of role, `mass.rs` thousands of connections.

use std::time::Duration;

use super::close;
use support::{
    acquire, aof_commands, args, assert_both_clean, assert_same, bound, digest, exec, held, let_it_catch_up, patience,
    release, said, until, waiter, Server, Value,
};

/// The server will not write, a session closes, and nothing comes of it until it writes again: then the waiter has the
/// lock. `stop` begins that state and `go_on` ends it.
fn outlast(server: &Server, stop: impl FnOnce(), go_on: impl FnOnce()) {
    let (mut a, mut timer) = (server.client(), server.client());
    let fence = bound(&mut a, "k", "a");
    bound(&mut a, "k2", "a");
    let mut b = waiter(server, "k", "b");
    // A wait that ends while nothing may be written shows that the server's timers have run by then.
    timer.send(&["LOCK.ACQUIRE", "k", "timer", "BLOCK", "300"]);
    server.until_blocked(2);
    stop();
    let before = digest(server);
    close(server, a);
    assert_eq!(timer.read(), Value::NullBulk);
    server.assert_waiting(&mut b);
    assert_eq!(server.cmd(&["EXISTS", "k", "k2"]), 2);
    assert_eq!(digest(server), before, "something was written");
    go_on();
    assert!(b.read().int() > fence);
    until("the other lock is free, too", || server.cmd(&["EXISTS", "k2"]) == 0);
    assert!(server.cmd(&["LOCK.CHECK", "k", "a"]).is_nil());
    release(&mut b, "k", "b");
}

#[test]
fn session_that_closes_during_a_pause_ends_after_it() {
    let server = Server::builder().aof().start();
    let pause = || assert_eq!(server.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
    let unpause = || assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    outlast(&server, pause, unpause);
    let before = digest(&server);
    assert_eq!(server.cmd(&["DEBUG", "LOADAOF"]), "OK");
    assert_eq!(digest(&server), before);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_that_closes_during_a_pause_of_all_commands_ends_after_it() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    assert_same(&primary, &replica);
    let mut a = primary.client();
    let fence = bound(&mut a, "k", "a");
    let mut b = waiter(&primary, "k", "b");
    assert_eq!(primary.cmd(&["CLIENT", "PAUSE", "700", "ALL"]), "OK");
    a.close();
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
    assert_both_clean(&primary, &replica);
}

#[test]
fn session_closed_in_the_turn_in_which_a_pause_begins_ends_after_it() {
    let server = Server::builder().aof().start();
    let (mut a, mut admin) = (server.client(), server.client());
    let id = a.id();
    let fence = bound(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    exec(&mut admin, &[&format!("CLIENT KILL ID {id}"), "CLIENT PAUSE 100000 WRITE"]);
    a.expect_closed();
    server.assert_waiting(&mut b);
    assert_eq!(server.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence);
    assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 50: too few replicas.
#[test]
fn session_that_closes_while_replicas_are_missing_ends_when_they_are_back() {
    let server = Server::builder().aof().start();
    let need = |count: &str| assert_eq!(server.cmd(&["CONFIG", "SET", "min-replicas-to-write", count]), "OK");
    outlast(&server, || need("1"), || need("0"));
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 47: no memory is needed to end a hold, nor to hand the lock to who waits already.
#[test]
fn session_ends_on_a_server_that_is_out_of_memory() {
    let server = Server::builder().config("maxmemory-policy noeviction").start();
    let mut a = server.client();
    let fence = bound(&mut a, "k", "a");
    bound(&mut a, "k2", "a");
    let mut b = waiter(&server, "k", "b");
    assert_eq!(server.cmd(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert!(server.cmd(&["SET", "x", "y"]).err_text().starts_with("OOM "));
    a.close();
    assert!(b.read().int() > fence);
    until("the other lock is free, too", || server.cmd(&["EXISTS", "k2"]) == 0);
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 4: the waiter with a session is granted and killed in one turn; its session takes nothing from the next one.
#[test]
fn grant_to_a_killed_waiter_with_a_session_goes_to_the_next_one() {
    let server = Server::builder().aof().start();
    let mut a = server.client();
    for kill_first in [false, true] {
        let fence = acquire(&mut a, "k", "a");
        let mut b = server.client();
        let kill = format!("CLIENT KILL ID {}", b.id());
        server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "SESSION", "BLOCK", "0"]);
        let (mut c, mut d) = (waiter(&server, "k", "c"), waiter(&server, "k", "d"));
        exec(&mut a, &if kill_first { [&kill, "LOCK.RELEASE k a"] } else { ["LOCK.RELEASE k a", &kill] });
        b.expect_closed();
        assert!(c.read().int() > fence);
        let_it_catch_up(&server);
        server.assert_waiting(&mut d);
        release(&mut c, "k", "c");
        d.read().int();
        release(&mut d, "k", "d");
    }
    assert_eq!(server.cmd(&["DEBUG", "LOADAOF"]), "OK");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 19: the connection closes while a script keeps the server busy. The script sees the hold to its end, and no
/// write of the module's gets between its own.
#[test]
fn session_that_closes_during_a_busy_script_ends_after_it() {
    const SCRIPT: &str = "
        local function look() return {redis.call('LOCK.CHECK', KEYS[1], 'a')[1], redis.call('EXISTS', KEYS[1])} end
        local function now() local time = redis.call('TIME'); return time[1] * 1000 + time[2] / 1000 end
        redis.call('SET', KEYS[2], 'before')
        local before, start = look(), now()
        while now() - start < tonumber(ARGV[1]) do end
        redis.call('SET', KEYS[2], 'after')
        return {before, look()}";
    let server = Server::builder().aof().config("lua-time-limit 10").start();
    let [mut a, mut lapsing, mut script] = [(); 3].map(|()| server.client());
    let fence = bound(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    lapsing.cmd(&["LOCK.ACQUIRE", "lapsing", "a", "PX", "800"]).int();
    let mut c = waiter(&server, "lapsing", "c");
    let lasts = patience(Duration::from_millis(1500)).as_millis().to_string();
    script.send(&["EVAL", SCRIPT, "2", "k", "x", &lasts]);
    let busy = || matches!(server.cmd(&["PING"]), Value::Error(text) if text.starts_with("BUSY "));
    until("the script keeps the server busy", busy);
    a.close();
    // Events are looked at between two answers.
    for _ in 0..3 {
        assert!(busy(), "the script ended too early for this test");
    }
    let seen = Value::Array(vec![Value::Int(fence), Value::Int(1)]);
    assert_eq!(script.read(), Value::Array(vec![seen.clone(), seen]));
    assert!(b.read().int() > fence);
    c.read().int();

    let recorded: Vec<String> = aof_commands(&server).iter().map(|command| said(command)).collect();
    let writes: Vec<usize> = (0..recorded.len()).filter(|at| recorded[*at] == "SET x").collect();
    assert_eq!(writes[1], writes[0] + 1, "{recorded:?}");
    let before = digest(&server);
    assert_eq!(server.cmd(&["DEBUG", "LOADAOF"]), "OK");
    assert_eq!(digest(&server), before);
    release(&mut b, "k", "b");
    release(&mut c, "lapsing", "c");
    assert_eq!(server.cmd(&["DEL", "x"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 53: where there is no connection, there is nothing to bind to.
#[test]
fn session_is_refused_in_scripts_and_functions() {
    let (server, mut a, fence) = held();
    let call = "redis.call('LOCK.ACQUIRE', KEYS[1], ARGV[1], 'SESSION')";
    let blocking = "redis.call('LOCK.ACQUIRE', KEYS[1], ARGV[1], 'BLOCK', '0', 'SHARED', 'SESSION')";
    let library = |name: &str, call: &str| {
        let register = format!("redis.register_function('{name}', function(KEYS, ARGV) return {call} end)");
        assert_eq!(server.cmd(&["FUNCTION", "LOAD", &format!("#!lua name={name}\n{register}")]), name);
    };
    library("lock", call);
    library("block", blocking);
    let (eval, eval_blocking) = (format!("return {call}"), format!("return {blocking}"));
    let protected = format!("return {}", call.replace("redis.call", "redis.pcall"));
    let ways = [["EVAL", &eval], ["EVAL", &eval_blocking], ["EVAL", &protected], ["FCALL", "lock"], ["FCALL", "block"]];
    for way in ways {
        // A free lock, a busy one, and one that this owner holds.
        for (key, owner) in [("free", "a"), ("k", "b"), ("k", "a")] {
            let command = [way[0], way[1], "1", key, owner];
            for in_exec in [false, true] {
                let answer = match in_exec {
                    false => a.cmd(&command),
                    true => {
                        let replies = a.pipeline(&[&["MULTI"][..], &command, &["EXEC"]]);
                        replies[2].array()[0].clone()
                    }
                };
                let text = answer.err_text();
                assert!(text.starts_with("ERR ") && text.contains("SESSION"), "{command:?}: {text}");
            }
        }
    }
    assert_eq!((server.cmd(&["EXISTS", "free"]), server.blocked()), (Value::Int(0), 0));
    // Nothing was bound by that: the close of the script's connection ends nothing.
    close(&server, a);
    let_it_catch_up(&server);
    assert_eq!(server.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// What an operator put in the place of the hold is no concern of the session's.
#[test]
fn session_that_closes_after_its_lock_was_removed_touches_nothing() {
    let server = Server::builder().aof().start();
    let removals: [&[&str]; 5] =
        [&["DEL", "k"], &["UNLINK", "k"], &["FLUSHALL"], &["FLUSHALL", "ASYNC"], &["SET", "k", "x"]];
    for removal in removals {
        for newer in ["a", "b"] {
            let (mut a, mut new) = (server.client(), server.client());
            bound(&mut a, "k", "a");
            assert!(!server.cmd(removal).is_err());
            let string = removal[0] == "SET";
            let fence = if string { 0 } else { acquire(&mut new, "k", newer) };
            let before = digest(&server);
            close(&server, a);
            let_it_catch_up(&server);
            assert_eq!(digest(&server), before, "{removal:?}");
            match string {
                true => assert_eq!(server.cmd(&["GETDEL", "k"]), "x"),
                false => assert_eq!(new.cmd(&args!["LOCK.RELEASE", "k", newer, "FENCE", fence]), 1, "{removal:?}"),
            }
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}
