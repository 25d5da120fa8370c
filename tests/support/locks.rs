//! Locks as most tests want them: held, waited for, given up. What a test promises about a request it spells out
//! itself; these are for the way there.

use super::client::Client;
use super::server::Server;
use super::value::Value;

/// The lease in ms: longer than any test.
const LEASE: &str = "600000";

/// A server whose lock `k` is held by `a` under the default lease, the holder's connection, and its fence.
#[track_caller]
pub fn held() -> (Server, Client, i64) {
    let server = Server::start();
    let mut a = server.client();
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    (server, a, fence)
}

/// LOCK.ACQUIRE that must be granted at once, for longer than any test lasts: the fence.
#[track_caller]
pub fn acquire(client: &mut Client, key: &str, owner: &str) -> i64 {
    client.cmd(&["LOCK.ACQUIRE", key, owner, "PX", LEASE]).int()
}

/// LOCK.RELEASE by the holder.
#[track_caller]
pub fn release(client: &mut Client, key: &str, owner: &str) {
    assert_eq!(client.cmd(&["LOCK.RELEASE", key, owner]), 1, "{owner} should hold {key}");
}

/// A new client that waits for the lock without limit, to hold it for longer than any test lasts.
#[track_caller]
pub fn waiter(server: &Server, key: &str, owner: &str) -> Client {
    let mut client = server.client();
    server.send_to_wait(&mut client, &["LOCK.ACQUIRE", key, owner, "PX", LEASE, "BLOCK", "0"]);
    client
}

/// [`waiter`] in that database.
#[track_caller]
pub fn waiter_in(server: &Server, database: u32, key: &str, owner: &str) -> Client {
    let mut client = server.client();
    client.select(database);
    server.send_to_wait(&mut client, &["LOCK.ACQUIRE", key, owner, "PX", LEASE, "BLOCK", "0"]);
    client
}

/// The answers to these commands (words with one space between), run as one transaction: within one turn of the
/// event loop.
#[track_caller]
pub fn exec(client: &mut Client, commands: &[&str]) -> Vec<Value> {
    client.cmd(&["MULTI"]);
    for command in commands {
        assert_eq!(client.cmd(&command.split(' ').collect::<Vec<_>>()), "QUEUED");
    }
    client.cmd(&["EXEC"]).array().to_vec()
}

/// No answer but the one to PING is on its way.
#[track_caller]
pub fn assert_nothing_unread(client: &mut Client) {
    assert_eq!(client.cmd(&["PING"]), "PONG");
}

/// The answer to this command, words with one space between.
#[track_caller]
pub fn say(server: &Server, command: &str) -> Value {
    server.cmd(&command.split(' ').collect::<Vec<_>>())
}

/// A new client that has sent this command and waits.
#[track_caller]
pub fn wait(server: &Server, command: &str) -> Client {
    let mut client = server.client();
    server.send_to_wait(&mut client, &command.split(' ').collect::<Vec<_>>());
    client
}

/// The end of a test: nobody holds, nobody waits.
#[track_caller]
pub fn assert_all_over(server: &Server) {
    assert!(say(server, "LOCK.INFO k").is_nil());
    server.assert_no_keys();
    server.assert_clean();
}

/// The holders in the order of their fences.
#[track_caller]
pub fn holders(server: &Server) -> Vec<String> {
    let info = say(server, "LOCK.INFO k");
    match info.is_nil() {
        true => Vec::new(),
        false => info.get("holders").array().iter().map(|hold| hold.get("owner").text()).collect(),
    }
}

/// LOCK.ACQUIRE with SESSION that must be granted at once, for longer than any test lasts: the fence.
#[track_caller]
pub fn bound(client: &mut Client, key: &str, owner: &str) -> i64 {
    client.cmd(&["LOCK.ACQUIRE", key, owner, "PX", "600000", "SESSION"]).int()
}

/// The answer to this command, words with one space between, from this connection.
#[track_caller]
pub fn run(client: &mut Client, command: &str) -> Value {
    client.cmd(&command.split(' ').collect::<Vec<_>>())
}

/// LOCK.RELEASE of `k` by each of these owners, who must hold it.
#[track_caller]
pub fn release_all(server: &Server, owners: &[&str]) {
    for owner in owners {
        assert_eq!(say(server, &format!("LOCK.RELEASE k {owner}")), 1, "{owner} should hold");
    }
}

/// How `k` is held, and by which owners in the order of their fences: `shared a b`, or `free`.
#[track_caller]
pub fn mode_and_holders(server: &Server) -> String {
    described(server, |hold| hold.get("owner").text())
}

/// How `k` is held, and by which owners under which limits, in the order of their fences: `shared a:0 b:3`, or `free`.
#[track_caller]
pub fn mode_and_limits(server: &Server) -> String {
    described(server, |hold| format!("{}:{}", hold.get("owner").text(), hold.get("limit").int()))
}

#[track_caller]
fn described(server: &Server, describe: impl Fn(&Value) -> String) -> String {
    let info = say(server, "LOCK.INFO k");
    if info.is_nil() {
        return "free".to_owned();
    }
    let holders = info.get("holders");
    assert_eq!(info.get("holders-count").int(), holders.array().len() as i64);
    let holders: Vec<String> = holders.array().iter().map(describe).collect();
    format!("{} {}", info.get("mode").text(), holders.join(" "))
}

/// Returns when the server has done everything that was due: a wait that began now has timed out after it.
#[track_caller]
pub fn let_it_catch_up(server: &Server) {
    let mut client = server.client();
    acquire(&mut client, "other", "x");
    assert_eq!(client.cmd(&["LOCK.ACQUIRE", "other", "y", "BLOCK", "30"]), Value::NullBulk);
    release(&mut client, "other", "x");
}
