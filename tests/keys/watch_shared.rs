//! What WATCH and CLIENT TRACKING see of a lock that several hold (traps 40, 41 and 51 with shared holders).

use support::{aof_commands, args, said, say, until, wait, Server, Value};

/// What a transaction that watches `k`, and a client that tracks it, see of `act`: whether EXEC is aborted, and whether the
/// tracker is told.
#[track_caller]
fn seen(server: &Server, act: impl FnOnce()) -> (bool, bool) {
    let (mut watcher, mut tracker) = (server.client(), server.client());
    tracker.resp3();
    assert_eq!(tracker.cmd(&["CLIENT", "TRACKING", "ON"]), "OK");
    tracker.cmd(&["LOCK.CHECK", "k", "whoever"]);
    assert_eq!(watcher.cmd(&["WATCH", "k"]), "OK");
    act();
    assert_eq!(watcher.cmd(&["MULTI"]), "OK");
    assert_eq!(watcher.cmd(&["PING"]), "QUEUED");
    (watcher.cmd(&["EXEC"]).is_nil(), !tracker.pushes().is_empty())
}

/// Traps 41 and 51: nothing that leaves every hold where it is.
#[test]
fn refusals_waiters_and_extensions_beside_shared_holders_are_not_seen() {
    let server = Server::start();
    for command in ["LOCK.ACQUIRE k a SHARED LIMIT 2", "LOCK.ACQUIRE k b SHARED"] {
        say(&server, command).int();
    }
    for command in [
        "LOCK.ACQUIRE k c",
        "LOCK.ACQUIRE k c SHARED",
        "LOCK.ACQUIRE k c SHARED BLOCK 5",
        "LOCK.ACQUIRE k a",
        "LOCK.ACQUIRE k a SHARED LIMIT 9 PX 90000",
        "LOCK.ACQUIRE k b SHARED",
        "LOCK.EXTEND k a PX 80000",
        "LOCK.EXTEND k c",
        "LOCK.RELEASE k c",
        "LOCK.RELEASE k a FENCE 1",
        "LOCK.RELEASE k a DOWNGRADE",
        "LOCK.CHECK k a",
        "LOCK.INFO k",
    ] {
        let quiet = seen(&server, || {
            say(&server, command);
        });
        assert_eq!(quiet, (false, false), "{command}");
    }
    let mut w = None;
    assert_eq!(
        seen(&server, || w = Some(wait(&server, "LOCK.ACQUIRE k w BLOCK 0"))),
        (false, false),
        "a waiter joined"
    );
    let left = seen(&server, || {
        w.take();
        server.until_blocked(0);
    });
    assert_eq!(left, (false, false), "a waiter left");
    for owner in ["a", "b"] {
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner}")), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Traps 41 and 51: everything that makes or ends a hold, also where others go on beside it.
#[test]
fn grants_and_ends_beside_other_shared_holders_are_seen() {
    let server = Server::start();
    let sees = |what: &str, act: &dyn Fn()| assert_eq!(seen(&server, act), (true, true), "{what}");
    sees("the first grant", &|| {
        say(&server, "LOCK.ACQUIRE k a SHARED").int();
    });
    sees("a grant beside it", &|| {
        say(&server, "LOCK.ACQUIRE k b SHARED LIMIT 3").int();
    });
    say(&server, "LOCK.ACQUIRE k c SHARED").int();
    sees("the end of one lease of three", &|| {
        assert_eq!(say(&server, "LOCK.EXTEND k c PX 20"), 1);
        until("it is over", || say(&server, "LOCK.INFO k").get("holders-count") == 2);
        // LOCK.INFO leaves it out at once; the end is acted on when somebody asks, at the latest.
        assert_eq!(say(&server, "LOCK.RELEASE k c"), 0);
    });
    say(&server, "LOCK.ACQUIRE k c SHARED").int();
    let mut d = wait(&server, "LOCK.ACQUIRE k d SHARED BLOCK 0");
    sees("a hand-off of one permit", &|| assert_eq!(say(&server, "LOCK.RELEASE k c"), 1));
    d.read().int();
    sees("a release beside others", &|| assert_eq!(say(&server, "LOCK.RELEASE k d"), 1));
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    sees("the last release", &|| assert_eq!(say(&server, "LOCK.RELEASE k a"), 1));
    say(&server, "LOCK.ACQUIRE k a").int();
    sees("a downgrade", &|| assert_eq!(say(&server, "LOCK.RELEASE k a DOWNGRADE"), 1));
    sees("an operator", &|| assert_eq!(say(&server, "DEL k"), 1));
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 40: shared holds that come and go, the key with the last of them, are no operator's doing: whoever takes the lock
/// in the same turn keeps it, and nothing but each change is recorded.
#[test]
fn shared_lock_taken_again_right_after_its_last_release_stays_held() {
    let server = Server::builder().aof().start();
    let mut client = server.client();
    let mut commands = Vec::new();
    for round in 0..20 {
        let owners = [format!("a{round}"), format!("b{round}")];
        for owner in &owners {
            commands.push(args!["LOCK.ACQUIRE", "k", owner, "SHARED", "LIMIT", 2, "PX", 600_000].to_vec());
        }
        for owner in &owners {
            commands.push(args!["LOCK.RELEASE", "k", owner].to_vec());
        }
    }
    commands.truncate(commands.len() - 2);
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    assert!(client.pipeline(&commands).iter().all(|reply| reply.int() > 0));

    // Whatever a spurious note set off would have happened by the time this wait is over.
    assert_eq!(say(&server, "LOCK.ACQUIRE k other SHARED BLOCK 20"), Value::NullBulk);
    assert_eq!(say(&server, "LOCK.INFO k").get("holders-count"), 2);
    let of_key = aof_commands(&server).into_iter().filter(|command| command.get(1).is_some_and(|key| key == b"k"));
    let of_key: Vec<String> = of_key.map(|command| said(&command)).collect();
    assert_eq!(of_key.len(), commands.len(), "{of_key:?}");
    for owner in ["a19", "b19"] {
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner}")), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}
