//! One address and its connection: the part of a channel that connects, fails and backs off.

use super::address::Address;
use super::backoff::{Backoff, BackoffConfig};
use super::connectivity::Connectivity;
use crate::time::Time;

/// A subchannel's state; its owner carries the attempts out.
#[derive(Debug)]
pub struct Subchannel {
    address: Address,
    state: Connectivity,
    backoff: Backoff,
    retry_at: Time,
    error: String,
    /// Tells a stale attempt's end from the current one's.
    attempt: u64,
    /// Connections in a row that were of no use.
    useless: u32,
}

impl Subchannel {
    /// An idle subchannel.
    pub fn new(address: Address, backoff: BackoffConfig) -> Subchannel {
        Subchannel {
            address,
            state: Connectivity::Idle,
            backoff: Backoff::new(backoff),
            retry_at: Time::NEVER,
            error: String::new(),
            attempt: 0,
            useless: 0,
        }
    }

    /// The address it connects to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it is up to.
    pub fn state(&self) -> Connectivity {
        self.state
    }

    /// Why the last attempt or connection ended.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// Begins an attempt if it is idle: its number, and until when it may last.
    pub fn connect(&mut self, now: Time, random: f64) -> Option<(u64, Time)> {
        if self.state != Connectivity::Idle {
            return None;
        }
        self.state = Connectivity::Connecting;
        self.attempt += 1;
        Some((self.attempt, self.backoff.attempt(now, random)))
    }

    /// Attempt `attempt` reached the server's SETTINGS. `false`: it is stale, drop the connection.
    pub fn connected(&mut self, attempt: u64) -> bool {
        let current = self.state == Connectivity::Connecting && attempt == self.attempt;
        if current {
            self.state = Connectivity::Ready;
        }
        current
    }

    /// Attempt `attempt` failed.
    pub fn failed(&mut self, attempt: u64, error: String) -> bool {
        let current = self.state == Connectivity::Connecting && attempt == self.attempt;
        if current {
            self.state = Connectivity::TransientFailure;
            self.retry_at = self.backoff.retry_at();
            self.error = error;
        }
        current
    }

    /// The connection of attempt `attempt` ended or is going away. One that was of use starts the backoff over. One that only
    /// said goodbye is forgiven once, since its calls are to go out again on the next; a second one counts as a failed
    /// attempt, or a server that greets every connection so would be dialled in a loop.
    pub fn disconnected(&mut self, attempt: u64, error: String, was_useful: bool) -> bool {
        let current = self.state == Connectivity::Ready && attempt == self.attempt;
        if current {
            self.error = error;
            self.useless = if was_useful { 0 } else { self.useless.saturating_add(1) };
            if was_useful {
                self.backoff.reset();
            }
            if self.useless <= 1 {
                self.state = Connectivity::Idle;
            } else {
                self.state = Connectivity::TransientFailure;
                self.retry_at = self.backoff.retry_at();
            }
        }
        current
    }

    /// When [`Subchannel::handle_time`] has something to do.
    pub fn next_deadline(&self) -> Time {
        if self.state == Connectivity::TransientFailure { self.retry_at } else { Time::NEVER }
    }

    /// Ends the backoff when its time has come; `true` if it did.
    pub fn handle_time(&mut self, now: Time) -> bool {
        let over = self.state == Connectivity::TransientFailure && now >= self.retry_at;
        if over {
            self.state = Connectivity::Idle;
        }
        over
    }

    /// Forgets the backoff, so that the next attempt comes at once.
    pub fn reset_backoff(&mut self) {
        self.backoff.reset();
        self.retry_at = Time::ZERO;
    }
}
