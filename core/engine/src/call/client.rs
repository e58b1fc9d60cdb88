//! A call as its client sees it: what the peer sends goes in, events come out, the status comes last.
//!
//! Messages are cut and decompressed only when asked for, so a slow reader costs no work and no memory beyond
//! the bytes on hand. The status waits behind the messages that came before it. A method with one response
//! gives it out only once the peer said OK: a caller never holds an answer of a call that failed.
//! Spec: gRPC PROTOCOL-HTTP2.md, "Responses"; statuscodes.md for wrong numbers of messages.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::messages::{Inbound, Outbound};
use super::{Abort, MethodKind};
use crate::compression::Encoding;
use crate::deadline::Deadline;
use crate::frame::FrameBytes;
use crate::metadata::Metadata;
use crate::status::{Code, Origin, Status};
use crate::time::Time;

/// A peer that watches the same deadline may cancel a moment before our own timer rings.
const DEADLINE_GRACE: Duration = Duration::from_millis(10);

/// What a client call is made with.
#[derive(Debug, Clone, Copy)]
pub struct ClientCallOptions {
    /// How many messages go each way.
    pub kind: MethodKind,
    /// When the call ends by itself; `None` is never.
    pub deadline: Option<Time>,
    /// Longest response message, on the wire and decompressed.
    pub max_receive_message_bytes: usize,
    /// Longest request message, before compression.
    pub max_send_message_bytes: usize,
    /// Coding of request messages that ask to be compressed.
    pub encoding: Encoding,
}

/// What a client call tells its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Initial metadata, at most once and before any message; a call may end without it.
    Headers(Metadata),
    /// One response message.
    Message(Bytes),
    /// How the call ended, with trailing metadata; exactly once, and last.
    Status(Status, Metadata),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer may send more.
    Open,
    /// The peer ended the call; messages that came before may still be unread.
    PeerEnded,
    /// The status is decided, and not told yet.
    Ended,
    /// The caller has the status.
    Told,
}

/// One attempt at an RPC, client side.
#[derive(Debug)]
pub struct ClientCall {
    kind: MethodKind,
    phase: Phase,
    deadline: Deadline,
    /// The latest time anybody told us.
    now: Time,
    inbound: Inbound,
    outbound: Outbound,
    headers: Option<Metadata>,
    saw_headers: bool,
    request_done: bool,
    /// The stream broke: half a message at its end is a consequence, not a fault.
    lost: bool,
    /// The one response of a unary method, until the status allows it.
    answer: Option<Bytes>,
    /// Set from `PeerEnded` on.
    status: Status,
    trailers: Metadata,
    abort: Option<Abort>,
}

impl ClientCall {
    /// A call that has sent nothing yet.
    pub fn new(options: &ClientCallOptions) -> ClientCall {
        ClientCall {
            kind: options.kind,
            phase: Phase::Open,
            deadline: options.deadline.into(),
            now: Time::ZERO,
            inbound: Inbound::new(Some(Encoding::Identity), options.max_receive_message_bytes),
            outbound: Outbound::new(
                options.encoding,
                options.max_send_message_bytes,
                !options.kind.client_streaming,
            ),
            headers: None,
            saw_headers: false,
            request_done: false,
            lost: false,
            answer: None,
            status: Status::ok(),
            trailers: Metadata::new(),
            abort: None,
        }
    }

    /// The response began. `coding` is that of its messages, `None` one we do not know.
    pub fn handle_headers(&mut self, metadata: Metadata, coding: Option<Encoding>) {
        if self.phase == Phase::Open && !self.saw_headers {
            self.inbound.set_coding(coding);
            self.headers = Some(metadata);
            self.saw_headers = true;
        }
    }

    /// Bytes of the response's messages, cut anywhere.
    pub fn handle_data(&mut self, data: Bytes) {
        if self.phase == Phase::Open {
            self.inbound.push(data);
        }
    }

    /// The peer ended the call in good order. Messages that came whole before are still delivered. A
    /// `CANCELLED` once our deadline has passed is the deadline.
    pub fn handle_status(&mut self, status: Status, trailers: Metadata) {
        if self.phase == Phase::Open {
            if !self.request_done {
                self.abort = Some(Abort::Enough);
            }
            self.close(status, trailers, self.now);
        }
    }

    /// The peer's stream is gone (reset or connection lost): as [`ClientCall::handle_status`], and there is
    /// nothing left to break off. Half a message at the end is no fault of its own here, and a `CANCELLED` less
    /// than 10 ms before our deadline is the deadline as the peer's clock saw it.
    pub fn handle_loss(&mut self, status: Status) {
        if self.phase == Phase::Open {
            self.request_done = true;
            self.lost = true;
            self.close(status, Metadata::new(), self.now + DEADLINE_GRACE);
        }
    }

    fn close(&mut self, status: Status, trailers: Metadata, now: Time) {
        self.phase = Phase::PeerEnded;
        if status.code() == Code::Cancelled && self.deadline.is_past(now) {
            return self.decide(deadline_exceeded());
        }
        self.status = status;
        self.trailers = trailers;
        if !self.inbound.is_mid_message() {
            self.settle();
        }
    }

    /// It is `now`: ends the call if its deadline has passed. Unread messages are dropped then.
    pub fn handle_time(&mut self, now: Time) {
        self.now = self.now.max(now);
        if self.phase == Phase::Open && self.deadline.is_past(now) {
            self.fail(deadline_exceeded(), Abort::Cancel);
        }
    }

    /// It is `now`, said beside something else that is handled next and wins over the deadline.
    pub fn handle_clock(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Ends the call here: a cancel or a local failure. Without effect once the peer has ended it. Unread
    /// messages are dropped.
    pub fn end(&mut self, status: Status) {
        self.end_by(status, Abort::Cancel);
    }

    /// As [`ClientCall::end`], saying how the stream is to be broken off.
    pub fn end_by(&mut self, status: Status, abort: Abort) {
        if self.phase == Phase::Open {
            let expired = status.code() == Code::Cancelled && self.deadline.is_past(self.now);
            self.fail(if expired { deadline_exceeded() } else { status }, abort);
        }
    }

    /// Frames one request message, compressed if `compress` and an encoding was set.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` over the send limit; `INTERNAL` for a second message of a method that takes one;
    /// the call's own status once it ended. The call itself goes on.
    pub fn encode_message(&mut self, message: Bytes, compress: bool) -> Result<FrameBytes, Status> {
        self.sendable()?;
        self.outbound.encode(message, compress)
    }

    /// As [`ClientCall::encode_message`], for a message written behind five free bytes: nothing is copied.
    ///
    /// # Errors
    /// As [`ClientCall::encode_message`].
    pub fn encode_in_place(
        &mut self,
        framed: BytesMut,
        compress: bool,
    ) -> Result<FrameBytes, Status> {
        self.sendable()?;
        self.outbound.encode_in_place(framed, compress)
    }

    fn sendable(&self) -> Result<(), Status> {
        match self.phase {
            Phase::Open if !self.request_done => Ok(()),
            Phase::Open => Err(Status::new(Code::Internal, "message after the end of the request")),
            _ => Err(self.status.clone()),
        }
    }

    /// The request is complete: END_STREAM went out or goes with the last message.
    pub fn half_close(&mut self) {
        self.request_done = true;
    }

    /// What the caller should hear next; `None` until something comes.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        if let Some(headers) = self.headers.take() {
            return Some(ClientEvent::Headers(headers));
        }
        while matches!(self.phase, Phase::Open | Phase::PeerEnded) {
            match self.inbound.poll() {
                Ok(Some(message)) if self.kind.server_streaming => {
                    return Some(ClientEvent::Message(message));
                }
                Ok(Some(_)) if self.answer.is_some() => {
                    self.fail(
                        Status::new(
                            Code::Unimplemented,
                            "two responses to a method that gives one",
                        ),
                        Abort::Cancel,
                    );
                }
                Ok(Some(message)) => self.answer = Some(message),
                Ok(None) if self.phase == Phase::Open => return None,
                Ok(None) => self.settle(),
                Err(status) => self.fail(status, Abort::Cancel),
            }
        }
        if self.phase == Phase::Told {
            return None;
        }
        if let Some(answer) = self.answer.take() {
            return Some(ClientEvent::Message(answer));
        }
        self.phase = Phase::Told;
        Some(ClientEvent::Status(self.status.clone(), std::mem::take(&mut self.trailers)))
    }

    /// All messages before the peer's status are read: is it the status of this call?
    fn settle(&mut self) {
        self.phase = Phase::Ended;
        if self.inbound.is_mid_message() && !self.lost {
            let text = if self.status.is_ok() {
                "the response ended inside a message".into()
            } else {
                format!(
                    "the response ended inside a message; the peer's status was {}",
                    self.status
                )
            };
            self.decide(Status::new(Code::Internal, text));
        } else if !self.status.is_ok() {
            self.answer = None;
        } else if !self.kind.server_streaming && self.answer.is_none() {
            self.decide(Status::new(Code::Unimplemented, "OK without the response message"));
        }
    }

    fn decide(&mut self, status: Status) {
        self.phase = Phase::Ended;
        self.answer = None;
        self.status = status;
        self.inbound.clear();
    }

    /// The call ends here, not by the peer.
    fn fail(&mut self, status: Status, abort: Abort) {
        if self.phase == Phase::Open {
            self.abort = Some(abort);
        }
        self.trailers = Metadata::new();
        self.decide(status);
    }

    /// Once, if the stream must be broken off.
    pub fn take_abort(&mut self) -> Option<Abort> {
        self.abort.take()
    }

    /// Whether the call is over for the wire and the clock: ended by the peer or here. Messages and the
    /// status may still wait to be polled.
    pub fn is_ended(&self) -> bool {
        self.phase != Phase::Open
    }

    /// How the call ended, once that is certain: not before the messages that came with the peer's status
    /// have been polled, since one of them may be broken.
    pub fn status(&self) -> Option<&Status> {
        matches!(self.phase, Phase::Ended | Phase::Told).then_some(&self.status)
    }

    /// Whether response headers came, other than those of an immediate failure: from here on a retry is no
    /// longer possible.
    pub fn saw_headers(&self) -> bool {
        self.saw_headers
    }

    /// When the call ends by itself.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline.time()
    }

    /// The coding of request messages that ask to be compressed.
    pub fn encoding(&self) -> Encoding {
        self.outbound.encoding
    }
}

fn deadline_exceeded() -> Status {
    Status::new(Code::DeadlineExceeded, "deadline exceeded").with_origin(Origin::Local)
}

#[cfg(test)]
mod tests;
