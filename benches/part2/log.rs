//! What a change adds to the AOF, and so to what replicas are sent, beside more and more other holders.

use crate::bench::clients::{owner, roomy, DAY, HOLDER};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::{aof_bytes, Server};

const KEY: &str = "lock:01234567890";

/// A row of the table: its name, how it is asked for.
const CHANGES: [(&str, &[&str]); 3] = [
    ("grant", &["LOCK.ACQUIRE", KEY, HOLDER, "PX", DAY]),
    ("extension", &["LOCK.EXTEND", KEY, HOLDER, "PX", DAY]),
    ("release", &["LOCK.RELEASE", KEY, HOLDER]),
];

/// Fills the table of bytes, and the bound on their growth.
pub fn measure(scale: Scale, report: &mut Report) {
    let server = roomy(Server::builder().aof_fsync("no")).start();
    let mut wire = Wire::connect(&server);
    // The first write also selects the database.
    wire.ask(&command(&["LOCK.ACQUIRE", "another", "somebody", "PX", DAY]));
    let mut table =
        Table::new("Bytes that a change adds to the AOF", &["hold", "other holders", "grant", "extension", "release"]);
    row(&mut table, "exclusive", 0, bytes(&server, &mut wire, &[]));
    let (mut present, mut grants) = (0, Vec::new());
    for holders in [0, 10].into_iter().chain(scale.holders[2..].iter().map(|holders| holders - 1)) {
        progress(&format!("bytes in the AOF beside {holders} holders"));
        for i in present..holders {
            wire.ask(&command(&["LOCK.ACQUIRE", KEY, &owner(i), "PX", DAY, "SHARED"]));
        }
        present = holders;
        let of_one = bytes(&server, &mut wire, &["SHARED"]);
        grants.push(of_one[0]);
        row(&mut table, "shared", holders, of_one);
    }
    let growth = grants[grants.len() - 1] / grants[0];
    report.goal(&format!("bytes of a shared grant beside {present} holders / alone"), growth, 1.0);
    report.table(table);
    report.note("Key and owners of 16 bytes. A change's bytes are those that replicas are sent.");
}

/// Of a grant, an extension and a release.
fn bytes(server: &Server, wire: &mut Wire, mode: &[&str]) -> [f64; 3] {
    CHANGES.map(|(name, words)| {
        let before = aof_bytes(server).len();
        let mode = if name == "grant" { mode } else { &[] };
        assert!(wire.ask(&command(&[words, mode].concat())).int() > 0);
        // A reply leaves after its change is written.
        (aof_bytes(server).len() - before) as f64
    })
}

fn row(table: &mut Table, hold: &str, others: usize, bytes: [f64; 3]) {
    let bytes = bytes.map(|bytes| Entry::Number(Cell::one(bytes), 0));
    table.row([hold.into(), others.into()].into_iter().chain(bytes).collect());
}
