//! The memory of one message tree: chunks that are handed out from front to back and freed all at once.
//!
//! The arena's own header is the first thing in its first chunk, the root message the second: a small message costs one
//! allocation. Nothing in an arena has a destructor but the header. Space given up (a list that moved, a string that was
//! set again) is not reused before the whole message goes; that is the price of freeing in one step.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::schema::table::Tables;

/// All blocks are multiples of this, and so aligned to it.
const ALIGN: usize = 8;
/// Chunks double up to this size.
const MAX_CHUNK: usize = 1 << 20;

/// Memory of all arenas of the process beyond their first chunks, and how much of it decoding may add to.
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PROCESS_LIMIT: AtomicUsize = AtomicUsize::new(1 << 30);

/// Sets how much memory all messages of the process may hold together before decoding is refused
/// ([`DecodeErrorKind::Memory`](crate::DecodeErrorKind), in an RPC `RESOURCE_EXHAUSTED`), in bytes. Default 1 GiB. Only what
/// large messages need beyond their first 48 KiB or so is counted; messages that are built, not decoded, count but are never
/// refused. `usize::MAX` lifts the limit.
pub fn set_process_memory_limit(bytes: usize) {
    PROCESS_LIMIT.store(bytes, Ordering::Relaxed);
}

/// Header of an arena.
#[repr(C)]
pub(crate) struct Arena {
    next: *mut u8,
    end: *mut u8,
    tables: Arc<Tables>,
    /// Bytes of the first chunk, which begins with this header.
    first: usize,
    /// Bytes of all chunks, and how many there may be.
    total: usize,
    limit: usize,
    /// What strings of a decoded message point into.
    input: Option<Bytes>,
    /// Away from the header, since small messages do without.
    more: Option<Box<More>>,
}

/// What an arena gets as it grows.
#[derive(Default)]
struct More {
    chunks: Vec<(NonNull<u8>, usize)>,
    inputs: Vec<Bytes>,
}

/// A pointer to a living arena. Not `Sync`: whoever allocates owns the message tree for that time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArenaPtr(NonNull<Arena>);

/// No more memory than the arena's limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl ArenaPtr {
    /// A new arena with room for `room` bytes before it allocates again.
    pub fn new(tables: Arc<Tables>, room: usize, limit: usize) -> ArenaPtr {
        let size = (size_of::<Arena>() + room).next_multiple_of(ALIGN);
        let base = allocate(size);
        // SAFETY: `base` is fresh, aligned to 8 and holds `size` bytes, of which the header takes the first.
        unsafe {
            let next = base.as_ptr().add(size_of::<Arena>().next_multiple_of(ALIGN));
            let end = base.as_ptr().add(size);
            base.cast::<Arena>().as_ptr().write(Arena {
                next,
                end,
                tables,
                first: size,
                total: size,
                limit,
                input: None,
                more: None,
            });
        }
        ArenaPtr(base.cast())
    }

    /// # Safety
    /// `raw` came from [`ArenaPtr::as_raw`] and that arena is alive.
    #[inline(always)]
    pub unsafe fn from_raw(raw: NonNull<Arena>) -> ArenaPtr {
        ArenaPtr(raw)
    }

    #[inline(always)]
    pub fn as_raw(self) -> *mut Arena {
        self.0.as_ptr()
    }

    /// Frees everything.
    ///
    /// # Safety
    /// Nothing that points into the arena is used afterwards, and this is called once.
    pub unsafe fn free(self) {
        let arena = self.0.as_ptr();
        // SAFETY: the header is alive until the first chunk goes, which is last; layouts are those of `allocate`.
        unsafe {
            if let Some(more) = &(*arena).more {
                LIVE_BYTES.fetch_sub((*arena).total - (*arena).first, Ordering::Relaxed);
                for &(chunk, size) in &more.chunks {
                    dealloc(chunk.as_ptr(), Layout::from_size_align_unchecked(size, ALIGN));
                }
            }
            let first = (*arena).first;
            arena.drop_in_place();
            dealloc(arena.cast(), Layout::from_size_align_unchecked(first, ALIGN));
        }
    }

    /// `size` bytes of uninitialised memory, aligned to 8.
    ///
    /// # Errors
    /// The arena would outgrow its limit.
    #[inline(always)]
    pub fn alloc(self, size: usize) -> Result<NonNull<u8>, Exhausted> {
        let size = size.next_multiple_of(ALIGN);
        let arena = self.0.as_ptr();
        // SAFETY: the arena is alive; `next..end` is the unused rest of the newest chunk.
        unsafe {
            let next = (*arena).next;
            if size <= (*arena).end as usize - next as usize {
                (*arena).next = next.add(size);
                return Ok(NonNull::new_unchecked(next));
            }
        }
        self.alloc_chunk(size)
    }

    #[cold]
    #[inline(never)]
    fn alloc_chunk(self, size: usize) -> Result<NonNull<u8>, Exhausted> {
        // SAFETY: the arena is alive and this is the only reference while we are in here.
        let arena = unsafe { &mut *self.0.as_ptr() };
        let left = arena.limit.saturating_sub(arena.total);
        if size > left || size > isize::MAX as usize / 2 {
            return Err(Exhausted);
        }
        let chunk_size =
            arena.total.clamp(256, MAX_CHUNK).max(size).min(left.max(size)).next_multiple_of(ALIGN);
        let live = LIVE_BYTES.fetch_add(chunk_size, Ordering::Relaxed);
        let decoding = arena.limit != usize::MAX;
        if decoding && live.saturating_add(chunk_size) > PROCESS_LIMIT.load(Ordering::Relaxed) {
            LIVE_BYTES.fetch_sub(chunk_size, Ordering::Relaxed);
            return Err(Exhausted);
        }
        let chunk = allocate(chunk_size);
        arena.more.get_or_insert_default().chunks.push((chunk, chunk_size));
        arena.total += chunk_size;
        // SAFETY: `size <= chunk_size`. A big block of its own does not end the chunk that has room left.
        unsafe {
            let rest = chunk_size - size;
            if rest > arena.end as usize - arena.next as usize {
                arena.next = chunk.as_ptr().add(size);
                arena.end = chunk.as_ptr().add(chunk_size);
            }
        }
        Ok(chunk)
    }

    /// Makes a block longer where it lies, if it was the last to be handed out and there is room.
    ///
    /// # Safety
    /// `block` is a block of this arena of `old` bytes.
    #[inline]
    pub unsafe fn extend(self, block: *mut u8, old: usize, new: usize) -> bool {
        let (old, new) = (old.next_multiple_of(ALIGN), new.next_multiple_of(ALIGN));
        let arena = self.0.as_ptr();
        // SAFETY: the arena is alive; addresses are compared before any pointer is moved.
        unsafe {
            let next = (*arena).next;
            if block as usize + old != next as usize
                || new - old > (*arena).end as usize - next as usize
            {
                return false;
            }
            (*arena).next = next.add(new - old);
            true
        }
    }

    /// `size` zero bytes.
    ///
    /// # Errors
    /// As [`ArenaPtr::alloc`].
    #[inline(always)]
    pub fn alloc_zeroed(self, size: usize) -> Result<NonNull<u8>, Exhausted> {
        let block = self.alloc(size)?;
        // SAFETY: the block is fresh and has `size` bytes.
        unsafe { block.as_ptr().write_bytes(0, size) };
        Ok(block)
    }

    /// A copy of `bytes`. It lives as long as the arena, to which the caller binds the lifetime.
    ///
    /// # Errors
    /// As [`ArenaPtr::alloc`].
    #[inline]
    pub fn copy<'a>(self, bytes: &[u8]) -> Result<&'a [u8], Exhausted> {
        if bytes.is_empty() {
            return Ok(&[]);
        }
        let block = self.alloc(bytes.len())?;
        // SAFETY: the block is fresh, so it does not overlap, and has that many bytes, which are then initialised.
        unsafe {
            block.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Ok(std::slice::from_raw_parts(block.as_ptr(), bytes.len()))
        }
    }

    /// Keeps `input` alive as long as the arena.
    pub fn hold(self, input: Bytes) {
        // SAFETY: the arena is alive and this is the only reference while we are in here.
        let arena = unsafe { &mut *self.0.as_ptr() };
        match arena.input {
            None => arena.input = Some(input),
            Some(_) => arena.more.get_or_insert_default().inputs.push(input),
        }
    }

    /// The tables the arena holds.
    #[inline]
    pub fn tables<'a>(self) -> &'a Arc<Tables> {
        // SAFETY: the field is never written after `new`. The lifetime is bound by the callers, whose message
        // references do not outlive the arena.
        unsafe { &*std::ptr::addr_of!((*self.0.as_ptr()).tables) }
    }

    /// Bytes of all chunks; what was decoded without a copy is not counted.
    pub fn total(self) -> usize {
        // SAFETY: the arena is alive.
        unsafe { (*self.0.as_ptr()).total }
    }

    /// Sets the limit for what is allocated from now on.
    pub fn set_limit(self, limit: usize) {
        // SAFETY: the arena is alive.
        unsafe { (*self.0.as_ptr()).limit = limit }
    }
}

fn allocate(size: usize) -> NonNull<u8> {
    // SAFETY: the size is not zero; a size over `isize::MAX` cannot come from the limits the callers keep.
    let layout = unsafe { Layout::from_size_align_unchecked(size, ALIGN) };
    // SAFETY: the layout has a size above zero.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
