//! Upgrade, mixed pairs and rollback between this module and an older one, as docs/design.md ("Versions of the stored form")
//! says. `tools/upgrade.sh` builds the older module and runs these tests with it.

use std::path::PathBuf;

use support::{digest, say, until, until_synced, Server, ServerBuilder};

/// The older module, whose stored form is version 1.
fn old() -> PathBuf {
    std::env::var_os("REDIS_LOCK_OLD_MODULE").expect("tools/upgrade.sh names the older module").into()
}

/// How a server keeps its data: a name, and the server.
type Keeping = (&'static str, fn() -> ServerBuilder);

const KEEPING: [Keeping; 3] = [
    ("RDB", Server::builder),
    ("AOF", || Server::builder().aof().aof_preamble(false)),
    ("AOF with an RDB preamble", || Server::builder().aof()),
];

/// Locks of every kind that version 1 knows.
fn fill(server: &Server) {
    say(server, "LOCK.ACQUIRE exclusive a PX 600000").int();
    for owner in ["a", "b", "c"] {
        say(server, &format!("LOCK.ACQUIRE shared {owner} PX 600000 SHARED")).int();
        say(server, &format!("LOCK.ACQUIRE counted {owner} PX 600000 SHARED LIMIT 3")).int();
    }
    say(server, "LOCK.ACQUIRE downgraded a PX 600000").int();
    assert_eq!(say(server, "LOCK.RELEASE downgraded a DOWNGRADE"), 1);
    assert_eq!(say(server, "LOCK.EXTEND exclusive a PX 500000"), 1);
}

/// A lock with each thing that only version 2 knows.
const NEW: [&str; 3] = [
    "LOCK.ACQUIRE new a PX 600000 MAX 600000",
    "LOCK.ACQUIRE new a PX 600000 DELAY 1000",
    "LOCK.ACQUIRE new a PX 600000 SHARED LIMIT 5 WEIGHT 2",
];

/// The data is kept over a restart with another module.
fn restart_with(server: &Server, keeping: &str, module: Option<PathBuf>) -> Result<(), String> {
    match keeping {
        "RDB" => server.shutdown_saving(),
        _ => server.shutdown(),
    }
    server.reconfigure(|builder| match module {
        Some(path) => builder.module(path),
        None => builder.module(support::module_path()),
    });
    server.try_restart()
}

#[test]
#[ignore = "needs an older module: tools/upgrade.sh"]
fn upgrade_and_rollback_keep_every_hold() {
    for (keeping, builder) in KEEPING {
        println!("{keeping}");
        let server = builder().module(old()).start();
        fill(&server);
        let before = digest(&server);
        restart_with(&server, keeping, None).unwrap();
        assert_eq!(digest(&server), before, "{keeping}: upgrade");
        // Locks taken together are locks like any others.
        say(&server, "LOCK.MACQUIRE 2 one two a PX 600000").array();
        say(&server, "LOCK.ACQUIRE new a PX 600000 MAX 600000 DELAY 1").int();
        assert_eq!(say(&server, "LOCK.RELEASE new a"), 1);
        if keeping != "RDB" {
            server.rewrite_aof();
        }
        let before = digest(&server);
        restart_with(&server, keeping, Some(old())).unwrap();
        assert_eq!(digest(&server), before, "{keeping}: rollback");
        let fence = say(&server, "LOCK.CHECK exclusive a").array()[0].int();
        assert_eq!(say(&server, "LOCK.RELEASE exclusive a"), 1);
        assert!(say(&server, "LOCK.ACQUIRE exclusive b").int() > fence, "{keeping}");
    }
}

#[test]
#[ignore = "needs an older module: tools/upgrade.sh"]
fn older_module_refuses_a_file_that_it_cannot_read_and_skips_such_commands_of_an_aof() {
    for new in NEW {
        for (keeping, builder) in KEEPING {
            let server = builder().start();
            say(&server, new).int();
            let is_rewritten = keeping == "AOF with an RDB preamble";
            if is_rewritten {
                server.rewrite_aof();
            }
            let started = restart_with(&server, keeping, Some(old()));
            if keeping == "AOF" {
                // The server ignores what a command of an AOF answers, so the lock is free there.
                started.unwrap();
                assert!(server.log().contains("unknown lock effect"), "{new}");
                assert!(say(&server, "LOCK.INFO new").is_nil(), "{new}");
                continue;
            }
            assert!(started.is_err(), "{keeping}, {new}: the older module lost something without a word");
            // Nothing is lost: the new module reads it.
            restart_with_new(&server);
            assert_eq!(say(&server, "LOCK.EXTEND new a"), 1, "{keeping}, {new}");
        }
    }
}

/// The server is down.
fn restart_with_new(server: &Server) {
    server.reconfigure(|builder| builder.module(support::module_path()));
    server.try_restart().unwrap();
}

#[test]
#[ignore = "needs an older module: tools/upgrade.sh"]
fn old_replica_of_a_new_primary_follows_all_that_version_1_knows() {
    let primary = Server::builder().start();
    let replica = Server::builder().module(old()).replica_of(&primary).start();
    until_synced(&primary, &replica);
    fill(&primary);
    say(&primary, "LOCK.MACQUIRE 2 one two a PX 600000").array();
    assert_eq!(say(&primary, "LOCK.MRELEASE 2 one two a"), 2);
    until_synced(&primary, &replica);
    assert_eq!(digest(&replica), digest(&primary));
    // An effect of version 2 is refused and logged, and the rest goes on.
    say(&primary, NEW[0]).int();
    say(&primary, "LOCK.ACQUIRE later a PX 600000").int();
    until_synced(&primary, &replica);
    assert!(replica.is_alive());
    until("the refusal is logged", || replica.log().contains("unknown lock effect"));
    assert!(say(&replica, "LOCK.INFO new").is_nil());
    assert_eq!(say(&replica, "LOCK.CHECK later a").array().len(), 2);
    assert_eq!(say(&primary, "LOCK.RELEASE new a"), 1);
    until_synced(&primary, &replica);
    assert_eq!(digest(&replica), digest(&primary));
    primary.assert_clean();
}

#[test]
#[ignore = "needs an older module: tools/upgrade.sh"]
fn new_replica_of_an_old_primary_takes_over() {
    let primary = Server::builder().module(old()).start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    fill(&primary);
    until_synced(&primary, &replica);
    assert_eq!(digest(&replica), digest(&primary));
    let fence = say(&primary, "LOCK.CHECK exclusive a").array()[0].int();
    primary.shutdown();
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    assert_eq!(say(&replica, "LOCK.RELEASE exclusive a"), 1);
    assert!(say(&replica, "LOCK.ACQUIRE exclusive b").int() > fence);
    replica.assert_clean();
}
