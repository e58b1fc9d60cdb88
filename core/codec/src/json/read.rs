//! JSON text to an arena message, by the table.
//!
//! Names are found by guessing (printers keep the order of the numbers), then by hash. Every value goes from the text
//! into its slot; strings are copied, because those with escapes are not slices of the text.

use std::sync::Arc;

use super::error::{JsonError, JsonErrorKind as Kind};
use super::lexer::Lexer;
use super::read_scalar::{decode_base64, map_key};
use super::{JsonParseOptions, MAX_DEPTH};
use crate::message::map::Index;
use crate::message::raw::{Place, RawMessage};
use crate::message::{ArenaPtr, Exhausted, Given, Message};
use crate::schema::table::{
    FieldEntry, FieldInfo, Kind as FieldKind, MessageTable, Shape, Slot, Symbol, Tables,
};
use crate::schema::{MessageType, WellKnown};

pub(super) type Result<T> = std::result::Result<T, JsonError>;

/// How many fields behind the last one are tried by name before the hash.
const GUESSES: usize = 3;

/// A whole text to a message.
pub(super) fn parse(
    message_type: &MessageType,
    text: &str,
    options: &JsonParseOptions,
) -> Result<Message> {
    let (tables, table) = (&message_type.tables, &*message_type.table);
    let room = (text.len() + text.len() / 2).min(32 << 10).min(options.max_memory_bytes);
    let message = Message::with_room(tables, table, room, options.max_memory_bytes);
    let mut reader = Reader {
        lexer: Lexer::new(text),
        tables,
        arena: message.arena(),
        options: *options,
        scanned: 0,
    };
    let depth = options.max_depth.min(MAX_DEPTH);
    let result = reader
        .message(message.raw(), table, depth)
        .and_then(|()| reader.lexer.end())
        .and_then(|()| reader.check_required(&message));
    match result {
        Ok(()) => {
            message.arena().set_limit(usize::MAX);
            Ok(message)
        }
        Err(e) => Err(e.of_message(&table.info.full_name).located(text)),
    }
}

/// The text, and where its message goes.
pub(super) struct Reader<'s, 't> {
    pub lexer: Lexer<'s>,
    pub tables: &'t Arc<Tables>,
    pub arena: ArenaPtr,
    pub options: JsonParseOptions,
    /// How far the text was read ahead for the types of `Any`s.
    pub scanned: usize,
}

/// What a name stands for.
enum Found<'t> {
    Own(usize),
    Extension(u32, &'t FieldEntry, &'t FieldInfo),
    Unknown,
}

/// Which fields of one object were there.
#[derive(Default)]
struct Seen {
    first: [u64; 2],
    more: Vec<u64>,
    extensions: Vec<u32>,
}

impl Seen {
    /// `true` if the field was not there yet.
    #[inline(always)]
    fn insert(&mut self, index: usize) -> bool {
        let word = index / 64;
        if self.first.get(word).is_none() && self.more.len() < word - 1 {
            self.more.resize(word - 1, 0);
        }
        let word = match self.first.get_mut(word) {
            Some(word) => word,
            None => match self.more.get_mut(word - 2) {
                Some(word) => word,
                None => return false,
            },
        };
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

impl<'s, 't> Reader<'s, 't> {
    pub fn error(&self, kind: Kind, reason: impl Into<String>) -> JsonError {
        self.lexer.error(kind, reason)
    }

    /// What the arena says when it is full.
    #[cold]
    pub fn full(&self) -> JsonError {
        let most = self.options.max_memory_bytes;
        let reason = format!(
            "one message may take {most} bytes of memory, and all of the process no more than they may"
        );
        self.error(Kind::Memory, reason)
    }

    #[inline(always)]
    pub fn fits<T>(&self, result: std::result::Result<T, Exhausted>) -> Result<T> {
        result.map_err(|Exhausted| self.full())
    }

    fn check_required(&self, message: &Message) -> Result<()> {
        if self.options.allow_partial || !message.raw().table().needs_check {
            return Ok(());
        }
        message.check_required().map_err(|e| JsonError::new(Kind::Required, 0, e.to_string()))
    }

    /// One message, in the form of its own if it is a well-known type.
    pub fn message(&mut self, raw: RawMessage, table: &'t MessageTable, depth: u32) -> Result<()> {
        match table.info.well_known {
            None | Some(WellKnown::Empty) => self.object(raw, table, depth, None),
            Some(known) => self.well_known(known, raw, table, depth),
        }
    }

    /// One object with a message's fields. A member called `skip` is passed over: it is for the caller.
    pub fn object(
        &mut self,
        raw: RawMessage,
        table: &'t MessageTable,
        depth: u32,
        skip: Option<&str>,
    ) -> Result<()> {
        if self.lexer.peek() != b'{' {
            return Err(self.lexer.wrong_type("an object"));
        }
        let depth = self.lexer.deeper(depth)?;
        self.lexer.pos += 1;
        if self.lexer.take(b'}') {
            return Ok(());
        }
        let (mut seen, mut next, mut skipped) = (Seen::default(), 0, false);
        loop {
            self.lexer.peek();
            let at = self.lexer.pos;
            let key = self.lexer.key()?;
            match find(self.tables, table, &key, next) {
                Found::Own(index) => {
                    let (Some(entry), Some(info)) =
                        (table.fields.get(index), table.info.fields.get(index))
                    else {
                        return Err(self.unknown(table, &key, at));
                    };
                    next = index + 1;
                    if !seen.insert(index) {
                        return Err(twice(&key, at).in_field(&info.name));
                    }
                    self.field(raw, entry, info, depth).map_err(|e| e.in_field(&info.name))?;
                }
                Found::Extension(index, entry, info) => {
                    let name = || format!("[{}]", info.full_name);
                    if seen.extensions.contains(&index) {
                        return Err(twice(&key, at).in_field(&name()));
                    }
                    seen.extensions.push(index);
                    self.extension(raw, entry, index, depth).map_err(|e| e.in_field(&name()))?;
                }
                Found::Unknown if skip == Some(&*key) => {
                    if std::mem::replace(&mut skipped, true) {
                        return Err(twice(&key, at));
                    }
                    self.lexer.skip(depth)?;
                }
                Found::Unknown if self.options.ignore_unknown_fields => self.lexer.skip(depth)?,
                Found::Unknown => return Err(self.unknown(table, &key, at)),
            }
            if !self.lexer.more(b'}')? {
                return Ok(());
            }
        }
    }

    #[cold]
    pub fn unknown(&self, table: &MessageTable, key: &str, at: usize) -> JsonError {
        let reason = format!("{} has no field {key:?}", table.info.full_name);
        JsonError::new(Kind::UnknownField, at, reason)
    }

    #[inline]
    fn field(
        &mut self,
        raw: RawMessage,
        entry: &'t FieldEntry,
        info: &'t FieldInfo,
        depth: u32,
    ) -> Result<()> {
        if self.lexer.peek() == b'n' && !self.takes_null(entry) {
            return self.lexer.word("null");
        }
        let place = raw.place(entry);
        match entry.shape {
            Shape::Single => {
                if self.value(place, entry, depth)? {
                    raw.set_bit(entry);
                }
                Ok(())
            }
            Shape::List => self.list(place, entry, depth),
            Shape::Map => self.map(place, entry, depth),
            Shape::Oneof => {
                if raw.case(entry.presence) != 0 {
                    let oneof = raw.table().info.oneofs.get(info.oneof as usize);
                    let name = oneof.map_or("?", |o| &*o.name);
                    let reason = format!("another member of the oneof {name} is set already");
                    return Err(self.error(Kind::Duplicate, reason));
                }
                if self.value(place, entry, depth)? {
                    raw.set_case(entry.presence, entry.number);
                }
                Ok(())
            }
        }
    }

    fn extension(
        &mut self,
        raw: RawMessage,
        entry: &'t FieldEntry,
        index: u32,
        depth: u32,
    ) -> Result<()> {
        if self.lexer.peek() == b'n' && !self.takes_null(entry) {
            return self.lexer.word("null");
        }
        let place = self.fits(raw.put_extension(entry.number, index))?;
        let stored = match entry.shape {
            Shape::List => {
                self.list(place, entry, depth)?;
                place.vec().len != 0
            }
            _ => self.value(place, entry, depth)?,
        };
        if !stored {
            raw.remove_extension(entry.number);
        }
        Ok(())
    }

    /// Whether `null` is a value of this type and not the absence of one.
    fn takes_null(&self, entry: &FieldEntry) -> bool {
        if !matches!(entry.shape, Shape::Single | Shape::Oneof) {
            return false;
        }
        self.null_is_value(entry)
    }

    fn null_is_value(&self, entry: &FieldEntry) -> bool {
        match entry.slot {
            Slot::Message => {
                self.sub(entry).is_some_and(|t| t.info.well_known == Some(WellKnown::Value))
            }
            _ if entry.kind == FieldKind::Enum => {
                let values = self.tables.enums.get(entry.sub as usize);
                values.is_some_and(|e| &*e.full_name == NULL_VALUE)
            }
            _ => false,
        }
    }

    pub fn sub(&self, entry: &FieldEntry) -> Option<&'t MessageTable> {
        self.tables.messages.get(entry.sub as usize)
    }

    /// The elements of a repeated field.
    pub fn list(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<()> {
        if self.lexer.peek() != b'[' {
            return Err(self.lexer.wrong_type("an array"));
        }
        self.lexer.pos += 1;
        if self.lexer.take(b']') {
            return Ok(());
        }
        let (vec, stride) = (place.vec_mut(), entry.slot.size());
        let mut index = 0;
        loop {
            if self.lexer.peek() == b'n' && !self.null_is_value(entry) {
                let e = self.error(Kind::WrongType, "null is not an element of a list");
                return Err(e.in_element(index));
            }
            let element = self.fits(vec.push(self.arena, stride))?;
            element.zero(entry.slot, Shape::Single);
            match self.value(element, entry, depth) {
                Ok(true) => {}
                Ok(false) => vec.len -= 1,
                Err(e) => return Err(e.in_element(index)),
            }
            index += 1;
            if !self.lexer.more(b']')? {
                return Ok(());
            }
        }
    }

    /// The entries of a map field.
    pub fn map(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<()> {
        if self.lexer.peek() != b'{' {
            return Err(self.lexer.wrong_type("an object"));
        }
        let depth = self.lexer.deeper(depth)?;
        self.lexer.pos += 1;
        if self.lexer.take(b'}') {
            return Ok(());
        }
        let parts = self.sub(entry).and_then(|t| match &*t.fields {
            [key, value] => Some((key, value, t.map?)),
            _ => None,
        });
        let Some((key_entry, value_entry, layout)) = parts else {
            return Err(self.error(Kind::WrongType, "not a map"));
        };
        let (vec, stride) = (place.vec_mut(), layout.stride as usize);
        let mut index = Index::default();
        loop {
            self.lexer.peek();
            let at = self.lexer.pos;
            let key = self.lexer.key()?;
            let given = map_key(key_entry.kind, &key).map_err(|(kind, expected)| {
                JsonError::new(kind, at, format!("expected {expected}, got {key:?}"))
            })?;
            if index.position(vec, stride, key_entry.slot, given).is_some() {
                return Err(twice(&key, at));
            }
            if self.lexer.peek() == b'n' && !self.null_is_value(value_entry) {
                let e = self.error(Kind::WrongType, "null is not a value of a map");
                return Err(e.in_key(&key));
            }
            let slot = self.fits(vec.push(self.arena, stride))?;
            slot.zero_bytes(stride);
            match given {
                Given::Text(text) => self.put_text(slot, text)?,
                Given::Bits(bits) => slot.set_bits(key_entry.slot, bits),
                Given::Message(_) => {}
            }
            let value = slot.offset(layout.value_offset as usize);
            match self.value(value, value_entry, depth) {
                Ok(true) => index.added(vec, stride, key_entry.slot),
                Ok(false) => vec.len -= 1,
                Err(e) => return Err(e.in_key(&key)),
            }
            if !self.lexer.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// Copies text into the arena.
    #[inline]
    pub fn put_text(&self, place: Place, text: &[u8]) -> Result<()> {
        place.set_text(self.fits(self.arena.copy(text))?);
        Ok(())
    }

    /// One value; `false` if it was passed over (the unknown name of an enum value).
    #[inline]
    pub fn value(&mut self, place: Place, entry: &'t FieldEntry, depth: u32) -> Result<bool> {
        match entry.kind {
            FieldKind::Int32 | FieldKind::SInt32 | FieldKind::SFixed32 => {
                let bits = self.integer(i32::MIN.into(), i32::MAX as u64, "int32")?;
                place.set_word32(bits as u32);
            }
            FieldKind::UInt32 | FieldKind::Fixed32 => {
                place.set_word32(self.integer(0, u32::MAX.into(), "uint32")? as u32);
            }
            FieldKind::Int64 | FieldKind::SInt64 | FieldKind::SFixed64 => {
                place.set_word64(self.integer(i64::MIN, i64::MAX as u64, "int64")?);
            }
            FieldKind::UInt64 | FieldKind::Fixed64 => {
                place.set_word64(self.integer(0, u64::MAX, "uint64")?);
            }
            FieldKind::Double => place.set_word64(self.float::<f64>("double")?.to_bits()),
            FieldKind::Float => place.set_word32(self.float::<f32>("float")?.to_bits()),
            FieldKind::Bool => {
                let value = self.lexer.peek() == b't';
                match self.lexer.peek() {
                    b't' => self.lexer.word("true")?,
                    b'f' => self.lexer.word("false")?,
                    _ => return Err(self.lexer.wrong_type("a boolean")),
                }
                place.set_bool(value);
            }
            FieldKind::String => {
                let text = self.text("a string")?;
                self.put_text(place, text.as_bytes())?;
            }
            FieldKind::Bytes => {
                let start = self.lexer.pos;
                let text = self.text("a base64 string")?;
                let Some(bytes) = decode_base64(&text) else {
                    return Err(JsonError::new(Kind::InvalidValue, start, "not base64"));
                };
                self.put_text(place, &bytes)?;
            }
            FieldKind::Enum => match self.enum_number(entry)? {
                Some(number) => place.set_word32(number as u32),
                None => return Ok(false),
            },
            FieldKind::Message | FieldKind::Group => {
                let Some(table) = self.sub(entry) else {
                    return Err(self.error(Kind::WrongType, "a type that is not there"));
                };
                let raw = self.fits(RawMessage::new(table, self.arena))?;
                place.set_message(Some(raw));
                self.message(raw, table, depth)?;
            }
        }
        Ok(true)
    }
}

/// The enum whose one value is `null`.
pub(super) const NULL_VALUE: &str = "google.protobuf.NullValue";

#[cold]
pub(super) fn twice(key: &str, at: usize) -> JsonError {
    JsonError::new(Kind::Duplicate, at, format!("{key:?} is there twice"))
}

/// The field or extension a name stands for. `next` is the field behind the one that came last.
#[inline]
fn find<'t>(tables: &'t Tables, table: &'t MessageTable, key: &str, next: usize) -> Found<'t> {
    let guesses = table.info.fields.iter().enumerate().skip(next).take(GUESSES);
    for (index, info) in guesses {
        if *info.json_name == *key {
            return Found::Own(index);
        }
    }
    find_far(tables, table, key)
}

#[inline(never)]
fn find_far<'t>(tables: &'t Tables, table: &'t MessageTable, key: &str) -> Found<'t> {
    let info = &table.info;
    if let Some(&index) = info.by_json_name.get(key).or_else(|| info.by_name.get(key)) {
        return Found::Own(index as usize);
    }
    let name = key.strip_prefix('[').and_then(|k| k.strip_suffix(']'));
    let Some(&Symbol::Extension(index)) = name.and_then(|n| tables.symbols.get(n)) else {
        return Found::Unknown;
    };
    match tables.extensions.get(index as usize) {
        Some(x) if x.info.owner == table.index => Found::Extension(index, &x.entry, &x.info),
        _ => Found::Unknown,
    }
}
