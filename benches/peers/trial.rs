//! One job of one worker, with what the server and a bystander saw of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::bench::progress;
use crate::bench::report::quantile;
use crate::bench::streams::{Seen, Streams};
use crate::cells::{Cell, Workload};
use crate::commands::{between, calls, cpu_us, Calls, Inside, Monitor};
use crate::protocol::{Found, Job};
use crate::servers::Servers;
use crate::workers::{Row, Wait, Worker};

/// No lease ends while it is needed.
const LEASE_MS: u64 = 30_000;
/// What a worker may take beside the time that it was given: to start, to connect, to end.
const GRACE: Duration = Duration::from_secs(60);
/// How often each of the bystander's connections asks: seldom enough to be no load.
const BYSTANDER_PACE: Duration = Duration::from_millis(2);

/// What was found in one round about one row in one cell.
#[derive(Debug, Serialize)]
pub struct Trial {
    pub round: usize,
    pub language: String,
    pub peer: String,
    pub row: String,
    #[serde(flatten)]
    pub cell: Cell,
    /// Why it does not count.
    pub fault: Option<String>,
    pub found: Option<Found>,
    pub server: Option<Load>,
    pub bystander: Option<Bystander>,
}

/// What Redis had to do, from before the worker's start to after its end.
#[derive(Debug, Serialize)]
pub struct Load {
    calls: Calls,
    /// What clients sent, for each grant; without the requests that still waited when the worker ended.
    pub requests_per_grant: Option<f64>,
    /// What was called, by clients and by their scripts.
    pub commands_per_grant: f64,
    pub cpu_us_per_grant: f64,
}

/// How long others waited who only read and write, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Bystander {
    pub get_p99_ms: f64,
    pub set_p99_ms: f64,
    pub longest_ping_ms: f64,
}

impl Trial {
    /// What was found, if it counts.
    pub fn valid(&self) -> Option<&Found> {
        self.found.as_ref().filter(|_| self.fault.is_none())
    }
}

/// Does it all, for a row in a cell.
pub fn run(servers: &Servers, row: &Row, cell: &Cell, inside: &Inside, round: usize) -> Trial {
    let is_redis = row.wait() != Wait::Elsewhere;
    let streams = (is_redis && cell.is_contended()).then(|| Streams::beside(&servers.redis, BYSTANDER_PACE));
    let (calls_before, cpu_before) = (calls(&servers.redis), cpu_us(&servers.redis));
    let (found, seen) = work(servers, row, cell, streams);
    let mut new = between(&calls_before, &calls(&servers.redis));
    let cpu = cpu_us(&servers.redis) - cpu_before;
    servers.tidy();
    if let Some(seen) = &seen {
        let [_, gets, sets] = seen.sent;
        for (name, sent) in [("get", gets), ("set", sets)] {
            *new.entry(name.into()).or_default() -= sent as i64;
        }
    }
    let (found, fault) = match found {
        Ok(found) => (Some(found.clone()), found.fault(cell.clients)),
        Err(why) => (None, Some(why)),
    };
    if let Some(fault) = &fault {
        progress(&format!("{} does not count: {fault}", row.name()));
    }
    let server = found.as_ref().filter(|found| is_redis && found.grants_total > 0).map(|found| {
        let grants = found.grants_total as f64;
        let commands = new.values().sum::<i64>() as f64;
        Load {
            requests_per_grant: inside.sent(&new).map(|sent| (sent - given_up(servers, row, found)) / grants),
            commands_per_grant: commands / grants,
            cpu_us_per_grant: cpu / grants,
            calls: new,
        }
    });
    let (language, peer, name) = (row.language.clone(), row.about.peer.clone(), row.about.row.clone());
    let bystander = seen.map(|seen| Bystander::of(&seen));
    Trial { round, language, peer, row: name, cell: *cell, fault, found, server, bystander }
}

/// Requests that were counted, and given up as the worker ended. Of a poller nobody could say which of its requests were for
/// a grant that never came; where a wait is one request they are known.
fn given_up(servers: &Servers, row: &Row, found: &Found) -> f64 {
    if row.is_redis_lock() && servers.counts_abandoned_waits {
        found.pending as f64
    } else {
        0.0
    }
}

impl Bystander {
    fn of(seen: &Seen) -> Bystander {
        Bystander {
            get_p99_ms: quantile(&seen.get, 0.99),
            set_p99_ms: quantile(&seen.set, 0.99),
            longest_ping_ms: seen.longest_ping_ms(),
        }
    }
}

/// A key that no worker before has left anything behind at.
fn new_key() -> String {
    static JOBS: AtomicUsize = AtomicUsize::new(0);
    format!("lock:{:06}", JOBS.fetch_add(1, Ordering::Relaxed))
}

/// Lets the worker do its job, beside the streams if there are any.
fn work(servers: &Servers, row: &Row, cell: &Cell, streams: Option<Streams>) -> (Result<Found, String>, Option<Seen>) {
    let warmup_seconds = cell.warmup_seconds * row.warmup_factor();
    let job = Job {
        peer: &row.about.peer,
        row: &row.about.row,
        workload: cell.workload,
        clients: cell.clients,
        section_us: cell.section_us,
        seconds: cell.seconds,
        warmup_seconds,
        redis: servers.redis_address(),
        redis_all: vec![servers.redis_address()],
        etcd: servers.etcd_address(),
        postgres: servers.postgres_url(),
        lease_ms: LEASE_MS,
        key: &new_key(),
    };
    let mut worker = Worker::start(row, &job);
    let limit = GRACE + Duration::from_secs_f64(cell.seconds + warmup_seconds);
    if let Err(why) = worker.until_ready(limit) {
        return (Err(why), None);
    }
    let mut found = Err("nothing was measured".into());
    let seen = match streams {
        None => {
            worker.go();
            found = worker.result(limit);
            None
        }
        Some(streams) => {
            let worker = std::cell::RefCell::new(&mut worker);
            Some(streams.watch(|| worker.borrow_mut().go(), || found = worker.borrow_mut().result(limit)))
        }
    };
    // An exit code without an error would be a bug of the worker; the error it told says more.
    let end = worker.end(GRACE);
    let found = found.and_then(|found| if found.error.is_none() { end.map(|()| found) } else { Ok(found) });
    (found, seen)
}

/// How often a look is tried: one that saw nothing leaves a column of the report empty.
const LOOKS: usize = 3;

/// Which commands the peer's scripts call, seen in a short run beside the measured ones.
pub fn look_inside(servers: &Servers, row: &Row) -> Inside {
    if row.wait() == Wait::Elsewhere {
        return Inside::default();
    }
    for _ in 0..LOOKS {
        progress(&format!("looking at what is sent: {}", row.name()));
        if let Some(inside) = look(servers, row) {
            return inside;
        }
    }
    Inside::default()
}

fn look(servers: &Servers, row: &Row) -> Option<Inside> {
    let monitor = Monitor::start(&servers.redis);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| monitor.watch());
        let cell =
            Cell { workload: Workload::Contended, clients: 4, section_us: 1000, warmup_seconds: 0.1, seconds: 0.1 };
        let (found, _) = work(servers, row, &cell, None);
        Monitor::stop(&servers.redis);
        servers.tidy();
        let inside = watch.join().unwrap();
        match found.map(|found| found.fault(cell.clients)) {
            Ok(None) => Some(inside),
            Ok(Some(why)) | Err(why) => {
                progress(&format!("{}: {why}", row.name()));
                None
            }
        }
    })
}
