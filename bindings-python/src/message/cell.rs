//! Interior state of an object that only attached threads reach.
//!
//! On an interpreter with a lock, that lock is the lock: a guard costs two plain stores, where a mutex cost 10 ns of the
//! 30 ns an attribute takes (measured with `benches/python_messages.py`). On a free-threaded interpreter the same type
//! is a mutex. No Python code may run while a guard is held; if it did and came back here, that is a panic and not a
//! second reference.

#[cfg(not(Py_GIL_DISABLED))]
mod imp {
    use std::cell::{Cell, UnsafeCell};
    use std::ops::{Deref, DerefMut};

    use pyo3::prelude::*;

    /// See the module.
    #[derive(Default)]
    pub(crate) struct Guarded<T> {
        busy: Cell<bool>,
        value: UnsafeCell<T>,
    }

    // SAFETY: `busy` and `value` are reached by attached threads only (every way in takes a `Python` token, a `PyVisit`,
    // or `&mut`/ownership), and on this interpreter one thread is attached at a time; handing the interpreter lock over
    // orders their accesses. A guard is neither `Send` nor usable without the token's lifetime.
    unsafe impl<T: Send> Sync for Guarded<T> {}

    /// The value, for as long as nobody else gets it.
    pub(crate) struct Guard<'a, T> {
        cell: &'a Guarded<T>,
        /// Keeps the guard on its thread.
        _thread: std::marker::PhantomData<*const ()>,
    }

    impl<T> Guarded<T> {
        pub fn new(value: T) -> Guarded<T> {
            Guarded { busy: Cell::new(false), value: UnsafeCell::new(value) }
        }

        #[inline(always)]
        pub fn lock<'a>(&'a self, _py: Python<'a>) -> Guard<'a, T> {
            match self.claim() {
                Some(guard) => guard,
                None => panic!("a message is in use by the code that called this code"),
            }
        }

        /// For the garbage collector, which calls with the interpreter held; `None`: in use.
        pub fn visit(&self, _visit: &pyo3::PyVisit<'_>) -> Option<Guard<'_, T>> {
            self.claim()
        }

        #[inline(always)]
        fn claim(&self) -> Option<Guard<'_, T>> {
            if self.busy.replace(true) {
                return None;
            }
            Some(Guard { cell: self, _thread: std::marker::PhantomData })
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        #[inline(always)]
        fn deref(&self) -> &T {
            // SAFETY: `busy` was false when this guard was made, so it is the only one.
            unsafe { &*self.cell.value.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[inline(always)]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: as above, and `self` is borrowed mutably.
            unsafe { &mut *self.cell.value.get() }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        #[inline(always)]
        fn drop(&mut self) {
            self.cell.busy.set(false);
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
mod imp {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use pyo3::prelude::*;

    /// See the module.
    #[derive(Default)]
    pub(crate) struct Guarded<T>(Mutex<T>);

    pub(crate) type Guard<'a, T> = MutexGuard<'a, T>;

    impl<T> Guarded<T> {
        pub fn new(value: T) -> Guarded<T> {
            Guarded(Mutex::new(value))
        }

        pub fn lock<'a>(&'a self, _py: Python<'a>) -> Guard<'a, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// For the garbage collector, which stops all other threads; `None`: one of them was stopped while it had it.
        pub fn visit(&self, _visit: &pyo3::PyVisit<'_>) -> Option<Guard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

pub(crate) use imp::{Guard, Guarded};
