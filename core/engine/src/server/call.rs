//! One call on its way to and from a handler.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::interceptor::ServerObserver;
use crate::call::{MethodKind, ServerEvent};
use crate::compression::Encoding;
use crate::metadata::Metadata;
use crate::protocol::grpc::{Finish, ServerStream};
use crate::rt::{Rt, Sleep};
use crate::status::{Code, Status};
use crate::time::Time;
use crate::transport::{Part, Peer, http2, in_process};

/// Bytes that may wait for window before a sender has to wait.
const SEND_AHEAD: usize = 64 << 10;

/// What a call says of itself before its first message.
#[derive(Debug, Clone)]
pub struct CallHead {
    /// `/package.Service/Method`, as it came.
    pub path: String,
    /// How many messages go each way.
    pub kind: MethodKind,
    /// The virtual host the client asked for.
    pub authority: Option<String>,
    /// The client's metadata, `user-agent` among it.
    pub metadata: Metadata,
    /// When the client stops waiting.
    pub deadline: Option<Time>,
    /// Who the client is.
    pub peer: Arc<Peer>,
}

/// A running handler's place. Held until the handler has *returned*, not just until its stream is closed, so that a client
/// cannot pile up handlers by resetting its calls.
pub struct Slot {
    counters: [Arc<AtomicUsize>; 2],
}

impl Slot {
    pub(super) fn new(connection: Arc<AtomicUsize>, server: Arc<AtomicUsize>) -> Slot {
        connection.fetch_add(1, Ordering::AcqRel);
        server.fetch_add(1, Ordering::AcqRel);
        Slot { counters: [connection, server] }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        for counter in &self.counters {
            counter.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

pub(super) enum Stream {
    Http2(http2::ServerStream),
    InProcess(in_process::ServerStream),
}

macro_rules! on_stream {
    ($stream:expr, $name:ident => $body:expr) => {
        match $stream {
            Stream::Http2($name) => $body,
            Stream::InProcess($name) => $body,
        }
    };
}

/// One call being served. Dropping it unfinished answers UNKNOWN: its handler ended without a status.
pub struct ServerCall {
    rt: Rt,
    head: CallHead,
    /// `None` once it has moved to the task that flushes it.
    wire: Option<Wire>,
    slot: Option<Slot>,
    observers: Vec<Box<dyn ServerObserver>>,
    headers: Metadata,
}

/// The part of a call that may outlive its handler: it goes on until all is sent.
struct Wire {
    protocol: ServerStream,
    stream: Stream,
    timer: Option<Sleep>,
    unreleased: usize,
    compress: bool,
    /// The end is in the outbox.
    finished: bool,
    /// Nobody is left to send to.
    gone: bool,
}

impl ServerCall {
    pub(super) fn new(
        rt: &Rt,
        head: CallHead,
        protocol: ServerStream,
        stream: Stream,
        slot: Slot,
        observers: Vec<Box<dyn ServerObserver>>,
    ) -> ServerCall {
        let timer = head.deadline.map(|deadline| rt.sleep_until(deadline));
        let wire = Wire {
            protocol,
            stream,
            timer,
            unreleased: 0,
            compress: true,
            finished: false,
            gone: false,
        };
        ServerCall {
            rt: rt.clone(),
            head,
            wire: Some(wire),
            slot: Some(slot),
            observers,
            headers: Metadata::new(),
        }
    }

    /// What the client said before its first message.
    pub fn head(&self) -> &CallHead {
        &self.head
    }

    /// The runtime the call lives on.
    pub fn rt(&self) -> &Rt {
        &self.rt
    }

    /// Takes the handler's place out of the call, to be held until the handler has returned. Without this the call holds it.
    pub fn take_slot(&mut self) -> Option<Slot> {
        self.slot.take()
    }

    /// Whether the call can still be answered.
    pub fn is_open(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| !wire.finished && !wire.gone)
    }

    /// The next thing the client said. `Cancelled` comes last and says why nobody waits for an answer any more;
    /// it can come after `HalfClosed` too. For methods with one request, `Message` comes only when the request is complete and right.
    /// A request that broke a rule has been answered already: its handler sees it as `Cancelled` with that status.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<ServerEvent> {
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        match std::task::ready!(wire.poll_event(&self.rt, cx)) {
            ServerEvent::Message(mut message) => {
                for observer in &mut self.observers {
                    observer.received(&mut message);
                }
                Poll::Ready(ServerEvent::Message(message))
            }
            ServerEvent::Failed(status) | ServerEvent::Cancelled(status) => {
                self.tell_end(&status);
                Poll::Ready(ServerEvent::Cancelled(status))
            }
            event => Poll::Ready(event),
        }
    }

    /// Reads on without taking messages, so that a cancel is seen and the connection never waits for a slow handler.
    /// Only `Cancelled` comes from here.
    pub(crate) fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<ServerEvent> {
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        let status = std::task::ready!(wire.poll_unwanted(&self.rt, cx));
        self.tell_end(&status);
        Poll::Ready(ServerEvent::Cancelled(status))
    }

    /// Bytes of messages that wait for window.
    pub(crate) fn queued(&self) -> usize {
        self.wire.as_ref().map_or(0, |wire| on_stream!(&wire.stream, s => s.queued()))
    }

    /// Initial metadata to be sent with, and at the latest before, the first message. Later calls have no effect once sent.
    pub fn set_headers(&mut self, headers: Metadata) {
        self.headers = headers;
    }

    /// Sends the initial metadata now.
    pub fn send_headers(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        if wire.finished || wire.gone {
            return;
        }
        if !self.headers.is_empty() {
            for observer in self.observers.iter_mut().rev() {
                observer.headers(&mut self.headers);
            }
        }
        if let Some(headers) = wire.protocol.send_headers(&self.headers) {
            on_stream!(&mut wire.stream, s => s.send_headers(200, headers, false));
            self.headers = Metadata::new();
        }
    }

    /// The coding of responses from here on; without effect if the client does not read it or the headers are out.
    pub fn set_compression(&mut self, encoding: Encoding) {
        if let Some(wire) = &mut self.wire {
            wire.protocol.set_compression(encoding);
        }
    }

    /// Whether the next messages are compressed (where a coding was agreed); default yes.
    pub fn set_compress(&mut self, compress: bool) {
        if let Some(wire) = &mut self.wire {
            wire.compress = compress;
        }
    }

    /// Queues a response message. Send no more than [`ServerCall::poll_ready`] allows, or memory grows.
    ///
    /// # Errors
    /// The message is over the send limit, or a second one where the method gives one: finish with that status.
    /// CANCELLED or DEADLINE_EXCEEDED once the call has ended.
    pub fn send_message(&mut self, mut message: Bytes) -> Result<(), Status> {
        self.send_headers();
        let Some(wire) = &mut self.wire else { return Err(ended()) };
        // a handler that only sends hears of a cancel here
        if on_stream!(&wire.stream, s => s.is_dead()) {
            return Err(ended());
        }
        for observer in self.observers.iter_mut().rev() {
            observer.sending(&mut message);
        }
        let frame = wire.protocol.encode_message(message, wire.compress)?;
        on_stream!(&mut wire.stream, s => s.send(frame));
        Ok(())
    }

    /// Ready when another message may be queued, or the call has ended. Sends what can be sent.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wire) = &mut self.wire else { return Poll::Ready(()) };
        let flushed = on_stream!(&mut wire.stream, s => s.poll_flush(cx));
        let queued = on_stream!(&wire.stream, s => s.queued());
        if flushed.is_ready() || queued < SEND_AHEAD || wire.gone || wire.finished {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Ends the call with a status and trailing metadata. What is queued is sent first, by a task of its own if the window has
    /// no room now; the handler need not wait. Without effect if the call has ended.
    pub fn finish(&mut self, status: &Status, trailers: &Metadata) {
        self.tell_end(status);
        let Some(mut wire) = self.wire.take() else { return };
        if !wire.finished && !wire.gone {
            if !self.headers.is_empty() {
                for observer in self.observers.iter_mut().rev() {
                    observer.headers(&mut self.headers);
                }
            }
            if self.head.deadline.is_some() {
                // a handler that took too long and never looked: the client's clock counts, not its status
                wire.protocol.handle_time(self.rt.now());
            }
            let finish = wire.protocol.finish(status, trailers, &self.headers);
            wire.end(finish);
        }
        wire.send_rest(&self.rt);
    }

    fn tell_end(&mut self, status: &Status) {
        for mut observer in std::mem::take(&mut self.observers).into_iter().rev() {
            observer.ended(status);
        }
    }
}

impl Drop for ServerCall {
    fn drop(&mut self) {
        if self.wire.is_some() {
            let status = Status::new(Code::Unknown, "the handler ended without a status");
            self.finish(&status, &Metadata::new());
        }
    }
}

impl Wire {
    fn poll_event(&mut self, rt: &Rt, cx: &mut Context<'_>) -> Poll<ServerEvent> {
        loop {
            if let Some(event) = self.protocol.poll_event() {
                match &event {
                    ServerEvent::Message(message) => {
                        let taken = self.unreleased.min(message.len() + crate::frame::PREFIX_BYTES);
                        self.release(taken);
                    }
                    ServerEvent::HalfClosed => {}
                    ServerEvent::Cancelled(_) if self.protocol.is_ended() => self.gone = true,
                    // DEADLINE_EXCEEDED, or a request that broke a rule: answered here, at once
                    ServerEvent::Cancelled(status) | ServerEvent::Failed(status) => {
                        on_stream!(&mut self.stream, s => s.drop_queued());
                        let none = Metadata::new();
                        let finish = self.protocol.finish(status, &none, &none);
                        self.end(finish);
                        let _ = on_stream!(&mut self.stream, s => s.poll_flush(cx));
                    }
                }
                return Poll::Ready(event);
            }
            if self.finished || self.gone {
                return Poll::Pending;
            }
            self.release(self.unreleased);
            std::task::ready!(self.step(rt, cx));
        }
    }

    fn poll_unwanted(&mut self, rt: &Rt, cx: &mut Context<'_>) -> Poll<Status> {
        loop {
            if self.finished || self.gone {
                return Poll::Pending;
            }
            if self.protocol.is_cancelled() {
                return match std::task::ready!(self.poll_event(rt, cx)) {
                    ServerEvent::Cancelled(status) | ServerEvent::Failed(status) => {
                        Poll::Ready(status)
                    }
                    // a cancel empties what was not read, so nothing comes before it
                    ServerEvent::Message(_) | ServerEvent::HalfClosed => continue,
                };
            }
            std::task::ready!(self.step(rt, cx));
        }
    }

    fn step(&mut self, rt: &Rt, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.timer
            && Pin::new(&mut *timer).poll(cx).is_ready()
        {
            self.timer = None;
            self.protocol.handle_time(rt.now());
            return Poll::Ready(());
        }
        let _ = on_stream!(&mut self.stream, s => s.poll_flush(cx));
        match std::task::ready!(on_stream!(&mut self.stream, s => s.poll_part(cx))) {
            Part::Data(data) => {
                self.unreleased += data.len();
                self.protocol.handle_data(data);
            }
            Part::End | Part::Trailers(_) => self.protocol.handle_end(),
            Part::Reset { code, .. } => self.protocol.handle_reset(code),
            Part::Lost { .. } => self.protocol.handle_disconnect(),
            Part::Headers { .. } => {}
        }
        Poll::Ready(())
    }

    fn release(&mut self, bytes: usize) {
        if bytes > 0 {
            on_stream!(&mut self.stream, s => s.release(bytes));
            self.unreleased -= bytes;
        }
    }

    fn end(&mut self, finish: Finish) {
        self.finished = true;
        match finish {
            Finish::TrailersOnly(block) => {
                on_stream!(&mut self.stream, s => s.send_headers(200, block, true))
            }
            Finish::Trailers(trailers) => on_stream!(&mut self.stream, s => s.finish(trailers)),
            Finish::HeadersAndTrailers { headers, trailers } => on_stream!(&mut self.stream, s => {
                s.send_headers(200, headers, false);
                s.finish(trailers);
            }),
            Finish::AlreadyEnded => {}
        }
    }

    /// Sends what is queued; by a task of its own if it cannot all go now.
    fn send_rest(mut self, rt: &Rt) {
        if self.gone {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        if on_stream!(&mut self.stream, s => s.poll_flush(&mut cx)).is_ready() {
            return;
        }
        rt.spawn(std::future::poll_fn(move |cx| self.poll_rest(cx)));
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if on_stream!(&mut self.stream, s => s.poll_flush(cx)).is_ready() {
            return Poll::Ready(());
        }
        loop {
            match on_stream!(&mut self.stream, s => s.poll_part(cx)) {
                Poll::Ready(Part::Reset { .. } | Part::Lost { .. }) => return Poll::Ready(()),
                // what the client still sends is not wanted any more
                Poll::Ready(Part::Data(data)) => {
                    on_stream!(&mut self.stream, s => s.release(data.len()))
                }
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        if let Some(timer) = &mut self.timer
            && Pin::new(&mut *timer).poll(cx).is_ready()
        {
            // the client reads too slowly: what waits is dropped and the call ends as its client's clock says
            self.timer = None;
            let late = Status::new(
                Code::DeadlineExceeded,
                "the deadline passed before the answer was read",
            );
            let mut trailers = http::HeaderMap::new();
            trailers.extend(crate::protocol::grpc::reject(&late).headers);
            trailers.remove(http::header::CONTENT_TYPE);
            on_stream!(&mut self.stream, s => { s.drop_queued(); s.finish(trailers); });
            return on_stream!(&mut self.stream, s => s.poll_flush(cx));
        }
        Poll::Pending
    }
}

fn ended() -> Status {
    Status::new(Code::Cancelled, "the call has ended")
}
