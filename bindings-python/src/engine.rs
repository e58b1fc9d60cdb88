//! The process's engine for blocking calls and servers, and what a fork does to engines.
//!
//! Blocking channels and `sl.Server` share one engine, driven by the threads that wait on it. Event loops have one each
//! (`aio`). A fork leaves a child with engines whose locks may be held by threads that do not exist: everything made
//! before is left alone, never locked, never dropped ([`ForkSafe`]).

use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use stubless_engine::rt::driver::Engine;
use stubless_engine::rt::reactor::inherited_descriptors;
use stubless_engine::status::{Code, Status};

/// How often this process is a fork of a fork: engines and what stands on them belong to one generation.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A blocking wait looks at signals this often.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// The generation of objects made now.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The status of every call on something made before the fork.
pub(crate) fn forked() -> Status {
    Status::new(Code::Unavailable, "created before fork: make a new channel in the child")
}

/// The status of a call whose engine is gone.
pub(crate) fn local_closed() -> Status {
    Status::new(Code::Unavailable, "the engine was shut down")
}

/// A part of an engine. In a child of the process that made it, it is leaked instead of dropped.
pub(crate) struct ForkSafe<T> {
    /// `None` only while it is dropped.
    value: Option<T>,
    generation: u32,
}

impl<T> ForkSafe<T> {
    pub(crate) fn new(value: T) -> ForkSafe<T> {
        ForkSafe { value: Some(value), generation: generation() }
    }

    /// Whether the process was forked since.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != generation()
    }
}

impl<T> Deref for ForkSafe<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("used while it is dropped"),
        }
    }
}

impl<T> Drop for ForkSafe<T> {
    fn drop(&mut self) {
        if self.is_forked() {
            std::mem::forget(self.value.take());
        }
    }
}

/// The engine of this process and its generation.
static PROCESS: Mutex<Option<(u32, Engine)>> = Mutex::new(None);

/// The engine that blocking callers share; made at first use.
pub(crate) fn process_engine() -> PyResult<Engine> {
    let mut slot = PROCESS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((made, engine)) = &*slot
        && *made == generation()
        && !engine.is_closed()
    {
        return Ok(engine.clone());
    }
    let engine = new_engine()?;
    engine
        .start_keeper()
        .map_err(|error| PyOSError::new_err(format!("no thread for the engine: {error}")))?;
    if let Some((made, old)) = slot.replace((generation(), engine.clone()))
        && made != generation()
    {
        std::mem::forget(old);
    }
    Ok(engine)
}

/// An engine nobody drives yet.
pub(crate) fn new_engine() -> PyResult<Engine> {
    Engine::new().map_err(|error| PyOSError::new_err(format!("no poller for the engine: {error}")))
}

/// Called in the child of a fork, before anything else runs there. Gives the sockets to close: the child must not hold its
/// parent's connections and listeners open. Waits for no lock.
#[pyfunction]
fn _after_fork_in_child() -> Vec<i32> {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    inherited_descriptors()
}

/// Ends the process's engine, for the interpreter's end. Nothing needs Python after it.
#[pyfunction]
fn _shutdown(py: Python<'_>) {
    let engine = PROCESS.lock().ok().and_then(|mut slot| slot.take());
    if let Some((made, engine)) = engine {
        if made == generation() {
            py.detach(|| engine.shutdown(Duration::from_secs(5)));
        } else {
            std::mem::forget(engine);
        }
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_after_fork_in_child, m)?)?;
    m.add_function(wrap_pyfunction!(_shutdown, m)?)
}
