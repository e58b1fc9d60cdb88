//! Writing lists.

use super::arena::ArenaPtr;
use super::edit::{MessageMut, Stored, full, put, store, sub};
use super::raw::{RawMessage, RawVec};
use super::value::Value;
use super::view::ListRef;
use crate::error::ValueError;
use crate::schema::table::{FieldEntry, FieldInfo, Slot, Tables};

/// A mutably borrowed list.
pub struct ListMut<'a> {
    pub(super) vec: &'a mut RawVec,
    pub(super) arena: ArenaPtr,
    pub(super) entry: &'a FieldEntry,
    pub(super) info: &'a FieldInfo,
    pub(super) tables: &'a Tables,
}

// SAFETY: the exclusive borrow of a part of a message tree, which may move to another thread.
unsafe impl Send for ListMut<'_> {}

impl<'a> ListMut<'a> {
    /// For reading.
    pub fn as_ref(&self) -> ListRef<'_> {
        ListRef::of(self.vec, self.entry, self.tables)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.vec.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vec.len == 0
    }

    fn stored(&self, value: Value<'_>) -> Result<Stored<'a>, ValueError> {
        let given = value.given(self.tables, self.entry, self.info)?;
        store(given, sub(self.tables, self.entry), self.arena).map_err(full(self.info))
    }

    fn in_range(&self, index: usize, len: usize) -> Result<(), ValueError> {
        if index < len {
            return Ok(());
        }
        Err(ValueError::Index { field: self.info.full_name.to_string(), index, len: self.len() })
    }

    /// Room for `more` elements at once.
    ///
    /// # Errors
    /// More than a message may hold.
    pub fn reserve(&mut self, more: usize) -> Result<(), ValueError> {
        self.vec.reserve(self.arena, more, self.entry.slot.size()).map_err(full(self.info))
    }

    /// Appends a value. Messages are copied.
    ///
    /// # Errors
    /// A value of another type or out of range. The same goes for `set` and `insert`.
    pub fn push<'v>(&mut self, value: impl Into<Value<'v>>) -> Result<(), ValueError> {
        let stored = self.stored(value.into())?;
        let place = self.vec.push(self.arena, self.entry.slot.size()).map_err(full(self.info))?;
        put(place, self.entry.slot, stored);
        Ok(())
    }

    /// Appends an empty message and gives it.
    ///
    /// # Errors
    /// The elements are no messages.
    pub fn push_message(&mut self) -> Result<MessageMut<'_>, ValueError> {
        let Some(table) = sub(self.tables, self.entry) else {
            return Err(ValueError::WrongType {
                field: self.info.full_name.to_string(),
                expected: super::value::type_name(self.tables, self.entry),
                got: "a message".into(),
            });
        };
        let made = RawMessage::new(table, self.arena).map_err(full(self.info))?;
        self.vec.push(self.arena, 8).map_err(full(self.info))?.set_message(Some(made));
        Ok(MessageMut::new(made, self.arena))
    }

    /// Replaces the element at `index`.
    ///
    /// # Errors
    /// Also an index past the end.
    pub fn set<'v>(&mut self, index: usize, value: impl Into<Value<'v>>) -> Result<(), ValueError> {
        self.in_range(index, self.len())?;
        let stored = self.stored(value.into())?;
        put(self.vec.element(index, self.entry.slot.size()), self.entry.slot, stored);
        Ok(())
    }

    /// Puts a value before the element at `index`; at the end if `index` is the length.
    ///
    /// # Errors
    /// Also an index past the end.
    pub fn insert<'v>(
        &mut self,
        index: usize,
        value: impl Into<Value<'v>>,
    ) -> Result<(), ValueError> {
        self.in_range(index, self.len() + 1)?;
        let stored = self.stored(value.into())?;
        let place =
            self.vec.insert(self.arena, index, self.entry.slot.size()).map_err(full(self.info))?;
        put(place, self.entry.slot, stored);
        Ok(())
    }

    /// Takes out the element at `index`.
    ///
    /// # Errors
    /// An index past the end.
    pub fn remove(&mut self, index: usize) -> Result<(), ValueError> {
        self.in_range(index, self.len())?;
        self.vec.remove(index, self.entry.slot.size());
        Ok(())
    }

    /// Exchanges two elements.
    ///
    /// # Errors
    /// An index past the end.
    pub fn swap(&mut self, a: usize, b: usize) -> Result<(), ValueError> {
        self.in_range(a.max(b), self.len())?;
        self.vec.swap(a, b, self.entry.slot.size());
        Ok(())
    }

    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.vec.len = self.vec.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Takes out all elements.
    pub fn clear(&mut self) {
        self.vec.len = 0;
    }

    /// The message at `index`, for writing.
    ///
    /// # Errors
    /// An index past the end, or elements that are no messages.
    pub fn message(&mut self, index: usize) -> Result<MessageMut<'_>, ValueError> {
        self.in_range(index, self.len())?;
        let found = (self.entry.slot == Slot::Message)
            .then(|| self.vec.element(index, 8).message())
            .flatten();
        match found {
            Some(m) => Ok(MessageMut::new(m, self.arena)),
            None => Err(ValueError::WrongType {
                field: self.info.full_name.to_string(),
                expected: super::value::type_name(self.tables, self.entry),
                got: "a message".into(),
            }),
        }
    }
}
