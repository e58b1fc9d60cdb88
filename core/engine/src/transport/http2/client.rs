//! A client's connection: opening streams on it, and the task that moves its bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Uri};

use super::stream::lost_text;
use super::{ClientStream, Http2Config, STREAMS_BEFORE_SETTINGS, configure_client};
use crate::frame::FrameBytes;
use crate::rt::{BoxIo, Rt, Sleep, Time};
use crate::transport::meter::{ErrorCode, Meter, MeterConfig, MeterHandle, PeerSettings};

/// How a client keeps an eye on a silent connection (gRPC keepalive, gRFC A8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Keepalive {
    /// Silence after which a PING is sent; `None`: never.
    pub time: Option<Duration>,
    /// How long its answer may take before the connection counts as lost.
    pub timeout: Duration,
    /// Also while no call is open.
    pub without_calls: bool,
}

struct State {
    /// Streams that are open now.
    active: AtomicUsize,
    /// Streams the server allows.
    limit: AtomicUsize,
    /// Bytes of headers the server accepts.
    header_limit: AtomicUsize,
    /// The server's SETTINGS have come.
    ready: AtomicBool,
    waiters: Mutex<VecDeque<Waker>>,
    /// Why no stream can be opened any more.
    closed: Mutex<Option<String>>,
    draining: AtomicBool,
    /// Woken when the last stream ends or a new one begins: the connection's own task.
    task: Mutex<Option<Waker>>,
}

/// A place among the streams the server allows; given back when the stream is dropped.
pub(super) struct Slot(Arc<State>);

impl Drop for Slot {
    fn drop(&mut self) {
        let left = self.0.active.fetch_sub(1, Ordering::AcqRel) - 1;
        let waiter = crate::rt::lock(&self.0.waiters).pop_front();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        if left == 0 {
            self.0.wake_task();
        }
    }
}

impl State {
    fn wake_task(&self) {
        let task = crate::rt::lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn wake_waiters(&self) {
        let waiters = std::mem::take(&mut *crate::rt::lock(&self.waiters));
        for waiter in waiters {
            waiter.wake();
        }
    }
}

/// Opens streams on one connection; cheap to clone.
#[derive(Clone)]
pub struct ClientConnection {
    send: SendRequest<FrameBytes>,
    state: Arc<State>,
    meter: MeterHandle,
    scheme: http::uri::Scheme,
}

/// Why a stream could not be opened; the call may go to another connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unavailable(pub String);

impl ClientConnection {
    /// Whether new calls should go elsewhere: closed, or told to go away.
    pub fn is_done(&self) -> bool {
        self.state.draining.load(Ordering::Acquire)
    }

    /// Bytes of headers (name + value + 32 each) the server accepts, as far as it has said.
    pub fn header_limit(&self) -> usize {
        self.state.header_limit.load(Ordering::Acquire)
    }

    /// Streams open now.
    pub fn active_streams(&self) -> usize {
        self.state.active.load(Ordering::Acquire)
    }

    /// What the meter saw.
    pub fn meter(&self) -> &MeterHandle {
        &self.meter
    }

    /// Ends the connection when its last stream has ended.
    pub fn drain(&self) {
        self.state.draining.store(true, Ordering::Release);
        self.state.wake_waiters();
        self.state.wake_task();
    }

    /// Waits for a place among the streams the server allows, in the order of asking.
    pub(crate) fn poll_slot(&self, cx: &mut Context<'_>) -> Poll<Result<Place, Unavailable>> {
        if self.is_done() {
            let why = crate::rt::lock(&self.state.closed).clone();
            return Poll::Ready(Err(Unavailable(
                why.unwrap_or_else(|| "the connection is going away".into()),
            )));
        }
        let limit = self.state.limit.load(Ordering::Acquire);
        let taken = self.state.active.fetch_update(Ordering::AcqRel, Ordering::Acquire, |active| {
            (active < limit).then_some(active + 1)
        });
        match taken {
            Ok(before) => {
                if before == 0 {
                    self.state.wake_task();
                }
                Poll::Ready(Ok(Place(Slot(self.state.clone()))))
            }
            Err(_) => {
                crate::rt::lock(&self.state.waiters).push_back(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Opens a stream with its request headers. END_STREAM never goes with them: gRPC asks for an empty DATA frame where
    /// there is no message, and grpc-go's server waits for it (PROTOCOL-HTTP2.md, "EOS").
    pub(crate) fn open(
        &self,
        place: Place,
        authority: &http::uri::Authority,
        path: &http::uri::PathAndQuery,
        headers: HeaderMap,
    ) -> Result<ClientStream, Unavailable> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(path.clone());
        let uri = Uri::from_parts(parts).map_err(|e| Unavailable(e.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let mut send = self.send.clone();
        let (response, sending) = send.send_request(request, false).map_err(|error| {
            if error.is_go_away() || error.is_io() || self.meter.received_goaway().is_some() {
                // its own task may not have run since: whoever asks next must not be given this connection again
                self.drain();
            }
            Unavailable(lost_text(&error, &self.meter))
        })?;
        Ok(ClientStream::new(response, sending, self.meter.clone(), place.0))
    }
}

/// A place taken by [`ClientConnection::poll_slot`] and not used yet.
pub(crate) struct Place(Slot);

/// Makes a connection of `io`: sends the preface and SETTINGS and starts the task that moves its bytes.
///
/// Returns when the server's SETTINGS have come, which is when the connection counts as ready. `on_closed` is called
/// once, when the connection is over, with the reason.
pub(crate) async fn handshake(
    rt: &Rt,
    io: BoxIo,
    encrypted: bool,
    config: &Http2Config,
    keepalive: Keepalive,
    on_closed: impl FnOnce(String) + Send + 'static,
) -> Result<ClientConnection, String> {
    let (metered, meter) = Meter::new(io, MeterConfig::client(), rt.clock());
    let (send, connection) = configure_client(config)
        .handshake(metered)
        .await
        .map_err(|error| lost_text(&error, &meter))?;
    let state = Arc::new(State {
        active: AtomicUsize::new(0),
        limit: AtomicUsize::new(STREAMS_BEFORE_SETTINGS),
        header_limit: AtomicUsize::new(usize::MAX),
        ready: AtomicBool::new(false),
        waiters: Mutex::default(),
        closed: Mutex::default(),
        draining: AtomicBool::new(false),
        task: Mutex::default(),
    });
    let scheme = if encrypted { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
    let handle = ClientConnection { send, state: state.clone(), meter: meter.clone(), scheme };
    let task = ConnectionTask::new(rt, connection, state, meter.clone(), keepalive);
    rt.spawn(async move {
        let mut task = task;
        let reason = poll_fn(|cx| task.poll(cx)).await;
        task.end(&reason);
        on_closed(reason);
    });
    poll_fn(|cx| {
        if handle.state.ready.load(Ordering::Acquire) {
            return Poll::Ready(Ok(handle.clone()));
        }
        if let Some(reason) = crate::rt::lock(&handle.state.closed).clone() {
            return Poll::Ready(Err(reason));
        }
        crate::rt::lock(&handle.state.waiters).push_back(cx.waker().clone());
        Poll::Pending
    })
    .await
}

type Connection = h2::client::Connection<Meter<BoxIo>, FrameBytes>;

struct ConnectionTask {
    rt: Rt,
    connection: Connection,
    ping: Option<h2::PingPong>,
    state: Arc<State>,
    meter: MeterHandle,
    keepalive: Keepalive,
    timer: Sleep,
    /// When the PING on its way was sent.
    pinged: Option<Time>,
    drained: bool,
    settings: Option<PeerSettings>,
}

impl ConnectionTask {
    fn new(
        rt: &Rt,
        mut connection: Connection,
        state: Arc<State>,
        meter: MeterHandle,
        keepalive: Keepalive,
    ) -> Self {
        let ping = connection.ping_pong();
        let timer = rt.sleep_until(Time::NEVER);
        ConnectionTask {
            rt: rt.clone(),
            connection,
            ping,
            state,
            meter,
            keepalive,
            timer,
            pinged: None,
            drained: false,
            settings: None,
        }
    }

    /// Ready with the reason when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        {
            let mut task = crate::rt::lock(&self.state.task);
            match task.as_mut() {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *task = Some(cx.waker().clone()),
            }
        }
        self.meter.watch(cx.waker());
        loop {
            match Pin::new(&mut self.connection).poll(cx) {
                Poll::Ready(Ok(())) => {
                    let why = self.meter.close_reason();
                    let goaway = self.meter.received_goaway();
                    return Poll::Ready(match (why, goaway) {
                        (Some(why), _) => why.to_string(),
                        (None, Some(_)) => "the server closed the connection (GOAWAY)".into(),
                        (None, None) => "connection closed".into(),
                    });
                }
                Poll::Ready(Err(error)) => return Poll::Ready(lost_text(&error, &self.meter)),
                Poll::Pending => {}
            }
            self.note_settings();
            if self.state.draining.load(Ordering::Acquire)
                && self.state.active.load(Ordering::Acquire) == 0
            {
                if self.drained {
                    return Poll::Ready("connection closed".into());
                }
                // one more round lets what is queued (resets, a GOAWAY) leave before the socket closes
                self.drained = true;
                self.meter.go_away(ErrorCode::NO_ERROR, "", Some(0));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Poll::Ready(reason) = self.poll_keepalive(cx) {
                return Poll::Ready(reason);
            }
            if !self.poll_timer(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Learns how many streams the server allows and whether it is going away; whoever waits for a place looks again.
    fn note_settings(&mut self) {
        let settings = self.meter.peer_settings();
        if settings != self.settings {
            self.settings = settings;
            let limit =
                settings.and_then(|s| s.max_concurrent_streams).map_or(usize::MAX, |n| n as usize);
            self.state.limit.store(limit, Ordering::Release);
            let headers = settings.and_then(|s| s.max_header_list_size);
            let headers = headers.map_or(usize::MAX, |n| n as usize);
            self.state.header_limit.store(headers, Ordering::Release);
            self.state.ready.store(true, Ordering::Release);
            self.state.wake_waiters();
        }
        if !self.state.draining.load(Ordering::Acquire) && self.meter.received_goaway().is_some() {
            self.state.draining.store(true, Ordering::Release);
            self.state.wake_waiters();
        }
    }

    /// `true`: the timer fired, look again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let meter = self.meter.next_deadline().unwrap_or(Time::NEVER);
        let deadline = meter.min(self.keepalive_deadline());
        self.timer.reset(deadline);
        if Pin::new(&mut self.timer).poll(cx).is_pending() {
            return false;
        }
        self.meter.handle_time(self.rt.now());
        // the connection's reads see what the meter decided
        true
    }

    fn keepalive_deadline(&self) -> Time {
        let Some(time) = self.keepalive.time else { return Time::NEVER };
        if let Some(pinged) = self.pinged {
            return pinged + self.keepalive.timeout;
        }
        if !self.keepalive.without_calls && self.state.active.load(Ordering::Acquire) == 0 {
            return Time::NEVER;
        }
        self.meter.last_received() + time
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        if self.keepalive.time.is_none() {
            return Poll::Pending;
        }
        let (now, deadline) = (self.rt.now(), self.keepalive_deadline());
        let Some(ping) = &mut self.ping else { return Poll::Pending };
        if let Some(pinged) = self.pinged {
            // any byte after the PING tells as much as its answer
            let answered = ping.poll_pong(cx).is_ready() || self.meter.last_received() > pinged;
            if answered {
                self.pinged = None;
            } else if now >= pinged + self.keepalive.timeout {
                return Poll::Ready("keepalive: the server did not answer a PING in time".into());
            }
        }
        if self.pinged.is_none() && now >= deadline && ping.send_ping(h2::Ping::opaque()).is_ok() {
            self.pinged = Some(now);
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn end(&mut self, reason: &str) {
        *crate::rt::lock(&self.state.closed) = Some(reason.to_owned());
        self.state.draining.store(true, Ordering::Release);
        self.state.wake_waiters();
    }
}
