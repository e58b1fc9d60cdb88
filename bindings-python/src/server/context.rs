//! What a handler knows of its call, and what it may say beside its answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use stubless_engine::metadata::Metadata;
use stubless_engine::port::ServerCallHandle;
use stubless_engine::server::CallHead;
use stubless_engine::status::{Code, Status};

use super::Core;
use crate::aio::future::Ready;
use crate::engine::ForkSafe;
use crate::metadata::{to_pairs, to_py};

/// A client's verified TLS certificate.
#[pyclass(frozen, module = "stubless", name = "TLSIdentity")]
pub(crate) struct TlsIdentity(Arc<stubless_engine::transport::TlsIdentity>);

#[pymethods]
impl TlsIdentity {
    /// The chain as sent, the client's own certificate first, DER.
    #[getter]
    fn certificates<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.certificates.iter().map(|der| PyBytes::new(py, der)))
    }

    /// URI, DNS, e-mail and IP names of the certificate.
    #[getter]
    fn subject_alternative_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.subject_alternative_names)
    }

    /// The subject's common name, if it has one.
    #[getter]
    fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }
}

#[derive(Default)]
struct State {
    trailers: Metadata,
    callbacks: Vec<Py<PyAny>>,
}

/// A call as its handler sees it.
#[pyclass(frozen, module = "stubless", name = "Context")]
pub(crate) struct Context {
    core: Arc<Core>,
    head: CallHead,
    pub tag: u64,
    pub deadline: Option<Instant>,
    /// Held until the handler has returned: it is the handler's place.
    handle: Mutex<Option<ForkSafe<ServerCallHandle>>>,
    state: Mutex<State>,
    cancelled: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub(crate) fn new(core: &Arc<Core>, head: CallHead, handle: ServerCallHandle) -> Context {
        let now = core.engine.rt().now();
        let deadline = head.deadline.map(|deadline| Instant::now() + deadline.since(now));
        Context {
            core: core.clone(),
            tag: handle.tag(),
            head,
            deadline,
            handle: Mutex::new(Some(ForkSafe::new(handle))),
            state: Mutex::default(),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Does something with the call's handle, if the handler has not returned.
    pub(crate) fn with_handle<T>(&self, act: impl FnOnce(&ServerCallHandle) -> T) -> Option<T> {
        let handle = lock(&self.handle);
        handle.as_ref().filter(|handle| !handle.is_forked()).map(|handle| act(handle))
    }

    pub(crate) fn take_trailers(&self) -> Metadata {
        std::mem::take(&mut lock(&self.state).trailers)
    }

    /// The only answer of the call, and its end.
    pub(crate) fn reply(&self, py: Python<'_>, message: bytes::Bytes) {
        let trailers = self.take_trailers();
        self.with_handle(|handle| handle.reply(message, trailers));
        self.returned(py);
    }

    /// The call's end.
    pub(crate) fn finish(&self, py: Python<'_>, status: Status, more: &Metadata) {
        let mut trailers = self.take_trailers();
        trailers.extend(more);
        self.with_handle(|handle| handle.finish(status, trailers));
        self.returned(py);
    }

    /// The handler has returned: its place is free.
    pub(crate) fn returned(&self, py: Python<'_>) {
        let handle = lock(&self.handle).take();
        drop(handle);
        if self.core.hub.is_none() && !lock(&self.state).callbacks.is_empty() {
            let gone = lock(&self.core.watched).remove(&self.tag);
            drop(gone);
        }
        self.call_back(py);
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&self, py: Python<'_>) {
        self.cancelled.store(true, Ordering::Release);
        self.call_back(py);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn call_back(&self, py: Python<'_>) {
        let callbacks = std::mem::take(&mut lock(&self.state).callbacks);
        for callback in callbacks {
            if let Err(error) = callback.bind(py).call0() {
                error.write_unraisable(py, None);
            }
        }
    }

    /// In an asyncio handler `await` may stand before what cannot wait.
    fn done(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.core.hub.is_some() { Ready::none(py) } else { Ok(py.None()) }
    }

    fn before_submit(&self, py: Python<'_>) -> PyResult<()> {
        match &self.core.hub {
            Some(hub) => hub.bind(py).get().before_submit(py),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl Context {
    /// `/package.Service/Method`.
    #[getter]
    fn method(&self) -> &str {
        &self.head.path
    }

    /// The client's metadata.
    fn invocation_metadata(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        to_py(py, self.head.metadata.clone())
    }

    /// The client's address: `ipv4:1.2.3.4:5`, `ipv6:[::1]:5`, `unix:`.
    fn peer(&self) -> &str {
        &self.head.peer.address
    }

    /// Who the client proved to be by its certificate; `None` if it did not.
    fn tls_identity(&self) -> Option<TlsIdentity> {
        self.head.peer.tls.clone().map(TlsIdentity)
    }

    /// Seconds until the client stops waiting; `None` without a deadline.
    fn time_remaining(&self) -> Option<f64> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    /// Whether somebody still waits for the answer.
    fn is_active(&self) -> bool {
        !self.is_cancelled() && self.with_handle(|handle| !handle.is_ended()).unwrap_or(false)
    }

    /// Calls `callback()` when the call ends, also by a cancel. `False`: it has ended already.
    #[pyo3(signature = (callback, /))]
    fn add_callback(slf: &Bound<'_, Self>, callback: Py<PyAny>) -> bool {
        let this = slf.get();
        lock(&this.state).callbacks.push(callback);
        if this.core.hub.is_none() {
            lock(&this.core.watched).insert(this.tag, slf.clone().unbind());
        }
        if this.is_active() {
            return true;
        }
        // the end came in between, or before: nobody else will call
        lock(&this.state).callbacks.pop();
        false
    }

    /// Metadata to be sent with the status.
    #[pyo3(signature = (metadata, /))]
    fn set_trailing_metadata(&self, metadata: &Bound<'_, PyAny>) -> PyResult<()> {
        let pairs = to_pairs(Some(metadata))?;
        lock(&self.state).trailers = pairs;
        Ok(())
    }

    /// Sends the initial metadata now; later calls have no effect.
    #[pyo3(signature = (metadata, /))]
    fn send_initial_metadata(
        &self,
        py: Python<'_>,
        metadata: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let pairs = to_pairs(Some(metadata))?;
        self.before_submit(py)?;
        self.with_handle(|handle| {
            handle.set_headers(pairs);
            handle.send_headers();
        });
        if self.core.hub.is_none() {
            py.detach(|| self.core.engine.flush());
        }
        self.done(py)
    }

    /// The coding of the answers (`"gzip"`, `"deflate"`, `"zstd"`, `"identity"`), where the client reads it.
    #[pyo3(signature = (name, /))]
    fn set_compression(&self, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let encoding = crate::options::encoding("compression", name)?;
        self.with_handle(|handle| handle.set_compression(encoding));
        Ok(())
    }

    /// Ends the call with a status: raises.
    #[pyo3(signature = (code, details = "", *, status_details = None))]
    fn abort(
        &self,
        py: Python<'_>,
        code: &Bound<'_, PyAny>,
        details: &str,
        status_details: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let class = py.import("stubless._errors")?.getattr("RpcError")?;
        let keywords = pyo3::types::PyDict::new(py);
        if let Some(messages) = status_details {
            keywords.set_item("status_details", messages)?;
        }
        Err(PyErr::from_value(class.call((code, details), Some(&keywords))?))
    }
}

/// The status that handlers of a lost client see.
pub(crate) fn gone() -> Status {
    Status::new(Code::Cancelled, "the client cancelled the call")
}
