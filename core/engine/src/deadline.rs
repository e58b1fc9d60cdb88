//! Deadlines and timeouts: a deadline is a point in time, a timeout a duration.
//!
//! On the wire there are only timeouts (`grpc-timeout`, 1 to 8 digits and a unit), so that the clocks of
//! two machines need not agree. Spec: gRPC PROTOCOL-HTTP2.md, "Timeout".

use std::time::Duration;

use crate::time::Time;

/// The point in time at which a call ends with `DEADLINE_EXCEEDED`, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Time);

impl Deadline {
    /// No deadline: the call may last for ever. Later than every other deadline.
    pub const NONE: Deadline = Deadline(Time::NEVER);

    /// A deadline at `time`; [`Time::NEVER`] is none.
    pub const fn at(time: Time) -> Deadline {
        Deadline(time)
    }

    /// The deadline `timeout` after `now`. A span beyond the clock's range is no deadline.
    pub fn after(now: Time, timeout: Duration) -> Deadline {
        Deadline(now + timeout)
    }

    /// The point in time, `None` if the call may last for ever.
    pub fn time(self) -> Option<Time> {
        (self.0 != Time::NEVER).then_some(self.0)
    }

    /// Time left at `now`, zero once it has passed; `None` without a deadline.
    pub fn remaining(self, now: Time) -> Option<Duration> {
        self.time().map(|time| time.since(now))
    }

    /// Whether the deadline is over at `now`.
    pub fn is_past(self, now: Time) -> bool {
        self.0 != Time::NEVER && self.0 <= now
    }

    /// The sooner of the two: what a call made inside a handler inherits.
    #[must_use]
    pub fn min(self, other: Deadline) -> Deadline {
        Deadline(self.0.min(other.0))
    }
}

impl Default for Deadline {
    fn default() -> Deadline {
        Deadline::NONE
    }
}

impl From<Option<Time>> for Deadline {
    fn from(time: Option<Time>) -> Deadline {
        Deadline(time.unwrap_or(Time::NEVER))
    }
}

/// The largest number the 8 digits hold.
const MOST: u128 = 99_999_999;

/// A `grpc-timeout` value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(pub Duration);

impl Timeout {
    /// Reads a header value: 1 to 8 digits, then one of `H M S m u n`. Zero is legal and has passed already.
    ///
    /// # Errors
    /// [`TimeoutError`] for anything else; a server answers such a call with `INTERNAL`.
    pub fn parse(value: &[u8]) -> Result<Timeout, TimeoutError> {
        let Some((unit, digits @ [_, ..])) = value.split_last() else { return Err(TimeoutError) };
        if digits.len() > 8 {
            return Err(TimeoutError);
        }
        let mut number = 0u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(TimeoutError);
            }
            number = number * 10 + u64::from(digit - b'0');
        }
        // eight digits of hours are 3.6e11 seconds: no unit overflows
        Ok(Timeout(match unit {
            b'H' => Duration::from_secs(number * 3600),
            b'M' => Duration::from_secs(number * 60),
            b'S' => Duration::from_secs(number),
            b'm' => Duration::from_millis(number),
            b'u' => Duration::from_micros(number),
            b'n' => Duration::from_nanos(number),
            _ => return Err(TimeoutError),
        }))
    }

    /// Writes the header value: the finest unit that fits in 8 digits, rounded up, so that the peer never
    /// gives up before we do. Never zero (`1n` is the least) and never more than `99999999H`.
    pub fn text(self) -> TimeoutText {
        // most timeouts are below 99.999999 s, where 64 bits are enough
        let nanos = self.0.as_nanos().max(1);
        let (number, unit) = if nanos <= MOST {
            (nanos as u32, b'n')
        } else if nanos.div_ceil(1_000) <= MOST {
            (nanos.div_ceil(1_000) as u32, b'u')
        } else if nanos.div_ceil(1_000_000) <= MOST {
            (nanos.div_ceil(1_000_000) as u32, b'm')
        } else {
            let seconds = nanos.div_ceil(1_000_000_000);
            if seconds <= MOST {
                (seconds as u32, b'S')
            } else if seconds.div_ceil(60) <= MOST {
                (seconds.div_ceil(60) as u32, b'M')
            } else {
                (seconds.div_ceil(3600).min(MOST) as u32, b'H')
            }
        };
        TimeoutText::new(number, unit)
    }
}

/// The text of a `grpc-timeout`, at most nine ASCII bytes, without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutText {
    bytes: [u8; 9],
    start: u8,
}

impl TimeoutText {
    fn new(mut number: u32, unit: u8) -> TimeoutText {
        let mut bytes = [unit; 9];
        let mut start = 8;
        loop {
            start -= 1;
            bytes[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 || start == 0 {
                break;
            }
        }
        TimeoutText { bytes, start: start as u8 }
    }

    /// The bytes as they go into the header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// A `grpc-timeout` that is not 1 to 8 digits and a unit. Becomes `INTERNAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is not 1 to 8 digits and one of H M S m u n")]
pub struct TimeoutError;

#[cfg(test)]
mod tests;
