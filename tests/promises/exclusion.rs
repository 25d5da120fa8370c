//! Exclusion, fences and order under load, and in a queue whose order the test has fixed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{acquire, args, patience, poll, release, waiter, Client, Server, Value};

const PROCESSES: usize = 8;
/// How often each acquires and releases.
const ROUNDS: usize = 10_000;
/// How long the workers may take before the test calls the server hung.
const WORK: Duration = Duration::from_secs(300);

/// Set where this binary runs as a worker: port, number and file, with `|` between them.
const WORKER: &str = "REDIS_LOCK_TEST_WORKER";

/// One turn in the critical section: what the counter said, under which fence, by whom (a new owner each time).
#[derive(Debug)]
struct Turn {
    counter: i64,
    fence: i64,
    owner: String,
}

/// The life of a worker: acquire, read, write, release; then all its turns go to the file.
fn work(order: &str) {
    let [port, number, file] = order.split('|').collect::<Vec<_>>()[..] else { panic!("{order:?}") };
    let mut client = Client::connect(port.parse().unwrap()).unwrap();
    let mut turns = Vec::new();
    for round in 0..ROUNDS {
        let owner = format!("{number}:{round}");
        let fence = client.cmd(&args!["LOCK.ACQUIRE", "lock", owner, "PX", 600_000, "BLOCK", 0]).int();
        let counter = match client.cmd(&["GET", "counter"]) {
            Value::NullBulk => 0,
            text => text.text().parse().unwrap(),
        };
        assert_eq!(client.cmd(&args!["SET", "counter", counter + 1]), "OK");
        assert_eq!(client.cmd(&args!["LOCK.RELEASE", "lock", owner]), 1);
        turns.push(Turn { counter, fence, owner });
    }
    let mut out = BufWriter::new(File::create(file).unwrap());
    for turn in turns {
        writeln!(out, "{} {} {}", turn.counter, turn.fence, turn.owner).unwrap();
    }
    out.flush().unwrap();
}

/// Processes that are killed when the test fails.
struct Workers {
    children: Vec<(Child, PathBuf)>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            // Fails only for a process that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Workers {
    /// Starts this binary once more for each worker; there `test` turns into [`work`].
    fn start(server: &Server, test: &str) -> Workers {
        let mut workers = Workers { children: Vec::new() };
        for number in 0..PROCESSES {
            let file = server.dir().join(format!("turns-{number}"));
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(WORKER, format!("{}|{number}|{}", server.port(), file.display()))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            workers.children.push((child, file));
        }
        workers
    }

    /// Waits until all are through; returns all turns in the order of their fences.
    fn finish(mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (child, file) in &mut self.children {
            let status = poll(WORK, || child.try_wait().unwrap()).expect("a worker hangs");
            assert!(status.success(), "a worker failed: {status}");
            turns.extend(BufReader::new(File::open(file).unwrap()).lines().map(|line| turn(&line.unwrap())));
        }
        turns.sort_by_key(|turn| turn.fence);
        turns
    }
}

fn turn(line: &str) -> Turn {
    let [counter, fence, owner] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
    Turn { counter: counter.parse().unwrap(), fence: fence.parse().unwrap(), owner: owner.to_owned() }
}

/// No two turns overlapped: in the order of the fences, which are all different, each turn read what the one before it
/// had written, and none was lost.
#[track_caller]
fn assert_exclusive(server: &Server, turns: &[Turn]) {
    let total = i64::try_from(PROCESSES * ROUNDS).unwrap();
    assert_eq!(i64::try_from(turns.len()).unwrap(), total);
    for (turn, counter) in turns.iter().zip(0..) {
        assert_eq!(turn.counter, counter, "an update was lost, or fences do not rise with the turns, at {turn:?}");
    }
    for pair in turns.windows(2) {
        assert!(pair[0].fence < pair[1].fence, "{pair:?}");
    }
    assert_eq!(server.cmd(&["GET", "counter"]), total.to_string().as_str());
}

/// Whether this process is a worker; then its work is done by now.
fn was_worker() -> bool {
    let order = std::env::var(WORKER);
    if let Ok(order) = &order {
        work(order);
    }
    order.is_ok()
}

/// The owners of the first `count` LOCK.ACQUIRE requests, in the order in which the server took them: MONITOR tells it.
fn watch_requests(server: &Server, count: usize) -> JoinHandle<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(patience(WORK))).unwrap();
    stream.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "+OK");
    std::thread::spawn(move || {
        let requests = lines.filter_map(|line| {
            let words: Vec<&str> = line.split('"').collect();
            (words.get(1) == Some(&"LOCK.ACQUIRE")).then(|| words[5].to_owned())
        });
        requests.take(count).collect()
    })
}

/// 80 000 turns round a counter that is read and written in two steps. No update is lost; fences rise strictly; and seen
/// from the server the lock was granted in the very order in which it was asked for, newcomers included.
#[test]
fn eight_processes_lose_no_update_and_are_granted_in_the_order_they_asked() {
    if was_worker() {
        return;
    }
    let server = Server::start();
    let requests = watch_requests(&server, PROCESSES * ROUNDS);
    let started = Instant::now();
    let test = "exclusion::eight_processes_lose_no_update_and_are_granted_in_the_order_they_asked";
    let turns = Workers::start(&server, test).finish();
    println!("{PROCESSES} x {ROUNDS} turns took {:?}", started.elapsed());
    assert_exclusive(&server, &turns);
    let requests = requests.join().unwrap();
    assert_eq!(requests.len(), turns.len());
    for (place, (asked, granted)) in requests.iter().zip(&turns).enumerate() {
        assert_eq!(*asked, granted.owner, "order inversion at place {place}: who asked and who was granted");
    }
    // The load was one: the processes took turns instead of running one after the other.
    let number = |turn: &Turn| turn.owner.split(':').next().map(str::to_owned);
    let changes = turns.windows(2).filter(|pair| number(&pair[0]) != number(&pair[1])).count();
    assert!(changes > turns.len() / 4, "the processes hardly met: {changes} changes");
    assert_eq!(server.cmd(&["DEL", "counter"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn two_hundred_waiters_are_granted_in_the_order_in_which_they_asked() {
    let server = Server::start();
    let mut holder = server.client();
    let mut last = acquire(&mut holder, "k", "holder");
    let mut waiters: Vec<(String, Client)> = Vec::new();
    for number in 0..200 {
        // Names whose order is not that of the queue.
        let owner = format!("{:03}", number * 77 % 200);
        let client = waiter(&server, "k", &owner);
        waiters.push((owner, client));
    }
    release(&mut holder, "k", "holder");
    for (place, (owner, client)) in waiters.iter_mut().enumerate() {
        let fence = client.read().int();
        assert!(fence > last, "place {place}: {fence} after {last}");
        last = fence;
        // Nobody else was granted with it, and a newcomer does not pass those who wait.
        assert_eq!(server.blocked(), 199 - i64::try_from(place).unwrap());
        assert_eq!(holder.cmd(&["LOCK.ACQUIRE", "k", "newcomer"]), Value::NullBulk);
        // Holds end in different ways; the order is the same.
        let ended = match place % 3 {
            0 => client.cmd(&["LOCK.RELEASE", "k", owner]),
            1 => client.cmd(&["LOCK.EXTEND", "k", owner, "PX", "1"]),
            _ => holder.cmd(&["DEL", "k"]),
        };
        assert_eq!(ended, 1);
    }
    let newcomer = holder.cmd(&["LOCK.ACQUIRE", "k", "newcomer", "BLOCK", "0"]).int();
    assert!(newcomer > last);
    release(&mut holder, "k", "newcomer");
    server.assert_no_keys();
    server.assert_clean();
}

/// Leases end while others work: a resource that turns down fences below the largest it saw is never written by a holder
/// whose lease is over. Here every third holder falls asleep on its hold.
#[test]
fn sleepers_are_overtaken_and_their_fences_give_them_away() {
    let server = Server::start();
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    let mut asleep: Vec<(String, i64)> = Vec::new();
    let mut largest = 0;
    for turn in 0..60_usize {
        let client = &mut clients[turn % 6];
        let owner = format!("o{turn}");
        let fence = client.cmd(&args!["LOCK.ACQUIRE", "k", owner, "PX", 20, "BLOCK", 0]).int();
        assert!(fence > largest);
        largest = fence;
        for (sleeper, old) in &asleep {
            assert!(*old < fence);
            assert_eq!(client.cmd(&args!["LOCK.EXTEND", "k", sleeper]), 0);
            assert_eq!(client.cmd(&args!["LOCK.RELEASE", "k", sleeper]), 0);
        }
        if turn % 3 == 0 {
            asleep.push((owner, fence));
        } else {
            // 0 where the 20 ms were over first.
            client.cmd(&args!["LOCK.RELEASE", "k", owner]).int();
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// The default lease, waited for by another owner inside the server. It stands in this file because the load test beside
/// it takes as long.
#[test]
fn a_lease_left_out_is_thirty_seconds() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    b.set_deadline(patience(Duration::from_secs(60)));
    let asked = Instant::now();
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    let granted_by = Instant::now();
    b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]).int();
    assert!(asked.elapsed() >= Duration::from_secs(29), "ended after {:?}", asked.elapsed());
    assert!(granted_by.elapsed() < patience(Duration::from_secs(45)), "ended after {:?}", granted_by.elapsed());
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}
