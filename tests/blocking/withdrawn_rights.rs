//! A waiter is granted only while its user may still run LOCK.ACQUIRE on the key. Otherwise it is answered -NOPERM when it is
//! its turn, and the next is looked at. What a user may do is what the server would say of the same request now.

use std::time::Duration;

use support::{acquire, assert_all_over, release, say, skip, until, waiter, Client, Received, Server, Value};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the user `app` may do when it begins to wait.
const RULES: &str = "reset on >secret ~locks:* &* -@all +lock.acquire +lock.release +ping";

#[track_caller]
fn set_user(server: &Server, rules: &str) {
    let mut command = vec!["ACL", "SETUSER", "app"];
    command.extend(rules.split(' '));
    assert_eq!(server.cmd(&command), "OK", "{rules}");
}

/// A new connection of `app`.
#[track_caller]
fn app(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(client.cmd(&["AUTH", "app", "secret"]), "OK");
    client
}

/// A new connection of `app` that waits for the lock.
#[track_caller]
fn app_waits(server: &Server, key: &str, more: &str) -> Client {
    let mut client = app(server);
    let request = format!("LOCK.ACQUIRE {key} app PX 600000 BLOCK 0{more}");
    server.send_to_wait(&mut client, &request.split(' ').collect::<Vec<_>>());
    client
}

#[track_caller]
fn denied(client: &mut Client, case: &str) {
    let answer = client.read();
    assert!(answer.is_err() && answer.err_text().starts_with("NOPERM "), "{case}: {answer:?}");
    // It is a connection like any other.
    assert_eq!(client.cmd(&["PING"]), "PONG", "{case}");
}

#[track_caller]
fn denials(server: &Server) -> i64 {
    server.info_number("redislock", "redislock_waits_denied")
}

/// The user who waited got the lock, could not release it, and everybody behind it waited for its lease.
#[test]
fn waiter_without_the_right_is_answered_noperm_and_the_next_is_served() {
    let server = Server::start();
    let withdrawals = [
        "resetkeys ~other:*",
        "-lock.acquire",
        "-@all +ping",
        "resetkeys %R~locks:*",
        "resetkeys %W~locks:*",
        "resetkeys",
        "resetkeys -@all +ping (+lock.acquire ~other:*)",
        "reset +ping",
    ];
    for (n, withdrawal) in withdrawals.iter().enumerate() {
        set_user(&server, RULES);
        let key = format!("locks:{n}");
        let mut holder = server.client();
        acquire(&mut holder, &key, "h");
        let mut app = app_waits(&server, &key, "");
        let mut shared = app_waits(&server, &key, " SHARED");
        let mut next = waiter(&server, &key, "next");
        set_user(&server, withdrawal);
        assert_eq!(denials(&server), 2 * n as i64, "nobody is told before it is its turn");
        release(&mut holder, &key, "h");
        denied(&mut app, withdrawal);
        denied(&mut shared, withdrawal);
        assert!(matches!(next.read(), Value::Int(_)), "{withdrawal}");
        assert_eq!(denials(&server), 2 * n as i64 + 2);
        release(&mut next, &key, "next");
    }
    assert_all_over(&server);
}

/// Whatever ends the hold before.
#[test]
fn right_is_asked_however_the_lock_becomes_free() {
    let server = Server::start();
    let ends = [
        ("release", "LOCK.RELEASE locks:k h"),
        ("script", "EVAL return(redis.call('LOCK.RELEASE','locks:k','h')) 0"),
        ("removal", "DEL locks:k"),
        ("flush", "FLUSHALL"),
        ("expiry", "PEXPIRE locks:k 1"),
        ("lease", "LOCK.EXTEND locks:k h PX 1"),
        ("downgrade", "LOCK.RELEASE locks:k h DOWNGRADE"),
        ("rename", "RENAME locks:k elsewhere"),
        ("session", ""),
    ];
    for (name, end) in ends {
        set_user(&server, RULES);
        let mut holder = server.client();
        holder.cmd(&["LOCK.ACQUIRE", "locks:k", "h", "PX", "600000", "SESSION"]).int();
        let mut app = app_waits(&server, "locks:k", " SHARED");
        let mut next = server.client();
        server.send_to_wait(&mut next, &["LOCK.ACQUIRE", "locks:k", "next", "SHARED", "BLOCK", "0"]);
        set_user(&server, "-lock.acquire");
        match end {
            "" => holder.close(),
            end => assert!(!say(&server, end).is_err(), "{name}"),
        }
        denied(&mut app, name);
        assert!(matches!(next.read(), Value::Int(_)), "{name}");
        release(&mut next, "locks:k", "next");
        server.cmd(&["FLUSHALL"]);
    }
    assert_all_over(&server);
}

/// A right that was lost and given back, one that another rule or a selector gives, and one that was never needed.
#[test]
fn waiter_that_keeps_the_right_is_granted() {
    let server = Server::start();
    let changes = [
        "-lock.release",
        "resetkeys ~locks:*",
        "resetkeys ~locks:kept",
        "resetkeys %RW~locks:*",
        "resetkeys -@all (+lock.acquire ~locks:*)",
        "-@all (+get ~locks:*) (+lock.acquire ~l*)",
        "resetkeys allkeys nocommands allcommands",
        // As Redis has it: nobody may log in as this user, and its connections go on.
        "off",
        "resetpass",
    ];
    for change in changes {
        set_user(&server, RULES);
        let mut holder = server.client();
        acquire(&mut holder, "locks:kept", "h");
        let mut app = app_waits(&server, "locks:kept", "");
        set_user(&server, "-lock.acquire resetkeys");
        set_user(&server, RULES);
        set_user(&server, change);
        release(&mut holder, "locks:kept", "h");
        let answer = app.read();
        assert!(matches!(answer, Value::Int(_)), "{change}: {answer:?}");
        release(&mut server.client(), "locks:kept", "app");
    }
    assert_eq!(denials(&server), 0);
    assert_all_over(&server);
}

/// A connection of a user that was switched off may do what it could, so it also gets what it waited for.
#[test]
fn user_that_is_off_goes_on_on_its_connections() {
    let server = Server::start();
    set_user(&server, RULES);
    let mut holder = server.client();
    acquire(&mut holder, "locks:k", "h");
    let mut waiting = app_waits(&server, "locks:k", "");
    let mut idle = app(&server);
    set_user(&server, "off");
    assert!(idle.cmd(&["LOCK.ACQUIRE", "locks:free", "idle"]).int() > 0, "Redis lets it go on");
    assert_eq!(idle.cmd(&["LOCK.RELEASE", "locks:free", "idle"]), 1);
    release(&mut holder, "locks:k", "h");
    assert!(matches!(waiting.read(), Value::Int(_)));
    release(&mut waiting, "locks:k", "app");
    assert_all_over(&server);
}

/// The user that everybody is at first is asked in another way.
#[test]
fn default_user_is_judged_too() {
    let server = Server::start();
    assert_eq!(say(&server, "ACL SETUSER admin on >admin allkeys allcommands"), "OK");
    let mut admin = server.client();
    assert_eq!(admin.cmd(&["AUTH", "admin", "admin"]), "OK");
    acquire(&mut admin, "locks:k", "h");
    let mut plain = waiter(&server, "locks:k", "plain");
    let run = |admin: &mut Client, command: &str| admin.cmd(&command.split(' ').collect::<Vec<_>>());
    assert_eq!(run(&mut admin, "ACL SETUSER default resetkeys ~other:*"), "OK");
    release(&mut admin, "locks:k", "h");
    denied(&mut plain, "default");
    // It is asked anew each time.
    assert_eq!(run(&mut admin, "ACL SETUSER default allkeys"), "OK");
    acquire(&mut admin, "locks:k", "h");
    let mut plain = waiter(&server, "locks:k", "plain");
    release(&mut admin, "locks:k", "h");
    assert!(matches!(plain.read(), Value::Int(_)));
    release(&mut plain, "locks:k", "plain");
    assert_all_over(&server);
}

/// One owner that waits as two users, and a user that waits for two locks.
#[test]
fn each_request_is_judged_by_its_own_user_and_key() {
    let server = Server::start();
    set_user(&server, RULES);
    let mut holder = server.client();
    for key in ["locks:k", "locks:l"] {
        acquire(&mut holder, key, "h");
    }
    let mut mine = waiter(&server, "locks:k", "app");
    let mut theirs = app_waits(&server, "locks:k", " SESSION");
    let mut other = app_waits(&server, "locks:l", "");
    set_user(&server, "resetkeys ~locks:l");
    release(&mut holder, "locks:k", "h");
    assert!(matches!(mine.read(), Value::Int(_)));
    denied(&mut theirs, "the same owner");
    theirs.close();
    release(&mut holder, "locks:l", "h");
    assert!(matches!(other.read(), Value::Int(_)));
    release(&mut other, "locks:l", "app");
    // The hold is not bound to the connection that was turned away.
    until("it is closed", || server.info_number("clients", "connected_clients") <= 4);
    release(&mut mine, "locks:k", "app");
    assert_all_over(&server);
}

#[test]
fn shared_waiters_are_let_in_but_for_those_without_the_right() {
    let server = Server::start();
    set_user(&server, RULES);
    let mut holder = server.client();
    acquire(&mut holder, "locks:k", "h");
    let mut crowd: Vec<Client> = (0..40)
        .map(|n| {
            let mut client = if n % 2 == 0 { app(&server) } else { server.client() };
            let owner = format!("o{n}");
            server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "locks:k", &owner, "SHARED", "BLOCK", "0"]);
            client
        })
        .collect();
    set_user(&server, "-lock.acquire");
    release(&mut holder, "locks:k", "h");
    for (n, client) in crowd.iter_mut().enumerate() {
        match n % 2 {
            0 => denied(client, "a user of the crowd"),
            _ => assert!(matches!(client.read(), Value::Int(_)), "{n}"),
        }
    }
    let info = say(&server, "LOCK.INFO locks:k");
    assert_eq!(info.get("holders-count").int(), 20);
    server.cmd(&["FLUSHALL"]);
    assert_all_over(&server);
}

/// The server closes the connections of a user that is deleted. Until it does, in the same turn, nobody asks what that user may,
/// and the next in the queue has the lock in the end.
#[test]
fn waiter_of_a_deleted_user_gets_nothing() {
    let server = Server::start();
    for commands in [["ACL DELUSER app", "LOCK.RELEASE locks:k h"], ["LOCK.RELEASE locks:k h", "ACL DELUSER app"]] {
        set_user(&server, RULES);
        let mut holder = server.client();
        acquire(&mut holder, "locks:k", "h");
        let mut app = app_waits(&server, "locks:k", "");
        let mut next = waiter(&server, "locks:k", "next");
        support::exec(&mut holder, &commands);
        assert!(matches!(app.receive(PATIENCE), Received::Closed), "{commands:?}");
        assert!(matches!(next.read(), Value::Int(_)), "{commands:?}");
        release(&mut next, "locks:k", "next");
    }
    assert_all_over(&server);
}

/// Redis 7.0 closes the connections of all users but one when it reads its file again; newer servers do not.
#[test]
fn rules_that_are_read_from_the_file_count() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |app: &str| {
        std::fs::write(file.path(), format!("user default on nopass sanitize-payload ~* &* +@all\nuser app {app}\n"))
            .unwrap();
    };
    write("on >secret ~locks:* -@all +lock.acquire +lock.release +ping");
    let server = Server::builder().config(format!("aclfile {}", file.path().display())).start();
    let mut holder = server.client();
    acquire(&mut holder, "locks:k", "h");
    let mut app = app_waits(&server, "locks:k", "");
    let mut next = waiter(&server, "locks:k", "next");
    write("on >secret ~other:* -@all +lock.acquire +lock.release +ping");
    assert_eq!(say(&server, "ACL LOAD"), "OK");
    release(&mut holder, "locks:k", "h");
    match app.receive(PATIENCE) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("NOPERM "), "{text}"),
        Received::Closed => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(next.read(), Value::Int(_)));
    release(&mut next, "locks:k", "next");
    assert_all_over(&server);
}

/// Valkey 9.1: a user may be kept out of databases.
#[test]
fn right_to_use_the_database_counts_where_there_is_one() {
    let server = Server::start();
    let version = server.version();
    if !(version.valkey && version.number >= (9, 1, 0)) {
        return skip("only Valkey 9.1 and later keep users out of databases");
    }
    for (rules, is_granted) in [("resetdbs db=0,1", true), ("resetdbs db=0", true), ("resetdbs db=1", false)] {
        set_user(&server, &format!("{RULES} alldbs"));
        let mut holder = server.client();
        acquire(&mut holder, "locks:k", "h");
        let mut app = app_waits(&server, "locks:k", "");
        set_user(&server, rules);
        release(&mut holder, "locks:k", "h");
        if is_granted {
            assert!(matches!(app.read(), Value::Int(_)), "{rules}");
            release(&mut app, "locks:k", "app");
        } else {
            denied(&mut app, rules);
        }
    }
    assert_all_over(&server);
}

/// A wait that ran out is null, also of a user that may not ask any more.
#[test]
fn wait_that_runs_out_is_null() {
    let server = Server::start();
    set_user(&server, RULES);
    let mut holder = server.client();
    acquire(&mut holder, "locks:k", "h");
    let mut client = app(&server);
    server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "locks:k", "app", "BLOCK", "100"]);
    set_user(&server, "-lock.acquire");
    assert!(client.read().is_nil());
    assert_eq!(denials(&server), 0);
    release(&mut holder, "locks:k", "h");
    assert_all_over(&server);
}
