//! An asyncio call with one answer: started at once, awaited without a task or future of asyncio's own.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{ClientCallHandle, Reply};
use stubless_engine::status::Status;

use super::future::{Parked, cancelled_error, stop, thrown};
use super::hub::Hub;
use super::wait::{Wait, Waitable};
use crate::call::{Coded, done};
use crate::engine::ForkSafe;
use crate::metadata::to_py;

#[derive(Default)]
struct State {
    reply: Option<Box<Reply>>,
    /// The decoded answer, once somebody asked for it.
    value: Option<Py<PyAny>>,
    /// The caller gave the call up.
    cancelled: bool,
    parked: Option<Py<Parked>>,
    callbacks: Vec<Py<PyAny>>,
}

/// A call with one answer; `await` gives it.
#[pyclass(frozen, module = "stubless", name = "AsyncCall")]
pub(crate) struct AsyncCall {
    hub: Py<Hub>,
    coded: Coded,
    handle: OnceLock<ForkSafe<ClientCallHandle>>,
    deadline: Option<Instant>,
    /// Awaiting gives `(answer, call)`.
    with_call: bool,
    state: Mutex<State>,
}

impl AsyncCall {
    pub(crate) fn new(
        hub: Py<Hub>,
        coded: Coded,
        deadline: Option<Instant>,
        with_call: bool,
    ) -> AsyncCall {
        AsyncCall {
            hub,
            coded,
            handle: OnceLock::new(),
            deadline,
            with_call,
            state: Mutex::default(),
        }
    }

    pub(crate) fn set_handle(&self, handle: ClientCallHandle) {
        let _ = self.handle.set(ForkSafe::new(handle));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that could not begin.
    pub(crate) fn fail(&self, status: Status) {
        let (headers, trailers) = Default::default();
        self.lock().reply = Some(Box::new(Reply { headers, message: None, status, trailers }));
    }

    /// The answer is there: whoever waits goes on.
    pub(crate) fn finish(slf: &Bound<'_, AsyncCall>, reply: Box<Reply>) {
        let py = slf.py();
        let (parked, callbacks) = {
            let mut state = slf.get().lock();
            state.reply = Some(reply);
            (state.parked.take(), std::mem::take(&mut state.callbacks))
        };
        if let Some(parked) = parked {
            Parked::fire(parked.bind(py));
        }
        for callback in callbacks {
            if let Err(error) = callback.bind(py).call1((slf,)) {
                slf.get().hub.bind(py).get().callback_failed(py, error);
            }
        }
    }

    /// The answer, if it is there.
    fn poll(slf: &Bound<'_, AsyncCall>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        let message = {
            let mut state = this.lock();
            if let Some(value) = &state.value {
                return Ok(Some(value.clone_ref(py)));
            }
            if state.cancelled {
                return Err(cancelled_error(py)?);
            }
            let Some(reply) = &mut state.reply else { return Ok(None) };
            match reply.message.take() {
                Some(message) if reply.status.is_ok() => message,
                _ => {
                    let (status, headers, trailers) =
                        (reply.status.clone(), reply.headers.clone(), reply.trailers.clone());
                    drop(state);
                    return Err(this.coded.error(py, &status, headers, trailers));
                }
            }
        };
        let mut value = this.coded.response(py, message)?;
        if this.with_call {
            value = (value, slf).into_pyobject(py)?.into_any().unbind();
        } else {
            // a value that is taken once need not be kept: but a call may be awaited again
            this.lock().value = Some(value.clone_ref(py));
        }
        Ok(Some(value))
    }

    /// The initial metadata, once the call has ended.
    pub(crate) fn known_headers(&self) -> Option<Metadata> {
        let state = self.lock();
        match &state.reply {
            Some(reply) => Some(reply.headers.clone()),
            None => state.cancelled.then(Metadata::new),
        }
    }

    pub(crate) fn park(&self, py: Python<'_>) -> PyResult<Py<Parked>> {
        let mut state = self.lock();
        if let Some(parked) = &state.parked {
            return Ok(parked.clone_ref(py));
        }
        let parked = Parked::new(py, &self.hub)?;
        state.parked = Some(parked.clone_ref(py));
        Ok(parked)
    }

    fn give_up(&self, py: Python<'_>) -> PyResult<bool> {
        let parked = {
            let mut state = self.lock();
            if state.reply.is_some() || state.cancelled {
                return Ok(false);
            }
            state.cancelled = true;
            state.parked.take()
        };
        if let Some(handle) = self.handle.get().filter(|handle| !handle.is_forked()) {
            self.hub.bind(py).get().before_submit(py)?;
            handle.cancel();
        }
        if let Some(parked) = parked {
            Parked::fire_soon(parked.bind(py))?;
        }
        Ok(true)
    }
}

#[pymethods]
impl AsyncCall {
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().hub.bind(py).get().is_trio() {
            let wait = py.import("stubless._trio")?.call_method1("wait", (slf,))?;
            return wait.call_method0("__await__");
        }
        Ok(slf.clone().into_any())
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        match AsyncCall::poll(slf)? {
            Some(value) => Err(stop(py, value)),
            None => Ok(slf.get().park(py)?.into_any()),
        }
    }

    fn send(slf: &Bound<'_, Self>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        AsyncCall::__next__(slf)
    }

    #[pyo3(signature = (kind, value = None, traceback = None))]
    fn throw(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = traceback;
        // the task was cancelled, or its time is up: nobody wants the answer any more
        self.give_up(py)?;
        Err(thrown(kind, value))
    }

    /// Ends the call if it is still open.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.give_up(py).map(|_| ())
    }

    /// Under trio: the wait was cancelled.
    fn _give_up(&self, py: Python<'_>) -> PyResult<()> {
        self.give_up(py).map(|_| ())
    }

    /// `(True, answer)`, or `(False, what to wait on)`.
    fn _poll(slf: &Bound<'_, Self>) -> PyResult<(bool, Py<PyAny>)> {
        match AsyncCall::poll(slf)? {
            Some(value) => Ok((true, value)),
            None => Ok((false, slf.get().park(slf.py())?.into_any())),
        }
    }

    /// Ends the call with CANCELLED, here and on the wire; whoever awaits it sees `CancelledError`.
    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        self.give_up(py)
    }

    /// Whether [`cancel`] ended it.
    fn cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Whether the call has ended.
    fn done(&self) -> bool {
        let state = self.lock();
        state.cancelled || state.reply.is_some()
    }

    /// Calls `callback(call)` when the call has ended.
    #[pyo3(signature = (callback, /))]
    fn add_done_callback(slf: &Bound<'_, Self>, callback: Py<PyAny>) -> PyResult<()> {
        let this = slf.get();
        if this.done() {
            return this.hub.bind(slf.py()).get().call_soon(
                slf.py(),
                &callback,
                slf.as_any(),
                None,
            );
        }
        this.lock().callbacks.push(callback);
        Ok(())
    }

    /// The status code; `None` while the call is open.
    fn code(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let status = self.lock().reply.as_ref().map(|reply| reply.status.clone());
        status.map(|status| done::code(py, &status)).transpose()
    }

    /// The status text; `None` while the call is open.
    fn details(&self) -> Option<String> {
        self.lock().reply.as_ref().map(|reply| reply.status.message().to_owned())
    }

    /// Metadata the server sent before its answer; awaitable.
    fn initial_metadata(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Wait::of(slf.py(), HeadersOf(slf.clone().unbind()))
    }

    /// Metadata the server sent at the end; `None` while the call is open.
    fn trailing_metadata(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let trailers = self.lock().reply.as_ref().map(|reply| reply.trailers.clone());
        trailers.map(|trailers| to_py(py, trailers)).transpose()
    }

    /// Seconds until the deadline; `None` without one.
    fn time_remaining(&self) -> Option<f64> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64())
    }
}

/// A wait for the initial metadata of a call with one answer: known at its end.
struct HeadersOf(Py<AsyncCall>);

impl Waitable for HeadersOf {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.get().known_headers().map(|headers| to_py(py, headers)).transpose()
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<Parked>> {
        self.0.get().park(py)
    }

    fn give_up(&self, _py: Python<'_>) -> PyResult<()> {
        let stale = self.0.get().lock().parked.take();
        drop(stale);
        Ok(())
    }

    fn hub(&self) -> &Py<Hub> {
        &self.0.get().hub
    }
}
