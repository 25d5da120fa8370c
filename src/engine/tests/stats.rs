//! The counters.

use super::*;

/// A counter and what it says.
type Count = (&'static str, u64);

/// Every counter by name, without those that are 0; the lengths of time apart.
fn counted(world: &World) -> Vec<Count> {
    let stats = world.engine.stats();
    let all = [
        ("grants_at_once", stats.grants_at_once),
        ("grants_after_waiting", stats.grants_after_waiting),
        ("refusals", stats.refusals),
        ("wait_timeouts", stats.wait_timeouts),
        ("waits_withdrawn", stats.waits_withdrawn),
        ("waits_abandoned", stats.waits_abandoned),
        ("waits_denied", stats.waits_denied),
        ("waits_redirected", stats.waits_redirected),
        ("releases", stats.releases),
        ("downgrades", stats.downgrades),
        ("extensions", stats.extensions),
        ("lease_ends", stats.lease_ends),
        ("session_ends", stats.session_ends),
        ("undelivered_grants", stats.undelivered_grants),
        ("deadlocks_refused", stats.deadlocks_refused),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// A lock that `x` holds, two clients that wait for it, and what each counter says beyond that.
fn story(act: impl FnOnce(&mut World, u64)) -> (World, Vec<Count>) {
    let mut world = World::new();
    world.grants(ask(K, "x").on(7));
    let client = world.waits(ask(K, "a").lease(50).block(100));
    world.did();
    act(&mut world, client);
    world.settle();
    let counts = counted(&world).into_iter().map(|(name, count)| (name, count - u64::from(name == "grants_at_once")));
    let counts = counts.filter(|(_, count)| *count > 0).collect();
    (world, counts)
}

#[test]
fn each_counter_counts_what_its_name_says() {
    type Act = fn(&mut World, u64);
    let after_waiting = ("grants_after_waiting", 1);
    let acts: [(&str, Act, &[Count]); 18] = [
        ("nothing", |_, _| {}, &[]),
        ("a grant", |world, _| done(world.grant(K2, "b", 5)), &[("grants_at_once", 1)]),
        ("reacquiring", |world, _| done(world.grant(K, "x", 5000)), &[]),
        ("a refusal", |world, _| assert_eq!(world.send(ask(K, "b")), Ok(Outcome::Busy)), &[("refusals", 1)]),
        ("a release", |world, _| done(world.release(K, "x")), &[after_waiting, ("releases", 1)]),
        ("of nothing", |world, _| done(world.release(K, "z")), &[]),
        (
            "a right that is lost",
            |world, _| done((world.deny(1, K), world.release(K, "x"))),
            &[("waits_denied", 1), ("releases", 1)],
        ),
        ("a withdrawal", |world, _| done(world.release(K, "a")), &[("waits_withdrawn", 1)]),
        ("a client that leaves", |world, client| done(world.engine.leave(client)), &[("waits_abandoned", 1)]),
        (
            "one that is gone",
            |world, client| done((world.engine.leave(client), world.engine.leave(client))),
            &[("waits_abandoned", 1)],
        ),
        ("a wait that runs out", |world, _| world.pass(100), &[("wait_timeouts", 1)]),
        ("a downgrade", |world, _| done(world.downgrade(K, "x")), &[("downgrades", 1)]),
        ("two downgrades", |world, _| done((world.downgrade(K, "x"), world.downgrade(K, "x"))), &[("downgrades", 1)]),
        ("an extension", |world, _| done(world.extend(K, "x", 50_000)), &[("extensions", 1)]),
        ("of nobody's hold", |world, _| done(world.extend(K, "a", 50_000)), &[]),
        ("a session's end", |world, _| world.hang_up(7), &[after_waiting, ("session_ends", 1)]),
        ("a removal", |world, _| done(world.unlink(K)), &[after_waiting]),
        ("a value of another type", |world, _| world.set(K), &[]),
    ];
    for (name, act, expected) in acts {
        let (_, counts) = story(act);
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn leases_that_end_are_counted_and_so_are_waits_that_ran_out_before_the_timer_came() {
    let (_, counts) = story(|world, _| {
        world.waits(ask(K, "b").block(0));
        world.pass(99);
        world.extend(K, "x", 1).unwrap();
        world.pass(1);
        // A command comes first: the wait of `a` has run out, the lease too.
        assert_eq!(world.send(ask(K, "c")), Ok(Outcome::Busy));
    });
    let expected =
        [("grants_after_waiting", 1), ("refusals", 1), ("wait_timeouts", 1), ("extensions", 1), ("lease_ends", 1)];
    assert_eq!(counts, expected);
}

#[test]
fn an_undelivered_grant_counts_as_granted_and_undelivered() {
    let (world, counts) = story(|world, _| {
        world.release(K, "x").unwrap();
        let answers = world.answers();
        world.lose(K, &answers[0].1);
    });
    assert_eq!(counts, [("grants_after_waiting", 1), ("releases", 1), ("undelivered_grants", 1)]);
    assert_eq!(world.engine.locks_held(), 0);
}

#[test]
fn two_requests_that_are_answered_with_one_hold_are_one_grant() {
    let (_, counts) = story(|world, _| {
        world.waits(ask(K, "a").block(0));
        world.release(K, "x").unwrap();
    });
    assert_eq!(counts, [("grants_after_waiting", 1), ("releases", 1)]);
}

/// One that is refused because of a limit, or of a cycle, was not found busy.
#[test]
fn an_error_is_not_counted_as_a_refusal() {
    let (_, counts) = story(|world, _| {
        world.set_to("max-waiters-total", 1);
        world.send(ask(K, "b").block(0)).unwrap();
        world.set_to("max-waiters-total", 100);
        world.grants(ask(K2, "b"));
        world.waits(ask(K2, "x").block(0));
        world.send(ask(K, "b").block(0)).unwrap();
    });
    assert_eq!(counts, [("grants_at_once", 1), ("deadlocks_refused", 1)]);
}

#[test]
fn what_a_replica_applies_is_not_counted() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    world.extend(K, "a", 200).unwrap();
    let effects = world.fake.effects.take();
    let mut replica = World::new();
    replica.fake.state = ServerState::Replica;
    for (_, effect) in effects {
        let news = crate::wire::decode_effect(&effect, replica.fake.now).unwrap();
        replica.engine.apply(at(K), &mut replica.fake.open(at(K)).unwrap(), news);
    }
    assert_eq!(counted(&replica), []);
    assert_eq!(replica.engine.locks_held(), 1);
}

#[test]
fn the_numbers_of_locks_and_waiters_are_reported_as_they_are() {
    let mut world = World::new();
    for who in ["a", "b", "c"] {
        world.grants(ask(K, who).shared());
    }
    world.grants(ask(K2, "a"));
    world.waits(ask(K, "d").block(0));
    world.waits(ask(K2, "d").block(5));
    assert_eq!((world.engine.locks_held(), world.engine.waiters()), (2, 2), "locks, not holds");
    assert_eq!(world.engine.stats().grants_at_once, 4);
    world.pass(5);
    world.settle();
    assert_eq!((world.engine.locks_held(), world.engine.waiters()), (2, 1));
    assert_eq!(world.flush(Scope::Db(1)), 0);
    assert_eq!(world.flush(Scope::All), 2, "for the counter of removals");
    assert_eq!(world.engine.locks_held(), 0);
}

#[test]
fn waits_and_holds_are_timed_from_their_beginning_to_their_end() {
    let mut world = World::new();
    world.grant(K, "x", 60_000);
    world.pass(10);
    world.waits(ask(K, "a").block(0));
    world.waits(ask(K, "late").block(20));
    world.pass(30);
    world.settle();
    world.release(K, "x").unwrap();
    let stats = world.engine.stats();
    assert_eq!((stats.wait.max_us(), stats.hold.max_us()), (30_000, 40_000), "the wait that ran out is none");
    world.pass(3);
    world.extend(K, "a", 5).unwrap();
    world.pass(5);
    world.settle();
    let stats = world.engine.stats();
    assert_eq!((stats.hold.percentile_us(50) / 1000, stats.hold.max_us()), (8, 40_000));
    assert_eq!((stats.wait.percentile_us(99), stats.wait.max_us()), (30_000, 30_000));
}
