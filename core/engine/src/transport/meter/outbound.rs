//! The way out: knows at every byte whether `h2` is between two frames, counts what goes, and holds GOAWAY frames back to
//! complete them.
//!
//! Two walks per write: [`Outbound::clear`] says how many of the offered bytes may go straight to the socket,
//! [`Outbound::commit`] counts those the socket took. A GOAWAY, or a header split over two slices, is
//! [absorbed](Outbound::absorb) into bytes of our own instead.

use std::io::IoSlice;

use super::config::Side;
use super::frames::{END_STREAM, ErrorCode, GoAway, HEADER_LEN, Head, Kind, PREFACE};
use super::rules::{Rules, Violation};
use crate::time::Time;

/// A RST_STREAM's header and code.
const RESET_LEN: usize = HEADER_LEN + 4;

/// The state between two writes.
pub(super) struct Outbound {
    /// Bytes still to go before the next frame header: of the preface, then of the current frame.
    left: usize,
    /// The beginning of a frame that is absorbed: its header, or a whole GOAWAY.
    held: Vec<u8>,
    /// Our own bytes, to be written before anything of `h2`'s.
    pub(super) own: Vec<u8>,
    pub(super) own_at: usize,
    /// Whether a whole frame went out.
    pub(super) begun: bool,
    /// GOAWAY frames of `h2`, complete and not yet in `own`.
    pub(super) goaway: Option<GoAway>,
    pub(super) data: u64,
    pub(super) headers: u64,
}

impl Outbound {
    pub(super) fn new(side: Side) -> Outbound {
        Outbound {
            left: if side == Side::Client { PREFACE.len() } else { 0 },
            held: Vec::new(),
            own: Vec::new(),
            own_at: 0,
            begun: false,
            goaway: None,
            data: 0,
            headers: 0,
        }
    }

    /// Whether a frame of ours may be put in here.
    pub(super) fn at_boundary(&self) -> bool {
        self.left == 0 && self.held.is_empty()
    }

    /// Bytes up to the next boundary.
    pub(super) fn to_boundary(&self) -> usize {
        self.left
    }

    /// How many bytes at the front of `bufs` may go to the socket as they are.
    pub(super) fn clear(&self, bufs: &[IoSlice<'_>]) -> usize {
        if !self.held.is_empty() {
            return 0;
        }
        let (mut left, mut before) = (self.left, 0);
        for buf in bufs {
            let mut at = 0;
            loop {
                let rest = &buf[at..];
                if left >= rest.len() {
                    left -= rest.len();
                    break;
                }
                at += left;
                match peek(&buf[at..]) {
                    Some((head, _)) if head.kind != Kind::GOAWAY => {
                        left = HEADER_LEN + head.len as usize
                    }
                    _ => return before + at,
                }
            }
            before += buf.len();
        }
        before
    }

    /// Counts the first `n` bytes of `bufs`, which the socket took; `n` is at most what [`clear`](Self::clear) gave.
    pub(super) fn commit(
        &mut self,
        bufs: &[IoSlice<'_>],
        mut n: usize,
        rules: &mut Rules,
        now: Time,
    ) -> Result<(), Violation> {
        let mut verdict = Ok(());
        let data_before = self.data;
        for buf in bufs {
            let mut at = 0;
            let end = buf.len().min(n);
            while at < end {
                if self.left > 0 {
                    let step = self.left.min(end - at);
                    self.left -= step;
                    at += step;
                    continue;
                }
                let Some((head, code)) = peek(&buf[at..]) else { break };
                self.left = HEADER_LEN + head.len as usize;
                verdict = verdict.and(self.sent(&head, code, rules, now));
            }
            n -= end;
            if n == 0 {
                break;
            }
        }
        let data = self.data - data_before;
        if data > 0 {
            rules.data_sent(data as u32, now);
        }
        verdict
    }

    /// Takes bytes at a frame boundary into our own: the pieces of a split header, or of a GOAWAY. Returns how many.
    pub(super) fn absorb(
        &mut self,
        buf: &[u8],
        rules: &mut Rules,
        now: Time,
    ) -> (usize, Result<(), Violation>) {
        let mut took = 0;
        loop {
            let need = match self.held.first_chunk::<HEADER_LEN>().map(Head::parse) {
                None => HEADER_LEN,
                Some(head) if head.kind == Kind::GOAWAY => HEADER_LEN + head.len as usize,
                Some(head) if head.kind == Kind::RST_STREAM => {
                    RESET_LEN.min(HEADER_LEN + head.len as usize)
                }
                Some(_) => HEADER_LEN,
            };
            if self.held.len() < need {
                let rest = &buf[took..];
                let n = rest.len().min(need - self.held.len());
                self.held.extend_from_slice(&rest[..n]);
                took += n;
                if self.held.len() < need {
                    return (took, Ok(()));
                }
                continue;
            }
            let held = std::mem::take(&mut self.held);
            let Some(fixed) = held.first_chunk::<HEADER_LEN>() else { return (took, Ok(())) };
            let head = Head::parse(fixed);
            if head.kind == Kind::GOAWAY {
                self.goaway = GoAway::parse(&held[HEADER_LEN..]);
                self.begun = true;
                return (took, Ok(()));
            }
            self.left = HEADER_LEN + head.len as usize - held.len();
            let verdict = self.sent(&head, reset_code(&held), rules, now);
            if head.kind == Kind::DATA {
                rules.data_sent(1, now);
            }
            self.own.extend_from_slice(&held);
            return (took, verdict);
        }
    }

    #[inline]
    fn sent(
        &mut self,
        head: &Head,
        code: ErrorCode,
        rules: &mut Rules,
        now: Time,
    ) -> Result<(), Violation> {
        self.begun = true;
        match head.kind {
            Kind::DATA => {
                self.data += 1;
                if head.has(END_STREAM) {
                    rules.answer_ended(head.stream);
                }
                Ok(())
            }
            Kind::HEADERS => {
                self.headers += 1;
                rules.headers_sent(head.stream, head.has(END_STREAM));
                Ok(())
            }
            Kind::RST_STREAM => rules.reset_sent(head.stream, code, now),
            _ => Ok(()),
        }
    }
}

/// The frame header at the front of `buf`, and a RST_STREAM's code; `None` if they are not all there.
#[inline]
fn peek(buf: &[u8]) -> Option<(Head, ErrorCode)> {
    let head = Head::parse(buf.first_chunk()?);
    if head.kind != Kind::RST_STREAM {
        return Some((head, ErrorCode::NO_ERROR));
    }
    (buf.len() >= RESET_LEN).then(|| (head, reset_code(buf)))
}

fn reset_code(frame: &[u8]) -> ErrorCode {
    match frame.get(HEADER_LEN..).and_then(|payload| payload.first_chunk()) {
        Some(code) => ErrorCode(u32::from_be_bytes(*code)),
        None => ErrorCode::NO_ERROR,
    }
}
