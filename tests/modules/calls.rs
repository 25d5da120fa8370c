//! A call of a LOCK.* command from another module has no connection, whatever kind of call it is: it is answered at once,
//! without a session and without a user. `calls_in_events.rs` tests plain calls, and calls inside the events of locks.
//!
//! How a call can look like a command of a connection: the server lends it a client from a pool, and a client that served a
//! thread there keeps the id of the connection for which it did. One that may wait (`K`) is not told to be a call at all.

use support::{
    acquire, caller_module_path, exec, module_path, release, run, say, skip, until, wait, waiter, Client, Server, Value,
};

/// A server with both modules.
fn both() -> Server {
    Server::builder().config(format!("loadmodule {}", caller_module_path().display())).start()
}

/// How RM_Call can be told to call a command, apart from waiting, and as which user.
const WAYS: [&str; 7] = ["!E -", "E -", "! -", "!ES -", "!EM -", "!EC default", "!E3 -"];

/// Connections for which threads of the other module have made calls: the clients in the server's pool bear their ids now.
fn served_by_threads(server: &Server) -> Vec<Client> {
    let mut served: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for _ in 0..6 {
        for client in &mut served {
            client.send(&["CALLER.DO", "bound:5", "!E", "-", "PING"]);
        }
        for client in &mut served {
            assert_eq!(client.read(), "PONG");
        }
    }
    served
}

/// Where a call is made that waits for nobody.
const PLACES: [&str; 4] = ["command", "bound", "detached", "timer"];

/// A server is as it was: nobody waits, nothing is held, and it is the same process.
#[track_caller]
fn nothing_is_left(server: &Server) {
    until("nobody waits", || server.info_field("redislock", "redislock_waiters") == "0");
    until("nobody is blocked", || server.blocked() == 0);
    server.assert_no_keys();
    server.assert_clean();
}

/// What a call is answered that asks for a session, for a lock that is free, and for one that is held.
#[track_caller]
fn assert_answered_as_a_call(client: &mut Client, how: &str) {
    let mut call = |command: &str| run(client, &format!("CALLER.DO {how} {command}"));
    let refused = call("LOCK.ACQUIRE s x SESSION");
    // Without "E" an error is no reply.
    let is_refusal = |text: &str| text.contains("SESSION") || text.contains("no reply");
    assert!(is_refusal(refused.err_text()), "{how}: {refused:?}");
    assert!(matches!(call("LOCK.ACQUIRE f x"), Value::Int(_)), "{how}");
    for wait in ["BLOCK 0", "BLOCK 60000", "SHARED BLOCK 0"] {
        assert!(call(&format!("LOCK.ACQUIRE held x {wait}")).is_nil(), "{how}, {wait}");
    }
    assert!(matches!(call("LOCK.ACQUIRE f x BLOCK 0"), Value::Int(_)), "{how}");
    assert_eq!(call("LOCK.RELEASE f x"), 1, "{how}");
}

/// Redis 7.0 died in the first of these calls; Redis 8.0 and Valkey 9.1 bound the hold to the connection of the thread.
#[test]
fn calls_with_the_id_of_a_connection_are_calls() {
    let server = both();
    acquire(&mut server.client(), "held", "h");
    for is_gone in [false, true] {
        let mut served = served_by_threads(&server);
        if is_gone {
            served.into_iter().for_each(Client::close);
            served = Vec::new();
            until("they are closed", || server.info_number("clients", "connected_clients") <= 2);
        }
        let mut asker = server.client();
        for place in PLACES {
            for way in WAYS {
                assert_answered_as_a_call(&mut asker, &format!("{place} {way}"));
            }
        }
        // Also when it is one of these connections that asks.
        for own in &mut served {
            for place in PLACES {
                assert_answered_as_a_call(own, &format!("{place} !E -"));
                assert_answered_as_a_call(own, &format!("{place} !EC default"));
            }
        }
    }
    release(&mut server.client(), "held", "h");
    nothing_is_left(&server);
}

#[test]
fn what_a_call_holds_does_not_end_with_the_connection_whose_id_it_bore() {
    let server = both();
    let mut served = served_by_threads(&server);
    let mut asker = server.client();
    let fences: Vec<Value> =
        (0..8).map(|i| run(&mut asker, &format!("CALLER.DO command !E - LOCK.ACQUIRE k{i} x PX 600000"))).collect();
    // A last one from the thread of such a connection itself.
    let last = run(&mut served[0], "CALLER.DO bound !E - LOCK.ACQUIRE k8 x PX 600000");
    served.into_iter().for_each(Client::close);
    until("they are closed", || server.info_number("clients", "connected_clients") <= 2);
    for (i, fence) in fences.iter().chain([&last]).enumerate() {
        assert_eq!(say(&server, &format!("LOCK.CHECK k{i} x")).array()[0], *fence);
        assert_eq!(say(&server, &format!("LOCK.RELEASE k{i} x")), 1);
    }
    assert_eq!(server.info_field("redislock", "redislock_session_ends"), "0");
    nothing_is_left(&server);
}

/// The other module may be loaded before this one, or at any time after.
#[test]
fn other_modules_are_noticed_whenever_they_come() {
    let caller = caller_module_path().display().to_string();
    let lock = module_path().display().to_string();
    let first = Server::builder().module(&caller).config(format!("loadmodule {lock}")).start();
    let later = Server::start();
    let mut early = later.client();
    acquire(&mut early, "early", "e");
    assert_eq!(later.cmd(&["MODULE", "LOAD", &caller]), "OK");
    release(&mut early, "early", "e");
    for server in [&first, &later] {
        acquire(&mut server.client(), "held", "h");
        let mut served = served_by_threads(server);
        served.push(server.client());
        for client in &mut served {
            assert_answered_as_a_call(client, "command !EC default");
        }
        release(&mut server.client(), "held", "h");
        nothing_is_left(server);
    }
}

/// In a transaction, in a script, and where both come together with the id of a connection.
#[test]
fn calls_in_transactions_and_scripts_are_calls() {
    let server = both();
    acquire(&mut server.client(), "held", "h");
    let _served = served_by_threads(&server);
    let mut asker = server.client();
    for way in WAYS {
        let how = format!("CALLER.DO command {way}");
        let answers = exec(
            &mut asker,
            &[
                &format!("{how} LOCK.ACQUIRE s x SESSION"),
                &format!("{how} LOCK.ACQUIRE held x BLOCK 0"),
                &format!("{how} LOCK.ACQUIRE f x BLOCK 0"),
                &format!("{how} LOCK.RELEASE f x"),
            ],
        );
        assert!(answers[0].is_err(), "{way}: {answers:?}");
        assert!(answers[1].is_nil(), "{way}: {answers:?}");
        assert!(matches!(answers[2], Value::Int(_)), "{way}: {answers:?}");
        assert_eq!(answers[3], 1, "{way}");
        let script = |command: &str| {
            let words: Vec<String> = format!("{how} {command}").split(' ').map(|word| format!("'{word}'")).collect();
            format!("return redis.call({})", words.join(","))
        };
        let mut eval = |command: &str| asker.cmd(&["EVAL", &script(command), "0"]);
        assert!(eval("LOCK.ACQUIRE s x SESSION").is_err(), "{way}");
        assert!(eval("LOCK.ACQUIRE held x BLOCK 0").is_nil(), "{way}");
        assert!(matches!(eval("LOCK.ACQUIRE f x"), Value::Int(_)), "{way}");
        assert_eq!(eval("LOCK.RELEASE f x"), 1, "{way}");
        // The same directly, on whichever client the server runs scripts.
        let direct = asker.cmd(&["EVAL", "return redis.call('LOCK.ACQUIRE','s','x','SESSION')", "0"]);
        assert!(direct.err_text().contains("SESSION"), "{direct:?}");
    }
    release(&mut server.client(), "held", "h");
    nothing_is_left(&server);
}

/// A hold that a call has taken is nobody's as far as deadlocks go: no cycle is found through it.
#[test]
fn hold_of_a_call_is_of_no_user() {
    let server = both();
    let _served = served_by_threads(&server);
    run(&mut server.client(), "CALLER.DO command !E - LOCK.ACQUIRE a x PX 600000");
    acquire(&mut server.client(), "b", "y");
    let mut x = waiter(&server, "b", "x");
    let mut y = waiter(&server, "a", "y");
    assert_eq!(say(&server, "LOCK.RELEASE a x"), 1);
    assert!(matches!(y.read(), Value::Int(_)));
    assert_eq!(say(&server, "LOCK.RELEASE b y"), 1);
    assert!(matches!(x.read(), Value::Int(_)));
    for command in ["LOCK.RELEASE a y", "LOCK.RELEASE b x"] {
        assert_eq!(say(&server, command), 1);
    }
    nothing_is_left(&server);
}

/// Whether another module may let a call wait; the skip is said when not.
fn calls_may_wait(server: &Server) -> bool {
    let may = server.version().number >= (7, 2, 0);
    if !may {
        skip("below Redis 7.2 a call from a module cannot wait");
    }
    may
}

/// A call that may wait does not: giving it up while it waited stopped the server by an assertion, and a demotion left it in
/// the queue for ever.
#[test]
fn calls_that_may_wait_are_answered_at_once() {
    let server = both();
    if !calls_may_wait(&server) {
        return;
    }
    acquire(&mut server.client(), "held", "h");
    let served = served_by_threads(&server);
    let mut asker = server.client();
    for format in ["!EK", "EK", "!K", "!ESK", "!EK3"] {
        for place in PLACES {
            assert_answered_as_a_call(&mut asker, &format!("{place} {format} -"));
        }
        let answers = exec(&mut asker, &[&format!("CALLER.DO command {format} - LOCK.ACQUIRE held x BLOCK 0")]);
        assert!(answers[0].is_nil(), "{answers:?}");
    }
    for mut client in served.into_iter().chain([asker]) {
        for place in PLACES {
            assert_answered_as_a_call(&mut client, &format!("{place} !EKC default"));
        }
        // Whatever else that connection did last.
        acquire(&mut client, "last", "l");
        assert_answered_as_a_call(&mut client, "command !EKC default");
        release(&mut client, "last", "l");
    }
    // No call was ever kept waiting, so there is none to be given up.
    assert_eq!(say(&server, "CALLER.ABORT 0"), 0);
    assert_eq!(say(&server, "CALLER.PROMISE 0"), "unknown");
    release(&mut server.client(), "held", "h");
    nothing_is_left(&server);
}

/// A connection that waits is told apart from calls, however it asks.
#[test]
fn connections_still_wait_where_other_modules_are_loaded() {
    let server = both();
    let _served = served_by_threads(&server);
    assert_eq!(server.cmd(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all"]), "OK");
    let mut holder = server.client();
    acquire(&mut holder, "k", "h");
    let mut plain = wait(&server, "LOCK.ACQUIRE k plain PX 600000 BLOCK 0");
    let mut lower = wait(&server, "lock.acquire k lower PX 600000 BLOCK 600000 SESSION");
    let mut resp3 = server.client();
    resp3.resp3();
    server.send_to_wait(&mut resp3, &["LOCK.ACQUIRE", "k", "resp3", "BLOCK", "0"]);
    let mut user = server.client();
    assert_eq!(user.cmd(&["AUTH", "app", "secret"]), "OK");
    server.send_to_wait(&mut user, &["LOCK.ACQUIRE", "k", "user", "BLOCK", "0"]);
    let mut pipelined = server.client();
    let blocked = server.blocked();
    pipelined.send_many(&[
        &["PING"],
        &["LOCK.ACQUIRE", "k", "pipelined", "BLOCK", "0"],
        &["LOCK.RELEASE", "k", "pipelined"],
    ]);
    assert_eq!(pipelined.read(), "PONG");
    server.until_blocked(blocked + 1);
    let mut inline = server.client();
    let blocked = server.blocked();
    inline.send_bytes(b"LOCK.ACQUIRE k inline BLOCK 0\r\n");
    server.until_blocked(blocked + 1);
    // A connection that another module has served waits like any other.
    let mut served = server.client();
    assert_eq!(
        run(&mut served, "CALLER.DO bound !E - LOCK.ACQUIRE other o"),
        say(&server, "LOCK.CHECK other o").array()[0]
    );
    assert_eq!(run(&mut served, "LOCK.RELEASE other o"), 1);
    server.send_to_wait(&mut served, &["LOCK.ACQUIRE", "k", "served", "BLOCK", "0"]);
    release(&mut holder, "k", "h");
    for (client, owner) in [(&mut plain, "plain"), (&mut lower, "lower"), (&mut resp3, "resp3"), (&mut user, "user")] {
        assert!(matches!(client.read(), Value::Int(_)), "{owner}");
        release(client, "k", owner);
    }
    assert!(matches!(pipelined.read(), Value::Int(_)));
    assert_eq!(pipelined.read(), 1);
    for (client, owner) in [(&mut inline, "inline"), (&mut served, "served")] {
        assert!(matches!(client.read(), Value::Int(_)), "{owner}");
        release(client, "k", owner);
    }
    // A session in a transaction of a connection is its own.
    let answers = exec(&mut holder, &["LOCK.ACQUIRE k h SESSION PX 600000", "PING"]);
    assert!(matches!(answers[0], Value::Int(_)), "{answers:?}");
    holder.close();
    until("it ends with its connection", || say(&server, "LOCK.INFO k").is_nil());
    nothing_is_left(&server);
}

/// What another module calls while it is told of a lock's event is its call, not the command of the connection that made the
/// event, also when it bears that connection's id and user.
#[test]
fn call_inside_an_event_is_a_call() {
    let server = both();
    let mut served = served_by_threads(&server);
    acquire(&mut server.client(), "held", "h");
    let may_wait = server.version().number >= (7, 2, 0);
    let ways = ["!E -", "!EC default", "!EK -", "!EKC default"];
    for way in ways.into_iter().filter(|way| may_wait || !way.contains('K')) {
        for client in &mut served {
            for act in ["LOCK.ACQUIRE s x SESSION", "LOCK.ACQUIRE held x BLOCK 0"] {
                say(&server, &format!("CALLER.AT_NEXT_EVENT CALLER.DO command {way} {act}"));
                acquire(client, "k", "o");
                assert!(
                    server.log().contains(&format!("{way} {act}").replace(' ', "\", \"")),
                    "{way} {act} was called"
                );
                assert!(say(&server, "LOCK.INFO s").is_nil(), "{way}");
                assert_eq!(server.info_field("redislock", "redislock_waiters"), "0", "{way}");
                release(client, "k", "o");
            }
        }
    }
    release(&mut server.client(), "held", "h");
    nothing_is_left(&server);
}
