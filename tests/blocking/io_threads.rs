//! Trap 58: a server with IO threads, which read and write for clients while the main thread runs commands.

use support::{args, until, Client, Server};

const ROUNDS: usize = 4;
const WAITERS: usize = 20;

/// A line of waiters, each with a session; every third leaves while the holder does. Those that stay are granted one after
/// the other, each as the connection before it closes.
#[test]
fn queue_is_served_in_order_while_connections_close_on_other_threads() {
    let server = Server::builder().config("io-threads 3").start();
    let mut last = 0;
    for round in 0..ROUNDS {
        let mut holder = server.client();
        let fence = holder.cmd(&["LOCK.ACQUIRE", "k", "holder", "PX", "600000", "SESSION", "BLOCK", "0"]).int();
        assert!(fence > last, "round {round}: {fence} after {last}");
        last = fence;
        let mut line: Vec<Client> = (0..WAITERS).map(|_| server.client()).collect();
        for (n, waiter) in line.iter_mut().enumerate() {
            server.send_to_wait(
                waiter,
                &args!["LOCK.ACQUIRE", "k", format!("w{n}"), "PX", 600_000, "SESSION", "BLOCK", 0],
            );
        }
        let (leave, stay): (Vec<_>, Vec<_>) = line.into_iter().enumerate().partition(|(n, _)| n % 3 == 0);
        leave.into_iter().for_each(|(n, waiter)| if n % 2 == 0 { waiter.close() } else { waiter.reset() });
        holder.close();
        for (n, mut waiter) in stay {
            let fence = waiter.read().int();
            assert!(fence > last, "round {round}, waiter {n}: {fence} after {last}");
            last = fence;
            assert_eq!(server.cmd(&args!["LOCK.CHECK", "k", format!("w{n}")]).array()[0], fence);
            waiter.close();
        }
    }
    until("the last session is over", || server.cmd(&["EXISTS", "k"]) == 0);
    server.assert_clean();
}
