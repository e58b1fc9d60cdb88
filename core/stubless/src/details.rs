//! `google.rpc.Status` details: what a status carries beyond its code and text.

use bytes::Bytes;
use stubless_codec::wire::{RawValue, Reader, Writer};
use stubless_codec::{Message, Schema};
use stubless_engine::status::Code;

use crate::error::{Detail, Error};

/// The prefix of type URLs.
const PREFIX: &str = "type.googleapis.com/";

/// Serializes a `google.rpc.Status` with these messages as details.
pub(crate) fn pack(code: Code, text: &str, messages: &[Message]) -> Result<Bytes, Error> {
    let mut writer = Writer::with_capacity(256);
    // the writer runs backwards: the last field first
    for message in messages.iter().rev() {
        let value = message.encode()?;
        let any = writer.len();
        writer.push_bytes(&value);
        writer.push_tag(2 << 3 | 2);
        writer.push_bytes(format!("{PREFIX}{}", message.full_name()).as_bytes());
        writer.push_tag(1 << 3 | 2);
        writer.push_length(any);
        writer.push_tag(3 << 3 | 2);
    }
    if !text.is_empty() {
        writer.push_bytes(text.as_bytes());
        writer.push_tag(2 << 3 | 2);
    }
    if code != Code::Ok {
        writer.push_varint(u64::from(code.number()));
        writer.push_tag(1 << 3);
    }
    Ok(writer.take())
}

/// Reads the details of a serialized `google.rpc.Status`; what cannot be read is left out.
pub(crate) fn unpack(status: &Bytes, schema: Option<&Schema>) -> Vec<Detail> {
    let mut details = Vec::new();
    let mut fields = Reader::new(status);
    while let Ok(Some((number, value))) = fields.next_field(100) {
        if let (3, RawValue::Length(any)) = (number, value)
            && let Some(detail) = read_any(any, schema)
        {
            details.push(detail);
        }
    }
    details
}

fn read_any(any: &[u8], schema: Option<&Schema>) -> Option<Detail> {
    let (mut type_url, mut value) = (String::new(), Bytes::new());
    let mut fields = Reader::new(any);
    while let Some((number, field)) = fields.next_field(100).ok()? {
        match (number, field) {
            (1, RawValue::Length(url)) => type_url = String::from_utf8_lossy(url).into_owned(),
            (2, RawValue::Length(bytes)) => value = Bytes::copy_from_slice(bytes),
            _ => {}
        }
    }
    let name = type_url.rsplit('/').next().unwrap_or(&type_url);
    let known = schema.and_then(|schema| schema.message(name));
    let message = known.and_then(|message_type| message_type.decode(value.clone()).ok());
    Some(Detail { type_url, value, message })
}
