//! What is measured, and for how long.

use serde::Serialize;

/// What the clients of a worker do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Each client has a lock of its own.
    Uncontended,
    /// All clients want one lock.
    Contended,
}

/// One setting of the measurement, which every row is tried in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cell {
    pub workload: Workload,
    pub clients: usize,
    pub section_us: u64,
    pub warmup_seconds: f64,
    pub seconds: f64,
}

impl Cell {
    pub fn is_contended(&self) -> bool {
        self.workload == Workload::Contended
    }

    /// For a heading.
    pub fn title(&self) -> String {
        let clients = if self.clients == 1 { "1 client".to_owned() } else { format!("{} clients", self.clients) };
        match (self.workload, self.section_us) {
            (Workload::Uncontended, _) => format!("uncontended, {clients}"),
            (Workload::Contended, 0) => format!("contended, {clients}, no section"),
            (Workload::Contended, us) if us % 1000 == 0 => format!("contended, {clients}, section {} ms", us / 1000),
            (Workload::Contended, us) => format!("contended, {clients}, section {us} us"),
        }
    }
}

/// How much is measured.
#[derive(Debug)]
pub struct Scale {
    pub rounds: usize,
    pub cells: &'static [Cell],
    /// Of each peer its last row alone, which is the one that is set for contention.
    pub is_last_row_only: bool,
}

/// The part of the measured span that the clients run before it.
const WARMUP: f64 = 0.25;

const fn uncontended(clients: usize, seconds: f64) -> Cell {
    Cell { workload: Workload::Uncontended, clients, section_us: 0, warmup_seconds: seconds * WARMUP, seconds }
}

/// Long enough for each of the clients to have several turns.
const fn contended(clients: usize, section_us: u64, seconds: f64) -> Cell {
    Cell { workload: Workload::Contended, clients, section_us, warmup_seconds: seconds * WARMUP, seconds }
}

pub const FULL: Scale = Scale {
    rounds: 3,
    cells: &[
        uncontended(1, 1.5),
        uncontended(50, 1.5),
        contended(10, 0, 1.5),
        contended(100, 0, 1.5),
        contended(10, 100, 1.5),
        contended(100, 100, 1.5),
        contended(10, 10_000, 2.0),
        contended(100, 10_000, 6.0),
    ],
    is_last_row_only: false,
};

pub const QUICK: Scale = Scale { rounds: 1, cells: &[contended(100, 100, 0.5)], is_last_row_only: true };
