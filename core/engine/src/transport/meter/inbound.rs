//! The way in: walks over what the socket brought, frame header by frame header, before `h2` sees it.
//!
//! Payloads are stepped over, not read; only SETTINGS and GOAWAY are copied aside. A header that is not complete yet is
//! held back (eight bytes at most), so that a frame can still be dropped or refused whole.

use super::config::Side;
use super::frames::{
    ACK, END_HEADERS, END_STREAM, ErrorCode, GoAway, HEADER_LEN, Head, Kind, PREFACE, PeerSettings,
};
use super::hpack::Blocks;
use super::rules::{Rules, Violation};
use crate::time::Time;

/// What the owner should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    Settings(PeerSettings),
    GoAway(GoAway),
}

/// What a walk left.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// So many bytes of the walked slice go on to `h2`.
    pub(super) kept: usize,
    /// Nothing after `kept` does.
    pub(super) violation: Option<Violation>,
}

/// The state between two walks.
pub(super) struct Inbound {
    /// Bytes of the client's preface still to come (server side).
    preface_left: usize,
    /// Bytes of the current frame's payload still to come.
    left: u32,
    /// The last frame header that went through.
    pub(super) head: Option<Head>,
    /// The stream whose header block is open.
    pub(super) block: Option<u32>,
    /// Header blocks, for when h2 cannot read one.
    pub(super) blocks: Blocks,
    /// The payload is copied to `payload`.
    collecting: bool,
    payload: Vec<u8>,
    /// The beginning of a frame header, held back.
    pub(super) held: [u8; HEADER_LEN],
    pub(super) held_len: usize,
    settings: PeerSettings,
    pub(super) settings_seen: bool,
    pub(super) news: Vec<News>,
    pub(super) data: u64,
    pub(super) headers: u64,
}

impl Inbound {
    pub(super) fn new(side: Side) -> Inbound {
        Inbound {
            preface_left: if side == Side::Server { PREFACE.len() } else { 0 },
            left: 0,
            head: None,
            block: None,
            blocks: Blocks::default(),
            collecting: false,
            payload: Vec::new(),
            held: [0; HEADER_LEN],
            held_len: 0,
            settings: PeerSettings::default(),
            settings_seen: false,
            news: Vec::new(),
            data: 0,
            headers: 0,
        }
    }

    /// Whether the bytes so far end with a whole frame.
    pub(super) fn at_boundary(&self) -> bool {
        self.preface_left == 0 && self.left == 0 && self.held_len == 0
    }

    /// Walks over `bytes`: held bytes first, then new ones. Dropped frames are closed up in place.
    pub(super) fn walk(&mut self, bytes: &mut [u8], rules: &mut Rules, now: Time) -> Walk {
        // `at` reads, `gap` bytes before it were dropped
        let (mut at, mut gap) = (0, 0);
        // where the current frame begins in what is kept
        let mut start = 0;
        self.held_len = 0;
        self.blocks.worked_off(self.block.is_some());
        loop {
            let rest = bytes.len() - at;
            if self.preface_left > 0 && rest > 0 {
                let expected = &PREFACE[PREFACE.len() - self.preface_left..];
                let n = rest.min(expected.len());
                if bytes[at..at + n] != expected[..n] {
                    let violation = Violation::new(ErrorCode::PROTOCOL_ERROR, "invalid_preface");
                    return Walk { kept: at - gap, violation: Some(violation) };
                }
                self.preface_left -= n;
                at += n;
                continue;
            }
            if self.left > 0 {
                let n = rest.min(self.left as usize);
                if self.block.is_some() {
                    self.blocks.push(&bytes[at..at + n]);
                } else if self.collecting {
                    self.payload.extend_from_slice(&bytes[at..at + n]);
                }
                if gap > 0 {
                    bytes.copy_within(at..at + n, at - gap);
                }
                at += n;
                self.left -= n as u32;
                if self.left > 0 {
                    break;
                }
                if !self.collecting && self.block.is_none() {
                    continue;
                }
                if let Err(violation) = self.payload_done() {
                    return Walk { kept: start, violation: Some(violation) };
                }
                continue;
            }
            let Some(head) = bytes[at..].first_chunk::<HEADER_LEN>() else {
                self.held[..rest].copy_from_slice(&bytes[at..]);
                self.held_len = rest;
                return Walk { kept: at - gap, violation: None };
            };
            let head = Head::parse(head);
            match self.admit(&head, rules, now) {
                Ok(true) => {
                    start = at - gap;
                    if gap > 0 {
                        bytes.copy_within(at..at + HEADER_LEN, at - gap);
                    }
                    self.head = Some(head);
                    self.left = head.len;
                    if head.len == 0
                        && let Err(violation) = self.payload_done()
                    {
                        return Walk { kept: start, violation: Some(violation) };
                    }
                }
                Ok(false) => gap += HEADER_LEN,
                Err(violation) => return Walk { kept: at - gap, violation: Some(violation) },
            }
            at += HEADER_LEN;
        }
        Walk { kept: at - gap, violation: None }
    }

    /// Whether the frame may pass (`true`), is dropped (`false`), or ends the connection.
    #[inline]
    fn admit(&mut self, head: &Head, rules: &mut Rules, now: Time) -> Result<bool, Violation> {
        if head.len > rules.config.max_frame_size {
            return refuse(
                ErrorCode::FRAME_SIZE_ERROR,
                "a frame longer than SETTINGS_MAX_FRAME_SIZE",
                head,
            );
        }
        // the common frame first, with as few questions as it takes
        if head.kind == Kind::DATA && self.block.is_none() && self.settings_seen {
            self.data += 1;
            if rules.is_idle(head.stream) {
                return refuse(
                    ErrorCode::PROTOCOL_ERROR,
                    "a frame on a stream that is not open",
                    head,
                );
            }
            if head.len == 0 && !head.has(END_STREAM) && head.flags == 0 {
                rules.empty_data(now)?;
                return Ok(false);
            }
            return Ok(true);
        }
        self.admit_control(head, rules, now)
    }

    fn admit_control(
        &mut self,
        head: &Head,
        rules: &mut Rules,
        now: Time,
    ) -> Result<bool, Violation> {
        const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
        const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
        const WRONG_SIZE: &str = "a frame whose length does not fit its type";
        const WRONG_STREAM: &str = "a frame on a stream where its type has no place";
        const IDLE: &str = "a frame on a stream that is not open";

        if !self.settings_seen {
            if head.kind != Kind::SETTINGS || head.has(ACK) {
                return refuse(PROTOCOL, "the first frame is not SETTINGS", head);
            }
            self.settings_seen = true;
        }
        match self.block {
            Some(stream) if head.kind != Kind::CONTINUATION || head.stream != stream => {
                return refuse(PROTOCOL, "a frame inside an unfinished header block", head);
            }
            None if head.kind == Kind::CONTINUATION => {
                return refuse(PROTOCOL, "a CONTINUATION without a header block", head);
            }
            _ => {}
        }
        let server = rules.config.side == Side::Server;
        self.collecting = false;
        match head.kind {
            Kind::HEADERS => {
                self.headers += 1;
                if head.stream & 1 == 0 {
                    return refuse(PROTOCOL, WRONG_STREAM, head);
                }
                if !server && rules.is_idle(head.stream) {
                    return refuse(PROTOCOL, IDLE, head);
                }
                if server && rules.was_skipped(head.stream) {
                    return refuse(PROTOCOL, "a stream id lower than one opened before", head);
                }
                // pad length (one byte) and priority (five) are mandatory parts when flagged
                let least = u32::from(head.has(0x8)) + if head.has(0x20) { 5 } else { 0 };
                if head.len < least {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                if server {
                    rules.call_opened(head.stream, now);
                }
                self.block = Some(head.stream);
                self.blocks.begin(head);
            }
            Kind::DATA => return refuse(PROTOCOL, WRONG_STREAM, head),
            Kind::PRIORITY => {
                if head.stream == 0 {
                    return refuse(PROTOCOL, WRONG_STREAM, head);
                }
                if head.len != 5 {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                rules.priority(now)?;
            }
            Kind::RST_STREAM => {
                if head.stream == 0 {
                    return refuse(PROTOCOL, WRONG_STREAM, head);
                }
                if head.len != 4 {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                if rules.is_idle(head.stream) {
                    return refuse(PROTOCOL, IDLE, head);
                }
                rules.reset_received(head.stream, now)?;
            }
            Kind::SETTINGS => {
                if head.stream != 0 {
                    return refuse(PROTOCOL, WRONG_STREAM, head);
                }
                if !head.len.is_multiple_of(6) || (head.has(ACK) && head.len != 0) {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                rules.settings(now)?;
                self.collecting = !head.has(ACK);
            }
            Kind::PUSH_PROMISE => return refuse(PROTOCOL, "a push that was not allowed", head),
            Kind::PING => {
                if head.stream != 0 {
                    return refuse(PROTOCOL, WRONG_STREAM, head);
                }
                if head.len != 8 {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                rules.ping(head.has(ACK), now)?;
            }
            Kind::GOAWAY => {
                if head.stream != 0 {
                    return refuse(PROTOCOL, WRONG_STREAM, head);
                }
                if head.len < 8 {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                rules.unknown(now)?;
                self.collecting = true;
            }
            Kind::WINDOW_UPDATE => {
                if head.len != 4 {
                    return refuse(SIZE, WRONG_SIZE, head);
                }
                if head.stream != 0 && rules.is_idle(head.stream) {
                    return refuse(PROTOCOL, IDLE, head);
                }
                rules.window_update(now)?;
            }
            Kind::CONTINUATION => self.blocks.begin(head),
            _ => rules.unknown(now)?,
        }
        Ok(true)
    }

    fn payload_done(&mut self) -> Result<(), Violation> {
        let Some(head) = self.head else { return Ok(()) };
        match head.kind {
            Kind::HEADERS | Kind::CONTINUATION if head.has(END_HEADERS) => self.block = None,
            Kind::SETTINGS if !head.has(ACK) => {
                let payload = std::mem::take(&mut self.payload);
                self.settings
                    .take_in(&payload)
                    .map_err(|(code, why)| Violation::new(code, format!("{why}: {head}")))?;
                self.news.push(News::Settings(self.settings));
            }
            Kind::GOAWAY => {
                let payload = std::mem::take(&mut self.payload);
                self.news.extend(GoAway::parse(&payload).map(News::GoAway));
            }
            _ => {}
        }
        self.collecting = false;
        Ok(())
    }
}

#[cold]
fn refuse(code: ErrorCode, why: &str, head: &Head) -> Result<bool, Violation> {
    Err(Violation::new(code, format!("{why}: {head}")))
}
