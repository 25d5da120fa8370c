//! The network between clients and a server in memory: latency, and silence.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{sleep, sleep_until, Instant};

use crate::chance::Chance;
use crate::sync::lock;

/// How long commands and replies travel.
pub(super) struct Network {
    chance: Chance,
    latency: Mutex<Duration>,
    silent_until: Mutex<Option<Instant>>,
}

impl Network {
    pub fn new(chance: Chance) -> Network {
        Network { chance, latency: Mutex::default(), silent_until: Mutex::default() }
    }

    pub fn set_latency(&self, most: Duration) {
        *lock(&self.latency) = most;
    }

    pub fn stall(&self, duration: Duration) {
        *lock(&self.silent_until) = Some(Instant::now() + duration);
    }

    /// Returns when a command or a reply has arrived.
    pub async fn travel(&self) {
        let latency = *lock(&self.latency);
        if !latency.is_zero() {
            sleep(self.chance.up_to(latency)).await;
        }
        loop {
            let silent_until = *lock(&self.silent_until);
            match silent_until {
                Some(end) if end > Instant::now() => sleep_until(end).await,
                Some(_) | None => return,
            }
        }
    }
}
