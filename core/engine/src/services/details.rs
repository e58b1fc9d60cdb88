//! `google.rpc.Status`: what `grpc-status-details-bin` carries.
//!
//! `{1 int32 code, 2 string message, 3 repeated google.protobuf.Any {1 string type_url, 2 bytes value}}`.
//! The code inside must equal the call's own; [`crate::status::Status::with_details`] takes what [`encode_status`] makes.

use bytes::{Bytes, BytesMut};
use stubless_codec::wire::RawValue;

use super::wire::{Unreadable, put_bytes, put_i32, read, share, text};

/// Encodes a `google.rpc.Status`. Each detail is a type URL (`type.googleapis.com/google.rpc.ErrorInfo`) and the encoded message.
/// Keep it small: many peers accept 8 KiB of trailers in all, base64 included.
pub fn encode_status(
    code: i32,
    message: &str,
    details: &[(impl AsRef<str>, impl AsRef<[u8]>)],
) -> Bytes {
    let mut status = BytesMut::new();
    put_i32(&mut status, 1, code);
    if !message.is_empty() {
        put_bytes(&mut status, 2, message.as_bytes());
    }
    for (type_url, value) in details {
        let (type_url, value) = (type_url.as_ref(), value.as_ref());
        let mut any = BytesMut::with_capacity(type_url.len() + value.len() + 16);
        if !type_url.is_empty() {
            put_bytes(&mut any, 1, type_url.as_bytes());
        }
        if !value.is_empty() {
            put_bytes(&mut any, 2, value);
        }
        put_bytes(&mut status, 3, &any);
    }
    status.freeze()
}

/// A detail: its type URL and the encoded message.
pub type Detail = (String, Bytes);

/// Reads a `google.rpc.Status`: its code, its message, and each detail's type URL and bytes (which share `status`).
/// `None`: the bytes are no such message; the call's own status is then all there is.
pub fn decode_status(status: &Bytes) -> Option<(i32, String, Vec<Detail>)> {
    let (mut code, mut message, mut details) = (0, String::new(), Vec::new());
    read(status, |number, value| {
        match (number, value) {
            // an int32 is the low half of its varint
            (1, RawValue::Varint(value)) => code = value as i32,
            (2, RawValue::Length(value)) => message = text(value)?,
            (3, RawValue::Length(value)) => details.push(any(status, value)?),
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    Some((code, message, details))
}

fn any(whole: &Bytes, message: &[u8]) -> Result<Detail, Unreadable> {
    let (mut type_url, mut bytes) = (String::new(), Bytes::new());
    read(message, |number, value| {
        match (number, value) {
            (1, RawValue::Length(value)) => type_url = text(value)?,
            (2, RawValue::Length(value)) => bytes = share(whole, value),
            _ => {}
        }
        Ok(())
    })?;
    Ok((type_url, bytes))
}
