//! How long to wait before connecting again (gRPC connection-backoff.md).

use std::time::Duration;

use crate::time::Time;

/// The numbers of the connection backoff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffConfig {
    /// Wait after the first failure. Default 1 s.
    pub initial: Duration,
    /// Factor from one failure to the next. Default 1.6.
    pub multiplier: f64,
    /// Uniform random change of each wait, as a share of it. Default 0.2.
    pub jitter: f64,
    /// The longest wait. Default 120 s.
    pub max: Duration,
    /// The least time an attempt gets. Default 20 s.
    pub min_connect_timeout: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        BackoffConfig {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(120),
            min_connect_timeout: Duration::from_secs(20),
        }
    }
}

/// The backoff of one address.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: BackoffConfig,
    current: Duration,
    /// Until when the next attempt has to wait, set when an attempt begins.
    deadline: Time,
}

impl Backoff {
    /// A backoff with no failure yet.
    pub fn new(config: BackoffConfig) -> Backoff {
        Backoff { config, current: config.initial, deadline: Time::ZERO }
    }

    /// An attempt begins. Returns until when it may last. `random` is uniform in 0..1.
    pub fn attempt(&mut self, now: Time, random: f64) -> Time {
        let wait = self.current.mul_f64(1.0 + self.config.jitter * (2.0 * random - 1.0));
        self.deadline = now + wait;
        self.current = self.current.mul_f64(self.config.multiplier).min(self.config.max);
        self.deadline.max(now + self.config.min_connect_timeout)
    }

    /// When the next attempt may begin, after a failed one.
    pub fn retry_at(&self) -> Time {
        self.deadline
    }

    /// The server's SETTINGS have come, or the user asked for it: start over.
    pub fn reset(&mut self) {
        self.current = self.config.initial;
        self.deadline = Time::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_1_6_to_120_seconds_and_start_over() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        let mut waits = Vec::new();
        for _ in 0..14 {
            backoff.attempt(Time::ZERO, 0.5);
            waits.push(backoff.retry_at().since(Time::ZERO).as_secs_f64());
        }
        assert_eq!(waits[0], 1.0);
        assert_eq!(waits[1], 1.6);
        assert!((waits[2] - 2.56).abs() < 1e-6);
        assert_eq!(waits[13], 120.0);
        backoff.reset();
        assert_eq!(backoff.attempt(Time::ZERO, 0.0).since(Time::ZERO), Duration::from_secs(20));
        assert_eq!(backoff.retry_at().since(Time::ZERO), Duration::from_millis(800));
        backoff.attempt(Time::ZERO, 1.0);
        assert_eq!(backoff.retry_at().since(Time::ZERO), Duration::from_millis(1920));
    }

    #[test]
    fn an_attempt_may_last_until_a_long_backoff_ends() {
        let config = BackoffConfig { initial: Duration::from_secs(60), ..BackoffConfig::default() };
        assert_eq!(
            Backoff::new(config).attempt(Time::ZERO, 0.5).since(Time::ZERO),
            Duration::from_secs(60)
        );
    }
}
