//! What is replicated is what was decided: one small effect for each change, never the request; only replication may
//! bring one; and whoever reads the stream holds the same.

use support::{
    acquire, aof_bytes, aof_commands, args, assert_both_clean, assert_same, digest, release, said, until, until_synced,
    waiter, Server,
};

/// Three servers in a chain, each with an AOF.
struct Chain([Server; 3]);

impl Chain {
    fn start() -> Chain {
        let first = Server::builder().aof().start();
        let second = Server::builder().aof().replica_of(&first).start();
        until_synced(&first, &second);
        let third = Server::builder().aof().replica_of(&second).start();
        until_synced(&second, &third);
        Chain([first, second, third])
    }

    /// All three hold the same, and recorded the same commands.
    #[track_caller]
    fn assert_same(&self) {
        let [first, second, third] = &self.0;
        until_synced(first, second);
        until_synced(second, third);
        let recorded = recorded(first);
        for replica in [second, third] {
            assert_eq!(digest(replica), digest(first));
            // A replica writes its AOF out when its turn ends.
            until("the replica recorded what its primary did", || self::recorded(replica) == recorded);
        }
    }

    #[track_caller]
    fn assert_clean(&self) {
        self.assert_same();
        for server in &self.0 {
            server.assert_no_keys();
            server.assert_clean();
        }
    }
}

/// What the AOF holds, without what only frames it.
fn recorded(server: &Server) -> Vec<String> {
    let commands = aof_commands(server).into_iter().map(|command| said(&command));
    commands.filter(|words| !["SELECT", "PING", "LOCK.__FENCE"].iter().any(|frame| words.starts_with(frame))).collect()
}

/// One effect for each change, in order, and nothing for whatever changed nothing; the replicas' own AOFs say the same.
#[test]
fn every_change_is_recorded_as_one_effect() {
    let chain = Chain::start();
    let primary = &chain.0[0];
    let mut a = primary.client();
    let before = recorded(primary).len();
    let mut expected: Vec<&str> = Vec::new();

    acquire(&mut a, "k", "a");
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "700000"]), 1);
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "800000"]).int();
    expected.extend(["granted k", "changed k", "changed k"]);

    // Nothing came of these.
    assert!(a.cmd(&["LOCK.ACQUIRE", "k", "b"]).is_nil());
    assert!(a.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "10"]).is_nil());
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "b"]), 0);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "FENCE", "1"]), 0);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "free", "a"]), 0);
    assert!(a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "0"]).is_err());

    // A hand-off is one effect, and so is the end of the last hold.
    let mut b = waiter(primary, "k", "b");
    release(&mut a, "k", "a");
    b.read().int();
    expected.push("granted k");
    let mut c = waiter(primary, "k", "c");
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "b", "PX", "20"]), 1);
    c.read().int();
    expected.extend(["changed k", "granted k"]);
    release(&mut a, "k", "c");
    expected.push("freed k");

    // An end that nobody waited for, and one by an operator.
    a.cmd(&["LOCK.ACQUIRE", "ends", "a", "PX", "20"]).int();
    until("the lease ended", || primary.cmd(&["DBSIZE"]) == 0);
    acquire(&mut a, "removed", "a");
    let mut d = waiter(primary, "removed", "d");
    assert_eq!(a.cmd(&["DEL", "removed"]), 1);
    d.read().int();
    release(&mut a, "removed", "d");
    expected.extend(["granted ends", "freed ends"]);
    expected.extend(["granted removed", "DEL removed", "granted removed", "freed removed"]);

    assert_eq!(recorded(primary)[before..], expected);
    chain.assert_clean();
    for server in &chain.0 {
        let bytes = String::from_utf8_lossy(&aof_bytes(server)).to_uppercase();
        for request in ["LOCK.ACQUIRE", "LOCK.RELEASE", "LOCK.EXTEND"] {
            assert!(!bytes.contains(request), "{request} was recorded");
        }
    }
}

/// Trap 35: transactions and scripts travel as what they did, whole; replicas, theirs too, and the AOF replay them.
#[test]
fn transactions_and_scripts_travel_as_their_effects() {
    let chain = Chain::start();
    let primary = &chain.0[0];
    let mut a = primary.client();
    acquire(&mut a, "handed", "a");
    let mut b = waiter(primary, "handed", "b");
    let before = recorded(primary).len();

    let transaction: &[&[&str]] = &[
        &["MULTI"],
        &["LOCK.ACQUIRE", "one", "a", "PX", "600000"],
        &["SET", "data", "x"],
        &["LOCK.RELEASE", "handed", "a"],
        &["LOCK.ACQUIRE", "one", "b", "BLOCK", "0"],
        &["LOCK.EXTEND", "one", "a", "PX", "500000"],
        &["EXEC"],
    ];
    let replies = a.pipeline(transaction);
    assert_eq!(replies[6].array().len(), 5);
    assert!(replies[6].array()[3].is_nil());
    b.read().int();
    let script = "redis.call('LOCK.ACQUIRE', KEYS[1], 'a', 'PX', 600000)
        redis.call('LOCK.ACQUIRE', KEYS[2], 'a', 'PX', 600000)
        return redis.call('LOCK.RELEASE', KEYS[2], 'a')";
    assert_eq!(a.cmd(&["EVAL", script, "2", "two", "three"]), 1);
    let expected = [
        ["MULTI", "granted one", "SET data", "granted handed", "changed one", "EXEC"].as_slice(),
        &["MULTI", "granted two", "granted three", "freed three", "EXEC"],
    ];
    assert_eq!(recorded(primary)[before..], expected.concat());
    chain.assert_same();

    // From the last link's AOF alone.
    let last = &chain.0[2];
    let data = digest(last);
    last.restart();
    assert_eq!(digest(last), data);
    for (key, owner) in [("one", "a"), ("two", "a"), ("handed", "b")] {
        release(&mut a, key, owner);
    }
    assert_eq!(a.cmd(&["DEL", "data"]), 1);
    until_synced(&chain.0[1], last);
    for server in &chain.0 {
        until("no keys are left", || server.cmd(&["DBSIZE"]) == 0);
        server.assert_clean();
    }
}

/// Trap 35: effects come from a primary or an AOF. Whoever sends one directly, by whatever way, gets an error, and
/// nothing changes, on a primary as on a replica.
#[test]
fn effects_sent_by_a_client_are_refused() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().config("replica-read-only no").replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut a = primary.client();
    acquire(&mut a, "k", "a");
    let effects = aof_commands(&primary);
    let effect = effects.iter().find(|command| command[0] == b"LOCK.__APPLY").unwrap();
    release(&mut a, "k", "a");
    let fence = acquire(&mut a, "k", "b");
    until_synced(&primary, &replica);
    let (data, length) = (digest(&primary), effects.len() + 2);

    let fences = args!["LOCK.__FENCE", (1_i64 << 53) - 1].to_vec();
    let by_script = "return redis.call(unpack(ARGV))";
    for server in [&primary, &replica] {
        let mut client = server.client();
        for command in [effect, &fences] {
            assert_refused(&client.cmd(command));
            let script = [&args!["EVAL", by_script, 0][..], command].concat();
            assert_refused(&client.cmd(&script));
            assert_eq!(client.cmd(&["MULTI"]), "OK");
            assert_eq!(client.cmd(command), "QUEUED");
            assert_refused(&client.cmd(&["EXEC"]).array()[0]);
        }
        assert!(client.cmd(&["LOCK.__APPLY", "k", ""]).is_err());
        assert!(client.cmd(&["LOCK.__APPLY"]).is_err());
        assert!(client.cmd(&["LOCK.__FENCE"]).is_err());
        assert_eq!(digest(server), data);
    }
    assert_eq!(aof_commands(&primary).len(), length);
    // The clock did not move either: the next fence is one that time allows.
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", fence]), 1);
    let next = acquire(&mut a, "k", "c");
    assert!(next > fence && next < fence + 3_600_000_000);
    release(&mut a, "k", "c");
    assert_both_clean(&primary, &replica);
}

#[track_caller]
fn assert_refused(reply: &support::Value) {
    assert!(reply.err_text().contains("internal to replication"), "{reply:?}");
}

/// Trap 35: a replica that was away for a while reads on where it stopped, in the middle of a lock's life.
#[test]
fn replica_that_was_away_catches_up() {
    let chain = Chain::start();
    let [primary, replica, _] = &chain.0;
    let mut a = primary.client();
    acquire(&mut a, "k", "a");
    acquire(&mut a, "removed", "a");
    until_synced(primary, replica);
    replica.sigstop();
    let mut b = waiter(primary, "k", "b");
    release(&mut a, "k", "a");
    let fence = b.read().int();
    release(&mut a, "removed", "a");
    acquire(&mut a, "new", "a");
    assert_eq!(primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]), 1);
    replica.sigcont();
    chain.assert_same();

    // The whole data set anew, over locks that the replica knew otherwise.
    replica.kill9();
    release(&mut a, "new", "a");
    acquire(&mut a, "new", "c");
    replica.restart();
    assert_same(primary, replica);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", fence]), 1);
    release(&mut a, "new", "c");
    for server in &chain.0 {
        until("no keys are left", || server.cmd(&["DBSIZE"]) == 0);
        server.assert_clean();
    }
}
