//! Requests for several locks: all or none, in one place in every queue.

use super::*;
use crate::wire::errors::Refused;

const A: Name = (0, "a");
const B: Name = (0, "b");
const C: Name = (0, "c");

const HOW: How =
    How { lease: 1000, patience: Patience::None, mode: Mode::Exclusive, max: None, delay: None, connection: None };
const WAITING: How = How { patience: Patience::Endless, ..HOW };

impl World {
    /// LOCK.MACQUIRE that is granted at once.
    fn grants_all(&mut self, keys: &[Name], who: &str, how: How) -> Vec<u64> {
        match self.send_all(keys, who, how) {
            Ok(OutcomeOfAll::Granted(fences)) => fences.iter().map(|fence| fence.get()).collect(),
            other => panic!("not granted: {other:?}"),
        }
    }

    /// LOCK.MACQUIRE that waits. The client's number.
    fn waits_all(&mut self, keys: &[Name], who: &str, how: How) -> u64 {
        match self.send_all(keys, who, how) {
            Ok(OutcomeOfAll::Waits { .. }) => self.clients,
            other => panic!("does not wait: {other:?}"),
        }
    }

    /// Panics unless this is the only answer since this was asked last, and it grants all these locks to the client.
    fn assert_granted_together(&mut self, client: u64, keys: &[Name], who: &str) -> Reply {
        let answers = self.answers();
        let [(told, reply @ Reply::GrantedTogether(granted, ..))] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((*told, granted.len()), (client, keys.len()));
        for (key, lock) in keys.iter().zip(granted) {
            assert_eq!(&*lock.name, key.1.as_bytes());
            assert_eq!(self.hold(*key), Some((who.to_owned(), lock.hold.fence.get())), "{key:?}");
        }
        reply.clone()
    }
}

#[test]
fn all_locks_are_granted_or_none() {
    let mut world = World::new();
    let fences = world.grants_all(&[A, B, C], "x", HOW);
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
    assert_eq!(world.send_all(&[(0, "d"), B], "y", HOW), Ok(OutcomeOfAll::Busy));
    assert_eq!(world.hold((0, "d")), None, "nothing of a refused request is granted");
    assert_eq!(world.engine.stats().refusals, 1);
    assert_eq!(world.grants_all(&[A, B, C], "x", HOW), fences, "asked again, the same fences");
    assert_eq!(world.extend_all(&[A, B, (0, "d")], "x", 9), Ok(2));
    assert_eq!(world.release_all(&[A, (0, "d"), C], "x"), Ok(2));
    assert_eq!(world.holders(B), ["x"]);
}

#[test]
fn the_locks_that_the_owner_holds_keep_their_fences() {
    let mut world = World::new();
    let held = world.grant(B, "x", 10).get();
    let fences = world.grants_all(&[A, B], "x", HOW);
    assert_eq!(fences[1], held);
    assert!(fences[0] > held);
}

#[test]
fn a_shared_hold_among_exclusive_ones_must_be_released_first() {
    let mut world = World::new();
    world.grants(ask(B, "x").shared());
    for how in [HOW, WAITING] {
        assert_eq!(world.send_all(&[A, B], "x", how), Ok(OutcomeOfAll::Refused(Refused::MustRelease)));
        assert_eq!(world.hold(A), None, "nothing changed");
    }
}

#[test]
fn a_request_waits_in_line_for_all_its_locks() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    world.grant(B, "y", 1000);
    let client = world.waits_all(&[A, B, C], "z", WAITING);
    assert_eq!(world.send(ask(C, "w")), Ok(Outcome::Busy), "a newcomer passes nobody, though the lock is free");
    let behind = world.waits(ask(C, "w").block(0));
    world.release(A, "x").unwrap();
    world.settle();
    assert_eq!(world.granted(), [0u64; 0], "one lock is still held");
    assert_eq!(world.hold(A), None);
    world.release(B, "y").unwrap();
    world.settle();
    world.assert_granted_together(client, &[A, B, C], "z");
    world.release_all(&[A, B, C], "z").unwrap();
    assert_eq!(world.granted(), [behind]);
}

#[test]
fn two_requests_for_the_same_locks_in_another_order_do_not_wait_for_each_other() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    let (first, second) = (world.waits_all(&[A, B], "y", WAITING), world.waits_all(&[B, A], "z", WAITING));
    world.release(A, "x").unwrap();
    world.settle();
    world.assert_granted_together(first, &[A, B], "y");
    world.release_all(&[B, A], "y").unwrap();
    world.settle();
    world.assert_granted_together(second, &[B, A], "z");
}

/// Everything that ends a wait ends it in all queues, and lets the next in.
#[test]
fn a_request_that_ends_stands_in_no_queue_any_more() {
    type End = fn(&mut World, u64);
    let ends: [(&str, Option<Reply>, End); 8] = [
        ("the wait runs out", Some(Reply::Null), |world, _| world.pass(50)),
        ("the owner releases one lock", Some(Reply::Null), |world, _| done(world.release(A, "y"))),
        ("the owner releases all", Some(Reply::Null), |world, _| done(world.release_all(&[A, B, C], "y"))),
        ("the client is gone", None, |world, client| done(world.engine.leave(client))),
        ("a key is of another type", Some(Reply::WrongType), |world, _| world.place(B, Value::Other)),
        ("a slot leaves", Some(Reply::TryAgain), |world, _| {
            world.fake.foreign = vec![A, B, C];
            world.pass(1000);
            world.run();
            world.fake.foreign.clear();
        }),
        ("the owner holds one shared", Some(Reply::MustRelease), |world, _| {
            world.restore_all(C, &[("y", Mode::Shared(None))], 20, 9_000_000);
        }),
        ("the user loses its right", Some(Reply::NoPermissionToAll), |world, _| {
            world.deny(1, B);
            world.release(A, "x").unwrap();
        }),
    ];
    for (what, expected, end) in ends {
        let mut world = World::new();
        world.engine.join_cluster();
        world.grant(A, "x", 100_000);
        let patience = Patience::For(Millis(if what == "the wait runs out" { 50 } else { 100_000 }));
        let client = world.waits_all(&[A, B, C], "y", How { patience, ..HOW });
        let behind = world.waits(ask(C, "z").block(0));
        world.did();
        end(&mut world, client);
        world.settle();
        world.pass(25);
        world.settle();
        let answers: Vec<_> = world.answers();
        let told = answers.iter().find(|(told, _)| *told == client).map(|(_, reply)| reply.clone());
        assert_eq!(told, expected, "{what}: {answers:?}");
        let is_behind_answered = answers.iter().any(|(told, _)| *told == behind);
        assert!(is_behind_answered, "{what}: the one behind it waits for nothing: {answers:?}");
        let tickets = world.engine.waits.queues().flat_map(|(_, queue)| queue.iter()).filter(|(_, w)| w.is_multi_key);
        assert_eq!(tickets.count(), 0, "{what}");
        assert_eq!(world.engine.waiters(), 0, "{what}");
    }
}

#[test]
fn all_that_an_undelivered_answer_granted_goes_on_to_the_next() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    let held = world.grant(B, "y", 1000).get();
    let client = world.waits_all(&[A, B, C], "y", WAITING);
    let next = world.waits(ask(A, "z").block(0));
    world.release(A, "x").unwrap();
    world.settle();
    let reply = world.assert_granted_together(client, &[A, B, C], "y");
    world.lose(A, &reply);
    world.settle();
    assert_eq!(world.granted(), [next]);
    assert_eq!((world.holders(A), world.hold(C)), (vec!["z".to_owned()], None));
    assert_eq!(world.hold(B), Some(("y".to_owned(), held)), "its owner held it before, and knows");
}

#[test]
fn a_hold_that_ends_while_its_owner_waits_is_waited_for_again() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    world.grant(B, "y", 10);
    let client = world.waits_all(&[A, B], "y", WAITING);
    world.pass(11);
    world.settle();
    assert_eq!(world.send(ask(B, "z")), Ok(Outcome::Busy), "its place in the queue is kept");
    world.release(A, "x").unwrap();
    world.settle();
    world.assert_granted_together(client, &[A, B], "y");
}

#[test]
fn an_owner_that_holds_a_lock_waits_for_nobody_there() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    world.grant(B, "y", 1000);
    let behind = world.waits(ask(B, "z").block(0));
    let client = world.waits_all(&[A, B], "y", WAITING);
    world.release(A, "x").unwrap();
    world.settle();
    world.assert_granted_together(client, &[A, B], "y");
    world.release(B, "y").unwrap();
    assert_eq!(world.granted(), [behind]);
}

#[test]
fn the_search_for_deadlocks_has_an_edge_for_each_lock() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    world.grant(C, "y", 1000);
    world.waits_all(&[A, B], "y", WAITING);
    let cycle = |told| match told {
        Ok(OutcomeOfAll::Refused(Refused::Deadlock(links))) => links.len(),
        other => panic!("{other:?}"),
    };
    let told = world.send_all(&[(0, "d"), C], "x", WAITING);
    assert_eq!(cycle(told), 2, "x waits for y, which waits for x");
    assert!(matches!(world.send(ask(C, "x").block(0)), Ok(Outcome::Refused(Refused::Deadlock(_)))));
    // Who waits behind a request for several waits for all that it waits for.
    assert!(matches!(world.send(ask(B, "x").block(0)), Ok(Outcome::Refused(Refused::Deadlock(_)))));
    assert_eq!(world.engine.waiters(), 1, "the refused ones stand in no queue");
    world.assert_several_served();
}

#[test]
fn limits_are_those_of_each_lock_and_a_waiter_counts_once() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    world.set_to("max-waiters", 1);
    world.set_to("max-waiters-total", 2);
    world.waits_all(&[A, B, C], "y", WAITING);
    assert_eq!(world.engine.waiters(), 1);
    assert_eq!(world.send_all(&[(0, "d"), C], "z", WAITING), Ok(OutcomeOfAll::Refused(Refused::Waiters(1))));
    world.set_to("max-waiters", 5);
    world.waits_all(&[B, A], "z", WAITING);
    assert_eq!(world.send_all(&[A], "w", WAITING), Ok(OutcomeOfAll::Refused(Refused::WaitersTotal(2))));
}

#[test]
fn a_server_in_quarantine_grants_none_until_it_is_over() {
    let mut world = World::new();
    world.set_to("start-quarantine", 100);
    let refused = world.send_all(&[A, B], "x", HOW);
    assert_eq!(refused, Ok(OutcomeOfAll::Refused(Refused::Quarantine(Millis(100)))));
    let client = world.waits_all(&[A, B], "x", WAITING);
    world.pass(100);
    world.settle();
    world.assert_granted_together(client, &[A, B], "x");
}

#[test]
fn sessions_and_max_count_for_each_lock() {
    let mut world = World::new();
    world.grants_all(&[A, B], "x", How { connection: Some(7), max: Some(Millis(50)), ..HOW });
    assert_eq!(world.extend_all(&[A, B], "x", 1000), Ok(2));
    world.pass(49);
    world.settle();
    assert_eq!(world.holders(A), ["x"]);
    world.hang_up(7);
    world.settle();
    assert_eq!((world.hold(A), world.hold(B)), (None, None), "both end with the connection");
    world.grants_all(&[A, B], "x", How { max: Some(Millis(50)), ..HOW });
    world.pass(50);
    world.settle();
    assert_eq!((world.hold(A), world.hold(B)), (None, None), "no extension passes MAX");
}

#[test]
fn a_key_of_another_type_refuses_all_and_changes_nothing() {
    let mut world = World::new();
    world.place(B, Value::Other);
    world.settle();
    assert_eq!(world.send_all(&[A, B], "x", HOW), Err(WrongType));
    assert_eq!(world.hold(A), None);
    world.grant(A, "x", 1000);
    assert_eq!(world.release_all(&[A, B], "x"), Err(WrongType));
    assert_eq!(world.extend_all(&[A, B], "x", 5), Err(WrongType));
    assert_eq!(world.holders(A), ["x"]);
}

#[test]
fn a_step_wakes_the_request_only_at_the_lock_that_it_waits_for() {
    let mut world = World::new();
    world.grants(ask(A, "x").shared());
    world.grant(B, "y", 1000);
    let shared = How { mode: Mode::Shared(None), ..WAITING };
    world.waits_all(&[A, B], "z", shared);
    world.settle();
    for _ in 0..9 {
        world.extend(A, "x", 1000).unwrap();
        assert!(!world.engine.has_ready_work(), "the other lock is still taken");
    }
    world.release(B, "y").unwrap();
    assert!(world.engine.has_ready_work());
}

/// A slot that is leaving: some of the keys may be elsewhere already, and held there.
#[test]
fn nothing_is_granted_while_one_of_the_keys_may_be_elsewhere() {
    let mut world = World::new();
    world.engine.join_cluster();
    world.grant(A, "x", 100_000);
    let client = world.waits_all(&[A, B], "y", WAITING);
    world.fake.foreign = vec![B];
    world.release(A, "x").unwrap();
    world.settle();
    assert_eq!(world.hold(A), None, "all or none");
    assert_eq!(world.answers().last(), Some(&(client, Reply::TryAgain)));
    assert_eq!(world.engine.waiters(), 0);
}

#[test]
fn a_request_that_the_server_refuses_a_write_to_is_tried_again() {
    let mut world = World::new();
    world.grant(A, "x", 100_000);
    let client = world.waits_all(&[A, B], "y", WAITING);
    world.release(A, "x").unwrap();
    world.fake.write_check = WriteCheck::Halted;
    world.run();
    assert_eq!(world.granted(), [0u64; 0]);
    world.fake.write_check = WriteCheck::Accepts;
    world.pass(20);
    world.settle();
    world.assert_granted_together(client, &[A, B], "y");
}

/// Every look at a request takes a step at the lock that it waits for, and a step there asks for another look. As long as the
/// server refused the write, each look left one more task behind, and all ticks were spent on them.
#[test]
fn a_request_that_cannot_be_granted_yet_is_looked_at_once_a_tick() {
    let mut world = World::new();
    world.grant(A, "x", 100_000);
    let client = world.waits_all(&[A, B], "y", WAITING);
    world.fake.foreign = vec![B];
    world.release(A, "x").unwrap();
    world.fake.open_cost_us = 10;
    for _ in 0..10 {
        world.run();
        world.pass(20);
    }
    assert_eq!(world.engine.agenda.due_requests().count(), 1, "one task for one request");
    world.fake.foreign = Vec::new();
    world.run();
    world.settle();
    world.assert_granted_together(client, &[A, B], "y");
}

/// Whichever of them was told of a hold first, if all answers are lost it ends.
#[test]
fn a_hold_that_several_lost_answers_told_of_ends() {
    type Requests = [&'static [Name]; 2];
    let cases: [Requests; 5] = [[&[A], &[A, B]], [&[A, B], &[A, C]], [&[A, B], &[A, B]], [&[A, B], &[A]], [&[A], &[A]]];
    for requests in cases {
        let mut world = World::new();
        world.grants_all(&[A, B, C], "x", HOW);
        for keys in requests {
            match keys {
                [key] => done(world.waits(ask(*key, "y").lease(100_000).block(0))),
                keys => done(world.waits_all(keys, "y", How { lease: 100_000, ..WAITING })),
            }
        }
        world.release_all(&[A, B, C], "x").unwrap();
        world.settle();
        let answers = world.answers();
        assert_eq!(answers.len(), 2, "{requests:?}: {answers:?}");
        for (_, reply) in &answers {
            world.lose(A, reply);
        }
        world.settle();
        for key in [A, B, C] {
            assert_eq!(world.hold(key), None, "{requests:?}: {key:?}");
        }
    }
}

#[test]
fn a_lost_answer_leaves_an_older_hold_bound_as_it_was() {
    for (before, asked) in [(None, Some(7)), (Some(7), None), (Some(7), Some(8))] {
        let mut world = World::new();
        world.grant(A, "x", 100_000);
        world.send_with(B, "y", How { lease: 100_000, connection: before, ..HOW }).unwrap();
        world.waits_all(&[A, B], "y", How { lease: 100_000, connection: asked, ..WAITING });
        world.release(A, "x").unwrap();
        world.settle();
        let answers = world.answers();
        world.lose(A, &answers.last().unwrap().1);
        world.settle();
        for connection in [7, 8] {
            assert!(world.holders(B) == ["y"] || before == Some(7), "{before:?}, {asked:?}");
            world.hang_up(connection);
            world.settle();
            if before != Some(connection) && before.is_none() {
                assert_eq!(world.holders(B), ["y"], "{before:?}, {asked:?}: it was bound to none");
            }
        }
        assert_eq!(world.hold(B).is_none(), before.is_some(), "{before:?}, {asked:?}");
    }
}

#[test]
fn a_hold_that_a_waiting_request_reacquires_loses_a_ttl_set_by_hand() {
    let mut world = World::new();
    world.grant(A, "x", 1000);
    world.grant(B, "y", 5000);
    world.waits_all(&[A, B], "y", WAITING);
    world.did();
    world.release(A, "x").unwrap();
    world.settle();
    let did = world.did();
    assert!(did.contains(&Did::ClearedTtl("0:b".into())), "{did:?}");
    let replicated = did.iter().any(|did| matches!(did, Did::Replicated(key, _) if key == "0:b"));
    assert!(replicated, "WAIT counts replicas that have the hold: {did:?}");
}

/// Each request of an owner is there once for each of its locks, and the search for deadlocks stops after so many.
#[test]
fn the_search_for_deadlocks_looks_at_no_more_requests_than_it_may() {
    let mut world = World::new();
    world.set_to("deadlock-search-max", 20);
    world.grant((0, "hot"), "h", 100_000);
    let names: Vec<&'static str> = (0..30).map(|n| &*Box::leak(format!("n{n}").into_boxed_str())).collect();
    let keys: Vec<Name> = names.iter().map(|name| (0, *name)).chain([(0, "hot")]).collect();
    for n in 0..10 {
        world.waits_all(&keys, &format!("o{n}"), WAITING);
    }
    let looks = world.looks;
    world.grant((0, "mine"), "o1", 100_000);
    world.waits(ask((0, "mine"), "o3").block(0));
    world.waits(ask((0, "hot"), "o1").block(0));
    assert!(world.looks - looks <= 200, "{} locks were looked at", world.looks - looks);
}
