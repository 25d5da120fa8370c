//! MAX and the setting `max-hold`: however often a hold is extended, it ends that long after its grant.

use support::{assert_all_over, mode_and_holders, run, say, until, until_synced, wait, Server, Value};

/// How many milliseconds are left of the owner's hold on `k`, as LOCK.CHECK says.
#[track_caller]
fn left(server: &Server, owner: &str) -> i64 {
    say(server, &format!("LOCK.CHECK k {owner}")).array()[1].int()
}

/// How many milliseconds are left until MAX ends the first hold on `k`, as LOCK.INFO says.
#[track_caller]
fn max_of_first(server: &Server) -> i64 {
    say(server, "LOCK.INFO k").get("holders").array()[0].get("max").int()
}

#[test]
fn extensions_and_repeated_requests_are_cut_down_to_max() {
    let server = Server::start();
    let fence = say(&server, "LOCK.ACQUIRE k a PX 500 MAX 100000").int();
    assert!((1..=500).contains(&left(&server, "a")));
    assert!((99_000..=100_000).contains(&max_of_first(&server)));
    for command in ["LOCK.EXTEND k a PX 600000", "LOCK.ACQUIRE k a PX 600000", "LOCK.ACQUIRE k a PX 600000 MAX 900000"]
    {
        let reply = say(&server, command).int();
        assert!(reply == 1 || reply == fence, "{command}: {reply}");
        assert!((50_000..=100_000).contains(&left(&server, "a")), "{command}");
        let max = max_of_first(&server);
        assert!(left(&server, "a") <= max, "{command}");
    }
    // What is left out repeats the length that the lease was last given: all that is left.
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 300"), 1);
    assert_eq!(say(&server, "LOCK.EXTEND k a"), 1);
    assert!(left(&server, "a") <= 300);
    assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
    assert_all_over(&server);
}

#[test]
fn hold_that_is_extended_all_the_time_ends_by_its_max() {
    let server = Server::start();
    for options in ["", " SHARED"] {
        let first = say(&server, &format!("LOCK.ACQUIRE k a PX 600000 MAX 300{options}")).int();
        assert!(left(&server, "a") <= 300, "also the lease that it began with");
        let mut b = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
        until("the hold has ended", || say(&server, "LOCK.EXTEND k a PX 600000") == 0);
        assert!(b.read().int() > first);
        assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    }
    assert_eq!(server.info_field("redislock", "redislock_lease_ends"), "2");
    assert_all_over(&server);
}

#[test]
fn setting_bounds_max_and_stands_in_for_it() {
    let server = Server::start();
    assert_eq!(say(&server, "CONFIG SET redislock.max-hold 50000"), "OK");
    for (options, most) in [("", 50_000), (" MAX 90000", 50_000), (" MAX 40000", 40_000), (" MAX 40000 SHARED", 40_000)]
    {
        say(&server, &format!("LOCK.ACQUIRE k a PX 600000{options}")).int();
        assert!((most - 10_000..=most).contains(&left(&server, "a")), "{options}: {}", left(&server, "a"));
        assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
    }
    // A waiter is given what the setting says when it asks.
    say(&server, "LOCK.ACQUIRE k a PX 600000").int();
    let mut b = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
    assert_eq!(say(&server, "CONFIG SET redislock.max-hold 0"), "OK");
    assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
    b.read().int();
    assert!((1..=50_000).contains(&left(&server, "b")));
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    // A hold that runs keeps what it was granted with.
    say(&server, "LOCK.ACQUIRE k a PX 600000").int();
    assert_eq!(say(&server, "CONFIG SET redislock.max-hold 1000"), "OK");
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 700000"), 1);
    assert!(left(&server, "a") > 600_000);
    assert_eq!(max_of_first(&server), 0);
    assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
    assert_all_over(&server);
}

#[test]
fn max_is_saved_and_replicated_and_outlives_a_downgrade() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    say(&primary, "LOCK.ACQUIRE k a PX 500 MAX 100000").int();
    assert_eq!(say(&primary, "LOCK.EXTEND k a PX 60000"), 1);
    assert_eq!(say(&primary, "LOCK.RELEASE k a DOWNGRADE"), 1);
    until_synced(&primary, &replica);
    assert!((50_000..=100_000).contains(&max_of_first(&replica)));
    for _ in 0..2 {
        // First the AOF is read, then what a rewrite made of it.
        primary.restart();
        assert_eq!(mode_and_holders(&primary), "shared a");
        assert_eq!(say(&primary, "LOCK.EXTEND k a PX 600000"), 1);
        assert!((50_000..=100_000).contains(&left(&primary, "a")));
        primary.rewrite_aof();
    }
    assert_eq!(say(&primary, "DEBUG RELOAD"), "OK");
    assert_eq!(say(&primary, "LOCK.EXTEND k a PX 600000"), 1);
    assert!((50_000..=100_000).contains(&left(&primary, "a")));
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    assert_eq!(say(&replica, "LOCK.EXTEND k a PX 600000"), 1);
    assert!((50_000..=100_000).contains(&left(&replica, "a")));
}

#[test]
fn max_out_of_its_range_is_refused_before_anything_happens() {
    let server = Server::start();
    let mut client = server.client();
    for value in ["0", "-1", "x", "31536000001"] {
        let reply = run(&mut client, &format!("LOCK.ACQUIRE k a MAX {value}"));
        assert_eq!(reply, Value::Error("ERR MAX must be a number of milliseconds from 1 to 31536000000".into()));
    }
    assert_all_over(&server);
}
