//! What a task waits on: the asyncio future protocol (PEP 3156's duck type), as small as tasks need it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::hub::Hub;

struct Callback {
    call: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

/// One wait: tasks register, whoever has what they wait for fires it. It carries no value; the task looks again.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct Parked {
    hub: Py<Hub>,
    callbacks: Mutex<Vec<Callback>>,
    blocking: AtomicBool,
    cancelled: AtomicBool,
    fired: AtomicBool,
}

impl Parked {
    pub(crate) fn new(py: Python<'_>, hub: &Py<Hub>) -> PyResult<Py<Parked>> {
        Py::new(
            py,
            Parked {
                hub: hub.clone_ref(py),
                callbacks: Mutex::default(),
                blocking: AtomicBool::new(true),
                cancelled: AtomicBool::new(false),
                fired: AtomicBool::new(false),
            },
        )
    }

    fn take(&self) -> Vec<Callback> {
        self.fired.store(true, Ordering::Release);
        std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs the waiting tasks' next steps, here and now. Only where no task is running: in the hub's own callbacks.
    pub(crate) fn fire(slf: &Bound<'_, Parked>) {
        let py = slf.py();
        let this = slf.get();
        for callback in this.take() {
            let done = match &callback.context {
                Some(context) => {
                    context.bind(py).call_method1(intern!(py, "run"), (&callback.call, slf))
                }
                None => callback.call.bind(py).call1((slf,)),
            };
            if let Err(error) = done {
                this.hub.bind(py).get().callback_failed(py, error);
            }
        }
    }

    /// Lets the loop run the waiting tasks soon: from within a running task.
    pub(crate) fn fire_soon(slf: &Bound<'_, Parked>) -> PyResult<()> {
        let this = slf.get();
        let hub = this.hub.bind(slf.py()).get();
        for callback in this.take() {
            hub.call_soon(slf.py(), &callback.call, slf.as_any(), callback.context.as_ref())?;
        }
        Ok(())
    }
}

/// `asyncio.CancelledError`.
fn cancel_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "asyncio", "CancelledError")
}

/// A new `asyncio.CancelledError`.
pub(crate) fn cancelled_error(py: Python<'_>) -> PyResult<PyErr> {
    Ok(PyErr::from_type(cancel_class(py)?.clone(), ()))
}

/// Whether an error is the loop's way to end a task: asyncio's or trio's cancel, or the end of a generator.
pub(crate) fn is_cancel(py: Python<'_>, error: &PyErr) -> bool {
    if error.is_instance_of::<pyo3::exceptions::PyGeneratorExit>(py) {
        return true;
    }
    if cancel_class(py).is_ok_and(|class| error.is_instance(py, class)) {
        return true;
    }
    error.get_type(py).module().is_ok_and(|module| module.to_string().starts_with("trio"))
}

#[pymethods]
impl Parked {
    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: bool) {
        self.blocking.store(value, Ordering::Relaxed);
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.hub.bind(py).get().event_loop(py)
    }

    #[pyo3(signature = (callback, /, *, context = None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let this = slf.get();
        if this.fired.load(Ordering::Acquire) {
            let hub = this.hub.bind(slf.py()).get();
            return hub.call_soon(slf.py(), &callback, slf.as_any(), context.as_ref());
        }
        let mut callbacks = this.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        callbacks.push(Callback { call: callback, context });
        Ok(())
    }

    fn remove_done_callback(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let list =
            std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        let before = list.len();
        let mut kept = Vec::with_capacity(before);
        for known in list {
            if !known.call.bind(py).eq(callback)? {
                kept.push(known);
            }
        }
        let removed = before - kept.len();
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
        Ok(removed)
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let _ = msg;
        let this = slf.get();
        if this.fired.load(Ordering::Acquire) {
            return Ok(false);
        }
        this.cancelled.store(true, Ordering::Release);
        Parked::fire_soon(slf)?;
        Ok(true)
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn done(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        if self.cancelled() { Err(cancelled_error(py)?) } else { Ok(()) }
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let this = slf.get();
        if this.fired.load(Ordering::Acquire) {
            this.result(slf.py())?;
            return Err(PyStopIteration::new_err(()));
        }
        this.set_blocking(true);
        Ok(slf.clone())
    }
}

/// An awaitable whose value is there already.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct Ready(Option<Py<PyAny>>);

impl Ready {
    pub(crate) fn value(py: Python<'_>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Ready(Some(value)))?.into_any())
    }

    /// The one without a value.
    pub(crate) fn none(py: Python<'_>) -> PyResult<Py<PyAny>> {
        static NONE: PyOnceLock<Py<Ready>> = PyOnceLock::new();
        let none = NONE.get_or_try_init(py, || Py::new(py, Ready(None)))?;
        Ok(none.clone_ref(py).into_any())
    }
}

#[pymethods]
impl Ready {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Err(stop(py, self.0.as_ref().map_or_else(|| py.None(), |value| value.clone_ref(py))))
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__next__(py)
    }

    #[pyo3(signature = (kind, value = None, traceback = None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = traceback;
        Err(thrown(kind, value))
    }

    fn close(&self) {}
}

/// `StopIteration(value)`: how an awaitable gives its value.
pub(crate) fn stop(_py: Python<'_>, value: Py<PyAny>) -> PyErr {
    PyStopIteration::new_err((value,))
}

/// What `throw` was given, as an error.
pub(crate) fn thrown(kind: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyErr {
    if let Some(value) =
        value.filter(|value| value.is_instance_of::<pyo3::exceptions::PyBaseException>())
    {
        return PyErr::from_value(value.clone());
    }
    if kind.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return PyErr::from_value(kind.clone());
    }
    match kind.cast::<PyType>() {
        Ok(class) => match value {
            Some(value) => PyErr::from_type(class.clone(), (value.clone().unbind(),)),
            None => PyErr::from_type(class.clone(), ()),
        },
        Err(_) => PyTypeError::new_err("throw() takes an exception"),
    }
}
