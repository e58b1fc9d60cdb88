//! Bytes to an arena message: one loop over a table, whatever the type.
//!
//! A field is found by guessing (fields come in order), then by its one-byte tag, then by number. Everything else about
//! it is in its [`FieldEntry`]. Strings stay slices of the input. Both packed and unpacked lists are accepted, messages
//! merge, closed enums keep foreign numbers as unknown fields, which stay in wire order.
//! Spec: protobuf.dev "Encoding"; the pitfalls are those the official conformance suite tests.

use std::sync::Arc;

use bytes::Bytes;

use super::reader::Reader;
use super::utf8::is_utf8;
use super::writer::Writer;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::message::raw::{Place, RawMessage, RawVec};
use crate::message::{ArenaPtr, Exhausted, Message, MessageRef, map, merge};
use crate::schema::table::{FieldEntry, MessageTable, NONE16, Op, Shape, Slot, Tables};

/// What a decoder accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Messages and groups inside the root. Default 100, as in every protobuf library.
    pub max_depth: u32,
    /// Memory of one decoded message in bytes, without the input itself. Two bytes on the wire can become a hundred in
    /// memory. Default 256 MiB.
    pub max_memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_depth: 100, max_memory_bytes: 256 << 20 }
    }
}

impl Limits {
    /// These limits with another depth.
    pub fn with_max_depth(self, max_depth: u32) -> Limits {
        Limits { max_depth, ..self }
    }

    /// These limits with another amount of memory.
    pub fn with_max_memory_bytes(self, max_memory_bytes: usize) -> Limits {
        Limits { max_memory_bytes, ..self }
    }
}

/// Inputs up to this size are copied into the message: that costs as much as counting a reference, and a small message
/// then does not keep a large receive buffer alive.
const COPY_UP_TO: usize = 16 << 10;

/// Decodes; the message keeps `bytes` if they are large.
pub(crate) fn decode_shared(
    tables: &Arc<Tables>,
    table: &MessageTable,
    bytes: Bytes,
    limits: &Limits,
) -> Result<Message, DecodeError> {
    if bytes.len() <= COPY_UP_TO {
        return decode_copied(tables, table, &bytes, limits);
    }
    let message =
        Message::with_room(tables, table, room_for(bytes.len(), limits), limits.max_memory_bytes);
    run(tables, &message, &bytes, limits)?;
    message.arena().hold(bytes);
    Ok(message)
}

/// Decodes from a copy of `bytes` in the message's own memory.
pub(crate) fn decode_copied(
    tables: &Arc<Tables>,
    table: &MessageTable,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Message, DecodeError> {
    let room = bytes.len().next_multiple_of(8) + room_for(bytes.len(), limits);
    let message = Message::with_room(
        tables,
        table,
        room,
        limits.max_memory_bytes.saturating_add(bytes.len()),
    );
    let copy = message.arena().copy(bytes).map_err(|_| DecodeError::new(Kind::Memory, 0))?;
    run(tables, &message, copy, limits)?;
    Ok(message)
}

/// First guess at the memory a message of so many bytes needs.
fn room_for(len: usize, limits: &Limits) -> usize {
    (len + len / 2).min(32 << 10).min(limits.max_memory_bytes)
}

fn run(
    tables: &Tables,
    message: &Message,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(), DecodeError> {
    let mut decoder = Decoder {
        tables,
        arena: message.arena(),
        start: bytes.as_ptr(),
        maps: Vec::new(),
        error: None,
    };
    let reader = Reader::new(bytes);
    match decoder.message(reader, message.raw(), message.raw().table(), limits.max_depth, 0) {
        Ok(_) => {}
        Err(kind) => {
            let mut error = decoder.error.take().unwrap_or_else(|| DecodeError::new(kind, 0));
            error.0.message = message.full_name().to_owned();
            return Err(error);
        }
    }
    for (vec, table) in std::mem::take(&mut decoder.maps) {
        let stride = table.map.map_or(16, |m| m.stride as usize);
        map::keep_last(vec.vec_mut(), stride, table.fields[0].slot);
    }
    decoder.arena.set_limit(usize::MAX);
    Ok(())
}

/// Merges a message into one of the same type of another schema, by way of its encoding.
pub(crate) fn transfer(
    from: MessageRef<'_>,
    to: RawMessage,
    arena: ArenaPtr,
) -> Result<(), Exhausted> {
    let mut writer = Writer::new();
    from.encode_partial(&mut writer, false).map_err(|_| Exhausted)?;
    let limits = Limits { max_depth: u32::MAX, max_memory_bytes: usize::MAX };
    let moved =
        decode_shared(arena.tables(), to.table(), writer.take(), &limits).map_err(|_| Exhausted)?;
    merge::merge(to, moved.raw(), arena)
}

pub(super) struct Decoder<'a> {
    pub(super) tables: &'a Tables,
    pub(super) arena: ArenaPtr,
    pub(super) start: *const u8,
    /// Maps that have entries; each key is made to occur once at the end.
    pub(super) maps: Vec<(Place, &'a MessageTable)>,
    pub(super) error: Option<DecodeError>,
}

impl From<Exhausted> for Kind {
    fn from(_: Exhausted) -> Kind {
        Kind::Memory
    }
}

/// What became of a value.
#[derive(PartialEq, Eq)]
pub(super) enum Taken {
    Stored,
    /// A number that a closed enum does not declare.
    Foreign,
}

impl<'a> Decoder<'a> {
    /// Decodes fields into `raw` until the input ends, or the group `group` if that is not 0. Gives the position behind.
    pub(super) fn message(
        &mut self,
        mut r: Reader<'_>,
        raw: RawMessage,
        table: &'a MessageTable,
        depth: u32,
        group: u32,
    ) -> Result<usize, Kind> {
        let fields = &*table.fields;
        let mut next = 0usize;
        let mut unknown = 0..0;
        while r.pos < r.buf.len() {
            let at = r.pos;
            let tag = match r.tag() {
                Ok(tag) => tag,
                Err(kind) => return Err(self.fail(kind, None, &r)),
            };
            let entry = match fields.get(next) {
                Some(guess) if guess.tag == tag => guess,
                _ => match find(table, tag) {
                    Some(found) => found,
                    None => {
                        if tag & 7 == 4 {
                            if tag >> 3 != group || group == 0 {
                                return Err(self.fail(Kind::EndGroup, None, &r));
                            }
                            self.keep(raw, &r, unknown)?;
                            return Ok(r.pos);
                        }
                        match self.other(&mut r, raw, table, tag, at, depth) {
                            Ok(true) => {}
                            Ok(false) if unknown.end == at => unknown.end = r.pos,
                            Ok(false) => {
                                self.keep(raw, &r, unknown)?;
                                unknown = at..r.pos;
                            }
                            Err(kind) => return Err(self.fail(kind, None, &r)),
                        }
                        continue;
                    }
                },
            };
            next = entry.next as usize;
            let taken = match entry.shape {
                Shape::Single => self.single(&mut r, raw, entry, depth),
                Shape::List if tag == entry.tag && !entry.is(FieldEntry::PACKED) => {
                    self.element(&mut r, raw.place(entry).vec_mut(), entry, depth)
                }
                Shape::List if tag & 7 == 2 => {
                    // the numbers that are refused come in between, so what came before goes first
                    if entry.op == Op::ClosedEnum {
                        self.keep(raw, &r, std::mem::take(&mut unknown))?;
                    }
                    self.packed(&mut r, raw, raw.place(entry), entry)
                }
                Shape::List => self.element(&mut r, raw.place(entry).vec_mut(), entry, depth),
                Shape::Oneof => self.member(&mut r, raw, entry, depth),
                Shape::Map => self.map_entry(&mut r, raw.place(entry), entry, depth),
            };
            match taken {
                Ok(Taken::Stored) => {}
                Ok(Taken::Foreign) if unknown.end == at => unknown.end = r.pos,
                Ok(Taken::Foreign) => {
                    self.keep(raw, &r, unknown)?;
                    unknown = at..r.pos;
                }
                Err(kind) => return Err(self.fail(kind, Some((table, entry)), &r)),
            }
        }
        if group != 0 {
            return Err(self.fail(Kind::OpenGroup, None, &r));
        }
        if unknown.end != 0 {
            self.keep(raw, &r, unknown)?;
        }
        Ok(r.pos)
    }

    /// Notes where it went wrong, and on the way out through which fields.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(
        &mut self,
        kind: Kind,
        at: Option<(&MessageTable, &FieldEntry)>,
        r: &Reader<'_>,
    ) -> Kind {
        let offset = (r.buf.as_ptr() as usize - self.start as usize) + r.pos;
        let error = self.error.get_or_insert_with(|| DecodeError::new(kind, offset));
        if let Some((table, entry)) = at {
            let index = table.fields.iter().position(|f| std::ptr::eq(f, entry));
            let name = index.map_or("?", |i| &*table.info.fields[i].name);
            error.0.path.push(name.to_owned());
        }
        kind
    }

    /// Stores a range of the input as unknown.
    #[inline(never)]
    pub(super) fn keep(
        &mut self,
        raw: RawMessage,
        r: &Reader<'_>,
        range: std::ops::Range<usize>,
    ) -> Result<(), Kind> {
        if range.is_empty() {
            return Ok(());
        }
        match raw.add_unknown(self.arena, &r.buf[range]) {
            Ok(()) => Ok(()),
            Err(Exhausted) => Err(self.fail(Kind::Memory, None, r)),
        }
    }

    #[inline(always)]
    pub(super) fn single(
        &mut self,
        r: &mut Reader<'_>,
        raw: RawMessage,
        entry: &'a FieldEntry,
        depth: u32,
    ) -> Result<Taken, Kind> {
        let place = raw.place(entry);
        // an unset message slot is null
        let taken = self.value(r, place, entry, place_message(place, entry), depth)?;
        if taken == Taken::Stored {
            raw.set_bit(entry);
        }
        Ok(taken)
    }

    #[inline(never)]
    pub(super) fn member(
        &mut self,
        r: &mut Reader<'_>,
        raw: RawMessage,
        entry: &'a FieldEntry,
        depth: u32,
    ) -> Result<Taken, Kind> {
        let place = raw.place(entry);
        let old = match raw.case(entry.presence) == entry.number {
            true => place_message(place, entry),
            false => None,
        };
        if entry.slot == Slot::Message && old.is_none() {
            // what a sibling left in the slot is no message
            place.set_message(None);
            raw.set_case(entry.presence, entry.number);
        }
        let taken = self.value(r, place, entry, old, depth)?;
        if taken == Taken::Stored {
            raw.set_case(entry.presence, entry.number);
        }
        Ok(taken)
    }

    /// One value into `place`; `old` is the message that is there already.
    #[inline(always)]
    pub(super) fn value(
        &mut self,
        r: &mut Reader<'_>,
        place: Place,
        entry: &'a FieldEntry,
        old: Option<RawMessage>,
        depth: u32,
    ) -> Result<Taken, Kind> {
        match entry.op {
            Op::Varint32 => place.set_word32(r.varint()? as u32),
            Op::Varint64 => place.set_word64(r.varint()?),
            Op::Bool => place.set_bool(r.varint()? != 0),
            Op::Str => {
                let text = r.length()?;
                if !is_utf8(text) {
                    return Err(Kind::Utf8);
                }
                place.set_text(text);
            }
            Op::Bytes => {
                let text = r.length()?;
                place.set_text(text);
            }
            Op::Fixed32 => place.set_word32(r.fixed32()?),
            Op::Fixed64 => place.set_word64(r.fixed64()?),
            Op::Zigzag32 => place.set_word32(unzigzag32(r.varint()?)),
            Op::Zigzag64 => place.set_word64(unzigzag64(r.varint()?)),
            Op::ClosedEnum => {
                let number = r.varint()? as u32;
                if !self.declares(entry, number) {
                    return Ok(Taken::Foreign);
                }
                place.set_word32(number);
            }
            Op::Message => {
                let body = r.length()?;
                self.child(Reader::new(body), place, entry, old, depth)?;
            }
            Op::Group => {
                let inner = Reader { buf: r.buf, pos: r.pos };
                r.pos = self.child(inner, place, entry, old, depth)?;
            }
        }
        Ok(Taken::Stored)
    }

    /// A message or group into `place`. Gives the position behind it, in the reader's own buffer.
    #[inline]
    pub(super) fn child(
        &mut self,
        inner: Reader<'_>,
        place: Place,
        entry: &'a FieldEntry,
        old: Option<RawMessage>,
        depth: u32,
    ) -> Result<usize, Kind> {
        let Some(depth) = depth.checked_sub(1) else { return Err(Kind::TooDeep) };
        let table = &self.tables.messages[entry.sub as usize];
        let raw = match old {
            Some(raw) => raw,
            None => {
                let raw = RawMessage::new(table, self.arena)?;
                place.set_message(Some(raw));
                raw
            }
        };
        let group = if entry.op == Op::Group { entry.number } else { 0 };
        self.message(inner, raw, table, depth, group)
    }

    pub(super) fn declares(&self, entry: &FieldEntry, number: u32) -> bool {
        self.tables.enums[entry.sub as usize].index_of(number as i32).is_some()
    }

    /// One element of a list, not packed.
    #[inline]
    pub(super) fn element(
        &mut self,
        r: &mut Reader<'_>,
        vec: &mut RawVec,
        entry: &'a FieldEntry,
        depth: u32,
    ) -> Result<Taken, Kind> {
        let place = vec.push(self.arena, entry.slot.size())?;
        if entry.slot == Slot::Message {
            place.set_message(None);
            // the element has to be whole before anything that could fail looks at it
            let table = &self.tables.messages[entry.sub as usize];
            let raw = RawMessage::new(table, self.arena)?;
            place.set_message(Some(raw));
            return self.value(r, place, entry, Some(raw), depth);
        }
        let taken = self.value(r, place, entry, None, depth);
        if !matches!(taken, Ok(Taken::Stored)) {
            vec.len -= 1;
        }
        taken
    }
}

#[inline(always)]
pub(super) fn place_message(place: Place, entry: &FieldEntry) -> Option<RawMessage> {
    if entry.slot == Slot::Message { place.message() } else { None }
}

/// The field a tag stands for, if its wire type is one the field is written with.
#[inline(always)]
fn find(table: &MessageTable, tag: u32) -> Option<&FieldEntry> {
    if tag < 128 {
        let &index = table.by_tag.get(tag as usize)?;
        return if index == NONE16 { None } else { table.fields.get(index as usize) };
    }
    find_far(table, tag)
}

#[inline(never)]
fn find_far(table: &MessageTable, tag: u32) -> Option<&FieldEntry> {
    let entry = table.fields.get(table.find_number(tag >> 3)?)?;
    (entry.tag == tag || entry.alt_tag == tag).then_some(entry)
}

#[inline(always)]
pub(super) fn unzigzag32(v: u64) -> u32 {
    let v = v as u32;
    (v >> 1) ^ (v & 1).wrapping_neg()
}

#[inline(always)]
pub(super) fn unzigzag64(v: u64) -> u64 {
    (v >> 1) ^ (v & 1).wrapping_neg()
}
