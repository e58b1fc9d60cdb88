//! What a task runs for a call: the handler's coroutine or asynchronous generator, step by step, and its answers sent between.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{
    PyGeneratorExit, PyKeyboardInterrupt, PyStopAsyncIteration, PyStopIteration, PySystemExit,
};
use pyo3::intern;
use pyo3::prelude::*;
use stubless_engine::metadata::Metadata;
use stubless_engine::status::Status;

use super::looped::Served;
use crate::aio::future::{stop, thrown};

/// The coroutine of a call's task.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct Driver {
    served: Arc<Served>,
    /// The handler's coroutine; or its asynchronous generator, of which each step is a coroutine.
    handler: Py<PyAny>,
    streams: bool,
    /// The generator's step that has not ended.
    step: Mutex<Option<Py<PyAny>>>,
}

enum Next {
    /// The task waits for this.
    Wait(Py<PyAny>),
    Over,
}

impl Driver {
    /// A driver for what a handler returned; `None`: that was the answer itself.
    pub(crate) fn new(
        py: Python<'_>,
        served: Arc<Served>,
        result: Bound<'_, PyAny>,
    ) -> PyResult<Option<Py<Driver>>> {
        let streams = served.method.kind.server_streaming;
        let handler = if streams {
            match result.hasattr(intern!(py, "asend"))? {
                true => result,
                // a coroutine that gives an iterator, a plain generator, or an iterator of another make
                false => py.import("stubless._aio_server")?.call_method1("_answers", (result,))?,
            }
        } else if result.hasattr(intern!(py, "send"))? {
            result
        } else if result.hasattr(intern!(py, "__await__"))? {
            py.import("stubless._aio_server")?.call_method1("_awaited", (result,))?
        } else {
            served.answered(py, &result);
            return Ok(None);
        };
        let driver = Driver { served, handler: handler.unbind(), streams, step: Mutex::default() };
        Py::new(py, driver).map(Some)
    }

    fn take_step(&self) -> Option<Py<PyAny>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep_step(&self, step: Py<PyAny>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
    }

    /// One step of a coroutine's answer.
    fn single(&self, py: Python<'_>, sent: PyResult<Bound<'_, PyAny>>) -> PyResult<Next> {
        match sent {
            Ok(waits) => Ok(Next::Wait(waits.unbind())),
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                let answer = error.value(py).getattr(intern!(py, "value"))?;
                self.served.answered(py, &answer);
                Ok(Next::Over)
            }
            Err(error) => self.ended_by(py, error),
        }
    }

    fn ended_by(&self, py: Python<'_>, error: PyErr) -> PyResult<Next> {
        let fatal = error.is_instance_of::<PyKeyboardInterrupt>(py)
            || error.is_instance_of::<PySystemExit>(py);
        let again = fatal.then(|| error.clone_ref(py));
        self.served.failed(py, error);
        match again {
            Some(error) => Err(error),
            None => Ok(Next::Over),
        }
    }

    /// Steps of a generator until it waits or ends. `first` is what the step under way came to, if there is one.
    fn stream(&self, py: Python<'_>, mut first: Option<PyResult<Py<PyAny>>>) -> PyResult<Next> {
        loop {
            let came = match first.take() {
                Some(came) => came,
                None => match self.take_step() {
                    Some(step) => self.resume(py, step),
                    None => {
                        if let Some(parked) = self.served.park_for_room(py)? {
                            return Ok(Next::Wait(parked.into_any()));
                        }
                        let step =
                            match self.handler.bind(py).call_method0(intern!(py, "__anext__")) {
                                Ok(step) => step.unbind(),
                                Err(error) => return self.ended_by(py, error),
                            };
                        self.resume(py, step)
                    }
                },
            };
            match came {
                Ok(waits) => return Ok(Next::Wait(waits)),
                Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                    let answer = error.value(py).getattr(intern!(py, "value"))?;
                    match self.served.method.output.encode(&answer) {
                        Ok(message) => {
                            self.served.send(py, message);
                        }
                        Err(error) => {
                            self.served.unsendable(py, error);
                            self.close_generator(py);
                            return Ok(Next::Over);
                        }
                    }
                    if self.served.context.get().is_cancelled() {
                        self.close_generator(py);
                        self.served.finish(py, super::context::gone(), &Metadata::new());
                        return Ok(Next::Over);
                    }
                }
                Err(error) if error.is_instance_of::<PyStopAsyncIteration>(py) => {
                    self.served.finish(py, Status::ok(), &Metadata::new());
                    return Ok(Next::Over);
                }
                Err(error) => return self.ended_by(py, error),
            }
        }
    }

    /// Resumes a step; it stays the one under way if it waits.
    fn resume(&self, py: Python<'_>, step: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let waits = step.bind(py).call_method1(intern!(py, "send"), (py.None(),))?;
        self.keep_step(step);
        Ok(waits.unbind())
    }

    /// Runs a generator's `finally` blocks, as far as they do not wait.
    fn close_generator(&self, py: Python<'_>) {
        let closed = self.handler.bind(py).call_method0("aclose");
        if let Ok(closing) = closed {
            let _ = closing.call_method1(intern!(py, "send"), (py.None(),));
            let _ = closing.call_method0("close");
        }
    }

    fn give(&self, py: Python<'_>, next: PyResult<Next>) -> PyResult<Py<PyAny>> {
        match next? {
            Next::Wait(on) => Ok(on),
            Next::Over => Err(stop(py, py.None())),
        }
    }
}

#[pymethods]
impl Driver {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let next = if self.streams {
            self.stream(py, None)
        } else {
            let sent = self.handler.bind(py).call_method1(intern!(py, "send"), (py.None(),));
            self.single(py, sent)
        };
        self.give(py, next)
    }

    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if value.is_none() {
            return self.__next__(py);
        }
        if self.streams {
            // trio gives its tasks values
            let came = self.take_step().map(|step| {
                let came = step.bind(py).call_method1(intern!(py, "send"), (value,))?.unbind();
                self.keep_step(step);
                Ok(came)
            });
            let next = self.stream(py, came);
            return self.give(py, next);
        }
        let sent = self.handler.bind(py).call_method1(intern!(py, "send"), (value,));
        let next = self.single(py, sent);
        self.give(py, next)
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
        let error = thrown(kind, value);
        let error = error.value(py);
        let next = if self.streams {
            // into the step that waits, or into the generator where it stands
            let came = match self.take_step() {
                Some(step) => {
                    let came = step.bind(py).call_method1(intern!(py, "throw"), (error,));
                    if came.is_ok() {
                        self.keep_step(step);
                    }
                    came.map(Bound::unbind)
                }
                None => match self.handler.bind(py).call_method1("athrow", (error,)) {
                    Ok(step) => self.resume(py, step.unbind()),
                    Err(error) => Err(error),
                },
            };
            self.stream(py, Some(came))
        } else {
            let sent = self.handler.bind(py).call_method1(intern!(py, "throw"), (error,));
            self.single(py, sent)
        };
        self.give(py, next)
    }

    /// The loop ends with the handler unfinished.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.served.over.load(std::sync::atomic::Ordering::Acquire) {
            return Ok(());
        }
        let closed = match self.take_step() {
            Some(step) => step.bind(py).call_method0("close").map(|_| ()),
            None if !self.streams => self.handler.bind(py).call_method0("close").map(|_| ()),
            None => Ok(()),
        };
        self.served.failed(py, PyGeneratorExit::new_err(()));
        closed
    }
}
