//! The ways of docs/guarded-writes.md to write to data under a lock: a holder that lost the lock to another one cannot write,
//! whatever took the lock from it. The scripts are those of the page.

use support::{acquire, exec, release, until, Client, Server, Value};

const PAGE: &str = include_str!("../../docs/guarded-writes.md");
const LOCK: &str = "{order:7}:lock";
const DATA: &str = "{order:7}:state";

/// A file that the page shows.
#[track_caller]
fn file(name: &str) -> &'static str {
    let block = PAGE.split(&format!("```lua {name}\n")).nth(1);
    block.and_then(|block| block.split("```").next()).unwrap_or_else(|| panic!("the page does not show {name}"))
}

/// A server with the functions of that file.
fn server_with(library: &str) -> Server {
    let server = Server::start();
    server.cmd(&["FUNCTION", "LOAD", file(library)]).text();
    server
}

/// What ends the hold of `a`.
const ENDS: [&str; 4] = ["its lease", "its release", "an operator", "an overwritten key"];

/// Ends the hold of `a`, and grants the lock to `b`.
#[track_caller]
fn pass_to_b(server: &Server, end: &str) -> i64 {
    match end {
        "its lease" => {
            assert_eq!(server.cmd(&["LOCK.EXTEND", LOCK, "a", "PX", "20"]), 1);
            until("the lease ends", || server.cmd(&["EXISTS", LOCK]) == 0);
        }
        "its release" => assert_eq!(server.cmd(&["LOCK.RELEASE", LOCK, "a"]), 1),
        "an operator" => assert_eq!(server.cmd(&["DEL", LOCK]), 1),
        _ => {
            assert_eq!(server.cmd(&["SET", LOCK, "x"]), "OK");
            assert_eq!(server.cmd(&["DEL", LOCK]), 1);
        }
    }
    acquire(&mut server.client(), LOCK, "b")
}

fn data(server: &Server) -> String {
    server.cmd(&["GET", DATA]).text()
}

#[track_caller]
fn end(server: &Server, data: &str) {
    release(&mut server.client(), LOCK, "b");
    assert_eq!(server.cmd(&["DEL", data]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// A write by a function or by a script that checks the lock.
fn assert_checked(write: impl Fn(&mut Client, &str, &str) -> Value) {
    for how_it_ends in ENDS {
        let server = server_with("guarded.lua");
        let [mut a, mut b] = [server.client(), server.client()];
        acquire(&mut a, LOCK, "a");
        assert_eq!(write(&mut a, "a", "1"), "OK");
        assert!(write(&mut b, "b", "2").err_text().starts_with("NOTHELD "), "b does not hold the lock yet");
        pass_to_b(&server, how_it_ends);
        assert!(write(&mut a, "a", "3").err_text().starts_with("NOTHELD "), "a lost the lock by {how_it_ends}");
        assert_eq!(data(&server), "1");
        assert_eq!(write(&mut b, "b", "4"), "OK");
        assert!(write(&mut a, "a", "5").err_text().starts_with("NOTHELD "));
        assert_eq!(data(&server), "4");
        end(&server, DATA);
    }
}

#[test]
fn function_that_checks_the_lock_rejects_a_holder_that_lost_it() {
    assert_checked(|client, owner, value| client.cmd(&["FCALL", "set_if_held", "2", LOCK, DATA, owner, value]));
}

#[test]
fn script_that_checks_the_lock_rejects_a_holder_that_lost_it() {
    assert_checked(|client, owner, value| {
        client.cmd(&["EVAL", file("set_if_held.lua"), "2", LOCK, DATA, owner, value])
    });
}

/// Nobody else holds the lock yet.
#[test]
fn function_that_checks_the_lock_rejects_an_owner_whose_lease_ran_out_before_the_server_acted_on_it() {
    let server = server_with("guarded.lua");
    let mut a = server.client();
    acquire(&mut a, LOCK, "a");
    // The lease runs out in the middle of one transaction: no timer can ring there.
    assert_eq!(a.cmd(&["MULTI"]), "OK");
    a.cmd(&["LOCK.EXTEND", LOCK, "a", "PX", "20"]);
    let wait = "repeat until not redis.call('LOCK.CHECK', KEYS[1], 'a')";
    a.cmd(&["EVAL", wait, "1", LOCK]);
    a.cmd(&["FCALL", "set_if_held", "2", LOCK, DATA, "a", "1"]);
    let answers = a.cmd(&["EXEC"]);
    assert!(answers.array()[2].err_text().starts_with("NOTHELD "), "{answers:?}");
    assert_eq!(server.cmd(&["EXISTS", DATA]), 0);
    until("the lease ends", || server.cmd(&["EXISTS", LOCK]) == 0);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn watched_lock_rejects_the_transaction_of_a_holder_that_lost_it() {
    for how_it_ends in ENDS {
        let server = Server::start();
        let [mut a, mut b] = [server.client(), server.client()];
        let watch = |client: &mut Client, owner: &str| {
            assert_eq!(client.cmd(&["WATCH", LOCK]), "OK");
            client.cmd(&["LOCK.CHECK", LOCK, owner])
        };
        let write = |value: &str| format!("SET {DATA} {value}");
        acquire(&mut a, LOCK, "a");
        assert_eq!(watch(&mut a, "a").array().len(), 2);
        assert_eq!(exec(&mut a, &[&write("1")]), ["OK"]);

        // It loses the lock between the check and the transaction.
        assert_eq!(watch(&mut a, "a").array().len(), 2);
        pass_to_b(&server, how_it_ends);
        assert_eq!(a.cmd(&["MULTI"]), "OK");
        assert_eq!(a.cmd(&["SET", DATA, "2"]), "QUEUED");
        assert_eq!(a.cmd(&["EXEC"]), Value::NullArray, "a lost the lock by {how_it_ends}");
        assert_eq!(data(&server), "1");

        // It lost the lock before that, and is told so.
        assert_eq!(watch(&mut a, "a"), Value::NullBulk);
        assert_eq!(a.cmd(&["UNWATCH"]), "OK");
        assert_eq!(watch(&mut b, "b").array().len(), 2);
        assert_eq!(exec(&mut b, &[&write("3")]), ["OK"]);
        assert_eq!(data(&server), "3");
        end(&server, DATA);
    }
}

/// The data is on a server that knows no locks.
#[test]
fn fence_beside_the_data_rejects_a_holder_once_a_later_one_has_written() {
    for how_it_ends in ENDS {
        let locks = Server::start();
        let store = Server::builder().without_module().start();
        store.cmd(&["FUNCTION", "LOAD", file("fenced.lua")]).text();
        let write = |fence: i64, value: &[&str]| {
            let fence = fence.to_string();
            store.cmd(&[&["FCALL", "hset_if_not_older", "1", "order", &fence], value].concat())
        };
        let state = || store.cmd(&["HGET", "order", "state"]).text();
        let first = acquire(&mut locks.client(), LOCK, "a");
        for value in ["1", "2"] {
            write(first, &["state", value]).int();
            assert_eq!(state(), value, "one holder writes more than once");
        }
        let second = pass_to_b(&locks, how_it_ends);
        write(first, &["state", "3"]).int();
        assert_eq!(state(), "3", "the gap: `b` has not written yet");
        assert_eq!(write(second, &[]), 0, "`b` writes its fence, and then reads");
        assert!(write(first, &["state", "4"]).err_text().starts_with("STALE "), "a lost the lock by {how_it_ends}");
        assert_eq!(state(), "3");
        write(second, &["state", "5"]).int();
        assert!(write(first, &["state", "6"]).err_text().starts_with("STALE "));
        assert!(write(second - 1, &["state", "6"]).err_text().starts_with("STALE "), "numbers are compared exactly");
        assert_eq!((state(), store.cmd(&["HGET", "order", "fence"]).text()), ("5".to_owned(), second.to_string()));
        release(&mut locks.client(), LOCK, "b");
        locks.assert_no_keys();
        locks.assert_clean();
    }
}

/// The fence outlives the lock, and even the data of the server that grants.
#[test]
fn fence_beside_the_data_rejects_a_holder_of_before_a_restart_without_data() {
    let server = Server::start();
    let store = Server::builder().without_module().start();
    store.cmd(&["FUNCTION", "LOAD", file("fenced.lua")]).text();
    let write = |fence: i64, value: &str| {
        store.cmd(&["FCALL", "hset_if_not_older", "1", "order", &fence.to_string(), "state", value])
    };
    let first = acquire(&mut server.client(), LOCK, "a");
    server.kill9();
    server.restart();
    let second = acquire(&mut server.client(), LOCK, "b");
    assert_eq!(write(second, "1"), 2);
    assert!(write(first, "2").err_text().starts_with("STALE "));
    release(&mut server.client(), LOCK, "b");
    server.assert_no_keys();
    server.assert_clean();
}
