//! Places fields in memory and makes the look-up tables of one message type.

use super::table::{FieldEntry, Kind, MapLayout, NONE16, Op, Shape, Slot};
use crate::message::HEADER_BYTES;

/// Offsets chosen for one message type.
pub(crate) struct Layout {
    pub size: u32,
    /// One per oneof, synthetic ones included (unused there).
    pub cases: Vec<u32>,
}

/// What a oneof contributes: the indices of its members, or nothing if it is synthetic.
pub(crate) type Group = Vec<u16>;

/// Fills `offset` and `presence` of `fields`. Wide slots come first, so no padding is needed between them.
pub(crate) fn place(fields: &mut [FieldEntry], oneofs: &[Group]) -> Layout {
    let mut bits = 1u32; // bit 0 is written for fields without presence and never read
    for f in fields.iter_mut() {
        if f.shape == Shape::Single {
            f.presence = HEADER_BYTES as u32 * 8;
            if !f.is(FieldEntry::IMPLICIT) {
                f.presence += bits;
                bits += 1;
            }
        }
    }
    let mut at = HEADER_BYTES as u32 + bits.div_ceil(32) * 4;
    let cases: Vec<u32> = oneofs
        .iter()
        .map(|members| {
            let case = at;
            at += if members.is_empty() { 0 } else { 4 };
            case
        })
        .collect();
    // narrow ones first while the cursor is narrow: one pass a width, from 4 up to 8 would leave holes only once
    for width in [4u32, 8, 1] {
        at = at.next_multiple_of(width);
        for f in fields.iter_mut().filter(|f| f.shape != Shape::Oneof && width_of(f).0 == width) {
            f.offset = at;
            at += width_of(f).1;
        }
        if width == 8 {
            for (members, case) in oneofs.iter().zip(&cases).filter(|(m, _)| !m.is_empty()) {
                let size = members
                    .iter()
                    .map(|&i| fields[i as usize].slot.size())
                    .max()
                    .unwrap_or(8)
                    .max(8);
                for &i in members {
                    fields[i as usize].offset = at;
                    fields[i as usize].presence = *case;
                }
                at += size as u32;
            }
        }
    }
    Layout { size: at.next_multiple_of(8), cases }
}

/// Alignment and size in the message.
fn width_of(f: &FieldEntry) -> (u32, u32) {
    match f.shape {
        Shape::List | Shape::Map => (8, 16),
        Shape::Single | Shape::Oneof => match f.slot {
            Slot::Bool => (1, 1),
            Slot::Word32 => (4, 4),
            Slot::Word64 | Slot::Message => (8, 8),
            Slot::Text => (8, 16),
        },
    }
}

/// Memory of a map entry: the key, then the value, each on a multiple of 8.
pub(crate) fn map_layout(key: Slot, value: Slot) -> MapLayout {
    let value_offset = key.size().next_multiple_of(8) as u32;
    MapLayout { value_offset, stride: value_offset + value.size().next_multiple_of(8) as u32 }
}

/// One-byte tags to field index; covers both tags of packable fields.
pub(crate) fn by_tag(fields: &[FieldEntry]) -> Box<[u16]> {
    let tags = || fields.iter().enumerate().flat_map(|(i, f)| [(f.tag, i), (f.alt_tag, i)]);
    let len = tags()
        .filter(|(t, _)| (8..128).contains(t))
        .map(|(t, _)| t as usize + 1)
        .max()
        .unwrap_or(0);
    let mut lut = vec![NONE16; len];
    for (tag, i) in tags().filter(|(t, _)| (8..128).contains(t)) {
        lut[tag as usize] = i as u16;
    }
    lut.into()
}

/// Field number to field index, as long as at least a quarter of the places is used.
pub(crate) fn by_number(fields: &[FieldEntry]) -> Box<[u16]> {
    let dense = fields
        .iter()
        .enumerate()
        .filter(|(i, f)| f.number as usize <= 4 * (i + 1) + 16)
        .map(|(_, f)| f.number);
    let len = dense.max().map_or(0, |n| n as usize + 1);
    let mut table = vec![NONE16; len];
    for (i, f) in fields.iter().enumerate() {
        if let Some(place) = table.get_mut(f.number as usize) {
            *place = i as u16;
        }
    }
    table.into()
}

/// Storage of one value of `kind`.
pub(crate) fn slot_of(kind: Kind) -> Slot {
    match kind {
        Kind::Bool => Slot::Bool,
        Kind::Float
        | Kind::Int32
        | Kind::Fixed32
        | Kind::UInt32
        | Kind::Enum
        | Kind::SFixed32
        | Kind::SInt32 => Slot::Word32,
        Kind::Double
        | Kind::Int64
        | Kind::UInt64
        | Kind::Fixed64
        | Kind::SFixed64
        | Kind::SInt64 => Slot::Word64,
        Kind::String | Kind::Bytes => Slot::Text,
        Kind::Message | Kind::Group => Slot::Message,
    }
}

/// How `kind` is read, given what its features say.
pub(crate) fn op_of(kind: Kind, check_utf8: bool, open_enum: bool) -> Op {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::SFixed64 => Op::Fixed64,
        Kind::Float | Kind::Fixed32 | Kind::SFixed32 => Op::Fixed32,
        Kind::Int64 | Kind::UInt64 => Op::Varint64,
        Kind::Int32 | Kind::UInt32 => Op::Varint32,
        Kind::SInt32 => Op::Zigzag32,
        Kind::SInt64 => Op::Zigzag64,
        Kind::Bool => Op::Bool,
        Kind::String if check_utf8 => Op::Str,
        Kind::String | Kind::Bytes => Op::Bytes,
        Kind::Message => Op::Message,
        Kind::Group => Op::Group,
        Kind::Enum if open_enum => Op::Varint32,
        Kind::Enum => Op::ClosedEnum,
    }
}

/// Wire type of one value of `kind`.
pub(crate) fn wire_type_of(kind: Kind) -> u32 {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::SFixed64 => 1,
        Kind::Float | Kind::Fixed32 | Kind::SFixed32 => 5,
        Kind::String | Kind::Bytes | Kind::Message => 2,
        Kind::Group => 3,
        _ => 0,
    }
}

/// The bytes of a tag, and how many they are.
pub(crate) fn tag_bytes(mut tag: u32) -> ([u8; 5], u8) {
    let mut bytes = [0; 5];
    for (i, b) in bytes.iter_mut().enumerate() {
        *b = tag as u8 & 0x7f;
        tag >>= 7;
        if tag == 0 {
            return (bytes, i as u8 + 1);
        }
        *b |= 0x80;
    }
    (bytes, 5)
}
