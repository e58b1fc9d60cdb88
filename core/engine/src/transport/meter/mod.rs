//! The meter: a wrapper around the socket, below `h2`, that reads the frame headers in both directions.
//!
//! `h2` does not show PING, SETTINGS, PRIORITY or empty DATA to its user, answers floods of them without end, closes a
//! connection over 100 empty DATA frames, has no timers, and cannot put text into a GOAWAY. So the bytes pass through here:
//! the meter counts, drops empty DATA frames, enforces keepalive, times the handshake, header blocks and writes, refuses
//! frames of wrong length or place with the right code, and closes with one whole GOAWAY frame at a frame boundary. It
//! copies no payload and steps over it unread.
//!
//! After such a GOAWAY, reads give the end of the stream and `h2` shuts down; [`MeterHandle::close_reason`] says why, in
//! words that name the frame. Time comes from a [`Clock`]; whoever owns the connection calls
//! [`MeterHandle::handle_time`] when [`MeterHandle::next_deadline`] is reached.
//!
//! Spec: RFC 9113 sections 4 to 7; gRPC keepalive.md; CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2025-8671.

mod config;
mod frames;
mod hpack;
mod inbound;
mod io;
mod outbound;
mod rates;
mod rules;
mod shared;
#[cfg(test)]
mod tests;

pub use config::{EarlyResets, MeterConfig, PingPolicy, Side, WINDOW};
pub use frames::{ErrorCode, GoAway, PeerSettings};
pub use shared::{CloseReason, ClosedBy, Counts, MeterHandle, Verdict};

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::time::{Clock, Time};
use frames::HEADER_LEN;
use inbound::{Inbound, News};
use outbound::Outbound;
use rules::{Rules, Violation};
use shared::Shared;

/// A lingering close swallows at most this many bytes.
const MAX_LINGER_BYTES: usize = 4 << 20;
/// So many bytes go to `h2` in one go; then the connection's task has to let others run. h2 itself reads for as long as the
/// socket gives, so one fast peer would starve the other connections, and pile up more small frames than their reader, who
/// shares the thread, was given time to take.
const MAX_TURN_BYTES: usize = 128 << 10;

/// So long the reads may go on after writing failed; a socket that is gone ends them at once.
const DEAF_FOR: Duration = Duration::from_secs(1);

/// How far a close has come.
#[derive(Debug)]
enum Closing {
    /// Not at all.
    No,
    /// This frame waits for the next frame boundary of the write side.
    Wanted(GoAway),
    /// It lies in our own bytes and is being written.
    Writing,
    /// It was written and flushed (or never could be): reads end, writes are swallowed.
    Done,
}

/// A byte stream that counts what passes. See the [module](self).
pub struct Meter<T> {
    io: T,
    shared: Arc<Shared>,
    rules: Rules,
    inbound: Inbound,
    outbound: Outbound,
    closing: Closing,
    /// Bytes that passed the walk and did not fit the reader's buffer.
    ready: Vec<u8>,
    ended: bool,
    /// The close should swallow what still comes.
    linger: bool,
    shut: bool,
    /// Writing failed. What the peer said before it closed is still to be read: a GOAWAY there says which calls it never
    /// saw. So h2 does not hear of this; its writes are swallowed until the reads end too.
    deaf: Option<std::io::Error>,
    swallowed: usize,
    /// Bytes read since the reader last had to wait.
    turn: usize,
    bytes_in: u64,
    bytes_out: u64,
}

impl<T> Meter<T> {
    /// Puts a meter on `io`. The handshake timer starts now.
    pub fn new(io: T, config: MeterConfig, clock: Arc<dyn Clock>) -> (Meter<T>, MeterHandle) {
        let shared = Arc::new(Shared::new(&config, clock));
        let handle = MeterHandle { shared: shared.clone() };
        let meter = Meter {
            io,
            shared,
            inbound: Inbound::new(config.side),
            outbound: Outbound::new(config.side),
            linger: config.side == Side::Server && !config.linger.is_zero(),
            rules: Rules::new(config),
            closing: Closing::No,
            ready: Vec::new(),
            ended: false,
            shut: false,
            deaf: None,
            swallowed: 0,
            turn: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        (meter, handle)
    }

    /// Begins the close for `violation`.
    #[cold]
    fn violate(&mut self, violation: Violation) {
        let Violation { code, text } = violation;
        self.shared.blame(ClosedBy::Us, code, text.clone());
        self.close_with(GoAway { last_stream_id: self.rules.highest_theirs, code, text });
    }

    fn close_with(&mut self, goaway: GoAway) {
        if !matches!(self.closing, Closing::No) {
            return;
        }
        self.shared.closing.set(self.shared.now() + self.rules.config.goaway_timeout);
        self.shared.block.clear();
        self.shared.handshake.clear();
        self.linger |= !self.rules.config.linger.is_zero();
        self.closing = Closing::Wanted(goaway);
    }

    /// Looks whether somebody above asked for a GOAWAY.
    fn take_request(&mut self) {
        if self.shared.asked.load(Relaxed) {
            self.shared.asked.store(false, Relaxed);
            let request = self.shared.lock().request.take();
            if let Some(request) = request {
                let last_stream_id = request.last_stream_id.unwrap_or(self.rules.highest_theirs);
                self.close_with(GoAway { last_stream_id, code: request.code, text: request.text });
            }
        }
    }

    /// Moves a wanted GOAWAY into our own bytes if the write side is between two frames. A peer that has not seen our
    /// SETTINGS gets none.
    fn queue_goaway(&mut self) {
        let Closing::Wanted(goaway) = &self.closing else { return };
        if !self.outbound.begun {
            self.shared.closing.clear();
            self.closing = Closing::Done;
        } else if self.outbound.at_boundary() {
            goaway.encode(&mut self.outbound.own);
            self.closing = Closing::Writing;
        } else {
            return;
        }
        self.shared.wake();
    }

    /// h2 made a GOAWAY: completes it with the text from above, or with the frame that was last read.
    fn complete_goaway(&mut self, mut goaway: GoAway) {
        if goaway.code == ErrorCode::NO_ERROR {
            if goaway.text.is_empty() {
                goaway.text.clone_from(&self.shared.lock().goaway_text);
            }
        } else {
            if goaway.code == ErrorCode::PROTOCOL_ERROR
                && let Some((head, why)) = self.inbound.blocks.broken()
            {
                goaway.code = ErrorCode::COMPRESSION_ERROR;
                goaway.text = format!("HPACK: {why}: {head}");
            } else if goaway.text.is_empty()
                && let Some(head) = &self.inbound.head
            {
                goaway.text = format!("last frame read: {head}");
            }
            self.linger |= !self.rules.config.linger.is_zero();
            self.shared.blame(ClosedBy::Us, goaway.code, goaway.text.clone());
        }
        goaway.encode(&mut self.outbound.own);
    }

    fn cut_error(&self) -> std::io::Error {
        let reason = self.shared.lock().reason.as_ref().map(ToString::to_string);
        std::io::Error::new(
            std::io::ErrorKind::ConnectionAborted,
            reason.unwrap_or_else(|| "connection cut".into()),
        )
    }

    fn is_cut(&self) -> bool {
        self.shared.cut.load(Relaxed)
    }

    fn wait_to_read(&self, cx: &Context<'_>) {
        let mut state = self.shared.lock();
        match &mut state.reader {
            Some(old) => old.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// The write side waits for the socket.
    fn wait_to_write(&self, cx: &Context<'_>) {
        if !self.shared.stall.is_set() {
            self.shared.stall.set_in(self.shared.now(), self.rules.config.write_stall_timeout);
        }
        let mut state = self.shared.lock();
        match &mut state.writer {
            Some(old) => old.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wrote(&mut self, n: usize) {
        if self.shared.stall.is_set() {
            self.shared.stall.clear();
        }
        self.bytes_out += n as u64;
        let s = &self.shared;
        s.bytes_out.store(self.bytes_out, Relaxed);
        s.data_out.store(self.outbound.data, Relaxed);
        s.headers_out.store(self.outbound.headers, Relaxed);
    }

    /// Tells the owner what a walk found, and sets the timers by it.
    fn publish_read(&mut self, fresh: usize, block_before: Option<u32>, now: Time) {
        let s = &self.shared;
        self.bytes_in += fresh as u64;
        s.bytes_in.store(self.bytes_in, Relaxed);
        s.last_received.store(now.as_nanos(), Relaxed);
        s.data_in.store(self.inbound.data, Relaxed);
        s.headers_in.store(self.inbound.headers, Relaxed);
        if self.inbound.block != block_before {
            match self.inbound.block {
                Some(_) => s.block.set_in(now, self.rules.config.header_block_timeout),
                None => s.block.clear(),
            }
        }
        if !self.inbound.news.is_empty() {
            {
                let mut state = s.lock();
                for news in self.inbound.news.drain(..) {
                    match news {
                        News::Settings(settings) => {
                            state.settings = Some(settings);
                            s.handshake.clear();
                        }
                        News::GoAway(goaway) => state.goaway = Some(goaway),
                    }
                }
            }
            s.wake_watcher();
        }
    }

    /// A write failed: the reads tell the rest, and soon.
    #[cold]
    fn write_failed(&mut self, error: std::io::Error) {
        let now = self.shared.now();
        self.shared.stall.clear();
        self.shared.closing.set(now + DEAF_FOR);
        self.linger = false;
        self.deaf = Some(error);
        self.shared.wake();
    }

    /// The socket gave its end or an error: writes the reason down, unless there is one.
    fn note_end(&mut self, error: Option<&std::io::Error>) {
        self.ended = true;
        let goaway = self.shared.lock().goaway.clone();
        let (by, mut text) = match error.or(self.deaf.as_ref()) {
            Some(e) => (ClosedBy::Socket, e.to_string()),
            None => (ClosedBy::Peer, "end of stream".to_owned()),
        };
        if !self.inbound.at_boundary() {
            text.push_str(match &self.inbound.head {
                Some(_) => " in the middle of a frame",
                None => " in the middle of the handshake",
            });
        }
        let mut code = ErrorCode::NO_ERROR;
        if let Some(goaway) = goaway {
            text = format!("{text} after {goaway}");
            code = goaway.code;
        }
        self.shared.blame(by, code, text);
        self.shared.block.clear();
        self.shared.handshake.clear();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Meter<T> {
    /// Writes our own bytes out.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.outbound.own_at < self.outbound.own.len() {
            let rest = &self.outbound.own[self.outbound.own_at..];
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Pending => {
                    self.wait_to_write(cx);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(n)) => {
                    self.outbound.own_at += n;
                    self.wrote(n);
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            }
        }
        self.outbound.own.clear();
        self.outbound.own_at = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_inner_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => {
                self.wait_to_write(cx);
                Poll::Pending
            }
            Poll::Ready(done) => {
                if self.shared.stall.is_set() {
                    self.shared.stall.clear();
                }
                Poll::Ready(done)
            }
        }
    }

    /// Brings a close forward; ready when the GOAWAY is out, or cannot be sent.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.queue_goaway();
        if let Closing::Writing = self.closing {
            let sent = match self.poll_own(cx) {
                Poll::Ready(Ok(())) => ready!(self.poll_inner_flush(cx)),
                Poll::Ready(Err(e)) => Err(e),
                Poll::Pending => return Poll::Pending,
            };
            if sent.is_err() {
                self.linger = false;
            }
            self.shared.closing.clear();
            self.closing = Closing::Done;
            self.shared.wake();
        }
        if matches!(self.closing, Closing::Done) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if self.is_cut() {
            return Poll::Ready(Err(self.cut_error()));
        }
        self.take_request();
        self.queue_goaway();
        let total = bufs.iter().map(|b| b.len()).sum::<usize>();
        if matches!(self.closing, Closing::Writing | Closing::Done) {
            // nobody will read it: take it, and let h2 find the end of the stream
            let _ = self.poll_closing(cx);
            return Poll::Ready(Ok(total));
        }
        if self.deaf.is_some() {
            return Poll::Ready(Ok(total));
        }
        if let Err(error) = ready!(self.poll_own(cx)) {
            self.write_failed(error);
            return Poll::Ready(Ok(total));
        }
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        let now = self.shared.now();
        let mut clear = self.outbound.clear(bufs);
        if let Closing::Wanted(_) = self.closing {
            clear = clear.min(self.outbound.to_boundary());
        }
        if clear == 0 {
            let Some(first) = bufs.iter().find(|b| !b.is_empty()) else {
                return Poll::Ready(Ok(0));
            };
            let (took, verdict) = self.outbound.absorb(first, &mut self.rules, now);
            if let Some(goaway) = self.outbound.goaway.take() {
                self.complete_goaway(goaway);
            }
            self.after_send(verdict);
            return Poll::Ready(Ok(took));
        }
        let written = if clear == total {
            match bufs {
                [one] => Pin::new(&mut self.io).poll_write(cx, one),
                many => Pin::new(&mut self.io).poll_write_vectored(cx, many),
            }
        } else {
            let first = bufs.iter().find(|b| !b.is_empty()).map_or(&[][..], |b| b);
            Pin::new(&mut self.io).poll_write(cx, &first[..clear.min(first.len())])
        };
        match written {
            Poll::Pending => {
                self.wait_to_write(cx);
                Poll::Pending
            }
            Poll::Ready(Ok(n)) => {
                let verdict = self.outbound.commit(bufs, n, &mut self.rules, now);
                self.wrote(n);
                self.after_send(verdict);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => {
                self.write_failed(error);
                Poll::Ready(Ok(total))
            }
        }
    }

    fn after_send(&mut self, verdict: Result<(), Violation>) {
        if let Err(violation) = verdict {
            self.violate(violation);
        }
        self.queue_goaway();
    }

    /// Fills `buf` from the socket and walks over it. Ready with nothing new in `buf` means the end.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            if self.is_cut() {
                return Poll::Ready(Err(self.cut_error()));
            }
            self.take_request();
            if !matches!(self.closing, Closing::No) {
                return self.poll_closing(cx).map(Ok);
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.turn >= MAX_TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let held = self.inbound.held_len;
            if buf.remaining() <= HEADER_LEN {
                ready!(self.poll_receive_little(cx))?;
                if !self.ready.is_empty() {
                    self.deliver(buf);
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let before = buf.filled().len();
            buf.put_slice(&self.inbound.held[..held]);
            match Pin::new(&mut self.io).poll_read(cx, buf) {
                Poll::Pending => {
                    buf.set_filled(before);
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => {
                    buf.set_filled(before);
                    self.note_end(Some(&e));
                    return Poll::Ready(Err(e));
                }
                Poll::Ready(Ok(())) => {}
            }
            let fresh = buf.filled().len() - before - held;
            if fresh == 0 {
                buf.set_filled(before);
                self.note_end(None);
                continue;
            }
            let kept = self.take_in(&mut buf.filled_mut()[before..], fresh);
            buf.set_filled(before + kept);
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// As [`poll_receive`](Self::poll_receive) for a reader whose buffer is smaller than a frame header.
    fn poll_receive_little(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut space = [0; 2 * HEADER_LEN];
        let held = self.inbound.held_len;
        space[..held].copy_from_slice(&self.inbound.held[..held]);
        let mut read = ReadBuf::new(&mut space[held..]);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)) {
            Ok(()) => {}
            Err(e) => {
                self.note_end(Some(&e));
                return Poll::Ready(Err(e));
            }
        }
        let fresh = read.filled().len();
        if fresh == 0 {
            self.note_end(None);
            return Poll::Ready(Ok(()));
        }
        let kept = self.take_in(&mut space[..held + fresh], fresh);
        self.ready.extend_from_slice(&space[..kept]);
        Poll::Ready(Ok(()))
    }

    fn take_in(&mut self, bytes: &mut [u8], fresh: usize) -> usize {
        let now = self.shared.now();
        self.turn += fresh;
        let block_before = self.inbound.block;
        let walk = self.inbound.walk(bytes, &mut self.rules, now);
        self.publish_read(fresh, block_before, now);
        if let Some(violation) = walk.violation {
            self.violate(violation);
        }
        walk.kept
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let n = buf.remaining().min(self.ready.len());
        buf.put_slice(&self.ready[..n]);
        self.ready.drain(..n);
    }

    /// Swallows what the peer still sends until it closes, the time is up or it was enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 4096];
        while self.swallowed < MAX_LINGER_BYTES && !self.is_cut() {
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(&mut self.io).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.swallowed += read.filled().len()
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    self.wait_to_read(cx);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}
