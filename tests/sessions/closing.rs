//! SESSION: a hold ends when its connection closes, however it closes, and wherever its key is by then.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use support::{acquire, args, bound, exec, release, until, waiter, waiter_in, Client, Server};

/// Changes a setting.
#[track_caller]
fn set(server: &Server, name: &str, value: &str) {
    assert_eq!(server.cmd(&["CONFIG", "SET", name, value]), "OK");
}

/// Returns when the server has closed this connection, from its side.
#[track_caller]
fn until_gone(server: &Server, client: &Client) {
    until("the server closed the connection", || server.client_line(client).is_none());
}

/// Closes the connections of holders in this way: each time the hold ends, and the next one is granted.
#[track_caller]
fn assert_ends_hold(way: &str, close: impl Fn(&Server, Client)) {
    let server = Server::start();
    for round in 0..2 {
        let mut a = server.client();
        a.id();
        let fence = bound(&mut a, "k", "a");
        let mut b = waiter(&server, "k", "b");
        bound(&mut a, "k2", "a");
        close(&server, a);
        assert!(b.read().int() > fence, "{way}, round {round}");
        assert!(server.cmd(&["LOCK.CHECK", "k", "a"]).is_nil(), "{way}");
        until(format!("the other lock is free, too: {way}"), || server.cmd(&["EXISTS", "k2"]) == 0);
        release(&mut b, "k", "b");
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_ends_when_the_client_closes() {
    assert_ends_hold("FIN", |_, client| client.close());
    assert_ends_hold("RST", |_, client| client.reset());
    assert_ends_hold("QUIT", |_, mut client| {
        assert_eq!(client.cmd(&["QUIT"]), "OK");
        client.expect_closed();
    });
}

#[test]
fn session_ends_when_the_client_is_killed() {
    assert_ends_hold("CLIENT KILL ID", |server, mut client| {
        assert_eq!(server.cmd(&args!["CLIENT", "KILL", "ID", client.id()]), 1);
        client.expect_closed();
    });
    assert_ends_hold("CLIENT KILL of itself", |_, mut client| {
        let id = client.id();
        assert_eq!(client.cmd(&args!["CLIENT", "KILL", "ID", id, "SKIPME", "no"]), 1);
        client.expect_closed();
    });
    assert_ends_hold("the client sent what is no command", |_, mut client| {
        client.send_bytes(b"*1\r\n$-5\r\n");
        assert!(client.read().err_text().contains("Protocol error"));
        client.expect_closed();
    });
}

#[test]
fn session_ends_when_its_user_is_deleted() {
    assert_ends_hold("ACL DELUSER", |server, mut client| {
        assert_eq!(server.cmd(&["ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all"]), "OK");
        assert_eq!(client.cmd(&["AUTH", "u", "x"]), "OK");
        assert_eq!(server.cmd(&["ACL", "DELUSER", "u"]), 1);
        client.expect_closed();
    });
}

#[test]
fn session_ends_when_the_server_closes_an_idle_connection() {
    assert_ends_hold("timeout", |server, mut client| {
        set(server, "timeout", "1");
        client.expect_closed();
        set(server, "timeout", "0");
    });
}

/// Answers of 20 MB that nobody reads. They are a part of what is stored, which the server must copy: since 8.6 it keeps no
/// copy of a whole long string for a reader, and does not count it as the reader's.
fn do_not_read(server: &Server, client: &mut Client) {
    assert_eq!(server.cmd(&args!["SET", "large", vec![b'x'; 1 << 20]]), "OK");
    client.send_many(&[&["GETRANGE", "large", "1", "-1"][..]; 20]);
}

#[test]
fn session_ends_when_the_client_does_not_read() {
    assert_ends_hold("client-output-buffer-limit", |server, mut client| {
        set(server, "client-output-buffer-limit", "normal 1mb 0 0");
        do_not_read(server, &mut client);
        until_gone(server, &client);
        set(server, "client-output-buffer-limit", "normal 0 0 0");
        assert_eq!(server.cmd(&["DEL", "large"]), 1);
    });
    assert_ends_hold("maxmemory-clients", |server, mut client| {
        do_not_read(server, &mut client);
        set(server, "maxmemory-clients", "4mb");
        until_gone(server, &client);
        set(server, "maxmemory-clients", "0");
        assert_eq!(server.cmd(&["DEL", "large"]), 1);
    });
}

/// The connection is a child process's alone, which knows nothing of it and says no farewell.
#[test]
fn session_ends_when_its_process_is_killed() {
    let server = Server::start();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.write_all(b"LOCK.ACQUIRE k a PX 600000 SESSION\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    let fence: i64 = answer.trim().strip_prefix(':').unwrap().parse().unwrap();
    let connection = Stdio::from(OwnedFd::from(stream));
    let mut child = Command::new("sleep").arg("60").stdin(connection).spawn().unwrap();
    let mut b = waiter(&server, "k", "b");
    // Still open: it is not this process that keeps it.
    assert_eq!(server.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence);
    server.assert_waiting(&mut b);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_of_a_client_that_waits_for_another_lock_ends_with_it() {
    let server = Server::start();
    let [mut a, mut x] = [(); 2].map(|()| server.client());
    let id = a.id();
    acquire(&mut x, "busy", "x");
    bound(&mut a, "k", "a");
    server.send_to_wait(&mut a, &["LOCK.ACQUIRE", "busy", "a", "SESSION", "BLOCK", "0"]);
    let mut b = waiter(&server, "k", "b");
    // Granted, and killed before it can be told, in one turn: neither lock stays with it.
    let mut next = waiter(&server, "busy", "next");
    exec(&mut x, &["LOCK.RELEASE busy x", &format!("CLIENT KILL ID {id}")]);
    b.read().int();
    next.read().int();
    for (client, key, owner) in [(&mut b, "k", "b"), (&mut next, "busy", "next")] {
        assert!(server.cmd(&["LOCK.CHECK", key, "a"]).is_nil());
        release(client, key, owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_end_aborts_a_watch() {
    let server = Server::start();
    let (mut a, mut watcher) = (server.client(), server.client());
    bound(&mut a, "k", "a");
    assert_eq!(watcher.cmd(&["WATCH", "k"]), "OK");
    assert!(!watcher.cmd(&["LOCK.CHECK", "k", "a"]).is_nil());
    a.close();
    until("the session ended", || server.cmd(&["EXISTS", "k"]) == 0);
    assert_eq!(watcher.cmd(&["MULTI"]), "OK");
    assert_eq!(watcher.cmd(&["SET", "data", "x"]), "QUEUED");
    assert!(watcher.cmd(&["EXEC"]).is_nil());
    server.assert_no_keys();
    server.assert_clean();
}

/// Where `k` can go: the commands, and its database and name then.
type Way = (&'static [&'static str], u32, &'static str);

const SWAPPED: [Way; 2] = [(&["SWAPDB 0 1"], 1, "k"), (&["SWAPDB 1 0", "SWAPDB 2 1"], 2, "k")];
const MOVED: [Way; 5] = [
    (&["RENAME k k2"], 0, "k2"),
    (&["MOVE k 1"], 1, "k"),
    (&["RENAME k k2", "MOVE k2 1"], 1, "k2"),
    (&["RENAME k k2", "RENAME k2 k"], 0, "k"),
    (&["MOVE k 1", "SELECT 1", "RENAME k k2", "MOVE k2 0", "SELECT 0"], 0, "k2"),
];

/// Alone and in a transaction, waited for or not: under its new name the hold still ends with its session.
#[track_caller]
fn assert_ends_where_it_went(server: &Server, ways: &[Way]) {
    for &(commands, database, key) in ways {
        for (transaction, waited_for) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut a, mut admin) = (server.client(), server.client());
            let fence = bound(&mut a, "k", "a");
            if transaction {
                exec(&mut admin, commands);
            } else {
                commands.iter().for_each(|command| {
                    let answer = admin.cmd(&command.split(' ').collect::<Vec<_>>());
                    assert!(!answer.is_err(), "{command}: {answer:?}");
                });
            }
            admin.select(database);
            assert_eq!(admin.cmd(&["LOCK.CHECK", key, "a"]).array()[0], fence);
            let waiter = waited_for.then(|| waiter_in(server, database, key, "b"));
            a.close();
            if let Some(mut b) = waiter {
                assert!(b.read().int() > fence, "{commands:?}");
                release(&mut b, key, "b");
            }
            until(format!("free after {commands:?}"), || admin.cmd(&["EXISTS", key]) == 0);
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_ends_a_renamed_or_moved_hold() {
    let server = Server::start();
    if server.hears_of_moved_keys() {
        assert_ends_where_it_went(&server, &MOVED);
    }
}

#[test]
fn session_ends_its_hold_after_swapdb() {
    assert_ends_where_it_went(&Server::start(), &SWAPPED);
}

/// The connection closes in the turn in which its lock goes elsewhere, before or after that.
#[track_caller]
fn assert_ends_in_the_turn_of_going(server: &Server, ways: &[Way]) {
    for &(commands, database, key) in ways {
        for kill_first in [true, false] {
            let (mut a, mut admin) = (server.client(), server.client());
            let kill = format!("CLIENT KILL ID {}", a.id());
            bound(&mut a, "k", "a");
            let turn = if kill_first { [&[&*kill], commands].concat() } else { [commands, &[&*kill]].concat() };
            exec(&mut admin, &turn);
            a.expect_closed();
            admin.select(database);
            until(format!("free after {turn:?}"), || admin.cmd(&["EXISTS", key]) == 0);
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_that_closes_in_the_turn_of_a_move_ends_the_hold_where_it_is_then() {
    let server = Server::start();
    if server.hears_of_moved_keys() {
        assert_ends_in_the_turn_of_going(&server, &MOVED);
    }
}

#[test]
fn session_that_closes_in_the_turn_of_a_swapdb_ends_the_hold_where_it_is_then() {
    assert_ends_in_the_turn_of_going(&Server::start(), &SWAPPED);
}

/// The name that the hold left may be somebody else's by then, or a new hold of the same owner's.
#[test]
fn session_of_a_renamed_hold_spares_its_old_name() {
    let server = Server::start();
    if !server.hears_of_moved_keys() {
        return;
    }
    for newer in ["a", "b"] {
        let (mut a, mut admin) = (server.client(), server.client());
        bound(&mut a, "k", "a");
        assert_eq!(admin.cmd(&["RENAME", "k", "k2"]), "OK");
        let fence = acquire(&mut admin, "k", newer);
        bound(&mut a, "own", "a");
        let mut b = waiter(&server, "k2", "b");
        a.close();
        b.read().int();
        until("the session ended", || server.cmd(&["EXISTS", "own"]) == 0);
        assert_eq!(server.cmd(&["LOCK.CHECK", "k", newer]).array()[0], fence);
        release(&mut b, "k2", "b");
        release(&mut admin, "k", newer);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_ends_its_hold_in_the_database_that_swapdb_put_it_into() {
    let server = Server::start();
    let [mut a, mut s, mut admin] = [(); 3].map(|()| server.client());
    s.select(1);
    let fence = bound(&mut a, "k", "a");
    let of_s = bound(&mut s, "k", "s");
    let mut b = waiter_in(&server, 1, "k", "b");
    assert_eq!(admin.cmd(&["SWAPDB", "0", "1"]), "OK");
    server.assert_waiting(&mut b);
    a.close();
    assert!(b.read().int() > fence);
    // The other one is here now, and still held.
    assert_eq!(admin.cmd(&["LOCK.CHECK", "k", "s"]).array()[0], of_s);
    let mut c = waiter(&server, "k", "c");
    assert_eq!(admin.cmd(&["SWAPDB", "0", "1"]), "OK");
    assert_eq!(admin.cmd(&["SWAPDB", "1", "0"]), "OK");
    s.close();
    assert!(c.read().int() > of_s);
    release(&mut c, "k", "c");
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}
