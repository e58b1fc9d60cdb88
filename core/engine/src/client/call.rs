//! One call: picks a connection, opens a stream, moves messages, and sends again what no server has seen.
//!
//! A [`Call`] is polled by whoever owns it: a task of the port, or a future of the Rust API. Retry policies and hedging
//! join at `Call::retry`: the replay buffer and the rule when a call is committed are there already.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;

use super::channel::Channel;
use super::connection::{Connection, OpenCall};
use super::interceptor::ClientObserver;
use crate::call::{ClientEvent, MethodKind};
use crate::compression::Encoding;
use crate::error::Error;
use crate::frame::FrameBytes;
use crate::metadata::Metadata;
use crate::protocol::grpc::{ClientStream, ClientStreamOptions, RequestHead, request_headers};
use crate::rt::Sleep;
use crate::status::{Code, Status};
use crate::time::Time;
use crate::transport::{Part, code, http2, in_process};

/// Bytes of messages kept for sending again; above it the call is committed to its first server (gRFC A6).
const REPLAY_BYTES: usize = 256 << 10;

/// Bytes that may wait for window before a sender has to wait.
const SEND_AHEAD: usize = 64 << 10;

/// What the engine's own request headers come to, at most, beside the path.
const OWN_HEADER_BYTES: usize = 512;

/// How often a call may meet connections that go away before its stream was seen, until it counts as failed.
const MAX_UNSEEN: u32 = 16;

/// A method to call: its path and how many messages go each way. Made once, used for many calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    path: PathAndQuery,
    kind: MethodKind,
}

impl Method {
    /// The method at `/package.Service/Name`.
    ///
    /// # Errors
    /// The path does not begin with a slash or has characters a path cannot carry.
    pub fn new(path: &str, kind: MethodKind) -> Result<Method, Error> {
        let fail = || Error::option("method", format!("{path:?} is not /package.Service/Method"));
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(fail());
        }
        let path = PathAndQuery::try_from(path).map_err(|_| fail())?;
        Ok(Method { path, kind })
    }

    /// `/package.Service/Name`.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// How many messages go each way.
    pub fn kind(&self) -> MethodKind {
        self.kind
    }
}

/// What one call may set differently from its channel.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Time until DEADLINE_EXCEEDED; the channel's default otherwise.
    pub timeout: Option<Duration>,
    /// An absolute deadline, e.g. inherited from a handler; the earlier of the two counts.
    pub deadline: Option<Time>,
    /// Waits through TRANSIENT_FAILURE.
    pub wait_for_ready: Option<bool>,
    /// Coding of messages sent.
    pub compression: Option<Encoding>,
    /// Largest message received, bytes.
    pub max_receive_message_bytes: Option<usize>,
    /// Largest message sent, bytes.
    pub max_send_message_bytes: Option<usize>,
}

enum Stream {
    Http2(http2::ClientStream),
    InProcess(in_process::ClientStream),
}

macro_rules! on_stream {
    ($stream:expr, $name:ident => $body:expr) => {
        match $stream {
            Stream::Http2($name) => $body,
            Stream::InProcess($name) => $body,
        }
    };
}

enum Stage {
    Picking,
    Waiting(http2::client::ClientConnection),
    Open(Stream),
    Done,
}

/// What was sent so far, to be sent again.
#[derive(Default)]
struct Replay {
    first: Option<FrameBytes>,
    rest: Vec<FrameBytes>,
    bytes: usize,
    half_closed: bool,
    committed: bool,
}

impl Replay {
    fn keep(&mut self, frame: &FrameBytes) {
        if self.committed {
            return;
        }
        self.bytes += frame.len();
        if self.bytes > REPLAY_BYTES {
            self.commit();
        } else if self.first.is_none() {
            self.first = Some(frame.clone());
        } else {
            self.rest.push(frame.clone());
        }
    }

    fn commit(&mut self) {
        self.committed = true;
        self.first = None;
        self.rest = Vec::new();
    }
}

/// One call in progress. Dropping it cancels it on the wire.
pub struct Call {
    channel: Channel,
    method: Method,
    metadata: Metadata,
    stream_options: ClientStreamOptions,
    wait_for_ready: bool,
    compress: bool,
    protocol: ClientStream,
    stage: Stage,
    /// Frames that wait for a stream.
    replay: Replay,
    unsent: Vec<FrameBytes>,
    deadline: Option<Time>,
    timer: Option<Sleep>,
    unreleased: usize,
    unseen: u32,
    refused: bool,
    observers: Vec<Box<dyn ClientObserver>>,
    _open: OpenCall,
}

impl Call {
    /// Starts a call; nothing happens before it is polled. A failure that is known at once comes as its status.
    pub fn new(
        channel: &Channel,
        method: &Method,
        metadata: Metadata,
        options: CallOptions,
    ) -> Call {
        let (mut metadata, mut options) = (metadata, options);
        let mut observers = Vec::new();
        let mut refused = None;
        for interceptor in &channel.0.options.interceptors {
            match interceptor.start(method, &mut metadata, &mut options) {
                Ok(observer) => observers.extend(observer),
                Err(status) => {
                    refused = Some(status);
                    break;
                }
            }
        }
        let defaults = &channel.0.options;
        let now = channel.0.rt.now();
        let timeout = options.timeout.or(defaults.default_timeout).map(|timeout| now + timeout);
        let deadline = match (timeout, options.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let encoding = options.compression.unwrap_or(defaults.compression);
        let stream_options = ClientStreamOptions {
            kind: method.kind,
            deadline,
            max_receive_message_bytes: options
                .max_receive_message_bytes
                .unwrap_or(defaults.max_receive_message_bytes),
            max_send_message_bytes: options
                .max_send_message_bytes
                .unwrap_or(defaults.max_send_message_bytes),
            max_metadata_bytes: defaults.max_metadata_bytes,
            max_metadata_fields: defaults.max_metadata_fields,
            encoding,
        };
        let mut protocol = ClientStream::new(stream_options);
        let mut stage = Stage::Picking;
        if let Some(status) = refused {
            protocol.end(status);
            stage = Stage::Done;
        } else if deadline.is_some_and(|deadline| deadline <= now) {
            protocol.handle_time(now);
            stage = Stage::Done;
        }
        Call {
            timer: deadline.map(|deadline| channel.0.rt.sleep_until(deadline)),
            channel: channel.clone(),
            method: method.clone(),
            metadata,
            stream_options,
            wait_for_ready: options.wait_for_ready.unwrap_or(defaults.wait_for_ready),
            compress: encoding != Encoding::Identity,
            protocol,
            stage,
            replay: Replay::default(),
            unsent: Vec::new(),
            deadline,
            unreleased: 0,
            unseen: 0,
            refused: false,
            observers,
            _open: OpenCall::new(channel),
        }
    }

    /// The method called.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// When the call ends by itself.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Whether the call has ended (its status may still wait to be polled).
    pub fn is_ended(&self) -> bool {
        self.protocol.is_ended()
    }

    /// Queues a message. Send no more than [`Call::poll_ready`] allows, or memory grows.
    ///
    /// # Errors
    /// The message is over the send limit, or the call has ended; the call ends with that status.
    pub fn send_message(&mut self, mut message: Bytes) -> Result<(), Status> {
        for observer in &mut self.observers {
            observer.sending(&mut message);
        }
        match self.protocol.encode_message(message, self.compress) {
            Ok(frame) => {
                self.queue(frame);
                Ok(())
            }
            Err(status) => {
                self.end(status.clone());
                Err(status)
            }
        }
    }

    fn queue(&mut self, frame: FrameBytes) {
        self.replay.keep(&frame);
        match &mut self.stage {
            Stage::Open(stream) => on_stream!(stream, s => s.send(frame)),
            Stage::Picking | Stage::Waiting(_) => {
                if self.replay.committed {
                    self.unsent.push(frame);
                }
            }
            Stage::Done => {}
        }
    }

    /// No more messages will be sent.
    pub fn half_close(&mut self) {
        if self.replay.half_closed {
            return;
        }
        self.replay.half_closed = true;
        self.protocol.half_close();
        if let Stage::Open(stream) = &mut self.stage {
            on_stream!(stream, s => s.half_close());
        }
    }

    /// Ends the call with CANCELLED, here and on the wire.
    pub fn cancel(&mut self) {
        self.end(Status::new(Code::Cancelled, "the call was cancelled"));
    }

    /// Ends the call with `status`, here and (as a cancel) on the wire.
    pub fn end(&mut self, status: Status) {
        self.protocol.end(status);
        self.settle();
    }

    /// Bytes of messages that are queued and not yet on their way.
    pub(crate) fn queued(&self) -> usize {
        match &self.stage {
            Stage::Open(stream) => on_stream!(stream, s => s.queued()),
            _ if self.replay.committed => self.unsent.iter().map(FrameBytes::len).sum(),
            _ => self.replay.bytes,
        }
    }

    /// Ready when another message may be queued, or the call has ended.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.queued() >= SEND_AHEAD && !self.is_ended() {
            self.drive(cx);
        }
        if self.queued() < SEND_AHEAD || self.is_ended() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves the call on without taking what it received: sends what can be sent, reads what has come.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        while !self.protocol.is_ended() && self.step(cx).is_ready() {}
        self.settle();
    }

    /// The next thing the server said: headers once, messages, the status last; then `None`.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        loop {
            if let Some(mut event) = self.protocol.poll_event() {
                self.settle();
                self.observe(&mut event);
                if let ClientEvent::Message(message) = &event {
                    let taken = self.unreleased.min(message.len() + crate::frame::PREFIX_BYTES);
                    self.release(taken);
                }
                return Poll::Ready(Some(event));
            }
            if self.protocol.is_ended() {
                self.settle();
                return Poll::Ready(None);
            }
            // all that came is part of a message that is wanted: let the rest of it come
            self.release(self.unreleased);
            if self.step(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn observe(&mut self, event: &mut ClientEvent) {
        for observer in self.observers.iter_mut().rev() {
            match event {
                ClientEvent::Headers(headers) => observer.headers(headers),
                ClientEvent::Message(message) => observer.received(message),
                ClientEvent::Status(status, trailers) => observer.ended(status, trailers),
            }
        }
    }

    fn release(&mut self, bytes: usize) {
        if bytes > 0
            && let Stage::Open(stream) = &mut self.stage
        {
            on_stream!(stream, s => s.release(bytes));
            self.unreleased -= bytes;
        }
    }

    /// One step; pending when only the outside can bring the next one.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.timer
            && Pin::new(&mut *timer).poll(cx).is_ready()
        {
            self.timer = None;
            self.protocol.handle_time(self.channel.0.rt.now());
            self.settle();
            return Poll::Ready(());
        }
        match &mut self.stage {
            Stage::Picking => {
                match std::task::ready!(self.channel.poll_pick(
                    cx,
                    self.method.path(),
                    self.wait_for_ready
                )) {
                    Ok(Connection::Http2(connection)) => self.stage = Stage::Waiting(connection),
                    Ok(Connection::InProcess(connector)) => {
                        let headers = self.headers();
                        match connector.open(
                            self.channel.0.authority.as_str(),
                            self.method.path(),
                            headers,
                        ) {
                            Ok(stream) => self.opened(Stream::InProcess(stream)),
                            Err(text) => self.protocol.handle_disconnect(&text),
                        }
                    }
                    Err(status) => self.protocol.end(status),
                }
                Poll::Ready(())
            }
            Stage::Waiting(connection) => {
                let place = match std::task::ready!(connection.poll_slot(cx)) {
                    Ok(place) => place,
                    Err(_) => {
                        self.retry_unseen("the connection went away");
                        return Poll::Ready(());
                    }
                };
                let connection = connection.clone();
                let given = self.metadata.wire_bytes() + OWN_HEADER_BYTES;
                let limit = connection.header_limit();
                if given > limit {
                    let text = format!(
                        "the metadata makes {given} bytes of headers, the server accepts {limit}"
                    );
                    self.protocol.end(Status::new(Code::ResourceExhausted, text));
                    return Poll::Ready(());
                }
                let headers = self.headers();
                let authority = &self.channel.0.authority;
                match connection.open(place, authority, &self.method.path, headers) {
                    Ok(stream) => self.opened(Stream::Http2(stream)),
                    Err(error) => self.retry_unseen(&error.0),
                }
                Poll::Ready(())
            }
            Stage::Open(stream) => {
                let _ = on_stream!(stream, s => s.poll_flush(cx));
                let part = std::task::ready!(on_stream!(stream, s => s.poll_part(cx)));
                self.handle(part);
                Poll::Ready(())
            }
            Stage::Done => Poll::Pending,
        }
    }

    fn headers(&self) -> http::HeaderMap {
        let now = self.channel.0.rt.now();
        request_headers(&RequestHead {
            timeout: self.deadline.map(|deadline| deadline.since(now)),
            encoding: self.stream_options.encoding,
            metadata: &self.metadata,
            user_agent: &self.channel.0.user_agent,
            previous_attempts: 0,
        })
    }

    fn opened(&mut self, mut stream: Stream) {
        let replay = &self.replay;
        on_stream!(&mut stream, s => {
            for frame in replay.first.iter().chain(&replay.rest) {
                s.send(frame.clone());
            }
            for frame in self.unsent.drain(..) {
                s.send(frame);
            }
            if replay.half_closed {
                s.half_close();
            }
        });
        self.stage = Stage::Open(stream);
    }

    fn handle(&mut self, part: Part) {
        match part {
            Part::Headers { http_status, headers, end } => {
                if !end {
                    self.replay.commit();
                }
                self.protocol.handle_headers(http_status, headers, end);
            }
            Part::Data(data) => {
                self.unreleased += data.len();
                self.protocol.handle_data(data);
            }
            Part::Trailers(trailers) => self.protocol.handle_trailers(trailers),
            Part::End => self.protocol.handle_end(),
            Part::Reset { code: code::REFUSED_STREAM, unprocessed: true }
                if self.may_retry() && !self.refused =>
            {
                // the server's library turned it away before its application saw it: once is free
                self.refused = true;
                self.stage = Stage::Picking;
            }
            Part::Reset { code, .. } => self.protocol.handle_reset(code, self.channel.0.rt.now()),
            Part::Lost { text, unprocessed: true } => self.retry_unseen(&text),
            Part::Lost { text, .. } => self.protocol.handle_disconnect(&text),
        }
        self.settle();
    }

    fn may_retry(&self) -> bool {
        !self.replay.committed && !self.protocol.saw_response_headers() && !self.protocol.is_ended()
    }

    /// No server has seen the call: send it again, elsewhere or on a new connection.
    fn retry_unseen(&mut self, why: &str) {
        self.unseen += 1;
        if self.may_retry() && self.unseen <= MAX_UNSEEN {
            self.unreleased = 0;
            self.stage = Stage::Picking;
        } else if self.replay.committed
            && matches!(self.stage, Stage::Waiting(_))
            && self.unseen <= MAX_UNSEEN
        {
            // nothing of it has left yet: what waits is still whole
            self.stage = Stage::Picking;
        } else {
            self.protocol.handle_disconnect(why);
        }
    }

    /// Resets the stream if the call's end asks for it, and lets go of it once the call is over.
    fn settle(&mut self) {
        if let Some(code) = self.protocol.wants_reset()
            && let Stage::Open(stream) = &mut self.stage
        {
            on_stream!(stream, s => s.reset(code));
        }
        if self.protocol.is_ended() && !matches!(self.stage, Stage::Done) {
            self.stage = Stage::Done;
            self.timer = None;
            self.replay.commit();
            self.unsent = Vec::new();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.protocol.is_ended() {
            self.cancel();
        }
        if !self.observers.is_empty() {
            // whoever watches hears the end even if the caller does not wait for it
            while let Some(mut event) = self.protocol.poll_event() {
                if matches!(event, ClientEvent::Status(..)) {
                    self.observe(&mut event);
                }
            }
        }
    }
}
