//! Many shared holders of one lock, and those that were raised to one number: each is still its own, here, on the replica
//! and in the AOF.

use support::{assert_both_clean, assert_same, digest, exec, say, until, until_synced, Client, Server};

/// More than are kept in a list.
const CROWD: usize = 40;

/// A primary with an AOF, and its replica.
fn pair() -> (Server, Server) {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    (primary, replica)
}

/// Takes `k` for a crowd, shared: their fences.
fn crowd(server: &Server) -> Vec<i64> {
    (0..CROWD).map(|number| say(server, &format!("LOCK.ACQUIRE k o{number} SHARED PX 600000")).int()).collect()
}

/// The owners by name: in which order those of one fence stand is nobody's promise.
#[track_caller]
fn holders(server: &Server) -> Vec<String> {
    let info = say(server, "LOCK.INFO k");
    assert_eq!(info.get("holders-count"), info.get("holders").array().len() as i64);
    let mut owners: Vec<String> = info.get("holders").array().iter().map(|hold| hold.get("owner").text()).collect();
    owners.sort();
    owners
}

/// The replica and the replayed AOF hold what the primary holds.
#[track_caller]
fn assert_same_everywhere(primary: &Server, replica: &Server, what: &str) {
    until_synced(primary, replica);
    let (data, owners) = (digest(primary), holders(primary));
    assert_eq!((digest(replica), holders(replica)), (data.clone(), owners.clone()), "{what}: the replica");
    assert_eq!(say(primary, "DEBUG LOADAOF"), "OK");
    assert_eq!((digest(primary), holders(primary)), (data, owners), "{what}: the AOF");
}

#[test]
fn holders_with_one_fence_are_the_same_everywhere_whatever_happens_to_each() {
    for size in [3, CROWD] {
        let (primary, replica) = pair();
        let fences: Vec<i64> =
            (0..size).map(|n| say(&primary, &format!("LOCK.ACQUIRE k o{n} SHARED PX 600000")).int()).collect();
        let raised = fences[size - 1] + 10;
        for number in [1, 0, 2] {
            let raise = format!("LOCK.EXTEND k o{number} RAISE {raised}");
            until("the fence is raised", || say(&primary, &raise) == 1);
        }
        assert_same_everywhere(&primary, &replica, "raised");
        assert_eq!(say(&primary, "LOCK.EXTEND k o1 PX 700000"), 1);
        assert_same_everywhere(&primary, &replica, "extended");
        assert_eq!(say(&primary, &format!("LOCK.RELEASE k o0 FENCE {raised}")), 1);
        assert_same_everywhere(&primary, &replica, "released");
        assert_eq!(say(&primary, "LOCK.EXTEND k o2 PX 650000"), 1);
        assert_same_everywhere(&primary, &replica, "extended again");
        for number in (0..size).filter(|number| *number != 0) {
            assert_eq!(say(&primary, &format!("LOCK.RELEASE k o{number}")), 1);
        }
        assert_both_clean(&primary, &replica);
    }
}

#[test]
fn each_of_many_holders_is_extended_raised_ended_and_released_by_itself() {
    let (primary, replica) = pair();
    let fences = crowd(&primary);
    assert!(fences.is_sorted() && fences[0] < fences[CROWD - 1]);
    let raised = fences[CROWD - 1] + 10;
    for (number, fence) in fences.iter().enumerate() {
        let command = match number % 5 {
            0 => format!("LOCK.RELEASE k o{number} FENCE {fence}"),
            1 => format!("LOCK.EXTEND k o{number} FENCE {fence} PX 100"),
            2 => format!("LOCK.EXTEND k o{number} FENCE {fence} RAISE {raised}"),
            3 => format!("LOCK.RELEASE k o{number} DOWNGRADE FENCE {fence}"),
            _ => format!("LOCK.EXTEND k o{number} FENCE {fence} PX 900000"),
        };
        until(&command, || say(&primary, &command) == 1);
    }
    until("the short leases are over", || holders(&primary).len() == CROWD * 3 / 5);
    for (number, fence) in fences.iter().enumerate() {
        let check = say(&primary, &format!("LOCK.CHECK k o{number}"));
        match number % 5 {
            0 | 1 => assert!(check.is_nil(), "o{number}: {check:?}"),
            2 => assert_eq!(check.array()[0], raised, "o{number}"),
            _ => assert_eq!(check.array()[0], *fence, "o{number}"),
        }
    }
    // Acted on, too.
    assert_eq!(say(&primary, "LOCK.EXTEND k o1"), 0);
    assert_same_everywhere(&primary, &replica, "a crowd");
    let mut w: Client = primary.client();
    primary.send_to_wait(&mut w, &["LOCK.ACQUIRE", "k", "w", "PX", "600000", "BLOCK", "0"]);
    for number in (0..CROWD).filter(|number| number % 5 > 1) {
        primary.assert_waiting(&mut w);
        assert_eq!(say(&primary, &format!("LOCK.RELEASE k o{number}")), 1);
    }
    assert!(w.read().int() > raised);
    assert_same(&primary, &replica);
    assert_eq!(say(&primary, "LOCK.RELEASE k w"), 1);
    assert_both_clean(&primary, &replica);
}

#[test]
fn limits_of_many_holders_count_as_those_of_few() {
    let server = Server::start();
    for number in 0..CROWD {
        let limit = 100 - number;
        assert!(say(&server, &format!("LOCK.ACQUIRE k o{number} SHARED LIMIT {limit}")).int() > 0);
    }
    // The smallest is 61: as many more as it allows, and one more for each step that the strictest leave behind.
    let enters = |number: usize| say(&server, &format!("LOCK.ACQUIRE k p{number} SHARED")).opt_int().is_some();
    assert!((CROWD..61).all(enters));
    assert!(!enters(61));
    assert_eq!(say(&server, &format!("LOCK.RELEASE k o{}", CROWD - 1)), 1);
    // 60 are in, and 62 is the smallest limit now.
    assert!(enters(61) && enters(62) && !enters(63));
    assert_eq!(say(&server, "LOCK.RELEASE k o0"), 1);
    assert!(enters(63) && !enters(64), "the largest limit leaving changes no other");
    assert_eq!(say(&server, "DEL k"), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// A value this large is freed by a background thread of the server.
#[test]
fn removed_shared_holders_are_followed_by_waiters_and_leave_nothing() {
    let server = Server::start();
    let mut client = server.client();
    for removal in ["UNLINK k", "FLUSHALL ASYNC", "DEL k", "FLUSHALL SYNC", "SET k x"] {
        let commands: Vec<Vec<String>> = (0..500)
            .map(|number| format!("LOCK.ACQUIRE k o{number} SHARED PX 600000").split(' ').map(str::to_owned).collect())
            .collect();
        let commands: Vec<&[String]> = commands.iter().map(Vec::as_slice).collect();
        let last = client.pipeline(&commands)[499].int();
        let usage = say(&server, "MEMORY USAGE k").int();
        assert!((500 * 40..500 * 1000).contains(&usage), "{usage} bytes for 500 holders");
        let mut w = server.client();
        server.send_to_wait(&mut w, &["LOCK.ACQUIRE", "k", "w", "BLOCK", "0"]);
        assert!(!say(&server, removal).is_err());
        if removal == "SET k x" {
            assert!(w.read().err_text().starts_with("WRONGTYPE "));
            assert_eq!(say(&server, "DEL k"), 1);
        } else {
            assert!(w.read().int() > last, "{removal}");
            assert_eq!(say(&server, "LOCK.RELEASE k o0"), 0);
            assert_eq!(say(&server, "LOCK.RELEASE k w"), 1);
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// How many hold the key.
fn count(server: &Server, key: &str) -> i64 {
    let info = say(server, &format!("LOCK.INFO {key}"));
    if info.is_nil() {
        0
    } else {
        info.get("holders-count").int()
    }
}

/// One turn does not let a thousand in: whatever happens between two slices, nobody is forgotten, and all see the same.
#[test]
fn readers_that_one_turn_cannot_serve_are_served_after_whatever_comes_between() {
    const READERS: i64 = 1000;
    // How many hold the lock in the end: some lose it to an operator before the others get it; one gives up.
    let cases = [
        ("CLIENT PAUSE 300 WRITE", READERS..=READERS),
        ("LOCK.ACQUIRE k new", READERS..=READERS),
        ("LOCK.RELEASE k r999", READERS - 1..=READERS - 1),
        ("DEL k", 0..=READERS - 1),
        ("SWAPDB 0 1", 0..=READERS - 1),
    ];
    for (between, expected) in cases {
        let (primary, replica) = pair();
        let fence = say(&primary, "LOCK.ACQUIRE k x PX 600000").int();
        let mut readers: Vec<Client> = (0..READERS).map(|_| primary.client()).collect();
        for (number, reader) in readers.iter_mut().enumerate() {
            let command = format!("LOCK.ACQUIRE k r{number} SHARED PX 600000 BLOCK 0");
            reader.send(&command.split(' ').collect::<Vec<_>>());
        }
        primary.until_blocked(READERS);
        exec(&mut primary.client(), &["LOCK.RELEASE k x", between]);
        let answers: Vec<Option<i64>> = readers.iter_mut().map(|reader| reader.read().opt_int()).collect();
        let granted = answers.iter().filter(|answer| answer.is_some_and(|granted| granted > fence)).count() as i64;
        // The one who gave up may have been let in before.
        assert!((READERS - 1..=READERS).contains(&granted), "{between}: {granted} were granted");
        assert!(granted == READERS || answers[999].is_none(), "{between}");
        assert!(expected.contains(&count(&primary, "k")), "{between}: {} hold", count(&primary, "k"));
        until_synced(&primary, &replica);
        assert_eq!(digest(&replica), digest(&primary), "{between}");
        assert_eq!(say(&primary, "FLUSHALL"), "OK");
        assert_both_clean(&primary, &replica);
    }
}
