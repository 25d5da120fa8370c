//! SHARED LIMIT n WEIGHT w: holders take units, and a request is granted only while enough of them are free.

use support::{assert_all_over, holders, release_all, say, until_synced, wait, Server, Value};

/// LIMIT and WEIGHT.
type Share = (u32, u32);

/// Whether this owner is let in with this limit and weight.
#[track_caller]
fn enters(server: &Server, owner: &str, limit: u32, weight: u32) -> bool {
    say(server, &format!("LOCK.ACQUIRE k {owner} SHARED LIMIT {limit} WEIGHT {weight}")).opt_int().is_some()
}

#[test]
fn holders_take_no_more_units_than_the_smallest_limit() {
    let server = Server::start();
    // Who holds (limit, weight), who asks, and whether it gets in. Limit 0: without LIMIT, which takes one unit.
    let cases: [(&[Share], Share, bool); 14] = [
        (&[], (5, 5), true),
        (&[(5, 5)], (5, 1), false),
        (&[(5, 4)], (5, 1), true),
        (&[(5, 4)], (5, 2), false),
        (&[(5, 2), (5, 2)], (5, 1), true),
        (&[(5, 2), (5, 2)], (5, 2), false),
        (&[(5, 2)], (3, 1), true),
        (&[(5, 2)], (3, 2), false),
        (&[(3, 2)], (5, 2), false),
        (&[(0, 1), (5, 3)], (5, 1), true),
        (&[(0, 1), (5, 3)], (5, 2), false),
        (&[(5, 4)], (0, 1), true),
        (&[(5, 5)], (0, 1), false),
        (&[(1_000_000, 999_999)], (1_000_000, 1), true),
    ];
    let request = |owner: &str, (limit, weight): Share| match limit {
        0 => format!("LOCK.ACQUIRE k {owner} SHARED"),
        limit => format!("LOCK.ACQUIRE k {owner} SHARED LIMIT {limit} WEIGHT {weight}"),
    };
    for (held, asked, granted) in cases {
        let owners: Vec<String> = (0..held.len()).map(|number| format!("h{number}")).collect();
        for (owner, share) in owners.iter().zip(held) {
            say(&server, &request(owner, *share)).int();
        }
        assert_eq!(say(&server, &request("asker", asked)).opt_int().is_some(), granted, "{held:?} and {asked:?}");
        owners.iter().for_each(|owner| release_all(&server, &[owner]));
        assert_eq!(say(&server, "LOCK.RELEASE k asker"), i64::from(granted));
        server.assert_no_keys();
    }
    assert_all_over(&server);
}

#[test]
fn heavy_waiter_at_the_head_holds_back_those_behind_it() {
    let server = Server::start();
    assert!(enters(&server, "a", 4, 2) && enters(&server, "b", 4, 1));
    let mut heavy = wait(&server, "LOCK.ACQUIRE k heavy SHARED LIMIT 4 WEIGHT 3 BLOCK 0");
    let mut light = wait(&server, "LOCK.ACQUIRE k light SHARED LIMIT 4 BLOCK 0");
    // One unit is free, and nobody passes.
    assert!(!enters(&server, "newcomer", 4, 1));
    release_all(&server, &["b"]);
    server.assert_waiting(&mut heavy);
    server.assert_waiting(&mut light);
    release_all(&server, &["a"]);
    let first = heavy.read().int();
    assert!(light.read().int() > first);
    assert_eq!(holders(&server), ["heavy", "light"]);
    release_all(&server, &["heavy", "light"]);
    assert_all_over(&server);
}

#[test]
fn weight_in_force_stays_when_its_holder_reacquires_and_over_restarts_and_promotions() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    assert!(enters(&primary, "a", 5, 3));
    assert!(enters(&primary, "a", 5, 1), "a holder is answered at once");
    // More than a list holds, so that they are kept in trees.
    for owner in 0..20 {
        say(&primary, &format!("LOCK.ACQUIRE many o{owner} SHARED LIMIT 100 WEIGHT 4")).int();
    }
    until_synced(&primary, &replica);
    let assert_kept = |server: &Server| {
        let holder = say(server, "LOCK.INFO k").get("holders").array()[0].clone();
        assert_eq!((holder.get("limit").int(), holder.get("weight").int()), (5, 3));
    };
    assert_kept(&replica);
    for _ in 0..2 {
        primary.restart();
        assert_kept(&primary);
        assert!(!enters(&primary, "b", 5, 3) && enters(&primary, "b", 5, 2));
        release_all(&primary, &["b"]);
        let asks =
            |weight: u32| say(&primary, &format!("LOCK.ACQUIRE many x SHARED LIMIT 100 WEIGHT {weight}")).opt_int();
        assert!(asks(21).is_none() && asks(20).is_some());
        assert_eq!(say(&primary, "LOCK.RELEASE many x"), 1);
        primary.rewrite_aof();
    }
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    assert_kept(&replica);
    assert!(!enters(&replica, "b", 5, 3) && enters(&replica, "b", 5, 2));
}

#[test]
fn weight_out_of_its_range_or_place_is_refused_before_anything_happens() {
    let server = Server::start();
    for (options, expected) in [
        ("SHARED LIMIT 5 WEIGHT 0", "ERR WEIGHT must be a number from 1 to 5"),
        ("SHARED LIMIT 5 WEIGHT 6", "ERR WEIGHT must be a number from 1 to 5"),
        ("SHARED LIMIT 5 WEIGHT x", "ERR WEIGHT must be a number from 1 to 5"),
        ("SHARED WEIGHT 1", "ERR WEIGHT needs LIMIT"),
        ("WEIGHT 1", "ERR WEIGHT needs LIMIT"),
        ("SHARED LIMIT 5 WEIGHT 1 WEIGHT 1", "ERR WEIGHT is given twice"),
    ] {
        assert_eq!(say(&server, &format!("LOCK.ACQUIRE k a {options}")), Value::Error(expected.into()), "{options}");
    }
    assert_all_over(&server);
}
