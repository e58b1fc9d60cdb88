//! The server side of a gRPC stream: request headers judged, request bytes in, response blocks out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Method};

use super::fields::{
    self, ACCEPT, APPLICATION_GRPC, Budget, Field, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, Once,
    write_status,
};
use super::{PROTOCOL_ERROR, reset_code};
use crate::call::{MethodKind, ServerCall, ServerCallOptions, ServerEvent};
use crate::compression::{Encoding, EncodingSet};
use crate::deadline::Timeout;
use crate::frame::FrameBytes;
use crate::metadata::{Metadata, MetadataLimits};
use crate::status::{Code, Status};
use crate::time::Time;

/// A request's header block as the transport read it.
#[derive(Debug, Default)]
pub struct IncomingHead {
    /// `:method`.
    pub method: Method,
    /// `:path`, byte for byte.
    pub path: Bytes,
    /// `:authority`, if there was one.
    pub authority: Option<String>,
    /// All other fields.
    pub headers: HeaderMap,
}

/// What a server accepts in a header block.
pub type ServerLimits = MetadataLimits;

/// What becomes of a request.
#[derive(Debug)]
pub enum Accepted {
    /// It is a gRPC call; the router looks at its path.
    Call(Box<ServerHead>),
    /// It is answered at once, with END_STREAM, and no handler hears of it.
    Reject(Rejection),
    /// Its stream is reset with this HTTP/2 code.
    Reset(u32),
}

/// An answer of one header block with END_STREAM.
#[derive(Debug)]
pub struct Rejection {
    /// `:status`.
    pub http_status: u16,
    /// All other fields.
    pub headers: HeaderMap,
}

/// A request's head in the words of gRPC.
#[derive(Debug, Clone)]
pub struct ServerHead {
    /// `/package.Service/Method`, byte for byte as it came: what interceptors and router both read.
    pub path: String,
    /// The virtual host: `:authority`, or `host` where that is missing.
    pub authority: Option<String>,
    /// The application's metadata, `user-agent` among it.
    pub metadata: Metadata,
    /// Time until the client's deadline; `None` is for ever.
    pub timeout: Option<Duration>,
    /// The coding of request messages.
    pub encoding: Encoding,
    /// The codings the client reads.
    pub accept: EncodingSet,
}

impl ServerHead {
    /// Who the client says it is.
    pub fn user_agent(&self) -> Option<&str> {
        self.metadata.get("user-agent").and_then(|value| value.as_str())
    }
}

/// A path's service and method: `/a.B/C` is `("a.B", "C")`. `None` if it has not two segments. Nothing is
/// decoded, normalised or cut: any other spelling is another, unknown, method.
pub fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.split_once('/')
}

/// A Trailers-Only answer under HTTP 200.
pub fn reject(status: &Status) -> Rejection {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    write_status(status, &mut headers);
    Rejection { http_status: 200, headers }
}

fn plain(http_status: u16) -> Accepted {
    Accepted::Reject(Rejection { http_status, headers: HeaderMap::new() })
}

fn refuse(code: Code, text: &'static str) -> Accepted {
    Accepted::Reject(reject(&Status::new(code, text)))
}

/// The fields of a request, sorted.
#[derive(Default)]
struct RequestBlock {
    content_type: Once,
    timeout: Once,
    encoding: Once,
    host: Option<HeaderValue>,
    two_hosts: bool,
    accept: EncodingSet,
    metadata: Metadata,
}

/// Judges a request by its headers. Whether service and method exist is the router's question; it answers with
/// [`reject`].
///
/// In this order: fields HTTP/2 forbids (reset PROTOCOL_ERROR), authority (HTTP 400), method (HTTP 405), content
/// type (HTTP 415), size of the metadata (`RESOURCE_EXHAUSTED`), message codec and coding (`UNIMPLEMENTED`),
/// timeout and `-bin` values (`INTERNAL`), a timeout of zero (`DEADLINE_EXCEEDED`).
pub fn accept(head: IncomingHead, limits: &ServerLimits) -> Accepted {
    let IncomingHead { method, path, authority, headers } = head;
    let mut block = RequestBlock::default();
    let mut budget = Budget::new(*limits);
    budget.add_bytes(path.len() + authority.as_ref().map_or(0, String::len));
    let mut bad_metadata = None;
    let (mut name, mut field): (HeaderName, Field) = (CONTENT_TYPE, Field::Ignored);
    for (next, value) in headers {
        if let Some(next) = next {
            field = fields::classify(next.as_str());
            name = next;
        }
        budget.add(name.as_str(), &value);
        match field {
            Field::ContentType => block.content_type.add(value),
            Field::Te if value.as_bytes() != b"trailers" => return Accepted::Reset(PROTOCOL_ERROR),
            Field::HopByHop => return Accepted::Reset(PROTOCOL_ERROR),
            Field::Host => block.two_hosts = block.host.replace(value).is_some(),
            Field::Timeout => block.timeout.add(value),
            Field::Encoding => block.encoding.add(value),
            Field::AcceptEncoding => {
                block.accept = block.accept.union(EncodingSet::parse(value.as_bytes()));
            }
            Field::Custom | Field::UserAgent
                if bad_metadata.is_none() && budget.check().is_ok() =>
            {
                bad_metadata = block.metadata.receive(&name, value, *limits).err();
            }
            _ => {}
        }
    }
    let Some(authority) = the_authority(authority, &block) else { return plain(400) };
    if method != Method::POST {
        let mut headers = HeaderMap::with_capacity(1);
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
        return Accepted::Reject(Rejection { http_status: 405, headers });
    }
    let subtype = match &block.content_type {
        Once::Value(value) => fields::subtype(value.as_bytes()),
        _ => None,
    };
    let Some(subtype) = subtype else { return plain(415) };
    if let Err(error) = budget.check() {
        return Accepted::Reject(reject(&error.into()));
    }
    if !(subtype.is_empty() || subtype.eq_ignore_ascii_case(b"proto")) {
        return refuse(Code::Unimplemented, "unknown message codec in content-type");
    }
    let encoding = match &block.encoding {
        Once::Absent => Some(Encoding::Identity),
        Once::Value(value) => Encoding::from_name(value.as_bytes()),
        Once::Differs => None,
    };
    let Some(encoding) = encoding else {
        let mut rejection = reject(&Status::new(Code::Unimplemented, "unknown grpc-encoding"));
        rejection.headers.insert(&GRPC_ACCEPT_ENCODING, ACCEPT);
        return Accepted::Reject(rejection);
    };
    let timeout = match &block.timeout {
        Once::Absent => None,
        Once::Value(value) => match Timeout::parse(value.as_bytes()) {
            Ok(timeout) => Some(timeout.0),
            Err(error) => {
                return Accepted::Reject(reject(&Status::new(Code::Internal, error.to_string())));
            }
        },
        Once::Differs => {
            return refuse(Code::Internal, "grpc-timeout came twice with different values");
        }
    };
    if let Some(error) = bad_metadata {
        return Accepted::Reject(reject(&error.into()));
    }
    if timeout == Some(Duration::ZERO) {
        return refuse(Code::DeadlineExceeded, "the deadline had passed on arrival");
    }
    let Ok(path) = String::from_utf8(path.into()) else {
        return refuse(Code::Unimplemented, "unknown method: the path is not UTF-8");
    };
    Accepted::Call(Box::new(ServerHead {
        path,
        authority,
        metadata: block.metadata,
        timeout,
        encoding,
        accept: block.accept,
    }))
}

/// The virtual host (gRFC A41: `host` counts only where `:authority` is missing); `None` if there is no telling.
fn the_authority(authority: Option<String>, block: &RequestBlock) -> Option<Option<String>> {
    let authority = match authority {
        Some(authority) => authority,
        None if block.two_hosts => return None,
        None => match &block.host {
            None => return Some(None),
            Some(host) => String::from_utf8(host.as_bytes().to_vec()).ok()?,
        },
    };
    // user-info is no part of a virtual host
    (!authority.contains('@')).then_some(Some(authority))
}

/// What a server stream is made with.
#[derive(Debug, Clone, Copy)]
pub struct ServerStreamOptions {
    /// Longest request message, on the wire and decompressed. Default 4 MiB.
    pub max_receive_message_bytes: usize,
    /// Longest response message. Default none.
    pub max_send_message_bytes: usize,
    /// When the call ends by itself: the moment of arrival plus [`ServerHead::timeout`].
    pub deadline: Option<Time>,
    /// The coding the server wishes for its answers; used if the client reads it.
    pub compression: Option<Encoding>,
}

impl Default for ServerStreamOptions {
    fn default() -> ServerStreamOptions {
        ServerStreamOptions {
            max_receive_message_bytes: crate::call::DEFAULT_MAX_RECEIVE_MESSAGE_BYTES,
            max_send_message_bytes: usize::MAX,
            deadline: None,
            compression: None,
        }
    }
}

/// How a call ends on the wire; every block named here goes out, the last one with END_STREAM.
#[derive(Debug)]
pub enum Finish {
    /// Headers and trailers in one block: nothing was sent before.
    TrailersOnly(HeaderMap),
    /// The headers went out before.
    Trailers(HeaderMap),
    /// The headers did not go out, and there is initial metadata to put into them.
    HeadersAndTrailers {
        /// The header block, without END_STREAM.
        headers: HeaderMap,
        /// The trailer block.
        trailers: HeaderMap,
    },
    /// Nothing is to be sent: the call has ended, or the client is gone.
    AlreadyEnded,
}

/// One accepted call on one HTTP/2 stream.
#[derive(Debug)]
pub struct ServerStream {
    call: ServerCall,
    accept: EncodingSet,
    /// The client compresses: it is told what we read.
    tell_accept: bool,
    headers_sent: bool,
}

impl ServerStream {
    /// A stream whose head was accepted, for a method of this kind.
    pub fn new(head: &ServerHead, kind: MethodKind, options: ServerStreamOptions) -> ServerStream {
        let wish = options.compression.unwrap_or_default();
        ServerStream {
            call: ServerCall::new(&ServerCallOptions {
                kind,
                deadline: options.deadline,
                max_receive_message_bytes: options.max_receive_message_bytes,
                max_send_message_bytes: options.max_send_message_bytes,
                request_encoding: head.encoding,
                response_encoding: if head.accept.contains(wish) {
                    wish
                } else {
                    Encoding::Identity
                },
            }),
            accept: head.accept,
            tell_accept: head.encoding != Encoding::Identity,
            headers_sent: false,
        }
    }

    /// A chunk of the request's body, cut anywhere.
    pub fn handle_data(&mut self, data: Bytes) {
        self.call.handle_data(data);
    }

    /// END_STREAM, with or without request trailers (gRPC has none: they are ignored).
    pub fn handle_end(&mut self) {
        self.call.handle_end();
    }

    /// The client reset the stream.
    pub fn handle_reset(&mut self, http2_code: u32) {
        let reset = Status::from_reset(http2_code);
        let text = reset.message().to_owned();
        self.call.handle_gone(Status::new(Code::Cancelled, text).with_origin(reset.origin()));
    }

    /// The connection is lost.
    pub fn handle_disconnect(&mut self) {
        self.call.handle_gone(Status::new(Code::Cancelled, "the connection to the client is lost"));
    }

    /// It is `now`: ends the call if its deadline has passed.
    pub fn handle_time(&mut self, now: Time) {
        self.call.handle_time(now);
    }

    /// What the engine or the handler should hear next; `None` until something comes. Messages are cut and
    /// decompressed here. After [`ServerEvent::Failed`], and after [`ServerEvent::Cancelled`] with
    /// `DEADLINE_EXCEEDED`, the engine calls [`ServerStream::finish`] at once.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.call.poll_event()
    }

    /// The response's header block; `None` if it was sent already or the call has ended. Called at the latest
    /// before the first message.
    pub fn send_headers(&mut self, metadata: &Metadata) -> Option<HeaderMap> {
        if self.headers_sent || self.call.is_ended() {
            return None;
        }
        Some(self.headers(metadata))
    }

    fn headers(&mut self, metadata: &Metadata) -> HeaderMap {
        self.headers_sent = true;
        let mut headers = HeaderMap::with_capacity(3 + metadata.len());
        headers.append(CONTENT_TYPE, APPLICATION_GRPC);
        let encoding = self.call.response_encoding();
        if encoding != Encoding::Identity {
            headers.append(&GRPC_ENCODING, encoding.header_value());
        }
        if self.tell_accept {
            headers.append(&GRPC_ACCEPT_ENCODING, ACCEPT);
        }
        metadata.write_to(&mut headers);
        headers
    }

    /// Frames one response message; compressed if `compress` and the stream has a coding the client reads.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` over the send limit; `INTERNAL` for a second message of a method that gives one;
    /// the call's status once it ended.
    pub fn encode_message(&mut self, message: Bytes, compress: bool) -> Result<FrameBytes, Status> {
        self.call.encode_message(message, compress)
    }

    /// As [`ServerStream::encode_message`], for a message written behind five free bytes: nothing is copied.
    ///
    /// # Errors
    /// As [`ServerStream::encode_message`].
    pub fn encode_in_place(
        &mut self,
        framed: BytesMut,
        compress: bool,
    ) -> Result<FrameBytes, Status> {
        self.call.encode_in_place(framed, compress)
    }

    /// Asks for a coding of the response messages. Without effect if the client does not read it, or after the
    /// headers, which name it.
    pub fn set_compression(&mut self, encoding: Encoding) {
        if !self.headers_sent && self.accept.contains(encoding) {
            self.call.set_response_encoding(encoding);
        }
    }

    /// Ends the call with the handler's `status`, or with what came before it: a passed deadline, a request that
    /// broke a rule. `headers` is initial metadata that was not sent.
    ///
    /// With nothing sent and no initial metadata the answer is one block (Trailers-Only), which keeps a failed
    /// call open to a retry.
    pub fn finish(&mut self, status: &Status, trailers: &Metadata, headers: &Metadata) -> Finish {
        let Some(status) = self.call.finish(status) else { return Finish::AlreadyEnded };
        if self.headers_sent {
            let mut block = HeaderMap::with_capacity(3 + trailers.len());
            write_status(&status, &mut block);
            trailers.write_to(&mut block);
            return Finish::Trailers(block);
        }
        if headers.is_empty() {
            self.headers_sent = true;
            let mut block = HeaderMap::with_capacity(4 + trailers.len());
            block.append(CONTENT_TYPE, APPLICATION_GRPC);
            write_status(&status, &mut block);
            trailers.write_to(&mut block);
            return Finish::TrailersOnly(block);
        }
        let headers = self.headers(headers);
        let mut block = HeaderMap::with_capacity(3 + trailers.len());
        write_status(&status, &mut block);
        trailers.write_to(&mut block);
        Finish::HeadersAndTrailers { headers, trailers: block }
    }

    /// The HTTP/2 code to reset the stream with after the trailers, once: NO_ERROR if the client's half is
    /// still open.
    pub fn wants_reset(&mut self) -> Option<u32> {
        self.call.take_abort().map(reset_code)
    }

    /// Whether there is nothing more to send.
    pub fn is_ended(&self) -> bool {
        self.call.is_ended()
    }

    /// Whether the next event is a `Cancelled`.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// When the call ends by itself.
    pub fn deadline(&self) -> Option<Time> {
        self.call.deadline()
    }
}
