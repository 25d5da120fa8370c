//! What a change adds to the AOF, and so to what replicas are sent, beside that of a string, and beside more and more other
//! holders.

use crate::bench::clients::{owner, roomy, DAY, HOLDER};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::{aof_bytes, Server};

const KEY: &str = "lock:01234567890";

/// A grant, an extension and a release.
const CHANGES: [&[&str]; 3] = [
    &["LOCK.ACQUIRE", KEY, HOLDER, "PX", DAY],
    &["LOCK.EXTEND", KEY, HOLDER, "PX", DAY],
    &["LOCK.RELEASE", KEY, HOLDER],
];
/// The same with a string.
const STRING: [&[&str]; 3] = [&["SET", KEY, HOLDER, "NX", "PX", DAY], &["PEXPIRE", KEY, DAY], &["DEL", KEY]];
/// How many times as many bytes as those of a string a grant and its release may take.
const MOST: f64 = 1.2;

/// Fills the table of bytes, and the bound on their growth.
pub fn measure(scale: Scale, report: &mut Report) {
    let server = roomy(Server::builder().aof_fsync("no")).start();
    let mut wire = Wire::connect(&server);
    // The first write also selects the database.
    wire.ask(&command(&["LOCK.ACQUIRE", "another", "somebody", "PX", DAY]));
    let mut table =
        Table::new("Bytes that a change adds to the AOF", &["hold", "other holders", "grant", "extension", "release"]);
    let string = bytes(&server, &mut wire, STRING, &[]);
    row(&mut table, "SET NX PX, PEXPIRE, DEL", 0, string);
    let exclusive = bytes(&server, &mut wire, CHANGES, &[]);
    row(&mut table, "exclusive", 0, exclusive);
    let ratio = (exclusive[0] + exclusive[2]) / (string[0] + string[2]);
    report.goal("bytes of an acquire + release / of SET NX PX + DEL", ratio, MOST);
    let (mut present, mut grants) = (0, Vec::new());
    for holders in [0, 10].into_iter().chain(scale.holders[2..].iter().map(|holders| holders - 1)) {
        progress(&format!("bytes in the AOF beside {holders} holders"));
        for i in present..holders {
            wire.ask(&command(&["LOCK.ACQUIRE", KEY, &owner(i), "PX", DAY, "SHARED"]));
        }
        present = holders;
        let of_one = bytes(&server, &mut wire, CHANGES, &["SHARED"]);
        grants.push(of_one[0]);
        row(&mut table, "shared", holders, of_one);
    }
    let growth = grants[grants.len() - 1] / grants[0];
    report.goal(&format!("bytes of a shared grant beside {present} holders / alone"), growth, 1.0);
    report.table(table);
    report.note("Key and owners of 16 bytes. A change's bytes are those that replicas are sent.");
}

/// Of these changes. The first asks for a mode.
fn bytes(server: &Server, wire: &mut Wire, changes: [&[&str]; 3], mode: &[&str]) -> [f64; 3] {
    let mut modes = [mode].into_iter();
    changes.map(|words| {
        let before = aof_bytes(server).len();
        let answer = wire.ask(&command(&[words, modes.next().unwrap_or_default()].concat()));
        assert!(answer == "OK" || answer.int() > 0, "{answer:?}");
        // A reply leaves after its change is written.
        (aof_bytes(server).len() - before) as f64
    })
}

fn row(table: &mut Table, hold: &str, others: usize, bytes: [f64; 3]) {
    let bytes = bytes.map(|bytes| Entry::Number(Cell::one(bytes), 0));
    table.row([hold.into(), others.into()].into_iter().chain(bytes).collect());
}
