//! Handlers on an event loop: started where the call comes in, a task goes on with those that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::intern;
use pyo3::prelude::*;
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{Event, IncomingCall};
use stubless_engine::status::{Code, Status};

use super::context::Context;
use super::driver::Driver;
use super::inbox::Inbox;
use super::{Core, Method};
use crate::aio::future::{Parked, Ready};
use crate::aio::hub::{Hub, Serve};
use crate::aio::wait::{Wait, Waitable};
use crate::call::{HandlerDeadline, asynchronous_deadlines, deadline_variable, undecodable};
use crate::errors::local_error;

/// A server's side towards its loop's hub.
pub(crate) struct Looped {
    pub core: Arc<Core>,
}

/// A call that is being served by a coroutine or an asynchronous generator.
pub(crate) struct Served {
    pub core: Arc<Core>,
    pub method: Arc<Method>,
    pub context: Py<Context>,
    pub inbox: Arc<Inbox>,
    pub hub: Py<Hub>,
    /// The handler has returned.
    pub over: AtomicBool,
    task: std::sync::Mutex<Option<Py<PyAny>>>,
}

impl Serve for Looped {
    fn event(&self, py: Python<'_>, hub: &Bound<'_, Hub>, event: Event) {
        if let Event::Call(call) = event
            && let Err(error) = start(py, hub, &self.core, *call)
        {
            hub.get().callback_failed(py, error);
        }
    }
}

impl Serve for Served {
    fn event(&self, py: Python<'_>, _hub: &Bound<'_, Hub>, event: Event) {
        let cancelled = matches!(event, Event::Cancelled { .. });
        let (readers, writers) = Inbox::take(&mut self.inbox.lock(), event);
        if cancelled {
            self.context.get().cancel(py);
            let task =
                self.task.lock().ok().and_then(|task| task.as_ref().map(|task| task.clone_ref(py)));
            if let Some(task) = task
                && let Err(error) = task.bind(py).call_method0(intern!(py, "cancel"))
            {
                self.hub.bind(py).get().callback_failed(py, error);
            }
        }
        for parked in readers.iter().chain(&writers) {
            Parked::fire(parked.bind(py));
        }
    }
}

fn start(
    py: Python<'_>,
    hub: &Bound<'_, Hub>,
    core: &Arc<Core>,
    call: IncomingCall,
) -> PyResult<()> {
    let IncomingCall { method, head, message, handle, .. } = call;
    let Some(method) = core.method(method) else {
        handle.finish(Status::new(Code::Unimplemented, "the service was removed"), Metadata::new());
        return Ok(());
    };
    let request = match message.map(|message| method.input.decode(py, message)).transpose() {
        Ok(request) => request,
        Err(error) => {
            handle.finish(undecodable(py, &error), Metadata::new());
            return Ok(());
        }
    };
    let inbox = Arc::new(Inbox::new());
    let context = Py::new(py, Context::new(core, head, handle))?;
    let served = Arc::new(Served {
        core: core.clone(),
        method: method.clone(),
        context: context.clone_ref(py),
        inbox,
        hub: hub.clone().unbind(),
        over: AtomicBool::new(false),
        task: std::sync::Mutex::default(),
    });
    let request = match request {
        Some(request) => request,
        None => {
            hub.get().serve_call(context.get().tag, served.clone());
            let requests = AsyncRequests { served: served.clone() };
            requests.top_up();
            Py::new(py, requests)?.into_any()
        }
    };
    // a handler with a deadline has a context of its own, in which its own calls find it
    let variables = match context.get().deadline {
        Some(deadline) => {
            asynchronous_deadlines();
            let variables =
                py.import(intern!(py, "contextvars"))?.call_method0(intern!(py, "copy_context"))?;
            let variable = deadline_variable(py)?;
            variables.call_method1(
                intern!(py, "run"),
                (variable.getattr("set")?, HandlerDeadline(deadline)),
            )?;
            Some(variables)
        }
        None => None,
    };
    let result = match method.handler.bind(py).call1((request, &context)) {
        Ok(result) => result,
        Err(error) => {
            served.failed(py, error);
            return Ok(());
        }
    };
    let driver = Driver::new(py, served.clone(), result)?;
    let Some(driver) = driver else { return Ok(()) };
    let task = spawn(py, hub, driver, variables.as_ref())?;
    if !served.over.load(Ordering::Acquire) {
        if let Ok(mut slot) = served.task.lock() {
            *slot = Some(task);
        }
        hub.get().serve_call(context.get().tag, served);
    }
    Ok(())
}

/// Runs a handler's first step now, and makes a task of it.
fn spawn(
    py: Python<'_>,
    hub: &Bound<'_, Hub>,
    driver: Py<Driver>,
    variables: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let this = hub.get();
    let spawn = this.spawner(py)?;
    spawn.call1((driver, this.event_loop(py), variables)).map(Bound::unbind)
}

impl Served {
    /// The handler's only answer.
    pub(crate) fn answered(&self, py: Python<'_>, answer: &Bound<'_, PyAny>) {
        match self.method.output.encode(answer) {
            Ok(message) => {
                let _ = self.hub.bind(py).get().before_submit(py);
                self.context.get().reply(py, message);
                self.ended(py);
            }
            Err(error) => self.unsendable(py, error),
        }
    }

    pub(crate) fn unsendable(&self, py: Python<'_>, error: PyErr) {
        let text = match self.core.debug_errors {
            true => format!("the handler's answer cannot be sent: {}", error.value(py)),
            false => "the handler's answer cannot be sent".to_owned(),
        };
        self.core.log(py, &self.method, error);
        self.finish(py, Status::new(Code::Internal, text), &Metadata::new());
    }

    pub(crate) fn finish(&self, py: Python<'_>, status: Status, trailers: &Metadata) {
        let _ = self.hub.bind(py).get().before_submit(py);
        self.context.get().finish(py, status, trailers);
        self.ended(py);
    }

    /// The handler raised.
    pub(crate) fn failed(&self, py: Python<'_>, error: PyErr) {
        let is_cancel = crate::aio::future::is_cancel(py, &error);
        if self.context.get().is_cancelled() || is_cancel {
            return self.finish(
                py,
                Status::new(Code::Cancelled, "the handler was cancelled"),
                &Metadata::new(),
            );
        }
        let (status, trailers) = self.core.failure(py, &self.method, error);
        self.finish(py, status, &trailers);
    }

    fn ended(&self, py: Python<'_>) {
        self.over.store(true, Ordering::Release);
        self.hub.bind(py).get().served(self.context.get().tag);
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        drop(task);
    }

    /// Sends one answer of a stream; `false`: wait for room, or the call is over.
    pub(crate) fn send(&self, py: Python<'_>, message: bytes::Bytes) -> bool {
        let _ = self.hub.bind(py).get().before_submit(py);
        let room = self.context.get().with_handle(|handle| handle.send(message)).unwrap_or(true);
        if !room {
            self.inbox.lock().blocked = true;
        }
        room
    }

    /// What to wait on for room; `None`: there is room, or the call is known to have ended. A call that has ended
    /// unknown to us takes no message, and the event that says so ends the wait.
    pub(crate) fn park_for_room(&self, py: Python<'_>) -> PyResult<Option<Py<Parked>>> {
        let mut state = self.inbox.lock();
        if !state.blocked || state.cancelled.is_some() {
            return Ok(None);
        }
        if let Some(parked) = &state.writers {
            return Ok(Some(parked.clone_ref(py)));
        }
        let parked = Parked::new(py, &self.hub)?;
        state.writers = Some(parked.clone_ref(py));
        Ok(Some(parked))
    }
}

/// The requests of a call with a request stream: an asynchronous iterator. A client that cancels makes it raise.
#[pyclass(frozen, module = "stubless", name = "AsyncRequests")]
pub(crate) struct AsyncRequests {
    served: Arc<Served>,
}

impl AsyncRequests {
    fn top_up(&self) {
        top_up(&self.served);
    }
}

fn top_up(served: &Served) {
    let wanted = Inbox::wanted(&mut served.inbox.lock());
    if wanted > 0 {
        // the hub flushes at the end of its batch, or is told below
        served.context.get().with_handle(|handle| handle.grant(wanted));
    }
}

/// The next request; `Some(None)` at the end.
fn poll_request(py: Python<'_>, served: &Served) -> PyResult<Option<Option<Py<PyAny>>>> {
    let message = {
        let mut state = served.inbox.lock();
        match state.local.pop_front() {
            Some(message) => message,
            None => match (&state.cancelled, state.half_closed) {
                (Some(status), _) => {
                    let status = status.clone();
                    drop(state);
                    return Err(local_error(py, &status));
                }
                (None, true) => return Ok(Some(None)),
                (None, false) => return Ok(None),
            },
        }
    };
    served.hub.bind(py).get().before_submit(py)?;
    top_up(served);
    match served.method.input.decode(py, message) {
        Ok(message) => Ok(Some(Some(message))),
        Err(error) => Err(local_error(py, &undecodable(py, &error))),
    }
}

struct NextRequest {
    served: Arc<Served>,
    /// `None` at the end instead of `StopAsyncIteration`.
    recv: bool,
}

impl Waitable for NextRequest {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match poll_request(py, &self.served)? {
            Some(Some(message)) => Ok(Some(message)),
            Some(None) if self.recv => Ok(Some(py.None())),
            Some(None) => Err(PyStopAsyncIteration::new_err(())),
            None => Ok(None),
        }
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<Parked>> {
        let mut state = self.served.inbox.lock();
        if let Some(parked) = &state.readers {
            return Ok(parked.clone_ref(py));
        }
        let parked = Parked::new(py, &self.served.hub)?;
        state.readers = Some(parked.clone_ref(py));
        Ok(parked)
    }

    fn give_up(&self, _py: Python<'_>) -> PyResult<()> {
        let stale = self.served.inbox.lock().readers.take();
        drop(stale);
        Ok(())
    }

    fn hub(&self) -> &Py<Hub> {
        &self.served.hub
    }
}

#[pymethods]
impl AsyncRequests {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match poll_request(py, &self.served)? {
            Some(Some(message)) => Ready::value(py, message),
            Some(None) => Err(PyStopAsyncIteration::new_err(())),
            None => Wait::of(py, NextRequest { served: self.served.clone(), recv: false }),
        }
    }

    /// The next request; `None` at the end. Awaitable.
    fn recv(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match poll_request(py, &self.served)? {
            Some(message) => Ready::value(py, message.unwrap_or_else(|| py.None())),
            None => Wait::of(py, NextRequest { served: self.served.clone(), recv: true }),
        }
    }
}
