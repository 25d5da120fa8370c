//! What the commands answer, and which requests make no sense.

use support::{run, say, Server, Value};

use super::{assert_all_over, assert_holds, fences};

#[test]
fn grant_answers_a_fence_for_each_key_in_both_protocols() {
    let server = Server::start();
    let mut client = server.client();
    for is_resp3 in [false, true] {
        if is_resp3 {
            client.resp3();
        }
        let granted = fences(&run(&mut client, "LOCK.MACQUIRE 3 a b c me PX 600000"));
        assert_eq!(granted.len(), 3);
        for (key, fence) in ["a", "b", "c"].iter().zip(&granted) {
            assert_eq!(run(&mut client, &format!("LOCK.CHECK {key} me")).array()[0].int(), *fence, "{key}");
        }
        let again = run(&mut client, "LOCK.MACQUIRE 2 c a me");
        assert_eq!(fences(&again), [granted[2], granted[0]], "asked again: the same fences, in the order of the keys");
        let busy = run(&mut client, "LOCK.MACQUIRE 2 d a you");
        assert!(busy.is_nil(), "{busy:?}");
        assert!(say(&server, "LOCK.INFO d").is_nil(), "nothing of it is granted");
        assert_eq!(run(&mut client, "LOCK.MEXTEND 3 a b d me PX 500000"), 2);
        assert_eq!(run(&mut client, "LOCK.MRELEASE 4 a b c d me"), 3);
        assert_eq!(run(&mut client, "LOCK.MRELEASE 4 a b c d me"), 0);
    }
    assert_all_over(&server);
}

#[test]
fn star_makes_one_owner_for_all_locks() {
    let server = Server::start();
    let answer = say(&server, "LOCK.MACQUIRE 2 a b * PX 600000");
    let [owner, granted] = answer.array() else { panic!("{answer:?}") };
    assert_eq!((owner.text().len(), fences(granted).len()), (32, 2));
    assert_holds(&server, "a b", &owner.text());
    assert_eq!(say(&server, &format!("LOCK.MRELEASE 2 a b {}", owner.text())), 2);
    assert_all_over(&server);
}

#[test]
fn leases_max_and_sessions_count_for_each_lock() {
    let server = Server::start();
    let mut client = server.client();
    fences(&run(&mut client, "LOCK.MACQUIRE 2 a b me PX 1000 MAX 5000 SESSION"));
    assert_eq!(say(&server, "LOCK.MEXTEND 2 a b me PX 600000"), 2);
    for key in ["a", "b"] {
        let left = say(&server, &format!("LOCK.CHECK {key} me")).array()[1].int();
        assert!((1..=5000).contains(&left), "MAX bounds the lease: {left}");
    }
    client.close();
    support::until("both ended with the connection", || say(&server, "DBSIZE") == 0);
    assert_all_over(&server);
}

#[test]
fn requests_that_make_no_sense_name_what_is_wrong_and_change_nothing() {
    let server = Server::start();
    assert_eq!(say(&server, "SET s 1"), "OK");
    let keys: Vec<String> = (0..65).map(|n| format!("k{n}")).collect();
    let many = format!("LOCK.MACQUIRE 65 {} me", keys.join(" "));
    let cases = [
        ("LOCK.MACQUIRE", "ERR wrong number of arguments"),
        ("LOCK.MACQUIRE 1 a", "ERR wrong number of arguments"),
        ("LOCK.MACQUIRE 0 a me", "ERR numkeys must be a number from 1 to 64"),
        ("LOCK.MACQUIRE x a me", "ERR numkeys must be a number from 1 to 64"),
        ("LOCK.MACQUIRE -1 a me", "ERR numkeys must be a number from 1 to 64"),
        (&many, "ERR numkeys must be a number from 1 to 64"),
        ("LOCK.MACQUIRE 3 a b me", "ERR numkeys is larger than the number of keys before the owner"),
        ("LOCK.MACQUIRE 3 a b a me", "ERR key 'a' is given twice"),
        (
            "LOCK.MACQUIRE 2 a b me LIMIT 3",
            "ERR unknown option 'LIMIT', expected one of PX, EX, BLOCK, SHARED, SESSION, MAX",
        ),
        ("LOCK.MACQUIRE 2 a b me PX 0", "ERR PX must be"),
        ("LOCK.MACQUIRE 2 a s me", "WRONGTYPE "),
        ("LOCK.MRELEASE 2 a s me", "WRONGTYPE "),
        ("LOCK.MEXTEND 2 a s me", "WRONGTYPE "),
        ("LOCK.MRELEASE 2 a b *", "ERR owner '*'"),
        ("LOCK.MRELEASE 2 a b me FENCE 1", "ERR wrong number of arguments"),
        ("LOCK.MEXTEND 2 a b *", "ERR owner '*'"),
        ("LOCK.MEXTEND 2 a b me RAISE 1", "ERR unknown option 'RAISE'"),
    ];
    for (command, expected) in cases {
        let answer = say(&server, command);
        assert!(answer.is_err() && answer.err_text().starts_with(expected), "{command}: {answer:?}");
        assert_eq!(say(&server, "DBSIZE"), 1, "{command}");
    }
    // The largest number of keys, with every option.
    let most = format!("LOCK.MACQUIRE 64 {} me PX 600000 BLOCK 5 SHARED SESSION MAX 600000", keys[..64].join(" "));
    let mut client = server.client();
    assert_eq!(fences(&run(&mut client, &most)).len(), 64);
    assert_eq!(say(&server, &format!("LOCK.MRELEASE 64 {} me", keys[..64].join(" "))), 64);
    // A shared hold cannot become an exclusive one.
    say(&server, "LOCK.ACQUIRE b me SHARED").int();
    let refused = say(&server, "LOCK.MACQUIRE 2 a b me BLOCK 5");
    assert!(refused.err_text().starts_with("ERR this owner holds the lock shared"), "{refused:?}");
    assert!(say(&server, "LOCK.INFO a").is_nil());
    assert_eq!(say(&server, "LOCK.MRELEASE 2 a b me"), 1);
    assert_eq!(say(&server, "DEL s"), 1);
    assert_all_over(&server);
}

#[test]
fn in_transactions_and_scripts_the_commands_answer_at_once() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE b you").int();
    let mut client = server.client();
    run(&mut client, "MULTI");
    for command in ["LOCK.MACQUIRE 2 a b me BLOCK 0", "LOCK.MACQUIRE 2 a c me", "LOCK.MRELEASE 2 a c me"] {
        assert_eq!(run(&mut client, command), "QUEUED");
    }
    let answers = run(&mut client, "EXEC");
    let [busy, granted, released] = answers.array() else { panic!("{answers:?}") };
    assert!(busy.is_nil() && fences(granted).len() == 2 && *released == 2, "{answers:?}");
    let script = "return redis.call('LOCK.MACQUIRE',2,KEYS[1],KEYS[2],'me','BLOCK',0)";
    assert!(client.cmd(&["EVAL", script, "2", "a", "b"]).is_nil());
    assert_eq!(fences(&client.cmd(&["EVAL", script, "2", "a", "c"])).len(), 2);
    assert_eq!(run(&mut client, "LOCK.MRELEASE 2 a c me"), 2);
    assert_eq!(say(&server, "LOCK.RELEASE b you"), 1);
    assert_all_over(&server);
}

#[test]
fn cluster_clients_and_acl_rules_find_every_key() {
    let server = Server::start();
    let found = say(&server, "COMMAND GETKEYS LOCK.MACQUIRE 2 a b me PX 5");
    assert_eq!(found, Value::Array(vec![Value::Bulk(b"a".to_vec()), Value::Bulk(b"b".to_vec())]));
    let rules = "ACL SETUSER app on >secret ~a ~b &* -@all +lock.macquire +lock.mrelease +lock.mextend +auth";
    assert_eq!(say(&server, rules), "OK");
    let mut app = server.client();
    assert_eq!(run(&mut app, "AUTH app secret"), "OK");
    for command in ["LOCK.MACQUIRE 2 a c me", "LOCK.MRELEASE 2 a c me", "LOCK.MEXTEND 2 a c me"] {
        assert!(run(&mut app, command).err_text().starts_with("NOPERM "), "{command}");
    }
    assert_eq!(fences(&run(&mut app, "LOCK.MACQUIRE 2 a b me")).len(), 2);
    assert_eq!(run(&mut app, "LOCK.MRELEASE 2 a b me"), 2);
    assert_all_over(&server);
}
