//! The few protobuf fields these services need: written forwards, read as pairs of number and value.

use bytes::{BufMut, Bytes, BytesMut};
use stubless_codec::wire::{RawValue, Reader};

/// Groups nested in groups, in fields nobody knows.
const MAX_GROUPS: u32 = 32;

/// Appends a varint.
fn put_varint(to: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        to.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8(value as u8);
}

/// Appends an `int32` or enum field, unless it is 0.
pub(super) fn put_i32(to: &mut BytesMut, field: u32, value: i32) {
    if value != 0 {
        put_varint(to, u64::from(field) << 3);
        put_varint(to, i64::from(value) as u64);
    }
}

/// Appends a string, bytes or message field, also an empty one.
pub(super) fn put_bytes(to: &mut BytesMut, field: u32, value: &[u8]) {
    put_varint(to, u64::from(field) << 3 | 2);
    put_varint(to, value.len() as u64);
    to.put_slice(value);
}

/// Appends an `int32` list, packed.
pub(super) fn put_packed(to: &mut BytesMut, field: u32, values: impl IntoIterator<Item = i32>) {
    let mut packed = BytesMut::new();
    for value in values {
        put_varint(&mut packed, i64::from(value) as u64);
    }
    if !packed.is_empty() {
        put_bytes(to, field, &packed);
    }
}

/// A message of one field.
pub(super) fn one_field(field: u32, value: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(value.len() + 8);
    put_bytes(&mut message, field, value);
    message.freeze()
}

/// Why bytes are no message: the detail helps nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Calls `each` with the number and value of every field.
pub(super) fn read<'a>(
    message: &'a [u8],
    mut each: impl FnMut(u32, RawValue<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next_field(MAX_GROUPS).map_err(|_| Unreadable)? {
        each(number, value)?;
    }
    Ok(())
}

/// A string's bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Unreadable)
}

/// The string in field 1, which is all that a message has; empty if it is absent.
pub(super) fn only_text(message: &[u8]) -> Result<String, Unreadable> {
    let mut found = String::new();
    read(message, |number, value| {
        if let (1, RawValue::Length(bytes)) = (number, value) {
            found = text(bytes)?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// A part of `whole` as bytes of its own, shared and not copied.
pub(super) fn share(whole: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { whole.slice_ref(part) }
}
