//! Nothing is lost between "nobody listens" and "somebody does": a replica, an AOF or a save may come at any moment, also
//! in the middle of a busy server, and hears of effects only, never of a command as it was typed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;

use support::{acquire, aof_commands, assert_same, digest, holds, release, until, until_synced, Server, Value};

/// Clients that take, hand over and release locks until they are told to stop; then every lock is held.
struct Traffic {
    stop: Arc<AtomicBool>,
    pairs: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    fn on(server: &Server) -> Traffic {
        let (stop, pairs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..4)
            .map(|number| {
                let (mut client, stop, pairs) = (server.client(), Arc::clone(&stop), Arc::clone(&pairs));
                thread::spawn(move || {
                    let (own, owner) = (format!("own{number}"), format!("owner{number}"));
                    while !stop.load(Ordering::Relaxed) {
                        client.cmd(&["LOCK.ACQUIRE", &own, &owner]).int();
                        client.cmd(&["LOCK.EXTEND", &own, &owner, "PX", "60000"]);
                        release(&mut client, &own, &owner);
                        client.cmd(&["LOCK.ACQUIRE", "shared", &owner, "BLOCK", "0"]).int();
                        release(&mut client, "shared", &owner);
                        pairs.fetch_add(1, Ordering::Relaxed);
                    }
                    acquire(&mut client, &own, &owner);
                })
            })
            .collect();
        Traffic { stop, pairs, threads }
    }

    /// Until 200 more pairs are done.
    fn flow(&self) {
        let goal = self.pairs.load(Ordering::Relaxed) + 200;
        until("traffic flows", || self.pairs.load(Ordering::Relaxed) >= goal);
    }

    /// Until the server has had the time to see that nobody listens: it looks once a second.
    fn flow_unheard(&self, server: &Server) {
        let goal = server.info_number("server", "uptime_in_seconds") + 3;
        until("seconds go by", || server.info_number("server", "uptime_in_seconds") >= goal);
        self.flow();
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Only effects, and what Redis wraps round them, ever travel.
fn assert_only_effects(commands: &[Vec<Vec<u8>>]) {
    for command in commands {
        let name = String::from_utf8_lossy(&command[0]).to_uppercase();
        assert!(
            ["LOCK.__APPLY", "LOCK.__FENCE", "SELECT", "MULTI", "EXEC", "PING"].contains(&&*name),
            "{name} was replicated"
        );
    }
}

#[test]
fn a_replica_that_comes_to_a_busy_server_hears_of_effects_only_and_ends_up_equal() {
    let primary = Server::builder().config("repl-backlog-ttl 1").start();
    let traffic = Traffic::on(&primary);
    traffic.flow_unheard(&primary);
    for round in 0..3 {
        let replica = Server::builder().aof().replica_of(&primary).start();
        traffic.flow();
        if round < 2 {
            until("the replica follows", || replica.info_field("replication", "master_link_status") == "up");
            traffic.flow();
            assert_only_effects(&aof_commands(&replica));
            drop(replica);
            // The server knows again that nobody listens.
            until("the backlog is gone", || primary.info_number("replication", "repl_backlog_active") == 0);
            traffic.flow_unheard(&primary);
            continue;
        }
        traffic.end();
        assert_same(&primary, &replica);
        assert_only_effects(&aof_commands(&replica));
        replica.assert_clean();
        break;
    }
    primary.assert_clean();
}

#[test]
fn an_aof_that_is_turned_on_under_load_gives_the_same_data_set() {
    let server = Server::builder().config("aof-use-rdb-preamble no").start();
    let traffic = Traffic::on(&server);
    traffic.flow_unheard(&server);
    assert_eq!(server.cmd(&["CONFIG", "SET", "appendonly", "yes", "appendfsync", "always"]), "OK");
    traffic.flow();
    traffic.end();
    until("the first rewrite is done", || server.info_number("persistence", "aof_rewrite_in_progress") == 0);
    assert_only_effects(&aof_commands(&server));
    let before = digest(&server);
    server.reconfigure(|builder| builder.aof());
    server.kill9();
    server.restart();
    assert_eq!(digest(&server), before);
    assert!(holds(&mut server.client(), "own0", "owner0"));
    server.assert_clean();
}

#[test]
fn save_points_count_lock_changes_where_nobody_listens() {
    let server = Server::start();
    let mut client = server.client();
    let changes = || server.info_number("persistence", "rdb_changes_since_last_save");
    let before = changes();
    for _ in 0..100 {
        client.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
        assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "a"]), 1);
        release(&mut client, "k", "a");
    }
    assert!(changes() - before >= 300);
    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", "a"]), Value::Int(0));
    server.assert_clean();
}

#[test]
fn a_restarted_primary_that_replicas_may_resume_from_replicates() {
    let primary = Server::builder().config("dir .").start();
    let replica = Server::builder().replica_of(&primary).start();
    let mut client = primary.client();
    acquire(&mut client, "before", "a");
    until_synced(&primary, &replica);
    // The RDB of a clean shutdown names the place in the stream, so the replica resumes without a copy.
    primary.shutdown_saving();
    primary.restart();
    let mut client = primary.client();
    for number in 0..100 {
        acquire(&mut client, &format!("k{number}"), "a");
    }
    assert_same(&primary, &replica);
    assert!(primary.log().contains("Partial resynchronization request from"), "the replica resumed");
    primary.assert_clean();
    replica.assert_clean();
}
