//! How far -DEADLOCK looks: never across ACL users, never past the setting, never at holds whose user is not known.

use super::refused;
use support::{acquire, args, exec, release, Client, Server};

/// A connection of a user of that name who may do everything.
#[track_caller]
fn user(server: &Server, name: &str) -> Client {
    assert_eq!(server.cmd(&["ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all"]), "OK");
    let mut client = server.client();
    become_user(&mut client, name);
    client
}

#[track_caller]
fn become_user(client: &mut Client, name: &str) {
    assert_eq!(client.cmd(&["AUTH", name, "secret"]), "OK");
}

#[track_caller]
fn wait_for(server: &Server, client: &mut Client, key: &str, owner: &str) {
    server.send_to_wait(client, &["LOCK.ACQUIRE", key, owner, "PX", "600000", "BLOCK", "0"]);
}

/// Ends a test whose clients wait for one another for ever.
#[track_caller]
fn end(server: &Server, clients: impl IntoIterator<Item = Client>) {
    clients.into_iter().for_each(Client::close);
    server.assert_clean();
}

/// Nobody can build a cycle round somebody else.
#[test]
fn cycle_across_acl_users_is_not_refused() {
    let server = Server::start();
    let (mut a, mut b) = (user(&server, "one"), user(&server, "two"));
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    wait_for(&server, &mut b, "k1", "b");
    wait_for(&server, &mut a, "k2", "a");
    end(&server, [a, b]);
}

/// An owner's name is worth something only together with its user.
#[test]
fn owners_of_one_name_but_two_users_are_not_taken_for_one() {
    let server = Server::start();
    let (mut one, mut two, mut b) = (user(&server, "one"), user(&server, "two"), user(&server, "two"));
    acquire(&mut one, "k1", "a");
    acquire(&mut b, "k2", "b");
    wait_for(&server, &mut two, "k2", "a");
    // b waits for a of user one, and not for a of user two, which waits for b.
    wait_for(&server, &mut b, "k1", "b");
    release(&mut one, "k1", "a");
    b.read().int();
    release(&mut b, "k2", "b");
    two.read().int();
    end(&server, [one, two, b]);
}

/// The user in the middle of a longer cycle ends the search as well.
#[test]
fn cycle_of_three_with_one_request_of_another_user_is_not_refused() {
    let server = Server::start();
    let (mut a, mut b, mut c) = (user(&server, "one"), user(&server, "two"), user(&server, "one"));
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    acquire(&mut c, "k3", "c");
    wait_for(&server, &mut a, "k2", "a");
    wait_for(&server, &mut b, "k3", "b");
    wait_for(&server, &mut c, "k1", "c");
    server.cmd(&["LOCK.RELEASE", "k1", "a"]);
    c.read().int();
    end(&server, [a, b, c]);
}

/// Among the connections of one user it is found, of any user, and beside the holds of others.
#[test]
fn cycle_within_one_acl_user_is_refused_and_told_nothing_of_others() {
    let server = Server::start();
    let (mut a, mut b, mut stranger) = (user(&server, "one"), user(&server, "one"), user(&server, "two"));
    stranger.cmd(&["LOCK.ACQUIRE", "k1", "hidden-owner", "SHARED", "PX", "600000"]).int();
    acquire(&mut stranger, "hidden-key", "hidden-owner");
    a.cmd(&["LOCK.ACQUIRE", "k1", "a", "SHARED", "PX", "600000"]).int();
    acquire(&mut b, "k2", "b");
    wait_for(&server, &mut b, "k1", "b");
    let text = refused(&mut a, "k2", "a", &[]);
    assert!(text.contains("k1") && text.contains("k2"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
    release(&mut a, "k1", "a");
    release(&mut stranger, "k1", "hidden-owner");
    b.read().int();
    server.assert_clean();
}

/// A hold belongs to the user that it was granted to, whoever the connection is later.
#[test]
fn hold_belongs_to_the_user_that_took_it() {
    let server = Server::start();
    let (mut a, mut b) = (user(&server, "one"), user(&server, "two"));
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    become_user(&mut a, "two");
    // k1 was taken as one: for two it is somebody else's.
    wait_for(&server, &mut b, "k1", "b");
    wait_for(&server, &mut a, "k2", "a");
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k2", "a"]), 0);
    assert!(a.read().is_nil(), "withdrawn");
    // Also when `two` reacquires it. `one` still sees the lock as its own.
    a.cmd(&["LOCK.ACQUIRE", "k1", "a", "PX", "600000"]).int();
    wait_for(&server, &mut a, "k2", "a");
    let (mut c, mut c2) = (user(&server, "one"), user(&server, "one"));
    acquire(&mut c, "k3", "c");
    wait_for(&server, &mut c2, "k3", "a");
    refused(&mut c, "k1", "c", &[]);
    end(&server, [a, b, c, c2]);
}

/// Waiters that are granted hold as the user that they waited as.
#[test]
fn hold_of_a_waiter_belongs_to_the_user_that_waited() {
    let server = Server::start();
    let (mut h, mut a, mut b) = (server.client(), user(&server, "one"), user(&server, "one"));
    acquire(&mut h, "k1", "h");
    wait_for(&server, &mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    release(&mut h, "k1", "h");
    a.read().int();
    wait_for(&server, &mut b, "k1", "b");
    refused(&mut a, "k2", "a", &[]);
    release(&mut a, "k1", "a");
    b.read().int();
    server.assert_clean();
}

/// A chain of ten, whose last owner asks for the key of the first.
#[track_caller]
fn chain_of_ten(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        acquire(client, &format!("key{number}"), &format!("owner{number}"));
    }
    for (number, client) in clients.iter_mut().enumerate().take(9) {
        wait_for(server, client, &format!("key{}", number + 1), &format!("owner{number}"));
    }
    clients
}

#[test]
fn search_that_would_go_past_the_setting_refuses_nothing() {
    let server = Server::builder().config("redislock.deadlock-search-max 4").start();
    let mut clients = chain_of_ten(&server);
    wait_for(&server, &mut clients[9], "key0", "owner9");
    assert_eq!(server.cmd(&["LOCK.RELEASE", "key0", "owner9"]), 0);
    assert!(clients[9].read().is_nil(), "withdrawn");
    // Far enough, it is seen; the setting counts for every search anew.
    assert_eq!(server.cmd(&["CONFIG", "SET", "redislock.deadlock-search-max", "1000"]), "OK");
    refused(&mut clients[9], "key0", "owner9", &[]);
    assert_eq!(server.cmd(&["CONFIG", "SET", "redislock.deadlock-search-max", "4"]), "OK");
    wait_for(&server, &mut clients[9], "key0", "owner9");
    end(&server, clients);
}

#[test]
fn search_of_zero_never_refuses() {
    let server = Server::builder().config("redislock.deadlock-search-max 0").start();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    wait_for(&server, &mut b, "k1", "b");
    wait_for(&server, &mut a, "k2", "a");
    end(&server, [a, b]);
}

/// Many holders and waiters that are no part of any cycle do not make the search see one, nor miss the way round.
#[test]
fn wide_queue_without_a_cycle_is_not_refused() {
    let server = Server::start();
    let mut c = server.client();
    for number in 0..100 {
        c.cmd(&args!["LOCK.ACQUIRE", "wide", format!("reader{number}"), "SHARED", "PX", 600_000]).int();
    }
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut b, "k2", "b");
    wait_for(&server, &mut b, "wide", "b");
    wait_for(&server, &mut a, "k2", "a");
    refused(&mut c, "k2", "reader77", &[]);
    for number in 0..100 {
        release(&mut c, "wide", &format!("reader{number}"));
    }
    b.read().int();
    release(&mut b, "k2", "b");
    a.read().int();
    server.assert_clean();
}

/// After a restart nobody knows whose holds they are, until their owners ask for them again.
#[test]
fn holds_from_disk_take_no_part_until_their_owners_reacquire() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "k1", "a");
    acquire(&mut c, "k2", "b");
    server.save();
    server.restart();
    let (mut a, mut b) = (server.client(), server.client());
    wait_for(&server, &mut b, "k1", "b");
    wait_for(&server, &mut a, "k2", "a");
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k2", "a"]), 0);
    assert!(a.read().is_nil(), "withdrawn");
    // The one that b waits for is known again, the cycle is there.
    acquire(&mut a, "k1", "a");
    let again = server.cmd(&["LOCK.ACQUIRE", "k2", "b", "PX", "600000"]);
    assert!(again.int() > 0);
    refused(&mut a, "k2", "a", &[]);
    release(&mut a, "k1", "a");
    b.read().int();
    server.assert_clean();
}

/// A hold that another one took over by RESTORE is nobody's either.
#[test]
fn restored_hold_takes_no_part_until_its_owner_reacquires() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k1", "a");
    let payload = a.cmd(&["DUMP", "k1"]).bytes().to_vec();
    assert_eq!(a.cmd(&["DEL", "k1"]), 1);
    assert_eq!(a.cmd(&args!["RESTORE", "k1", 0, payload]), "OK");
    acquire(&mut b, "k2", "b");
    wait_for(&server, &mut b, "k1", "b");
    wait_for(&server, &mut a, "k2", "a");
    end(&server, [a, b]);
}

/// A transaction acts for the user who runs it.
#[test]
fn holds_taken_in_transactions_belong_to_their_user() {
    let server = Server::start();
    let (mut a, mut b) = (user(&server, "one"), user(&server, "one"));
    for (client, request) in [(&mut a, "LOCK.ACQUIRE k1 a PX 600000"), (&mut b, "LOCK.ACQUIRE k2 b PX 600000")] {
        exec(client, &[request])[0].int();
    }
    wait_for(&server, &mut b, "k1", "b");
    refused(&mut a, "k2", "a", &[]);
    release(&mut a, "k1", "a");
    b.read().int();
    end(&server, [a, b]);
}
