//! Several locks are granted, extended and released in one transaction: for replicas, in the AOF, and after a restart.

use support::{
    aof_commands, assert_same, persistence_modes, restart_keeping, said, say, until_synced, wait, Pair, Server,
};

use super::{assert_all_over, assert_holds, fences};

#[test]
fn one_command_is_one_transaction_in_the_aof() {
    let server = Server::builder().config("appendonly yes").start();
    let kinds = |server: &Server| -> Vec<String> {
        let commands = aof_commands(server);
        let first = |command: &Vec<Vec<u8>>| said(&command[..1]).to_uppercase();
        commands.iter().map(first).filter(|name| name != "SELECT" && name != "LOCK.__FENCE").collect()
    };
    let transaction = ["MULTI", "LOCK.__APPLY", "LOCK.__APPLY", "EXEC"];
    let mut seen = kinds(&server).len();
    let mut new = |what: &str| {
        let all = kinds(&server);
        assert_eq!(all[seen..], transaction, "{what}: {all:?}");
        seen = all.len();
    };
    fences(&say(&server, "LOCK.MACQUIRE 2 a b x PX 600000"));
    new("grant");
    assert_eq!(say(&server, "LOCK.MEXTEND 2 a b x PX 500000"), 2);
    new("extension");
    let mut waiting = wait(&server, "LOCK.MACQUIRE 2 a b me PX 600000 BLOCK 0");
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b x"), 2);
    fences(&waiting.read());
    let all = kinds(&server);
    assert_eq!(all[seen..], [transaction, transaction].concat(), "the release, and the grant to the waiter: {all:?}");
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b me"), 2);
    assert_all_over(&server);
}

#[test]
fn holds_of_several_locks_survive_a_restart() {
    for (mode, builder) in persistence_modes() {
        let server = builder.start();
        let granted = fences(&say(&server, "LOCK.MACQUIRE 3 a b c me PX 600000"));
        restart_keeping(&server, mode);
        assert_holds(&server, "a b c", "me");
        let after = fences(&say(&server, "LOCK.MACQUIRE 3 a b c me PX 600000"));
        assert!(after.iter().zip(&granted).all(|(after, before)| after >= before), "{mode}");
        assert_eq!(say(&server, "LOCK.MRELEASE 3 a b c me"), 3);
        assert_all_over(&server);
    }
}

#[test]
fn replica_has_all_of_the_locks() {
    let pair = Pair::start();
    let (primary, replica) = (&pair.primary, &pair.replica);
    fences(&say(primary, "LOCK.MACQUIRE 2 a b x PX 600000"));
    let mut waiting = wait(primary, "LOCK.MACQUIRE 3 a b c me PX 600000 BLOCK 0");
    assert_eq!(say(primary, "LOCK.MRELEASE 2 a b x"), 2);
    fences(&waiting.read());
    until_synced(primary, replica);
    assert_same(primary, replica);
    assert_holds(replica, "a b c", "me");
    for command in ["LOCK.MACQUIRE 1 a me", "LOCK.MRELEASE 1 a me", "LOCK.MEXTEND 1 a me"] {
        assert!(say(replica, command).err_text().starts_with("READONLY "), "{command}");
    }
    assert_eq!(say(primary, "LOCK.MRELEASE 3 a b c me"), 3);
    until_synced(primary, replica);
    assert_same(primary, replica);
    pair.assert_clean();
}
