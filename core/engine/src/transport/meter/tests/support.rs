//! The scripted socket, frames by hand, and the meter under test with its clock.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::*;
use crate::time::{Clock, Time};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// What a client says first.
pub fn hello_server() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, b"")[..]].concat()
}

#[derive(Default)]
struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Time {
        Time::from_nanos(self.0.load(Relaxed))
    }
}

struct Wire {
    incoming: VecDeque<u8>,
    closed: bool,
    outgoing: Vec<u8>,
    room: usize,
    broken: bool,
}

struct Socket(Arc<Mutex<Wire>>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock().unwrap();
        if wire.incoming.is_empty() && !wire.closed {
            return Poll::Pending;
        }
        let n = buf.remaining().min(wire.incoming.len());
        let bytes: Vec<u8> = wire.incoming.drain(..n).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
        if wire.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if wire.room == 0 {
            return Poll::Pending;
        }
        let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        let n = all.len().min(wire.room);
        wire.room -= if wire.room == usize::MAX { 0 } else { n };
        wire.outgoing.extend(&all[..n]);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A meter, its socket's other end, and its clock.
pub struct TestMeter {
    meter: Meter<Socket>,
    wire: Arc<Mutex<Wire>>,
    clock: Arc<Hands>,
    side: Side,
    pub handle: MeterHandle,
}

impl TestMeter {
    fn new(config: MeterConfig) -> TestMeter {
        let wire = Wire {
            incoming: VecDeque::new(),
            closed: false,
            outgoing: Vec::new(),
            room: usize::MAX,
            broken: false,
        };
        let wire = Arc::new(Mutex::new(wire));
        let clock = Arc::new(Hands::default());
        let side = config.side;
        let (meter, handle) = Meter::new(Socket(wire.clone()), config, clock.clone());
        TestMeter { meter, wire, clock, side, handle }
    }

    /// Nothing was said yet.
    pub fn server() -> TestMeter {
        TestMeter::new(MeterConfig::server())
    }

    /// Nothing was said yet.
    pub fn client() -> TestMeter {
        TestMeter::new(MeterConfig::client())
    }

    /// Both sides said their SETTINGS and stream 1 is open.
    pub fn server_with_call() -> TestMeter {
        let mut meter = TestMeter::server();
        meter.greet();
        meter.peer_sends(&frame(HEADERS, 0x4, 1, b"call"));
        meter.read();
        meter
    }

    /// Both sides said their SETTINGS and stream 1 is open.
    pub fn client_with_call() -> TestMeter {
        let mut meter = TestMeter::client();
        meter.greet();
        meter.write(&frame(HEADERS, 0x4, 1, b"call"));
        meter
    }

    pub fn greet(&mut self) {
        match self.side {
            Side::Server => {
                self.write(&frame(SETTINGS, 0, 0, b""));
                self.peer_sends(&hello_server());
            }
            Side::Client => {
                self.write(&hello_server());
                self.peer_sends(&frame(SETTINGS, 0, 0, b""));
            }
        }
        self.read();
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn advance(&mut self, span: Duration) {
        self.clock.0.fetch_add(span.as_nanos() as u64, Relaxed);
    }

    pub fn peer_sends(&mut self, bytes: &[u8]) {
        self.wire.lock().unwrap().incoming.extend(bytes);
    }

    pub fn peer_closes(&mut self) {
        self.wire.lock().unwrap().closed = true;
    }

    /// The peer is gone; what it said before can still be read.
    pub fn peer_vanishes(&mut self) {
        let mut wire = self.wire.lock().unwrap();
        wire.closed = true;
        wire.broken = true;
    }

    pub fn peer_opens_and_resets(&mut self, id: u32) {
        self.peer_sends(&frame(HEADERS, 0x5, id, b"block"));
        self.peer_sends(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        self.read();
    }

    /// How many bytes the socket takes from now on.
    pub fn room(&mut self, bytes: usize) {
        self.wire.lock().unwrap().room = bytes;
    }

    pub fn sent(&self) -> Vec<u8> {
        self.wire.lock().unwrap().outgoing.clone()
    }

    pub fn read(&mut self) -> Vec<u8> {
        self.read_by(4096)
    }

    /// As often as the meter asks for another turn.
    pub fn read_all(&mut self) -> Vec<u8> {
        let mut got = self.read();
        while !self.wire.lock().unwrap().incoming.is_empty() && self.handle.close_reason().is_none()
        {
            got.extend(self.read());
        }
        got
    }

    /// Reads until nothing more comes, `size` bytes at a time.
    pub fn read_by(&mut self, size: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while let Poll::Ready(Ok(bytes)) = self.poll_read(size)
            && !bytes.is_empty()
        {
            got.extend(bytes);
        }
        got
    }

    fn poll_read(&mut self, size: usize) -> Poll<io::Result<Vec<u8>>> {
        let mut space = vec![0; size];
        let mut buf = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.meter).poll_read(&mut cx, &mut buf).map_ok(|()| buf.filled().to_vec())
    }

    pub fn at_end(&mut self) -> bool {
        matches!(self.poll_read(100), Poll::Ready(Ok(bytes)) if bytes.is_empty())
    }

    pub fn read_error(&mut self) -> String {
        match self.poll_read(100) {
            Poll::Ready(Err(e)) => e.to_string(),
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.meter).poll_write(&mut cx, bytes) {
            Poll::Ready(Ok(n)) => Some(n),
            Poll::Ready(Err(e)) => panic!("{e}"),
            Poll::Pending => None,
        }
    }

    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let n = self.try_write(bytes).expect("room in the socket");
            bytes = &bytes[n..];
        }
    }

    pub fn write_vectored(&mut self, parts: &[&[u8]]) {
        let mut parts: Vec<Vec<u8>> = parts.iter().map(|p| p.to_vec()).collect();
        let mut cx = Context::from_waker(Waker::noop());
        while parts.iter().any(|p| !p.is_empty()) {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
            let Poll::Ready(Ok(mut n)) =
                Pin::new(&mut self.meter).poll_write_vectored(&mut cx, &slices)
            else {
                panic!("room in the socket");
            };
            for part in &mut parts {
                let step = n.min(part.len());
                part.drain(..step);
                n -= step;
            }
        }
        self.flush();
    }

    pub fn flush(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut self.meter).poll_flush(&mut cx).is_ready());
    }

    pub fn shutdown(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.meter).poll_shutdown(&mut cx).is_ready()
    }

    /// The last thing on the wire is a whole GOAWAY like this, and reads are at their end.
    #[track_caller]
    pub fn expect_goaway(&mut self, code: ErrorCode, text: &str) {
        assert!(self.at_end(), "reads go on; {:?}", self.handle.close_reason());
        let sent = self.sent();
        let (mut at, mut last) = (if self.side == Side::Client { 24 } else { 0 }, &[][..]);
        while at < sent.len() {
            let len = u32::from_be_bytes([0, sent[at], sent[at + 1], sent[at + 2]]) as usize;
            last = &sent[at..at + 9 + len];
            at += 9 + len;
        }
        assert_eq!(last.get(3), Some(&GOAWAY), "the last frame is {last:?}");
        assert_eq!(last[13..17], code.0.to_be_bytes());
        let said = String::from_utf8_lossy(&last[17..]);
        assert!(said.contains(text), "{said:?} lacks {text:?}");
        let reason = self.handle.close_reason().expect("a reason");
        assert_eq!((reason.by, reason.code), (ClosedBy::Us, code));
    }
}

/// A small generator (xorshift), the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Frames that are mostly well-formed, and now and then junk.
    pub fn frames(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.below(12) + 1 {
            if self.below(12) == 0 {
                out.extend((0..self.below(30)).map(|_| self.next() as u8));
                continue;
            }
            let kind = self.below(12) as u8;
            let len = match kind {
                PRIORITY => 5,
                RST_STREAM | WINDOW_UPDATE => 4,
                PING => 8,
                SETTINGS => 6 * self.below(3),
                GOAWAY => 8 + self.below(5),
                _ => self.below(30),
            };
            let stream =
                if [SETTINGS, PING, GOAWAY].contains(&kind) { 0 } else { self.below(4) as u32 };
            let flags = [0, 1, 4, 5, 0x24][self.below(5)];
            let flags = if kind == SETTINGS && len > 0 { 0 } else { flags };
            let payload: Vec<u8> = (0..len).map(|_| (self.next() as u8) & 1).collect();
            out.extend(frame(kind, flags, stream, &payload));
        }
        out
    }
}
