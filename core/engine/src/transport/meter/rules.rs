//! The limits that need memory: rates, keepalive strikes, early resets. Fed by both directions.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::config::{MeterConfig, Side};
use super::frames::ErrorCode;
use super::rates::Rate;
use crate::time::Time;

/// Why the connection has to end: the GOAWAY's code and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: ErrorCode,
    pub(super) text: String,
}

impl Violation {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Violation {
        Violation { code, text: text.into() }
    }

    #[cold]
    fn calm(text: &str) -> Result<(), Violation> {
        Err(Violation::new(ErrorCode::ENHANCE_YOUR_CALM, text))
    }
}

/// Spreads stream ids over a table. A peer that picks its ids to collide has at most as many as it may hold open.
#[derive(Default)]
pub(super) struct StreamHasher(u64);

impl Hasher for StreamHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u32(u32::from(*b));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// A call the peer opened and nobody ended yet.
struct Call {
    opened: Time,
    answered: bool,
}

/// Everything counted on one connection.
pub(super) struct Rules {
    pub(super) config: MeterConfig,
    /// The highest stream the peer opened.
    pub(super) highest_theirs: u32,
    /// The highest stream we opened.
    pub(super) highest_ours: u32,
    /// Ids the peer passed over; opening one later is an error. The oldest are forgotten.
    skipped: VecDeque<(u32, u32)>,
    calls: HashMap<u32, Call, BuildHasherDefault<StreamHasher>>,
    pings: Rate,
    settings: Rate,
    priorities: Rate,
    unknown: Rate,
    window_updates: Rate,
    empty_data: Rate,
    data_sent: Rate,
    error_resets: Rate,
    /// The last valid PING; `None` if the next one is free.
    last_ping: Option<Time>,
    strikes: u32,
    /// Of the last finished streams: was it reset early?
    endings: VecDeque<bool>,
    early: u32,
}

/// So many skipped ranges are remembered.
const MAX_SKIPPED: usize = 32;

impl Rules {
    pub(super) fn new(config: MeterConfig) -> Rules {
        Rules {
            config,
            highest_theirs: 0,
            highest_ours: 0,
            skipped: VecDeque::new(),
            calls: HashMap::default(),
            pings: Rate::default(),
            settings: Rate::default(),
            priorities: Rate::default(),
            unknown: Rate::default(),
            window_updates: Rate::default(),
            empty_data: Rate::default(),
            data_sent: Rate::default(),
            error_resets: Rate::default(),
            last_ping: None,
            strikes: 0,
            endings: VecDeque::new(),
            early: 0,
        }
    }

    fn is_server(&self) -> bool {
        self.config.side == Side::Server
    }

    /// Whether nobody opened `stream` yet. We never push, so only the client opens streams, with odd ids.
    #[inline]
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        let highest = if self.is_server() { self.highest_theirs } else { self.highest_ours };
        stream > highest || stream & 1 == 0
    }

    /// Whether the peer passed over `stream` when it opened a higher one.
    pub(super) fn was_skipped(&self, stream: u32) -> bool {
        self.skipped.iter().any(|(from, to)| (*from..=*to).contains(&stream))
    }

    /// HEADERS came on a server's connection: a new call if the id is new.
    pub(super) fn call_opened(&mut self, stream: u32, now: Time) {
        if stream <= self.highest_theirs {
            return;
        }
        let expected = if self.highest_theirs == 0 { 1 } else { self.highest_theirs + 2 };
        if stream > expected {
            if self.skipped.len() == MAX_SKIPPED {
                self.skipped.pop_front();
            }
            self.skipped.push_back((expected, stream - 1));
        }
        self.highest_theirs = stream;
        self.calls.insert(stream, Call { opened: now, answered: false });
    }

    pub(super) fn ping(&mut self, ack: bool, now: Time) -> Result<(), Violation> {
        if self.pings.add(now, 1) > self.config.pings {
            return Violation::calm("too_many_pings");
        }
        let Some(policy) = &self.config.ping_policy else { return Ok(()) };
        if ack {
            return Ok(());
        }
        let idle = self.calls.is_empty() && !policy.permit_without_calls;
        let least = if idle { policy.idle_interval } else { policy.min_interval };
        if self.last_ping.is_some_and(|last| now < last + least) {
            self.strikes += 1;
            if self.strikes > policy.strikes {
                return Violation::calm("too_many_pings");
            }
        } else {
            self.last_ping = Some(now);
        }
        Ok(())
    }

    pub(super) fn settings(&mut self, now: Time) -> Result<(), Violation> {
        over(self.settings.add(now, 1), self.config.settings)
    }

    pub(super) fn priority(&mut self, now: Time) -> Result<(), Violation> {
        over(self.priorities.add(now, 1), self.config.priorities)
    }

    /// A frame of a type nobody knows, or one that has no count of its own (GOAWAY).
    pub(super) fn unknown(&mut self, now: Time) -> Result<(), Violation> {
        over(self.unknown.add(now, 1), self.config.unknown)
    }

    pub(super) fn window_update(&mut self, now: Time) -> Result<(), Violation> {
        let count = self.window_updates.add(now, 1);
        if count <= self.config.window_updates {
            return Ok(());
        }
        let earned = self.data_sent.total(now).saturating_mul(self.config.window_updates_per_data);
        over(count, self.config.window_updates.saturating_add(earned))
    }

    pub(super) fn empty_data(&mut self, now: Time) -> Result<(), Violation> {
        if self.empty_data.add(now, 1) > self.config.empty_data {
            return Violation::calm("too_many_empty_frames");
        }
        Ok(())
    }

    pub(super) fn reset_received(&mut self, stream: u32, now: Time) -> Result<(), Violation> {
        let Some(call) = self.calls.remove(&stream) else { return Ok(()) };
        let within = self.config.early_resets.map_or_else(Default::default, |rule| rule.within);
        self.call_ended(!call.answered && now.since(call.opened) < within)
    }

    pub(super) fn headers_sent(&mut self, stream: u32, end: bool) {
        self.forgive();
        if !self.is_server() {
            self.highest_ours = self.highest_ours.max(stream);
            return;
        }
        if end {
            self.answer_ended(stream);
        } else if let Some(call) = self.calls.get_mut(&stream) {
            call.answered = true;
        }
    }

    /// Our last frame on `stream` went out.
    pub(super) fn answer_ended(&mut self, stream: u32) {
        if self.calls.remove(&stream).is_some() {
            // a call that was answered can only make the share of early resets smaller
            let _ = self.call_ended(false);
        }
    }

    /// `n` DATA frames went out.
    pub(super) fn data_sent(&mut self, n: u32, now: Time) {
        self.forgive();
        self.data_sent.add(now, n);
    }

    pub(super) fn reset_sent(
        &mut self,
        stream: u32,
        code: ErrorCode,
        now: Time,
    ) -> Result<(), Violation> {
        if self.calls.remove(&stream).is_some() && code != ErrorCode::REFUSED_STREAM {
            let _ = self.call_ended(false);
        }
        let harmless =
            [ErrorCode::NO_ERROR, ErrorCode::CANCEL, ErrorCode::REFUSED_STREAM].contains(&code);
        if !harmless && self.error_resets.add(now, 1) > self.config.error_resets {
            return Violation::calm("too_many_error_resets");
        }
        Ok(())
    }

    /// We sent HEADERS or DATA: the peer may ping again (keepalive.md).
    fn forgive(&mut self) {
        self.strikes = 0;
        self.last_ping = None;
    }

    fn call_ended(&mut self, early: bool) -> Result<(), Violation> {
        let Some(rule) = self.config.early_resets else { return Ok(()) };
        if self.endings.len() >= rule.streams as usize && self.endings.pop_front() == Some(true) {
            self.early -= 1;
        }
        self.endings.push_back(early);
        self.early += u32::from(early);
        let seen = self.endings.len() as u64;
        if seen >= u64::from(rule.streams)
            && u64::from(self.early) * 100 > u64::from(rule.percent) * seen
        {
            return Violation::calm("too_many_resets");
        }
        Ok(())
    }
}

fn over(count: u32, limit: u32) -> Result<(), Violation> {
    if count > limit { Violation::calm("too_many_control_frames") } else { Ok(()) }
}
