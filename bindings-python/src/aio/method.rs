//! Methods of asyncio channels.

use std::sync::Arc;
use std::time::Instant;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use stubless_engine::port::{self, StartCall};

use super::call::AsyncCall;
use super::hub::Entry;
use super::stream::{AsyncStreamCall, CREDITS, Shared};
use crate::call::unary::request_of;
use crate::call::{CallArgs, Coded, MethodSpec};
use crate::engine::forked;

/// A method of an asyncio channel, to be called. The call starts at once; awaiting or iterating gives its answers.
#[pyclass(frozen, module = "stubless", name = "AsyncMethod")]
pub(crate) struct AsyncMethod {
    pub spec: Arc<MethodSpec>,
}

impl AsyncMethod {
    fn hub(&self) -> PyResult<&Py<super::hub::Hub>> {
        self.spec
            .target
            .hub
            .as_ref()
            .ok_or_else(|| PyTypeError::new_err("the channel has no event loop"))
    }

    fn unary(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
        with_call: bool,
    ) -> PyResult<Py<PyAny>> {
        let args = CallArgs::parse(py, options)?;
        let coded = Coded { spec: self.spec.clone(), raw: args.raw };
        let request = request_of(py, &coded, request)?;
        let deadline = args.options.timeout.map(|timeout| Instant::now() + timeout);
        let hub = self.hub()?;
        let target = &self.spec.target;
        let call = Py::new(py, AsyncCall::new(hub.clone_ref(py), coded, deadline, with_call))?;
        if target.is_forked() {
            call.get().fail(forked());
            return Ok(call.into_any());
        }
        let hub = hub.bind(py).get();
        hub.before_submit(py)?;
        let tag = hub.insert(Entry::Unary(call.clone_ref(py)));
        let method = &self.spec.method;
        let handle = port::start_unary(
            &target.channel,
            method,
            tag,
            args.metadata,
            args.options,
            request,
            hub.queue(),
        );
        call.get().set_handle(handle);
        Ok(call.into_any())
    }

    fn stream(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<AsyncStreamCall>> {
        let args = CallArgs::parse(py, options)?;
        let coded = Coded { spec: self.spec.clone(), raw: args.raw };
        let first = match self.spec.kind().client_streaming {
            true => None,
            false => Some(request_of(py, &coded, request)?),
        };
        let deadline = args.options.timeout.map(|timeout| Instant::now() + timeout);
        let hub = self.hub()?;
        let target = &self.spec.target;
        let shared = Arc::new(Shared::new(hub.clone_ref(py), first.is_some()));
        if target.is_forked() {
            shared.fail(forked());
        } else {
            let hub = hub.bind(py).get();
            hub.before_submit(py)?;
            let tag = hub.insert(Entry::Stream(shared.clone()));
            let start =
                StartCall { tag, metadata: args.metadata, options: args.options, request: first };
            let handle = port::start_call(&target.channel, &self.spec.method, start, hub.queue());
            handle.grant(CREDITS);
            shared.begin(handle);
        }
        Py::new(py, AsyncStreamCall::new(shared, coded, deadline))
    }
}

#[pymethods]
impl AsyncMethod {
    /// Starts a call. One request and one answer: `await` it. Streamed answers: iterate with `async for`. Streamed requests: give an
    /// iterable (also asynchronous), or nothing and use the call with `async with`.
    #[pyo3(signature = (request = None, /, **options))]
    fn __call__(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let kind = self.spec.kind();
        if !kind.client_streaming && !kind.server_streaming {
            return self.unary(py, request, options, false);
        }
        let call = self.stream(py, request, options)?;
        let Some(requests) = request.filter(|_| kind.client_streaming) else {
            return Ok(call.into_any());
        };
        let module = py.import("stubless._aio_client")?;
        if kind.server_streaming {
            module.call_method1("_feed_soon", (&call, requests))?;
            return Ok(call.into_any());
        }
        module.call_method1("_one_answer", (call, requests)).map(Bound::unbind)
    }

    /// As calling it, but awaiting gives `(answer, call)`.
    #[pyo3(signature = (request = None, /, **options))]
    fn with_call(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let kind = self.spec.kind();
        if kind.server_streaming {
            let path = self.path();
            return Err(PyTypeError::new_err(format!(
                "with_call is for methods with one answer; {path} streams"
            )));
        }
        if !kind.client_streaming {
            return self.unary(py, request, options, true);
        }
        let requests =
            request.ok_or_else(|| PyTypeError::new_err("with_call needs the requests"))?;
        let call = self.stream(py, None, options)?;
        py.import("stubless._aio_client")?
            .call_method1("_answer_and_call", (call, requests))
            .map(Bound::unbind)
    }

    /// `/package.Service/Method`.
    #[getter]
    fn path(&self) -> &str {
        self.spec.method.path()
    }
}
