//! How a message lies in memory, and the only place that reads and writes it there.
//!
//! A message is a [`Header`], presence bits, oneof cases and slots at the offsets of its table. Pointers go to the same
//! arena, to bytes the arena holds, or (strings) to nothing when empty. All zero bytes behind the header are an empty message.
//!
//! The soundness of this module rests on three rules: a [`RawMessage`] points to `table.size` bytes laid out by `table`;
//! arena and tables outlive it; and who writes through it has exclusive use of the whole tree (`&mut Message`).

use std::ptr::NonNull;
use std::sync::Arc;

use super::arena::{Arena, ArenaPtr, Exhausted};
use crate::schema::table::{FieldEntry, MessageTable, Shape, Slot, Tables};

/// Start of every message.
#[repr(C)]
pub(crate) struct Header {
    table: *const MessageTable,
    /// Null in the shared default instances, which are never written.
    arena: *mut Arena,
    extra: *mut Extra,
}

/// Bytes of a [`Header`]; presence bits follow.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

/// What few messages have.
#[repr(C)]
pub(crate) struct Extra {
    /// Ranges of encoded fields, in wire order.
    pub unknown: RawVec,
    /// [`ExtensionSlot`]s, by number.
    pub extensions: RawVec,
}

/// An extension that was set.
#[repr(C)]
pub(crate) struct ExtensionSlot {
    pub number: u32,
    /// Index in [`Tables::extensions`].
    pub index: u32,
    pub value: [u64; 2],
}

/// A string or bytes value. Null and zero when empty.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RawText {
    ptr: *const u8,
    len: usize,
}

/// A list or map: elements of one size.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RawVec {
    pub ptr: *mut u8,
    pub len: u32,
    pub cap: u32,
}

/// A message, by address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawMessage(NonNull<Header>);

/// The zeroed message that stands for every unset field of a type. Made on first use, never written.
#[derive(Debug)]
pub(crate) struct DefaultInstance(NonNull<u8>, usize);

// SAFETY: the memory is written before it is shared and only read afterwards.
unsafe impl Send for DefaultInstance {}
// SAFETY: as above.
unsafe impl Sync for DefaultInstance {}

impl Drop for DefaultInstance {
    fn drop(&mut self) {
        // SAFETY: made by `RawMessage::default_of` from a boxed slice of this length.
        drop(unsafe {
            Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.0.as_ptr().cast::<u64>(), self.1))
        });
    }
}

impl RawMessage {
    /// An empty message in `arena`.
    #[inline(always)]
    pub fn new(table: &MessageTable, arena: ArenaPtr) -> Result<RawMessage, Exhausted> {
        let block = arena.alloc_zeroed(table.size as usize)?.cast::<Header>();
        // SAFETY: the block is fresh, aligned and at least as long as a header; `extra` is zeroed, so null.
        unsafe {
            (*block.as_ptr()).table = table;
            (*block.as_ptr()).arena = arena.as_raw();
        }
        Ok(RawMessage(block))
    }

    /// The shared empty message of a type.
    pub fn default_of(table: &MessageTable) -> RawMessage {
        let made = table.default_instance.get_or_init(|| {
            let words = table.size as usize / 8;
            let block = Box::into_raw(vec![0u64; words].into_boxed_slice()).cast::<u8>();
            // SAFETY: the block is longer than a header and aligned for one.
            unsafe { (*block.cast::<Header>()).table = table };
            // SAFETY: a box is never null.
            DefaultInstance(unsafe { NonNull::new_unchecked(block) }, words)
        });
        RawMessage(made.0.cast())
    }

    /// # Safety
    /// `ptr` came from [`RawMessage::as_ptr`] and the message is alive.
    #[inline(always)]
    pub unsafe fn from_ptr(ptr: NonNull<u8>) -> RawMessage {
        RawMessage(ptr.cast())
    }

    #[inline(always)]
    pub fn as_ptr(self) -> NonNull<u8> {
        self.0.cast()
    }

    #[inline(always)]
    pub fn table_ptr(self) -> *const MessageTable {
        // SAFETY: a `RawMessage` points to a living message.
        unsafe { (*self.0.as_ptr()).table }
    }

    /// The table; the caller keeps the lifetime within the message's.
    #[inline(always)]
    pub fn table<'a>(self) -> &'a MessageTable {
        // SAFETY: tables outlive their messages (the arena, or the owner of a default instance, holds them).
        unsafe { &*self.table_ptr() }
    }

    /// All tables; lifetime as for [`RawMessage::table`].
    #[inline(always)]
    pub fn tables<'a>(self) -> &'a Tables {
        // SAFETY: the weak pointer is to the tables that hold `table`, which are alive.
        unsafe { &*self.table().tables.as_ptr() }
    }

    /// A share of the tables.
    pub fn share_tables(self) -> Arc<Tables> {
        match self.arena() {
            Some(arena) => arena.tables().clone(),
            // SAFETY: the tables are alive, so their count is above zero, and `as_ptr` is what `Arc::from_raw` wants.
            None => unsafe {
                let ptr = self.table().tables.as_ptr();
                Arc::increment_strong_count(ptr);
                Arc::from_raw(ptr)
            },
        }
    }

    /// The arena, unless this is a default instance.
    #[inline(always)]
    pub fn arena(self) -> Option<ArenaPtr> {
        // SAFETY: the header is alive, and so is the arena it names.
        unsafe { NonNull::new((*self.0.as_ptr()).arena).map(|a| ArenaPtr::from_raw(a)) }
    }

    #[inline(always)]
    fn at(self, offset: u32) -> *mut u8 {
        debug_assert!(offset < self.table().size);
        // SAFETY: offsets come from the message's own table and lie within its size.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset as usize) }
    }

    /// Where the field's value lies. Only for fields of this message's table.
    #[inline(always)]
    pub fn place(self, field: &FieldEntry) -> Place {
        debug_assert!(!field.is(FieldEntry::EXTENSION));
        Place(self.at(field.offset))
    }

    /// Whether the presence bit is set (`Shape::Single`).
    #[inline(always)]
    pub fn bit(self, field: &FieldEntry) -> bool {
        // SAFETY: within the message, see `at`.
        unsafe { *self.at(field.presence / 8) & (1 << (field.presence % 8)) != 0 }
    }

    #[inline(always)]
    pub fn set_bit(self, field: &FieldEntry) {
        // SAFETY: within the message, see `at`.
        unsafe { *self.at(field.presence / 8) |= 1 << (field.presence % 8) }
    }

    #[inline(always)]
    pub fn clear_bit(self, field: &FieldEntry) {
        // SAFETY: within the message, see `at`.
        unsafe { *self.at(field.presence / 8) &= !(1 << (field.presence % 8)) }
    }

    /// Number of the oneof member that is set, or 0. `case` is [`FieldEntry::presence`] of a member.
    #[inline(always)]
    pub fn case(self, case: u32) -> u32 {
        // SAFETY: cases are aligned words within the message.
        unsafe { self.at(case).cast::<u32>().read() }
    }

    #[inline(always)]
    pub fn set_case(self, case: u32, number: u32) {
        // SAFETY: as above.
        unsafe { self.at(case).cast::<u32>().write(number) }
    }

    /// Unknown fields and extensions, if there ever were any.
    #[inline(always)]
    pub fn extra<'a>(self) -> Option<&'a Extra> {
        // SAFETY: null or a block of this arena; shared use only, see the module's rules.
        unsafe { (*self.0.as_ptr()).extra.as_ref() }
    }

    /// The same for writing, made if missing.
    pub fn extra_mut<'a>(self) -> Result<&'a mut Extra, Exhausted> {
        // SAFETY: the caller has exclusive use of the message; the block is zeroed, which is an empty `Extra`.
        unsafe {
            if (*self.0.as_ptr()).extra.is_null() {
                let arena = self.arena().ok_or(Exhausted)?;
                (*self.0.as_ptr()).extra = arena.alloc_zeroed(size_of::<Extra>())?.as_ptr().cast();
            }
            Ok(&mut *(*self.0.as_ptr()).extra)
        }
    }

    /// Forgets unknown fields, extensions or both.
    pub fn drop_extra(self, unknown: bool, extensions: bool) {
        // SAFETY: the caller has exclusive use of the message.
        if let Some(extra) = unsafe { (*self.0.as_ptr()).extra.as_mut() } {
            extra.unknown.len = if unknown { 0 } else { extra.unknown.len };
            extra.extensions.len = if extensions { 0 } else { extra.extensions.len };
        }
    }

    /// Back to an empty message.
    pub fn clear_all(self) {
        let size = self.table().size as usize;
        // SAFETY: the caller has exclusive use of the message; the header stays.
        unsafe {
            self.0.as_ptr().cast::<u8>().add(HEADER_BYTES).write_bytes(0, size - HEADER_BYTES)
        };
        self.drop_extra(true, true);
    }

    /// The extension's value, if it was set.
    #[inline]
    pub fn find_extension(self, number: u32) -> Option<Place> {
        let extensions = &self.extra()?.extensions;
        let at = extensions.slots().binary_search_by_key(&number, |x| x.number).ok()?;
        // SAFETY: `at` is below the length.
        Some(Place(unsafe { extensions.ptr.cast::<ExtensionSlot>().add(at).cast::<u8>().add(8) }))
    }

    /// The extension's value, zeroed if it was not set.
    pub fn put_extension(self, number: u32, index: u32) -> Result<Place, Exhausted> {
        if let Some(place) = self.find_extension(number) {
            return Ok(place);
        }
        let arena = self.arena().ok_or(Exhausted)?;
        let extensions = &mut self.extra_mut()?.extensions;
        let at = extensions.slots().partition_point(|x| x.number < number);
        let place = extensions.insert(arena, at, size_of::<ExtensionSlot>())?;
        // SAFETY: `insert` made room for one slot at `place`.
        unsafe {
            place.0.cast::<ExtensionSlot>().write(ExtensionSlot { number, index, value: [0; 2] })
        };
        // SAFETY: the value stands behind the two words of the slot.
        Ok(Place(unsafe { place.0.add(8) }))
    }

    pub fn remove_extension(self, number: u32) {
        let Ok(extra) = self.extra_mut() else { return };
        if let Ok(at) = extra.extensions.slots().binary_search_by_key(&number, |x| x.number) {
            extra.extensions.remove(at, size_of::<ExtensionSlot>());
        }
    }

    /// Whether a field of this message's table is set, by its own kind of presence.
    #[inline(always)]
    pub fn is_set(self, field: &FieldEntry) -> bool {
        match field.shape {
            Shape::Single if field.is(FieldEntry::IMPLICIT) => {
                self.place(field).is_nonzero(field.slot)
            }
            Shape::Single => self.bit(field),
            Shape::Oneof => self.case(field.presence) == field.number,
            Shape::List | Shape::Map => self.place(field).vec().len != 0,
        }
    }

    /// Keeps a range of encoded fields. `bytes` live as long as the arena.
    pub fn add_unknown(self, arena: ArenaPtr, bytes: &[u8]) -> Result<(), Exhausted> {
        let place = self.extra_mut()?.unknown.push(arena, Slot::Text.size())?;
        place.set_text(bytes);
        Ok(())
    }
}

/// Where a value lies.
#[derive(Clone, Copy)]
pub(crate) struct Place(pub *mut u8);

macro_rules! word {
    ($get:ident, $set:ident, $type:ty) => {
        #[inline(always)]
        pub fn $get(self) -> $type {
            // SAFETY: a place is aligned for its slot and its bytes are initialised; `bool` is only written as 0 or 1.
            unsafe { self.0.cast::<$type>().read() }
        }
        #[inline(always)]
        pub fn $set(self, value: $type) {
            // SAFETY: as above, and the caller has exclusive use of the message.
            unsafe { self.0.cast::<$type>().write(value) }
        }
    };
}

impl Place {
    word!(bool, set_bool, bool);
    word!(word32, set_word32, u32);
    word!(word64, set_word64, u64);
    word!(text_raw, set_text_raw, RawText);

    /// A place further on in the same block.
    ///
    /// Only for the halves of a map entry.
    #[inline(always)]
    pub fn offset(self, bytes: usize) -> Place {
        // SAFETY: map entries are as long as their layout says, and the value's offset lies within.
        Place(unsafe { self.0.add(bytes) })
    }

    /// The bits of a scalar, widened.
    #[inline(always)]
    pub fn bits(self, slot: Slot) -> u64 {
        match slot {
            Slot::Bool => self.bool().into(),
            Slot::Word32 => self.word32().into(),
            _ => self.word64(),
        }
    }

    #[inline(always)]
    pub fn set_bits(self, slot: Slot, bits: u64) {
        match slot {
            Slot::Bool => self.set_bool(bits != 0),
            Slot::Word32 => self.set_word32(bits as u32),
            _ => self.set_word64(bits),
        }
    }

    #[inline(always)]
    pub fn is_nonzero(self, slot: Slot) -> bool {
        match slot {
            Slot::Bool => self.bool(),
            Slot::Word32 => self.word32() != 0,
            Slot::Word64 | Slot::Message => self.word64() != 0,
            Slot::Text => self.text_raw().len != 0,
        }
    }

    /// A string's bytes; the caller keeps the lifetime within the message's.
    #[inline(always)]
    pub fn text<'a>(self) -> &'a [u8] {
        let text = self.text_raw();
        if text.len == 0 {
            return &[];
        }
        // SAFETY: pointer and length of a living slice, set by `set_text`.
        unsafe { std::slice::from_raw_parts(text.ptr, text.len) }
    }

    /// Points the slot at `text`, which has to live as long as the arena: a part of it, or of bytes it holds.
    #[inline(always)]
    pub fn set_text(self, text: &[u8]) {
        self.set_text_raw(RawText { ptr: text.as_ptr(), len: text.len() });
    }

    #[inline(always)]
    pub fn message(self) -> Option<RawMessage> {
        // SAFETY: a message slot is null or points to a message of the same arena.
        unsafe { self.0.cast::<Option<NonNull<Header>>>().read().map(RawMessage) }
    }

    #[inline(always)]
    pub fn set_message(self, message: Option<RawMessage>) {
        // SAFETY: as `word!`.
        unsafe { self.0.cast::<Option<NonNull<Header>>>().write(message.map(|m| m.0)) }
    }

    #[inline(always)]
    pub fn vec<'a>(self) -> &'a RawVec {
        // SAFETY: the place of a list or map; zeroed is empty.
        unsafe { &*self.0.cast::<RawVec>() }
    }

    #[inline(always)]
    pub fn vec_mut<'a>(self) -> &'a mut RawVec {
        // SAFETY: as above, and the caller has exclusive use of the message.
        unsafe { &mut *self.0.cast::<RawVec>() }
    }

    /// Zeroes an entry of a map, which the caller just made.
    pub fn zero_bytes(self, bytes: usize) {
        // SAFETY: the entry is that long, and the caller has exclusive use of the message.
        unsafe { self.0.write_bytes(0, bytes) }
    }

    /// Empties the slot of a list, map or single value.
    pub fn zero(self, slot: Slot, shape: Shape) {
        match shape {
            Shape::List | Shape::Map => self.vec_mut().len = 0,
            _ => match slot {
                Slot::Text => self.set_text_raw(RawText { ptr: std::ptr::null(), len: 0 }),
                Slot::Message => self.set_message(None),
                _ => self.set_bits(slot, 0),
            },
        }
    }
}

impl RawVec {
    /// The element at `index`, which must be below the length.
    #[inline(always)]
    pub fn element(&self, index: usize, stride: usize) -> Place {
        debug_assert!(index < self.len as usize);
        // SAFETY: `ptr` holds `cap >= len` elements of `stride` bytes.
        Place(unsafe { self.ptr.add(index * stride) })
    }

    fn slots(&self) -> &[ExtensionSlot] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: only called on the vector of extensions, whose elements these are.
        unsafe { std::slice::from_raw_parts(self.ptr.cast(), self.len as usize) }
    }

    /// Elements as a slice; `T` has the size and alignment of the elements and every bit pattern in them is valid.
    #[inline(always)]
    pub unsafe fn as_slice<'a, T>(&self) -> &'a [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `ptr` holds `len` elements; the caller vouches for `T` and the lifetime.
        unsafe { std::slice::from_raw_parts(self.ptr.cast(), self.len as usize) }
    }

    /// Room for `more` further elements.
    pub fn reserve(
        &mut self,
        arena: ArenaPtr,
        more: usize,
        stride: usize,
    ) -> Result<(), Exhausted> {
        let Some(need) = (self.len as usize).checked_add(more) else { return Err(Exhausted) };
        if need <= self.cap as usize {
            return Ok(());
        }
        let cap = need.max((self.cap as usize).saturating_mul(2)).max(32 / stride);
        let (Ok(_), Some(new)) = (u32::try_from(cap), cap.checked_mul(stride)) else {
            return Err(Exhausted);
        };
        let old = self.cap as usize * stride;
        // SAFETY: the old block is `cap` elements long, of which `len` are copied to a fresh one.
        unsafe {
            if self.cap != 0 && arena.extend(self.ptr, old, new) {
                self.cap = cap as u32;
                return Ok(());
            }
            let block = arena.alloc(new)?;
            if self.len != 0 {
                block.as_ptr().copy_from_nonoverlapping(self.ptr, self.len as usize * stride);
            }
            self.ptr = block.as_ptr();
        }
        self.cap = cap as u32;
        Ok(())
    }

    /// One more element at the end, uninitialised: the caller writes it at once.
    #[inline(always)]
    pub fn push(&mut self, arena: ArenaPtr, stride: usize) -> Result<Place, Exhausted> {
        if self.len == self.cap {
            self.grow(arena, stride)?;
        }
        // SAFETY: there is room for one more.
        let place = Place(unsafe { self.ptr.add(self.len as usize * stride) });
        self.len += 1;
        Ok(place)
    }

    #[inline(never)]
    fn grow(&mut self, arena: ArenaPtr, stride: usize) -> Result<(), Exhausted> {
        self.reserve(arena, 1, stride)
    }

    /// One more element at `index`, uninitialised: the caller writes it at once.
    pub fn insert(
        &mut self,
        arena: ArenaPtr,
        index: usize,
        stride: usize,
    ) -> Result<Place, Exhausted> {
        debug_assert!(index <= self.len as usize);
        self.push(arena, stride)?;
        let place = self.element(index, stride);
        let behind = (self.len as usize - 1 - index) * stride;
        // SAFETY: the elements from `index` on move up by one; the room was just made.
        unsafe { place.0.copy_to(place.0.add(stride), behind) };
        Ok(place)
    }

    /// Takes out the element at `index`, which must be below the length.
    pub fn remove(&mut self, index: usize, stride: usize) {
        let place = self.element(index, stride);
        let behind = (self.len as usize - 1 - index) * stride;
        // SAFETY: the elements behind `index` move down by one, all within the vector.
        unsafe { place.0.copy_from(place.0.add(stride), behind) };
        self.len -= 1;
    }
}

impl RawVec {
    /// Exchanges two elements; both below the length.
    pub fn swap(&mut self, a: usize, b: usize, stride: usize) {
        if a == b {
            return;
        }
        let (a, b) = (self.element(a, stride), self.element(b, stride));
        // SAFETY: two different elements of one vector, which do not overlap.
        unsafe { std::ptr::swap_nonoverlapping(a.0, b.0, stride) };
    }

    /// Overwrites one element with another; both below the length.
    pub fn copy_element(&mut self, from: usize, to: usize, stride: usize) {
        let (from, to) = (self.element(from, stride), self.element(to, stride));
        // SAFETY: two elements of one vector.
        unsafe { to.0.copy_from(from.0, stride) };
    }
}

impl RawVec {
    /// Appends `count` values; stops at the first error, keeping those before it. `T` has the size of the elements.
    #[inline(always)]
    pub fn fill<T: Copy, E: From<Exhausted>>(
        &mut self,
        arena: ArenaPtr,
        count: usize,
        mut next: impl FnMut() -> Result<T, E>,
    ) -> Result<(), E> {
        self.reserve(arena, count, size_of::<T>())?;
        let start = self.len;
        // SAFETY: room for `count` elements of this size was just made behind the last one.
        let mut to = unsafe { self.ptr.cast::<T>().add(start as usize) };
        // SAFETY: as above; the end is `count` elements on.
        let end = unsafe { to.add(count) };
        let mut outcome = Ok(());
        while to != end {
            match next() {
                Ok(value) => {
                    // SAFETY: `to` is before the end.
                    unsafe {
                        to.write(value);
                        to = to.add(1);
                    }
                }
                Err(e) => {
                    outcome = Err(e);
                    break;
                }
            }
        }
        // SAFETY: both are in the room that was made.
        let left = unsafe { end.offset_from(to) } as usize;
        self.len = start + (count - left) as u32;
        outcome
    }
}
