//! Chance: random names, and pauses that differ from client to client.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::sync::lock;

/// A source of random numbers.
pub(crate) struct Chance(Mutex<StdRng>);

impl Chance {
    /// Numbers that nobody can foretell.
    pub fn new() -> Chance {
        Chance(Mutex::new(StdRng::from_rng(&mut rand::rng())))
    }

    /// The same numbers each time, for simulations.
    #[cfg(feature = "memory")]
    pub fn with_seed(seed: u64) -> Chance {
        Chance(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// 64 random bits as hexadecimal digits.
    pub fn name(&self) -> String {
        format!("{:016x}", lock(&self.0).random::<u64>())
    }

    /// A random duration from zero up to this one.
    pub fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(lock(&self.0).random::<f64>())
    }

    /// A random duration from half of this one up to all of it.
    pub fn around(&self, most: Duration) -> Duration {
        most / 2 + self.up_to(most / 2)
    }
}
