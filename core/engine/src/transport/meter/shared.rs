//! What the connection's owner and its meter tell each other while `h2` holds the meter.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::config::MeterConfig;
use super::frames::{ErrorCode, GoAway, PeerSettings};
use crate::time::{Clock, Time};

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// This side: a limit, a timer, a broken frame, or the layer above.
    Us,
    /// The peer.
    Peer,
    /// The socket failed.
    Socket,
}

/// Why a connection ended; the text names the frame where one was to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// Who ended it.
    pub by: ClosedBy,
    /// The code of the GOAWAY that we sent or got; `NO_ERROR` if there was none.
    pub code: ErrorCode,
    /// For a log line or a status message.
    pub text: String,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.by {
            ClosedBy::Us => "connection closed here",
            ClosedBy::Peer => "connection closed by the peer",
            ClosedBy::Socket => "connection lost",
        };
        match self.code {
            ErrorCode::NO_ERROR => write!(f, "{who}: {}", self.text),
            code => write!(f, "{who}: {code}: {}", self.text),
        }
    }
}

/// What passed a meter since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes the socket accepted.
    pub bytes_out: u64,
    /// DATA frames received, dropped ones included.
    pub data_in: u64,
    /// DATA frames sent.
    pub data_out: u64,
    /// HEADERS frames received.
    pub headers_in: u64,
    /// HEADERS frames sent.
    pub headers_out: u64,
}

/// What [`MeterHandle::handle_time`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No timer ran out.
    Fine,
    /// A timer ran out; the connection is being closed and its task was woken.
    Closing,
}

/// A point in time that may be "never", readable without a lock.
pub(super) struct Alarm(AtomicU64);

impl Alarm {
    fn off() -> Alarm {
        Alarm(AtomicU64::new(Time::NEVER.as_nanos()))
    }

    pub(super) fn at(&self) -> Time {
        Time::from_nanos(self.0.load(Relaxed))
    }

    pub(super) fn is_set(&self) -> bool {
        self.at() != Time::NEVER
    }

    pub(super) fn set(&self, at: Time) {
        self.0.store(at.as_nanos(), Relaxed);
    }

    pub(super) fn clear(&self) {
        self.set(Time::NEVER);
    }

    /// Sets it to `span` from `now`; a zero span means the timer is switched off.
    pub(super) fn set_in(&self, now: Time, span: Duration) {
        self.set(if span.is_zero() { Time::NEVER } else { now + span });
    }

    fn take_if_due(&self, now: Time) -> bool {
        let due = self.is_set() && self.at() <= now;
        if due {
            self.clear();
        }
        due
    }
}

/// A GOAWAY that somebody above asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) code: ErrorCode,
    pub(super) text: String,
    pub(super) last_stream_id: Option<u32>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) request: Option<Request>,
    pub(super) goaway_text: String,
    pub(super) settings: Option<PeerSettings>,
    pub(super) goaway: Option<GoAway>,
    pub(super) reason: Option<CloseReason>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    watcher: Option<Waker>,
}

pub(super) struct Shared {
    clock: Arc<dyn Clock>,
    goaway_timeout: Duration,
    write_stall_timeout: Duration,
    handshake_timeout: Duration,
    header_block_timeout: Duration,
    pub(super) last_received: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) data_in: AtomicU64,
    pub(super) data_out: AtomicU64,
    pub(super) headers_in: AtomicU64,
    pub(super) headers_out: AtomicU64,
    /// The peer's first SETTINGS are due.
    pub(super) handshake: Alarm,
    /// The open header block is due.
    pub(super) block: Alarm,
    /// The socket has to accept a byte.
    pub(super) stall: Alarm,
    /// A closing connection is cut.
    pub(super) closing: Alarm,
    /// There is a `request`.
    pub(super) asked: AtomicBool,
    /// No byte moves any more.
    pub(super) cut: AtomicBool,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(config: &MeterConfig, clock: Arc<dyn Clock>) -> Shared {
        let now = clock.now();
        let shared = Shared {
            clock,
            goaway_timeout: config.goaway_timeout,
            write_stall_timeout: config.write_stall_timeout,
            handshake_timeout: config.handshake_timeout,
            header_block_timeout: config.header_block_timeout,
            last_received: AtomicU64::new(now.as_nanos()),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            data_in: AtomicU64::new(0),
            data_out: AtomicU64::new(0),
            headers_in: AtomicU64::new(0),
            headers_out: AtomicU64::new(0),
            handshake: Alarm::off(),
            block: Alarm::off(),
            stall: Alarm::off(),
            closing: Alarm::off(),
            asked: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            state: Mutex::new(State::default()),
        };
        shared.handshake.set_in(now, config.handshake_timeout);
        shared
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down why the connection ends; the first reason stays.
    pub(super) fn blame(&self, by: ClosedBy, code: ErrorCode, text: impl Into<String>) {
        let mut state = self.lock();
        if state.reason.is_none() {
            state.reason = Some(CloseReason { by, code, text: text.into() });
        }
        let watcher = state.watcher.clone();
        drop(state);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }

    pub(super) fn wake_watcher(&self) {
        let watcher = self.lock().watcher.clone();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }

    /// Wakes whoever waits to read or to write.
    pub(super) fn wake(&self) {
        let (reader, writer) = {
            let mut state = self.lock();
            (state.reader.take(), state.writer.take())
        };
        if let Some(waker) = reader {
            waker.wake();
        }
        if let Some(waker) = writer {
            waker.wake();
        }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.wake();
    }

    fn request(&self, request: Request) {
        self.closing.set(self.now() + self.goaway_timeout);
        self.blame(ClosedBy::Us, request.code, request.text.clone());
        self.lock().request.get_or_insert(request);
        self.asked.store(true, Relaxed);
        self.wake();
    }
}

/// The owner's end of a [`Meter`](super::Meter): what was seen, what is due, and the verbs. Cheap to clone; any thread.
#[derive(Clone)]
pub struct MeterHandle {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for MeterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterHandle").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl MeterHandle {
    /// When [`handle_time`](Self::handle_time) is to be called next; `None` while no timer runs. It moves with the traffic:
    /// ask again each time the connection's task ran. A timer that was moved back costs one early call, nothing more.
    pub fn next_deadline(&self) -> Option<Time> {
        let s = &self.shared;
        let at = s.handshake.at().min(s.block.at()).min(s.stall.at()).min(s.closing.at());
        (at != Time::NEVER).then_some(at)
    }

    /// Tells the meter the time: closes the connection whose header block, handshake, write or GOAWAY is overdue.
    pub fn handle_time(&self, now: Time) -> Verdict {
        let s = &self.shared;
        if s.handshake.take_if_due(now) {
            let text = format!("no HTTP/2 SETTINGS from the peer within {:?}", s.handshake_timeout);
            s.blame(ClosedBy::Us, ErrorCode::NO_ERROR, text);
            s.cut();
            return Verdict::Closing;
        }
        if s.stall.take_if_due(now) {
            let text = format!("the socket took no byte for {:?}", s.write_stall_timeout);
            s.blame(ClosedBy::Us, ErrorCode::NO_ERROR, text);
            s.cut();
            return Verdict::Closing;
        }
        if s.closing.take_if_due(now) {
            s.cut();
            return Verdict::Closing;
        }
        if s.block.take_if_due(now) {
            let text = format!(
                "header_timeout: a header block took longer than {:?}",
                s.header_block_timeout
            );
            s.request(Request { code: ErrorCode::ENHANCE_YOUR_CALM, text, last_stream_id: None });
            return Verdict::Closing;
        }
        Verdict::Fine
    }

    /// Closes the connection: one GOAWAY at the next frame boundary, with `text` as debug data, then reads see the end.
    /// `last_stream_id`: `None` names the highest stream the peer opened. Frames `h2` still holds are not sent; for a
    /// graceful end use h2's own and [`set_goaway_text`](Self::set_goaway_text).
    pub fn go_away(&self, code: ErrorCode, text: impl Into<String>, last_stream_id: Option<u32>) {
        self.shared.request(Request { code, text: text.into(), last_stream_id });
    }

    /// Ends the connection at once and without a frame, for the reason in `text`.
    pub fn cut(&self, text: impl Into<String>) {
        self.shared.blame(ClosedBy::Us, ErrorCode::NO_ERROR, text);
        self.shared.cut();
    }

    /// The debug text that h2's coming GOAWAY NO_ERROR frames will carry (`max_age`, `max_idle`).
    pub fn set_goaway_text(&self, text: impl Into<String>) {
        self.shared.lock().goaway_text = text.into();
    }

    /// When the last byte came; the meter's birth until then.
    pub fn last_received(&self) -> Time {
        Time::from_nanos(self.shared.last_received.load(Relaxed))
    }

    /// The peer's SETTINGS; `None` until the first arrived.
    pub fn peer_settings(&self) -> Option<PeerSettings> {
        self.shared.lock().settings
    }

    /// The last GOAWAY the peer sent.
    pub fn received_goaway(&self) -> Option<GoAway> {
        self.shared.lock().goaway.clone()
    }

    /// Why the connection ended or is about to; `None` while nothing is wrong.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.lock().reason.clone()
    }

    /// Woken (again and again) when SETTINGS or a GOAWAY arrived or the connection got a reason to end.
    pub fn watch(&self, waker: &Waker) {
        let mut state = self.shared.lock();
        match &mut state.watcher {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// What passed so far. Published each time the connection's task ran.
    pub fn counts(&self) -> Counts {
        let s = &self.shared;
        Counts {
            bytes_in: s.bytes_in.load(Relaxed),
            bytes_out: s.bytes_out.load(Relaxed),
            data_in: s.data_in.load(Relaxed),
            data_out: s.data_out.load(Relaxed),
            headers_in: s.headers_in.load(Relaxed),
            headers_out: s.headers_out.load(Relaxed),
        }
    }
}
