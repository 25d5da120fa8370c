//! How much one ring of the timer does.

use super::*;

fn names(count: usize) -> Vec<Name> {
    (0..count).map(|n| (0, &*Box::leak(format!("k{n}").into_boxed_str()))).collect()
}

#[test]
fn a_tick_ends_after_two_milliseconds_and_later_ones_do_the_rest() {
    let mut world = World::new();
    let keys = names(1000);
    for key in &keys {
        world.grant(*key, "a", 5);
    }
    world.did();
    world.fake.cost_us = 10;
    world.pass(5);
    let mut runs = 0;
    while !world.fake.data.is_empty() {
        let (before, begin) = (world.fake.data.len(), world.fake.now.steady);
        let next = world.run();
        runs += 1;
        let took = world.fake.now.steady.0 - begin.0;
        assert!(took <= 2_200, "a slice took {took} us");
        let left = world.fake.data.len();
        assert!(left < before, "a slice did nothing");
        assert!(left == 0 || next == Some(world.fake.now.steady), "there is more to do, at once");
    }
    assert!((4..=6).contains(&runs), "{runs} slices for 10 ms of work");
    assert_eq!(world.settle(), None);
    assert_eq!(world.did().len(), 3000, "each was removed, signalled and published once");
    world.assert_deadlines();
}

#[test]
fn waits_that_run_out_together_are_answered_in_several_ticks_too() {
    let mut world = World::new();
    world.grant((0, "k"), "a", 60_000);
    for n in 0..500 {
        world.wait((0, "k"), &format!("w{n}"), 5, Patience::For(Millis(3)));
    }
    world.pass(3);
    world.did();
    world.settle();
    let answers = world.answers();
    assert!(answers.iter().all(|(_, reply)| *reply == Reply::Null));
    assert_eq!(answers.len(), 500);
    assert_eq!(world.engine.waits.len(), 0);
    world.assert_deadlines();
}

#[test]
fn tasks_of_foreign_slots_are_retried_until_the_slot_is_back() {
    let (mut world, foreign, own) = (World::new(), (0, "foreign"), (0, "own"));
    world.grant(foreign, "a", 5);
    world.grant(own, "a", 5);
    let client = world.wait(foreign, "b", 50, Patience::Endless);
    world.fake.foreign.push(foreign);
    world.pass(5);
    world.did();
    let next = world.settle();
    assert_eq!(world.did()[..2], [Did::Replicated("0:own".into(), "freed".into()), Did::Signalled("0:own".into())]);
    assert_eq!(world.hold(foreign).unwrap().0, "a", "nothing is written to a foreign slot");
    assert_eq!(next, Some(world.ms(25)), "tried again in 20 ms");
    world.fake.foreign.clear();
    world.pass(20);
    world.settle();
    assert_eq!(world.granted(), [client]);
    world.assert_deadlines();
}

/// A slot that moved away takes its keys along, and nobody waits for them here.
#[test]
fn foreign_keys_that_are_gone_are_forgotten() {
    let mut world = World::new();
    for key in names(100) {
        world.grant(key, "a", 50);
        world.fake.foreign.push(key);
        world.unlink(key);
    }
    assert_eq!(world.settle(), None, "nothing to come back for");
    world.fake.asked = 0;
    world.pass(100);
    world.settle();
    assert_eq!(world.fake.asked, 0);
    world.assert_deadlines();
}

#[test]
fn more_foreign_keys_than_a_tick_can_look_at_hold_up_nothing_else() {
    let (mut world, own) = (World::new(), (0, "own"));
    for key in names(400) {
        world.grant(key, "a", 5);
        world.fake.foreign.push(key);
    }
    world.fake.cost_us = 100;
    world.pass(5);
    world.run();
    world.grant(own, "a", 5);
    let client = world.wait(own, "b", 50_000, Patience::Endless);
    world.did();
    let due = world.fake.now.steady + Millis(5);
    let mut answers = Vec::new();
    for _ in 0..100 {
        if answers.is_empty() {
            let next = world.run().unwrap_or(world.fake.now.steady);
            let us = (next.0 - world.fake.now.steady.0).max(0);
            world.fake.pass_us(us as u64);
            answers = world.answers();
        }
    }
    assert!(matches!(answers[..], [(granted, Reply::Granted(..))] if granted == client));
    assert!(world.fake.now.steady <= due + Millis(100), "served late, at {:?}", world.fake.now.steady);
}

/// Thousands of holds of one connection.
#[test]
fn the_holds_of_a_connection_are_ended_in_several_ticks() {
    let mut world = World::new();
    let keys = names(1000);
    for key in &keys {
        world.grants(ask(*key, "a").on(1));
    }
    world.did();
    world.fake.cost_us = 10;
    world.hang_up_at_rest(1);
    let mut runs = 0;
    while !world.fake.data.is_empty() {
        let (before, begin) = (world.fake.data.len(), world.fake.now.steady);
        let next = world.run();
        runs += 1;
        let took = world.fake.now.steady.0 - begin.0;
        assert!(took <= 2_200, "a slice took {took} us");
        let left = world.fake.data.len();
        assert!(left < before, "a slice did nothing");
        assert!(left == 0 || next == Some(world.fake.now.steady), "there is more to do, at once");
    }
    assert!((4..=6).contains(&runs), "{runs} slices for 10 ms of work");
    assert_eq!(world.engine.stats().session_ends, 1000);
    world.settle();
    world.assert_at_rest();
}

/// The holds of a closed connection are not forgotten when the server is halted between two ticks.
#[test]
fn closes_that_a_halted_server_interrupts_go_on_later() {
    let mut world = World::new();
    let keys = names(300);
    for key in &keys {
        world.grants(ask(*key, "a").on(1));
    }
    world.fake.cost_us = 100;
    world.hang_up(1);
    world.run();
    let left = world.fake.data.len();
    assert!((1..300).contains(&left), "{left}");
    world.fake.write_check = WriteCheck::Halted;
    world.run();
    assert_eq!(world.fake.data.len(), left);
    world.fake.write_check = WriteCheck::Accepts;
    world.settle();
    // The task that the server refused comes last, and may have to wait for its next try.
    world.pass(20);
    world.settle();
    assert_eq!(world.fake.data.len(), 0);
    world.assert_at_rest();
}

/// However many leases have run out, a command ends only a few of them, and the others hold up nobody.
#[test]
fn a_command_does_not_wait_until_all_expired_holds_are_reported() {
    for alone in [true, false] {
        let mut world = World::new();
        let owners: Vec<String> = (0..1000).map(|n| format!("w{n}")).collect();
        for who in &owners {
            world.grants(ask(K, who).shared().lease(5).on(1));
        }
        world.pass(5);
        world.did();
        // Its old hold, of the same connection, has not been reported yet.
        let last = ask(K, "w999").lease(50).on(1);
        world.grants(if alone { last } else { last.shared() });
        let expired = |did: &[Did]| did.iter().filter(|did| matches!(did, Did::Published(_, KeyEvent::Expire))).count();
        let at_once = expired(&world.did());
        assert!(at_once < 20, "{at_once} told of by one command");
        (world.fake.cost_us, world.fake.open_cost_us) = (10, 10);
        let (begin, mut runs, mut told) = (world.fake.now.steady, 0, at_once);
        while told < owners.len() {
            let before = world.fake.now.steady;
            world.run();
            runs += 1;
            let took = world.fake.now.steady.0 - before.0;
            assert!(took <= 2_200, "a slice took {took} us");
            told += expired(&world.did());
            assert!(runs < 100, "{told} told of");
        }
        assert!(world.fake.now.steady < begin + Millis(50), "its lease runs");
        world.settle();
        assert_eq!((told, world.holders(K)), (owners.len(), vec!["w999".to_owned()]));
        assert_eq!(world.engine.stats().lease_ends, 1000);
        world.assert_at_rest();
        world.hang_up_at_rest(1);
        world.settle();
        assert_eq!(world.engine.stats().session_ends, 1);
        world.assert_at_rest();
    }
}

/// Reporting expired holders that made room holds up neither waiters of other locks nor clients.
#[test]
fn leases_that_end_meanwhile_come_before_what_is_only_to_be_reported() {
    let mut world = World::new();
    for n in 0..5000 {
        world.grants(ask(K, &format!("w{n}")).shared().lease(5));
    }
    world.pass(5);
    world.grants(ask(K, "alone").lease(50));
    world.grant(K2, "a", 1);
    let client = world.wait(K2, "b", 50, Patience::Endless);
    world.did();
    world.fake.open_cost_us = 100;
    world.pass(1);
    world.run();
    assert_eq!(world.granted(), [client], "in the next slice");
    assert!(world.engine.stats().lease_ends < 5001, "all was told of before");
    // A report is no write, so expired holds of a slot that has left are reported as well.
    world.fake.foreign.push(K);
    world.settle();
    assert_eq!(world.engine.stats().lease_ends, 5001);
    world.fake.foreign.clear();
    world.rest();
    world.assert_at_rest();
}

/// What ended under a primary is counted once, also when it has become a replica before it came to that.
#[test]
fn a_demoted_server_reports_all_expired_holders_that_made_room() {
    let mut world = World::new();
    for n in 0..500 {
        world.grants(ask(K, &format!("w{n}")).shared().lease(5).on(1));
    }
    world.pass(5);
    world.grants(ask(K, "alone").lease(60_000));
    world.change_role(ServerState::Replica);
    world.fake.open_cost_us = 1000;
    world.run();
    assert!(world.engine.stats().lease_ends < 500, "in slices");
    world.settle();
    assert_eq!(world.engine.stats().lease_ends, 500);
    assert_eq!(world.holders(K), ["alone"]);
    world.assert_deadlines();
}

/// Expired holds that made room for nobody end one after the other, and hold up nobody.
#[test]
fn many_expired_holders_of_one_lock_alternate_with_other_locks() {
    let mut world = World::new();
    for n in 0..500 {
        world.grants(ask(K, &format!("w{n}")).shared().lease(5));
    }
    world.pass(4);
    world.grant(K2, "a", 2);
    let client = world.wait(K2, "b", 60_000, Patience::Endless);
    world.pass(2);
    world.did();
    world.fake.cost_us = 1000;
    world.run();
    assert_eq!(world.granted(), [client], "in the next slice");
    world.settle();
    assert_eq!(world.engine.stats().lease_ends, 501);
    world.assert_at_rest();
}

/// More work of one kind than fits into a tick, for each kind.
type Flood = fn(&mut World, usize);

/// However much there is of one kind of work, the others go on: tasks that the server refused, leases that end, and expired
/// holds that are still to be reported.
#[test]
fn no_flood_holds_up_the_others() {
    fn waits(world: &mut World, round: usize) {
        for n in 0..300 {
            world.wait((7, "busy"), &format!("w{round}-{n}"), 5, Patience::For(Millis(1)));
        }
        world.pass(1);
    }
    fn notes(world: &mut World, _: usize) {
        world.inbox.changed.extend((0..300).map(|_| at((7, "busy")).to_id()));
    }
    fn leases(world: &mut World, round: usize) {
        for n in 0..300 {
            world.grant((8, &*Box::leak(format!("l{round}-{n}").into_boxed_str())), "a", 1);
        }
        world.pass(1);
    }
    fn closed(world: &mut World, round: usize) {
        let connection = 1000 + round as u64;
        for n in 0..300 {
            world.grants(ask((9, &*Box::leak(format!("s{round}-{n}").into_boxed_str())), "a").on(connection));
        }
        world.hang_up(connection);
    }
    let floods: [(&str, Flood); 4] = [("waits", waits), ("notes", notes), ("leases", leases), ("closed", closed)];
    for (name, flood) in floods {
        let mut world = World::new();
        world.grant((7, "busy"), "a", 600_000);
        // A tick lasts 2 ms, and each key takes a tenth of that.
        world.fake.cost_us = 200;
        let (put_off, ending) = ((0, "put off"), (0, "ending"));
        world.grant(put_off, "a", 5);
        let next = world.wait(put_off, "b", 600_000, Patience::Endless);
        world.fake.foreign.push(put_off);
        world.pass(5);
        world.settle();
        world.fake.foreign.clear();
        world.grant(ending, "a", 5);
        let heir = world.wait(ending, "b", 600_000, Patience::Endless);
        world.pass(5);
        world.did();
        let mut granted = Vec::new();
        for round in 0..40 {
            flood(&mut world, round);
            let asked_to_come = world.run();
            assert!(asked_to_come.is_some_and(|at| at <= world.fake.now.steady), "{name}: the slice was full");
            granted.extend(world.granted());
        }
        granted.sort_unstable();
        assert_eq!(granted, [next, heir], "{name}");
    }
}
