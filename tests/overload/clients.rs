//! Overload: limits of the server and of the module are reached while many clients wait. A client that is thrown out leaves
//! the queue, one that is refused is told why, the others are served, and there is room again afterwards.
//!
//! `REDIS_LOCK_CLIENTS=10000` connects more of them.

use std::time::Duration;

use support::{
    acquire, args, bound, can_open, client_count, exec, release, until, waiter, Client, Server, Value, Waiters,
};

/// More than any buffer that the tests allow.
const FLOOD: usize = 2 << 20;

/// The count of that name in INFO redislock.
#[track_caller]
fn count(server: &Server, name: &str) -> i64 {
    server.info_number("redislock", &format!("redislock_{name}"))
}

/// A client that is told of every change of a key under `news:`, and does not listen.
fn deaf(server: &Server) -> Client {
    let mut client = server.client();
    client.resp3();
    assert_eq!(client.cmd(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "news:"]), "OK");
    client
}

/// A client that subscribed, where such a one may wait.
fn subscriber(server: &Server) -> Option<Client> {
    let version = server.version();
    if version.valkey && version.number >= (8, 1, 0) {
        return None;
    }
    let mut client = server.client();
    client.resp3();
    client.send(&["SUBSCRIBE", "news"]);
    client.read_push();
    Some(client)
}

/// Overflows the output buffers of all who listen to news.
fn flood(server: &Server) {
    let news = format!("news:{}", "x".repeat(FLOOD));
    assert_eq!(server.cmd(&["SET", &news, "x"]), "OK");
    assert_eq!(server.cmd(&["DEL", &news]), 1);
    server.cmd(&["PUBLISH", "news", &news]).int();
}

/// A server that closes clients which do not read a flood.
fn impatient_server() -> Server {
    let limits = "client-output-buffer-limit normal 1mb 0 0 pubsub 1mb 0 0";
    Server::builder().config(limits).start()
}

#[test]
fn waiter_whose_output_buffer_overflows_leaves_the_queue() {
    let server = impatient_server();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let (mut deaf_ones, mut waiting) = (Vec::new(), Waiters::new());
    for n in 0..20 {
        for mut client in [Some(deaf(&server)), subscriber(&server)].into_iter().flatten() {
            server.send_to_wait(&mut client, &args!["LOCK.ACQUIRE", "k", format!("deaf{n}"), "BLOCK", 0]);
            deaf_ones.push(client);
        }
        let owner = format!("b{n}");
        waiting.insert(owner.clone(), waiter(&server, "k", &owner));
    }
    // And a holder, whose session ends.
    let mut holder = deaf(&server);
    bound(&mut holder, "k2", "deaf");
    let mut next = waiter(&server, "k2", "next");

    flood(&server);
    next.read().int();
    server.until_blocked(20);
    assert_eq!(count(&server, "waits_abandoned"), i64::try_from(deaf_ones.len()).unwrap());
    assert_eq!(server.serve("k", &mut waiting), 21);
    assert!(waiting.is_empty());
    release(&mut next, "k2", "next");
    server.assert_all_ended();
}

/// The server closes such a client at the end of the turn only, and until then lets it be answered.
#[test]
fn waiter_closed_by_somebody_elses_doing_in_the_turn_of_its_grant_is_passed_over() {
    let server = impatient_server();
    let mut a = server.client();
    let news = format!("SET news:{} x", "x".repeat(FLOOD));
    let doings: [(&str, &[&str]); 3] =
        [("a tracked key changes", &[&news]), ("its user is deleted", &["ACL DELUSER bob"]), ("nothing", &[])];
    for (what, doing) in doings {
        server.cmd(&["ACL", "SETUSER", "bob", "on", "nopass", "+@all", "~*", "&*"]);
        acquire(&mut a, "k", "a");
        let mut b = deaf(&server);
        assert_eq!(b.cmd(&["AUTH", "bob", "x"]), "OK");
        server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "PX", "600000", "BLOCK", "0"]);
        let mut c = waiter(&server, "k", "c");
        exec(&mut a, &[doing, &["LOCK.RELEASE k a"]].concat());
        if what == "nothing" {
            // It holds on although its connection closes right after the answer.
            b.read().int();
            b.close();
            server.until_clients(2);
            server.assert_waiting(&mut c);
            release(&mut a, "k", "b");
        }
        c.read().int();
        assert_eq!(server.cmd(&["LOCK.CHECK", "k", "b"]), Value::NullBulk, "{what}");
        release(&mut c, "k", "c");
        server.cmd(&["FLUSHALL"]);
        drop(c);
        server.until_clients(1);
    }
    assert_eq!(count(&server, "undelivered_grants"), 2);
    server.assert_all_ended();
}

/// Sends a request to wait on each connection at once, spread over these keys; then waits until so many do.
#[track_caller]
fn rush(server: &Server, keys: &[&str], clients: Vec<Client>, expected: usize) -> Vec<(String, String, Client)> {
    let mut sent = Vec::new();
    for (n, mut client) in clients.into_iter().enumerate() {
        let (key, owner) = (keys[n % keys.len()], format!("w{n}"));
        client.send(&["LOCK.ACQUIRE", key, &owner, "PX", "600000", "BLOCK", "0"]);
        sent.push((key.to_owned(), owner, client));
    }
    server.until_many_blocked(expected);
    // Whoever is refused has been read, and answered, before the second of these is.
    (0..2).for_each(|_| assert_eq!(server.cmd(&["PING"]), "PONG"));
    sent
}

/// Everybody beyond the limits is refused by name. When those in the queue are served, the refused ask again, and so on.
#[test]
fn clients_beyond_the_limits_of_waiters_are_refused_and_come_in_later() {
    let clients = client_count(600);
    if !can_open(clients) {
        return;
    }
    let (per_key, total) = (clients / 6, clients / 3);
    let server = Server::builder()
        .config(format!("maxclients {}", clients + 100))
        .config(format!("redislock.max-waiters {per_key}"))
        .config(format!("redislock.max-waiters-total {total}"))
        .start();
    let keys = ["k0", "k1", "k2", "k3"];
    let mut left = server.connect_many(clients);
    let mut refused_by = [0, 0];
    while !left.is_empty() {
        for key in keys {
            assert!(server.cmd(&["LOCK.ACQUIRE", key, "first", "PX", "600000"]).int() > 0);
        }
        let may_wait = left.len().min(total);
        let mut queues: Vec<Waiters> = keys.iter().map(|_| Waiters::new()).collect();
        for (key, owner, mut client) in rush(&server, &keys, left.split_off(0), may_wait) {
            if server_refused(&mut client, &mut refused_by) {
                left.push(client);
            } else {
                let at = keys.iter().position(|one| *one == key).unwrap();
                queues[at].insert(owner, client);
            }
        }
        for (key, waiting) in keys.iter().zip(&mut queues) {
            assert!(waiting.len() <= per_key, "{} wait for {key}", waiting.len());
            assert_eq!(server.cmd(&["LOCK.INFO", key]).get("waiters"), i64::try_from(waiting.len()).unwrap());
            server.serve(key, waiting);
            assert!(waiting.is_empty());
        }
        server.until_many_blocked(0);
    }
    assert!(refused_by[1] > 0, "{refused_by:?}");
    server.assert_all_ended();
}

/// Whether that answer came, which counts by the setting it names; or none.
#[track_caller]
fn server_refused(client: &mut Client, by: &mut [usize; 2]) -> bool {
    // What is answered at once was, before [`rush`] returned.
    let Some(answer) = client.try_read(Duration::ZERO) else { return false };
    let text = answer.err_text();
    let is_total = text.contains("redislock.max-waiters-total");
    assert!(is_total || text.contains("redislock.max-waiters"), "{text}");
    by[usize::from(is_total)] += 1;
    true
}

#[test]
fn clients_beyond_max_waiters_of_one_lock_are_refused_and_others_are_not() {
    let server = Server::builder().config("redislock.max-waiters 100").start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    acquire(&mut a, "k2", "a");
    let mut refused_by = [0, 0];
    let mut waiting = Waiters::new();
    for (_, owner, mut client) in rush(&server, &["k"], server.connect_many(150), 100) {
        if !server_refused(&mut client, &mut refused_by) {
            waiting.insert(owner, client);
        }
    }
    assert_eq!(refused_by, [50, 0]);
    let mut other = waiter(&server, "k2", "b");
    release(&mut a, "k2", "a");
    other.read().int();
    release(&mut other, "k2", "b");
    assert_eq!((server.serve("k", &mut waiting), waiting.len()), (101, 0));
    server.assert_all_ended();
}

#[test]
fn clients_beyond_max_holders_are_refused_and_come_in_as_others_leave() {
    let server = Server::builder().config("redislock.max-holders 100").start();
    let mut clients = server.connect_many(200);
    let ask = |n: usize| args!["LOCK.ACQUIRE", "k", format!("w{n}"), "PX", 600_000, "SHARED", "BLOCK", 0];
    (0..200).for_each(|n| clients[n].send(&ask(n)));
    let answers: Vec<Value> = clients.iter_mut().map(Client::read).collect();
    let (inside, refused): (Vec<usize>, Vec<usize>) = (0..200).partition(|n| !answers[*n].is_err());
    assert_eq!(inside.len(), 100);
    for n in &refused {
        assert!(answers[*n].err_text().contains("redislock.max-holders"), "{:?}", answers[*n]);
    }
    assert_eq!(server.cmd(&["LOCK.INFO", "k"]).get("waiters"), 0);
    for (leaves, comes) in inside.iter().zip(&refused) {
        release(&mut clients[*leaves], "k", &format!("w{leaves}"));
        assert!(clients[*comes].cmd(&ask(*comes)).int() > 0);
    }
    for n in &refused {
        release(&mut clients[*n], "k", &format!("w{n}"));
    }
    server.assert_all_ended();
}

#[test]
fn server_full_of_waiters_turns_new_connections_away_and_goes_on_serving() {
    const MAX: usize = 100;
    let server = Server::builder().config(format!("maxclients {MAX}")).start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    // With those of the server and of the holder.
    let mut waiting = Waiters::new();
    for (_, owner, client) in rush(&server, &["k"], server.connect_many(MAX - 2), MAX - 2) {
        waiting.insert(owner, client);
    }
    for _ in 0..10 {
        let mut refused = server.client();
        let answer = refused.read();
        assert!(answer.err_text().contains("max number of clients"), "{answer:?}");
        refused.expect_closed();
    }
    // One that leaves makes room for another, at the end of the queue.
    let gone = waiting.keys().next().cloned().unwrap();
    waiting.remove(&gone).unwrap().close();
    server.until_blocked(i64::try_from(MAX - 3).unwrap());
    until("there is room", || server.info_number("clients", "connected_clients") < i64::try_from(MAX).unwrap());
    waiting.insert("last".into(), waiter(&server, "k", "last"));
    assert_eq!((server.serve("k", &mut waiting), waiting.len()), (MAX - 1, 0));
    server.assert_all_ended();
}

/// `maxmemory-clients`: the server closes the clients that take most.
#[test]
fn waiter_that_is_evicted_for_its_memory_leaves_the_queue() {
    let server = Server::builder().config("maxmemory-clients 4mb").start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut waiting = Waiters::new();
    let mut fat = Vec::new();
    for n in 0..10 {
        let mut client = server.client();
        bound(&mut client, &format!("own{n}"), "fat");
        server.send_to_wait(&mut client, &args!["LOCK.ACQUIRE", "k", format!("fat{n}"), "BLOCK", 0]);
        fat.push((waiter(&server, &format!("own{n}"), "next"), client));
        let owner = format!("b{n}");
        waiting.insert(owner.clone(), waiter(&server, "k", &owner));
    }
    for (n, (mut next, mut client)) in fat.into_iter().enumerate() {
        // What is pipelined behind the wait stays in the server's buffer.
        assert!(client.try_cmd(&[&b"ECHO"[..], &vec![b'x'; 3 * FLOOD]]).is_err(), "fat{n} was not evicted");
        next.read().int();
        release(&mut next, &format!("own{n}"), "next");
    }
    server.until_blocked(10);
    assert_eq!(server.info_number("stats", "evicted_clients"), 10);
    assert_eq!((server.serve("k", &mut waiting), waiting.len()), (11, 0));
    server.assert_all_ended();
}

/// A grant that was read is kept, also when its reader said in the same breath that it would leave: a lease is not a session.
#[test]
fn grant_that_was_read_before_its_client_quit_is_kept() {
    let server = Server::start();
    acquire(&mut server.client(), "k", "a");
    let mut b = server.client();
    b.send_many(&[&["LOCK.ACQUIRE", "k", "b", "PX", "600000", "BLOCK", "0"][..], &["QUIT"]]);
    server.until_blocked(1);
    let mut c = server.client();
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "PX", "600000", "BLOCK", "0"]);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    let fence = b.read().int();
    assert_eq!(b.read(), "OK");
    b.expect_closed();
    assert_eq!(server.cmd(&["LOCK.CHECK", "k", "b"]).array()[0], fence);
    server.assert_waiting(&mut c);
    assert_eq!(count(&server, "undelivered_grants"), 0);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    assert!(c.read().int() > fence);
}

/// The same by a client whose connection is the first that the server looks at after it has sent the grant.
#[test]
fn grant_that_was_read_before_its_client_left_at_once_is_kept() {
    let server = Server::start();
    let mut a = server.client();
    let large = "x".repeat(FLOOD);
    server.cmd(&["SET", "large", &large]);
    let mut readers: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for _ in 0..20 {
        acquire(&mut a, "k", "a");
        let mut b = server.client();
        // All of it reaches the server in one turn, whose end takes a while after the grant was sent.
        server.sigstop();
        b.send(&["LOCK.ACQUIRE", "k", "b", "PX", "600000", "BLOCK", "0"]);
        a.send(&["LOCK.RELEASE", "k", "a"]);
        for reader in &mut readers {
            reader.send(&["GET", "large"]);
        }
        server.sigcont();
        b.read().int();
        b.close();
        assert_eq!(a.read(), 1);
        release(&mut a, "k", "b");
        for reader in &mut readers {
            assert_eq!(reader.read(), large.as_str());
        }
    }
    assert_eq!(count(&server, "undelivered_grants"), 0);
}

/// And while the server, in the turn of the grant, runs a script that takes so long that it serves clients meanwhile.
#[test]
fn grant_that_was_read_in_the_midst_of_a_long_script_is_kept() {
    // Long after the grant, and at once.
    for patience in [100, 5] {
        let server = Server::builder().config(format!("busy-reply-threshold {patience}")).start();
        let mut a = server.client();
        acquire(&mut a, "k", "a");
        acquire(&mut a, "k2", "a");
        let mut busy = server.client();
        let script = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
                      local from = now() while now() < from + 1000 do end return 1";
        busy.send_many(&[&["LOCK.ACQUIRE", "k", "busy", "BLOCK", "0"][..], &["EVAL", script, "0"]]);
        server.until_blocked(1);
        let mut b = server.client();
        server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k2", "b", "PX", "600000", "BLOCK", "0"]);
        a.send_many(&[&["MULTI"][..], &["LOCK.RELEASE", "k", "a"], &["LOCK.RELEASE", "k2", "a"], &["EXEC"]]);
        let fence = b.read().int();
        b.close();
        assert!(server.client().cmd(&["GET", "k2"]).is_err(), "the script was over too soon");
        busy.read().int();
        assert_eq!(busy.read(), 1);
        server.until_clients(2);
        assert_eq!(server.cmd(&["LOCK.CHECK", "k2", "b"]).array()[0], fence);
        assert_eq!(count(&server, "undelivered_grants"), 0);
    }
}

/// And when its client is evicted for what it had asked for behind its wait, some of which was sent with the grant. It asks
/// for a part of a string: since 8.6 Redis does not count a whole long string as its reader's.
#[test]
fn grant_that_was_read_before_its_client_was_evicted_is_kept() {
    let server = Server::builder().config("maxmemory-clients 8mb").start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    server.cmd(&args!["SETRANGE", "large", 8 * FLOOD, "x"]);
    let mut b = server.client();
    let behind = ["GETRANGE", "large", "1", "-1"];
    b.send_many(&[&["LOCK.ACQUIRE", "k", "b", "PX", "600000", "BLOCK", "0"][..], &behind]);
    server.until_blocked(1);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    let fence = b.read().int();
    until("it is evicted", || server.info_number("stats", "evicted_clients") == 1);
    assert_eq!(server.cmd(&["LOCK.CHECK", "k", "b"]).array()[0], fence);
    assert_eq!(count(&server, "undelivered_grants"), 0);
}
