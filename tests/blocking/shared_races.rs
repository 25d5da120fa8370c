//! Races around blocked clients with shared holders and waiters: one event grants several waiters, and some of them are
//! gone by then. The exclusive cases are in `races.rs`; `shared_waiters.rs` tests paused and busy servers.

use super::waiter;
use support::{
    args, assert_all_over, assert_nothing_unread, exec, holders, let_it_catch_up, release_all, say, until, Client,
    Server, Value,
};

/// Trap 1: of several readers that could come in, one's wait is over, and nobody could act on that before the release.
#[test]
fn reader_whose_wait_runs_out_in_the_turn_of_the_release_is_left_out() {
    let server = Server::start();
    let mut a = server.client();
    say(&server, "LOCK.ACQUIRE k x").int();
    let (mut b, _) = waiter(&server, "b SHARED");
    let mut late = server.client();
    server.send_to_wait(&mut late, &["LOCK.ACQUIRE", "k", "late", "SHARED", "LIMIT", "1", "BLOCK", "800"]);
    let (mut c, _) = waiter(&server, "c SHARED");
    a.send_many(&[&["DEBUG", "SLEEP", "0.9"][..], &["LOCK.RELEASE", "k", "x"]]);
    assert_eq!((a.read(), a.read()), (Value::Simple("OK".into()), Value::Int(1)));
    assert_eq!(late.read(), Value::NullBulk);
    assert!(b.read().int() < c.read().int());
    assert_eq!(holders(&server), ["b", "c"]);
    assert_nothing_unread(&mut late);
    release_all(&server, &["b", "c"]);
    assert_all_over(&server);
}

/// Trap 2: a reader that was just granted with others is unblocked before its answer is handed over.
#[test]
fn client_unblock_in_the_turn_of_the_grants_leaves_every_reader_one_answer() {
    let server = Server::start();
    for round in 0..8 {
        let mut a = server.client();
        say(&server, "LOCK.ACQUIRE k x").int();
        let ((mut b, _), (mut c, id), (mut d, _), (mut w, _)) = (
            waiter(&server, "b SHARED"),
            waiter(&server, "c SHARED"),
            waiter(&server, "d SHARED"),
            waiter(&server, "w"),
        );
        let unblock = format!("CLIENT UNBLOCK {id} {}", ["TIMEOUT", "ERROR"][round % 2]);
        let turn = if round % 4 < 2 { ["LOCK.RELEASE k x", &unblock] } else { [&unblock, "LOCK.RELEASE k x"] };
        exec(&mut a, &turn);
        let told = match c.read() {
            Value::Int(_) => true,
            Value::NullBulk => false,
            Value::Error(text) if text.starts_with("UNBLOCKED ") => false,
            other => panic!("{other:?}"),
        };
        b.read().int();
        d.read().int();
        // Whoever did not learn of its hold has none, whatever the others hold.
        let expected: &[&str] = if told { &["b", "c", "d"] } else { &["b", "d"] };
        until("a hold that nobody was told of is taken back", || holders(&server) == expected);
        server.assert_waiting(&mut w);
        release_all(&server, expected);
        w.read().int();
        release_all(&server, &["w"]);
        for client in [&mut b, &mut c, &mut d, &mut w] {
            assert_nothing_unread(client);
        }
    }
    assert_all_over(&server);
}

/// Trap 3: CLIENT UNBLOCK on the writer that readers stand behind; below 7.4 (Valkey 8) the server says that it cannot.
#[test]
fn unblocked_writer_lets_the_readers_behind_it_in() {
    for way in ["TIMEOUT", "ERROR"] {
        let server = Server::start();
        say(&server, "LOCK.ACQUIRE k a SHARED").int();
        let ((mut w, id), (mut b, _), (mut c, _)) =
            (waiter(&server, "w"), waiter(&server, "b SHARED"), waiter(&server, "c SHARED LIMIT 2"));
        if say(&server, &format!("CLIENT UNBLOCK {id} {way}")) == 0 {
            eprintln!("skipped: this server does not unblock clients of modules");
            assert_eq!(say(&server, "LOCK.RELEASE k w"), 0);
        }
        let told = w.read();
        assert!(told.is_nil() || told.err_text().starts_with("UNBLOCKED "), "{told:?}");
        b.read().int();
        server.assert_waiting(&mut c);
        release_all(&server, &["a"]);
        c.read().int();
        release_all(&server, &["b", "c"]);
        assert_all_over(&server);
    }
}

/// Trap 4: of several readers granted in one turn some are killed in it; their holds are taken back, and theirs only,
/// and the permits go to the next in the queue.
#[test]
fn grants_to_killed_readers_go_to_the_next_ones() {
    let server = Server::start();
    let mut a = server.client();
    let fence = say(&server, "LOCK.ACQUIRE k x").int();
    let ((b_dead, b_id), (mut c, _), (d_dead, d_id)) =
        (waiter(&server, "b SHARED LIMIT 3"), waiter(&server, "c SHARED LIMIT 3"), waiter(&server, "d SHARED LIMIT 3"));
    let ((mut e, _), (mut f, _), (mut g, _)) =
        (waiter(&server, "e SHARED LIMIT 3"), waiter(&server, "f SHARED LIMIT 3"), waiter(&server, "g SHARED LIMIT 3"));
    let (kill_b, kill_d) = (format!("CLIENT KILL ID {b_id}"), format!("CLIENT KILL ID {d_id}"));
    exec(&mut a, &["LOCK.RELEASE k x", &kill_b, &kill_d]);
    for mut dead in [b_dead, d_dead] {
        dead.expect_closed();
    }
    let mut last = fence;
    for client in [&mut c, &mut e, &mut f] {
        let granted = client.read().int();
        assert!(granted > last);
        last = granted;
    }
    assert_eq!(holders(&server), ["c", "e", "f"]);
    server.assert_waiting(&mut g);
    release_all(&server, &["c"]);
    g.read().int();

    // A killed reader's hold keeps no writer out.
    let ((mut h_dead, h_id), (mut w, _)) = (waiter(&server, "h SHARED"), waiter(&server, "w"));
    exec(&mut a, &["LOCK.RELEASE k e", &format!("CLIENT KILL ID {h_id}")]);
    h_dead.expect_closed();
    release_all(&server, &["f", "g"]);
    w.read().int();
    release_all(&server, &["w"]);
    assert_all_over(&server);
}

/// Trap 7: by the time an undelivered shared grant is taken back, its owner has a newer hold, or another holder was
/// raised to the very number of the lost grant.
#[test]
fn taking_back_an_undelivered_shared_grant_spares_every_other_hold() {
    let server = Server::start();
    let mut a = server.client();
    say(&server, "LOCK.ACQUIRE k x").int();
    let ((_b, b_id), (mut c, _)) = (waiter(&server, "b SHARED"), waiter(&server, "c SHARED"));
    let kill = format!("CLIENT KILL ID {b_id}");
    let turn = exec(&mut a, &["LOCK.RELEASE k x", &kill, "LOCK.RELEASE k b", "LOCK.ACQUIRE k b SHARED"]);
    assert_eq!(turn[2], 1, "the grant was not made in the turn of the release");
    let newer = turn[3].int();
    c.read().int();
    let_it_catch_up(&server);
    assert_eq!(holders(&server), ["c", "b"]);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k b FENCE {newer}")), 1);
    release_all(&server, &["c"]);

    // The dead reader's fence is the second after x's; the first goes to c, which is raised to it in the same turn.
    let fence = say(&server, "LOCK.ACQUIRE k x").int();
    let ((mut c, _), (_b, b_id)) = (waiter(&server, "c SHARED"), waiter(&server, "b SHARED"));
    let script = "redis.call('LOCK.RELEASE', KEYS[1], 'x')
        local lost = redis.call('LOCK.CHECK', KEYS[1], 'b')[1]
        redis.call('LOCK.EXTEND', KEYS[1], 'c', 'RAISE', string.format('%.0f', lost))
        return lost";
    assert_eq!(a.cmd(&["MULTI"]), "OK");
    assert_eq!(a.cmd(&["EVAL", script, "1", "k"]), "QUEUED");
    assert_eq!(a.cmd(&args!["CLIENT", "KILL", "ID", b_id]), "QUEUED");
    let lost = a.cmd(&["EXEC"]).array()[0].int();
    assert!(lost > fence);
    assert!(c.read().int() > fence);
    let_it_catch_up(&server);
    assert_eq!(holders(&server), ["c"]);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k c FENCE {lost}")), 1);
    assert_all_over(&server);
}

/// Trap 8: SHARED BLOCK where the server lets nobody block.
#[test]
fn shared_block_in_transactions_and_scripts_is_answered_at_once() {
    let server = Server::start();
    let mut a = server.client();
    let script = "return redis.call('LOCK.ACQUIRE', KEYS[1], ARGV[1], 'SHARED', 'LIMIT', '2', 'BLOCK', '0')";
    say(&server, "LOCK.ACQUIRE k x").int();
    let both = |a: &mut Client| {
        let by_script = a.cmd(&["EVAL", script, "1", "k", "b"]).opt_int();
        (by_script, exec(a, &["LOCK.ACQUIRE k c SHARED LIMIT 2 BLOCK 0"])[0].opt_int())
    };
    assert_eq!(both(&mut a), (None, None));
    assert_eq!(server.blocked(), 0);
    release_all(&server, &["x"]);
    let granted = both(&mut a);
    assert!(granted.0.is_some() && granted.0 < granted.1);
    assert_eq!(exec(&mut a, &["LOCK.ACQUIRE k d SHARED BLOCK 0"]), [Value::NullBulk]);
    release_all(&server, &["b", "c"]);
    assert_all_over(&server);
}

/// Trap 49: of two shared waiters of one owner one dies with the grant on its way to both, among other readers.
#[test]
fn shared_grant_is_kept_as_long_as_its_owner_was_or_will_be_told() {
    // What else happens in the turn of the grant, and whether the hold is kept.
    let cases: [(&[&str], bool); 7] = [
        (&["kill first"], true),
        (&["kill second"], true),
        (&["kill first", "kill second"], false),
        (&["kill first", "kill second", "LOCK.EXTEND k b"], true),
        (&["kill first", "LOCK.ACQUIRE k b SHARED", "kill second"], true),
        (&["kill first", "kill second", "LOCK.RELEASE k b DOWNGRADE"], true),
        (&["kill first", "kill second", "LOCK.EXTEND k c"], false),
    ];
    for (turn, kept) in cases {
        let server = Server::start();
        let mut a = server.client();
        say(&server, "LOCK.ACQUIRE k x").int();
        let ((_first, first_id), (mut c, _), (mut w, _), (_second, second_id)) = (
            waiter(&server, "b SHARED"),
            waiter(&server, "c SHARED"),
            waiter(&server, "w"),
            waiter(&server, "b SHARED LIMIT 5"),
        );
        let turn: Vec<String> = turn
            .iter()
            .map(|step| match *step {
                "kill first" => format!("CLIENT KILL ID {first_id}"),
                "kill second" => format!("CLIENT KILL ID {second_id}"),
                command => command.to_owned(),
            })
            .collect();
        let turn: Vec<&str> = ["LOCK.RELEASE k x"].into_iter().chain(turn.iter().map(String::as_str)).collect();
        exec(&mut a, &turn);
        c.read().int();
        let_it_catch_up(&server);
        let expected: &[&str] = if kept { &["b", "c"] } else { &["c"] };
        assert_eq!(holders(&server), expected, "{turn:?}");
        server.assert_waiting(&mut w);
        release_all(&server, expected);
        w.read().int();
        release_all(&server, &["w"]);
        assert_all_over(&server);
    }
}

/// Trap 52: a DOWNGRADE, or a RELEASE of one of several, is pipelined behind a blocking ACQUIRE: those it lets in are served
/// by it, not by some later look. (The server's own cron runs once a second here, less often than these rounds.)
#[test]
fn downgrade_pipelined_behind_a_wait_lets_readers_in() {
    let server = Server::builder().config("hz 1").config("dynamic-hz no").start();
    let [mut b, mut c, mut d] = [(); 3].map(|()| server.client());
    for _ in 0..20 {
        say(&server, "LOCK.ACQUIRE k x").int();
        b.send_many(&[&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"][..], &["LOCK.RELEASE", "k", "b", "DOWNGRADE"]]);
        server.until_blocked(1);
        let ask: &[&str] = &["LOCK.ACQUIRE", "k", "c", "SHARED", "LIMIT", "2", "BLOCK", "0"];
        c.send_many(&[ask, &["LOCK.RELEASE", "k", "c"]]);
        server.until_blocked(2);
        server.send_to_wait(&mut d, &["LOCK.ACQUIRE", "k", "d", "SHARED", "BLOCK", "0"]);
        release_all(&server, &["x"]);
        let first = b.read().int();
        assert_eq!(b.read(), 1);
        let second = c.read().int();
        assert_eq!(c.read(), 1);
        assert!(first < second && second < d.read().int());
        release_all(&server, &["b", "d"]);
    }
    assert_all_over(&server);
}

/// Trap 56: a holder that reacquires cannot change its limit: neither lower it, nor raise it, nor set its first one.
#[test]
fn limit_in_force_stays_when_its_holder_reacquires() {
    let server = Server::start();
    let limits = || -> Vec<i64> {
        let holds = say(&server, "LOCK.INFO k").get("holders");
        holds.array().iter().map(|hold| hold.get("limit").int()).collect()
    };
    let ten = say(&server, "LOCK.ACQUIRE k ten SHARED LIMIT 10").int();
    let none = say(&server, "LOCK.ACQUIRE k none SHARED").int();
    for again in ["ten SHARED LIMIT 3", "ten SHARED LIMIT 1", "ten SHARED LIMIT 50", "ten SHARED"] {
        assert_eq!(say(&server, &format!("LOCK.ACQUIRE k {again}")), ten);
        assert_eq!(limits(), [10, 0], "{again}");
    }
    assert_eq!(say(&server, "LOCK.ACQUIRE k none SHARED LIMIT 2"), none);
    assert_eq!(limits(), [10, 0]);
    let more: Vec<String> = (3..=10).map(|number| format!("o{number}")).collect();
    for owner in &more {
        say(&server, &format!("LOCK.ACQUIRE k {owner} SHARED")).int();
    }
    assert_eq!(say(&server, "LOCK.ACQUIRE k eleventh SHARED"), Value::NullBulk);
    release_all(&server, &["ten", "none"]);
    release_all(&server, &more.iter().map(String::as_str).collect::<Vec<_>>());
    assert_all_over(&server);
}
