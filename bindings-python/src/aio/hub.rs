//! One event loop's engine, its queue, and who gets which event.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use slab::Slab;
use stubless_engine::port::{Event, Queue};
use stubless_engine::rt::driver::Engine;

use super::call::AsyncCall;
use super::stream::Shared;
use crate::engine::{ForkSafe, new_engine};

/// Set in the tags of a client's calls, which the hub gives; a server's calls come with theirs.
const OURS: u64 = 1 << 63;

/// Events handled in one go.
const BATCH: usize = 256;

/// Rounds of events and flushes before the loop gets its turn.
const ROUNDS: usize = 8;

/// Who waits for the events of a call.
pub(crate) enum Entry {
    Unary(Py<AsyncCall>),
    Stream(Arc<Shared>),
}

/// What a server does with its events, on the loop's thread.
pub(crate) trait Serve: Send + Sync {
    fn event(&self, py: Python<'_>, hub: &Bound<'_, Hub>, event: Event);
}

/// The engine of one event loop. Not for use from other threads.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct Hub {
    engine: ForkSafe<Engine>,
    queue: ForkSafe<Arc<Queue>>,
    /// asyncio's loop; `None` under trio.
    event_loop: Option<Py<PyAny>>,
    call_soon: Option<Py<PyAny>>,
    /// The bound method `_flush`, made once; a circle, which `_close` cuts.
    flush: Mutex<Option<Py<PyAny>>>,
    calls: Mutex<Slab<Entry>>,
    /// Calls of clients that servers here are serving, by their tags; and servers by the calls' methods.
    served: Mutex<HashMap<u64, Arc<dyn Serve>>>,
    servers: Mutex<Slab<Arc<dyn Serve>>>,
    spare: Mutex<Vec<Event>>,
    /// In one of the hub's own callbacks: what is submitted leaves at its end.
    busy: AtomicBool,
    /// `_flush` is on the loop's list.
    scheduled: AtomicBool,
    /// KeyboardInterrupt or SystemExit out of a task, to be raised where the loop sees it.
    fatal: Mutex<Option<PyErr>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(crate) fn is_trio(&self) -> bool {
        self.event_loop.is_none()
    }

    pub(crate) fn event_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.as_ref().map_or_else(|| py.None(), |event_loop| event_loop.clone_ref(py))
    }

    /// Before anything is submitted: makes sure that it leaves in this turn of the loop.
    pub(crate) fn before_submit(&self, py: Python<'_>) -> PyResult<()> {
        if self.engine.is_forked() {
            return Ok(());
        }
        if self.busy.load(Ordering::Relaxed) {
            self.engine.rt().executor().promise_run();
            return Ok(());
        }
        let Some(call_soon) = &self.call_soon else {
            // trio: the engine raises its own descriptor
            return Ok(());
        };
        if !self.scheduled.swap(true, Ordering::Relaxed) {
            let flush = lock(&self.flush).as_ref().map(|flush| flush.clone_ref(py));
            if let Err(error) = call_soon.bind(py).call1((flush,)) {
                self.scheduled.store(false, Ordering::Relaxed);
                return Err(error);
            }
        }
        self.engine.rt().executor().promise_run();
        Ok(())
    }

    pub(crate) fn call_soon(
        &self,
        py: Python<'_>,
        callback: &Py<PyAny>,
        argument: &Bound<'_, PyAny>,
        context: Option<&Py<PyAny>>,
    ) -> PyResult<()> {
        let Some(call_soon) = &self.call_soon else {
            return callback.bind(py).call1((argument,)).map(|_| ());
        };
        match context {
            Some(context) => {
                let keywords = PyDict::new(py);
                keywords.set_item(intern!(py, "context"), context)?;
                call_soon.bind(py).call((callback, argument), Some(&keywords))?;
            }
            None => {
                call_soon.bind(py).call1((callback, argument))?;
            }
        }
        Ok(())
    }

    /// A callback raised: as the loop does it, told to its exception handler, but for what must end the loop.
    pub(crate) fn callback_failed(&self, py: Python<'_>, error: PyErr) {
        if error.is_instance_of::<PyKeyboardInterrupt>(py)
            || error.is_instance_of::<PySystemExit>(py)
        {
            *lock(&self.fatal) = Some(error);
            return;
        }
        let told = (|| -> PyResult<()> {
            let Some(event_loop) = &self.event_loop else { return Err(error.clone_ref(py)) };
            let context = PyDict::new(py);
            context.set_item("message", "Exception in a stubless callback")?;
            context.set_item("exception", error.value(py))?;
            event_loop.bind(py).call_method1("call_exception_handler", (context,)).map(|_| ())
        })();
        if let Err(error) = told {
            error.write_unraisable(py, None);
        }
    }

    pub(crate) fn insert(&self, entry: Entry) -> u64 {
        lock(&self.calls).insert(entry) as u64 | OURS
    }

    /// Events of the call with this tag go to `server` too.
    pub(crate) fn serve_call(&self, tag: u64, server: Arc<dyn Serve>) {
        lock(&self.served).insert(tag, server);
    }

    pub(crate) fn served(&self, tag: u64) -> bool {
        lock(&self.served).remove(&tag).is_some()
    }

    /// A new server; its methods carry the number given.
    pub(crate) fn add_server(&self, server: Arc<dyn Serve>) -> u64 {
        lock(&self.servers).insert(server) as u64
    }

    pub(crate) fn remove_server(&self, number: u64) {
        let gone = lock(&self.servers).try_remove(number as usize);
        drop(gone);
    }

    /// `stubless._aio_server._spawn`: runs a handler's first step and makes a task of it.
    pub(crate) fn spawner<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        static SPAWN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let spawn = SPAWN.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("stubless._aio_server")?.getattr("_spawn")?.unbind())
        })?;
        Ok(spawn.bind(py))
    }

    /// Hands out events until there are none, flushing what they caused.
    fn work(slf: &Bound<'_, Hub>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let mut batch = std::mem::take(&mut *lock(&this.spare));
        for _ in 0..ROUNDS {
            while this.queue.drain(&mut batch, BATCH) > 0 {
                for event in batch.drain(..) {
                    this.dispatch(py, slf, event);
                }
            }
            this.engine.flush();
            if this.queue.is_empty() {
                break;
            }
        }
        *lock(&this.spare) = batch;
        this.busy.store(false, Ordering::Relaxed);
        if !this.queue.is_empty() {
            this.before_submit(py)?;
        }
        match lock(&this.fatal).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn dispatch(&self, py: Python<'_>, slf: &Bound<'_, Hub>, event: Event) {
        let tag = match &event {
            Event::Reply { tag, .. }
            | Event::Headers { tag, .. }
            | Event::Message { tag, .. }
            | Event::Writable { tag }
            | Event::Status { tag, .. }
            | Event::HalfClosed { tag }
            | Event::Cancelled { tag, .. } => *tag,
            Event::Call(call) => {
                let server = lock(&self.servers).get((call.method >> 32) as usize).cloned();
                if let Some(server) = server {
                    server.event(py, slf, event);
                }
                return;
            }
            _ => return,
        };
        if tag & OURS == 0 {
            let server = lock(&self.served).get(&tag).cloned();
            if let Some(server) = server {
                server.event(py, slf, event);
            }
            return;
        }
        let index = (tag & !OURS) as usize;
        match event {
            Event::Reply { reply, .. } => {
                let entry = lock(&self.calls).try_remove(index);
                match entry {
                    Some(Entry::Unary(call)) => AsyncCall::finish(call.bind(py), reply),
                    Some(Entry::Stream(shared)) => shared.event(py, Event::Reply { tag, reply }),
                    None => {}
                }
            }
            event => {
                let last = matches!(event, Event::Status { .. });
                let shared = {
                    let mut calls = lock(&self.calls);
                    let shared = match calls.get(index) {
                        Some(Entry::Stream(shared)) => Some(shared.clone()),
                        _ => None,
                    };
                    if last {
                        calls.try_remove(index);
                    }
                    shared
                };
                if let Some(shared) = shared {
                    shared.event(py, event);
                }
            }
        }
    }
}

#[pymethods]
impl Hub {
    /// `event_loop` is asyncio's, `None` under trio.
    #[new]
    #[pyo3(signature = (event_loop = None))]
    fn new(py: Python<'_>, event_loop: Option<Py<PyAny>>) -> PyResult<Py<Hub>> {
        let engine = new_engine()?;
        let call_soon = match &event_loop {
            Some(event_loop) => {
                Some(event_loop.bind(py).getattr(intern!(py, "call_soon"))?.unbind())
            }
            None => None,
        };
        let hub = Hub {
            engine: ForkSafe::new(engine),
            queue: ForkSafe::new(Queue::silent()),
            event_loop,
            call_soon,
            flush: Mutex::default(),
            calls: Mutex::default(),
            served: Mutex::default(),
            servers: Mutex::default(),
            spare: Mutex::default(),
            busy: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            fatal: Mutex::default(),
        };
        let hub = Py::new(py, hub)?;
        let flush = hub.bind(py).getattr(PyString::new(py, "_flush"))?;
        *lock(&hub.get().flush) = Some(flush.unbind());
        Ok(hub)
    }

    /// What the loop watches for reading.
    fn fileno(&self) -> RawFd {
        self.engine.descriptor()
    }

    #[getter]
    fn loop_(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop(py)
    }

    /// Whether the process was forked since; then nothing of it may be used.
    fn is_forked(&self) -> bool {
        self.engine.is_forked()
    }

    /// The descriptor is readable: a turn of the engine, then its events.
    fn _on_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.engine.is_forked() {
            return Ok(());
        }
        this.busy.store(true, Ordering::Relaxed);
        this.engine.turn();
        Hub::work(slf)
    }

    /// Sends what was submitted since the last turn.
    fn _flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.scheduled.store(false, Ordering::Relaxed);
        if this.engine.is_forked() {
            return Ok(());
        }
        this.busy.store(true, Ordering::Relaxed);
        this.engine.flush();
        Hub::work(slf)
    }

    /// For loops that cannot watch a descriptor: waits, without the interpreter's lock, until there are events.
    fn _wait(&self, py: Python<'_>, seconds: f64) -> bool {
        let queue: &Queue = &self.queue;
        py.detach(|| self.engine.wait_for(queue, Some(Duration::from_secs_f64(seconds))));
        !queue.is_empty()
    }

    /// Ends the engine of a loop that is over.
    fn _close(&self, py: Python<'_>) {
        if self.engine.is_forked() {
            return;
        }
        py.detach(|| self.engine.shutdown(Duration::from_secs(1)));
        let flush = lock(&self.flush).take();
        drop(flush);
        let calls = std::mem::take(&mut *lock(&self.calls));
        let served = std::mem::take(&mut *lock(&self.served));
        let servers = std::mem::take(&mut *lock(&self.servers));
        drop((calls, served, servers));
    }

    #[getter]
    fn _pending(&self) -> usize {
        lock(&self.calls).len()
    }
}
