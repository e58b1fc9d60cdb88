//! Metadata: the key-value pairs that travel beside the messages of a call.
//!
//! A multimap in the order of insertion. A key is made of `0-9 a-z _ - .`; its values are printable ASCII, or
//! bytes if the key ends in `-bin` (base64 on the wire, bytes everywhere else). Names that belong to gRPC or
//! HTTP are refused on the way out and dropped on the way in, but for four that gRPC shows to applications.
//! Spec: gRPC PROTOCOL-HTTP2.md, "Custom-Metadata"; HTTP/2 rules in RFC 9113 section 8.2.
//!
//! Most calls carry none or a few pairs, so this is a list searched from the front, and empty it owns nothing.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::status::{Code, Status};

/// Base64 as gRPC writes it (no padding) and reads it (padded or not, stray low bits ignored as grpc-go does).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Most pairs a sender may add: far above what any peer accepts, and below what a header map can hold.
const MOST_PAIRS: usize = 4096;

/// Key-value pairs of one header or trailer block.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    fields: Vec<(HeaderName, Value)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    /// Printable ASCII, checked when it came in.
    Ascii(HeaderValue),
    /// The decoded bytes of a `-bin` key.
    Binary(Bytes),
}

/// One value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataValue<'a> {
    /// The text of a plain key.
    Ascii(&'a str),
    /// The bytes of a key that ends in `-bin`, not coded.
    Binary(&'a Bytes),
}

impl<'a> MetadataValue<'a> {
    /// The value's bytes: of the text, or the bytes themselves.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            MetadataValue::Ascii(text) => text.as_bytes(),
            MetadataValue::Binary(bytes) => bytes,
        }
    }

    /// The text of a plain key, `None` for bytes.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            MetadataValue::Ascii(text) => Some(text),
            MetadataValue::Binary(_) => None,
        }
    }
}

/// A key or value that gRPC does not carry. Becomes `INTERNAL`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// A key that is empty or has a character outside `0-9 a-z _ - .`.
    #[error("metadata key {key:?}: only 0-9 a-z _ - . are allowed")]
    Key {
        /// The key as given, cut after 64 characters.
        key: String,
    },
    /// A key that belongs to gRPC or HTTP.
    #[error("metadata key {key:?} is reserved")]
    Reserved {
        /// The key as given.
        key: String,
    },
    /// A text value with a character outside 0x20..0x7E.
    #[error(
        "metadata key {key:?}: the value is not printable ASCII (a key in -bin takes any bytes)"
    )]
    Value {
        /// The key of the value.
        key: String,
    },
    /// A received `-bin` value that is not base64.
    #[error("metadata key {key:?}: the value is not base64")]
    Base64 {
        /// The key of the value.
        key: String,
    },
    /// A received block over the limits. Becomes `RESOURCE_EXHAUSTED`.
    #[error("metadata over the limit of {max_bytes} bytes and {max_fields} fields")]
    TooLarge {
        /// Bytes allowed: the sum of name + value + 32 over the fields.
        max_bytes: usize,
        /// Fields allowed.
        max_fields: usize,
    },
    /// A sender's pair past the last one allowed. Becomes `RESOURCE_EXHAUSTED`.
    #[error("more than {max_pairs} metadata pairs")]
    TooMany {
        /// Pairs allowed.
        max_pairs: usize,
    },
}

impl MetadataError {
    /// The one table from this error to a status.
    pub fn code(&self) -> Code {
        match self {
            MetadataError::TooLarge { .. } | MetadataError::TooMany { .. } => {
                Code::ResourceExhausted
            }
            _ => Code::Internal,
        }
    }
}

impl From<MetadataError> for Status {
    fn from(error: MetadataError) -> Status {
        Status::new(error.code(), error.to_string())
    }
}

/// How much metadata a side accepts in one header or trailer block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataLimits {
    /// The sum of name + value + 32 over the fields, values as they came. Default 16 KiB.
    pub max_bytes: usize,
    /// Fields, a repeated name counted each time. Default 128.
    pub max_fields: usize,
}

impl Default for MetadataLimits {
    fn default() -> MetadataLimits {
        MetadataLimits { max_bytes: 16 * 1024, max_fields: 128 }
    }
}

impl MetadataLimits {
    pub(crate) fn error(self) -> MetadataError {
        MetadataError::TooLarge { max_bytes: self.max_bytes, max_fields: self.max_fields }
    }
}

impl Metadata {
    /// No pairs, no memory.
    pub const fn new() -> Metadata {
        Metadata { fields: Vec::new() }
    }

    /// Room for this many pairs.
    pub fn with_capacity(pairs: usize) -> Metadata {
        Metadata { fields: Vec::with_capacity(pairs) }
    }

    /// The number of pairs; a key with two values counts twice.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True without any pair.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Sets a key to one value, in place of all it had. The value of a `-bin` key is any bytes, not coded;
    /// of any other key printable ASCII.
    ///
    /// # Errors
    /// [`MetadataError`], naming the key; nothing was changed.
    pub fn insert(&mut self, key: &str, value: impl Into<Bytes>) -> Result<(), MetadataError> {
        let (name, value) = checked(key, value.into())?;
        self.fields.retain(|(other, _)| *other != name);
        if self.fields.len() >= MOST_PAIRS {
            return Err(MetadataError::TooMany { max_pairs: MOST_PAIRS });
        }
        self.fields.push((name, value));
        Ok(())
    }

    /// Adds a value to a key, beside those it has. Values as for [`Metadata::insert`].
    ///
    /// # Errors
    /// [`MetadataError`], naming the key; nothing was changed. [`MetadataError::TooMany`] past 4096 pairs.
    pub fn append(&mut self, key: &str, value: impl Into<Bytes>) -> Result<(), MetadataError> {
        if self.fields.len() >= MOST_PAIRS {
            return Err(MetadataError::TooMany { max_pairs: MOST_PAIRS });
        }
        self.fields.push(checked(key, value.into())?);
        Ok(())
    }

    /// The first value of a key (lower case).
    pub fn get(&self, key: &str) -> Option<MetadataValue<'_>> {
        self.get_all(key).next()
    }

    /// All values of a key (lower case), in order.
    pub fn get_all<'a>(&'a self, key: &str) -> impl Iterator<Item = MetadataValue<'a>> {
        self.fields
            .iter()
            .filter(move |(name, _)| name.as_str() == key)
            .map(|(_, value)| value.view())
    }

    /// Takes a key away with all its values; `true` if it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.fields.len();
        self.fields.retain(|(name, _)| name.as_str() != key);
        self.fields.len() != before
    }

    /// All pairs, in the order they were added or received.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, MetadataValue<'_>)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.view()))
    }

    /// Adds all pairs of `other` at the end, up to 4096 in all.
    pub fn extend(&mut self, other: &Metadata) {
        let room = MOST_PAIRS.saturating_sub(self.fields.len());
        self.fields.extend(other.fields.iter().take(room).cloned());
    }

    /// What the pairs count against a peer's header list limit: the sum of name + value + 32, values as they
    /// go over the wire.
    pub fn wire_bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.as_str().len() + value.wire_len() + 32).sum()
    }

    /// Takes one received field that is not reserved (the caller told them apart by [`is_reserved`]).
    /// A field gRPC cannot carry is dropped: it must not fail the call.
    ///
    /// # Errors
    /// [`MetadataError::Base64`]; [`MetadataError::TooLarge`] when a joined value holds more fields than `limits` allows.
    pub(crate) fn receive(
        &mut self,
        name: &HeaderName,
        value: HeaderValue,
        limits: MetadataLimits,
    ) -> Result<(), MetadataError> {
        let key = name.as_str();
        if !is_key(key) {
            return Ok(());
        }
        if key.ends_with("-bin") {
            // a proxy may have joined the values of a repeated key
            for part in value.as_bytes().split(|&byte| byte == b',') {
                if self.fields.len() >= limits.max_fields {
                    return Err(limits.error());
                }
                let bytes = BASE64
                    .decode(part.trim_ascii())
                    .map_err(|_| MetadataError::Base64 { key: short(key) })?;
                self.fields.push((name.clone(), Value::Binary(bytes.into())));
            }
        } else if value.as_bytes().iter().all(|&byte| printable(byte)) {
            self.fields.push((name.clone(), Value::Ascii(value)));
        }
        Ok(())
    }

    /// Writes the pairs behind what `headers` has. What a server received (`user-agent`) is not sent on.
    pub(crate) fn write_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            if *name == http::header::USER_AGENT {
                continue;
            }
            let value = match value {
                Value::Ascii(value) => value.clone(),
                Value::Binary(bytes) => match HeaderValue::try_from(BASE64.encode(bytes)) {
                    Ok(value) => value,
                    Err(_) => continue,
                },
            };
            headers.append(name, value);
        }
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Value {
    fn view(&self) -> MetadataValue<'_> {
        match self {
            // only printable ASCII gets in
            Value::Ascii(value) => MetadataValue::Ascii(value.to_str().unwrap_or("")),
            Value::Binary(bytes) => MetadataValue::Binary(bytes),
        }
    }

    fn wire_len(&self) -> usize {
        match self {
            Value::Ascii(value) => value.len(),
            Value::Binary(bytes) => (bytes.len() * 4).div_ceil(3),
        }
    }
}

/// Decodes one base64 value as gRPC reads it, padded or not.
pub(crate) fn decode_base64(value: &[u8]) -> Option<Bytes> {
    BASE64.decode(value.trim_ascii()).ok().map(Bytes::from)
}

/// Codes bytes as gRPC writes them in a header.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Names an application neither sends nor sees: they belong to gRPC, to HTTP/2, or to the connection.
/// (`user-agent` is reserved for senders; a server shows the received one.)
pub(crate) fn is_reserved(key: &str) -> bool {
    if let Some(rest) = key.strip_prefix("grpc-") {
        return !matches!(
            rest,
            "previous-rpc-attempts" | "retry-pushback-ms" | "trace-bin" | "tags-bin"
        );
    }
    matches!(
        key,
        "content-type"
            | "te"
            | "user-agent"
            | "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
            // a length that disagrees with the DATA frames would be a stream error
            | "content-length"
    )
}

fn checked(key: &str, value: Bytes) -> Result<(HeaderName, Value), MetadataError> {
    if key.starts_with(':') {
        return Err(MetadataError::Reserved { key: short(key) });
    }
    if !is_key(key) {
        return Err(MetadataError::Key { key: short(key) });
    }
    if is_reserved(key) {
        return Err(MetadataError::Reserved { key: short(key) });
    }
    let name = HeaderName::from_lowercase(key.as_bytes())
        .map_err(|_| MetadataError::Key { key: short(key) })?;
    if key.ends_with("-bin") {
        return Ok((name, Value::Binary(value)));
    }
    if !value.iter().all(|&byte| printable(byte)) {
        return Err(MetadataError::Value { key: short(key) });
    }
    match HeaderValue::from_maybe_shared(value) {
        Ok(value) => Ok((name, Value::Ascii(value))),
        Err(_) => Err(MetadataError::Value { key: short(key) }),
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'.'))
}

fn printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e)
}

fn short(key: &str) -> String {
    key.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
