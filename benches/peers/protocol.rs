//! What a worker is told and tells, see README.md.

use serde::{Deserialize, Serialize};

/// The job of a worker.
#[derive(Debug, Serialize)]
pub struct Job<'a> {
    pub peer: &'a str,
    pub row: &'a str,
    pub workload: super::cells::Workload,
    pub clients: usize,
    pub section_us: u64,
    pub seconds: f64,
    pub warmup_seconds: f64,
    pub redis: String,
    pub redis_all: Vec<String>,
    pub etcd: String,
    pub postgres: String,
    pub lease_ms: u64,
    pub key: &'a str,
}

/// A peer that a worker has, and how it is set.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    pub peer: String,
    pub row: String,
    pub library: String,
    pub version: String,
    pub client: String,
    pub settings: String,
    #[serde(default)]
    pub links: Vec<String>,
}

/// Quantiles in microseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Times {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What a worker says.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Ready,
    Result(Box<Found>),
}

/// What a worker measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Found {
    pub grants: u64,
    pub grants_total: u64,
    pub per_client: Vec<u64>,
    pub elapsed_s: f64,
    #[serde(default)]
    pub gave_up: u64,
    #[serde(default)]
    pub pending: u64,
    pub violations: u64,
    #[serde(default)]
    pub section_us_mean: Option<f64>,
    pub wait_us: Times,
    #[serde(default)]
    pub wait_by_client_us: Option<Times>,
    #[serde(default)]
    pub handoff_us: Option<Times>,
    #[serde(default)]
    pub overtakes: u64,
    #[serde(default)]
    pub errors: u64,
    pub error: Option<String>,
}

impl Found {
    pub fn grants_per_second(&self) -> f64 {
        self.grants as f64 / self.elapsed_s
    }

    /// The grants of the client that had fewest, divided by those of the one that had most.
    pub fn smallest_share(&self) -> f64 {
        let least = self.per_client.iter().min().copied().unwrap_or(0);
        let most = self.per_client.iter().max().copied().unwrap_or(0);
        least as f64 / most.max(1) as f64
    }

    /// Why these figures do not count, if they do not.
    pub fn fault(&self, clients: usize) -> Option<String> {
        if self.violations > 0 {
            return Some(format!("{} violations of exclusion", self.violations));
        }
        if let Some(error) = &self.error {
            return Some(error.clone());
        }
        if self.grants == 0 {
            return Some("no grant in the measured span".into());
        }
        let sum: u64 = self.per_client.iter().sum();
        let is_sound = self.per_client.len() == clients && sum == self.grants && self.grants <= self.grants_total;
        (!is_sound).then(|| format!("the counts do not add up: {sum} of {} of {}", self.grants, self.grants_total))
    }
}
