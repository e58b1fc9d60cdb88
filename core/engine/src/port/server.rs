//! Calls from clients, by handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::ops::Ops;
use super::{Event, Queue};
use crate::call::ServerEvent;
use crate::compression::Encoding;
use crate::metadata::Metadata;
use crate::server::{CallHead, Handler, ServerCall, Slot};
use crate::status::{Code, Status};

static NEXT_TAG: AtomicU64 = AtomicU64::new(1);

/// A call for a handler.
pub struct IncomingCall {
    /// Which registration it is for: the number given to [`PortHandler::new`].
    pub method: u64,
    /// What the client said first.
    pub head: CallHead,
    /// The request, for methods with one; streamed requests follow as [`Event::Message`] by credit.
    pub message: Option<Bytes>,
    /// Where the call's further events go, if not to the queue this one came from (see [`PortHandler::with_own_queues`]).
    pub events: Option<Arc<Queue>>,
    /// What the handler answers with.
    pub handle: ServerCallHandle,
}

impl std::fmt::Debug for IncomingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingCall").field("head", &self.head).finish_non_exhaustive()
    }
}

enum Op {
    Headers(Option<Metadata>),
    Compression(Encoding),
    Compress(bool),
    Send(Bytes),
    Finish(Status, Metadata),
    Grant(usize),
}

struct Shared {
    ops: Ops<Op>,
    finished: AtomicBool,
    tag: u64,
}

/// The handler's side of a call. Its methods only note what is wanted; any thread. Keep it until the handler has returned: it
/// holds the handler's place. Dropped without [`ServerCallHandle::finish`] it answers UNKNOWN.
pub struct ServerCallHandle {
    shared: Arc<Shared>,
    _slot: Option<Slot>,
}

impl ServerCallHandle {
    /// The number this call's events carry.
    pub fn tag(&self) -> u64 {
        self.shared.tag
    }

    /// Initial metadata, sent with the first message.
    pub fn set_headers(&self, metadata: Metadata) {
        self.shared.ops.submit([Op::Headers(Some(metadata))]);
    }

    /// Sends the initial metadata now.
    pub fn send_headers(&self) {
        self.shared.ops.submit([Op::Headers(None)]);
    }

    /// The coding of the responses, if the client reads it and the headers are not out.
    pub fn set_compression(&self, encoding: Encoding) {
        self.shared.ops.submit([Op::Compression(encoding)]);
    }

    /// Whether the next messages are compressed.
    pub fn set_compress(&self, compress: bool) {
        self.shared.ops.submit([Op::Compress(compress)]);
    }

    /// Queues a message. `false`: wait for [`Event::Writable`] (or the call's end) before the next one.
    pub fn send(&self, message: Bytes) -> bool {
        self.shared.ops.submit_message(message.len(), Op::Send(message))
    }

    /// Ends the call behind what is queued.
    pub fn finish(&self, status: Status, trailers: Metadata) {
        if !self.shared.finished.swap(true, Ordering::AcqRel) {
            self.shared.ops.submit([Op::Finish(status, trailers)]);
        }
    }

    /// Queues the only response and ends the call with OK: one crossing for the usual case.
    pub fn reply(&self, message: Bytes, trailers: Metadata) {
        if !self.shared.finished.swap(true, Ordering::AcqRel) {
            self.shared.ops.submit([Op::Send(message), Op::Finish(Status::ok(), trailers)]);
        }
    }

    /// Allows `count` more [`Event::Message`]s. A call starts with none.
    pub fn grant(&self, count: usize) {
        self.shared.ops.submit([Op::Grant(count)]);
    }

    /// Whether the call has ended for the engine: finished, cancelled or lost.
    pub fn is_ended(&self) -> bool {
        self.shared.ops.is_ended()
    }
}

impl Drop for ServerCallHandle {
    fn drop(&mut self) {
        if !self.shared.finished.load(Ordering::Acquire) {
            self.finish(
                Status::new(Code::Unknown, "the handler ended without a status"),
                Metadata::new(),
            );
        }
    }
}

/// A [`Handler`] that turns its calls into events.
pub struct PortHandler {
    method: u64,
    queue: Arc<Queue>,
    own_queues: bool,
}

impl PortHandler {
    /// Calls of this registration carry `method` and go to `queue`.
    pub fn new(method: u64, queue: &Arc<Queue>) -> PortHandler {
        PortHandler { method, queue: queue.clone(), own_queues: false }
    }

    /// As [`PortHandler::new`], but each call that streams has a queue of its own for everything after [`Event::Call`], so that
    /// the thread that runs its handler can wait for it alone. [`Event::Cancelled`] is told to both queues.
    pub fn with_own_queues(method: u64, queue: &Arc<Queue>) -> PortHandler {
        PortHandler { own_queues: true, ..PortHandler::new(method, queue) }
    }
}

impl Handler for PortHandler {
    fn handle(&self, call: ServerCall) {
        let kind = call.head().kind;
        let own = (self.own_queues && (kind.client_streaming || kind.server_streaming))
            .then(Queue::silent);
        start(call, self.method, &self.queue, own);
    }
}

/// Turns one call into events of `queue`: [`Event::Call`] first.
pub fn accept_call(call: ServerCall, method: u64, queue: &Arc<Queue>) {
    start(call, method, queue, None);
}

fn start(mut call: ServerCall, method: u64, queue: &Arc<Queue>, own: Option<Arc<Queue>>) {
    let shared = Arc::new(Shared {
        ops: Ops::default(),
        finished: AtomicBool::new(false),
        tag: NEXT_TAG.fetch_add(1, Ordering::Relaxed),
    });
    let slot = call.take_slot();
    let rt = call.rt().clone();
    let mut pump = Pump {
        streamed: call.head().kind.client_streaming,
        call: Some(call),
        shared,
        queue: queue.clone(),
        own,
        method,
        slot,
        announced: false,
        credits: 0,
        half_closed: false,
        spare: Vec::new(),
    };
    rt.spawn(std::future::poll_fn(move |cx| pump.poll(cx)));
}

struct Pump {
    call: Option<ServerCall>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// Where events go after the call was announced, if not to `queue`.
    own: Option<Arc<Queue>>,
    method: u64,
    slot: Option<Slot>,
    streamed: bool,
    announced: bool,
    credits: usize,
    half_closed: bool,
    spare: Vec<Op>,
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.streamed && !self.announced {
            self.announce(None);
        }
        if self.take_ops(cx) {
            self.shared.ops.end();
            return Poll::Ready(());
        }
        loop {
            let Some(call) = &mut self.call else { return Poll::Ready(()) };
            let wanted = !self.streamed || self.credits > 0 || self.half_closed;
            let event = if wanted { call.poll_event(cx) } else { call.poll_unwanted(cx) };
            match event {
                Poll::Ready(ServerEvent::Message(message)) => {
                    if self.announced {
                        self.credits = self.credits.saturating_sub(1);
                        self.tell(Event::Message { tag: self.shared.tag, message });
                    } else {
                        self.announce(Some(message));
                        // the handler may have answered from within the notifier
                        if self.take_ops(cx) {
                            self.shared.ops.end();
                            return Poll::Ready(());
                        }
                    }
                }
                Poll::Ready(ServerEvent::HalfClosed) => {
                    self.half_closed = true;
                    if self.streamed {
                        self.tell(Event::HalfClosed { tag: self.shared.tag });
                    }
                }
                Poll::Ready(ServerEvent::Cancelled(status) | ServerEvent::Failed(status)) => {
                    if self.announced {
                        self.tell_cancelled(status);
                    }
                    self.call = None;
                    self.shared.ops.end();
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
        }
        self.tell_writable(cx);
        Poll::Pending
    }

    fn tell(&self, event: Event) {
        self.own.as_ref().unwrap_or(&self.queue).push(event);
    }

    fn tell_cancelled(&self, status: Status) {
        let tag = self.shared.tag;
        if let Some(own) = &self.own {
            own.push(Event::Cancelled { tag, status: status.clone() });
        }
        self.queue.push(Event::Cancelled { tag, status });
    }

    fn announce(&mut self, message: Option<Bytes>) {
        let Some(call) = &self.call else { return };
        self.announced = true;
        let handle = ServerCallHandle { shared: self.shared.clone(), _slot: self.slot.take() };
        let head = call.head().clone();
        self.queue.push(Event::Call(Box::new(IncomingCall {
            method: self.method,
            head,
            message,
            events: self.own.clone(),
            handle,
        })));
    }

    /// `true`: the call is finished.
    fn take_ops(&mut self, cx: &Context<'_>) -> bool {
        let mut list = std::mem::take(&mut self.spare);
        self.shared.ops.take(cx, &mut list);
        let Some(call) = &mut self.call else { return true };
        let mut failure = None;
        for op in list.drain(..) {
            match op {
                Op::Headers(Some(metadata)) => call.set_headers(metadata),
                Op::Headers(None) => call.send_headers(),
                Op::Compression(encoding) => call.set_compression(encoding),
                Op::Compress(compress) => call.set_compress(compress),
                Op::Send(message) => {
                    if failure.is_none() {
                        failure = call.send_message(message).err();
                    }
                }
                Op::Grant(count) => self.credits = self.credits.saturating_add(count),
                Op::Finish(status, trailers) => {
                    // a message that could not be sent is what the client must hear of
                    call.finish(&failure.unwrap_or(status), &trailers);
                    self.call = None;
                    return true;
                }
            }
        }
        self.spare = list;
        if let Some(status) = failure {
            call.finish(&status, &Metadata::new());
            self.call = None;
            self.tell_cancelled(status);
            return true;
        }
        false
    }

    fn tell_writable(&mut self, cx: &mut Context<'_>) {
        let (Some(submitted), Some(call)) = (self.shared.ops.waiting(), &mut self.call) else {
            return;
        };
        if call.poll_ready(cx).is_ready() && self.shared.ops.sent(submitted, call.queued()) {
            self.tell(Event::Writable { tag: self.shared.tag });
        }
    }
}
