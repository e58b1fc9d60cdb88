//! Blocking streams: a call with a queue of its own, which the thread that waits on it fills by driving the engine.
//!
//! Messages are asked for in batches of credits and kept here, so most steps of an iteration neither cross into the engine
//! nor release the interpreter's lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{self, ClientCallHandle, Event, Queue, StartCall};
use stubless_engine::rt::driver::Waited;
use stubless_engine::status::{Code, Status};

use super::unary::request_of;
use super::{CallArgs, Coded, MethodSpec, done};
use crate::engine::{ForkSafe, SLICE, forked, local_closed};
use crate::metadata::to_py;

/// Messages asked for ahead of the reader; topped up when half of them have come.
const CREDITS: usize = 128;

/// A sender that is quiet for this long has its message sent at once; a busy one has several sent together.
const QUIET: Duration = Duration::from_micros(200);

/// Messages sent together at most.
const TOGETHER: u32 = 32;

/// A method with a stream on either side, to be called.
#[pyclass(frozen, module = "stubless", name = "StreamMethod")]
pub(crate) struct StreamMethod {
    pub spec: Arc<MethodSpec>,
}

#[pymethods]
impl StreamMethod {
    /// Calls the method. With one request: gives the call, an iterator of answers. With streamed requests: takes an iterable of
    /// them (and gives the answer, or the iterator of answers), or nothing (and gives the call, for `with`).
    #[pyo3(signature = (request = None, /, **options))]
    fn __call__(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let kind = self.spec.kind();
        let call = self.open(py, request, options)?;
        let Some(requests) = request.filter(|_| kind.client_streaming) else {
            return Ok(Py::new(py, call)?.into_any());
        };
        if !kind.server_streaming {
            call.feed(py, requests)?;
            return call.answer(py);
        }
        let call = Py::new(py, call)?;
        py.import("stubless._client")?.call_method1("_feed", (&call, requests))?;
        Ok(call.into_any())
    }

    /// As calling it with an iterable, but gives `(answer, call)`.
    #[pyo3(signature = (requests, /, **options))]
    fn with_call<'py>(
        &self,
        py: Python<'py>,
        requests: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        self.one_answer("with_call")?;
        let call = self.open(py, Some(requests), options)?;
        call.feed(py, requests)?;
        let answer = call.answer(py)?;
        PyTuple::new(py, [answer, Py::new(py, call)?.into_any()])
    }

    /// Runs the call in a thread of its own; gives a `concurrent.futures.Future`.
    #[pyo3(signature = (requests, /, **options))]
    fn future(
        slf: &Bound<'_, Self>,
        requests: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        slf.get().one_answer("future")?;
        let options = options.map_or_else(|| PyDict::new(slf.py()), Clone::clone);
        slf.py()
            .import("stubless._futures")?
            .call_method1("in_thread", (slf, requests, options))
            .map(Bound::unbind)
    }

    /// `/package.Service/Method`.
    #[getter]
    fn path(&self) -> &str {
        self.spec.method.path()
    }
}

impl StreamMethod {
    fn one_answer(&self, what: &str) -> PyResult<()> {
        if self.spec.kind().server_streaming {
            return Err(PyTypeError::new_err(format!(
                "{what} is for methods with one answer; {} streams",
                self.path()
            )));
        }
        Ok(())
    }

    fn open(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<StreamCall> {
        let args = CallArgs::parse(py, options)?;
        let coded = Coded { spec: self.spec.clone(), raw: args.raw };
        let first = match self.spec.kind().client_streaming {
            true => None,
            false => Some(request_of(py, &coded, request)?),
        };
        StreamCall::start(py, coded, args, first)
    }
}

struct State {
    /// Messages that came and were not taken.
    local: VecDeque<Bytes>,
    /// Messages asked for that have not come.
    credits: usize,
    headers: Option<Metadata>,
    end: Option<(Status, Metadata)>,
    /// The last send said there is no room.
    blocked: bool,
    half_closed: bool,
    /// What ended the request iterator of a feeding thread.
    failure: Option<PyErr>,
    unflushed: u32,
    last_flush: Instant,
}

/// A blocking call in progress: an iterator of answers, and `send`, `recv`, `done`, `cancel`.
#[pyclass(frozen, module = "stubless", name = "StreamCall")]
pub(crate) struct StreamCall {
    coded: Coded,
    queue: ForkSafe<Arc<Queue>>,
    /// `None`: the call never began.
    handle: Option<ForkSafe<ClientCallHandle>>,
    deadline: Option<Instant>,
    state: Mutex<State>,
}

impl StreamCall {
    /// Starts a call; with `first` as its only request.
    pub(crate) fn start(
        py: Python<'_>,
        coded: Coded,
        args: CallArgs,
        first: Option<Bytes>,
    ) -> PyResult<StreamCall> {
        let target = coded.spec.target.clone();
        let deadline = args.options.timeout.map(|timeout| Instant::now() + timeout);
        let queue = Queue::silent();
        let mut state = State {
            local: VecDeque::new(),
            credits: 0,
            headers: None,
            end: None,
            blocked: false,
            half_closed: first.is_some(),
            failure: None,
            unflushed: 0,
            last_flush: Instant::now(),
        };
        let handle = if target.is_forked() {
            state.end = Some((forked(), Metadata::new()));
            None
        } else {
            let start = StartCall {
                tag: 0,
                metadata: args.metadata,
                options: args.options,
                request: first,
            };
            let handle = py.detach(|| {
                let handle = port::start_call(&target.channel, &coded.spec.method, start, &queue);
                handle.grant(CREDITS);
                target.engine.flush();
                handle
            });
            state.credits = CREDITS;
            Some(ForkSafe::new(handle))
        };
        Ok(StreamCall {
            coded,
            queue: ForkSafe::new(queue),
            handle,
            deadline,
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Option<&ClientCallHandle> {
        self.handle.as_ref().filter(|handle| !handle.is_forked()).map(|handle| &**handle)
    }

    /// Takes what the engine has told since.
    fn absorb(&self, state: &mut State) {
        let Some(handle) = self.live() else {
            state.end.get_or_insert_with(|| (forked(), Metadata::new()));
            return;
        };
        while let Some(event) = self.queue.next() {
            match event {
                Event::Headers { metadata, .. } => state.headers = Some(metadata),
                Event::Message { message, .. } => {
                    state.credits = state.credits.saturating_sub(1);
                    state.local.push_back(message);
                }
                Event::Writable { .. } => state.blocked = false,
                Event::Status { status, trailers, .. } => state.end = Some((status, trailers)),
                Event::Reply { reply, .. } => {
                    state.headers = Some(reply.headers);
                    state.local.extend(reply.message);
                    state.end = Some((reply.status, reply.trailers));
                }
                _ => {}
            }
        }
        if state.credits + state.local.len() < CREDITS / 2 && state.end.is_none() {
            let more = CREDITS - state.credits - state.local.len();
            state.credits += more;
            handle.grant(more);
        }
    }

    /// Drives, or waits, until `look` finds what it wants.
    fn wait<T>(
        &self,
        py: Python<'_>,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> PyResult<T> {
        loop {
            {
                let mut state = self.lock();
                if let Some(found) = look(&mut state) {
                    return Ok(found);
                }
                self.absorb(&mut state);
                if let Some(found) = look(&mut state) {
                    return Ok(found);
                }
            }
            let engine = &self.coded.spec.target.engine;
            let queue: &Queue = &self.queue;
            let waited = py.detach(|| engine.wait_for(queue, Some(SLICE)));
            if waited == Waited::Closed {
                self.lock().end.get_or_insert_with(|| (local_closed(), Metadata::new()));
            }
            if let Err(signal) = py.check_signals() {
                self.stop(py);
                return Err(signal);
            }
        }
    }

    fn stop(&self, py: Python<'_>) {
        if let Some(handle) = self.live() {
            let engine = &self.coded.spec.target.engine;
            py.detach(|| {
                handle.cancel();
                engine.flush();
            });
        }
    }

    fn failed(&self, py: Python<'_>) -> PyErr {
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
        self.coded.error(py, &status, headers, trailers)
    }

    fn next_message(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let next = self.wait(py, |state| match state.local.pop_front() {
            Some(message) => Some(Some(message)),
            None => state.end.is_some().then_some(None),
        })?;
        match next {
            Some(message) => match self.coded.response(py, message) {
                Ok(message) => Ok(Some(message)),
                Err(error) => {
                    self.stop(py);
                    Err(error)
                }
            },
            None if self.lock().end.as_ref().is_some_and(|(status, _)| status.is_ok()) => Ok(None),
            None => Err(self.failed(py)),
        }
    }

    fn push(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.lock().half_closed {
            return Err(PyRuntimeError::new_err("nothing can be sent after done()"));
        }
        let bytes = self.coded.encode(message)?;
        // room first: a message is never queued on top of a full window
        let ended = self.wait(py, |state| match (&state.end, state.blocked) {
            (Some(_), _) => Some(true),
            (None, blocked) => (!blocked).then_some(false),
        })?;
        let Some(handle) = self.live().filter(|_| !ended) else { return Err(self.failed(py)) };
        let room = handle.send(bytes);
        let flush = {
            let mut state = self.lock();
            state.blocked = !room;
            state.unflushed += 1;
            let now = Instant::now();
            let flush = !room
                || state.unflushed >= TOGETHER
                || now.duration_since(state.last_flush) > QUIET;
            if flush {
                (state.unflushed, state.last_flush) = (0, now);
            }
            flush
        };
        if flush {
            let engine = &self.coded.spec.target.engine;
            py.detach(|| engine.flush());
        }
        Ok(())
    }

    /// Sends everything an iterable gives, then half-closes. A server that has answered already ends it early.
    fn feed(&self, py: Python<'_>, requests: &Bound<'_, PyAny>) -> PyResult<()> {
        let sent = self.send_all(py, requests);
        if sent.is_err() {
            self.stop(py);
        }
        sent
    }

    fn send_all(&self, py: Python<'_>, requests: &Bound<'_, PyAny>) -> PyResult<()> {
        for request in requests.try_iter()? {
            let request = request?;
            let over = {
                let mut state = self.lock();
                self.absorb(&mut state);
                state.end.is_some()
            };
            if over {
                return Ok(());
            }
            if let Err(error) = self.push(py, &request) {
                let over = self.lock().end.is_some();
                return if over { Ok(()) } else { Err(error) };
            }
        }
        self.done(py);
        Ok(())
    }

    /// The one answer of a call that has one.
    fn answer(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let end = self.wait(py, |state| state.end.clone())?;
        let message = self.lock().local.pop_front();
        match message {
            Some(message) if end.0.is_ok() => self.coded.response(py, message),
            _ => Err(self.failed(py)),
        }
    }
}

#[pymethods]
impl StreamCall {
    /// Sends one message; waits while the window is full.
    #[pyo3(signature = (message, /))]
    fn send(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        self.push(py, message)
    }

    /// The next answer; `None` at the end.
    fn recv(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next_message(py)
    }

    /// No more messages will be sent.
    fn done(&self, py: Python<'_>) {
        self.lock().half_closed = true;
        if let Some(handle) = self.live() {
            let engine = &self.coded.spec.target.engine;
            py.detach(|| {
                handle.half_close();
                engine.flush();
            });
        }
    }

    /// Ends the call with CANCELLED, here and on the wire.
    fn cancel(&self, py: Python<'_>) {
        self.stop(py);
    }

    /// Metadata the server sent before its first answer; waits for it.
    fn initial_metadata(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let headers = self.wait(py, |state| match &state.headers {
            Some(headers) => Some(headers.clone()),
            None => state.end.as_ref().map(|_| Metadata::new()),
        })?;
        to_py(py, headers)
    }

    /// Metadata the server sent at the end; `None` while the call is open.
    fn trailing_metadata(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.ended().map(|(_, trailers)| to_py(py, trailers)).transpose()
    }

    /// The status code; `None` while the call is open.
    fn code(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.ended().map(|(status, _)| done::code(py, &status)).transpose()
    }

    /// The status text; `None` while the call is open.
    fn details(&self) -> Option<String> {
        self.ended().map(|(status, _)| status.message().to_owned())
    }

    /// Seconds until the deadline; `None` without one.
    fn time_remaining(&self) -> Option<f64> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    /// Whether the call has not ended.
    fn is_active(&self) -> bool {
        self.ended().is_none()
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.next_message(py)?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// Leaving before the call's end cancels it.
    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        if self.ended().is_none() {
            self.stop(py);
        }
    }

    /// Sends all of an iterable, for a thread of its own; what it raises is raised to the reader.
    #[pyo3(signature = (requests, /))]
    fn _feed(&self, py: Python<'_>, requests: &Bound<'_, PyAny>) {
        if let Err(error) = self.send_all(py, requests) {
            // before the cancel: the reader that sees the end finds the reason
            self.lock().failure = Some(error);
            self.stop(py);
        }
    }
}

impl StreamCall {
    fn ended(&self) -> Option<(Status, Metadata)> {
        let mut state = self.lock();
        self.absorb(&mut state);
        state.end.clone()
    }
}

impl Drop for StreamCall {
    fn drop(&mut self) {
        let open = self.lock().end.is_none();
        if open && let Some(handle) = self.live() {
            handle.end(Status::new(Code::Cancelled, "the call was dropped"));
            // so that the reset leaves now; never blocks
            self.coded.spec.target.engine.flush();
        }
    }
}
