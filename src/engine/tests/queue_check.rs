//! Queues at the wrong server of a cluster.

use super::*;

fn cluster() -> World {
    let mut world = World::new();
    world.engine.join_cluster();
    world
}

/// Waits a second, as the timer does.
fn a_second_passes(world: &mut World) {
    world.pass(1000);
    world.settle();
}

#[test]
fn every_waiter_whose_slot_left_is_redirected_within_a_second() {
    let mut world = cluster();
    world.grant(K, "a", 60_000);
    world.grant(K2, "a", 60_000);
    let away: Vec<u64> = ["b", "c"].map(|who| world.wait(K, who, 50, Patience::Endless)).to_vec();
    let here = world.wait(K2, "b", 50, Patience::Endless);
    world.settle();
    world.fake.foreign.push(K);
    a_second_passes(&mut world);
    assert_eq!(world.answers(), away.iter().map(|client| (*client, Reply::TryAgain)).collect::<Vec<_>>());
    assert_eq!(world.engine.stats().waits_redirected, 2);
    world.release(K2, "a").unwrap();
    assert_eq!(world.granted(), [here]);
}

#[test]
fn the_queue_of_a_key_that_went_elsewhere_is_redirected_at_once() {
    let mut world = cluster();
    world.grant(K, "a", 60_000);
    let client = world.wait(K, "b", 50, Patience::Endless);
    world.settle();
    world.fake.foreign.push(K);
    world.unlink(K);
    world.settle();
    assert_eq!(world.answers(), [(client, Reply::TryAgain)]);
    world.rest();
}

#[test]
fn nobody_is_granted_a_lock_of_a_cluster_that_is_down() {
    let mut world = cluster();
    world.grant(K, "a", 500);
    let client = world.wait(K, "b", 50, Patience::Endless);
    world.settle();
    world.fake.is_down = true;
    world.fake.write_check = WriteCheck::Halted;
    a_second_passes(&mut world);
    assert_eq!(world.answers(), [(client, Reply::ClusterDown)]);
    assert_eq!(world.hold(K).unwrap().0, "a", "nothing is written while the cluster is down");
}

/// Valkey 9 leaves clients blocked that wait without keys when a manual failover makes their node a replica: they waited for
/// ever.
#[test]
fn a_queue_at_a_node_that_became_a_replica_is_redirected() {
    let mut world = cluster();
    world.grant(K, "a", 500);
    let client = world.wait(K, "b", 50, Patience::Endless);
    world.settle();
    world.fake.state = ServerState::Replica;
    world.settle();
    // As soon as the server knows its primary, its slots are the primary's.
    world.fake.foreign.push(K);
    a_second_passes(&mut world);
    assert_eq!(world.answers(), [(client, Reply::TryAgain)]);
    assert_eq!(world.hold(K).unwrap().0, "a", "a replica ends nothing");
}

/// Too few replicas, and the slot moved: the client is better off at its new server.
#[test]
fn a_queue_is_redirected_also_while_the_server_takes_no_writes() {
    for state in [ServerState::Writable, ServerState::Halted] {
        let mut world = cluster();
        world.grant(K, "a", 500);
        let client = world.wait(K, "b", 50, Patience::Endless);
        world.settle();
        world.fake.foreign.push(K);
        world.fake.write_check = WriteCheck::Halted;
        world.fake.state = state;
        a_second_passes(&mut world);
        assert_eq!(world.answers(), [(client, Reply::TryAgain)]);
    }
}

#[test]
fn many_waiters_of_one_queue_are_redirected_in_several_ticks() {
    let mut world = cluster();
    world.grant(K, "a", 60_000);
    let clients: Vec<u64> = (0..1000).map(|n| world.wait(K, &format!("w{n}"), 50, Patience::Endless)).collect();
    world.settle();
    world.fake.foreign.push(K);
    world.pass(1000);
    let mut told = Vec::new();
    while told.len() < clients.len() {
        world.run().unwrap();
        let answers = world.answers();
        assert!(!answers.is_empty() && answers.len() <= 129, "{} in one slice", answers.len());
        assert!(answers.iter().all(|(_, reply)| *reply == Reply::TryAgain));
        told.extend(answers.into_iter().map(|(client, _)| client));
    }
    assert_eq!(told, clients, "first come, first told");
    assert_eq!(world.engine.waiters(), 0);
}

/// Asking about many queues takes its time; a lease that ends meanwhile is not held up by it.
#[test]
fn many_queues_are_asked_about_beside_what_is_due() {
    let mut world = cluster();
    let keys: Vec<Name> = (0..2000).map(|n| (n, "many")).collect();
    for key in &keys {
        world.grant(*key, "a", 60_000);
        world.wait(*key, "b", 50, Patience::Endless);
    }
    world.settle();
    world.grant(K, "a", 1000);
    let client = world.wait(K, "b", 50, Patience::Endless);
    world.fake.probed = 0;
    world.pass(1000);
    world.run();
    assert_eq!(world.granted(), [client], "served in the first slice");
    assert!(world.fake.probed < 300, "{} probes in one slice", world.fake.probed);
    world.settle();
    assert!(world.fake.probed >= keys.len());
}

#[test]
fn outside_a_cluster_and_without_waiters_nothing_is_asked() {
    for mut world in [World::new(), cluster()] {
        world.grant(K, "a", 60_000);
        a_second_passes(&mut world);
        assert_eq!(world.fake.probed, 0);
    }
    let mut world = World::new();
    world.grant(K, "a", 60_000);
    world.wait(K, "b", 50, Patience::Endless);
    a_second_passes(&mut world);
    assert_eq!(world.fake.probed, 0);
}
