//! Keyspace events: one for every change of a hold, with its key and database, in the order in which things happened.

use support::{acquire, args, exec, release, until_synced, waiter, Client, Server, Value};

/// Somebody who listens to all keyspace events of a server.
struct Events {
    client: Client,
    /// What this one's [marks](Events::expect) say: a primary's reach its replicas' listeners as well.
    mark: String,
}

impl Events {
    #[track_caller]
    fn of(server: &Server) -> Events {
        let mut client = server.client();
        assert_eq!(client.cmd(&["PSUBSCRIBE", "__keyevent@*__:*"]).array()[0], "psubscribe");
        Events { client, mark: format!("mark of {}", server.port()) }
    }

    /// The next one of this server: `lock.acquire k`, or `lock.acquire k @3` in a database other than 0.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let message = self.client.read();
            let [_, _, channel, key] = message.array() else { panic!("{message:?}") };
            let (channel, key) = (channel.text(), key.bytes().escape_ascii());
            let (database, event) = channel.strip_prefix("__keyevent@").unwrap().split_once("__:").unwrap();
            let place = if database == "0" { String::new() } else { format!(" @{database}") };
            let event = format!("{event} {key}{place}");
            if !event.starts_with("mark ") || event == self.mark {
                return event;
            }
        }
    }

    /// Exactly these events came since the last call, in this order. Waits for those that are on their way.
    #[track_caller]
    fn expect(&mut self, server: &Server, expected: &[&str]) {
        let mut came: Vec<String> = Vec::new();
        while came.len() < expected.len() {
            came.push(self.next());
            assert_eq!(came.last().unwrap(), expected[came.len() - 1], "after {came:?}");
        }
        // The channel keeps its order: what was published up to now comes before this.
        let (_, whose) = self.mark.split_once(' ').unwrap();
        assert_eq!(server.cmd(&["PUBLISH", "__keyevent@0__:mark", whose]), 1);
        assert_eq!(self.next(), self.mark, "one event too many after {came:?}");
    }
}

/// A server that publishes the events of modules and no others, and somebody who listens.
#[track_caller]
fn listened_to() -> (Server, Events) {
    let server = Server::builder().config("notify-keyspace-events KEd").start();
    let events = Events::of(&server);
    (server, events)
}

#[test]
fn grant_extension_and_release_are_published() {
    let (server, mut events) = listened_to();
    let mut c = server.client();
    let fence = c.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    events.expect(&server, &["lock.acquire k"]);
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a"]), 1);
    events.expect(&server, &["lock.extend k"]);
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "EX", 60, "FENCE", fence, "RAISE", fence + 5]), 1);
    events.expect(&server, &["lock.extend k"]);
    release(&mut c, "k", "a");
    events.expect(&server, &["lock.release k"]);
    server.assert_no_keys();
    server.assert_clean();
}

/// Also on the channel named after the key, as for every event of Redis.
#[test]
fn events_come_by_key_as_well() {
    let (server, _events) = listened_to();
    let mut listener = server.client();
    listener.cmd(&["SUBSCRIBE", "__keyspace@0__:k"]);
    let mut c = server.client();
    acquire(&mut c, "other", "a");
    acquire(&mut c, "k", "a");
    release(&mut c, "k", "a");
    for event in ["lock.acquire", "lock.release"] {
        let message = listener.read();
        assert_eq!(message.array()[1], "__keyspace@0__:k");
        assert_eq!(message.array()[2], event);
    }
    server.assert_clean();
}

#[test]
fn events_carry_their_database_and_keys_of_any_bytes() {
    let (server, mut events) = listened_to();
    let mut c = server.client();
    c.select(3);
    let key = b"\r\n\0\xff k".as_slice();
    c.cmd(&args!["LOCK.ACQUIRE", key, "a", "PX", 600_000]).int();
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", key, "a"]), 1);
    assert_eq!(c.cmd(&args!["LOCK.RELEASE", key, "a"]), 1);
    let expected = ["acquire", "extend", "release"].map(|what| format!("lock.{what} {} @3", key.escape_ascii()));
    events.expect(&server, &expected.each_ref().map(String::as_str));
    server.assert_clean();
}

#[test]
fn hand_off_publishes_the_release_before_the_grant() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    let mut c = waiter(&server, "k", "c");
    events.expect(&server, &["lock.acquire k", "lock.contended k"]);
    release(&mut a, "k", "a");
    b.read().int();
    events.expect(&server, &["lock.release k", "lock.acquire k"]);
    release(&mut b, "k", "b");
    c.read().int();
    events.expect(&server, &["lock.release k", "lock.acquire k"]);
    server.assert_clean();
}

#[test]
fn hand_off_in_another_database_is_published_there() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    a.select(5);
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "30"]).int();
    let mut b = server.client();
    b.select(5);
    b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]).int();
    events.expect(&server, &["lock.acquire k @5", "lock.contended k @5", "lock.expire k @5", "lock.acquire k @5"]);
    server.assert_clean();
}

#[test]
fn lease_end_publishes_expire_and_then_the_next_grant() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "30"]).int();
    let mut b = server.client();
    b.cmd(&["LOCK.ACQUIRE", "k", "b", "PX", "30", "BLOCK", "0"]).int();
    let expected = ["lock.acquire k", "lock.contended k", "lock.expire k", "lock.acquire k", "lock.expire k"];
    events.expect(&server, &expected);
    server.assert_no_keys();
    server.assert_clean();
}

/// The request that finds a run-out lease first does what the timer would have done.
#[test]
fn lease_end_found_by_a_request_is_published_too() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    a.send_many(&[
        &["LOCK.ACQUIRE", "k", "a", "PX", "20"][..],
        &["DEBUG", "SLEEP", "0.05"],
        &["LOCK.ACQUIRE", "k", "b", "PX", "600000"],
    ]);
    for _ in 0..3 {
        assert!(!a.read().is_nil());
    }
    events.expect(&server, &["lock.acquire k", "lock.expire k", "lock.acquire k"]);
    server.assert_clean();
}

#[test]
fn session_end_publishes_session_and_then_the_next_grant() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000", "SESSION"]).int();
    let mut b = server.client();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "PX", "600000", "BLOCK", "0", "SESSION"]);
    a.close();
    b.read().int();
    events.expect(&server, &["lock.acquire k", "lock.contended k", "lock.session k", "lock.acquire k"]);
    b.reset();
    events.expect(&server, &["lock.session k"]);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn downgrade_is_published_and_then_the_grants_that_it_allows() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut shared: Vec<Client> = ["b", "c"]
        .into_iter()
        .map(|owner| {
            let mut client = server.client();
            server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "k", owner, "SHARED", "BLOCK", "0"]);
            client
        })
        .collect();
    events.expect(&server, &["lock.acquire k", "lock.contended k"]);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    for client in &mut shared {
        client.read().int();
    }
    events.expect(&server, &["lock.downgrade k", "lock.acquire k", "lock.acquire k"]);
    // Already shared: nothing changes.
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "nobody", "DOWNGRADE"]), 0);
    events.expect(&server, &[]);
    for owner in ["c", "a", "b"] {
        release(&mut a, "k", owner);
    }
    events.expect(&server, &["lock.release k"; 3]);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 4: the waiter was granted and died before it could be told: its hold ends, and the next one gets it.
#[test]
fn grant_nobody_could_be_told_of_is_published_with_its_release() {
    let (server, mut events) = listened_to();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k", "a");
    let id = b.id();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    let mut c = waiter(&server, "k", "c");
    events.expect(&server, &["lock.acquire k", "lock.contended k"]);
    exec(&mut a, &["LOCK.RELEASE k a", &format!("CLIENT KILL ID {id}")]);
    c.read().int();
    events.expect(&server, &["lock.release k", "lock.acquire k", "lock.release k", "lock.acquire k"]);
    server.assert_clean();
}

/// An operator's DEL has its own event, and comes before the grant that follows from it.
#[test]
fn grant_after_a_removed_key_comes_behind_redis_own_event() {
    let server = Server::builder().config("notify-keyspace-events KEdgx").start();
    let mut events = Events::of(&server);
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    events.expect(&server, &["lock.acquire k", "lock.contended k"]);
    assert_eq!(a.cmd(&["DEL", "k"]), 1);
    b.read().int();
    events.expect(&server, &["del k", "lock.acquire k"]);
    let mut c = waiter(&server, "k", "c");
    assert_eq!(a.cmd(&["PEXPIRE", "k", "30"]), 1);
    c.read().int();
    events.expect(&server, &["lock.contended k", "expire k", "expired k", "lock.acquire k"]);
    release(&mut c, "k", "c");
    events.expect(&server, &["lock.release k"]);
    server.assert_no_keys();
    server.assert_clean();
}

/// Nothing changed, so there is nothing to tell.
#[test]
fn refusals_waits_questions_and_repeated_requests_publish_nothing() {
    let (server, mut events) = listened_to();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k", "a");
    a.cmd(&["LOCK.ACQUIRE", "s", "a", "SHARED", "LIMIT", "1"]).int();
    events.expect(&server, &["lock.acquire k", "lock.acquire s"]);
    for (request, refused) in [
        ("LOCK.ACQUIRE k b", true),
        ("LOCK.ACQUIRE k b SHARED", true),
        ("LOCK.ACQUIRE s b SHARED LIMIT 5", true),
        ("LOCK.ACQUIRE k a", false),
        ("LOCK.ACQUIRE k a PX 900000 BLOCK 0 SHARED", false),
        ("LOCK.ACQUIRE k a SESSION", false),
        ("LOCK.ACQUIRE k a", false),
        ("LOCK.ACQUIRE s a SHARED", false),
        ("LOCK.CHECK k a", false),
        ("LOCK.CHECK k b", true),
        ("LOCK.CHECK k a WAITERS", false),
        ("LOCK.INFO k", false),
        ("LOCK.INFO free", true),
    ] {
        let answer = b.cmd(&request.split(' ').collect::<Vec<_>>());
        assert_eq!(answer.is_nil(), refused, "{request}: {answer:?}");
        events.expect(&server, &[]);
    }
    for request in ["LOCK.RELEASE k b", "LOCK.EXTEND k b", "LOCK.RELEASE free a", "LOCK.EXTEND k a FENCE 1"] {
        assert_eq!(b.cmd(&request.split(' ').collect::<Vec<_>>()), 0, "{request}");
        events.expect(&server, &[]);
    }
    for request in ["LOCK.ACQUIRE k b PX 0", "LOCK.ACQUIRE s a", "LOCK.EXTEND k a PX none", "LOCK.RELEASE k"] {
        assert!(b.cmd(&request.split(' ').collect::<Vec<_>>()).is_err(), "{request}");
        events.expect(&server, &[]);
    }
    // That somebody waits is told, and what becomes of the wait is not.
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "20"]).is_nil());
    events.expect(&server, &["lock.contended k"]);
    let mut w = waiter(&server, "k", "w");
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "w"]), 0);
    assert!(w.read().is_nil(), "withdrawn");
    events.expect(&server, &["lock.contended k"]);
    server.assert_clean();
}

/// The holder need hear only once that others want the lock.
#[test]
fn the_first_waiter_of_a_queue_is_published_and_the_others_are_not() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    let c = waiter(&server, "k", "c");
    events.expect(&server, &["lock.acquire k", "lock.contended k"]);
    // One is left: the queue was not empty.
    c.close();
    server.until_blocked(1);
    let mut d = waiter(&server, "k", "d");
    events.expect(&server, &[]);
    release(&mut a, "k", "a");
    b.read().int();
    events.expect(&server, &["lock.release k", "lock.acquire k"]);
    release(&mut b, "k", "b");
    d.read().int();
    events.expect(&server, &["lock.release k", "lock.acquire k"]);
    let mut e = waiter(&server, "k", "e");
    events.expect(&server, &["lock.contended k"]);
    release(&mut d, "k", "d");
    e.read().int();
    release(&mut e, "k", "e");
    server.assert_no_keys();
    server.assert_clean();
}

/// A transaction and a script cannot wait, and a request that would close a cycle does not.
#[test]
fn requests_that_do_not_wait_after_all_publish_no_contention() {
    let (server, mut events) = listened_to();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "one", "a");
    acquire(&mut a, "two", "b");
    events.expect(&server, &["lock.acquire one", "lock.acquire two"]);
    assert!(exec(&mut b, &["LOCK.ACQUIRE one b BLOCK 0"])[0].is_nil());
    let script = "return redis.call('LOCK.ACQUIRE', KEYS[1], 'b', 'BLOCK', '0')";
    assert!(b.cmd(&["EVAL", script, "1", "one"]).is_nil());
    events.expect(&server, &[]);
    let mut w = waiter(&server, "two", "a");
    events.expect(&server, &["lock.contended two"]);
    assert!(b.cmd(&["LOCK.ACQUIRE", "one", "b", "BLOCK", "0"]).err_text().starts_with("DEADLOCK "));
    events.expect(&server, &[]);
    release(&mut a, "two", "b");
    w.read().int();
    server.assert_clean();
}

/// One hold answers both requests of one owner.
#[test]
fn two_waits_of_one_owner_are_one_grant() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let (mut first, mut second) = (waiter(&server, "k", "b"), waiter(&server, "k", "b"));
    release(&mut a, "k", "a");
    assert_eq!(first.read(), second.read());
    events.expect(&server, &["lock.acquire k", "lock.contended k", "lock.release k", "lock.acquire k"]);
    server.assert_clean();
}

#[test]
fn commands_in_a_transaction_and_a_script_publish_in_their_order() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    exec(&mut a, &["LOCK.ACQUIRE k1 a", "LOCK.ACQUIRE k2 a", "LOCK.RELEASE k1 a", "LOCK.EXTEND k2 a"]);
    events.expect(&server, &["lock.acquire k1", "lock.acquire k2", "lock.release k1", "lock.extend k2"]);
    let script = "redis.call('LOCK.RELEASE', KEYS[1], 'a'); return redis.call('LOCK.ACQUIRE', KEYS[1], 'b')";
    a.cmd(&["EVAL", script, "1", "k2"]).int();
    events.expect(&server, &["lock.release k2", "lock.acquire k2"]);
    server.assert_clean();
}

#[test]
fn nothing_is_published_while_the_class_is_off() {
    let server = Server::start();
    let mut events = Events::of(&server);
    let mut a = server.client();
    for classes in ["", "KEg$lshzxe", "KEd"] {
        assert_eq!(server.cmd(&["CONFIG", "SET", "notify-keyspace-events", classes]), "OK");
        acquire(&mut a, "k", "a");
        assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a"]), 1);
        release(&mut a, "k", "a");
        let on = ["lock.acquire k", "lock.extend k", "lock.release k"];
        let expected: &[&str] = if classes == "KEd" { &on } else { &[] };
        events.expect(&server, expected);
    }
    server.assert_clean();
}

#[test]
fn only_the_primary_publishes_and_a_promoted_replica_from_then_on() {
    let (primary, mut events) = listened_to();
    let replica = Server::builder().config("notify-keyspace-events KEd").replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut below = Events::of(&replica);
    let mut a = primary.client();
    acquire(&mut a, "k", "a");
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "300000"]), 1);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    release(&mut a, "k", "a");
    a.cmd(&["LOCK.ACQUIRE", "k", "b", "PX", "30"]).int();
    events.expect(
        &primary,
        &["lock.acquire k", "lock.extend k", "lock.downgrade k", "lock.release k", "lock.acquire k", "lock.expire k"],
    );
    acquire(&mut a, "k", "c");
    until_synced(&primary, &replica);
    below.expect(&replica, &[]);
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "k", "c"]), Value::Int(1));
    below.expect(&replica, &["lock.release k"]);
    primary.assert_clean();
    replica.assert_clean();
}

/// Each hold of a shared lock has its own events.
#[test]
fn every_shared_hold_publishes_its_own_end() {
    let (server, mut events) = listened_to();
    let (mut a, mut b) = (server.client(), server.client());
    for owner in ["a", "b", "c"] {
        a.cmd(&["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000"]).int();
    }
    b.cmd(&["LOCK.ACQUIRE", "k", "d", "SHARED", "SESSION"]).int();
    b.cmd(&["LOCK.ACQUIRE", "k2", "d", "SESSION"]).int();
    let granted = ["lock.acquire k"; 4];
    events.expect(&server, &[&granted[..], &["lock.acquire k2"]].concat());
    for owner in ["a", "b"] {
        a.cmd(&["LOCK.EXTEND", "k", owner, "PX", "20"]).int();
        events.expect(&server, &["lock.extend k", "lock.expire k"]);
    }
    b.close();
    let mut sessions = [events.next(), events.next()];
    sessions.sort_unstable();
    assert_eq!(sessions, ["lock.session k", "lock.session k2"]);
    release(&mut a, "k", "c");
    events.expect(&server, &["lock.release k"]);
    server.assert_no_keys();
    server.assert_clean();
}

/// The hold goes on under its new name, which is no grant; who waits at the old name is granted there.
#[test]
fn renamed_lock_publishes_only_the_grant_at_its_old_name() {
    let (server, mut events) = listened_to();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut w = waiter(&server, "k", "w");
    assert_eq!(a.cmd(&["RENAME", "k", "k2"]), "OK");
    w.read().int();
    release(&mut a, "k2", "a");
    events.expect(&server, &["lock.acquire k", "lock.contended k", "lock.acquire k", "lock.release k2"]);
    server.assert_clean();
}
