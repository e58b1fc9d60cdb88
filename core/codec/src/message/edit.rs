//! Writing: mutably borrowed messages, lists and maps. Whoever holds one has the whole message tree for itself.

use std::marker::PhantomData;

use super::arena::{ArenaPtr, Exhausted};
use super::edit_list::ListMut;
use super::edit_map::MapMut;
use super::merge;
use super::raw::{Place, RawMessage, RawVec};
use super::value::{Given, Value};
use super::view::{ListRef, MessageRef};
use crate::error::ValueError;
use crate::schema::table::{FieldEntry, FieldInfo, MessageTable, Shape, Slot, Tables};
use crate::schema::{Field, OneofType};

/// A mutably borrowed message: one pointer.
pub struct MessageMut<'a> {
    pub(crate) raw: RawMessage,
    pub(crate) arena: ArenaPtr,
    life: PhantomData<&'a mut MessageTable>,
}

// SAFETY: this is the exclusive borrow of a message tree, which may move to another thread as a whole.
unsafe impl Send for MessageMut<'_> {}

pub(super) fn full(info: &FieldInfo) -> impl Fn(Exhausted) -> ValueError + '_ {
    |_| ValueError::Full { field: info.full_name.to_string() }
}

/// A value copied into the arena, ready for its slot.
#[derive(Clone, Copy)]
pub(super) enum Stored<'t> {
    Bits(u64),
    Text(&'t [u8]),
    Message(RawMessage),
}

pub(super) fn store<'t>(
    given: Given<'_>,
    table: Option<&MessageTable>,
    arena: ArenaPtr,
) -> Result<Stored<'t>, Exhausted> {
    Ok(match given {
        Given::Bits(bits) => Stored::Bits(bits),
        Given::Text(text) => Stored::Text(arena.copy(text)?),
        Given::Message(from) => match table {
            Some(table) if !std::ptr::eq(from.raw.table_ptr(), table) => {
                // the same type of another schema: by way of its encoding
                let to = RawMessage::new(table, arena)?;
                crate::wire::transfer(from, to, arena)?;
                Stored::Message(to)
            }
            _ => Stored::Message(merge::copy(from.raw, arena)?),
        },
    })
}

pub(super) fn put(place: Place, slot: Slot, stored: Stored<'_>) {
    match stored {
        Stored::Bits(bits) => place.set_bits(slot, bits),
        Stored::Text(text) => place.set_text(text),
        Stored::Message(m) => place.set_message(Some(m)),
    }
}

pub(super) fn sub<'t>(tables: &'t Tables, entry: &FieldEntry) -> Option<&'t MessageTable> {
    (entry.slot == Slot::Message).then(|| &tables.messages[entry.sub as usize])
}

impl<'a> MessageMut<'a> {
    #[inline]
    pub(crate) fn new(raw: RawMessage, arena: ArenaPtr) -> MessageMut<'a> {
        MessageMut { raw, arena, life: PhantomData }
    }

    /// A shorter borrow of the same message.
    pub fn reborrow(&mut self) -> MessageMut<'_> {
        MessageMut::new(self.raw, self.arena)
    }

    /// For reading.
    pub fn as_ref(&self) -> MessageRef<'_> {
        MessageRef::new(self.raw)
    }

    /// For reading, as long as this borrow would last.
    pub fn into_ref(self) -> MessageRef<'a> {
        MessageRef::new(self.raw)
    }

    fn check(&self, field: &Field) -> Result<(&'a FieldEntry, &'a FieldInfo), ValueError> {
        MessageRef::<'a>::new(self.raw).check(field)
    }

    /// The field's place with its presence set, for a value that is written next. Siblings in a oneof go: the value that
    /// is written covers what they left in the shared slot.
    fn claim(&mut self, entry: &FieldEntry, info: &FieldInfo) -> Result<Place, ValueError> {
        if entry.is(FieldEntry::EXTENSION) {
            return self.raw.put_extension(entry.number, info.extension).map_err(full(info));
        }
        let place = self.raw.place(entry);
        match entry.shape {
            Shape::Single => self.raw.set_bit(entry),
            Shape::Oneof if self.raw.case(entry.presence) != entry.number => {
                self.raw.set_case(entry.presence, entry.number);
            }
            _ => {}
        }
        Ok(place)
    }

    /// Sets a field. A string or message is copied; a list or map value replaces what was there.
    /// Setting a field without presence to zero unsets it, as in protobuf everywhere.
    ///
    /// # Errors
    /// A value of another type or out of range; a field of another type. Nothing was changed then.
    pub fn set<'v>(
        &mut self,
        field: &Field,
        value: impl Into<Value<'v>>,
    ) -> Result<(), ValueError> {
        let (entry, info) = self.check(field)?;
        let value = value.into();
        let tables: &'a Tables = self.raw.tables();
        match (entry.shape, value) {
            (Shape::List, Value::List(from)) => {
                let mut fresh = RawVec { ptr: std::ptr::null_mut(), len: 0, cap: 0 };
                let mut list = ListMut { vec: &mut fresh, arena: self.arena, entry, info, tables };
                for value in from.iter() {
                    list.push(value)?;
                }
                *self.claim(entry, info)?.vec_mut() = fresh;
            }
            (Shape::Map, Value::Map(from)) => {
                let mut fresh = RawVec { ptr: std::ptr::null_mut(), len: 0, cap: 0 };
                let mut map = MapMut::of(&mut fresh, self.arena, entry, info, tables);
                for (key, value) in from.iter() {
                    map.insert(key, value)?;
                }
                drop(map);
                *self.raw.place(entry).vec_mut() = fresh;
            }
            (Shape::List | Shape::Map, other) => return Err(other.mismatch(tables, entry, info)),
            (_, value) => {
                let given = value.given(tables, entry, info)?;
                let stored = store(given, sub(tables, entry), self.arena).map_err(full(info))?;
                put(self.claim(entry, info)?, entry.slot, stored);
            }
        }
        Ok(())
    }

    /// Sets a bytes or string field without copying: the message keeps `value` alive.
    ///
    /// # Errors
    /// As [`MessageMut::set`]; for a string that has to be UTF-8, also if it is not.
    pub fn set_shared(&mut self, field: &Field, value: bytes::Bytes) -> Result<(), ValueError> {
        let (entry, info) = self.check(field)?;
        let tables = self.raw.tables();
        let as_value = super::value::texts(entry.kind, &value);
        if !matches!(entry.shape, Shape::Single | Shape::Oneof) {
            return Err(as_value.mismatch(tables, entry, info));
        }
        if let Given::Text(text) = as_value.given(tables, entry, info)? {
            // only the address is kept, and `value` is kept with it
            self.claim(entry, info)?.set_text(text);
            self.arena.hold(value);
        }
        Ok(())
    }

    /// Unsets a field. Fields of other types are left alone.
    pub fn clear(&mut self, field: &Field) {
        let Ok((entry, _)) = self.check(field) else { return };
        if entry.is(FieldEntry::EXTENSION) {
            return self.raw.remove_extension(entry.number);
        }
        match entry.shape {
            Shape::Oneof if self.raw.case(entry.presence) != entry.number => {}
            Shape::Oneof => self.raw.set_case(entry.presence, 0),
            Shape::Single => {
                self.raw.clear_bit(entry);
                self.raw.place(entry).zero(entry.slot, Shape::Single);
            }
            shape => self.raw.place(entry).zero(entry.slot, shape),
        }
    }

    /// Unsets whichever member of the oneof is set.
    pub fn clear_oneof(&mut self, oneof: &OneofType) {
        if std::ptr::eq(self.raw.table_ptr(), oneof.table.as_ptr()) {
            self.raw.set_case(oneof.info.case, 0);
        }
    }

    /// Unsets everything, unknown fields and extensions included.
    pub fn clear_all(&mut self) {
        self.raw.clear_all();
    }

    /// Drops the unknown fields of this message; those of nested ones stay.
    pub fn clear_unknown(&mut self) {
        self.raw.drop_extra(true, false);
    }

    /// Appends encoded fields to the unknown ones. They are checked for form, not for meaning.
    ///
    /// # Errors
    /// Bytes that are not a sequence of fields.
    pub fn add_unknown(&mut self, fields: &[u8]) -> Result<(), crate::error::DecodeError> {
        let mut reader = crate::wire::Reader::new(fields);
        while reader
            .next_field(100)
            .map_err(|k| crate::error::DecodeError::new(k, reader.position()))?
            .is_some()
        {}
        if fields.is_empty() {
            return Ok(());
        }
        let memory = |_| crate::error::DecodeError::new(crate::error::DecodeErrorKind::Memory, 0);
        let copy = self.arena.copy(fields).map_err(memory)?;
        self.raw.add_unknown(self.arena, copy).map_err(memory)
    }

    /// The message in a message field, made empty and set if it was unset.
    ///
    /// # Errors
    /// The field holds something else, or is another type's.
    pub fn mutable(&mut self, field: &Field) -> Result<MessageMut<'_>, ValueError> {
        self.reborrow().mutable_as(field)
    }

    pub(crate) fn mutable_as(mut self, field: &Field) -> Result<MessageMut<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        let tables: &'a Tables = self.raw.tables();
        let (Some(table), Shape::Single | Shape::Oneof) = (sub(tables, entry), entry.shape) else {
            return Err(ValueError::WrongType {
                field: info.full_name.to_string(),
                expected: super::value::type_name(tables, entry),
                got: "a message".into(),
            });
        };
        if let Some(m) = MessageRef::new(self.raw).place(entry).and_then(Place::message) {
            return Ok(MessageMut::new(m, self.arena));
        }
        let made = RawMessage::new(table, self.arena).map_err(full(info))?;
        self.claim(entry, info)?.set_message(Some(made));
        Ok(MessageMut::new(made, self.arena))
    }

    /// The list of a repeated field.
    ///
    /// # Errors
    /// The field holds something else, or is another type's.
    pub fn list_mut(&mut self, field: &Field) -> Result<ListMut<'_>, ValueError> {
        self.reborrow().list_as(field)
    }

    pub(crate) fn list_as(mut self, field: &Field) -> Result<ListMut<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        let tables: &'a Tables = self.raw.tables();
        if entry.shape != Shape::List {
            return Err(Value::List(ListRef::none(entry, tables)).mismatch(tables, entry, info));
        }
        let vec = self.claim(entry, info)?.vec_mut();
        Ok(ListMut { vec, arena: self.arena, entry, info, tables })
    }

    /// The map of a map field.
    ///
    /// # Errors
    /// The field holds something else, or is another type's.
    pub fn map_mut(&mut self, field: &Field) -> Result<MapMut<'_>, ValueError> {
        self.reborrow().map_as(field)
    }

    pub(crate) fn map_as(self, field: &Field) -> Result<MapMut<'a>, ValueError> {
        let (entry, info) = self.check(field)?;
        let tables: &'a Tables = self.raw.tables();
        if entry.shape != Shape::Map {
            return Err(ValueError::WrongType {
                field: info.full_name.to_string(),
                expected: super::value::type_name(tables, entry),
                got: "a map".into(),
            });
        }
        Ok(MapMut::of(self.raw.place(entry).vec_mut(), self.arena, entry, info, tables))
    }

    /// Protobuf's merge: what is set in `from` replaces, nested messages merge, lists append, map entries replace.
    ///
    /// # Errors
    /// `from` is of another type. The same type of another schema is taken by way of its encoding.
    pub fn merge_from(&mut self, from: MessageRef<'_>) -> Result<(), ValueError> {
        let (mine, theirs) = (self.raw.table(), from.table());
        let full = |_| ValueError::Full { field: mine.info.full_name.to_string() };
        if std::ptr::eq(mine, theirs) {
            return merge::merge(self.raw, from.raw, self.arena).map_err(full);
        }
        if mine.info.full_name != theirs.info.full_name {
            return Err(ValueError::WrongType {
                field: mine.info.full_name.to_string(),
                expected: mine.info.full_name.to_string(),
                got: theirs.info.full_name.to_string(),
            });
        }
        crate::wire::transfer(from, self.raw, self.arena).map_err(full)
    }

    /// Sets the field called `name`; extensions as `[pkg.name]`.
    ///
    /// # Errors
    /// As [`MessageMut::set`], and if there is no such field.
    pub fn set_by_name<'v>(
        &mut self,
        name: &str,
        value: impl Into<Value<'v>>,
    ) -> Result<(), ValueError> {
        let field = self.as_ref().field_by_name(name)?;
        self.set(&field, value)
    }
}
