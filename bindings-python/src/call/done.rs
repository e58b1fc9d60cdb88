//! How a call ended, as its Python objects show it.

use pyo3::prelude::*;
use stubless_engine::metadata::Metadata;
use stubless_engine::status::Status;

use crate::metadata::to_py;

/// A finished call with one response, as `with_call` gives it beside the message.
#[pyclass(frozen, module = "stubless", name = "FinishedCall")]
pub(crate) struct FinishedCall {
    pub status: Status,
    pub headers: Metadata,
    pub trailers: Metadata,
}

/// `StatusCode` of a number.
pub(crate) fn code(py: Python<'_>, status: &Status) -> PyResult<Py<PyAny>> {
    let class = py.import("stubless._errors")?.getattr("StatusCode")?;
    class.call1((status.code().number(),)).map(Bound::unbind)
}

#[pymethods]
impl FinishedCall {
    /// The status code.
    fn code(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        code(py, &self.status)
    }

    /// The status text.
    fn details(&self) -> &str {
        self.status.message()
    }

    /// Metadata the server sent before the response.
    fn initial_metadata(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        to_py(py, self.headers.clone())
    }

    /// Metadata the server sent at the end.
    fn trailing_metadata(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        to_py(py, self.trailers.clone())
    }
}
