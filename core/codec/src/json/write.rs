//! Messages to JSON text, appended to one buffer.

use std::cell::Cell;

use super::error::{JsonError, JsonErrorKind as Kind};
use super::lexer::plain_end;
use super::number::{push_f32, push_f64, push_i64, push_u64};
use super::read::NULL_VALUE;
use super::{JsonPrintOptions, MAX_MESSAGES};
use crate::message::MessageRef;
use crate::message::raw::{Place, RawMessage};
use crate::schema::WellKnown;
use crate::schema::table::{FieldEntry, Kind as FieldKind, MessageTable, Shape, Slot, Tables};
use crate::wire::is_utf8;

pub(super) type Result<T> = std::result::Result<T, JsonError>;

thread_local! {
    /// The buffer of this thread, kept from one text to the next: the text itself is then allocated once, at its length.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer that grew beyond this many bytes is not kept.
const KEEP_BYTES: usize = 1 << 20;

/// A whole message to text.
pub(super) fn print(message: MessageRef<'_>, options: &JsonPrintOptions) -> Result<String> {
    let mut out = BUFFER.try_with(Cell::take).unwrap_or_default();
    out.clear();
    let tables = message.raw.tables();
    let mut writer = Writer { out, tables, options: *options, level: 0, memory: 256 << 20 };
    let result = writer.message(message.raw, message.table(), MAX_MESSAGES).and_then(|()| {
        // every string was checked on its way in or on its way out
        match std::str::from_utf8(&writer.out) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(no_form("a string is not UTF-8")),
        }
    });
    if writer.out.capacity() <= KEEP_BYTES {
        let _ = BUFFER.try_with(|buffer| buffer.set(writer.out));
    }
    result.map_err(|e| e.of_message(message.full_name()))
}

pub(super) struct Writer<'t> {
    pub out: Vec<u8>,
    pub tables: &'t Tables,
    pub options: JsonPrintOptions,
    /// Objects and arrays that are open, for the indentation.
    pub level: usize,
    /// Bytes that the messages inside `Any`s may still take; each is decoded while those around it are held.
    pub memory: usize,
}

/// The error for what JSON cannot say.
#[cold]
pub(super) fn no_form(reason: impl Into<String>) -> JsonError {
    JsonError::new(Kind::NoJsonForm, 0, reason)
}

impl<'t> Writer<'t> {
    /// One message, in the form of its own if it is a well-known type.
    pub fn message(&mut self, raw: RawMessage, table: &'t MessageTable, depth: u32) -> Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(JsonError::new(Kind::TooDeep, 0, "nested too deep"));
        };
        match table.info.well_known {
            None | Some(WellKnown::Empty) => {
                self.open(b'{');
                let empty = self.members(raw, table, depth, true)?;
                self.close(b'}', empty);
                Ok(())
            }
            Some(known) => self.well_known(known, raw, table, depth),
        }
    }

    #[inline(always)]
    pub fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.level += 1;
    }

    #[inline(always)]
    pub fn close(&mut self, bracket: u8, empty: bool) {
        self.level -= 1;
        if !empty {
            self.new_line();
        }
        self.out.push(bracket);
    }

    #[inline(always)]
    fn new_line(&mut self) {
        if let Some(indent) = self.options.indent {
            self.out.push(b'\n');
            let width = self.level * usize::from(indent);
            self.out.resize(self.out.len() + width, b' ');
        }
    }

    /// What stands in front of a member or element.
    #[inline(always)]
    pub fn separate(&mut self, first: bool) {
        if !first {
            self.out.push(b',');
        }
        self.new_line();
    }

    #[inline(always)]
    pub fn colon(&mut self) {
        self.out.extend_from_slice(if self.options.indent.is_some() { b": " } else { b":" });
    }

    /// The fields that are set. Takes and gives whether the object is still empty.
    pub fn members(
        &mut self,
        raw: RawMessage,
        table: &'t MessageTable,
        depth: u32,
        mut empty: bool,
    ) -> Result<bool> {
        let always = self.options.always_print_fields_without_presence;
        for (entry, info) in table.fields.iter().zip(&table.info.fields) {
            let shown = raw.is_set(entry) || (always && has_no_presence(entry));
            if !shown {
                continue;
            }
            self.separate(empty);
            empty = false;
            let proto_name = self.options.preserve_proto_names;
            self.string(if proto_name { info.name.as_bytes() } else { info.json_name.as_bytes() });
            self.colon();
            self.field(raw.place(entry), entry, depth).map_err(|e| e.in_field(&info.name))?;
        }
        if raw.extra().is_some() {
            empty = self.extensions(raw, depth, empty)?;
        }
        Ok(empty)
    }

    #[inline(never)]
    fn extensions(&mut self, raw: RawMessage, depth: u32, mut empty: bool) -> Result<bool> {
        let tables = self.tables;
        for slot in MessageRef::new(raw).extension_slots() {
            let Some(extension) = tables.extensions.get(slot.index as usize) else { continue };
            let (entry, info) = (&extension.entry, &extension.info);
            let Some(place) = MessageRef::new(raw).place(entry) else { continue };
            self.separate(empty);
            empty = false;
            let name = format!("[{}]", info.full_name);
            self.string(name.as_bytes());
            self.colon();
            self.field(place, entry, depth).map_err(|e| e.in_field(&name))?;
        }
        Ok(empty)
    }

    #[inline]
    fn field(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<()> {
        match entry.shape {
            Shape::List => self.list(place, entry, depth),
            Shape::Map => self.map(place, entry, depth),
            _ => self.value(place, entry, depth),
        }
    }

    pub fn list(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<()> {
        let (vec, stride) = (place.vec(), entry.slot.size());
        self.open(b'[');
        for index in 0..vec.len as usize {
            self.separate(index == 0);
            self.value(vec.element(index, stride), entry, depth)
                .map_err(|e| e.in_element(index))?;
        }
        self.close(b']', vec.len == 0);
        Ok(())
    }

    pub fn map(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<()> {
        let vec = place.vec();
        self.open(b'{');
        let parts = self.tables.messages.get(entry.sub as usize).and_then(|t| match &*t.fields {
            [key, value] => Some((key, value, t.map?)),
            _ => None,
        });
        if let Some((key, value, layout)) = parts {
            let (stride, offset) = (layout.stride as usize, layout.value_offset as usize);
            for index in 0..vec.len as usize {
                let at = vec.element(index, stride);
                self.separate(index == 0);
                let start = self.out.len();
                self.key(at, key)?;
                let end = self.out.len();
                self.colon();
                if let Err(e) = self.value(at.offset(offset), value, depth) {
                    let key = self.out.get(start + 1..end - 1).unwrap_or_default();
                    return Err(e.in_key(&String::from_utf8_lossy(key)));
                }
            }
        }
        self.close(b'}', vec.len == 0);
        Ok(())
    }

    fn key(&mut self, place: Place, entry: &FieldEntry) -> Result<()> {
        if entry.kind == FieldKind::String {
            return self.checked_string(place, entry);
        }
        self.out.push(b'"');
        match entry.kind {
            FieldKind::Bool => self.boolean(place.bool()),
            FieldKind::Int32 | FieldKind::SInt32 | FieldKind::SFixed32 => {
                push_i64(&mut self.out, i64::from(place.word32() as i32));
            }
            FieldKind::Int64 | FieldKind::SInt64 | FieldKind::SFixed64 => {
                push_i64(&mut self.out, place.word64() as i64);
            }
            _ => push_u64(&mut self.out, place.bits(entry.slot)),
        }
        self.out.push(b'"');
        Ok(())
    }

    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// One value.
    #[inline]
    pub fn value(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<()> {
        match entry.kind {
            FieldKind::Int32 | FieldKind::SInt32 | FieldKind::SFixed32 => {
                push_i64(&mut self.out, i64::from(place.word32() as i32));
            }
            FieldKind::UInt32 | FieldKind::Fixed32 => {
                push_u64(&mut self.out, place.word32().into())
            }
            FieldKind::Int64 | FieldKind::SInt64 | FieldKind::SFixed64 => {
                self.out.push(b'"');
                push_i64(&mut self.out, place.word64() as i64);
                self.out.push(b'"');
            }
            FieldKind::UInt64 | FieldKind::Fixed64 => {
                self.out.push(b'"');
                push_u64(&mut self.out, place.word64());
                self.out.push(b'"');
            }
            FieldKind::Double => push_f64(&mut self.out, f64::from_bits(place.word64())),
            FieldKind::Float => push_f32(&mut self.out, f32::from_bits(place.word32())),
            FieldKind::Bool => self.boolean(place.bool()),
            FieldKind::String => return self.checked_string(place, entry),
            FieldKind::Bytes => self.base64(place.text()),
            FieldKind::Enum => self.enum_value(place.word32() as i32, entry),
            FieldKind::Message | FieldKind::Group => {
                let Some(table) = self.tables.messages.get(entry.sub as usize) else {
                    return Err(no_form("a type that is not there"));
                };
                let raw = place.message().unwrap_or_else(|| RawMessage::default_of(table));
                return self.message(raw, table, depth);
            }
        }
        Ok(())
    }

    fn enum_value(&mut self, number: i32, entry: &FieldEntry) {
        let Some(values) = self.tables.enums.get(entry.sub as usize) else { return };
        if &*values.full_name == NULL_VALUE {
            return self.out.extend_from_slice(b"null");
        }
        let declared = values.index_of(number).and_then(|i| values.values.get(i as usize));
        match declared {
            Some((name, ..)) if !self.options.enums_as_ints => self.string(name.as_bytes()),
            _ => push_i64(&mut self.out, number.into()),
        }
    }

    /// A string field's value, which may be anything where nobody checks it.
    #[inline]
    fn checked_string(&mut self, place: Place, entry: &FieldEntry) -> Result<()> {
        let text = place.text();
        if !entry.is(FieldEntry::UTF8) && !is_utf8(text) {
            return Err(no_form("the string is not UTF-8"));
        }
        self.string(text);
        Ok(())
    }

    /// A string in quotes, escaped where RFC 8259 asks for it.
    #[inline]
    pub fn string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        let end = plain_end(text, 0);
        self.out.extend_from_slice(text.get(..end).unwrap_or_default());
        if end != text.len() {
            self.escape(text, end);
        }
        self.out.push(b'"');
    }

    /// The rest of a string, from the first byte that has to be escaped.
    #[inline(never)]
    fn escape(&mut self, text: &[u8], mut at: usize) {
        while let Some(&b) = text.get(at) {
            let short = match b {
                b'"' | b'\\' => Some(b),
                b'\n' => Some(b'n'),
                b'\r' => Some(b'r'),
                b'\t' => Some(b't'),
                8 => Some(b'b'),
                12 => Some(b'f'),
                _ => None,
            };
            match short {
                Some(letter) => self.out.extend_from_slice(&[b'\\', letter]),
                None => {
                    let hex = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
                    self.out.extend_from_slice(b"\\u00");
                    self.out.extend_from_slice(&[hex(b >> 4), hex(b & 15)]);
                }
            }
            let end = plain_end(text, at + 1);
            self.out.extend_from_slice(text.get(at + 1..end).unwrap_or_default());
            at = end;
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        use base64::Engine as _;
        self.out.push(b'"');
        let start = self.out.len();
        // padded: four characters for three bytes
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let room = self.out.get_mut(start..).unwrap_or_default();
        let written = base64::engine::general_purpose::STANDARD.encode_slice(bytes, room);
        self.out.truncate(start + written.unwrap_or(0));
        self.out.push(b'"');
    }
}

/// Whether unset and zero are the same for this field.
fn has_no_presence(entry: &FieldEntry) -> bool {
    match entry.shape {
        Shape::List | Shape::Map => true,
        Shape::Single => entry.is(FieldEntry::IMPLICIT) && entry.slot != Slot::Message,
        Shape::Oneof => false,
    }
}
