//! Messages to bytes: back to front, so that every length is known when it is due.
//!
//! Fields in number order, extensions behind them, unknown fields last as they came. Required fields are looked for
//! before the first byte is written, and only in types that can have some.

use std::cell::RefCell;

use bytes::Bytes;

use super::writer::Writer;
use crate::error::EncodeError;
use crate::message::raw::{Place, RawMessage};
use crate::message::{MessageRef, map::Key};
use crate::schema::table::{FieldEntry, Kind, MessageTable, Shape, Slot, Tables};

/// Messages nested deeper than this are refused: no peer would read them, and the stack is finite.
const MAX_DEPTH: u32 = 1000;
/// Longest encoded message.
const MAX_BYTES: usize = i32::MAX as usize;

/// How to encode. The default is the quickest form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeOptions {
    /// Map entries sorted by key: equal messages give equal bytes (with this library and version).
    pub deterministic: bool,
    /// Leaves out the check for required fields.
    pub allow_partial: bool,
}

impl EncodeOptions {
    /// Sorted maps.
    pub fn deterministic() -> EncodeOptions {
        EncodeOptions { deterministic: true, ..EncodeOptions::default() }
    }

    /// Required fields may be missing.
    pub fn partial() -> EncodeOptions {
        EncodeOptions { allow_partial: true, ..EncodeOptions::default() }
    }
}

thread_local! {
    /// The buffer of this thread, kept from one message to the next.
    static BUFFER: RefCell<Writer> = RefCell::new(Writer::new());
}

fn with_buffer<T>(f: impl FnOnce(&mut Writer) -> T) -> T {
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut writer) => {
            writer.clear();
            f(&mut writer)
        }
        // an encoder inside an encoder
        Err(_) => f(&mut Writer::new()),
    })
}

/// Encoding.
impl MessageRef<'_> {
    /// The encoded form.
    ///
    /// # Errors
    /// A required field that is not set, or more than 2 GiB.
    pub fn encode(self) -> Result<Bytes, EncodeError> {
        self.encode_with(EncodeOptions::default())
    }

    /// The encoded form, with options.
    ///
    /// # Errors
    /// As [`MessageRef::encode`].
    pub fn encode_with(self, options: EncodeOptions) -> Result<Bytes, EncodeError> {
        with_buffer(|writer| {
            self.encode_into(writer, options)?;
            Ok(writer.take())
        })
    }

    /// The encoded form behind the five-byte gRPC prefix: flag 0, length as big-endian `u32`.
    ///
    /// # Errors
    /// As [`MessageRef::encode`].
    pub fn encode_frame(self) -> Result<Bytes, EncodeError> {
        with_buffer(|writer| {
            self.encode_into(writer, EncodeOptions::default())?;
            writer.push_frame_prefix(0);
            Ok(writer.take())
        })
    }

    /// Writes the encoded form in front of what `writer` holds.
    ///
    /// # Errors
    /// As [`MessageRef::encode`].
    pub fn encode_into(
        self,
        writer: &mut Writer,
        options: EncodeOptions,
    ) -> Result<(), EncodeError> {
        if self.table().needs_check && !options.allow_partial {
            self.check_required()?;
        }
        self.encode_partial(writer, options.deterministic)
    }

    pub(crate) fn encode_partial(
        self,
        writer: &mut Writer,
        deterministic: bool,
    ) -> Result<(), EncodeError> {
        let mark = writer.len();
        let encoder = Encoder { tables: self.raw.tables(), deterministic };
        encoder.message(writer, self.raw, self.table(), MAX_DEPTH)?;
        if writer.len() - mark > MAX_BYTES {
            return Err(EncodeError::TooLarge { message: self.full_name().into() });
        }
        Ok(())
    }

    /// Whether all required fields are set, here and in every nested message.
    ///
    /// # Errors
    /// The path of the first one that is missing.
    pub fn check_required(self) -> Result<(), EncodeError> {
        let mut path = Vec::new();
        if missing(self, &mut path) {
            path.push(self.full_name().to_owned());
            path.reverse();
            return Err(EncodeError::Required { field: path.join(".") });
        }
        Ok(())
    }
}

/// Whether something required is missing; `path` gets the fields from there outwards.
fn missing(m: MessageRef<'_>, path: &mut Vec<String>) -> bool {
    let (table, tables) = (m.table(), m.raw.tables());
    if !table.needs_check {
        return false;
    }
    for &i in &table.required {
        if !m.raw.is_set(&table.fields[i as usize]) {
            path.push(table.info.fields[i as usize].name.to_string());
            return true;
        }
    }
    let mut below = |place: Option<RawMessage>, name: &str| {
        let found = place.is_some_and(|m| missing(MessageRef::new(m), path));
        if found {
            path.push(name.to_owned());
        }
        found
    };
    let mut field = |place: Place, entry: &FieldEntry, name: &str| match entry.shape {
        Shape::List => {
            let vec = place.vec();
            (0..vec.len as usize).any(|i| below(vec.element(i, 8).message(), name))
        }
        Shape::Map => {
            let table = &tables.messages[entry.sub as usize];
            let (Some(layout), Slot::Message) = (table.map, table.fields[1].slot) else {
                return false;
            };
            let vec = place.vec();
            (0..vec.len as usize).any(|i| {
                let value =
                    vec.element(i, layout.stride as usize).offset(layout.value_offset as usize);
                below(value.message(), name)
            })
        }
        _ => below(place.message(), name),
    };
    for (entry, info) in table.fields.iter().zip(&table.info.fields) {
        if entry.slot == Slot::Message
            && tables.messages[entry.sub as usize].needs_check
            && m.raw.is_set(entry)
            && field(m.raw.place(entry), entry, &info.name)
        {
            return true;
        }
    }
    m.extension_slots().iter().any(|slot| {
        let x = &tables.extensions[slot.index as usize];
        match (x.entry.slot, m.raw.find_extension(slot.number)) {
            (Slot::Message, Some(place)) => {
                field(place, &x.entry, &format!("[{}]", x.info.full_name))
            }
            _ => false,
        }
    })
}

struct Encoder<'a> {
    tables: &'a Tables,
    deterministic: bool,
}

impl<'a> Encoder<'a> {
    fn message(
        &self,
        w: &mut Writer,
        raw: RawMessage,
        table: &MessageTable,
        depth: u32,
    ) -> Result<(), EncodeError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(EncodeError::TooDeep {
                message: table.info.full_name.to_string(),
                limit: MAX_DEPTH,
            });
        };
        if raw.extra().is_some() {
            self.extra(w, raw, table, depth)?;
        }
        for entry in table.fields.iter().rev() {
            if !raw.is_set(entry) {
                continue;
            }
            let place = raw.place(entry);
            match entry.shape {
                Shape::Single | Shape::Oneof => self.tagged(w, place, entry, depth)?,
                Shape::List => self.list(w, place, entry, depth)?,
                Shape::Map => self.map(w, place, entry, depth)?,
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn extra(
        &self,
        w: &mut Writer,
        raw: RawMessage,
        table: &MessageTable,
        depth: u32,
    ) -> Result<(), EncodeError> {
        let m = MessageRef::new(raw);
        for unknown in m.unknown().rev() {
            w.push_raw(unknown);
        }
        for slot in m.extension_slots().iter().rev() {
            let entry = &self.tables.extensions[slot.index as usize].entry;
            let Some(place) = raw.find_extension(slot.number) else { continue };
            match entry.shape {
                Shape::List => self.list(w, place, entry, depth)?,
                _ if table.message_set && entry.kind == Kind::Message => {
                    w.push_byte(0x0c);
                    let mark = w.len();
                    self.child(w, place, entry, depth)?;
                    w.push_length(mark);
                    w.push_byte(0x1a);
                    w.push_varint(slot.number.into());
                    w.push_byte(0x10);
                    w.push_byte(0x0b);
                }
                _ => self.tagged(w, place, entry, depth)?,
            }
        }
        Ok(())
    }

    /// A value and its tag in front.
    #[inline(always)]
    fn tagged(
        &self,
        w: &mut Writer,
        place: Place,
        entry: &FieldEntry,
        depth: u32,
    ) -> Result<(), EncodeError> {
        self.value(w, place, entry, depth)?;
        w.push_tag(entry.tag);
        Ok(())
    }

    #[inline(always)]
    fn value(
        &self,
        w: &mut Writer,
        place: Place,
        entry: &FieldEntry,
        depth: u32,
    ) -> Result<(), EncodeError> {
        match entry.kind {
            Kind::String | Kind::Bytes => w.push_bytes(place.text()),
            Kind::Int32 | Kind::Enum => w.push_i32(place.word32() as i32),
            Kind::UInt32 => w.push_varint(place.word32().into()),
            Kind::Int64 | Kind::UInt64 => w.push_varint(place.word64()),
            Kind::Bool => w.push_byte(place.bool().into()),
            Kind::Double | Kind::Fixed64 | Kind::SFixed64 => w.push_fixed64(place.word64()),
            Kind::Float | Kind::Fixed32 | Kind::SFixed32 => w.push_fixed32(place.word32()),
            Kind::SInt32 => w.push_varint((zigzag32(place.word32() as i32)).into()),
            Kind::SInt64 => w.push_zigzag(place.word64() as i64),
            Kind::Message => {
                let mark = w.len();
                self.child(w, place, entry, depth)?;
                w.push_length(mark);
            }
            Kind::Group => {
                w.push_tag(entry.number << 3 | 4);
                self.child(w, place, entry, depth)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn child(
        &self,
        w: &mut Writer,
        place: Place,
        entry: &FieldEntry,
        depth: u32,
    ) -> Result<(), EncodeError> {
        match place.message() {
            Some(m) => self.message(w, m, &self.tables.messages[entry.sub as usize], depth),
            None => Ok(()),
        }
    }

    fn list(
        &self,
        w: &mut Writer,
        place: Place,
        entry: &FieldEntry,
        depth: u32,
    ) -> Result<(), EncodeError> {
        let (vec, stride) = (place.vec(), entry.slot.size());
        if vec.len == 0 {
            return Ok(());
        }
        if !entry.is(FieldEntry::PACKED) {
            for i in (0..vec.len as usize).rev() {
                self.tagged(w, vec.element(i, stride), entry, depth)?;
            }
            return Ok(());
        }
        let mark = w.len();
        // SAFETY: the elements of these kinds are words of this size.
        let (words, longs) = unsafe {
            match entry.slot {
                Slot::Word32 => (vec.as_slice::<u32>(), &[][..]),
                Slot::Word64 => (&[][..], vec.as_slice::<u64>()),
                _ => (&[][..], &[][..]),
            }
        };
        match entry.kind {
            Kind::Int32 | Kind::Enum => words.iter().rev().for_each(|&v| w.push_i32(v as i32)),
            Kind::UInt32 => words.iter().rev().for_each(|&v| w.push_varint(v.into())),
            Kind::SInt32 => {
                words.iter().rev().for_each(|&v| w.push_varint(zigzag32(v as i32).into()))
            }
            Kind::Int64 | Kind::UInt64 => longs.iter().rev().for_each(|&v| w.push_varint(v)),
            Kind::SInt64 => longs.iter().rev().for_each(|&v| w.push_zigzag(v as i64)),
            Kind::Double | Kind::Fixed64 | Kind::SFixed64 => {
                longs.iter().rev().for_each(|&v| w.push_fixed64(v))
            }
            Kind::Float | Kind::Fixed32 | Kind::SFixed32 => {
                words.iter().rev().for_each(|&v| w.push_fixed32(v))
            }
            _ => (0..vec.len as usize)
                .rev()
                .for_each(|i| w.push_byte(vec.element(i, 1).bool().into())),
        }
        w.push_length(mark);
        w.push_tag(entry.tag);
        Ok(())
    }

    fn map(
        &self,
        w: &mut Writer,
        place: Place,
        entry: &FieldEntry,
        depth: u32,
    ) -> Result<(), EncodeError> {
        let (vec, table) = (place.vec(), &self.tables.messages[entry.sub as usize]);
        let Some(layout) = table.map else { return Ok(()) };
        let (stride, offset) = (layout.stride as usize, layout.value_offset as usize);
        let (key, value) = (&table.fields[0], &table.fields[1]);
        let mut one = |i: usize| {
            let at = vec.element(i, stride);
            let mark = w.len();
            // both halves are written even if they are zero, as every other library does
            self.tagged(w, at.offset(offset), value, depth)?;
            self.tagged(w, at, key, depth)?;
            w.push_length(mark);
            w.push_tag(entry.tag);
            Ok(())
        };
        if !self.deterministic {
            return (0..vec.len as usize).rev().try_for_each(one);
        }
        let mut order: Vec<usize> = (0..vec.len as usize).collect();
        let signed = matches!(key.kind, Kind::Int32 | Kind::SInt32 | Kind::SFixed32);
        order.sort_by(|&a, &b| {
            match (
                Key::at(vec.element(a, stride), key.slot),
                Key::at(vec.element(b, stride), key.slot),
            ) {
                (Key::Text(a), Key::Text(b)) => a.cmp(b),
                (Key::Bits(a), Key::Bits(b)) if signed => (a as i32).cmp(&(b as i32)),
                (Key::Bits(a), Key::Bits(b))
                    if matches!(key.kind, Kind::Int64 | Kind::SInt64 | Kind::SFixed64) =>
                {
                    (a as i64).cmp(&(b as i64))
                }
                (Key::Bits(a), Key::Bits(b)) => a.cmp(&b),
                _ => std::cmp::Ordering::Equal,
            }
        });
        order.into_iter().rev().try_for_each(&mut one)
    }
}

#[inline(always)]
fn zigzag32(v: i32) -> u32 {
    ((v << 1) ^ (v >> 31)) as u32
}
