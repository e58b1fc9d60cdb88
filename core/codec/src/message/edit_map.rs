//! Writing maps.

use super::arena::ArenaPtr;
use super::edit::{MessageMut, Stored, full, put, store, sub};
use super::map::Index;
use super::raw::{RawMessage, RawVec};
use super::value::{Given, Value};
use super::view::MapRef;
use crate::error::ValueError;
use crate::schema::table::{FieldEntry, FieldInfo, MessageTable, Slot, Tables};

/// A mutably borrowed map. Keeps an index of long maps while it is held: fill a map through one of these.
pub struct MapMut<'a> {
    vec: &'a mut RawVec,
    arena: ArenaPtr,
    table: &'a MessageTable,
    info: &'a FieldInfo,
    tables: &'a Tables,
    index: Index<'a>,
}

// SAFETY: the exclusive borrow of a part of a message tree, which may move to another thread.
unsafe impl Send for MapMut<'_> {}

impl<'a> MapMut<'a> {
    pub(super) fn of(
        vec: &'a mut RawVec,
        arena: ArenaPtr,
        entry: &FieldEntry,
        info: &'a FieldInfo,
        tables: &'a Tables,
    ) -> MapMut<'a> {
        let table = &tables.messages[entry.sub as usize];
        MapMut { vec, arena, table, info, tables, index: Index::default() }
    }

    /// For reading.
    pub fn as_ref(&self) -> MapRef<'_> {
        MapRef::of(self.vec, self.table, self.tables)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.vec.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vec.len == 0
    }

    fn stride(&self) -> usize {
        self.table.map.map_or(16, |m| m.stride as usize)
    }

    fn key<'k>(&self, key: Value<'k>) -> Result<Given<'k>, ValueError> {
        key.given(self.tables, &self.table.fields[0], &self.table.info.fields[0])
    }

    fn find(&mut self, key: Given<'_>) -> Option<usize> {
        let (stride, slot) = (self.stride(), self.table.fields[0].slot);
        self.index.position(self.vec, stride, slot, key)
    }

    /// The value's place under `key`, which is added with `stored` if it is new.
    fn place(&mut self, key: Given<'_>, stored: Stored<'_>) -> Result<(), ValueError> {
        let (stride, value) =
            (self.stride(), self.table.map.map_or(8, |m| m.value_offset as usize));
        let (key_entry, value_entry) = (&self.table.fields[0], &self.table.fields[1]);
        if let Some(at) = self.find(key) {
            put(self.vec.element(at, stride).offset(value), value_entry.slot, stored);
            return Ok(());
        }
        let key = store(key, None, self.arena).map_err(full(self.info))?;
        let place = self.vec.push(self.arena, stride).map_err(full(self.info))?;
        place.zero_bytes(stride);
        put(place, key_entry.slot, key);
        put(place.offset(value), value_entry.slot, stored);
        self.index.added(self.vec, stride, key_entry.slot);
        Ok(())
    }

    /// Sets the value under a key. Messages are copied.
    ///
    /// # Errors
    /// A key or value of another type or out of range.
    pub fn insert<'v>(
        &mut self,
        key: impl Into<Value<'v>>,
        value: impl Into<Value<'v>>,
    ) -> Result<(), ValueError> {
        let key = self.key(key.into())?;
        let entry = &self.table.fields[1];
        let given = value.into().given(self.tables, entry, &self.table.info.fields[1])?;
        let stored = store(given, sub(self.tables, entry), self.arena).map_err(full(self.info))?;
        self.place(key, stored)
    }

    /// Sets an empty message under a key and gives it.
    ///
    /// # Errors
    /// The values are no messages, or the key is of another type.
    pub fn insert_message<'v>(
        &mut self,
        key: impl Into<Value<'v>>,
    ) -> Result<MessageMut<'_>, ValueError> {
        let key = self.key(key.into())?;
        let entry = &self.table.fields[1];
        let Some(table) = sub(self.tables, entry) else {
            return Err(ValueError::WrongType {
                field: self.info.full_name.to_string(),
                expected: super::value::type_name(self.tables, entry),
                got: "a message".into(),
            });
        };
        let made = RawMessage::new(table, self.arena).map_err(full(self.info))?;
        self.place(key, Stored::Message(made))?;
        Ok(MessageMut::new(made, self.arena))
    }

    /// The message under a key, for writing; `None` if there is none or the values are no messages.
    pub fn message<'v>(&mut self, key: impl Into<Value<'v>>) -> Option<MessageMut<'_>> {
        let key = self.key(key.into()).ok()?;
        let at = self.find(key)?;
        let value = self.table.map?.value_offset as usize;
        if self.table.fields[1].slot != Slot::Message {
            return None;
        }
        let place = self.vec.element(at, self.stride()).offset(value);
        let found = match place.message() {
            Some(m) => m,
            None => {
                let made =
                    RawMessage::new(sub(self.tables, &self.table.fields[1])?, self.arena).ok()?;
                place.set_message(Some(made));
                made
            }
        };
        Some(MessageMut::new(found, self.arena))
    }

    /// Takes out the entry with this key; `false` if there is none.
    pub fn remove<'v>(&mut self, key: impl Into<Value<'v>>) -> bool {
        let Ok(key) = self.key(key.into()) else { return false };
        let Some(at) = self.find(key) else { return false };
        let stride = self.stride();
        self.vec.remove(at, stride);
        self.index.forget();
        true
    }

    /// Takes out all entries.
    pub fn clear(&mut self) {
        self.vec.len = 0;
        self.index.forget();
    }
}
