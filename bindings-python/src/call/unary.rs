//! Blocking calls with one request and one response: the calling thread drives the sockets until its answer is there.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use stubless_engine::call::ClientEvent;
use stubless_engine::client::Call;
use stubless_engine::metadata::Metadata;
use stubless_engine::status::{Code, Status};

use super::done::FinishedCall;
use super::{CallArgs, Coded, MethodSpec};
use crate::engine::{SLICE, forked, local_closed};

/// A method with one request and one response, to be called.
#[pyclass(frozen, module = "stubless", name = "UnaryMethod")]
pub(crate) struct UnaryMethod {
    pub spec: Arc<MethodSpec>,
}

/// Everything a finished call left.
pub(crate) struct Answer {
    pub message: Option<Bytes>,
    pub headers: Metadata,
    pub status: Status,
    pub trailers: Metadata,
}

impl Answer {
    fn of(status: Status) -> Answer {
        Answer { message: None, headers: Metadata::new(), status, trailers: Metadata::new() }
    }
}

async fn collect(mut call: Call) -> Answer {
    let mut answer = Answer::of(Status::ok());
    loop {
        match poll_fn(|cx| call.poll_event(cx)).await {
            Some(ClientEvent::Headers(headers)) => answer.headers = headers,
            Some(ClientEvent::Message(message)) => answer.message = Some(message),
            Some(ClientEvent::Status(status, trailers)) => {
                (answer.status, answer.trailers) = (status, trailers);
                return answer;
            }
            None => {
                return Answer::of(Status::new(Code::Internal, "the call ended without a status"));
            }
        }
    }
}

impl UnaryMethod {
    fn run(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<(Coded, Answer)> {
        let args = CallArgs::parse(py, options)?;
        let coded = Coded { spec: self.spec.clone(), raw: args.raw };
        let target = &self.spec.target;
        let request = request_of(py, &coded, request)?;
        if target.is_forked() {
            return Ok((coded, Answer::of(forked())));
        }
        let answer = py.detach(|| {
            let mut call =
                Call::new(&target.channel, &self.spec.method, args.metadata, args.options);
            // a message over the limit has ended the call: its status comes as the answer
            let _ = call.send_message(request);
            call.half_close();
            let signals = || Python::attach(|py| py.check_signals());
            let answer = target.engine.block_on_checked(collect(call), SLICE, signals);
            if answer.is_err() {
                // the dropped call is cancelled on the wire now, not when somebody drives again
                target.engine.flush();
            }
            answer
        })?;
        Ok((coded, answer.unwrap_or_else(|| Answer::of(local_closed()))))
    }
}

/// The request's bytes; without a request, an empty message.
pub(crate) fn request_of(
    py: Python<'_>,
    coded: &Coded,
    request: Option<&Bound<'_, PyAny>>,
) -> PyResult<Bytes> {
    match request {
        Some(request) => coded.encode(request),
        None if coded.raw => Ok(Bytes::new()),
        None => coded.encode(PyDict::new(py).as_any()).or(Ok(Bytes::new())),
    }
}

#[pymethods]
impl UnaryMethod {
    /// Calls the method and gives its answer; raises `RpcError`.
    #[pyo3(signature = (request = None, /, **options))]
    fn __call__(
        &self,
        py: Python<'_>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let (coded, answer) = self.run(py, request, options)?;
        match answer.message {
            Some(message) if answer.status.is_ok() => coded.response(py, message),
            _ => Err(coded.error(py, &answer.status, answer.headers, answer.trailers)),
        }
    }

    /// As calling it, but gives `(answer, call)`: the call has the metadata the server sent.
    #[pyo3(signature = (request = None, /, **options))]
    fn with_call<'py>(
        &self,
        py: Python<'py>,
        request: Option<&Bound<'py, PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (coded, answer) = self.run(py, request, options)?;
        let Answer { message, headers, status, trailers } = answer;
        match message {
            Some(message) if status.is_ok() => {
                let call = Py::new(py, FinishedCall { status, headers, trailers })?;
                PyTuple::new(py, [coded.response(py, message)?, call.into_any()])
            }
            _ => Err(coded.error(py, &status, headers, trailers)),
        }
    }

    /// Starts the call; gives a `concurrent.futures.Future` that is a call as well.
    #[pyo3(signature = (request = None, /, **options))]
    fn future(
        slf: &Bound<'_, Self>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        slf.py()
            .import("stubless._futures")?
            .call_method1("start", (slf, request, options))
            .map(Bound::unbind)
    }

    /// `/package.Service/Method`.
    #[getter]
    fn path(&self) -> &str {
        self.spec.method.path()
    }
}
