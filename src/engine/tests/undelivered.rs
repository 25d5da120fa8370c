//! Grants whose answers could not be delivered.

use super::*;

/// Releases `x`'s hold on [`K`] to the waiters, and returns their answers.
fn hand_off(world: &mut World) -> Vec<(u64, Reply)> {
    world.did();
    assert_eq!(world.release(K, "x"), Ok(true));
    world.answers()
}

fn session_of(world: &World, key: Name, who: &str) -> Option<u64> {
    let (_, _, hold) = world.fake.lock(key)?.holders.of(owner(who))?;
    hold.session.and_then(|session| world.engine.sessions.client(session))
}

/// Traps 4, 7, 49.
#[test]
fn an_undelivered_grant_goes_to_the_next_unless_its_owner_knows_of_it() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    for who in ["a", "a", "b", "c"] {
        world.wait(K, who, 100, Patience::Endless);
    }
    let answers = hand_off(&mut world);
    let [(1, Reply::Granted(hold, ..)), (2, Reply::Granted(same, ..))] = answers[..] else { panic!("{answers:?}") };
    assert_eq!(hold, same);
    world.lose(K, &answers[0].1);
    world.settle();
    assert_eq!(world.hold(K), Some(("a".into(), hold.fence.get())), "the second answer may still arrive");
    world.lose(K, &answers[1].1);
    world.settle();
    let later = world.answers();
    let [(3, Reply::Granted(next, ..))] = later[..] else { panic!("b was not granted") };
    assert!(next > hold);
    world.lose(K, &answers[0].1);
    world.settle();
    assert_eq!(world.hold(K).unwrap().0, "b", "an old grant takes nothing from a newer one");
    world.deliver(K, &later[0].1);
    world.lose(K, &later[0].1);
    world.settle();
    assert_eq!(world.hold(K), Some(("b".into(), next.fence.get())));
    world.assert_deadlines();
}

/// Trap 49.
#[test]
fn an_owner_that_extends_or_releases_knows_of_its_hold() {
    type Act = fn(&mut World) -> Result<bool, WrongType>;
    let acts: [(&str, Act); 3] = [
        ("extend", |world| world.extend(K, "a", 100)),
        ("downgrade", |world| world.downgrade(K, "a")),
        ("reacquire", |world| Ok(world.grant(K, "a", 100).get() > 0)),
    ];
    for (name, act) in acts {
        let mut world = World::new();
        world.grant(K, "x", 100);
        world.wait(K, "a", 100, Patience::Endless);
        let answers = hand_off(&mut world);
        assert_eq!(act(&mut world), Ok(true), "{name}");
        world.lose(K, &answers[0].1);
        world.settle();
        assert_eq!(world.hold(K).unwrap().0, "a", "{name}");
        assert_eq!(world.engine.stats().undelivered_grants, 0, "{name}");
        assert_eq!(world.engine.waited_for(), [], "{name}: a queue of nobody is kept");
    }
}

/// Two requests of one owner on two connections; one connection dies with its answer. The other one decides about the
/// session, whichever note is read first, and whether or not the server made the timer wait.
#[test]
fn the_answer_that_arrives_decides_about_the_session() {
    for (lost, write_check, early) in [0, 1]
        .into_iter()
        .flat_map(|lost| {
            [WriteCheck::Accepts, WriteCheck::Halted, WriteCheck::Foreign]
                .map(|write_check| [(lost, write_check, false), (lost, write_check, true)])
        })
        .flatten()
    {
        let case = format!("answer {lost} is lost, {write_check:?}, connection closed first: {early}");
        let mut world = World::new();
        world.grant(K, "x", 100);
        let connections = [11, 12];
        for connection in connections {
            world.waits(ask(K, "a").on(connection).block(0));
        }
        let answers = hand_off(&mut world);
        assert_eq!(session_of(&world, K, "a"), Some(12), "{case}: the last request decides");
        world.fake.write_check = write_check;
        if early {
            world.hang_up(connections[lost]);
            world.settle();
        }
        world.lose(K, &answers[lost].1);
        if !early {
            world.hang_up(connections[lost]);
        }
        world.settle();
        world.deliver(K, &answers[1 - lost].1);
        world.settle();
        world.fake.write_check = WriteCheck::Accepts;
        world.rest();
        assert_eq!(session_of(&world, K, "a"), Some(connections[1 - lost]), "{case}");
        world.assert_at_rest();
        world.hang_up_at_rest(connections[1 - lost]);
        world.settle();
        assert_eq!(world.hold(K), None, "{case}");
        world.assert_at_rest();
    }
}

/// Both connections die with their answers.
#[test]
fn a_grant_that_both_requests_missed_goes_to_the_next_one() {
    for write_check in [WriteCheck::Accepts, WriteCheck::Halted, WriteCheck::Foreign] {
        for order in [[0, 1], [1, 0]] {
            for closes_first in [true, false] {
                let mut world = World::new();
                world.grant(K, "x", 100);
                world.waits(ask(K, "a").on(11).block(0));
                world.waits(ask(K, "a").on(12).block(0));
                let next = world.waits(ask(K, "b").block(0));
                let answers = hand_off(&mut world);
                world.fake.write_check = write_check;
                for which in order {
                    if closes_first {
                        world.hang_up(11 + which as u64);
                    }
                    world.lose(K, &answers[which].1);
                    world.settle();
                    if !closes_first {
                        world.hang_up(11 + which as u64);
                    }
                }
                world.settle();
                world.fake.write_check = WriteCheck::Accepts;
                world.rest();
                assert_eq!(world.granted(), [next], "{write_check:?} {order:?} {closes_first}");
                let ends = (world.engine.stats().undelivered_grants, world.engine.stats().session_ends);
                assert!(ends == (1, 0) || (ends == (0, 1) && !closes_first), "{write_check:?} {order:?}: {ends:?}");
                world.assert_at_rest();
            }
        }
    }
}

/// One request asked for SESSION, the other for none.
#[test]
fn the_request_without_a_session_takes_the_hold_over_when_the_other_is_lost() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    world.waits(ask(K, "a").block(0));
    world.waits(ask(K, "a").on(12).block(0));
    let answers = hand_off(&mut world);
    world.deliver(K, &answers[0].1);
    world.hang_up(12);
    world.lose(K, &answers[1].1);
    world.settle();
    assert_eq!(world.hold(K).unwrap().0, "a");
    assert_eq!(world.engine.stats().session_ends, 0);
    world.assert_at_rest();
}

/// The one that arrived has closed since, as its client knew, when the other is found to be lost.
#[test]
fn a_hold_left_to_a_connection_that_has_closed_meanwhile_ends() {
    for halted in [false, true] {
        let mut world = World::new();
        world.grant(K, "x", 100);
        world.waits(ask(K, "a").on(11).block(0));
        world.waits(ask(K, "a").on(12).block(0));
        let answers = hand_off(&mut world);
        world.fake.write_check = if halted { WriteCheck::Halted } else { WriteCheck::Accepts };
        world.deliver(K, &answers[0].1);
        world.hang_up(11);
        world.settle();
        assert_eq!(world.hold(K).unwrap().0, "a", "the other answer may still arrive");
        world.hang_up(12);
        world.lose(K, &answers[1].1);
        world.settle();
        world.fake.write_check = WriteCheck::Accepts;
        world.rest();
        assert_eq!(world.hold(K), None);
        assert_eq!(world.engine.stats().session_ends, 1);
        world.assert_at_rest();
    }
}

/// The lost answer's hold has run out, and its other connection is alive: nothing of it is kept anywhere.
#[test]
fn a_lost_answer_with_a_hold_that_is_over_leaves_nothing_behind() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    world.waits(ask(K, "a").lease(5).on(11).block(0));
    world.waits(ask(K, "a").lease(5).on(12).block(0));
    let answers = hand_off(&mut world);
    world.pass(5);
    world.lose(K, &answers[1].1);
    world.settle();
    assert_eq!(world.hold(K), None);
    world.hang_up_at_rest(11);
    world.hang_up_at_rest(12);
}

/// A grant's answer is lost, and its owner changes the hold from elsewhere between two ticks of the timer, of which the first
/// came as far as the connection's close and the second reads the note.
#[test]
fn a_closed_connection_is_not_forgotten_when_its_owner_asks_before_the_note_is_read() {
    type Act = fn(&mut World) -> Result<bool, WrongType>;
    let acts: [Act; 2] = [|world| world.extend(K, "a", 60_000), |world| world.downgrade(K, "a")];
    for (others, act) in (0..32).flat_map(|others| acts.map(|act| (others, act))) {
        let mut world = World::new();
        world.grant(K, "x", 100);
        world.waits(ask(K, "a").lease(60_000).on(11).block(0));
        let answers = hand_off(&mut world);
        world.fake.write_check = WriteCheck::Halted;
        world.hang_up(11);
        world.lose(K, &answers[0].1);
        world.run();
        (world.fake.write_check, world.fake.cost_us) = (WriteCheck::Accepts, 200);
        for n in 0..others {
            // Work that comes before, and may fill the tick.
            world.inbox.changed.push(KeyRef { db: 3, name: format!("n{n}").as_bytes() }.to_id());
        }
        world.run();
        act(&mut world).unwrap();
        world.fake.cost_us = 0;
        world.settle();
        world.rest();
        assert_eq!(world.hold(K), None, "its connection has closed; {others} other keys");
        world.assert_at_rest();
    }
}

/// A demoted server keeps nothing of the answers that it could not deliver: the holds are its primary's now.
#[test]
fn a_replica_forgets_undelivered_grants() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    world.wait(K, "b", 500, Patience::Endless);
    let answers = hand_off(&mut world);
    let held = world.hold(K);
    world.change_role(ServerState::Replica);
    world.lose(K, &answers[0].1);
    world.settle();
    assert_eq!(world.hold(K), held);
    assert_eq!(world.engine.waited_for(), [], "a queue of nobody is kept");
}

/// A transaction may release a lock, kill the next in the queue, and take the lock elsewhere, all before anything is delivered.
#[test]
fn undelivered_hold_ends_wherever_its_lock_went() {
    type Act = fn(&mut World);
    let acts: [(&str, Name, Act); 6] = [
        ("RENAME", K2, |world| world.rename(K, K2)),
        ("RENAME twice", (0, "k9"), |world| {
            world.rename(K, K2);
            world.rename(K2, (0, "k9"));
        }),
        ("MOVE", (3, "k"), |world| world.rename(K, (3, "k"))),
        ("SWAPDB", (1, "k"), |world| world.swap(0, 1)),
        ("RENAME and SWAPDB", (1, K2.1), |world| {
            world.rename(K, K2);
            world.swap(0, 1);
        }),
        ("MOVE and SWAPDB", (1, "k"), |world| {
            world.rename(K, (3, "k"));
            world.swap(3, 1);
        }),
    ];
    for (name, place, act) in acts {
        // What came to the key may be looked at before it is known that the answer was lost, or after. The old key may hold
        // another type by then.
        for (looks_first, is_overwritten, is_freed) in
            [(false, false, false), (true, false, false), (false, true, false), (true, true, false), (true, true, true)]
        {
            let mut world = World::new();
            world.grant(K, "x", 600_000);
            world.wait(K, "w", 600_000, Patience::Endless);
            world.wait(K, "n", 600_000, Patience::Endless);
            let answers = hand_off(&mut world);
            act(&mut world);
            if is_overwritten {
                world.place(K, Value::Other);
            }
            if looks_first {
                world.settle();
            }
            if is_freed {
                world.unlink(K);
            }
            assert_eq!(world.hold(place).unwrap().0, "w", "{name}");
            world.lose(K, &answers[0].1);
            world.settle();
            assert_eq!(world.hold(place), None, "{name}: w was told of nothing");
            if is_overwritten {
                assert_eq!(world.engine.waiters(), 0, "{name}: the queue was told of the other type");
            } else {
                assert_eq!(world.hold(K).unwrap().0, "n", "{name}: the queue stayed");
            }
            assert_eq!(world.engine.stats().undelivered_grants, 1, "{name}");
            world.assert_deadlines();
        }
    }
}

#[test]
fn relocated_hold_goes_on_if_its_owner_was_told() {
    let mut world = World::new();
    world.grant(K, "x", 600_000);
    world.wait(K, "w", 600_000, Patience::Endless);
    let answers = hand_off(&mut world);
    world.rename(K, K2);
    world.settle();
    world.deliver(K, &answers[0].1);
    world.lose(K, &answers[0].1);
    world.settle();
    assert_eq!(world.hold(K2).unwrap().0, "w");
}
