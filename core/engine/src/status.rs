//! How an RPC ended: one of seventeen codes, a text, and details for machines.
//!
//! Every table that turns something else into a code stands here: an HTTP status without `grpc-status`,
//! an HTTP/2 stream reset. So does the percent coding of `grpc-message`. A status keeps its [`Origin`]:
//! retry needs it, and so does whoever reads the log.
//! Spec: gRPC statuscodes.md, http-grpc-status-mapping.md; PROTOCOL-HTTP2.md, "Responses" and "Errors".

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// The seventeen gRPC status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    #[default]
    Ok = 0,
    /// The call was cancelled, most often by its caller.
    Cancelled = 1,
    /// An error nobody classified: a handler that threw, a status that could not be read.
    Unknown = 2,
    /// The caller's argument is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed before the call ended.
    DeadlineExceeded = 4,
    /// Something the request names does not exist.
    NotFound = 5,
    /// Something the request would make exists already.
    AlreadyExists = 6,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A quota, a limit or memory is used up; also a message over its size limit.
    ResourceExhausted = 8,
    /// The system is not in the state the call needs.
    FailedPrecondition = 9,
    /// The call lost against a concurrent one.
    Aborted = 10,
    /// The call went past a valid range.
    OutOfRange = 11,
    /// The server does not offer this service or method, or not in this way.
    Unimplemented = 12,
    /// An invariant is broken: bad framing, bad coding, a message that cannot be parsed.
    Internal = 13,
    /// The service cannot be reached now; trying again may help.
    Unavailable = 14,
    /// Data is lost or damaged beyond recovery.
    DataLoss = 15,
    /// The caller's credentials are missing or wrong.
    Unauthenticated = 16,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Code; 17] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The code with this number; a number that gRPC does not know (17 and up) is [`Code::Unknown`].
    pub fn from_number(number: u32) -> Code {
        Code::ALL.get(number as usize).copied().unwrap_or(Code::Unknown)
    }

    /// The number as it stands on the wire, 0 to 16.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The name in the gRPC documents, for example `NOT_FOUND`.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The code with this name, as [`Code::name`] writes it; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.name() == name)
    }

    /// What a client makes of an HTTP status that came without `grpc-status`. Servers never use it backwards.
    pub const fn from_http_status(http_status: u16) -> Code {
        match http_status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which side a status came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// This process made it: a deadline, a cancel, a limit, a broken connection, a rule of the protocol.
    #[default]
    Local,
    /// The peer sent it.
    Remote,
}

/// How an RPC ended.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Status {
    number: u32,
    code: Code,
    origin: Origin,
    message: Cow<'static, str>,
    details: Bytes,
}

impl Status {
    /// A status of local origin. A literal text costs nothing; a `String` is moved in.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Status {
        Status {
            number: code.number(),
            code,
            origin: Origin::Local,
            message: message.into(),
            details: Bytes::new(),
        }
    }

    /// Success, without a text.
    pub const fn ok() -> Status {
        Status {
            number: 0,
            code: Code::Ok,
            origin: Origin::Local,
            message: Cow::Borrowed(""),
            details: Bytes::new(),
        }
    }

    /// A status by its number, which is kept even where gRPC knows no such code
    /// (77 reads as [`Code::Unknown`] and [`Status::number`] says 77).
    pub fn from_number(number: u32, message: impl Into<Cow<'static, str>>) -> Status {
        Status { number, ..Status::new(Code::from_number(number), message) }
    }

    /// Adds a serialized `google.rpc.Status`. A sender leaves the details out when the code inside
    /// differs from this status's own, as the gRPC documents ask.
    #[must_use]
    pub fn with_details(mut self, details: Bytes) -> Status {
        self.details = details;
        self
    }

    /// Says where this status came from.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Status {
        self.origin = origin;
        self
    }

    /// The code; [`Code::Unknown`] for a number gRPC does not know.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The number as it came, also one gRPC does not know.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The text for people, often empty.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The serialized `google.rpc.Status`, empty if there is none.
    pub fn details(&self) -> &Bytes {
        &self.details
    }

    /// Who made this status.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// True for [`Code::Ok`].
    pub fn is_ok(&self) -> bool {
        self.code == Code::Ok
    }

    /// What an HTTP/2 stream reset by the peer does to the call (RFC 9113 error codes).
    /// STREAM_CLOSED has no mapping in the documents; like every other code it is `INTERNAL` here.
    /// The origin is remote: the peer chose the code.
    pub fn from_reset(http2_code: u32) -> Status {
        let (code, message) = match http2_code {
            0 => (Code::Internal, "stream reset by the peer before its status (NO_ERROR)"),
            1 => (Code::Internal, "stream reset by the peer (PROTOCOL_ERROR)"),
            2 => (Code::Internal, "stream reset by the peer (INTERNAL_ERROR)"),
            3 => (Code::Internal, "stream reset by the peer (FLOW_CONTROL_ERROR)"),
            4 => (Code::Internal, "stream reset by the peer (SETTINGS_TIMEOUT)"),
            5 => (Code::Internal, "stream reset by the peer (STREAM_CLOSED)"),
            6 => (Code::Internal, "stream reset by the peer (FRAME_SIZE_ERROR)"),
            7 => (Code::Unavailable, "stream refused by the peer (REFUSED_STREAM)"),
            8 => (Code::Cancelled, "stream reset by the peer (CANCEL)"),
            9 => (Code::Internal, "stream reset by the peer (COMPRESSION_ERROR)"),
            10 => (Code::Internal, "stream reset by the peer (CONNECT_ERROR)"),
            11 => (Code::ResourceExhausted, "stream reset by the peer (ENHANCE_YOUR_CALM)"),
            12 => (Code::PermissionDenied, "stream reset by the peer (INADEQUATE_SECURITY)"),
            13 => (Code::Internal, "stream reset by the peer (HTTP_1_1_REQUIRED)"),
            other => {
                let text = format!("stream reset by the peer (unknown code {other:#x})");
                return Status::new(Code::Internal, text).with_origin(Origin::Remote);
            }
        };
        Status::new(code, message).with_origin(Origin::Remote)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self}, {:?}", self.origin)?;
        if !self.details.is_empty() {
            write!(f, ", {} bytes of details", self.details.len())?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if self.number != self.code.number() {
            write!(f, " ({})", self.number)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Status {}

/// The code inside a serialized `google.rpc.Status` (field 1, absent means 0); `None` if the bytes are no
/// protobuf message. The header's code wins over it, so nothing else of the message is read here.
pub fn details_code(mut bytes: &[u8]) -> Option<u32> {
    let mut code = 0;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        if field == 0 || tag > u64::from(u32::MAX) {
            return None;
        }
        match wire_type {
            0 => {
                let value = varint(&mut bytes)?;
                if field == 1 {
                    // an int32 is the low half of its varint
                    code = value as u32;
                }
            }
            1 => bytes = bytes.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                bytes = bytes.get(length..)?;
            }
            5 => bytes = bytes.get(4..)?,
            // groups are no part of google.rpc.Status
            _ => return None,
        }
    }
    Some(code)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Whether a byte of a `grpc-message` goes literally.
fn literal(byte: u8) -> bool {
    matches!(byte, 0x20..=0x24 | 0x26..=0x7e)
}

/// Codes a text for `grpc-message`: bytes 0x20..0x7E but `%` literally, all else as `%XX`. Blanks at the
/// ends are coded too, since some peers' HTTP parsers strip them. `None`: the text may go as it is.
pub fn percent_encode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let ends_blank = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if !ends_blank && bytes.iter().all(|&byte| literal(byte)) {
        return None;
    }
    let first = bytes.iter().position(|&byte| byte != b' ').unwrap_or(bytes.len());
    let last = bytes.iter().rposition(|&byte| byte != b' ').unwrap_or(0);
    let mut coded = Vec::with_capacity(bytes.len() + 16);
    for (at, &byte) in bytes.iter().enumerate() {
        if literal(byte) && at >= first && at <= last {
            coded.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            coded.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
        }
    }
    Some(coded)
}

/// Reads a received `grpc-message`. Never fails and never drops text: a broken escape stays as it is, and
/// bytes that are no UTF-8 become U+FFFD.
pub fn percent_decode(coded: &[u8]) -> String {
    if !coded.contains(&b'%') {
        return String::from_utf8_lossy(coded).into_owned();
    }
    let mut bytes = Vec::with_capacity(coded.len());
    let mut rest = coded;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%'
            && let Some((&[high, low], after)) = after.split_first_chunk::<2>()
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(broken) => String::from_utf8_lossy(broken.as_bytes()).into_owned(),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
