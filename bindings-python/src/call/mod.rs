//! What every call of a client shares: how its messages are coded, its options, and the deadline it inherits.

pub(crate) mod done;
pub(crate) mod future;
pub(crate) mod reflect;
pub(crate) mod stream;
pub(crate) mod unary;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString};
use stubless_engine::call::MethodKind;
use stubless_engine::client::{CallOptions, Method};
use stubless_engine::metadata::Metadata;
use stubless_engine::status::{Code, Status};

use crate::channel::Target;
use crate::message::{MessageClass, decode_message, encode_request};
use crate::metadata::to_pairs;
use crate::options;

/// How the messages of one direction cross.
pub(crate) enum Coder {
    /// As bytes.
    Raw,
    /// As messages of a class.
    Class(MessageClass),
}

fn raw_bytes(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if value.is_instance_of::<PyByteArray>() || value.is_instance_of::<PyMemoryView>() {
        return Ok(Bytes::from(value.extract::<Vec<u8>>()?));
    }
    let name = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("raw=True takes bytes, not {name}")))
}

impl Coder {
    pub(crate) fn encode(&self, value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
        match self {
            Coder::Raw => raw_bytes(value),
            Coder::Class(class) => encode_request(value.py(), class, value),
        }
    }

    pub(crate) fn decode(&self, py: Python<'_>, bytes: Bytes) -> PyResult<Py<PyAny>> {
        match self {
            Coder::Raw => Ok(PyBytes::new(py, &bytes).into_any().unbind()),
            Coder::Class(class) => decode_message(py, class, bytes),
        }
    }
}

/// The status of an answer that cannot be decoded (limits-and-faults, row 25).
pub(crate) fn undecodable(py: Python<'_>, error: &PyErr) -> Status {
    Status::new(Code::Internal, format!("the message cannot be decoded: {}", error.value(py)))
}

/// A method of a channel: where its calls go and how their messages are coded.
pub(crate) struct MethodSpec {
    pub target: Arc<Target>,
    pub method: Method,
    pub input: Coder,
    pub output: Coder,
}

impl MethodSpec {
    pub(crate) fn kind(&self) -> MethodKind {
        self.method.kind()
    }
}

/// A method with what one call of it chose: the coders are the method's own, or raw.
#[derive(Clone)]
pub(crate) struct Coded {
    pub spec: Arc<MethodSpec>,
    pub raw: bool,
}

impl Coded {
    pub(crate) fn encode(&self, value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
        if self.raw { raw_bytes(value) } else { self.spec.input.encode(value) }
    }

    pub(crate) fn decode(&self, py: Python<'_>, bytes: Bytes) -> PyResult<Py<PyAny>> {
        if self.raw { Coder::Raw.decode(py, bytes) } else { self.spec.output.decode(py, bytes) }
    }

    /// A response as a Python object; one that cannot be decoded raises INTERNAL.
    pub(crate) fn response(&self, py: Python<'_>, bytes: Bytes) -> PyResult<Py<PyAny>> {
        self.decode(py, bytes).map_err(|error| {
            if error.is_instance_of::<pyo3::exceptions::PyMemoryError>(py) {
                return error;
            }
            let wrapped =
                self.error(py, &undecodable(py, &error), Metadata::new(), Metadata::new());
            wrapped.set_cause(py, Some(error));
            wrapped
        })
    }

    pub(crate) fn error(
        &self,
        py: Python<'_>,
        status: &Status,
        headers: Metadata,
        trailers: Metadata,
    ) -> PyErr {
        crate::errors::rpc_error(py, status, headers, trailers, self.spec.target.schema.as_ref())
    }
}

/// The keyword arguments of one call.
#[derive(Default)]
pub(crate) struct CallArgs {
    pub metadata: Metadata,
    pub options: CallOptions,
    pub raw: bool,
}

impl CallArgs {
    /// Reads the options and takes over the deadline of the handler this call is made in.
    pub(crate) fn parse(py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<CallArgs> {
        let mut args = CallArgs::default();
        let mut own_will = false;
        if let Some(given) = given {
            for (key, value) in given.iter() {
                let key = key
                    .cast_into::<PyString>()
                    .map_err(|_| PyTypeError::new_err("option names are str"))?;
                let name = key.to_str()?;
                if value.is_none() && options::CALL.contains(&name) {
                    continue;
                }
                let options = &mut args.options;
                match name {
                    "timeout" => {
                        if value.extract::<f64>().is_ok_and(|seconds| seconds == f64::INFINITY) {
                            own_will = true;
                        } else {
                            options.timeout = Some(timeout(&value)?);
                        }
                    }
                    "metadata" => args.metadata = to_pairs(Some(&value))?,
                    "wait_for_ready" => options.wait_for_ready = Some(options::flag(name, &value)?),
                    "compression" => options.compression = Some(options::encoding(name, &value)?),
                    "max_receive_message_bytes" => {
                        options.max_receive_message_bytes =
                            Some(options::number(name, &value, 0, u64::from(u32::MAX))? as usize);
                    }
                    "max_send_message_bytes" => {
                        options.max_send_message_bytes =
                            Some(options::number(name, &value, 0, u64::from(u32::MAX))? as usize);
                    }
                    "raw" => args.raw = options::flag(name, &value)?,
                    _ => return Err(options::unknown("a call", name, options::CALL)),
                }
            }
        }
        if !own_will && let Some(inherited) = inherited_deadline(py)? {
            let left = inherited.saturating_duration_since(Instant::now());
            args.options.timeout = Some(args.options.timeout.map_or(left, |own| own.min(left)));
        }
        Ok(args)
    }
}

/// A call's timeout. Below zero it has passed already.
fn timeout(given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    if given.extract::<f64>().is_ok_and(|seconds| seconds < 0.0) {
        return Ok(Duration::ZERO);
    }
    options::duration("timeout", given, Duration::ZERO)
}

thread_local! {
    /// The deadline of the blocking handler that runs on this thread.
    static HANDLER_DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether an asyncio handler with a deadline ever ran here: without one the context variable need not be asked.
static ASYNC_DEADLINES: AtomicBool = AtomicBool::new(false);
static CONTEXT_VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The deadline of a handler, as its context variable holds it.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct HandlerDeadline(pub(crate) Instant);

/// The context variable that carries the deadline of asyncio handlers.
pub(crate) fn deadline_variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let variable = CONTEXT_VARIABLE.get_or_try_init(py, || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call1(("stubless_deadline",)).map(Bound::unbind)
    })?;
    Ok(variable.bind(py))
}

/// From now on the context variable counts.
pub(crate) fn asynchronous_deadlines() {
    ASYNC_DEADLINES.store(true, Ordering::Relaxed);
}

/// Runs a blocking handler under its deadline.
pub(crate) fn under_deadline<T>(deadline: Option<Instant>, run: impl FnOnce() -> T) -> T {
    let before = HANDLER_DEADLINE.replace(deadline);
    let done = run();
    HANDLER_DEADLINE.set(before);
    done
}

fn inherited_deadline(py: Python<'_>) -> PyResult<Option<Instant>> {
    if let Some(deadline) = HANDLER_DEADLINE.get() {
        return Ok(Some(deadline));
    }
    if !ASYNC_DEADLINES.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let found = deadline_variable(py)?.call_method1("get", (py.None(),))?;
    Ok(found.cast::<HandlerDeadline>().ok().map(|deadline| deadline.get().0))
}

/// Makes an engine method; a path that cannot be one is the caller's mistake.
pub(crate) fn engine_method(
    path: &str,
    client_streaming: bool,
    server_streaming: bool,
) -> PyResult<Method> {
    let kind = MethodKind { client_streaming, server_streaming };
    Method::new(path, kind).map_err(|error| PyValueError::new_err(error.to_string()))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<unary::UnaryMethod>()?;
    m.add_class::<stream::StreamMethod>()?;
    m.add_class::<stream::StreamCall>()?;
    m.add_class::<done::FinishedCall>()?;
    m.add_class::<future::Futures>()?;
    m.add_class::<future::StartedCall>()?;
    m.add_class::<HandlerDeadline>()
}
