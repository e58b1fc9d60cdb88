//! asyncio streams: messages come in batches with the loop's turns; most steps of an `async for` find one here already.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{ClientCallHandle, Event};
use stubless_engine::status::{Code, Status};

use super::future::{Parked, Ready};
use super::hub::Hub;
use super::wait::{Wait, Waitable};
use crate::call::{Coded, done};
use crate::engine::ForkSafe;
use crate::metadata::to_py;

/// Messages asked for ahead of the reader; topped up when half of them have come.
pub(crate) const CREDITS: usize = 128;

#[derive(Default)]
struct State {
    local: VecDeque<Bytes>,
    credits: usize,
    headers: Option<Metadata>,
    end: Option<(Status, Metadata)>,
    blocked: bool,
    half_closed: bool,
    failure: Option<PyErr>,
    readers: Option<Py<Parked>>,
    writers: Option<Py<Parked>>,
}

/// What the hub and the call's Python object have in common.
pub(crate) struct Shared {
    hub: Py<Hub>,
    handle: OnceLock<ForkSafe<ClientCallHandle>>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(hub: Py<Hub>, half_closed: bool) -> Shared {
        let state = State { half_closed, credits: CREDITS, ..State::default() };
        Shared { hub, handle: OnceLock::new(), state: Mutex::new(state) }
    }

    pub(crate) fn begin(&self, handle: ClientCallHandle) {
        let _ = self.handle.set(ForkSafe::new(handle));
    }

    pub(crate) fn fail(&self, status: Status) {
        self.lock().end = Some((status, Metadata::new()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Option<&ClientCallHandle> {
        self.handle.get().filter(|handle| !handle.is_forked()).map(|handle| &**handle)
    }

    /// Takes an event; whoever waited for it runs on before this returns.
    pub(crate) fn event(&self, py: Python<'_>, event: Event) {
        let (readers, writers) = {
            let mut state = self.lock();
            let (mut read, mut write) = (true, false);
            match event {
                Event::Headers { metadata, .. } => state.headers = Some(metadata),
                Event::Message { message, .. } => {
                    state.credits = state.credits.saturating_sub(1);
                    state.local.push_back(message);
                }
                Event::Writable { .. } => {
                    state.blocked = false;
                    (read, write) = (false, true);
                }
                Event::Status { status, trailers, .. } => {
                    state.end = Some((status, trailers));
                    write = true;
                }
                Event::Reply { reply, .. } => {
                    state.headers = Some(reply.headers);
                    state.local.extend(reply.message);
                    state.end = Some((reply.status, reply.trailers));
                    write = true;
                }
                _ => read = false,
            }
            (
                if read { state.readers.take() } else { None },
                if write { state.writers.take() } else { None },
            )
        };
        for parked in readers.iter().chain(&writers) {
            Parked::fire(parked.bind(py));
        }
    }

    fn top_up(&self, state: &mut State) {
        let known = state.credits + state.local.len();
        if known < CREDITS / 2
            && state.end.is_none()
            && let Some(handle) = self.live()
        {
            state.credits += CREDITS - known;
            handle.grant(CREDITS - known);
        }
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        if self.lock().end.is_some() {
            return Ok(false);
        }
        if let Some(handle) = self.live() {
            self.hub.bind(py).get().before_submit(py)?;
            handle.cancel();
        }
        Ok(true)
    }

    fn failed(&self, py: Python<'_>, coded: &Coded) -> PyErr {
        let (status, headers, trailers) = {
            let mut state = self.lock();
            if let Some(failure) = state.failure.take() {
                return failure;
            }
            let (status, trailers) = state.end.clone().unwrap_or_default();
            (status, state.headers.clone().unwrap_or_default(), trailers)
        };
        if status.is_ok() {
            return PyRuntimeError::new_err("the call has ended: nothing more can be sent");
        }
        coded.error(py, &status, headers, trailers)
    }

    /// The next message; `Some(None)` at the end.
    fn poll_message(&self, py: Python<'_>, coded: &Coded) -> PyResult<Option<Option<Py<PyAny>>>> {
        let message = {
            let mut state = self.lock();
            match state.local.pop_front() {
                Some(message) => {
                    if state.credits + state.local.len() < CREDITS / 2 && state.end.is_none() {
                        self.hub.bind(py).get().before_submit(py)?;
                        self.top_up(&mut state);
                    }
                    message
                }
                None => match &state.end {
                    None => return Ok(None),
                    Some((status, _)) if status.is_ok() => return Ok(Some(None)),
                    Some(_) => {
                        drop(state);
                        return Err(self.failed(py, coded));
                    }
                },
            }
        };
        match coded.response(py, message) {
            Ok(message) => Ok(Some(Some(message))),
            Err(error) => {
                self.cancel(py)?;
                Err(error)
            }
        }
    }
}

/// What a [`Wait`] waits for.
enum Op {
    /// The next message; its end is `StopAsyncIteration`.
    Next,
    /// The next message; its end is `None`.
    Recv,
    /// Room for another message.
    Room,
    /// The initial metadata.
    Headers,
    /// The one answer of a call that has one.
    Answer,
}

struct StreamWait {
    shared: Arc<Shared>,
    coded: Coded,
    op: Op,
    /// A call lives as long as somebody waits for it.
    _call: Py<AsyncStreamCall>,
}

impl Waitable for StreamWait {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let (shared, coded) = (&self.shared, &self.coded);
        match self.op {
            Op::Next => match shared.poll_message(py, coded)? {
                Some(Some(message)) => Ok(Some(message)),
                Some(None) => Err(PyStopAsyncIteration::new_err(())),
                None => Ok(None),
            },
            Op::Recv => Ok(shared
                .poll_message(py, coded)?
                .map(|message| message.unwrap_or_else(|| py.None()))),
            Op::Room => {
                let state = shared.lock();
                match &state.end {
                    Some((status, _)) if !status.is_ok() => {
                        drop(state);
                        Err(shared.failed(py, coded))
                    }
                    Some(_) => Ok(Some(py.None())),
                    None => Ok((!state.blocked).then(|| py.None())),
                }
            }
            Op::Headers => {
                let state = shared.lock();
                let headers = match &state.headers {
                    Some(headers) => headers.clone(),
                    None if state.end.is_some() => Metadata::new(),
                    None => return Ok(None),
                };
                drop(state);
                to_py(py, headers).map(Some)
            }
            Op::Answer => {
                let message = {
                    let mut state = shared.lock();
                    match &state.end {
                        None => return Ok(None),
                        Some((status, _)) if status.is_ok() => state.local.pop_front(),
                        Some(_) => None,
                    }
                };
                match message {
                    Some(message) => coded.response(py, message).map(Some),
                    None => Err(shared.failed(py, coded)),
                }
            }
        }
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<Parked>> {
        let mut state = self.shared.lock();
        let slot =
            if matches!(self.op, Op::Room) { &mut state.writers } else { &mut state.readers };
        if let Some(parked) = slot {
            return Ok(parked.clone_ref(py));
        }
        let parked = Parked::new(py, &self.shared.hub)?;
        *slot = Some(parked.clone_ref(py));
        Ok(parked)
    }

    /// Whoever waited gave up: so does the call.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let stale = {
            let mut state = self.shared.lock();
            let slot =
                if matches!(self.op, Op::Room) { &mut state.writers } else { &mut state.readers };
            // a fired one would never fire again
            slot.take()
        };
        drop(stale);
        self.shared.cancel(py).map(|_| ())
    }

    fn hub(&self) -> &Py<Hub> {
        &self.shared.hub
    }
}

/// An asyncio call with a stream on either side: `async for` its answers; `send`, `recv`, `done`, `cancel`.
#[pyclass(frozen, module = "stubless", name = "AsyncStreamCall")]
pub(crate) struct AsyncStreamCall {
    shared: Arc<Shared>,
    coded: Coded,
    deadline: Option<Instant>,
}

impl AsyncStreamCall {
    pub(crate) fn new(
        shared: Arc<Shared>,
        coded: Coded,
        deadline: Option<Instant>,
    ) -> AsyncStreamCall {
        AsyncStreamCall { shared, coded, deadline }
    }

    fn wait(slf: &Bound<'_, Self>, op: Op) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        let (shared, coded) = (this.shared.clone(), this.coded.clone());
        Wait::of(slf.py(), StreamWait { shared, coded, op, _call: slf.clone().unbind() })
    }
}

#[pymethods]
impl AsyncStreamCall {
    /// Sends one message; awaiting waits for room for the next.
    #[pyo3(signature = (message, /))]
    fn send(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let ended = {
            let state = this.shared.lock();
            if state.half_closed {
                return Err(PyRuntimeError::new_err("nothing can be sent after done()"));
            }
            state.end.is_some()
        };
        let bytes = this.coded.encode(message)?;
        let Some(handle) = this.shared.live().filter(|_| !ended) else {
            return Err(this.shared.failed(py, &this.coded));
        };
        this.shared.hub.bind(py).get().before_submit(py)?;
        if handle.send(bytes) {
            return Ready::none(py);
        }
        this.shared.lock().blocked = true;
        AsyncStreamCall::wait(slf, Op::Room)
    }

    /// The next answer; `None` at the end.
    fn recv(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        match this.shared.poll_message(py, &this.coded)? {
            Some(message) => Ready::value(py, message.unwrap_or_else(|| py.None())),
            None => AsyncStreamCall::wait(slf, Op::Recv),
        }
    }

    /// No more messages will be sent. Need not be awaited.
    fn done(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.shared.lock().half_closed = true;
        if let Some(handle) = self.shared.live() {
            self.shared.hub.bind(py).get().before_submit(py)?;
            handle.half_close();
        }
        Ready::none(py)
    }

    /// Ends the call with CANCELLED, here and on the wire.
    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        self.shared.cancel(py)
    }

    /// Metadata the server sent before its first answer; awaitable.
    fn initial_metadata(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        AsyncStreamCall::wait(slf, Op::Headers)
    }

    /// Metadata the server sent at the end; `None` while the call is open.
    fn trailing_metadata(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let trailers = self.shared.lock().end.as_ref().map(|(_, trailers)| trailers.clone());
        trailers.map(|trailers| to_py(py, trailers)).transpose()
    }

    /// The status code; `None` while the call is open.
    fn code(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let status = self.shared.lock().end.as_ref().map(|(status, _)| status.clone());
        status.map(|status| done::code(py, &status)).transpose()
    }

    /// The status text; `None` while the call is open.
    fn details(&self) -> Option<String> {
        self.shared.lock().end.as_ref().map(|(status, _)| status.message().to_owned())
    }

    /// Seconds until the deadline; `None` without one.
    fn time_remaining(&self) -> Option<f64> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    /// Whether the call has ended.
    fn is_active(&self) -> bool {
        self.shared.lock().end.is_none()
    }

    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        match this.shared.poll_message(py, &this.coded)? {
            Some(Some(message)) => Ready::value(py, message),
            Some(None) => Err(PyStopAsyncIteration::new_err(())),
            None => AsyncStreamCall::wait(slf, Op::Next),
        }
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Ready::value(slf.py(), slf.clone().into_any().unbind())
    }

    /// Leaving before the call's end cancels it.
    #[pyo3(signature = (*_exception))]
    fn __aexit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        self.shared.cancel(py)?;
        Ready::none(py)
    }

    /// The one answer of a call that has one; awaitable.
    fn _answer(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        AsyncStreamCall::wait(slf, Op::Answer)
    }

    /// What ended the iterable of requests: raised to the reader.
    fn _fail(&self, py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let failure = PyErr::from_value(error.clone());
        self.shared.lock().failure = Some(failure);
        self.shared.cancel(py).map(|_| ())
    }
}

impl Drop for AsyncStreamCall {
    fn drop(&mut self) {
        let open = self.shared.lock().end.is_none();
        if open && let Some(handle) = self.shared.live() {
            // the loop's descriptor wakes it: nothing was promised here
            handle.end(Status::new(Code::Cancelled, "the call was dropped"));
        }
    }
}
