//! Holds that end with a connection.

use super::*;

fn ended(key: Name) -> Did {
    Did::Published(show(key.0, key.1.as_bytes()), KeyEvent::Session)
}

/// The client that a hold is bound to, as LOCK.INFO reports it.
fn told_client(world: &World, key: Name) -> u64 {
    let holders = &world.fake.lock(key).unwrap().holders;
    world.engine.report(at(key), holders, None, world.fake.now).unwrap().holders[0].session
}

#[test]
fn a_connection_that_closes_ends_the_holds_bound_to_it_and_no_others() {
    let mut world = World::new();
    world.grants(ask(K, "a").on(7));
    world.grants(ask(K2, "a").on(8));
    world.grants(ask(OTHER_DB, "a"));
    assert_eq!((told_client(&world, K), told_client(&world, OTHER_DB)), (7, 0));
    let client = world.waits(ask(K, "b").block(0));
    world.did();
    world.hang_up_at_rest(7);
    assert_eq!(world.did(), [], "nothing in the midst of the event");
    world.settle();
    let done = world.did();
    assert!(done.contains(&ended(K)), "{done:?}");
    let told = |did: &Did| matches!(did, Did::Answered(told, Reply::Granted(..)) if *told == client);
    assert!(done.iter().any(told), "{done:?}");
    assert_eq!((world.holders(K2), world.holders(OTHER_DB)), (vec!["a".into()], vec!["a".into()]));
    assert_eq!(world.engine.stats().session_ends, 1);
    world.assert_at_rest();
    world.hang_up_at_rest(9);
    assert_eq!(world.settle(), world.engine.first_deadline(), "one that held nothing leaves no note");
}

#[test]
fn shared_holders_end_each_with_its_own_connection() {
    let mut world = World::new();
    for (who, connection) in [("a", 1), ("b", 2), ("c", 1), ("d", 3)] {
        world.grants(ask(K, who).shared().on(connection));
    }
    world.hang_up_at_rest(1);
    world.settle();
    assert_eq!(world.holders(K), ["b", "d"]);
    world.hang_up_at_rest(3);
    world.settle();
    assert_eq!(world.holders(K), ["b"]);
    world.assert_at_rest();
}

/// The last successful ACQUIRE decides.
#[test]
fn reacquiring_binds_a_hold_to_the_connection_that_asked_last() {
    let mut world = World::new();
    world.grants(ask(K, "a").on(1));
    world.grants(ask(K, "a").on(2));
    world.grants(ask(K2, "a").on(1));
    world.grants(ask(K2, "a"));
    world.hang_up_at_rest(1);
    world.settle();
    assert_eq!(world.engine.stats().session_ends, 0);
    assert_eq!((told_client(&world, K), told_client(&world, K2)), (2, 0));
    world.hang_up_at_rest(2);
    world.settle();
    assert_eq!((world.holders(K).len(), world.holders(K2).len()), (0, 1));
    world.assert_at_rest();
}

#[test]
fn what_ended_otherwise_is_not_ended_again() {
    type Act = fn(&mut World);
    let acts: [(&str, Act); 6] = [
        ("release", |world| done(world.release(K, "a"))),
        ("lease", |world| world.pass(1000)),
        ("removal", |world| done(world.unlink(K))),
        ("overwriting", |world| world.restore(K, "z", 10, 7_000_000)),
        ("flush", |world| done(world.flush(Scope::Db(0)))),
        ("flush of all", |world| done(world.flush(Scope::All))),
    ];
    for (name, act) in acts {
        let mut world = World::new();
        world.grants(ask(K, "a").on(1));
        act(&mut world);
        world.settle();
        if world.holders(K).is_empty() {
            world.grants(ask(K, "a"));
        }
        let held = world.hold(K);
        world.hang_up_at_rest(1);
        world.settle();
        assert_eq!(world.hold(K), held, "{name}: a hold of nobody's connection ended with one");
        assert_eq!(world.engine.stats().session_ends, 0, "{name}");
        world.assert_at_rest();
    }
}

/// Traps 14, 16: under whatever name and in whatever database. `early`: the connection closes before the notes are read.
#[test]
fn a_hold_that_moved_ends_with_its_connection_where_it_is_now() {
    type Act = fn(&mut World) -> Name;
    let acts: [(&str, Act); 7] = [
        ("rename", |world| {
            world.rename(K, K2);
            K2
        }),
        ("rename over a lock", |world| {
            world.grants(ask(K2, "z").on(9));
            world.rename(K, K2);
            K2
        }),
        ("move", |world| {
            world.rename(K, OTHER_DB);
            OTHER_DB
        }),
        ("swap", |world| {
            world.swap(0, 1);
            OTHER_DB
        }),
        ("rename and swap", |world| {
            world.rename(K, K2);
            world.swap(0, 1);
            (1, "k2")
        }),
        ("swap and rename", |world| {
            world.swap(0, 1);
            world.rename(OTHER_DB, (1, "k2"));
            (1, "k2")
        }),
        ("there and back", |world| {
            world.rename(K, K2);
            world.swap(0, 1);
            world.rename((1, "k2"), K);
            K
        }),
    ];
    for (name, act) in acts {
        for close in [0, 1, 2] {
            let mut world = World::new();
            world.grants(ask(K, "a").on(7));
            if close == 0 {
                world.hang_up(7);
            }
            let key = act(&mut world);
            if close == 1 {
                world.hang_up(7);
            }
            world.settle();
            if close == 2 {
                assert_eq!(world.holders(key), ["a"], "{name}");
                world.hang_up_at_rest(7);
                world.settle();
            }
            assert_eq!(world.holders(key), [""; 0], "{name}, closed at {close}");
            assert_eq!(world.engine.stats().session_ends, 1, "{name}, closed at {close}");
            world.assert_at_rest();
        }
    }
}

/// The note of a close is about the value: it goes where SWAPDB takes it, also when the server put it off.
#[test]
fn a_close_that_the_server_refused_follows_its_database() {
    for write_check in [WriteCheck::Halted, WriteCheck::Foreign] {
        let mut world = World::new();
        world.grants(ask(K, "a").on(7));
        world.grants(ask(K2, "a").on(7));
        world.fake.write_check = write_check;
        world.hang_up(7);
        world.run();
        world.swap(0, 1);
        world.fake.write_check = WriteCheck::Accepts;
        world.pass(20);
        world.settle();
        assert!(world.fake.data.is_empty(), "{write_check:?}");
        world.assert_at_rest();
    }
}

/// Traps 9, 19, 20: paused, loading, too few replicas.
#[test]
fn a_close_waits_until_the_server_may_write() {
    for (state, write_check) in [
        (ServerState::Halted, WriteCheck::Accepts),
        (ServerState::Loading, WriteCheck::Accepts),
        (ServerState::Writable, WriteCheck::Halted),
        (ServerState::Writable, WriteCheck::Foreign),
    ] {
        let mut world = World::new();
        world.grants(ask(K, "a").on(1));
        world.grants(ask(K2, "a").on(1));
        let client = world.waits(ask(K, "b").block(0).on(2));
        world.did();
        (world.fake.state, world.fake.write_check) = (state, write_check);
        world.hang_up(1);
        for _ in 0..3 {
            let next = world.settle();
            assert!(next.is_some_and(|next| next <= world.fake.now.steady + Millis(20)), "{state:?}: {next:?}");
            world.pass(20);
        }
        assert_eq!(world.did(), [], "{state:?} {write_check:?}");
        (world.fake.state, world.fake.write_check) = (ServerState::Writable, WriteCheck::Accepts);
        world.settle();
        assert_eq!(world.granted(), [client], "{state:?} {write_check:?}");
        assert_eq!(world.hold(K2), None);
        world.assert_at_rest();
    }
}

/// Trap 22 in memory: after a change of role the lease alone ends a hold, also if the connection had closed before.
#[test]
fn a_change_of_role_leaves_holds_to_their_leases() {
    let closes = ["before", "put off", "while a replica", "after"];
    // The timer may not have rung before the next change of role.
    for (close, rings) in closes.into_iter().flat_map(|close| [(close, true), (close, false)]) {
        let mut world = World::new();
        world.grants(ask(K, "a").lease(500).on(7));
        if close == "put off" {
            world.fake.write_check = WriteCheck::Halted;
            world.hang_up(7);
            world.run();
            world.fake.write_check = WriteCheck::Accepts;
        }
        if close == "before" {
            world.hang_up(7);
        }
        world.change_role(ServerState::Replica);
        if close == "while a replica" {
            world.hang_up(7);
        }
        if rings {
            world.settle();
        }
        world.change_role(ServerState::Writable);
        world.pass(20);
        world.settle();
        if close == "after" {
            world.hang_up(7);
        }
        // What moves is looked at anew.
        world.rename(K, K2);
        world.settle();
        assert_eq!(world.holders(K2), ["a"], "{close}");
        assert_eq!(told_client(&world, K2), 0, "{close}");
        world.pass(500);
        world.settle();
        assert_eq!(world.hold(K2), None, "{close}");
        assert_eq!(world.engine.stats().session_ends, 0, "{close}");
    }
}

/// Demoted without a tick of the timer in between, or with one: what was noted of a connection is dropped.
#[test]
fn a_replica_drops_what_it_noted_of_connections() {
    let mut world = World::new();
    world.grants(ask(K, "a").on(7));
    world.hang_up(7);
    world.fake.state = ServerState::Replica;
    world.run();
    world.fake.state = ServerState::Writable;
    world.settle();
    assert_eq!(world.holders(K), ["a"]);
}

#[test]
fn after_a_change_of_role_a_hold_is_bound_to_a_connection_again_when_reacquired() {
    let mut world = World::new();
    world.grants(ask(K, "a").on(7));
    world.change_role(ServerState::Replica);
    world.change_role(ServerState::Writable);
    world.grants(ask(K, "a").on(7));
    world.assert_sessions();
    assert_eq!(told_client(&world, K), 7);
    world.hang_up_at_rest(7);
    world.settle();
    assert_eq!(world.hold(K), None);
}

/// A waiter's connection closes, and it is granted before it leaves the queue. Its answer cannot be delivered.
#[test]
fn a_grant_to_a_connection_that_has_closed_goes_to_the_next_one() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    world.waits(ask(K, "a").on(7).block(0));
    let next = world.waits(ask(K, "b").block(0));
    world.hang_up(7);
    world.did();
    world.release(K, "x").unwrap();
    let answers = world.answers();
    world.settle();
    assert_eq!(world.holders(K), ["a"], "what becomes of the answer decides");
    world.lose(K, &answers[0].1);
    world.settle();
    assert_eq!(world.granted(), [next]);
    assert_eq!(world.engine.stats().undelivered_grants, 1);
    world.assert_at_rest();
}

/// Two requests of one owner: the hold is bound to the later one, whose connection has closed. The earlier one was answered.
#[test]
fn a_hold_bound_to_a_connection_that_closed_before_the_grant_ends_at_the_next_tick() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    world.waits(ask(K, "a").on(7).block(0));
    let next = world.waits(ask(K, "b").block(0));
    world.did();
    world.hang_up(7);
    world.release(K, "x").unwrap();
    world.downgrade(K, "a").unwrap();
    assert!(world.engine.has_ready_work(), "somebody must see to it");
    world.did();
    world.settle();
    assert_eq!(world.granted(), [next]);
    assert_eq!(world.engine.stats().session_ends, 1);
    world.assert_at_rest();
}

#[test]
fn a_hold_raised_in_the_step_of_its_grant_is_bound_to_its_connection() {
    let mut world = World::new();
    world.grant(K, "x", 5);
    world.waits(ask(K, "a").on(7).block(0));
    world.pass(5);
    assert_eq!(world.raise(K, "a", 9_000_000), Ok(true));
    assert_eq!(world.hold(K), Some(("a".into(), 9_000_000)));
    world.hang_up_at_rest(7);
    world.settle();
    assert_eq!(world.hold(K), None);
}

#[test]
fn a_raised_fence_and_a_downgrade_leave_a_hold_with_its_connection() {
    let mut world = World::new();
    world.grants(ask(K, "a").on(7));
    world.raise(K, "a", 9_000_000).unwrap();
    world.downgrade(K, "a").unwrap();
    world.extend(K, "a", 5000).unwrap();
    world.hang_up_at_rest(7);
    world.settle();
    assert_eq!(world.hold(K), None);
    world.assert_at_rest();
}

/// An owner waited without SESSION where its hold with one came by SWAPDB. It spoke before the timer had looked: its wait
/// was answered, and the hold left its connection and ended (or got another name) in one step. The connection kept a note of
/// it for as long as it was open.
#[test]
fn a_connection_forgets_a_hold_that_left_it_in_the_step_that_ended_or_raised_it() {
    for is_released in [true, false] {
        let mut world = World::new();
        world.grants(ask(OTHER_DB, "a").shared().on(7));
        world.grant(K, "x", 100);
        let waiter = world.waits(ask(K, "a").shared().block(0));
        world.swap(0, 1);
        let held = if is_released { world.release(K, "a") } else { world.raise(K, "a", 9_000_000) };
        assert_eq!((held, world.granted()), (Ok(true), vec![waiter]));
        world.settle();
        world.hang_up_at_rest(7);
    }
}
