//! Locks are data: what was answered is there after a restart, however the server ended, with the same fence and what
//! is left of the lease; and fences rise over every restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{
    acquire, aof_bytes, args, assert_same, digest, persistence_modes, release, restart_keeping, until, until_synced,
    waiter, waiter_in, Client, Server,
};

/// The most that RAISE may ask for now: 60 s ahead of the clock.
fn raise_max() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() + 60_000_000
}

/// Takes and frees `k`, raising its fence as far as is allowed, so that the next one has the most to pass. Panics
/// unless both numbers are above every earlier one.
#[track_caller]
fn draw(server: &Server, last: &mut i64, when: &str) {
    let mut client = server.client();
    let fence = acquire(&mut client, "k", "a");
    assert!(fence > *last, "{when}: {fence} is not above {last}");
    let raised = raise_max().to_string();
    assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "a", "RAISE", &raised]), 1);
    *last = fence.max(raised.parse().unwrap());
    assert_eq!(client.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", *last]), 1);
}

/// Trap 33: every new fence of a key is above all before it, whatever happens to the key, the data and the server.
#[test]
fn fences_rise_over_every_removal_and_restart() {
    for (mode, builder) in persistence_modes() {
        let server = builder.start();
        let mut last = 0;
        for round in 0..2 {
            draw(&server, &mut last, "again");
            let mut client = server.client();
            for removal in [&["DEL", "k"][..], &["FLUSHALL"], &["FLUSHDB", "ASYNC"]] {
                let fence = client.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
                assert!(fence > last);
                last = fence;
                client.cmd(removal);
                draw(&server, &mut last, removal[0]);
            }
            if round == 1 && mode != "RDB" {
                server.rewrite_aof();
            }
            restart_keeping(&server, mode);
            draw(&server, &mut last, mode);
            server.kill9();
            server.restart();
            draw(&server, &mut last, "a crash");
            assert_eq!(server.cmd(&["DEBUG", "RELOAD"]), "OK");
            draw(&server, &mut last, "a reload");
        }
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Trap 33: also when nothing at all was kept.
#[test]
fn fences_rise_over_restarts_without_data() {
    let server = Server::start();
    let mut last = 0;
    for _ in 0..4 {
        draw(&server, &mut last, "a start without data");
        server.kill9();
        server.restart();
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 33: also on a promoted replica, and on the old primary that follows it.
#[test]
fn fences_rise_over_failovers() {
    let one = Server::start();
    let other = Server::builder().replica_of(&one).start();
    until_synced(&one, &other);
    let mut last = 0;
    draw(&one, &mut last, "the first primary");
    for (old, new) in [(&one, &other), (&other, &one)] {
        until_synced(old, new);
        assert_eq!(new.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
        draw(new, &mut last, "after a promotion");
        assert_eq!(old.cmd(&args!["REPLICAOF", "127.0.0.1", new.port()]), "OK");
        assert_same(new, old);
    }
    one.assert_no_keys();
    one.assert_clean();
}

/// Trap 33: also when the promoted replica never heard of the last grants.
#[test]
fn fences_rise_over_a_failover_that_lost_the_last_grants() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut last = 0;
    draw(&primary, &mut last, "before");
    until_synced(&primary, &replica);
    replica.sigstop();
    // Nothing of what follows is sent to it.
    assert_eq!(primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]), 1);
    for _ in 0..100 {
        draw(&primary, &mut last, "lost");
    }
    primary.kill9();
    replica.sigcont();
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    draw(&replica, &mut last, "after the promotion");
    replica.assert_no_keys();
    replica.assert_clean();
}

/// Kill -9 with `appendfsync always`: what was answered was kept. The holder still holds with the same fence and what
/// is left of its lease, the waiters were disconnected, and nothing is stuck.
#[test]
fn killed_server_comes_back_with_holders_fences_and_remaining_leases() {
    const LEASE: Duration = Duration::from_millis(4000);
    let server = Server::builder().aof().start();
    let mut client = server.client();
    let fence = acquire(&mut client, "long", "a");
    let begun = Instant::now();
    client.cmd(&args!["LOCK.ACQUIRE", "short", "a", "PX", LEASE.as_millis().to_string()]).int();
    client.cmd(&["LOCK.ACQUIRE", "freed", "a"]).int();
    release(&mut client, "freed", "a");
    client.cmd(&["LOCK.ACQUIRE", "handed", "a"]).int();
    let mut b = waiter(&server, "handed", "b");
    release(&mut client, "handed", "a");
    let handed = b.read().int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "long", "b", "BLOCK", "0"]);
    let data = digest(&server);
    server.kill9();
    b.expect_closed();

    until("a part of the lease has passed", || begun.elapsed() >= LEASE * 5 / 8);
    server.restart();
    let restarted = Instant::now();
    let mut client = server.client();
    let granted = client.cmd(&["LOCK.ACQUIRE", "short", "b", "PX", "600000", "BLOCK", "0"]).int();
    assert!(begun.elapsed() >= LEASE, "the lease must not end early");
    assert!(restarted.elapsed() < LEASE, "the lease must not start anew");
    assert!(granted > handed);
    release(&mut client, "short", "b");
    assert_ne!(digest(&server), data);

    assert_eq!(client.cmd(&args!["LOCK.EXTEND", "long", "a", "FENCE", fence]), 1);
    assert_eq!(client.cmd(&args!["LOCK.EXTEND", "handed", "b", "FENCE", handed]), 1);
    client.cmd(&["LOCK.ACQUIRE", "freed", "b"]).int();
    for (key, owner) in [("freed", "b"), ("long", "a"), ("handed", "b")] {
        release(&mut client, key, owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 34: the end of a lease is a moment, not a length. One that passed while the server was down left a free lock,
/// for the first waiter as for the one who only looks.
#[test]
fn lease_expires_while_the_server_is_down() {
    for (mode, builder) in persistence_modes() {
        let server = builder.start();
        let mut client = server.client();
        for key in ["asked", "waited", "left-alone"] {
            client.cmd(&["LOCK.ACQUIRE", key, "a", "PX", "1500"]).int();
        }
        let begun = Instant::now();
        match mode {
            "RDB" => server.shutdown_saving(),
            _ => server.shutdown(),
        }
        until("the leases have run out", || begun.elapsed() > Duration::from_millis(1500));
        server.restart();
        let restarted = Instant::now();
        let mut client = server.client();
        client.cmd(&["LOCK.ACQUIRE", "asked", "b"]).int();
        client.cmd(&["LOCK.ACQUIRE", "waited", "b", "BLOCK", "0"]).int();
        until("the other one is gone too", || server.cmd(&["DBSIZE"]) == 2);
        assert!(restarted.elapsed() < Duration::from_millis(1500), "{mode}: the leases started anew");
        for key in ["asked", "waited"] {
            release(&mut client, key, "b");
        }
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Locks in several databases, free ones, handed-over ones: the same after a restart, with binary names.
fn make_locks(server: &Server) -> i64 {
    let mut client = server.client();
    for database in [0, 3] {
        client.select(database);
        let (key, owner) = (b"\0\r\n\xff", [255; 1024]);
        client.cmd(&args!["LOCK.ACQUIRE", key, owner, "PX", 600_000]).int();
        client.cmd(&args!["LOCK.ACQUIRE", "", "a", "PX", 600_000]).int();
        client.cmd(&args!["SET", "text", "x"]);
    }
    client.cmd(&["LOCK.ACQUIRE", "handed", "a"]).int();
    let mut b = waiter_in(server, 3, "handed", "b");
    release(&mut client, "handed", "a");
    b.read().int();
    let last = client.cmd(&["LOCK.ACQUIRE", "freed", "a"]).int();
    release(&mut client, "freed", "a");
    last
}

#[track_caller]
fn free_locks(client: &mut Client) {
    for database in [0, 3] {
        client.select(database);
        assert_eq!(client.cmd(&args!["LOCK.RELEASE", b"\0\r\n\xff", [255; 1024]]), 1);
        release(client, "", "a");
        assert_eq!(client.cmd(&["DEL", "text"]), 1);
    }
    release(client, "handed", "b");
}

/// Locks are the same after a restart from RDB and from every form of AOF: as it was written, rewritten with an RDB
/// base, rewritten as commands, and both twice.
#[test]
fn locks_come_back_from_every_form_of_storage() {
    for (mode, builder) in persistence_modes() {
        for rewrites in 0..3 {
            let server = builder.clone().start();
            let last = make_locks(&server);
            for _ in 0..rewrites {
                match mode {
                    "RDB" => assert_eq!(server.cmd(&["DEBUG", "RELOAD"]), "OK"),
                    _ => server.rewrite_aof(),
                }
            }
            let data = digest(&server);
            restart_keeping(&server, mode);
            assert_eq!(digest(&server), data, "{mode}, {rewrites} rewrites");
            let mut client = server.client();
            assert!(client.cmd(&["LOCK.ACQUIRE", "freed", "b"]).int() > last);
            release(&mut client, "freed", "b");
            free_locks(&mut client);
            server.assert_no_keys();
            server.assert_clean();
        }
    }
}

/// What an AOF rewrite leaves behind holds no request, only what was decided.
#[test]
fn rewritten_aof_holds_no_request() {
    let server = Server::builder().aof().aof_preamble(false).start();
    make_locks(&server);
    server.rewrite_aof();
    let aof = String::from_utf8_lossy(&aof_bytes(&server)).to_uppercase();
    assert!(aof.contains("LOCK.__APPLY"));
    for request in ["LOCK.ACQUIRE", "LOCK.RELEASE", "LOCK.EXTEND"] {
        assert!(!aof.contains(request), "the AOF holds {request}");
    }
    free_locks(&mut server.client());
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 55: the fence of a hold that was loaded may lie below numbers that were lost. Its owner gets a new one when it
/// first reacquires, and from then on the old one is rejected.
#[test]
fn owner_of_a_loaded_hold_gets_a_new_fence_once() {
    for (mode, builder) in persistence_modes() {
        let server = builder.start();
        let first = server.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
        assert_eq!(server.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]), first);
        restart_keeping(&server, mode);
        assert_inherited_hold_is_renewed(&server, first);
        // The new fence is as durable as a grant.
        let data = digest(&server);
        restart_keeping(&server, mode);
        assert_eq!(digest(&server), data, "{mode}");
        assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Trap 55: the same for a hold that a promoted replica took over; its own replica learns of it.
#[test]
fn owner_of_a_hold_taken_over_by_promotion_gets_a_new_fence_once() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let first = primary.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    until_synced(&primary, &replica);
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_inherited_hold_is_renewed(&replica, first);
    assert_eq!(primary.cmd(&args!["REPLICAOF", "127.0.0.1", replica.port()]), "OK");
    assert_same(&replica, &primary);
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    until_synced(&replica, &primary);
    primary.assert_no_keys();
    primary.assert_clean();
    replica.assert_clean();
}

#[track_caller]
fn assert_inherited_hold_is_renewed(server: &Server, first: i64) {
    // Nobody else gets it meanwhile, and an extension changes no fence.
    assert!(server.cmd(&["LOCK.ACQUIRE", "k", "b"]).is_nil());
    assert_eq!(server.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", first]), 1);
    let second = server.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    assert!(second > first, "{second} is not above {first}");
    assert_eq!(server.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]), second);
    assert_eq!(server.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", first]), 0);
    assert_eq!(server.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", second]), 1);
}
