//! LOCK.INFO: who holds a lock, under what terms, and who waits for it.

use support::{acquire, args, held, release, until, waiter, waiter_in, Client, Server, Value};

/// LOCK.INFO of a lock that is held; its entries are all there, in order, and agree with one another.
#[track_caller]
fn info(server: &Server, key: &str) -> Value {
    let info = server.cmd(&["LOCK.INFO", key]);
    assert_well_formed(&info);
    info
}

#[track_caller]
fn assert_well_formed(info: &Value) {
    let names = |map: &Value| map.map().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(info), ["mode", "holders-count", "holders", "waiters", "queue", "cooling"]);
    let (holders, queue) = (info.get("holders"), info.get("queue"));
    for holder in holders.array() {
        assert_eq!(names(holder), ["owner", "fence", "ttl", "held", "limit", "session", "weight", "max"]);
    }
    for waiter in queue.array() {
        assert_eq!(names(waiter), ["owner", "mode", "waited", "client"]);
    }
    let shown = |list: &Value| i64::try_from(list.array().len()).unwrap();
    assert_eq!(shown(&holders), info.get("holders-count").int().min(100));
    assert_eq!(shown(&queue), info.get("waiters").int().min(10));
    let fences: Vec<i64> = holders.array().iter().map(|holder| holder.get("fence").int()).collect();
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
}

/// One field of every entry in the list of that name.
#[track_caller]
fn column(info: &Value, list: &str, field: &str) -> Vec<Value> {
    info.get(list).array().iter().map(|entry| entry.get(field)).collect()
}

#[track_caller]
fn numbers(info: &Value, list: &str, field: &str) -> Vec<i64> {
    column(info, list, field).iter().map(Value::int).collect()
}

#[track_caller]
fn texts(info: &Value, list: &str, field: &str) -> Vec<String> {
    column(info, list, field).iter().map(Value::text).collect()
}

/// LOCK.ACQUIRE SHARED with these options, for longer than any test lasts: the fence.
#[track_caller]
fn shared(client: &mut Client, owner: &str, options: &[&str]) -> i64 {
    client.cmd(&[&["LOCK.ACQUIRE", "k", owner, "PX", "600000", "SHARED"], options].concat()).int()
}

#[test]
fn info_of_an_exclusive_hold_tells_all_of_it() {
    let server = Server::start();
    let mut a = server.client();
    let owner = [0_u8, 255, b'\r', b'\n', b'a'];
    let fence = a.cmd(&args!["LOCK.ACQUIRE", "k", owner, "PX", 60_000]).int();
    let found = info(&server, "k");
    assert_eq!(found.get("mode"), "exclusive");
    assert_eq!((found.get("holders-count"), found.get("waiters")), (Value::Int(1), Value::Int(0)));
    let holder = found.get("holders").array()[0].clone();
    assert_eq!(holder.get("owner"), Value::Bulk(owner.to_vec()));
    assert_eq!(holder.get("fence"), fence);
    assert_eq!((holder.get("limit"), holder.get("session")), (Value::Int(0), Value::Int(0)));
    let (ttl, since) = (holder.get("ttl").int(), holder.get("held").int());
    assert!((40_000..=60_000).contains(&ttl), "{ttl}");
    assert!((0..20_000).contains(&since), "{since}");
    assert_eq!(found.get("queue"), Value::Array(Vec::new()));
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", owner]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// `held` counts from the grant, `ttl` down to the end in force.
#[test]
fn info_tells_how_long_a_hold_is_held_and_how_long_it_lasts() {
    let server = Server::start();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "60000"]).int();
    let of = |field: &str| numbers(&info(&server, "k"), "holders", field)[0];
    until("some time has passed", || of("held") >= 150);
    let ttl = of("ttl");
    assert!((30_000..=60_000 - 149).contains(&ttl), "{ttl}");
    // Neither an extension nor a repeated request is a grant.
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "500000"]), 1);
    assert!(of("held") >= 150 && of("ttl") > 400_000);
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    assert!(of("held") >= 150 && of("ttl") > 500_000);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    assert!(of("held") >= 150 && of("ttl") > 500_000);
    release(&mut a, "k", "a");
    acquire(&mut a, "k", "a");
    assert!(of("held") < of("ttl"));
    let (mut b, since) = (waiter(&server, "k", "b"), of("held"));
    until("the waiter has waited", || of("held") > since + 150);
    release(&mut a, "k", "a");
    b.read().int();
    assert!(of("held") < 10_000, "since the grant, not the request");
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn info_tells_limits_and_sessions_of_shared_holders() {
    let server = Server::start();
    let (mut one, mut two) = (server.client(), server.client());
    let fences = [
        shared(&mut one, "plain", &[]),
        shared(&mut one, "limited", &["LIMIT", "10"]),
        shared(&mut one, "bound", &["SESSION"]),
        shared(&mut two, "both", &["LIMIT", "7", "SESSION"]),
    ];
    let found = info(&server, "k");
    assert_eq!((found.get("mode"), found.get("holders-count")), (Value::Bulk(b"shared".to_vec()), Value::Int(4)));
    assert_eq!(texts(&found, "holders", "owner"), ["plain", "limited", "bound", "both"]);
    assert_eq!(numbers(&found, "holders", "fence"), fences);
    assert_eq!(numbers(&found, "holders", "limit"), [0, 10, 0, 7]);
    assert_eq!(numbers(&found, "holders", "session"), [0, 0, one.id(), two.id()]);
    // Trap 56: an owner that reacquires with another limit keeps the one in force. Its session is that of the last request.
    assert_eq!(shared(&mut two, "limited", &["LIMIT", "3", "SESSION"]), fences[1]);
    assert_eq!(shared(&mut two, "bound", &[]), fences[2]);
    let found = info(&server, "k");
    assert_eq!(numbers(&found, "holders", "limit"), [0, 10, 0, 7]);
    assert_eq!(numbers(&found, "holders", "session"), [0, two.id(), 0, two.id()]);
    one.close();
    two.close();
    until("the sessions ended", || info(&server, "k").get("holders-count") == 2);
    let found = info(&server, "k");
    assert_eq!(texts(&found, "holders", "owner"), ["plain", "bound"]);
    for owner in ["plain", "bound"] {
        assert_eq!(server.cmd(&["LOCK.RELEASE", "k", owner]), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn info_tells_the_mode_after_a_downgrade() {
    let (server, mut a, fence) = held();
    assert_eq!(info(&server, "k").get("mode"), "exclusive");
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    let found = info(&server, "k");
    assert_eq!(found.get("mode"), "shared");
    assert_eq!((numbers(&found, "holders", "fence"), numbers(&found, "holders", "limit")), (vec![fence], vec![0]));
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn info_shows_the_hundred_holders_of_the_smallest_fences() {
    let server = Server::start();
    let mut client = server.client();
    let mut owners: Vec<String> = (0..150).map(|number| format!("owner {number}")).collect();
    for owner in &owners {
        shared(&mut client, owner, &[]);
    }
    let found = info(&server, "k");
    assert_eq!((found.get("holders-count"), found.get("waiters")), (Value::Int(150), Value::Int(0)));
    assert_eq!(texts(&found, "holders", "owner"), owners[..100]);
    // Whoever comes again stands at the end, with a new fence.
    for _ in 0..20 {
        let owner = owners.remove(10);
        release(&mut client, "k", &owner);
        shared(&mut client, &owner, &[]);
        owners.push(owner);
    }
    let found = info(&server, "k");
    assert_eq!(found.get("holders-count"), 150);
    assert_eq!(texts(&found, "holders", "owner"), owners[..100]);
    for owner in &owners {
        release(&mut client, "k", owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn info_shows_the_ten_waiters_at_the_head_in_their_order() {
    let (server, mut a, _) = held();
    let mut waiters: Vec<Client> = (0..15)
        .map(|number: usize| {
            let mut client = server.client();
            let owner = format!("w{number}");
            let mode: &[&str] = if number % 3 == 1 { &["SHARED", "LIMIT", "2"] } else { &[] };
            server.send_to_wait(&mut client, &[&["LOCK.ACQUIRE", "k", &owner, "BLOCK", "0"], mode].concat());
            client
        })
        .collect();
    let expected = |numbers: &[usize]| numbers.iter().map(|number| format!("w{number}")).collect::<Vec<_>>();
    let found = info(&server, "k");
    assert_eq!((found.get("holders-count"), found.get("waiters")), (Value::Int(1), Value::Int(15)));
    assert_eq!(texts(&found, "queue", "owner"), expected(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    // CLIENT LIST shows the same ids: those of the connections that wait, in the order in which they came.
    let clients = numbers(&found, "queue", "client");
    assert!(clients.is_sorted_by(|one, next| one < next), "{clients:?}");
    for client in clients {
        let listed = server.cmd(&args!["CLIENT", "LIST", "ID", client]).text();
        assert!(listed.contains(&format!("id={client} ")) && listed.contains("cmd=lock.acquire"), "{listed}");
    }
    let modes = texts(&found, "queue", "mode");
    assert_eq!(modes[..4], ["exclusive", "shared", "exclusive", "exclusive"]);
    let waited = numbers(&found, "queue", "waited");
    assert!(waited.is_sorted_by(|one, next| one >= next) && waited[9] >= 0 && waited[0] < 20_000, "{waited:?}");
    until("they wait longer", || numbers(&info(&server, "k"), "queue", "waited")[9] > waited[9] + 100);

    // One withdrawn, one gone, and the head granted.
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "w4"]), 0);
    assert!(waiters[4].read().is_nil());
    waiters.remove(7).close();
    server.until_blocked(13);
    release(&mut a, "k", "a");
    waiters[0].read().int();
    let found = info(&server, "k");
    assert_eq!(texts(&found, "holders", "owner"), ["w0"]);
    assert_eq!(found.get("waiters"), 12);
    assert_eq!(texts(&found, "queue", "owner"), expected(&[1, 2, 3, 5, 6, 8, 9, 10, 11, 12]));
    drop(waiters);
    server.until_blocked(0);
    release(&mut a, "k", "w0");
    server.assert_no_keys();
    server.assert_clean();
}

/// Waiters stay with the name and the database that they asked for.
#[test]
fn info_tells_waiters_of_the_same_name_in_other_databases_apart() {
    let (server, mut a, _) = held();
    a.select(1);
    acquire(&mut a, "k", "z");
    let mut waiters = [waiter_in(&server, 1, "k", "b"), waiter(&server, "k", "c"), waiter(&server, "k", "d")];
    assert_eq!(texts(&info(&server, "k"), "queue", "owner"), ["c", "d"]);
    assert_eq!(server.cmd(&["SWAPDB", "0", "1"]), "OK");
    let found = info(&server, "k");
    assert_eq!(
        (texts(&found, "holders", "owner"), texts(&found, "queue", "owner")),
        (vec!["z".to_owned()], vec!["c".to_owned(), "d".to_owned()])
    );
    assert_eq!(server.cmd(&["FLUSHALL"]), "OK");
    for waiter in &mut waiters[..2] {
        waiter.read().int();
    }
    let found = info(&server, "k");
    assert_eq!((texts(&found, "holders", "owner")[0].as_str(), found.get("waiters")), ("c", Value::Int(1)));
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "c"]), 1);
    waiters[2].read().int();
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "d"]), 1);
    release(&mut waiters[0], "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}
