//! Whole conversations in memory. A test that covers a row of the table of bad input says which.

mod against;
mod client;
mod server;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::frame::encode_prefix;
use crate::metadata::Metadata;
use crate::time::Time;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u32) -> Time {
    Time::ZERO + ms * MS
}

/// Header fields as a test writes them.
type Fields = &'static [(&'static str, &'static str)];

/// A header map of these fields, in this order.
fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).expect("legal for HTTP"),
            HeaderValue::from_bytes(value.as_bytes()).expect("legal for HTTP"),
        );
    }
    map
}

/// The fields of a header map as text, in order.
fn fields(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect()
}

fn frame(text: &str) -> Bytes {
    flagged(false, text.as_bytes())
}

fn flagged(compressed: bool, payload: &[u8]) -> Bytes {
    [&encode_prefix(compressed, payload.len() as u32), payload].concat().into()
}

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in pairs {
        metadata.append(key, value.as_bytes().to_vec()).expect("legal metadata");
    }
    metadata
}

/// Bytes that differ from run to run of the loop but not from run to run of the test.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn one_in(count: u64, seed: &mut u64) -> bool {
    random(seed).is_multiple_of(count)
}
