//! Reading: borrowed messages, lists and maps. All are a few words, `Copy`, and hold no lock.

use std::fmt;
use std::marker::PhantomData;

use super::arena::ArenaPtr;
use super::raw::{ExtensionSlot, Place, RawMessage, RawVec};
use super::value::{Value, scalar, texts};
use crate::error::ValueError;
use crate::schema::table::{FieldEntry, FieldInfo, Kind, MessageTable, Shape, Slot, Tables};
use crate::schema::{Field, MessageType, OneofType};

/// A borrowed message: one pointer.
#[derive(Clone, Copy)]
pub struct MessageRef<'a> {
    pub(crate) raw: RawMessage,
    life: PhantomData<&'a MessageTable>,
}

// SAFETY: a `MessageRef` only reads, and what it reads is not written while it is borrowed.
unsafe impl Send for MessageRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MessageRef<'_> {}

/// A borrowed list.
#[derive(Clone, Copy)]
pub struct ListRef<'a> {
    vec: &'a RawVec,
    pub(crate) entry: &'a FieldEntry,
    tables: &'a Tables,
}

/// A borrowed map. Entries keep the order in which they came; a key occurs once.
#[derive(Clone, Copy)]
pub struct MapRef<'a> {
    vec: &'a RawVec,
    pub(crate) table: &'a MessageTable,
    tables: &'a Tables,
}

// SAFETY: both only read, as `MessageRef`.
unsafe impl Send for ListRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for ListRef<'_> {}
// SAFETY: as above.
unsafe impl Send for MapRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MapRef<'_> {}

static EMPTY: SharedVec = SharedVec(RawVec { ptr: std::ptr::null_mut(), len: 0, cap: 0 });

struct SharedVec(RawVec);

// SAFETY: an empty vector is never written and has no elements to reach.
unsafe impl Sync for SharedVec {}

impl<'a> MessageRef<'a> {
    #[inline(always)]
    pub(crate) fn new(raw: RawMessage) -> MessageRef<'a> {
        MessageRef { raw, life: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn table(self) -> &'a MessageTable {
        self.raw.table()
    }

    pub(crate) fn arena(self) -> Option<ArenaPtr> {
        self.raw.arena()
    }

    /// Full name of the type.
    pub fn full_name(self) -> &'a str {
        &self.table().info.full_name
    }

    /// The type.
    pub fn message_type(self) -> MessageType {
        MessageType::new(&self.raw.share_tables(), self.table().index)
    }

    /// Whether both are the same message in memory.
    pub fn same_as(self, other: MessageRef<'_>) -> bool {
        self.raw == other.raw
    }

    /// The field's entry and info with the message's lifetime, or an error if it is another type's.
    #[inline(always)]
    pub(crate) fn check(
        self,
        field: &Field,
    ) -> Result<(&'a FieldEntry, &'a FieldInfo), ValueError> {
        if !std::ptr::eq(self.raw.table_ptr(), field.table.as_ptr()) {
            return Err(self.foreign(field));
        }
        // SAFETY: the field is of this message's table, so its parts belong to the tables the message keeps alive.
        unsafe { Ok((&*field.entry.as_ptr(), &*field.info.as_ptr())) }
    }

    #[cold]
    #[inline(never)]
    fn foreign(self, field: &Field) -> ValueError {
        ValueError::ForeignField {
            field: field.full_name().into(),
            message: self.full_name().into(),
        }
    }

    /// Where the value lies, if the field is set.
    #[inline(always)]
    pub(crate) fn place(self, entry: &FieldEntry) -> Option<Place> {
        if entry.is(FieldEntry::EXTENSION) {
            let place = self.raw.find_extension(entry.number)?;
            return (entry.shape != Shape::List || place.vec().len != 0).then_some(place);
        }
        self.raw.is_set(entry).then(|| self.raw.place(entry))
    }

    pub(crate) fn read(self, place: Place, entry: &'a FieldEntry) -> Value<'a> {
        let tables = self.raw.tables();
        match entry.shape {
            Shape::List => Value::List(ListRef { vec: place.vec(), entry, tables }),
            Shape::Map => Value::Map(MapRef {
                vec: place.vec(),
                table: &tables.messages[entry.sub as usize],
                tables,
            }),
            _ => Value::read(place, entry, tables),
        }
    }

    /// The field's value, or what it reads as while unset: its default, an empty list, an empty message.
    ///
    /// # Panics
    /// If the field is not one of this message's type; [`MessageRef::try_get`] gives an error instead.
    pub fn get(self, field: &Field) -> Value<'a> {
        match self.try_get(field) {
            Ok(value) => value,
            Err(e) => panic!("{e}"),
        }
    }

    /// As [`MessageRef::get`].
    ///
    /// # Errors
    /// The field is not one of this message's type.
    #[inline]
    pub fn try_get(self, field: &Field) -> Result<Value<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        Ok(match self.place(entry) {
            Some(place) => self.read(place, entry),
            None => self.unset(entry, info),
        })
    }

    fn unset(self, entry: &'a FieldEntry, info: &'a FieldInfo) -> Value<'a> {
        let tables = self.raw.tables();
        match entry.shape {
            Shape::List => Value::List(ListRef { vec: &EMPTY.0, entry, tables }),
            Shape::Map => Value::Map(MapRef {
                vec: &EMPTY.0,
                table: &tables.messages[entry.sub as usize],
                tables,
            }),
            _ => Value::default_of(tables, entry, info),
        }
    }

    /// The field's value if it is set (for fields without presence: not zero; lists and maps: not empty).
    /// `None` also if the field is another type's.
    pub fn present(self, field: &Field) -> Option<Value<'a>> {
        let (entry, _) = self.check(field).ok()?;
        Some(self.read(self.place(entry)?, entry))
    }

    /// Whether the field is set, in the sense of [`MessageRef::present`].
    #[inline]
    pub fn has(self, field: &Field) -> bool {
        matches!(self.check(field), Ok((entry, _)) if self.place(entry).is_some())
    }

    /// The member of a oneof that is set.
    pub fn which_oneof(self, oneof: &OneofType) -> Option<Field> {
        if !std::ptr::eq(self.raw.table_ptr(), oneof.table.as_ptr()) {
            return None;
        }
        let index = self.table().find_number(self.raw.case(oneof.info.case))?;
        Some(Field::of(&oneof.tables, self.table(), index))
    }

    /// The fields that are set, extensions behind the others, each group in number order.
    pub fn fields(self) -> impl Iterator<Item = (Field, Value<'a>)> + 'a {
        let tables = self.raw.share_tables();
        let table = self.table();
        let own = (0..table.fields.len()).filter_map({
            let tables = tables.clone();
            move |i| {
                let entry = &table.fields[i];
                Some((Field::of(&tables, table, i), self.read(self.place(entry)?, entry)))
            }
        });
        let extensions = self.extension_slots().iter().filter_map(move |slot| {
            let field = Field::extension(&tables, slot.index);
            let value = self.present(&field)?;
            Some((field, value))
        });
        own.chain(extensions)
    }

    pub(crate) fn extension_slots(self) -> &'a [ExtensionSlot] {
        match self.raw.extra() {
            // SAFETY: these are the elements of that vector.
            Some(extra) => unsafe { extra.extensions.as_slice() },
            None => &[],
        }
    }

    /// Fields the type does not know, encoded, in wire order. A slice may hold several.
    pub fn unknown(self) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'a {
        let vec = self.raw.extra().map_or(&EMPTY.0, |e| &e.unknown);
        (0..vec.len as usize).map(move |i| vec.element(i, Slot::Text.size()).text())
    }

    /// Whether no field is set and nothing unknown was kept.
    pub fn is_empty(self) -> bool {
        self.unknown().next().is_none()
            && self.table().fields.iter().all(|f| !self.raw.is_set(f))
            && self.extension_slots().is_empty()
    }

    /// The value of the field called `name`; extensions as `[pkg.name]`.
    ///
    /// # Errors
    /// There is no such field.
    pub fn get_by_name(self, name: &str) -> Result<Value<'a>, ValueError> {
        self.try_get(&self.field_by_name(name)?)
    }

    /// Whether the field called `name` is set.
    ///
    /// # Errors
    /// There is no such field.
    pub fn has_by_name(self, name: &str) -> Result<bool, ValueError> {
        Ok(self.has(&self.field_by_name(name)?))
    }

    pub(crate) fn field_by_name(self, name: &str) -> Result<Field, ValueError> {
        let ty = self.message_type();
        let found = if name.starts_with('[') { ty.find_field(name) } else { ty.field(name) };
        found.ok_or_else(|| ValueError::NoSuchField {
            message: self.full_name().into(),
            name: name.into(),
        })
    }

    #[cold]
    #[inline(never)]
    fn wrong(self, entry: &FieldEntry, info: &FieldInfo, got: &str) -> ValueError {
        let zero = Value::Bool(false).mismatch(self.raw.tables(), entry, info);
        match zero {
            ValueError::WrongType { field, expected, .. } => {
                ValueError::WrongType { field, expected, got: got.into() }
            }
            other => other,
        }
    }

    #[inline(always)]
    fn typed_bits(
        self,
        field: &Field,
        got: &str,
        fits: impl Fn(Kind) -> bool,
    ) -> Result<u64, ValueError> {
        let (entry, info) = self.check(field)?;
        if !fits(entry.kind) || !matches!(entry.shape, Shape::Single | Shape::Oneof) {
            return Err(self.wrong(entry, info, got));
        }
        Ok(match self.place(entry) {
            Some(place) => place.bits(entry.slot),
            None => match info.default {
                crate::schema::table::FieldDefault::Bits(bits) => bits,
                _ => 0,
            },
        })
    }

    /// A `bool` field's value or default.
    ///
    /// # Errors
    /// The field is of another kind or another type's. The same goes for the getters below.
    #[inline]
    pub fn bool(self, field: &Field) -> Result<bool, ValueError> {
        self.typed_bits(field, "bool", |k| k == Kind::Bool).map(|v| v != 0)
    }

    /// An `int32`, `sint32` or `sfixed32` field's value or default.
    #[inline]
    pub fn i32(self, field: &Field) -> Result<i32, ValueError> {
        self.typed_bits(field, "int32", |k| {
            matches!(k, Kind::Int32 | Kind::SInt32 | Kind::SFixed32)
        })
        .map(|v| v as i32)
    }

    /// An `int64`, `sint64` or `sfixed64` field's value or default.
    #[inline]
    pub fn i64(self, field: &Field) -> Result<i64, ValueError> {
        self.typed_bits(field, "int64", |k| {
            matches!(k, Kind::Int64 | Kind::SInt64 | Kind::SFixed64)
        })
        .map(|v| v as i64)
    }

    /// A `uint32` or `fixed32` field's value or default.
    #[inline]
    pub fn u32(self, field: &Field) -> Result<u32, ValueError> {
        self.typed_bits(field, "uint32", |k| matches!(k, Kind::UInt32 | Kind::Fixed32))
            .map(|v| v as u32)
    }

    /// A `uint64` or `fixed64` field's value or default.
    #[inline]
    pub fn u64(self, field: &Field) -> Result<u64, ValueError> {
        self.typed_bits(field, "uint64", |k| matches!(k, Kind::UInt64 | Kind::Fixed64))
    }

    /// A `float` field's value or default.
    #[inline]
    pub fn f32(self, field: &Field) -> Result<f32, ValueError> {
        self.typed_bits(field, "float", |k| k == Kind::Float).map(|v| f32::from_bits(v as u32))
    }

    /// A `double` field's value or default.
    #[inline]
    pub fn f64(self, field: &Field) -> Result<f64, ValueError> {
        self.typed_bits(field, "double", |k| k == Kind::Double).map(f64::from_bits)
    }

    /// An enum field's number or default.
    #[inline]
    pub fn enum_number(self, field: &Field) -> Result<i32, ValueError> {
        self.typed_bits(field, "enum", |k| k == Kind::Enum).map(|v| v as i32)
    }

    /// A string field's value or default.
    ///
    /// # Errors
    /// Also if the string is not UTF-8, which only fields that do not check it (proto2) can hold.
    #[inline]
    pub fn str(self, field: &Field) -> Result<&'a str, ValueError> {
        let (entry, info) = self.check(field)?;
        if entry.kind != Kind::String {
            return Err(self.wrong(entry, info, "string"));
        }
        let text = self.text_of(entry, info)?;
        if entry.is(FieldEntry::UTF8) {
            // SAFETY: such a string was checked when it was decoded or came from a `&str`.
            return Ok(unsafe { std::str::from_utf8_unchecked(text) });
        }
        std::str::from_utf8(text).map_err(|_| self.wrong(entry, info, "bytes that are not UTF-8"))
    }

    /// A bytes or string field's value or default.
    #[inline]
    pub fn bytes(self, field: &Field) -> Result<&'a [u8], ValueError> {
        let (entry, info) = self.check(field)?;
        self.text_of(entry, info)
    }

    #[inline(always)]
    fn text_of(self, entry: &'a FieldEntry, info: &'a FieldInfo) -> Result<&'a [u8], ValueError> {
        if entry.slot != Slot::Text || !matches!(entry.shape, Shape::Single | Shape::Oneof) {
            return Err(self.wrong(entry, info, "bytes"));
        }
        Ok(match (self.place(entry), &info.default) {
            (Some(place), _) => place.text(),
            (None, crate::schema::table::FieldDefault::Text(text)) => text,
            (None, _) => &[],
        })
    }

    /// A message field's value, or an empty message of its type.
    #[inline]
    pub fn message(self, field: &Field) -> Result<MessageRef<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        if entry.slot != Slot::Message || !matches!(entry.shape, Shape::Single | Shape::Oneof) {
            return Err(self.wrong(entry, info, "message"));
        }
        Ok(MessageRef::new(match self.place(entry).and_then(Place::message) {
            Some(m) => m,
            None => RawMessage::default_of(&self.raw.tables().messages[entry.sub as usize]),
        }))
    }

    /// A repeated field's values.
    #[inline]
    pub fn list(self, field: &Field) -> Result<ListRef<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        if entry.shape != Shape::List {
            return Err(self.wrong(entry, info, "list"));
        }
        let vec = self.place(entry).map_or(&EMPTY.0, |place| place.vec());
        Ok(ListRef { vec, entry, tables: self.raw.tables() })
    }

    /// A map field's entries.
    #[inline]
    pub fn map(self, field: &Field) -> Result<MapRef<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        if entry.shape != Shape::Map {
            return Err(self.wrong(entry, info, "map"));
        }
        let tables = self.raw.tables();
        let vec = self.place(entry).map_or(&EMPTY.0, |place| place.vec());
        Ok(MapRef { vec, table: &tables.messages[entry.sub as usize], tables })
    }
}

macro_rules! slices {
    ($($(#[$doc:meta])* $name:ident, $type:ty, $($kind:ident)|+;)*) => {$(
        $(#[$doc])*
        pub fn $name(self) -> Option<&'a [$type]> {
            // SAFETY: elements of these kinds have this size, and every bit pattern stored is a value.
            matches!(self.entry.kind, $(Kind::$kind)|+).then(|| unsafe { self.vec.as_slice() })
        }
    )*};
}

impl<'a> ListRef<'a> {
    pub(crate) fn of(vec: &'a RawVec, entry: &'a FieldEntry, tables: &'a Tables) -> ListRef<'a> {
        ListRef { vec, entry, tables }
    }

    pub(crate) fn none(entry: &'a FieldEntry, tables: &'a Tables) -> ListRef<'a> {
        ListRef { vec: &EMPTY.0, entry, tables }
    }

    /// Number of elements.
    #[inline]
    pub fn len(self) -> usize {
        self.vec.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.vec.len == 0
    }

    /// Type of the elements.
    pub fn kind(self) -> Kind {
        self.entry.kind
    }

    /// The element at `index`, `None` past the end.
    #[inline]
    pub fn get(self, index: usize) -> Option<Value<'a>> {
        (index < self.len()).then(|| {
            Value::read(self.vec.element(index, self.entry.slot.size()), self.entry, self.tables)
        })
    }

    /// The elements in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Value<'a>> + DoubleEndedIterator + 'a {
        (0..self.len()).map(move |i| {
            Value::read(self.vec.element(i, self.entry.slot.size()), self.entry, self.tables)
        })
    }

    slices! {
        /// All elements of an `int32`, `sint32`, `sfixed32` or enum list.
        as_i32s, i32, Int32 | SInt32 | SFixed32 | Enum;
        /// All elements of a `uint32` or `fixed32` list.
        as_u32s, u32, UInt32 | Fixed32;
        /// All elements of an `int64`, `sint64` or `sfixed64` list.
        as_i64s, i64, Int64 | SInt64 | SFixed64;
        /// All elements of a `uint64` or `fixed64` list.
        as_u64s, u64, UInt64 | Fixed64;
        /// All elements of a `float` list.
        as_f32s, f32, Float;
        /// All elements of a `double` list.
        as_f64s, f64, Double;
        /// All elements of a `bool` list.
        as_bools, bool, Bool;
    }
}

impl<'a> MapRef<'a> {
    pub(crate) fn of(vec: &'a RawVec, table: &'a MessageTable, tables: &'a Tables) -> MapRef<'a> {
        MapRef { vec, table, tables }
    }

    pub(crate) fn layout(self) -> (usize, usize) {
        self.table.map.map_or((8, 16), |m| (m.value_offset as usize, m.stride as usize))
    }

    /// Number of entries.
    pub fn len(self) -> usize {
        self.vec.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.vec.len == 0
    }

    /// Type of the keys.
    pub fn key_kind(self) -> Kind {
        self.table.fields[0].kind
    }

    /// Type of the values.
    pub fn value_kind(self) -> Kind {
        self.table.fields[1].kind
    }

    pub(crate) fn key_place(self, index: usize) -> Place {
        self.vec.element(index, self.layout().1)
    }

    pub(crate) fn value_place(self, index: usize) -> Place {
        let (value, stride) = self.layout();
        self.vec.element(index, stride).offset(value)
    }

    /// The entry at a position, `None` past the end.
    pub fn entry(self, index: usize) -> Option<(Value<'a>, Value<'a>)> {
        (index < self.len()).then(|| self.entry_at(index))
    }

    fn entry_at(self, index: usize) -> (Value<'a>, Value<'a>) {
        let (key, value) = (&self.table.fields[0], &self.table.fields[1]);
        let key = match key.slot {
            Slot::Text => texts(key.kind, self.key_place(index).text()),
            slot => scalar(key.kind, self.key_place(index).bits(slot)),
        };
        (key, Value::read(self.value_place(index), value, self.tables))
    }

    /// The entries, keys and values.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (Value<'a>, Value<'a>)> + 'a {
        (0..self.len()).map(move |i| self.entry_at(i))
    }

    /// The value under a key: looks through all entries. Any integer that fits finds an integer key.
    pub fn get<'k>(self, key: impl Into<Value<'k>>) -> Option<Value<'a>> {
        let index = self.position(key.into())?;
        Some(Value::read(self.value_place(index), &self.table.fields[1], self.tables))
    }

    /// Whether the key is there.
    pub fn contains<'k>(self, key: impl Into<Value<'k>>) -> bool {
        self.position(key.into()).is_some()
    }

    pub(crate) fn position(self, key: Value<'_>) -> Option<usize> {
        let given =
            key.given(self.tables, &self.table.fields[0], &self.table.info.fields[0]).ok()?;
        super::map::position(self.vec, self.layout().1, self.table.fields[0].slot, given)
    }
}

impl fmt::Debug for ListRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for MapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(self.full_name());
        for (field, value) in self.fields() {
            match field.is_extension() {
                true => out.field(&format!("[{}]", field.full_name()), &value),
                false => out.field(field.name(), &value),
            };
        }
        let unknown: usize = self.unknown().map(<[u8]>::len).sum();
        if unknown > 0 {
            out.field("unknown bytes", &unknown);
        }
        out.finish()
    }
}
