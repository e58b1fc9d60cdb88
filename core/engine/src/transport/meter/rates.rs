//! How many of a thing came in the last ten seconds, in ten buckets of one second.

use crate::time::Time;

const BUCKETS: usize = 10;
const BUCKET_NANOS: u64 = 1_000_000_000;

/// A count over the last 9 to 10 seconds. Adding costs one comparison while the second lasts.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    buckets: [u32; BUCKETS],
    total: u32,
    second: u64,
}

impl Rate {
    /// Counts `n` at `now` and says how many there are in the window.
    pub(super) fn add(&mut self, now: Time, n: u32) -> u32 {
        self.roll(now);
        let bucket = &mut self.buckets[(self.second % BUCKETS as u64) as usize];
        *bucket = bucket.saturating_add(n);
        self.total = self.total.saturating_add(n);
        self.total
    }

    /// How many there are in the window that ends `now`.
    pub(super) fn total(&mut self, now: Time) -> u32 {
        self.roll(now);
        self.total
    }

    fn roll(&mut self, now: Time) {
        let second = now.as_nanos() / BUCKET_NANOS;
        if second <= self.second {
            return;
        }
        let passed = second - self.second;
        if passed >= BUCKETS as u64 {
            self.buckets = [0; BUCKETS];
        } else {
            for s in self.second + 1..=second {
                self.buckets[(s % BUCKETS as u64) as usize] = 0;
            }
        }
        self.total = self.buckets.iter().fold(0, |sum, n| sum.saturating_add(*n));
        self.second = second;
    }
}
