//! Awaitables that look again when they are woken.

use pyo3::prelude::*;

use super::future::{Parked, stop, thrown};
use super::hub::Hub;

/// Something a task can wait for.
pub(crate) trait Waitable: Send + Sync + 'static {
    /// The value, if it is there.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>>;
    /// What is fired when it is worth looking again.
    fn park(&self, py: Python<'_>) -> PyResult<Py<Parked>>;
    /// The task was cancelled while it waited.
    fn give_up(&self, py: Python<'_>) -> PyResult<()>;
    /// The loop's hub.
    fn hub(&self) -> &Py<Hub>;
}

/// One wait; to be awaited.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct Wait(Box<dyn Waitable>);

impl Wait {
    pub(crate) fn of(py: Python<'_>, what: impl Waitable) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Wait(Box::new(what)))?.into_any())
    }
}

#[pymethods]
impl Wait {
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().0.hub().bind(py).get().is_trio() {
            let wait = py.import("stubless._trio")?.call_method1("wait", (slf,))?;
            return wait.call_method0("__await__");
        }
        Ok(slf.clone().into_any())
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.0.poll(py)? {
            Some(value) => Err(stop(py, value)),
            None => Ok(self.0.park(py)?.into_any()),
        }
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(py)
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
        self.0.give_up(py)?;
        Err(thrown(kind, value))
    }

    fn close(&self) {}

    /// Under trio: the wait was cancelled.
    fn _give_up(&self, py: Python<'_>) -> PyResult<()> {
        self.0.give_up(py)
    }

    /// `(True, value)`, or `(False, what to wait on)`.
    fn _poll(&self, py: Python<'_>) -> PyResult<(bool, Py<PyAny>)> {
        match self.0.poll(py)? {
            Some(value) => Ok((true, value)),
            None => Ok((false, self.0.park(py)?.into_any())),
        }
    }
}
