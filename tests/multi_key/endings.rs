//! Every way in which a wait for several locks can end, other than by its grant. In each the request leaves all queues, and
//! whoever stood behind it is served.

use std::time::Duration;

use support::{run, say, skip, until, wait, Client, Received, Server, Value};

use super::{assert_all_over, assert_holds, fences, holder};

/// How a wait ends.
struct End {
    name: &'static str,
    /// What is done.
    act: fn(&Server, &mut Client),
    /// What the client is told; `None` if it is gone.
    told: Option<Told>,
}

enum Told {
    Null,
    Error(&'static str),
}

const COMES_BY_RENAME: &str = "the owner comes to hold one of the locks shared, by RENAME";

const ENDS: [End; 11] = [
    End { name: "the wait times out", act: |_, _| {}, told: Some(Told::Null) },
    End {
        name: "LOCK.RELEASE of one of the locks by the owner",
        act: |server, _| assert_eq!(say(server, "LOCK.RELEASE c me"), 0),
        told: Some(Told::Null),
    },
    End {
        name: "LOCK.MRELEASE by the owner",
        act: |server, _| assert_eq!(say(server, "LOCK.MRELEASE 2 a b me"), 0),
        told: Some(Told::Null),
    },
    End {
        name: "the client is killed",
        act: |server, client| {
            let id = server.client_line(client).unwrap();
            let id = id.split([' ', '=']).nth(1).unwrap().to_owned();
            assert_eq!(say(server, &format!("CLIENT KILL ID {id}")), 1);
        },
        told: None,
    },
    End {
        name: "CLIENT UNBLOCK",
        act: |server, client| {
            let id = server.client_line(client).unwrap();
            let id = id.split([' ', '=']).nth(1).unwrap().to_owned();
            assert_eq!(say(server, &format!("CLIENT UNBLOCK {id}")), 1);
        },
        told: Some(Told::Null),
    },
    End {
        name: "a lock that is held is overwritten with another type",
        act: |server, _| assert_eq!(say(server, "SET a text"), "OK"),
        told: Some(Told::Error("WRONGTYPE ")),
    },
    End {
        // No server tells of that, so it is noticed when the others are ready.
        name: "a free key gets another type",
        act: |server, _| {
            assert_eq!(say(server, "SET b text"), "OK");
            assert_eq!(say(server, "LOCK.RELEASE a x"), 1);
        },
        told: Some(Told::Error("WRONGTYPE ")),
    },
    End {
        name: COMES_BY_RENAME,
        act: |server, _| {
            say(server, "LOCK.ACQUIRE d me PX 600000 SHARED").int();
            assert_eq!(say(server, "RENAME d b"), "OK");
        },
        told: Some(Told::Error("ERR this owner holds the lock shared")),
    },
    End {
        name: "the user loses the right to one of the keys",
        act: |server, _| {
            assert_eq!(say(server, "ACL SETUSER app resetkeys ~a ~c"), "OK");
            assert_eq!(say(server, "LOCK.RELEASE a x"), 1);
        },
        told: Some(Told::Error("NOPERM ")),
    },
    End {
        name: "no rule set of the user covers all keys any more",
        act: |server, _| {
            assert_eq!(say(server, "ACL SETUSER app resetkeys ~a (~b ~c +lock.macquire)"), "OK");
            assert_eq!(say(server, "LOCK.RELEASE a x"), 1);
        },
        told: Some(Told::Error("NOPERM ")),
    },
    End {
        name: "the server becomes a replica",
        act: |server, _| assert_eq!(say(server, "REPLICAOF 127.0.0.1 1"), "OK"),
        told: Some(Told::Error("UNBLOCKED ")),
    },
];

#[test]
fn every_end_of_a_wait_ends_it_in_all_queues() {
    for End { name, act, told } in ENDS {
        println!("{name}");
        let server = Server::start();
        if name == "CLIENT UNBLOCK" && !server.version().can_unblock_waiters() {
            skip("this server cannot unblock a module's client");
            continue;
        }
        if name == COMES_BY_RENAME && !server.hears_of_moved_keys() {
            skip("this server does not tell its modules which keys move");
            continue;
        }
        let rules = "ACL SETUSER app on >secret ~a ~b ~c &* -@all +lock.macquire +auth";
        assert_eq!(say(&server, rules), "OK");
        say(&server, "LOCK.ACQUIRE a x PX 600000").int();
        let mut client = server.client();
        run(&mut client, "AUTH app secret");
        let block = if name == "the wait times out" { 100 } else { 0 };
        let request = format!("LOCK.MACQUIRE 3 a b c me PX 600000 BLOCK {block}");
        client.send(&request.split(' ').collect::<Vec<_>>());
        if block == 0 {
            server.until_waiting(&client);
        }
        // On a server that becomes a replica nobody is served.
        let is_served = name != "the server becomes a replica";
        let mut behind = is_served.then(|| wait(&server, "LOCK.ACQUIRE c z PX 600000 BLOCK 0"));
        act(&server, &mut client);
        match told {
            None => client.expect_closed(),
            Some(Told::Null) => assert!(client.read().is_nil(), "{name}"),
            Some(Told::Error(text)) => match client.receive(Duration::from_secs(20)) {
                Received::Reply(Value::Error(said)) => assert!(said.starts_with(text), "{name}: {said}"),
                other => panic!("{name}: {other:?}"),
            },
        }
        if let Some(behind) = &mut behind {
            behind.read().int();
            assert_eq!(holder(&server, "c"), "z", "{name}");
        }
        until("nobody waits", || server.info_number("redislock", "redislock_waiters") == 0);
        for key in ["a", "b"] {
            assert_ne!(holder(&server, key), "z", "{name}");
            let waiters = say(&server, "LOCK.TOP");
            assert!(waiters.array().is_empty(), "{name}: {waiters:?}");
        }
        server.assert_clean();
    }
}

/// What operators do to one of the locks does not end the wait.
#[test]
fn operators_who_remove_or_move_a_lock_end_no_wait() {
    for act in ["DEL a", "UNLINK a", "FLUSHALL", "RENAME a d", "SET a 1 EX 1000|DEL a", "PEXPIRE a 1"] {
        println!("{act}");
        let server = Server::start();
        say(&server, "LOCK.ACQUIRE a x PX 600000").int();
        let mut waiting = wait(&server, "LOCK.MACQUIRE 2 a b me PX 600000 BLOCK 0");
        if let Some((first, then)) = act.split_once('|') {
            // In one transaction, so nobody sees the other type.
            let mut client = server.client();
            support::exec(&mut client, &[first, then]);
        } else {
            say(&server, act);
        }
        assert_eq!(fences(&waiting.read()).len(), 2, "{act}");
        assert_holds(&server, "a b", "me");
        assert_eq!(say(&server, "LOCK.MRELEASE 2 a b me"), 2);
        say(&server, "DEL d");
        assert_all_over(&server);
    }
}

/// A hold on one of the locks may end in every way; each makes the lock ready.
#[test]
fn each_end_of_the_hold_in_the_way_leads_to_the_grant() {
    let server = Server::start();
    for end in ["release", "lease", "session", "cooling"] {
        println!("{end}");
        let mut holder = server.client();
        let acquire = match end {
            "lease" => "LOCK.ACQUIRE b x PX 50",
            "session" => "LOCK.ACQUIRE b x PX 600000 SESSION",
            _ => "LOCK.ACQUIRE b x PX 600000",
        };
        run(&mut holder, acquire).int();
        let mut waiting = wait(&server, "LOCK.MACQUIRE 3 a b c me PX 600000 BLOCK 0");
        match end {
            "release" => assert_eq!(run(&mut holder, "LOCK.RELEASE b x"), 1),
            "cooling" => assert_eq!(run(&mut holder, "LOCK.RELEASE b x COOL 50"), 1),
            "session" => holder.close(),
            _ => {}
        }
        assert_eq!(fences(&waiting.read()).len(), 3, "{end}");
        assert_eq!(say(&server, "LOCK.MRELEASE 3 a b c me"), 3);
    }
    assert_all_over(&server);
}
