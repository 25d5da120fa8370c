//! SESSION: which connection a hold is bound to, and what moves, keeps and ends that binding. `closing.rs` tests the ways
//! in which connections close.

use super::close_and_settle;
use support::{acquire, args, assert_nothing_unread, bound, exec, release, waiter, waiter_in, Client, Server};

/// A new client that waits for the lock with SESSION.
#[track_caller]
fn bound_waiter(server: &Server, key: &str, owner: &str) -> Client {
    let mut client = server.client();
    server.send_to_wait(&mut client, &["LOCK.ACQUIRE", key, owner, "SESSION", "PX", "600000", "BLOCK", "0"]);
    client
}

/// The fence under which `owner` holds `key`.
#[track_caller]
fn fence_of(server: &Server, key: &str, owner: &str) -> Option<i64> {
    let answer = server.cmd(&["LOCK.CHECK", key, owner]);
    (!answer.is_nil()).then(|| answer.array()[0].int())
}

/// The end of a test that leaves no lock.
#[track_caller]
fn assert_over(server: &Server) {
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn session_ends_every_lock_of_its_connection_and_no_other() {
    let server = Server::start();
    let [mut a, mut other] = [(); 2].map(|()| server.client());
    for number in 0..50 {
        bound(&mut a, &format!("k{number}"), &format!("a{number}"));
    }
    a.select(3);
    bound(&mut a, "k", "a");
    a.select(0);
    let kept = [acquire(&mut a, "without", "a"), bound(&mut other, "others", "a")];
    close_and_settle(&server, a);
    assert_eq!(server.cmd(&["DBSIZE"]), 2);
    other.select(3);
    assert_eq!(other.cmd(&["DBSIZE"]), 0);
    assert_eq!([fence_of(&server, "without", "a"), fence_of(&server, "others", "a")], kept.map(Some));
    close_and_settle(&server, other);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "without", "a"]), 1);
    assert_over(&server);
}

#[test]
fn session_is_not_ended_by_reset_and_what_else_leaves_the_connection_open() {
    let server = Server::start();
    assert_eq!(server.cmd(&["ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all"]), "OK");
    let mut a = server.client();
    let fence = bound(&mut a, "k", "a");
    assert_eq!(a.cmd(&["AUTH", "u", "x"]), "OK");
    a.select(5);
    a.resp3();
    assert_eq!(a.cmd(&["RESET"]), "RESET");
    // Not even when the server has had the time to end it.
    close_and_settle(&server, server.client());
    assert_eq!(fence_of(&server, "k", "a"), Some(fence));
    let mut b = waiter(&server, "k", "b");
    a.close();
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
    assert_over(&server);
}

#[test]
fn lease_ends_a_hold_while_its_session_is_open() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "50", "SESSION"]).int();
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]).int() > fence);
    assert_eq!(fence_of(&server, "k", "a"), None);
    // And what was bound to the connection is so no more.
    close_and_settle(&server, a);
    release(&mut b, "k", "b");
    assert_over(&server);
}

#[test]
fn session_moves_to_the_connection_that_asked_last() {
    let server = Server::start();
    let [mut first, mut second, mut third] = [(); 3].map(|()| server.client());
    let fence = bound(&mut first, "k", "a");
    assert_eq!(bound(&mut second, "k", "a"), fence);
    assert_eq!(bound(&mut third, "k", "a"), fence);
    assert_eq!(bound(&mut second, "k", "a"), fence);
    close_and_settle(&server, first);
    close_and_settle(&server, third);
    assert_eq!(fence_of(&server, "k", "a"), Some(fence));
    close_and_settle(&server, second);
    assert_over(&server);
}

#[test]
fn reacquiring_with_session_binds_and_without_it_unbinds() {
    let server = Server::start();
    // Whether the hold is taken with SESSION, whether it is reacquired with SESSION, and whether by the same connection.
    for (before, after, same) in [(false, true, true), (false, true, false), (true, false, true), (true, false, false)]
    {
        let case = format!("SESSION {before}, then {after}, by the same connection: {same}");
        let (mut taker, mut asker) = (server.client(), server.client());
        let ask = |client: &mut Client, session: bool| match session {
            true => bound(client, "k", "a"),
            false => acquire(client, "k", "a"),
        };
        let fence = ask(&mut taker, before);
        assert_eq!(ask(if same { &mut taker } else { &mut asker }, after), fence, "{case}");
        close_and_settle(&server, taker);
        let kept_by_taker = !(same && after);
        assert_eq!(fence_of(&server, "k", "a").is_some(), kept_by_taker, "{case}: the taker closed");
        close_and_settle(&server, asker);
        assert_eq!(fence_of(&server, "k", "a").is_some(), !after, "{case}: both closed");
        server.cmd(&["LOCK.RELEASE", "k", "a"]).int();
    }
    assert_over(&server);
}

#[test]
fn request_that_was_not_granted_binds_and_unbinds_nothing() {
    let server = Server::start();
    let [mut a, mut s, mut b] = [(); 3].map(|()| server.client());
    bound(&mut a, "k", "a");
    let shared = s.cmd(&["LOCK.ACQUIRE", "shared", "s", "SHARED", "SESSION", "PX", "600000"]).int();
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "SESSION"]).is_nil());
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "SESSION", "BLOCK", "20"]).is_nil());
    assert!(b.cmd(&["LOCK.ACQUIRE", "shared", "s", "SESSION"]).err_text().contains("release"));
    assert!(b.cmd(&["LOCK.ACQUIRE", "shared", "s"]).err_text().contains("release"));
    close_and_settle(&server, b);
    assert!(fence_of(&server, "k", "a").is_some());
    assert_eq!(fence_of(&server, "shared", "s"), Some(shared));
    close_and_settle(&server, a);
    assert_eq!(fence_of(&server, "k", "a"), None);
    close_and_settle(&server, s);
    assert_over(&server);
}

#[test]
fn extension_check_and_downgrade_by_another_connection_leave_the_binding() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let fence = bound(&mut a, "k", "a");
    assert_eq!(b.cmd(&["LOCK.EXTEND", "k", "a", "PX", "500000"]), 1);
    assert_eq!(b.cmd(&args!["LOCK.EXTEND", "k", "a", "RAISE", fence + 1]), 1);
    assert_eq!(b.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence + 1);
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    close_and_settle(&server, b);
    assert_eq!(fence_of(&server, "k", "a"), Some(fence + 1));
    close_and_settle(&server, a);
    assert_over(&server);
}

#[test]
fn session_of_an_ended_hold_spares_every_later_one() {
    let server = Server::start();
    for newer in ["a", "b"] {
        let [mut old, mut new, mut newest] = [(); 3].map(|()| server.client());
        bound(&mut old, "k", "a");
        release(&mut new, "k", "a");
        let fence = acquire(&mut new, "k", newer);
        close_and_settle(&server, old);
        assert_eq!(fence_of(&server, "k", newer), Some(fence));
        release(&mut new, "k", newer);

        bound(&mut new, "k", "a");
        release(&mut new, "k", "a");
        let fence = bound(&mut newest, "k", newer);
        close_and_settle(&server, new);
        assert_eq!(fence_of(&server, "k", newer), Some(fence));
        close_and_settle(&server, newest);
        server.assert_no_keys();
    }
    server.assert_clean();
}

#[test]
fn shared_holders_have_sessions_of_their_own() {
    let server = Server::start();
    let [mut a, mut b, mut c] = [(); 3].map(|()| server.client());
    let shared = |client: &mut Client, owner: &str, session: &[&str]| {
        let ask = ["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000"];
        client.cmd(&[&ask[..], session].concat()).int()
    };
    shared(&mut a, "a", &["SESSION"]);
    let of_b = shared(&mut b, "b", &["SESSION"]);
    // One connection may hold for several owners.
    shared(&mut a, "a2", &["LIMIT", "10", "SESSION"]);
    let of_c = shared(&mut c, "c", &[]);
    let mut exclusive = waiter(&server, "k", "x");
    close_and_settle(&server, a);
    assert_eq!(["a", "b", "a2", "c"].map(|owner| fence_of(&server, "k", owner)), [None, Some(of_b), None, Some(of_c)]);
    close_and_settle(&server, c);
    assert_eq!(fence_of(&server, "k", "c"), Some(of_c));
    close_and_settle(&server, b);
    server.assert_waiting(&mut exclusive);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "c"]), 1);
    assert!(exclusive.read().int() > of_c);
    release(&mut exclusive, "k", "x");
    assert_over(&server);
}

#[test]
fn waiter_with_session_is_bound_when_it_is_granted() {
    let server = Server::start();
    let mut a = server.client();
    bound(&mut a, "k", "a");
    let (mut b, mut c, mut d) =
        (bound_waiter(&server, "k", "b"), bound_waiter(&server, "k", "c"), waiter(&server, "k", "d"));
    release(&mut a, "k", "a");
    let fence = b.read().int();
    // The one before it is not concerned any more.
    close_and_settle(&server, a);
    assert_eq!(fence_of(&server, "k", "b"), Some(fence));
    b.close();
    assert!(c.read().int() > fence);
    c.close();
    d.read().int();
    close_and_settle(&server, d);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "d"]), 1);
    assert_over(&server);
}

/// Trap 49: the hold stays with the waiter that was told, and so does the session.
#[test]
fn session_is_that_of_the_waiter_that_lived_to_be_told() {
    let server = Server::start();
    for first_dies in [true, false] {
        let mut a = server.client();
        let fence = acquire(&mut a, "k", "a");
        let [mut one, mut two] = [(); 2].map(|()| server.client());
        let ids = [one.id(), two.id()];
        for client in [&mut one, &mut two] {
            server.send_to_wait(client, &["LOCK.ACQUIRE", "k", "b", "SESSION", "PX", "600000", "BLOCK", "0"]);
        }
        let mut next = waiter(&server, "k", "next");
        let (mut dead, mut told) = if first_dies { (one, two) } else { (two, one) };
        exec(&mut a, &["LOCK.RELEASE k a", &format!("CLIENT KILL ID {}", ids[usize::from(!first_dies)])]);
        dead.expect_closed();
        let kept = told.read().int();
        assert!(kept > fence);
        close_and_settle(&server, dead);
        assert_eq!(fence_of(&server, "k", "b"), Some(kept), "the first one dies: {first_dies}");
        server.assert_waiting(&mut next);
        told.close();
        assert!(next.read().int() > kept);
        release(&mut next, "k", "next");
    }
    assert_over(&server);
}

#[test]
fn of_two_waiters_of_one_owner_the_one_that_asked_last_decides() {
    let server = Server::start();
    for last_has_session in [true, false] {
        let mut a = server.client();
        acquire(&mut a, "k", "a");
        let mut first = bound_waiter(&server, "k", "b");
        let mut last = match last_has_session {
            true => bound_waiter(&server, "k", "b"),
            false => waiter(&server, "k", "b"),
        };
        release(&mut a, "k", "a");
        let fence = first.read().int();
        assert_eq!(last.read(), fence);
        assert_nothing_unread(&mut first);
        close_and_settle(&server, first);
        assert_eq!(fence_of(&server, "k", "b"), Some(fence), "the last one with SESSION: {last_has_session}");
        close_and_settle(&server, last);
        assert_eq!(fence_of(&server, "k", "b").is_none(), last_has_session);
        server.cmd(&["LOCK.RELEASE", "k", "b"]).int();
    }
    assert_over(&server);
}

#[test]
fn session_is_allowed_in_a_transaction() {
    let server = Server::start();
    let mut a = server.client();
    let fence = exec(&mut a, &["LOCK.ACQUIRE k a PX 600000 SESSION", "SELECT 2", "LOCK.ACQUIRE k2 a SESSION"])[0].int();
    let mut b = waiter(&server, "k", "b");
    let mut b2 = waiter_in(&server, 2, "k2", "b");
    a.close();
    assert!(b.read().int() > fence);
    b2.read().int();
    release(&mut b, "k", "b");
    release(&mut b2, "k2", "b");
    assert_over(&server);
}
