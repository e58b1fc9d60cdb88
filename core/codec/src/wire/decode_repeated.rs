//! Decoding packed lists and map entries.

use super::decode::{Decoder, Taken, place_message, unzigzag32, unzigzag64};
use super::reader::Reader;
use super::writer::Writer;
use crate::error::DecodeErrorKind as Kind;
use crate::message::raw::{Place, RawMessage};
use crate::schema::table::{FieldEntry, Op};

impl<'a> Decoder<'a> {
    /// A packed list; the room it needs is known before it is read.
    #[inline(never)]
    pub(super) fn packed(
        &mut self,
        r: &mut Reader<'_>,
        raw: RawMessage,
        place: Place,
        entry: &'a FieldEntry,
    ) -> Result<Taken, Kind> {
        let body = r.length()?;
        let (vec, arena) = (place.vec_mut(), self.arena);
        let mut inner = Reader::new(body);
        match entry.op {
            Op::Fixed32 | Op::Fixed64 => {
                let size = entry.slot.size();
                if body.len() % size != 0 {
                    return Err(Kind::Truncated);
                }
                vec.reserve(arena, body.len() / size, size)?;
                for _ in 0..body.len() / size {
                    let place = vec.push(arena, size)?;
                    match entry.op {
                        Op::Fixed32 => place.set_word32(inner.fixed32()?),
                        _ => place.set_word64(inner.fixed64()?),
                    }
                }
                return Ok(Taken::Stored);
            }
            Op::ClosedEnum => {
                while !inner.is_empty() {
                    let number = inner.varint()?;
                    if self.declares(entry, number as u32) {
                        vec.push(arena, 4)?.set_word32(number as u32);
                    } else {
                        let mut record = Writer::with_capacity(16);
                        record.push_varint(number);
                        record.push_tag(entry.number << 3);
                        raw.add_unknown(arena, arena.copy(record.as_slice())?)?;
                    }
                }
                return Ok(Taken::Stored);
            }
            _ => {}
        }
        // every varint ends with the one byte of it that is below 0x80
        let count = ends(body);
        if body.last().is_some_and(|&b| b >= 0x80) {
            return Err(Kind::Truncated);
        }
        let read = |inner: &mut Reader<'_>| inner.varint();
        match entry.op {
            Op::Bool => vec.fill(arena, count, || read(&mut inner).map(|v| v != 0))?,
            Op::Varint32 => vec.fill(arena, count, || read(&mut inner).map(|v| v as u32))?,
            Op::Zigzag32 => vec.fill(arena, count, || read(&mut inner).map(unzigzag32))?,
            Op::Zigzag64 => vec.fill(arena, count, || read(&mut inner).map(unzigzag64))?,
            _ => vec.fill(arena, count, || read(&mut inner))?,
        }
        Ok(Taken::Stored)
    }

    /// One entry of a map. Later entries with the same key win in the end.
    #[inline(never)]
    pub(super) fn map_entry(
        &mut self,
        r: &mut Reader<'_>,
        place: Place,
        entry: &'a FieldEntry,
        depth: u32,
    ) -> Result<Taken, Kind> {
        let mut inner = Reader::new(r.length()?);
        let Some(depth) = depth.checked_sub(1) else { return Err(Kind::TooDeep) };
        let table = &self.tables.messages[entry.sub as usize];
        let Some(layout) = table.map else { return Err(Kind::WireType) };
        let (key, value) = (&table.fields[0], &table.fields[1]);
        let vec = place.vec_mut();
        if vec.len == 0 {
            self.maps.push((place, table));
        }
        let slot = vec.push(self.arena, layout.stride as usize)?;
        slot.zero_bytes(layout.stride as usize);
        let value_place = slot.offset(layout.value_offset as usize);
        let mut foreign = false;
        while !inner.is_empty() {
            let tag = inner.tag()?;
            if tag == key.tag {
                self.value(&mut inner, slot, key, None, depth)?;
            } else if tag == value.tag {
                let taken = self.value(
                    &mut inner,
                    value_place,
                    value,
                    place_message(value_place, value),
                    depth,
                )?;
                foreign = taken == Taken::Foreign;
            } else {
                inner.skip(tag, depth)?;
            }
        }
        if foreign {
            vec.len -= 1;
            return Ok(Taken::Foreign);
        }
        if value.op == Op::ClosedEnum && !self.declares(value, value_place.word32()) {
            // no value at all: the first one declared, should zero not be one
            let first = self.tables.enums[value.sub as usize].values.first().map_or(0, |v| v.1);
            value_place.set_word32(first as u32);
        }
        Ok(Taken::Stored)
    }
}

/// How many bytes are below 0x80. In groups whose count fits a byte, which the compiler turns into vector code.
fn ends(body: &[u8]) -> usize {
    body.chunks(128)
        .map(|group| usize::from(group.iter().map(|&b| u8::from(b < 0x80)).sum::<u8>()))
        .sum()
}
