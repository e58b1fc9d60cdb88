//! Handlers on threads that keep their thread state and drive the sockets between two calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{Event, IncomingCall, Queue};
use stubless_engine::rt::driver::Waited;
use stubless_engine::status::{Code, Status};

use super::context::{Context, gone};
use super::inbox::Inbox;
use super::{Core, Method};
use crate::call::{undecodable, under_deadline};
use crate::engine::{ForkSafe, SLICE};
use crate::errors::local_error;

/// How long a worker waits before it looks whether the server is over.
const PATIENCE: Duration = Duration::from_secs(1);

/// A handler that is quiet for this long has its answer sent at once; a busy one has several sent together.
const QUIET: Duration = Duration::from_micros(200);

/// Answers sent together at most.
const TOGETHER: u32 = 32;

/// A worker thread's life.
pub(crate) fn work(
    py: Python<'_>,
    core: &Arc<Core>,
    grow: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    while !core.server.is_forked() {
        let next = py.detach(|| core.workers.next(&core.engine, &core.queue, PATIENCE));
        match next {
            Some(Event::Call(call)) => {
                if let Some(grow) = grow.filter(|_| core.workers.idle() == 0) {
                    // if this handler blocks, somebody has to take the sockets over
                    grow.call0()?;
                }
                serve(py, core, *call);
            }
            Some(Event::Cancelled { tag, .. }) => {
                let watched = core.watched.lock().ok().and_then(|mut watched| watched.remove(&tag));
                if let Some(context) = watched {
                    context.get().cancel(py);
                }
            }
            Some(_) => {}
            None if core.closed.load(Ordering::Acquire) || core.engine.is_closed() => return Ok(()),
            None => py.check_signals()?,
        }
    }
    Ok(())
}

fn serve(py: Python<'_>, core: &Arc<Core>, call: IncomingCall) {
    let IncomingCall { method, head, message, events, handle, .. } = call;
    let Some(method) = core.method(method) else {
        handle.finish(Status::new(Code::Unimplemented, "the service was removed"), Metadata::new());
        return;
    };
    let request = match message.map(|message| method.input.decode(py, message)).transpose() {
        Ok(request) => request,
        Err(error) => return handle.finish(undecodable(py, &error), Metadata::new()),
    };
    let inbox = events.map(|events| Arc::new((ForkSafe::new(events), Inbox::new())));
    let context = match Py::new(py, Context::new(core, head, handle)) {
        Ok(context) => context,
        Err(error) => return error.write_unraisable(py, None),
    };
    let deadline = context.get().deadline;
    let handled =
        under_deadline(deadline, || run(py, core, &method, &context, request, inbox.as_ref()));
    if let Err(error) = handled {
        let this = context.get();
        let (status, trailers) = if this.with_handle(|handle| handle.is_ended()).unwrap_or(true) {
            // nobody hears it: what the handler makes of its cancel is its own affair
            (gone(), Metadata::new())
        } else {
            core.failure(py, &method, error)
        };
        this.finish(py, status, &trailers);
    }
}

type Own = Arc<(ForkSafe<Arc<Queue>>, Inbox)>;

fn run(
    py: Python<'_>,
    core: &Arc<Core>,
    method: &Arc<Method>,
    context: &Py<Context>,
    request: Option<Py<PyAny>>,
    own: Option<&Own>,
) -> PyResult<()> {
    let request = match (request, own) {
        (Some(request), _) => request,
        (None, Some(own)) => {
            let requests = Requests {
                core: core.clone(),
                method: method.clone(),
                context: context.clone_ref(py),
                own: own.clone(),
            };
            requests.top_up();
            Py::new(py, requests)?.into_any()
        }
        (None, None) => py.None(),
    };
    let result = method.handler.bind(py).call1((request, context))?;
    let this = context.get();
    let Some(own) = own.filter(|_| method.kind.server_streaming) else {
        return match method.output.encode(&result) {
            Ok(message) => {
                this.reply(py, message);
                Ok(())
            }
            Err(error) => unsendable(py, core, method, this, error),
        };
    };
    let answers = Answers { core, context: this, own };
    let (mut unflushed, mut last_flush) = (0, Instant::now());
    for answer in result.try_iter()? {
        let message = match method.output.encode(&answer?) {
            Ok(message) => message,
            Err(error) => return unsendable(py, core, method, this, error),
        };
        if !answers.send(py, message) {
            // the client is gone: the generator is closed where it stands
            if result.hasattr("close")? {
                result.call_method0("close")?;
            }
            this.cancel(py);
            this.finish(py, gone(), &Metadata::new());
            return Ok(());
        }
        unflushed += 1;
        let now = Instant::now();
        if unflushed >= TOGETHER || now.duration_since(last_flush) > QUIET {
            (unflushed, last_flush) = (0, now);
            py.detach(|| core.engine.flush());
        }
    }
    this.finish(py, Status::ok(), &Metadata::new());
    Ok(())
}

/// An answer that is none: the handler's mistake, told to the log.
fn unsendable(
    py: Python<'_>,
    core: &Core,
    method: &Method,
    context: &Context,
    error: PyErr,
) -> PyResult<()> {
    let text = match core.debug_errors {
        true => format!("the handler's answer cannot be sent: {}", error.value(py)),
        false => "the handler's answer cannot be sent".to_owned(),
    };
    core.log(py, method, error);
    context.finish(py, Status::new(Code::Internal, text), &Metadata::new());
    Ok(())
}

struct Answers<'a> {
    core: &'a Core,
    context: &'a Context,
    own: &'a Own,
}

impl Answers<'_> {
    /// Sends one answer, after waiting for room; `false`: the call has ended.
    fn send(&self, py: Python<'_>, message: Bytes) -> bool {
        let ended = wait(py, self.core, self.own, |state| match &state.cancelled {
            Some(_) => Some(true),
            None => (!state.blocked).then_some(false),
        });
        if ended {
            return false;
        }
        let sent = self.context.with_handle(|handle| (handle.send(message), handle.is_ended()));
        match sent {
            Some((_, true)) | None => false,
            Some((room, false)) => {
                self.own.1.lock().blocked = !room;
                true
            }
        }
    }
}

/// Drives, or waits, until `look` finds what it wants in the call's inbox.
fn wait<T>(
    py: Python<'_>,
    core: &Core,
    own: &Own,
    mut look: impl FnMut(&mut super::inbox::State) -> Option<T>,
) -> T {
    let (queue, inbox) = &**own;
    loop {
        {
            let mut state = inbox.lock();
            if let Some(found) = look(&mut state) {
                return found;
            }
            while let Some(event) = queue.next() {
                Inbox::take(&mut state, event);
            }
            if let Some(found) = look(&mut state) {
                return found;
            }
        }
        let queue: &Queue = queue;
        let waited = py.detach(|| core.engine.wait_for(queue, Some(SLICE)));
        if waited == Waited::Closed {
            inbox.lock().cancelled.get_or_insert_with(crate::engine::local_closed);
        }
    }
}

/// The requests of a call with a request stream: an iterator. A client that cancels makes it raise.
#[pyclass(frozen, module = "stubless", name = "Requests")]
pub(crate) struct Requests {
    core: Arc<Core>,
    method: Arc<Method>,
    context: Py<Context>,
    own: Own,
}

impl Requests {
    fn top_up(&self) {
        let wanted = Inbox::wanted(&mut self.own.1.lock());
        if wanted > 0 {
            self.context.get().with_handle(|handle| handle.grant(wanted));
        }
    }
}

#[pymethods]
impl Requests {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.recv(py)?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    /// The next request; `None` at the end.
    fn recv(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.top_up();
        let next = wait(py, &self.core, &self.own, |state| {
            if let Some(message) = state.local.pop_front() {
                return Some(Ok(Some(message)));
            }
            match &state.cancelled {
                Some(status) => Some(Err(status.clone())),
                None => state.half_closed.then_some(Ok(None)),
            }
        });
        match next {
            Ok(Some(message)) => match self.method.input.decode(py, message) {
                Ok(message) => Ok(Some(message)),
                Err(error) => Err(local_error(py, &undecodable(py, &error))),
            },
            Ok(None) => Ok(None),
            Err(status) => {
                self.context.get().cancel(py);
                Err(local_error(py, &status))
            }
        }
    }
}
