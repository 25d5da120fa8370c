//! The test support itself, tried with plain Redis commands and without the module.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use support::{
    aof_bytes, aof_commands, args, digest, parse_value, until, until_synced, Received, Server, ServerBuilder, Value,
};

fn plain() -> ServerBuilder {
    Server::builder().without_module()
}

/// The message of the panic that `act` must end in.
fn panic_of(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it should have panicked");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().unwrap().to_string(),
    }
}

#[test]
fn server_starts_answers_and_ends_clean() {
    let server = plain().databases(3).config("maxmemory 50mb").start();
    assert!(server.is_alive());
    assert_eq!(server.info_number("server", "process_id"), i64::from(server.pid()));
    assert!(server.version().number >= (7, 0, 0));

    let mut client = server.client();
    assert_eq!(client.cmd(&["PING"]), "PONG");
    assert_eq!(client.cmd(&["CONFIG", "GET", "maxmemory"]).get("maxmemory"), "52428800");
    assert_eq!(client.cmd(&["CONFIG", "GET", "save"]).get("save"), "");
    client.select(2);
    assert!(client.cmd(&["SELECT", "3"]).is_err());
    assert_eq!(client.cmd(&["SET", "k", "v"]), "OK");
    assert!(catch_unwind(AssertUnwindSafe(|| server.assert_no_keys())).is_err());
    assert_eq!(client.cmd(&["DEL", "k"]), 1);
    client.close();
    server.until_clients(0);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn client_reads_every_kind_of_reply() {
    let server = plain().start();
    let mut client = server.client();
    let binary = [0, b'\r', b'\n', 255];
    assert_eq!(client.cmd(&args!["SET", "k", binary]), Value::Simple("OK".into()));
    assert_eq!(client.cmd(&args!["GET", "k"]), Value::Bulk(binary.to_vec()));
    assert_eq!(client.cmd(&["GET", "absent"]), Value::NullBulk);
    assert_eq!(client.cmd(&["BLPOP", "absent", "0.01"]), Value::NullArray);
    assert_eq!(client.cmd(&args!["INCRBY", "n", 41_i64]).int(), 41);
    assert_eq!(client.cmd(&["GET", "absent"]).opt_int(), None);
    let refused = client.cmd(&["LPUSH", "k", "x"]);
    assert!(refused.err_text().starts_with("WRONGTYPE "), "{refused:?}");
    assert_ne!(refused, "WRONGTYPE");
    let long = vec![b'x'; 3_000_000];
    assert_eq!(client.cmd(&args!["ECHO", long]).bytes(), long);

    client.resp3();
    assert_eq!(client.cmd(&["GET", "absent"]), Value::Null);
    let double = client.cmd(&["DEBUG", "PROTOCOL", "double"]);
    assert!(matches!(double, Value::Double(number) if number > 3.0 && number < 4.0));
    assert_eq!(client.cmd(&["DEBUG", "PROTOCOL", "true"]), Value::Bool(true));
    let map = client.cmd(&["DEBUG", "PROTOCOL", "map"]);
    assert!(matches!(map, Value::Map(pairs) if pairs.len() == 3));
    assert_eq!(client.cmd(&["CONFIG", "GET", "port"]).map().len(), 1);
    assert!(matches!(client.cmd(&["DEBUG", "PROTOCOL", "set"]), Value::Set(_)));
    assert_eq!(client.cmd(&["DEBUG", "PROTOCOL", "verbatim"]).text().get(..4), Some("This"));
    let attributed = client.cmd(&["DEBUG", "PROTOCOL", "attrib"]);
    assert_eq!(attributed.text().get(..4), Some("Some"));
}

#[test]
fn parser_waits_for_the_last_byte() {
    let whole = b"*3\r\n$3\r\na\r\n\r\n:-7\r\n%1\r\n+k\r\n_\r\n";
    for length in 0..whole.len() {
        assert_eq!(parse_value(&whole[..length]), None, "{length}");
    }
    let (value, length) = parse_value(whole).unwrap();
    assert_eq!(length, whole.len());
    assert_eq!(value.array()[0].bytes(), b"a\r\n");
    assert_eq!(value.array()[2].get("k"), Value::Null);
}

#[test]
fn commands_in_one_write_are_answered_in_order() {
    let server = plain().start();
    let mut client = server.client();
    client.send_many(&[&["SET", "k", "v"], &["GET", "k"], &["PING"]]);
    assert_eq!(client.read(), "OK");
    assert_eq!(client.read(), "v");
    assert_eq!(client.read(), "PONG");
    let replies = client.pipeline(&[&["INCR", "n"][..], &["INCR", "n"]]);
    assert_eq!(replies, [Value::Int(1), Value::Int(2)]);
}

#[test]
fn pushes_are_kept_apart_from_replies() {
    let server = plain().start();
    let mut watcher = server.client();
    watcher.resp3();
    assert_eq!(watcher.cmd(&["CLIENT", "TRACKING", "ON"]), "OK");
    assert!(watcher.cmd(&["GET", "k"]).is_nil());
    assert!(watcher.pushes().is_empty());
    assert_eq!(server.cmd(&["SET", "k", "1"]), "OK");
    assert_eq!(watcher.pushes().len(), 1);

    watcher.cmd(&["GET", "k"]);
    assert_eq!(server.cmd(&["SET", "k", "2"]), "OK");
    assert_eq!(watcher.read_push().array()[0], "invalidate");
}

#[test]
fn waiter_is_seen_waiting_until_it_is_answered() {
    let server = plain().start();
    let mut first = server.client();
    let mut second = server.client();
    let id = first.id();
    assert!(!server.is_waiting(&first));
    server.send_to_wait(&mut first, &["BLPOP", "list", "0"]);
    server.send_to_wait(&mut second, &["BLPOP", "list", "0"]);
    server.until_blocked(2);
    assert!(server.client_line(&first).unwrap().contains(&format!("id={id} ")));

    assert_eq!(server.cmd(&["RPUSH", "list", "x"]), 1);
    assert_eq!(first.read().array()[1], "x");
    assert_eq!(first.receive(Duration::ZERO), Received::Silence);
    server.assert_waiting(&mut second);
    let blamed = panic_of(|| server.assert_waiting(&mut first));
    assert!(blamed.contains("expected the client to wait"), "{blamed}");

    second.close();
    server.assert_clean();
}

#[test]
fn closed_connections_are_noticed_on_both_sides() {
    let server = plain().start();
    let mut victim = server.client();
    let id = victim.id();
    assert_eq!(server.cmd(&args!["CLIENT", "KILL", "ID", id]), 1);
    victim.expect_closed();

    let mut rude = server.client();
    server.send_to_wait(&mut rude, &["BLPOP", "list", "0"]);
    rude.reset();
    server.until_blocked(0);

    // The control connection comes back after it was killed.
    assert!(!server.client().cmd(&["CLIENT", "KILL", "TYPE", "normal"]).is_err());
    assert_eq!(server.cmd(&["PING"]), "PONG");
}

#[test]
fn restart_keeps_the_aof_data() {
    let server = plain().aof().start();
    let (port, pid) = (server.port(), server.pid());
    assert_eq!(server.cmd(&["SET", "k", "v"]), "OK");
    let before = digest(&server);
    server.shutdown();
    assert!(!server.is_alive());
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.cmd(&["GET", "k"]), "v");
    assert_eq!(digest(&server), before);
    server.assert_clean();
}

#[test]
fn kill_9_loses_nothing_that_was_fsynced() {
    let server = plain().aof().start();
    let mut client = server.client();
    for n in 0..100_i64 {
        assert_eq!(client.cmd(&["INCR", "n"]), n + 1);
    }
    server.kill9();
    assert!(!server.is_alive());
    client.expect_closed();
    server.restart();
    assert_eq!(server.cmd(&["GET", "n"]), "100");
}

#[test]
fn rdb_comes_back_only_as_saved() {
    let server = plain().start();
    server.cmd(&["SET", "saved", "1"]);
    server.save();
    server.cmd(&["SET", "lost", "1"]);
    server.restart();
    assert_eq!(server.cmd(&["EXISTS", "saved", "lost"]), 1);
    server.cmd(&["SET", "kept", "1"]);
    server.shutdown_saving();
    server.reconfigure(|builder| builder.databases(2));
    server.restart();
    assert_eq!(server.cmd(&["EXISTS", "saved", "kept"]), 2);
    assert!(server.cmd(&["SELECT", "2"]).is_err());
}

#[test]
fn aof_is_read_as_bytes_and_as_commands() {
    let server = plain().aof().aof_preamble(false).start();
    server.cmd(&["SET", "k", "v"]);
    server.cmd(&["DEL", "k"]);
    let commands = aof_commands(&server);
    let words: Vec<String> =
        commands.iter().map(|command| String::from_utf8_lossy(&command.join(&b' ')).into_owned()).collect();
    assert_eq!(words, ["SELECT 0", "SET k v", "DEL k"]);
    server.cmd(&["SET", "in-base", "v"]);
    server.rewrite_aof();
    assert!(aof_commands(&server).is_empty());
    let bytes = aof_bytes(&server);
    assert!(bytes.windows(7).any(|part| part == b"in-base"));
    server.restart();
    assert_eq!(server.cmd(&["GET", "in-base"]), "v");
}

#[test]
fn replica_gets_in_step_and_comes_back_in_step() {
    let primary = plain().start();
    primary.cmd(&["SET", "before", "1"]);
    let replica = plain().replica_of(&primary).start();
    until_synced(&primary, &replica);
    assert_eq!(replica.cmd(&["GET", "before"]), "1");

    primary.cmd(&["SET", "after", "2"]);
    until_synced(&primary, &replica);
    assert_eq!(replica.cmd(&["GET", "after"]), "2");
    assert_eq!(digest(&primary), digest(&replica));
    assert!(replica.cmd(&["SET", "k", "v"]).err_text().starts_with("READONLY"));

    replica.kill9();
    primary.cmd(&["SET", "meanwhile", "3"]);
    replica.restart();
    until_synced(&primary, &replica);
    assert_eq!(digest(&primary), digest(&replica));
    primary.assert_clean();
    replica.assert_clean();
}

#[test]
fn stopped_server_is_silent_and_goes_on() {
    let server = plain().start();
    let mut client = server.client();
    server.sigstop();
    assert!(server.is_alive());
    client.send(&["PING"]);
    assert_eq!(client.try_read(Duration::from_millis(20)), None);
    server.sigcont();
    assert_eq!(client.read(), "PONG");
    server.sigstop();
    // Dropping a stopped server must not hang.
}

#[test]
fn hung_server_fails_the_test_with_the_command_that_hung() {
    let server = plain().start();
    let mut client = server.client();
    client.set_deadline(Duration::from_millis(50));
    server.sigstop();
    let blamed = panic_of(|| {
        client.cmd(&["GET", "key"]);
    });
    assert!(blamed.contains("no reply to GET key: Silence"), "{blamed}");
}

#[test]
fn until_waits_for_the_condition() {
    let mut looks = 0;
    until("five looks", || {
        looks += 1;
        looks == 5
    });
    let found = support::until_some("a number", || Some(7));
    assert_eq!(found, 7);
    assert_eq!(support::poll(Duration::ZERO, || None::<()>), None);
}

#[test]
fn server_that_refuses_to_start_shows_its_log() {
    let story = plain().config("no-such-setting 1").try_start().err().unwrap();
    assert!(story.contains("no-such-setting"), "{story}");
    let story = Server::builder().module("/nonexistent.so").try_start().err().unwrap();
    assert!(story.contains("nonexistent.so"), "{story}");
}

#[test]
fn crashed_server_is_not_clean() {
    let server = plain().start();
    server.client().send(&["DEBUG", "ASSERT"]);
    until("the server dies", || !server.is_alive());
    assert_eq!(panic_of(|| server.assert_clean()), "the server is dead");
    server.restart();
    let blamed = panic_of(|| server.assert_clean());
    assert!(blamed.contains("ASSERTION FAILED"), "{blamed}");
}

#[test]
fn many_servers_in_parallel_take_different_ports() {
    let ports: Vec<u16> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| plain().start())).collect();
        // A server started in a thread outlives that thread.
        let servers: Vec<Server> = starts.into_iter().map(|one| one.join().unwrap()).collect();
        for server in &servers {
            assert_eq!(server.cmd(&["PING"]), "PONG");
        }
        servers.iter().map(Server::port).collect()
    });
    let mut different = ports.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), ports.len());
}

#[test]
fn server_dies_with_the_test_binary() {
    const CHILD: &str = "HARNESS_DIES_EARLY";
    if std::env::var_os(CHILD).is_some() {
        let server = plain().start();
        println!("\npid {}\ndir {}", server.pid(), server.dir().display());
        std::process::abort();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server_dies_with_the_test_binary", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let pid: u32 = said("pid ").parse().unwrap();
    until("the server is gone", || matches!(support::process_state(pid), None | Some('Z')));
    // Nobody was left to remove it.
    std::fs::remove_dir_all(said("dir ")).unwrap();
}
