//! Shared holders and waiters on a server that is paused, out of memory, busy or full of clients.

use super::waiter;
use support::{
    acquire, aof_commands, args, assert_all_over, digest, holders, holds, release_all, said, say, until, until_synced,
    Client, Server, Value,
};

/// A reader's lease, a wait and a permit's lease end while the server would accept no write; `b` and `c` come in together
/// once it does.
fn outlast(server: &Server, stop: impl FnOnce(), go_on: impl FnOnce()) {
    let mut short = server.client();
    say(server, "LOCK.ACQUIRE k stays SHARED PX 600000").int();
    let fence = say(server, "LOCK.ACQUIRE k lapses SHARED LIMIT 2 PX 1200").int();
    let ((mut b, _), (mut c, _)) = (waiter(server, "b SHARED"), waiter(server, "c SHARED"));
    server.send_to_wait(&mut short, &["LOCK.ACQUIRE", "k", "short", "SHARED", "BLOCK", "1600"]);
    stop();
    let before = digest(server);
    // Began after that lease and is longer, so the lease is over too.
    assert_eq!(short.read(), Value::NullBulk);
    server.assert_waiting(&mut b);
    server.assert_waiting(&mut c);
    assert_eq!(holders(server), ["stays"], "LOCK.INFO leaves out what has run out");
    assert_eq!(digest(server), before, "something was written");
    go_on();
    let second = b.read().int();
    assert!(second > fence && c.read().int() > second);
    assert_eq!(holders(server), ["stays", "b", "c"]);
    release_all(server, &["stays", "b", "c"]);
}

/// Trap 9: CLIENT PAUSE WRITE, with an AOF that a write would have to go to.
#[test]
fn paused_server_ends_and_grants_no_shared_hold_until_the_pause_is_over() {
    let server = Server::builder().aof().start();
    outlast(
        &server,
        || assert_eq!(say(&server, "CLIENT PAUSE 100000 WRITE"), "OK"),
        || assert_eq!(say(&server, "CLIENT UNPAUSE"), "OK"),
    );
    assert_all_over(&server);
}

/// Trap 50: too few replicas, then one comes.
#[test]
fn server_with_too_few_replicas_lets_readers_in_together_when_they_are_back() {
    let primary = Server::start();
    let mut replica = None;
    outlast(
        &primary,
        || assert_eq!(say(&primary, "CONFIG SET min-replicas-to-write 1"), "OK"),
        || replica = Some(Server::builder().replica_of(&primary).start()),
    );
    let replica = replica.unwrap();
    until_synced(&primary, &replica);
    assert_eq!(digest(&replica), digest(&primary));
    assert_all_over(&primary);
    assert_all_over(&replica);
}

/// Trap 47: out of memory. No request is let in; a downgrade, a release and a lease's end still let waiters in.
#[test]
fn server_out_of_memory_downgrades_and_lets_waiting_readers_in() {
    let server = Server::builder().config("maxmemory-policy noeviction").start();
    say(&server, "LOCK.ACQUIRE k x PX 600000").int();
    let [mut b, mut c, mut d] = ["b SHARED LIMIT 2", "c SHARED", "d SHARED"].map(|asks| waiter(&server, asks).0);
    assert_eq!(say(&server, "CONFIG SET maxmemory 1"), "OK");
    for refused in ["LOCK.ACQUIRE k x SHARED", "LOCK.ACQUIRE k new SHARED BLOCK 0"] {
        assert!(say(&server, refused).err_text().starts_with("OOM "), "{refused}");
    }
    assert_eq!(say(&server, "LOCK.RELEASE k x DOWNGRADE"), 1);
    b.read().int();
    assert_eq!(say(&server, "LOCK.EXTEND k x PX 50"), 1);
    c.read().int();
    server.assert_waiting(&mut d);
    assert_eq!(holders(&server), ["b", "c"]);
    release_all(&server, &["b"]);
    d.read().int();
    release_all(&server, &["c", "d"]);
    assert_eq!(say(&server, "CONFIG SET maxmemory 0"), "OK");
    assert_all_over(&server);
}

/// Trap 46: a reader asks after another's lease is over and before any timer could run: the end and the grant are one unit.
#[test]
fn request_after_a_shared_lease_no_timer_has_ended_is_one_change() {
    let server = Server::builder().aof().start();
    let mut a = server.client();
    say(&server, "LOCK.ACQUIRE k stays SHARED PX 600000").int();
    let before = aof_commands(&server).len();
    let answers = a.pipeline(&[
        &["LOCK.ACQUIRE", "k", "over", "SHARED", "LIMIT", "2", "PX", "20"][..],
        &["DEBUG", "SLEEP", "0.05"],
        &["LOCK.ACQUIRE", "k", "b", "SHARED", "PX", "600000"],
        &["LOCK.EXTEND", "k", "over"],
    ]);
    assert!(answers[2].int() > answers[0].int());
    assert_eq!(answers[3], 0);
    // After the grant before: one effect, or several between one MULTI and its EXEC.
    let recorded: Vec<String> = aof_commands(&server)[before..].iter().map(|command| said(command)).collect();
    let unit = &recorded[1..];
    let framed = || unit[0] == "MULTI" && unit.iter().position(|word| word == "EXEC") == Some(unit.len() - 1);
    assert!(unit.len() == 1 || framed(), "{recorded:?}");
    let data = digest(&server);
    assert_eq!(say(&server, "DEBUG LOADAOF"), "OK");
    assert_eq!(digest(&server), data);
    assert_eq!(holders(&server), ["stays", "b"]);
    release_all(&server, &["stays", "b"]);
    assert_all_over(&server);
}

/// Trap 23: a thousand shared leases of one lock end by themselves, none stays, and each end is told.
#[test]
fn thousand_shared_leases_end_by_themselves() {
    let primary = Server::builder().aof_fsync("no").start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    say(&primary, "LOCK.ACQUIRE k stays SHARED PX 600000").int();
    let mut client = primary.client();
    let commands: Vec<_> =
        (0..1000).map(|number| args!["LOCK.ACQUIRE", "k", format!("o{number}"), "SHARED", "PX", 80].to_vec()).collect();
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    let replies = client.pipeline(&commands);
    assert!(replies.iter().all(|reply| reply.int() > 0), "without a limit all come in");
    let (mut w, _) = waiter(&primary, "w");
    until("only the long lease is left", || holders(&primary) == ["stays"]);
    primary.assert_waiting(&mut w);
    // Not only LOCK.INFO leaves them out: the key holds no more than that one hold.
    let alone = |server: &Server| server.cmd(&["DUMP", "k"]).bytes().len() < 200;
    until("their ends were acted on", || alone(&primary));
    until_synced(&primary, &replica);
    assert!(alone(&replica));
    assert_eq!(digest(&replica), digest(&primary));
    release_all(&primary, &["stays"]);
    w.read().int();
    release_all(&primary, &["w"]);
    until_synced(&primary, &replica);
    assert_all_over(&primary);
    assert_all_over(&replica);
}

/// Trap 42: more than a thousand wait for one lock; every second one leaves, from the middle of the line, then all others, and the
/// memory they took is back (a server gives back that of 250 waiters a second). Those who stayed are served meanwhile.
#[test]
fn a_thousand_waiters_may_leave_at_once() {
    const WAITERS: usize = 1200;
    let server = Server::builder().config("hz 100").start();
    let mut a = server.client();
    acquire(&mut a, "k", "x");
    let before = server.info_number("memory", "used_memory");
    let mut clients: Vec<Option<Client>> = (0..WAITERS)
        .map(|number| {
            let mut client = server.client();
            let ask = args!["LOCK.ACQUIRE", "k", format!("o{number}"), "PX", 600_000, "BLOCK", 0, "SHARED"];
            client.send(&ask[..if number % 3 == 0 { 7 } else { 8 }]);
            Some(client)
        })
        .collect();
    server.until_blocked(WAITERS as i64);
    assert_eq!(say(&server, "LOCK.INFO k").get("waiters"), WAITERS as i64);
    for client in clients.iter_mut().step_by(2) {
        *client = None;
    }
    server.until_blocked(WAITERS as i64 / 2);
    assert_eq!(say(&server, "LOCK.INFO k").get("waiters"), WAITERS as i64 / 2);
    assert!(holds(&mut a, "k", "x"));

    // Whoever of them stands first is served; the others leave while it holds.
    release_all(&server, &["x"]);
    until("somebody was let in", || !holders(&server).is_empty());
    clients.clear();
    server.until_blocked(0);
    until("nobody waits", || say(&server, "LOCK.INFO k").get("waiters") == 0);
    assert_eq!(say(&server, "DEL k"), 1);
    let leftover = || server.info_number("memory", "used_memory") - before;
    until("the memory is back", || leftover() < 1 << 20);
    acquire(&mut a, "k", "x");
    release_all(&server, &["x"]);
    assert_all_over(&server);
}

/// Trap 45: shared waiters that speak RESP3.
#[test]
fn shared_waiters_in_resp3_get_replies_of_resp3() {
    let server = Server::start();
    let fence = say(&server, "LOCK.ACQUIRE k x").int();
    let mut clients = ["b SHARED", "* SHARED", "* SHARED LIMIT 3"].map(|asks| {
        let mut client = server.client();
        client.resp3();
        let command = format!("LOCK.ACQUIRE k {asks} BLOCK 0");
        server.send_to_wait(&mut client, &command.split(' ').collect::<Vec<_>>());
        client
    });
    let mut late = server.client();
    late.resp3();
    assert_eq!(late.cmd(&["LOCK.ACQUIRE", "k", "*", "SHARED", "BLOCK", "20"]), Value::Null);
    release_all(&server, &["x"]);
    assert!(matches!(clients[0].read(), Value::Int(granted) if granted > fence));
    for client in &mut clients[1..] {
        let Value::Array(pair) = client.read() else { panic!("expected [owner, fence]") };
        let [Value::Bulk(owner), Value::Int(fence)] = pair.as_slice() else { panic!("{pair:?}") };
        assert_eq!(client.cmd(&args!["LOCK.RELEASE", "k", owner, "FENCE", fence]), 1);
    }
    release_all(&server, &["b"]);
    assert_all_over(&server);
}

/// Trap 45: shared waiters that turned their replies off, or skip one: granted among others, and told nothing.
#[test]
fn shared_waiters_without_replies_are_granted_and_told_nothing() {
    for silence in ["OFF", "SKIP"] {
        let server = Server::start();
        say(&server, "LOCK.ACQUIRE k x").int();
        let (mut quiet, mut leaves) = (server.client(), server.client());
        for (client, owner) in [(&mut quiet, "quiet"), (&mut leaves, "leaves")] {
            client.send(&["CLIENT", "REPLY", silence]);
            server.send_to_wait(client, &["LOCK.ACQUIRE", "k", owner, "SHARED", "BLOCK", "0"]);
        }
        let (mut c, _) = waiter(&server, "c SHARED");
        leaves.close();
        server.until_blocked(2);
        release_all(&server, &["x"]);
        c.read().int();
        assert_eq!(holders(&server), ["quiet", "c"], "{silence}");
        if silence == "OFF" {
            quiet.send(&["CLIENT", "REPLY", "ON"]);
            assert_eq!(quiet.read(), "OK");
        }
        assert_eq!(quiet.cmd(&["PING"]), "PONG", "{silence}");
        release_all(&server, &["quiet", "c"]);
        assert_all_over(&server);
    }
}
