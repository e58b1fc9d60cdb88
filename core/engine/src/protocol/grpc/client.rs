//! The client side of a gRPC stream: request headers out, response blocks and bytes in.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};

use super::fields::{
    self, ACCEPT, APPLICATION_GRPC, GRPC_ACCEPT_ENCODING, GRPC_ENCODING,
    GRPC_PREVIOUS_RPC_ATTEMPTS, GRPC_TIMEOUT, Once, ResponseBlock, TRAILERS,
};
use super::reset_code;
use crate::call::{Abort, ClientCall, ClientCallOptions, ClientEvent, MethodKind};
use crate::compression::Encoding;
use crate::deadline::Timeout;
use crate::frame::FrameBytes;
use crate::metadata::{Metadata, MetadataLimits};
use crate::status::{Code, Status};
use crate::time::Time;

/// Most of a foreign answer's body that goes into the status text.
const FOREIGN_BODY_BYTES: usize = 1024;

/// What a request's headers are made of.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Time left until the deadline; `None` sends no `grpc-timeout`. Zero goes as `1n`: the caller fails an
    /// expired call before it gets here.
    pub timeout: Option<Duration>,
    /// Coding of the messages that will be compressed; [`Encoding::Identity`] sends no `grpc-encoding`.
    pub encoding: Encoding,
    /// The application's metadata.
    pub metadata: &'a Metadata,
    /// Who we are; made once per channel.
    pub user_agent: &'a HeaderValue,
    /// Attempts before this one, transparent retries not counted; 0 sends no field.
    pub previous_attempts: u32,
}

/// The request's header fields, without the pseudo-headers.
pub fn request_headers(head: &RequestHead<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(7 + head.metadata.len());
    // SHOULD be first, so that it is read even by who reads no further
    if let Some(timeout) = head.timeout
        && let Ok(value) = HeaderValue::from_bytes(Timeout(timeout).text().as_bytes())
    {
        headers.append(&GRPC_TIMEOUT, value);
    }
    headers.append(TE, TRAILERS);
    headers.append(CONTENT_TYPE, APPLICATION_GRPC);
    headers.append(USER_AGENT, head.user_agent.clone());
    headers.append(&GRPC_ACCEPT_ENCODING, ACCEPT);
    if head.encoding != Encoding::Identity {
        headers.append(&GRPC_ENCODING, head.encoding.header_value());
    }
    head.metadata.write_to(&mut headers);
    if head.previous_attempts > 0 {
        headers.insert(&GRPC_PREVIOUS_RPC_ATTEMPTS, fields::number_value(head.previous_attempts));
    }
    headers
}

/// What a client stream is made with.
#[derive(Debug, Clone, Copy)]
pub struct ClientStreamOptions {
    /// How many messages go each way.
    pub kind: MethodKind,
    /// When the call ends by itself; `None` is never.
    pub deadline: Option<Time>,
    /// Longest response message, on the wire and decompressed. Default 4 MiB.
    pub max_receive_message_bytes: usize,
    /// Longest request message. Default none.
    pub max_send_message_bytes: usize,
    /// Most metadata in one response block, in bytes: the sum of name + value + 32. Default 16 KiB.
    pub max_metadata_bytes: usize,
    /// Most fields in one response block. Default 128.
    pub max_metadata_fields: usize,
    /// Coding of request messages that ask to be compressed.
    pub encoding: Encoding,
}

impl Default for ClientStreamOptions {
    fn default() -> ClientStreamOptions {
        let limits = MetadataLimits::default();
        ClientStreamOptions {
            kind: MethodKind::UNARY,
            deadline: None,
            max_receive_message_bytes: crate::call::DEFAULT_MAX_RECEIVE_MESSAGE_BYTES,
            max_send_message_bytes: usize::MAX,
            max_metadata_bytes: limits.max_bytes,
            max_metadata_fields: limits.max_fields,
            encoding: Encoding::Identity,
        }
    }
}

/// Where the response stands.
#[derive(Debug)]
enum Reading {
    /// No headers yet.
    Start,
    /// Headers came, messages may follow.
    Messages,
    /// Headers came that hold a status but no END_STREAM: the whole answer, if nothing follows.
    EarlyStatus(Box<EarlyStatus>),
    /// The answer of something that speaks no gRPC: its body is read for the text.
    Foreign(Box<Foreign>),
}

#[derive(Debug)]
struct EarlyStatus {
    status: Status,
    metadata: Metadata,
    coding: Option<Encoding>,
    /// What a body behind these headers would be, if not messages.
    foreign: Option<Box<Foreign>>,
}

#[derive(Debug)]
struct Foreign {
    http_status: u16,
    content_type: Option<HeaderValue>,
    body: Vec<u8>,
}

/// One attempt at a call on one HTTP/2 stream: its response, and what frames its request messages.
#[derive(Debug)]
pub struct ClientStream {
    call: ClientCall,
    reading: Reading,
    limits: MetadataLimits,
}

impl ClientStream {
    /// A stream whose request headers are about to go out.
    pub fn new(options: ClientStreamOptions) -> ClientStream {
        ClientStream {
            call: ClientCall::new(&ClientCallOptions {
                kind: options.kind,
                deadline: options.deadline,
                max_receive_message_bytes: options.max_receive_message_bytes,
                max_send_message_bytes: options.max_send_message_bytes,
                encoding: options.encoding,
            }),
            reading: Reading::Start,
            limits: MetadataLimits {
                max_bytes: options.max_metadata_bytes,
                max_fields: options.max_metadata_fields,
            },
        }
    }

    /// A header block of the response; 1xx blocks never arrive here. With `end_stream` it is Trailers-Only.
    pub fn handle_headers(&mut self, http_status: u16, headers: HeaderMap, end_stream: bool) {
        if self.call.is_ended() {
            return;
        }
        if !matches!(self.reading, Reading::Start) {
            if end_stream {
                return self.handle_trailers(headers);
            }
            let status = Status::new(Code::Internal, "a second header block inside the response");
            return self.call.end_by(status, Abort::Violation);
        }
        let (block, outcome) = ResponseBlock::read(headers, self.limits);
        let grpc = match &block.content_type {
            Once::Value(value) => fields::is_grpc(value.as_bytes()),
            _ => false,
        };
        if end_stream {
            if !block.has_status() {
                let content_type = only(block.content_type);
                let foreign = Foreign { http_status, content_type, body: Vec::new() };
                let status = if grpc && http_status == 200 {
                    Status::new(Code::Unknown, "trailers without grpc-status")
                } else {
                    foreign.status()
                };
                return self.call.handle_status(status, block.metadata);
            }
            return self.finish(block, outcome);
        }
        if let Err(error) = outcome {
            return self.call.end(error.into());
        }
        let coding = match &block.encoding {
            Once::Absent => Some(Encoding::Identity),
            Once::Value(value) => Encoding::from_name(value.as_bytes()),
            Once::Differs => None,
        };
        let status = block.status();
        let metadata = block.metadata;
        let foreign = (http_status != 200 || !grpc).then(|| {
            let content_type = only(block.content_type);
            Box::new(Foreign { http_status, content_type, body: Vec::new() })
        });
        match (status, foreign) {
            (None, None) => {
                self.reading = Reading::Messages;
                self.call.handle_headers(metadata, coding);
            }
            (None, Some(foreign)) => self.reading = Reading::Foreign(foreign),
            (Some(status), foreign) => {
                let early = EarlyStatus { status, metadata, coding, foreign };
                self.reading = Reading::EarlyStatus(Box::new(early));
            }
        }
    }

    /// A chunk of the response's body, cut anywhere.
    pub fn handle_data(&mut self, data: Bytes) {
        match &mut self.reading {
            Reading::Messages => self.call.handle_data(data),
            _ if data.is_empty() || self.call.is_ended() => {}
            Reading::Start => {
                let status = Status::new(Code::Internal, "data before the response headers");
                self.call.end_by(status, Abort::Violation);
            }
            Reading::EarlyStatus(early) => {
                // the status in the headers does not count, since it was not the end: what counts is in the
                // trailers, and the metadata beside it was initial metadata
                let metadata = std::mem::take(&mut early.metadata);
                let coding = early.coding;
                if let Some(foreign) = early.foreign.take() {
                    self.reading = Reading::Foreign(foreign);
                } else {
                    self.reading = Reading::Messages;
                    self.call.handle_headers(metadata, coding);
                }
                self.handle_data(data);
            }
            Reading::Foreign(foreign) => {
                let room = FOREIGN_BODY_BYTES.saturating_sub(foreign.body.len());
                foreign.body.extend_from_slice(&data[..room.min(data.len())]);
                if data.len() >= room {
                    let status = foreign.status();
                    self.call.end(status);
                }
            }
        }
    }

    /// The trailer block, and with it the end of the response.
    pub fn handle_trailers(&mut self, trailers: HeaderMap) {
        if self.call.is_ended() {
            return;
        }
        let (block, outcome) = ResponseBlock::read(trailers, self.limits);
        if !block.has_status() {
            let status = match &self.reading {
                Reading::Foreign(foreign) => foreign.status(),
                _ => Status::new(Code::Unknown, "trailers without grpc-status"),
            };
            return self.call.handle_status(status, block.metadata);
        }
        self.finish(block, outcome);
    }

    /// END_STREAM on a DATA frame: the response ended without trailers.
    pub fn handle_end(&mut self) {
        let status = match &mut self.reading {
            Reading::EarlyStatus(early) => {
                let status = std::mem::take(&mut early.status);
                let trailers = std::mem::take(&mut early.metadata);
                return self.call.handle_status(status, trailers);
            }
            Reading::Foreign(foreign) => foreign.status(),
            _ => Status::new(Code::Internal, "the response ended without trailers"),
        };
        self.call.handle_status(status, Metadata::new());
    }

    /// The peer reset the stream, `now` being when it was read: a CANCEL at the deadline, or less than 10 ms
    /// before it, is the deadline. Without effect once trailers came.
    pub fn handle_reset(&mut self, http2_code: u32, now: Time) {
        self.call.handle_clock(now);
        self.call.handle_loss(Status::from_reset(http2_code));
    }

    /// The connection is lost; `text` says how.
    pub fn handle_disconnect(&mut self, text: &str) {
        if !self.call.is_ended() {
            self.call.handle_loss(Status::new(Code::Unavailable, text.to_owned()));
        }
    }

    /// It is `now`: ends the call if its deadline has passed. Called at the start of a turn, before what the
    /// wire brought, it also lets a late `CANCELLED` of the peer be told as the deadline it is.
    pub fn handle_time(&mut self, now: Time) {
        self.call.handle_time(now);
    }

    fn finish(
        &mut self,
        block: ResponseBlock,
        outcome: Result<(), crate::metadata::MetadataError>,
    ) {
        let Some(status) = block.status() else { return };
        match outcome {
            Ok(()) => self.call.handle_status(status, block.metadata),
            Err(error) => {
                let text = format!("{error}; the peer's status was {status}");
                self.call.handle_status(Status::new(error.code(), text), Metadata::new());
            }
        }
    }

    /// Frames one request message; compressed if `compress` and the stream has an encoding.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` over the send limit; `INTERNAL` for a second message of a method that takes one;
    /// the call's status once it ended. The call itself goes on: [`ClientStream::end`] ends it.
    pub fn encode_message(&mut self, message: Bytes, compress: bool) -> Result<FrameBytes, Status> {
        self.call.encode_message(message, compress)
    }

    /// As [`ClientStream::encode_message`], for a message written behind five free bytes: nothing is copied.
    ///
    /// # Errors
    /// As [`ClientStream::encode_message`].
    pub fn encode_in_place(
        &mut self,
        framed: BytesMut,
        compress: bool,
    ) -> Result<FrameBytes, Status> {
        self.call.encode_in_place(framed, compress)
    }

    /// The request is complete: END_STREAM goes out. Whoever leaves this out has the stream reset with
    /// NO_ERROR when the status comes.
    pub fn half_close(&mut self) {
        self.call.half_close();
    }

    /// Ends the call here: a cancel or a local failure. It becomes the status unless there is one.
    pub fn end(&mut self, status: Status) {
        self.call.end(status);
    }

    /// What the caller should hear next; `None` until something comes. Messages are cut and decompressed here.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.call.poll_event()
    }

    /// The HTTP/2 code to reset the stream with, once, if it must be reset: CANCEL when the call ended here,
    /// NO_ERROR when the answer was complete before the request was. Ask after every `handle_*`,
    /// [`ClientStream::end`] and [`ClientStream::poll_event`].
    pub fn wants_reset(&mut self) -> Option<u32> {
        self.call.take_abort().map(reset_code)
    }

    /// Whether the call is over for the wire and the clock. Events may still wait to be polled.
    pub fn is_ended(&self) -> bool {
        self.call.is_ended()
    }

    /// How the call ended, once that is certain: not before the messages that came with the peer's status
    /// were polled.
    pub fn status(&self) -> Option<&Status> {
        self.call.status()
    }

    /// Whether gRPC response headers came. Trailers-Only, and the answer of something that speaks no gRPC, are
    /// none: the attempt may still be retried.
    pub fn saw_response_headers(&self) -> bool {
        self.call.saw_headers()
    }

    /// When the call ends by itself.
    pub fn deadline(&self) -> Option<Time> {
        self.call.deadline()
    }
}

fn only(field: Once) -> Option<HeaderValue> {
    match field {
        Once::Value(value) => Some(value),
        _ => None,
    }
}

impl Foreign {
    /// What came instead of gRPC, told in the words of gRPC.
    #[cold]
    fn status(&self) -> Status {
        let mut text = format!("no gRPC answer: HTTP status {}", self.http_status);
        match &self.content_type {
            Some(content_type) => {
                text.push_str(", content-type ");
                text.push_str(&String::from_utf8_lossy(content_type.as_bytes()));
            }
            None => text.push_str(", no content-type"),
        }
        if !self.body.is_empty() {
            text.push_str(": ");
            text.push_str(&String::from_utf8_lossy(&self.body));
        }
        Status::new(Code::from_http_status(self.http_status), text)
    }
}
