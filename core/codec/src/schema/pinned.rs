//! Pointers into a [`Tables`](super::table::Tables) that the holder keeps alive by an `Arc` of it.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::table::Tables;

/// A `&T` into tables, without the lifetime. Only ever stored beside an `Arc<Tables>` of the same tables.
#[derive(Debug)]
pub(crate) struct Pinned<T>(NonNull<T>);

// SAFETY: a `Pinned` gives shared access to immutable data and nothing else, as `&T` does.
unsafe impl<T: Sync> Send for Pinned<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Pinned<T> {}

impl<T> Pinned<T> {
    /// # Safety
    /// `target` is part of `tables`, and the result is not used after the last `Arc` of them is gone: whoever stores it
    /// stores `tables` beside it.
    #[inline]
    pub unsafe fn new(_tables: &Arc<Tables>, target: &T) -> Pinned<T> {
        Pinned(NonNull::from(target))
    }

    #[inline]
    pub fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl<T> Clone for Pinned<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pinned<T> {}

impl<T> Deref for Pinned<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: by the contract of `new` the tables are alive, and they are never changed or moved.
        unsafe { self.0.as_ref() }
    }
}
