//! How long everybody else waits while thousands are let in, or thrown out, at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::bench::clients::{all_say, connect, hold, owner, roomy, until_number, DAY, HOLDER};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::Server;

const KEY: &str = "lock:01234567890";
/// A lease that ends while the server stands still.
const SHORT: Duration = Duration::from_secs(3);

/// Milliseconds.
struct Stall {
    longest: f64,
    total: f64,
}

/// Does what `event` does while another connection asks PING again and again. `over` waits for the end of it.
fn watch(server: &Server, event: impl FnOnce(), over: impl FnOnce()) -> Stall {
    let (begin, is_over) = (Barrier::new(2), AtomicBool::new(false));
    let mut wire = Wire::connect(server);
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            begin.wait();
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                wire.ask(b"PING\r\n");
                longest = longest.max(asked.elapsed());
            }
            longest
        });
        begin.wait();
        let start = Instant::now();
        event();
        over();
        let total = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        Stall { longest: ms(pings.join().unwrap()), total: ms(total) }
    })
}

/// One release lets in all that wait behind it.
fn let_in(crowd: usize) -> Stall {
    let server = roomy(Server::builder()).start();
    let mut control = Wire::connect(&server);
    hold(&mut control, KEY);
    let mut clients = connect(&server, crowd);
    all_say(&mut clients, &mut control, |i| {
        command(&["LOCK.ACQUIRE", KEY, &owner(i), "PX", DAY, "BLOCK", DAY, "SHARED"])
    });
    until_number(&mut control, "clients", "blocked_clients", |blocked| blocked == crowd as i64);
    let release = command(&["LOCK.RELEASE", KEY, HOLDER]);
    watch(
        &server,
        || assert_eq!(control.ask(&release), 1),
        || {
            clients.iter_mut().for_each(|client| assert!(client.read().int() > 0));
        },
    )
}

/// Shared leases of one lock, all over when the server looks at the clock.
fn leases_end(crowd: usize) -> Stall {
    let server = roomy(Server::builder()).start();
    let mut control = Wire::connect(&server);
    let lease = SHORT.as_millis().to_string();
    let begun = Instant::now();
    for some in (0..crowd).collect::<Vec<usize>>().chunks(100) {
        let words = some.iter().flat_map(|i| command(&["LOCK.ACQUIRE", KEY, &owner(*i), "PX", &lease, "SHARED"]));
        control.send(&words.collect::<Vec<u8>>());
        some.iter().for_each(|_| assert!(control.read().int() > 0));
    }
    let last = Instant::now() + SHORT;
    server.sigstop();
    assert!(begun.elapsed() < SHORT, "a lease ended before the server stood still");
    std::thread::sleep(last.saturating_duration_since(Instant::now()) + Duration::from_millis(10));
    let over = || until_number(&mut control, "redislock", "redislock_lease_ends", |ends| ends == crowd as i64);
    watch(&server, || server.sigcont(), over)
}

/// Connections close, each with a hold that was bound to it; or without one.
fn connections_close(crowd: usize, with_sessions: bool) -> Stall {
    let server = roomy(Server::builder()).start();
    let mut control = Wire::connect(&server);
    let mut clients = connect(&server, crowd);
    if with_sessions {
        all_say(&mut clients, &mut control, |i| {
            command(&["LOCK.ACQUIRE", &format!("lock:{i:011}"), &owner(i), "PX", DAY, "SESSION"])
        });
    }
    let (ends, wanted) = ("redislock_session_ends", if with_sessions { crowd as i64 } else { 0 });
    watch(
        &server,
        || drop(clients),
        || {
            until_number(&mut control, "clients", "connected_clients", |clients| clients <= 2);
            until_number(&mut control, "redislock", ends, |ended| ended == wanted);
        },
    )
}

/// Fills the table of stalls.
pub fn measure(scale: Scale, report: &mut Report) {
    let crowd = scale.clients;
    let mut table = Table::new("Thousands at once", &["what", "how many", "longest PING, ms", "done after, ms"]);
    let mut line = |name: &str, once: &dyn Fn() -> Stall| {
        progress(&format!("{name}: {crowd}"));
        let stalls: Vec<Stall> = (0..scale.rounds).map(|_| once()).collect();
        let cell = |of: fn(&Stall) -> f64| Entry::Number(Cell::of(stalls.iter().map(of).collect()), 1);
        table.row(vec![name.into(), crowd.into(), cell(|stall| stall.longest), cell(|stall| stall.total)]);
    };
    line("shared waiters let in by one release", &|| let_in(crowd));
    line("shared leases of one lock ended while the server stood still", &|| leases_end(crowd));
    line("connections closed, each the session of a lock", &|| connections_close(crowd, true));
    line("connections closed, nothing bound to them", &|| connections_close(crowd, false));
    report.table(table);
    report.note(&format!(
        "Median, least and most of {} rounds, over loopback. The longest PING is that of a connection which asks one after the \
         other meanwhile; it holds what the machine did else. The module does what is left to do in slices of at most 2 ms an \
         iteration of the event loop. The last row is the server's own.",
        scale.rounds
    ));
}
