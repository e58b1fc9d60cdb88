//! Statuses and exceptions: the classes live in Python (`stubless._errors`), this makes and reads them.

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};
use stubless_engine::error::Error;
use stubless_engine::metadata::Metadata;
use stubless_engine::status::{Code, Origin, Status};

use crate::metadata::{to_pairs, to_py};

/// `stubless._errors._make`: builds the exception of a status.
static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static RPC_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Given once, by `stubless._errors`.
#[pyfunction]
fn _set_errors(py: Python<'_>, rpc_error: Py<PyType>, make: Py<PyAny>) {
    let _ = RPC_ERROR.set(py, rpc_error);
    let _ = MAKE.set(py, make);
}

/// The exception for a call that ended with `status`.
pub(crate) fn rpc_error(
    py: Python<'_>,
    status: &Status,
    headers: Metadata,
    trailers: Metadata,
    schema: Option<&Py<PyAny>>,
) -> PyErr {
    let made = (|| {
        let make =
            MAKE.get(py).ok_or_else(|| PyRuntimeError::new_err("stubless is not imported"))?;
        let origin = match status.origin() {
            Origin::Local => "local",
            Origin::Remote => "remote",
        };
        let details = PyBytes::new(py, status.details());
        let arguments = (
            status.number(),
            status.message(),
            details,
            to_py(py, headers)?,
            to_py(py, trailers)?,
            origin,
            schema,
        );
        make.bind(py).call1(arguments)
    })();
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The exception for a call that never began.
pub(crate) fn local_error(py: Python<'_>, status: &Status) -> PyErr {
    rpc_error(py, status, Metadata::new(), Metadata::new(), None)
}

/// An argument the engine refused.
pub(crate) fn refused(error: &Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// What a handler's exception says to the client, if it is an `RpcError`: status and trailing metadata.
pub(crate) fn raised_status(py: Python<'_>, error: &PyErr) -> Option<(Status, Metadata)> {
    let class = RPC_ERROR.get(py)?.bind(py);
    let value = error.value(py);
    if !value.is_instance(class).ok()? {
        return None;
    }
    let read = || -> PyResult<(Status, Metadata)> {
        let number: u32 = value.call_method0("code")?.extract()?;
        let text: Option<String> = value.call_method0("details")?.extract()?;
        let details: Vec<u8> = value.getattr("status_details_bytes")?.extract()?;
        let trailers = to_pairs(Some(&value.call_method0("trailing_metadata")?))?;
        let status = Status::new(Code::from_number(number), text.unwrap_or_default());
        Ok((status.with_details(Bytes::from(details)), trailers))
    };
    let (status, trailers) = read().ok()?;
    if status.is_ok() {
        // an exception never means success
        return Some((
            Status::new(Code::Unknown, "the handler raised an RpcError with code OK"),
            trailers,
        ));
    }
    Some((status, trailers))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_set_errors, m)?)
}
