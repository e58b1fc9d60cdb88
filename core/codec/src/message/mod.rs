//! Messages: one arena each, fields at offsets, nothing allocated a field.

mod arena;
mod edit;
mod edit_list;
mod edit_map;
pub(crate) mod map;
pub(crate) mod merge;
pub(crate) mod raw;
#[cfg(test)]
pub(crate) mod tests;
mod value;
mod view;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;

pub use arena::set_process_memory_limit;
pub(crate) use arena::{ArenaPtr, Exhausted};
pub use edit::MessageMut;
pub use edit_list::ListMut;
pub use edit_map::MapMut;
use raw::RawMessage;
pub(crate) use raw::{DefaultInstance, HEADER_BYTES};
pub(crate) use value::Given;
pub use value::Value;
pub use view::{ListRef, MapRef, MessageRef};

use crate::error::{DecodeError, EncodeError, ValueError};
use crate::schema::table::{MessageTable, Tables};
use crate::schema::{Field, MessageType, OneofType};
use crate::wire::{self, EncodeOptions, Limits};

/// An owned message of any type: one pointer to an arena that holds the whole tree.
///
/// Reading shares, writing needs `&mut`; it may be sent to another thread and, shared, read from several. All of it
/// is freed at once: a small message within a large one, kept by a [`MessageView`], keeps the large one.
pub struct Message {
    raw: RawMessage,
}

// SAFETY: a message owns its arena and shares nothing mutable; the tables in it are `Send + Sync`.
unsafe impl Send for Message {}
// SAFETY: through `&Message` nothing is written.
unsafe impl Sync for Message {}

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(arena) = self.raw.arena() {
            // SAFETY: the message owns the arena, and all borrows of it have ended.
            unsafe { arena.free() }
        }
    }
}

impl Message {
    /// An empty message.
    pub fn new(message_type: &MessageType) -> Message {
        Message::with_room(&message_type.tables, &message_type.table, 0, usize::MAX)
    }

    /// An empty message in an arena with `room` bytes to spare.
    pub(crate) fn with_room(
        tables: &Arc<Tables>,
        table: &MessageTable,
        room: usize,
        limit: usize,
    ) -> Message {
        let arena = ArenaPtr::new(tables.clone(), table.size as usize + room, limit);
        match RawMessage::new(table, arena) {
            Ok(raw) => Message { raw },
            // the first chunk was made to hold the root
            Err(Exhausted) => unreachable!("an arena holds its root"),
        }
    }

    pub(crate) fn raw(&self) -> RawMessage {
        self.raw
    }

    pub(crate) fn arena(&self) -> ArenaPtr {
        match self.raw.arena() {
            Some(arena) => arena,
            None => unreachable!("an owned message has an arena"),
        }
    }

    /// A message from its encoded form, by the default [`Limits`]. Above 16 KiB, strings and
    /// bytes stay slices of `bytes`, which the message keeps; below, all is copied at once, as [`Message::decode_slice`]
    /// always does.
    ///
    /// # Errors
    /// Anything that is not a valid encoding of the type; missing required fields are not looked for.
    pub fn decode(
        message_type: &MessageType,
        bytes: impl Into<Bytes>,
    ) -> Result<Message, DecodeError> {
        Message::decode_with(message_type, bytes, &Limits::default())
    }

    /// As [`Message::decode`], from bytes that are copied into the message.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn decode_slice(message_type: &MessageType, bytes: &[u8]) -> Result<Message, DecodeError> {
        wire::decode_copied(&message_type.tables, &message_type.table, bytes, &Limits::default())
    }

    /// As [`Message::decode`], with limits of the caller's.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn decode_with(
        message_type: &MessageType,
        bytes: impl Into<Bytes>,
        limits: &Limits,
    ) -> Result<Message, DecodeError> {
        wire::decode_shared(&message_type.tables, &message_type.table, bytes.into(), limits)
    }

    /// Decodes and merges into this message, as if both encodings stood behind each other.
    ///
    /// # Errors
    /// As [`Message::decode`]; the message is unchanged then.
    pub fn merge_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<(), DecodeError> {
        let other = Message::decode(&self.message_type(), bytes)?;
        let memory = |_| DecodeError::new(crate::error::DecodeErrorKind::Memory, 0);
        merge::merge(self.raw, other.raw, self.arena()).map_err(memory)
    }

    /// The encoded form.
    ///
    /// # Errors
    /// A required field that is not set, or more than 2 GiB.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        self.as_ref().encode()
    }

    /// As [`Message::encode`], with options.
    ///
    /// # Errors
    /// As [`Message::encode`].
    pub fn encode_with(&self, options: EncodeOptions) -> Result<Bytes, EncodeError> {
        self.as_ref().encode_with(options)
    }

    /// The encoded form behind the five-byte gRPC prefix: flag 0, length as big-endian `u32`.
    ///
    /// # Errors
    /// As [`Message::encode`].
    pub fn encode_frame(&self) -> Result<Bytes, EncodeError> {
        self.as_ref().encode_frame()
    }

    /// Whether all required fields are set, here and in every nested message.
    ///
    /// # Errors
    /// The path of the first one that is missing.
    pub fn check_required(&self) -> Result<(), EncodeError> {
        self.as_ref().check_required()
    }

    /// For reading.
    #[inline(always)]
    pub fn as_ref(&self) -> MessageRef<'_> {
        MessageRef::new(self.raw)
    }

    /// For writing.
    #[inline]
    pub fn as_mut(&mut self) -> MessageMut<'_> {
        MessageMut::new(self.raw, self.arena())
    }

    /// Memory of the tree in bytes, without the input that strings point into.
    pub fn memory_bytes(&self) -> usize {
        self.arena().total()
    }

    /// Gives the message to the reference-counted world: a view of its root.
    pub fn into_view(self) -> MessageView {
        let raw = self.raw;
        MessageView { root: Arc::new(self), raw }
    }

    /// Gives up the message as one pointer, for C. It comes back through [`Message::from_raw`].
    pub fn into_raw(self) -> NonNull<u8> {
        let ptr = self.raw.as_ptr();
        std::mem::forget(self);
        ptr
    }

    /// # Safety
    /// `ptr` came from [`Message::into_raw`] and was not taken back before.
    pub unsafe fn from_raw(ptr: NonNull<u8>) -> Message {
        // SAFETY: as promised by the caller.
        Message { raw: unsafe { RawMessage::from_ptr(ptr) } }
    }
}

macro_rules! read {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// Reading, as [`MessageRef`] does.
        impl Message {$(
            $(#[$doc])*
            #[inline]
            pub fn $name(&self, $($arg: $type),*) -> $out {
                self.as_ref().$name($($arg),*)
            }
        )*}
    };
}
read! {
    /// Full name of the type.
    full_name() -> &str;
    /// The type.
    message_type() -> MessageType;
    /// See [`MessageRef::get`].
    ///
    /// # Panics
    /// If the field is not one of this message's type.
    get(field: &Field) -> Value<'_>;
    /// See [`MessageRef::try_get`].
    try_get(field: &Field) -> Result<Value<'_>, ValueError>;
    /// See [`MessageRef::present`].
    present(field: &Field) -> Option<Value<'_>>;
    /// See [`MessageRef::has`].
    has(field: &Field) -> bool;
    /// See [`MessageRef::which_oneof`].
    which_oneof(oneof: &OneofType) -> Option<Field>;
    /// See [`MessageRef::fields`].
    fields() -> impl Iterator<Item = (Field, Value<'_>)>;
    /// See [`MessageRef::unknown`].
    unknown() -> impl DoubleEndedIterator<Item = &[u8]>;
    /// See [`MessageRef::is_empty`].
    is_empty() -> bool;
    /// See [`MessageRef::get_by_name`].
    get_by_name(name: &str) -> Result<Value<'_>, ValueError>;
    /// See [`MessageRef::has_by_name`].
    has_by_name(name: &str) -> Result<bool, ValueError>;
    /// See [`MessageRef::bool`].
    bool(field: &Field) -> Result<bool, ValueError>;
    /// See [`MessageRef::i32`].
    i32(field: &Field) -> Result<i32, ValueError>;
    /// See [`MessageRef::i64`].
    i64(field: &Field) -> Result<i64, ValueError>;
    /// See [`MessageRef::u32`].
    u32(field: &Field) -> Result<u32, ValueError>;
    /// See [`MessageRef::u64`].
    u64(field: &Field) -> Result<u64, ValueError>;
    /// See [`MessageRef::f32`].
    f32(field: &Field) -> Result<f32, ValueError>;
    /// See [`MessageRef::f64`].
    f64(field: &Field) -> Result<f64, ValueError>;
    /// See [`MessageRef::enum_number`].
    enum_number(field: &Field) -> Result<i32, ValueError>;
    /// See [`MessageRef::str`].
    str(field: &Field) -> Result<&str, ValueError>;
    /// See [`MessageRef::bytes`].
    bytes(field: &Field) -> Result<&[u8], ValueError>;
    /// See [`MessageRef::message`].
    message(field: &Field) -> Result<MessageRef<'_>, ValueError>;
    /// See [`MessageRef::list`].
    list(field: &Field) -> Result<ListRef<'_>, ValueError>;
    /// See [`MessageRef::map`].
    map(field: &Field) -> Result<MapRef<'_>, ValueError>;
}

/// Writing, as [`MessageMut`] does.
impl Message {
    /// See [`MessageMut::set`].
    pub fn set<'v>(
        &mut self,
        field: &Field,
        value: impl Into<Value<'v>>,
    ) -> Result<(), ValueError> {
        self.as_mut().set(field, value)
    }

    /// See [`MessageMut::set_shared`].
    pub fn set_shared(&mut self, field: &Field, value: Bytes) -> Result<(), ValueError> {
        self.as_mut().set_shared(field, value)
    }

    /// See [`MessageMut::set_by_name`].
    pub fn set_by_name<'v>(
        &mut self,
        name: &str,
        value: impl Into<Value<'v>>,
    ) -> Result<(), ValueError> {
        self.as_mut().set_by_name(name, value)
    }

    /// See [`MessageMut::clear`].
    pub fn clear(&mut self, field: &Field) {
        self.as_mut().clear(field);
    }

    /// See [`MessageMut::clear_oneof`].
    pub fn clear_oneof(&mut self, oneof: &OneofType) {
        self.as_mut().clear_oneof(oneof);
    }

    /// See [`MessageMut::clear_all`].
    pub fn clear_all(&mut self) {
        self.as_mut().clear_all();
    }

    /// See [`MessageMut::clear_unknown`].
    pub fn clear_unknown(&mut self) {
        self.as_mut().clear_unknown();
    }

    /// See [`MessageMut::mutable`].
    pub fn mutable(&mut self, field: &Field) -> Result<MessageMut<'_>, ValueError> {
        let (raw, arena) = (self.raw, self.arena());
        MessageMut::new(raw, arena).mutable_as(field)
    }

    /// See [`MessageMut::list_mut`].
    pub fn list_mut(&mut self, field: &Field) -> Result<ListMut<'_>, ValueError> {
        let (raw, arena) = (self.raw, self.arena());
        MessageMut::new(raw, arena).list_as(field)
    }

    /// See [`MessageMut::map_mut`].
    pub fn map_mut(&mut self, field: &Field) -> Result<MapMut<'_>, ValueError> {
        let (raw, arena) = (self.raw, self.arena());
        MessageMut::new(raw, arena).map_as(field)
    }

    /// See [`MessageMut::merge_from`].
    pub fn merge_from(&mut self, from: MessageRef<'_>) -> Result<(), ValueError> {
        self.as_mut().merge_from(from)
    }
}

impl<'a> MessageRef<'a> {
    /// A copy that owns its memory.
    pub fn to_message(self) -> Message {
        let tables = self.raw.share_tables();
        let to = Message::with_room(&tables, self.table(), 0, usize::MAX);
        // an arena without limit fails only where the allocator aborts
        let _ = merge::merge(to.raw, self.raw, to.arena());
        to
    }

    /// The message as a pointer, for C; valid as long as the message is and not written to.
    pub fn as_raw(self) -> NonNull<u8> {
        self.raw.as_ptr()
    }

    /// # Safety
    /// `ptr` came from [`MessageRef::as_raw`] or [`Message::into_raw`], and for `'a` the message lives and is not written.
    #[inline(always)]
    pub unsafe fn from_raw(ptr: NonNull<u8>) -> MessageRef<'a> {
        // SAFETY: as promised by the caller.
        MessageRef::new(unsafe { RawMessage::from_ptr(ptr) })
    }
}

impl<'a> MessageMut<'a> {
    /// # Safety
    /// `ptr` came from [`MessageMut::as_raw`] or [`Message::into_raw`], and for `'a` nobody else uses the message's tree.
    /// `None` for the shared empty message an unset field reads as.
    pub unsafe fn from_raw(ptr: NonNull<u8>) -> Option<MessageMut<'a>> {
        // SAFETY: as promised by the caller.
        let raw = unsafe { RawMessage::from_ptr(ptr) };
        Some(MessageMut::new(raw, raw.arena()?))
    }

    /// The message as a pointer, for C.
    pub fn as_raw(&self) -> NonNull<u8> {
        self.raw.as_ptr()
    }
}

impl Clone for Message {
    fn clone(&self) -> Self {
        self.as_ref().to_message()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// A message, root or nested, with a share of the root that holds it: for languages without lifetimes.
#[derive(Clone)]
pub struct MessageView {
    root: Arc<Message>,
    raw: RawMessage,
}

// SAFETY: a view only reads a tree that nobody writes any more.
unsafe impl Send for MessageView {}
// SAFETY: as above.
unsafe impl Sync for MessageView {}

impl MessageView {
    /// The message.
    #[inline(always)]
    pub fn as_ref(&self) -> MessageRef<'_> {
        MessageRef::new(self.raw)
    }

    /// The root.
    pub fn root(&self) -> &Arc<Message> {
        &self.root
    }

    /// A view of a message that was reached from this one; `None` if `child` is of another tree.
    pub fn child(&self, child: MessageRef<'_>) -> Option<MessageView> {
        let mine = match child.arena() {
            Some(arena) => arena == self.root.arena(),
            // the empty message an unset field reads as belongs to the tables, which the root keeps
            None => std::ptr::eq(child.raw.tables(), self.raw.tables()),
        };
        mine.then(|| MessageView { root: self.root.clone(), raw: child.raw })
    }

    /// The root for writing, if this is its only view.
    pub fn into_root(self) -> Option<Message> {
        Arc::into_inner(self.root)
    }
}

impl fmt::Debug for MessageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}
