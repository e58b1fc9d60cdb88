//! Calls whose answers come as `concurrent.futures.Future`s: one thread of Python's waits for all of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use slab::Slab;
use stubless_engine::port::{self, ClientCallHandle, Event, Queue, Reply};
use stubless_engine::rt::driver::Engine;

use super::done::FinishedCall;
use super::unary::{UnaryMethod, request_of};
use super::{CallArgs, Coded};
use crate::engine::{ForkSafe, forked, process_engine};

/// The answers that are waited for.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct Futures {
    engine: ForkSafe<Engine>,
    queue: ForkSafe<Arc<Queue>>,
    waiting: Mutex<Slab<(Coded, Py<PyAny>)>>,
}

/// A started call, to be cancelled.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct StartedCall(ForkSafe<ClientCallHandle>, ForkSafe<Engine>);

#[pymethods]
impl StartedCall {
    fn cancel(&self, py: Python<'_>) {
        if !self.0.is_forked() {
            py.detach(|| {
                self.0.cancel();
                self.1.flush();
            });
        }
    }
}

#[pymethods]
impl Futures {
    #[new]
    fn new() -> PyResult<Futures> {
        let engine = process_engine()?;
        Ok(Futures {
            engine: ForkSafe::new(engine),
            queue: ForkSafe::new(Queue::silent()),
            waiting: Mutex::default(),
        })
    }

    fn is_forked(&self) -> bool {
        self.engine.is_forked() || self.engine.is_closed()
    }

    /// Starts a call; `future._finish(answer, error, call)` is called with its end.
    fn start(
        &self,
        py: Python<'_>,
        method: &Bound<'_, UnaryMethod>,
        request: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
        future: Py<PyAny>,
    ) -> PyResult<Option<StartedCall>> {
        let spec = method.get().spec.clone();
        let args = CallArgs::parse(py, options)?;
        let coded = Coded { spec: spec.clone(), raw: args.raw };
        let request = request_of(py, &coded, request)?;
        if spec.target.is_forked() {
            let error = coded.error(py, &forked(), Default::default(), Default::default());
            future.bind(py).call_method1("_finish", (py.None(), error.value(py), py.None()))?;
            return Ok(None);
        }
        let tag =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert((coded, future))
                as u64;
        let handle = py.detach(|| {
            let (metadata, options) = (args.metadata, args.options);
            let channel = &spec.target.channel;
            let handle = port::start_unary(
                channel,
                &spec.method,
                tag,
                metadata,
                options,
                request,
                &self.queue,
            );
            self.engine.flush();
            handle
        });
        Ok(Some(StartedCall(ForkSafe::new(handle), ForkSafe::new((*self.engine).clone()))))
    }

    /// Hands out the answers that come within a second; for a thread of its own.
    fn work(&self, py: Python<'_>) {
        let queue: &Queue = &self.queue;
        py.detach(|| self.engine.wait_for(queue, Some(Duration::from_secs(1))));
        while let Some(event) = queue.next() {
            let Event::Reply { tag, reply } = event else { continue };
            let waiting = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .try_remove(tag as usize);
            if let Some((coded, future)) = waiting
                && let Err(error) = finish(py, &coded, &future, *reply)
            {
                error.write_unraisable(py, None);
            }
        }
    }
}

fn finish(py: Python<'_>, coded: &Coded, future: &Py<PyAny>, reply: Reply) -> PyResult<()> {
    let Reply { headers, message, status, trailers } = reply;
    let answer = match message {
        Some(message) if status.is_ok() => coded.response(py, message),
        _ => Err(coded.error(py, &status, headers.clone(), trailers.clone())),
    };
    let call = Py::new(py, FinishedCall { status, headers, trailers })?;
    match answer {
        Ok(answer) => future.bind(py).call_method1("_finish", (answer, py.None(), call))?,
        Err(error) => {
            future.bind(py).call_method1("_finish", (py.None(), error.value(py), call))?
        }
    };
    Ok(())
}
