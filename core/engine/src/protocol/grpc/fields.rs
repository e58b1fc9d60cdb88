//! Header and trailer blocks: which field is whose, read in one pass, and how a status is written.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::compression;
use crate::metadata::{self, Metadata, MetadataError, MetadataLimits};
use crate::status::{self, Code, Origin, Status};

pub(super) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(super) static GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(super) static GRPC_ACCEPT_ENCODING: HeaderName =
    HeaderName::from_static("grpc-accept-encoding");
pub(super) static GRPC_PREVIOUS_RPC_ATTEMPTS: HeaderName =
    HeaderName::from_static("grpc-previous-rpc-attempts");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_STATUS_DETAILS_BIN: HeaderName = HeaderName::from_static("grpc-status-details-bin");

pub(super) const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(super) const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
pub(super) const ACCEPT: HeaderValue = HeaderValue::from_static(compression::ACCEPT);

/// What a field of a received block is to gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    ContentType,
    Te,
    Host,
    UserAgent,
    Timeout,
    Encoding,
    AcceptEncoding,
    Status,
    Message,
    Details,
    /// Belongs to one connection; HTTP/2 forbids it (RFC 9113, 8.2.2).
    HopByHop,
    /// Reserved, and of no use here.
    Ignored,
    /// The application's.
    Custom,
}

pub(super) fn classify(name: &str) -> Field {
    match name {
        "content-type" => Field::ContentType,
        "te" => Field::Te,
        "host" => Field::Host,
        "user-agent" => Field::UserAgent,
        "grpc-timeout" => Field::Timeout,
        "grpc-encoding" => Field::Encoding,
        "grpc-accept-encoding" => Field::AcceptEncoding,
        "grpc-status" => Field::Status,
        "grpc-message" => Field::Message,
        "grpc-status-details-bin" => Field::Details,
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            Field::HopByHop
        }
        name if metadata::is_reserved(name) => Field::Ignored,
        _ => Field::Custom,
    }
}

/// A field that should come once.
#[derive(Debug, Default)]
pub(super) enum Once {
    #[default]
    Absent,
    Value(HeaderValue),
    /// It came again with another value. (The same value again counts once.)
    Differs,
}

impl Once {
    pub(super) fn add(&mut self, value: HeaderValue) {
        *self = match std::mem::take(self) {
            Once::Absent => Once::Value(value),
            Once::Value(before) if before == value => Once::Value(before),
            _ => Once::Differs,
        };
    }

    pub(super) fn is_present(&self) -> bool {
        !matches!(self, Once::Absent)
    }
}

/// Counts a block against its limits while it is read.
pub(super) struct Budget {
    limits: MetadataLimits,
    bytes: usize,
    fields: usize,
}

impl Budget {
    pub(super) fn new(limits: MetadataLimits) -> Budget {
        Budget { limits, bytes: 0, fields: 0 }
    }

    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(super) fn add(&mut self, name: &str, value: &HeaderValue) {
        self.bytes += name.len() + value.len() + 32;
        self.fields += 1;
    }

    pub(super) fn check(&self) -> Result<(), MetadataError> {
        if self.bytes > self.limits.max_bytes || self.fields > self.limits.max_fields {
            return Err(self.limits.error());
        }
        Ok(())
    }
}

/// A response's header or trailer block, sorted.
#[derive(Debug, Default)]
pub(super) struct ResponseBlock {
    pub(super) content_type: Once,
    pub(super) encoding: Once,
    status: Once,
    message: Option<HeaderValue>,
    details: Option<HeaderValue>,
    pub(super) metadata: Metadata,
}

impl ResponseBlock {
    /// Sorts the fields of a block.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` over the limits, `INTERNAL` for a `-bin` value that is not base64. The block is
    /// given all the same: a status in it may be worth telling.
    pub(super) fn read(
        headers: HeaderMap,
        limits: MetadataLimits,
    ) -> (ResponseBlock, Result<(), MetadataError>) {
        let mut block = ResponseBlock::default();
        let mut budget = Budget::new(limits);
        let mut outcome = Ok(());
        let (mut name, mut field) = (CONTENT_TYPE, Field::Ignored);
        for (next, value) in headers {
            if let Some(next) = next {
                field = classify(next.as_str());
                name = next;
            }
            budget.add(name.as_str(), &value);
            match field {
                Field::ContentType => block.content_type.add(value),
                Field::Encoding => block.encoding.add(value),
                Field::Status => block.status.add(value),
                Field::Message => block.message = Some(value),
                Field::Details => block.details = Some(value),
                Field::Custom if outcome.is_ok() && budget.check().is_ok() => {
                    outcome = block.metadata.receive(&name, value, limits);
                }
                _ => {}
            }
        }
        let outcome = budget.check().and(outcome);
        (block, outcome)
    }

    pub(super) fn has_status(&self) -> bool {
        self.status.is_present()
    }

    /// The status of the block; `None` without `grpc-status`.
    pub(super) fn status(&self) -> Option<Status> {
        let number = match &self.status {
            Once::Absent => return None,
            Once::Differs => {
                let text = "grpc-status came twice with different values";
                return Some(Status::new(Code::Unknown, text));
            }
            Once::Value(value) => value,
        };
        if number.as_bytes() == b"0" && self.message.is_none() {
            return Some(Status::ok().with_origin(Origin::Remote));
        }
        let message: Cow<'static, str> = match &self.message {
            Some(message) if !message.is_empty() => {
                status::percent_decode(message.as_bytes()).into()
            }
            _ => "".into(),
        };
        let Some(number) = parse_number(number.as_bytes()) else {
            let text = format!("grpc-status {:?} is not a number: {message}", number);
            return Some(Status::new(Code::Unknown, text).with_origin(Origin::Remote));
        };
        let mut status = Status::from_number(number, message).with_origin(Origin::Remote);
        // the header's code wins: details that disagree, or cannot be read, are not kept
        if let Some(details) =
            self.details.as_ref().and_then(|value| metadata::decode_base64(value.as_bytes()))
            && status::details_code(&details) == Some(number)
        {
            status = status.with_details(details);
        }
        Some(status)
    }
}

fn parse_number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0u32, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    })
}

/// Whether this is gRPC's content type: `application/grpc` and then nothing, `+` or `;`.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    subtype(content_type).is_some()
}

/// What follows `application/grpc+`, up to a `;`; empty without it, `None` if it is another type.
pub(super) fn subtype(content_type: &[u8]) -> Option<&[u8]> {
    const TYPE: &[u8] = b"application/grpc";
    let (start, rest) = content_type.split_at_checked(TYPE.len())?;
    if !start.eq_ignore_ascii_case(TYPE) {
        return None;
    }
    match rest.split_first() {
        None | Some((b';', _)) => Some(&[]),
        Some((b'+', rest)) => rest.split(|&byte| byte == b';').next().map(<[u8]>::trim_ascii),
        Some((b' ' | b'\t', rest)) if rest.trim_ascii_start().first() == Some(&b';') => Some(&[]),
        Some(_) => None,
    }
}

const fn digits(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

/// The seventeen numbers as header values.
const NUMBERS: [HeaderValue; 17] = [
    digits("0"),
    digits("1"),
    digits("2"),
    digits("3"),
    digits("4"),
    digits("5"),
    digits("6"),
    digits("7"),
    digits("8"),
    digits("9"),
    digits("10"),
    digits("11"),
    digits("12"),
    digits("13"),
    digits("14"),
    digits("15"),
    digits("16"),
];

/// A small number as a header value.
pub(super) fn number_value(number: u32) -> HeaderValue {
    static VALUES: [HeaderValue; 17] = NUMBERS;
    VALUES.get(number as usize).cloned().unwrap_or_else(|| HeaderValue::from(number))
}

/// Writes a status as trailers: `grpc-status`, and text and details if there are any.
pub(super) fn write_status(status: &Status, headers: &mut HeaderMap) {
    headers.insert(&GRPC_STATUS, number_value(status.number()));
    if !status.message().is_empty() {
        let value = match status::percent_encode(status.message()) {
            None => HeaderValue::from_str(status.message()).ok(),
            Some(coded) => HeaderValue::from_maybe_shared(Bytes::from(coded)).ok(),
        };
        if let Some(value) = value {
            headers.insert(&GRPC_MESSAGE, value);
        }
    }
    if !status.details().is_empty()
        && status::details_code(status.details()) == Some(status.number())
        && let Ok(value) = HeaderValue::try_from(metadata::encode_base64(status.details()))
    {
        headers.insert(&GRPC_STATUS_DETAILS_BIN, value);
    }
}
