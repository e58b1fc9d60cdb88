//! `google.rpc.Status` details: what a status carries beyond its code and text.

use bytes::Bytes;
use stubless_codec::{Message, Schema};
use stubless_engine::services::bundled;
use stubless_engine::services::details::{decode_status, encode_status};
use stubless_engine::status::Code;

use crate::error::{Detail, Error};

/// The prefix of type URLs.
const PREFIX: &str = "type.googleapis.com/";

/// Serializes a `google.rpc.Status` with these messages as details.
pub(crate) fn pack(code: Code, text: &str, messages: &[Message]) -> Result<Bytes, Error> {
    let mut details = Vec::with_capacity(messages.len());
    for message in messages {
        details.push((format!("{PREFIX}{}", message.full_name()), message.encode()?));
    }
    Ok(encode_status(code.number() as i32, text, &details))
}

/// Reads the details of a serialized `google.rpc.Status`; none if it cannot be read.
pub(crate) fn unpack(status: &Bytes, schema: Option<&Schema>) -> Vec<Detail> {
    let Some((_, _, details)) = decode_status(status) else { return Vec::new() };
    details
        .into_iter()
        .map(|(type_url, value)| {
            let name = type_url.rsplit('/').next().unwrap_or(&type_url);
            let known = schema
                .and_then(|schema| schema.message(name))
                .or_else(|| bundled::schema().message(name));
            let message = known.and_then(|message_type| message_type.decode(value.clone()).ok());
            Detail { type_url, value, message }
        })
        .collect()
}
