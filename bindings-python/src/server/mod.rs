//! Servers: registration, options and shutdown for both kinds; calls are served in `blocking` (threads) and `aio` (a loop).

pub(crate) mod blocking;
pub(crate) mod context;
pub(crate) mod driver;
pub(crate) mod inbox;
pub(crate) mod looped;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use stubless_engine::call::MethodKind;
use stubless_engine::port::{PortHandler, Queue, Workers};
use stubless_engine::rt::driver::Engine;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Registration, Server};
use stubless_engine::services::health::{Health, ServingStatus};
use stubless_engine::services::reflection::Reflection;
use stubless_engine::status::{Code, Status};

use crate::aio::hub::Hub;
use crate::call::Coder;
use crate::channel::MethodOf;
use crate::engine::{ForkSafe, SLICE, process_engine};
use crate::schema::Schema;
use crate::tls::TlsOfServer;
use context::Context;

/// One registered method.
pub(crate) struct Method {
    pub path: String,
    pub kind: MethodKind,
    pub input: Coder,
    pub output: Coder,
    pub handler: Py<PyAny>,
}

/// What all calls of a server share.
pub(crate) struct Core {
    pub engine: ForkSafe<Engine>,
    pub server: ForkSafe<Server>,
    pub queue: ForkSafe<Arc<Queue>>,
    pub workers: ForkSafe<Workers>,
    /// By the number in an incoming call; a removed method's place stays empty.
    methods: RwLock<Vec<Option<Arc<Method>>>>,
    /// Which places a service has.
    services: Mutex<HashMap<String, Vec<usize>>>,
    /// Contexts that want to hear of a cancel, by tag.
    pub watched: Mutex<HashMap<u64, Py<Context>>>,
    pub debug_errors: bool,
    pub hub: Option<Py<Hub>>,
    /// This server's number at its hub.
    number: OnceLock<u64>,
    pub closed: AtomicBool,
    reflection: Mutex<Option<Reflection>>,
}

impl Core {
    /// The method an incoming call is for.
    pub(crate) fn method(&self, number: u64) -> Option<Arc<Method>> {
        let methods = self.methods.read().unwrap_or_else(PoisonError::into_inner);
        methods.get((number & 0xffff_ffff) as usize).cloned().flatten()
    }

    /// What a handler's exception is to the client, told to the log where it is nobody's intention.
    pub(crate) fn failure(
        &self,
        py: Python<'_>,
        method: &Method,
        error: PyErr,
    ) -> (Status, stubless_engine::metadata::Metadata) {
        if let Some(raised) = crate::errors::raised_status(py, &error) {
            return raised;
        }
        let text = match self.debug_errors {
            true => {
                let name =
                    error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
                format!("{name}: {}", error.value(py))
            }
            false => "the handler raised an exception".to_owned(),
        };
        self.log(py, method, error);
        (Status::new(Code::Unknown, text), Default::default())
    }

    /// Tells the log of an exception.
    pub(crate) fn log(&self, py: Python<'_>, method: &Method, error: PyErr) {
        let told = (|| -> PyResult<()> {
            let logger = py.import("logging")?.call_method1("getLogger", ("stubless",))?;
            let keywords = PyDict::new(py);
            keywords.set_item("exc_info", error.value(py))?;
            logger.call_method(
                "error",
                ("the handler of %s failed", method.path.as_str()),
                Some(&keywords),
            )?;
            Ok(())
        })();
        if let Err(error) = told {
            error.write_unraisable(py, None);
        }
    }
}

/// The Rust half of a server.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct ServerCore {
    core: Arc<Core>,
    handler_threads: usize,
}

impl ServerCore {
    fn usable(&self) -> PyResult<&Core> {
        if self.core.server.is_forked() {
            return Err(PyRuntimeError::new_err("the server was created before fork"));
        }
        Ok(&self.core)
    }

    fn changed(&self) {
        if self.core.hub.is_none() {
            self.core.engine.flush();
        }
    }
}

#[pymethods]
impl ServerCore {
    #[new]
    #[pyo3(signature = (options, hub = None))]
    fn new(
        py: Python<'_>,
        options: &Bound<'_, PyDict>,
        hub: Option<Py<Hub>>,
    ) -> PyResult<ServerCore> {
        let served = crate::options::server(options)?;
        let (engine, queue) = match &hub {
            Some(hub) => (hub.bind(py).get().engine().clone(), hub.bind(py).get().queue().clone()),
            None => (process_engine()?, Queue::silent()),
        };
        let server = Server::new(engine.rt(), served.options);
        let core = Arc::new(Core {
            engine: ForkSafe::new(engine),
            server: ForkSafe::new(server),
            queue: ForkSafe::new(queue),
            workers: ForkSafe::new(Workers::default()),
            methods: RwLock::default(),
            services: Mutex::default(),
            watched: Mutex::default(),
            debug_errors: served.debug_errors,
            hub,
            number: OnceLock::new(),
            closed: AtomicBool::new(false),
            reflection: Mutex::default(),
        });
        if let Some(hub) = &core.hub {
            let serve = Arc::new(looped::Looped { core: core.clone() });
            let _ = core.number.set(hub.bind(py).get().add_server(serve));
        }
        Ok(ServerCore { core, handler_threads: served.handler_threads })
    }

    #[getter]
    fn handler_threads(&self) -> usize {
        self.handler_threads
    }

    /// Registers a service: `handlers` by method name. Without a schema messages are bytes and `kinds` gives (client streaming,
    /// server streaming) by method name.
    #[pyo3(signature = (name, handlers, schema = None, kinds = None))]
    fn register(
        &self,
        py: Python<'_>,
        name: &str,
        handlers: HashMap<String, Py<PyAny>>,
        schema: Option<&Bound<'_, Schema>>,
        kinds: Option<HashMap<String, (bool, bool)>>,
    ) -> PyResult<()> {
        let core = self.usable()?;
        let mut registrations = Vec::new();
        let mut places = Vec::new();
        for (method, handler) in handlers {
            let path = format!("/{name}/{method}");
            let (client, server) =
                kinds.as_ref().and_then(|kinds| kinds.get(&method)).copied().unwrap_or_default();
            let found = MethodOf::find(&path, schema, client, server)?;
            let kind =
                MethodKind { client_streaming: found.kind.0, server_streaming: found.kind.1 };
            let entry = Method { path, kind, input: found.input, output: found.output, handler };
            let place = {
                let mut methods = core.methods.write().unwrap_or_else(PoisonError::into_inner);
                methods.push(Some(Arc::new(entry)));
                methods.len() - 1
            };
            places.push(place);
            let number = core.number.get().copied().unwrap_or(0) << 32 | place as u64;
            let handler = match core.hub {
                Some(_) => PortHandler::new(number, &core.queue),
                None => PortHandler::with_own_queues(number, &core.queue),
            };
            registrations.push(Registration { name: method, kind, handler: Arc::new(handler) });
        }
        py.detach(|| core.server.register(name, registrations))
            .map_err(|error| crate::errors::refused(&error))?;
        core.services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), places);
        Ok(())
    }

    /// Removes a service; its running calls go on. `False`: there was none.
    fn unregister(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        let core = self.usable()?;
        let removed = py.detach(|| core.server.unregister(name));
        let places = core.services.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let mut gone = Vec::new();
        {
            let mut methods = core.methods.write().unwrap_or_else(PoisonError::into_inner);
            for place in places.unwrap_or_default() {
                gone.extend(methods.get_mut(place).and_then(Option::take));
            }
        }
        drop(gone);
        Ok(removed)
    }

    /// Listens on an address; gives the port.
    #[pyo3(signature = (address, tls = None))]
    fn listen(
        &self,
        py: Python<'_>,
        address: &str,
        tls: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u16> {
        let core = self.usable()?;
        let tls = match tls.filter(|tls| !tls.is_none()) {
            None => None,
            Some(given) => match given.cast::<TlsOfServer>() {
                Ok(tls) => Some(tls.get().0.clone()),
                Err(_) => {
                    return Err(PyTypeError::new_err("option tls: a stubless.ServerTLS is needed"));
                }
            },
        };
        if let Some(hub) = &core.hub {
            hub.bind(py).get().before_submit(py)?;
        }
        let port = py.detach(|| core.server.listen(address, Security { tls }));
        let port = port.map_err(|error| crate::errors::refused(&error))?;
        self.changed();
        Ok(port)
    }

    /// Serves calls until the server has stopped; for a thread of its own. `grow` is called when a handler is about to run and no
    /// other thread is idle.
    #[pyo3(signature = (grow = None))]
    fn work(&self, py: Python<'_>, grow: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        blocking::work(py, &self.core, grow)
    }

    /// Begins to stop; what runs may go on for `grace` seconds.
    fn shutdown(&self, py: Python<'_>, grace: &Bound<'_, PyAny>) -> PyResult<()> {
        let core = self.usable()?;
        let grace = crate::options::duration("grace", grace, Duration::ZERO)?;
        if let Some(hub) = &core.hub {
            hub.bind(py).get().before_submit(py)?;
        }
        py.detach(|| core.server.shutdown(grace));
        self.changed();
        Ok(())
    }

    /// Waits at most `seconds` for the end of a shutdown. `True`: it is complete.
    fn wait_stopped(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let core = self.usable()?;
        let wait = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).min(SLICE);
        let stopped = py.detach(|| {
            core.engine.block_on(poll_fn(|cx| core.server.poll_stopped(cx)), Some(wait))
        });
        py.check_signals()?;
        Ok(stopped.is_some())
    }

    /// Whether a shutdown is complete, now.
    fn is_stopped(&self) -> bool {
        if self.core.server.is_forked() {
            return true;
        }
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        self.core.server.poll_stopped(&mut cx).is_ready()
    }

    /// Whether a shutdown has begun.
    fn is_stopping(&self) -> bool {
        self.core.server.is_forked() || self.core.server.is_stopping()
    }

    /// Sends the worker threads home, and forgets the handlers.
    fn close(&self, py: Python<'_>) {
        if self.core.server.is_forked() {
            return;
        }
        self.core.closed.store(true, Ordering::Release);
        py.detach(|| self.core.workers.close());
        if let (Some(hub), Some(number)) = (&self.core.hub, self.core.number.get()) {
            hub.bind(py).get().remove_server(*number);
        }
    }

    /// Handlers that have not returned.
    fn running_calls(&self) -> usize {
        if self.core.server.is_forked() { 0 } else { self.core.server.running_calls() }
    }

    /// Connections open now.
    fn connections(&self) -> usize {
        if self.core.server.is_forked() { 0 } else { self.core.server.connections() }
    }

    /// Names of the registered services.
    fn services(&self) -> Vec<String> {
        if self.core.server.is_forked() { Vec::new() } else { self.core.server.services() }
    }

    /// Adds `grpc.health.v1.Health`.
    fn enable_health(&self, py: Python<'_>) -> PyResult<HealthOfServer> {
        let core = self.usable()?;
        let health = py
            .detach(|| Health::new(&core.server))
            .map_err(|error| crate::errors::refused(&error))?;
        Ok(HealthOfServer { health: ForkSafe::new(health), core: self.core.clone() })
    }

    /// Adds reflection (v1 and v1alpha) of the registered services, as this schema describes them.
    fn enable_reflection(&self, py: Python<'_>, schema: &Bound<'_, Schema>) -> PyResult<()> {
        let core = self.usable()?;
        let schema = schema.get().inner.clone();
        let mut slot = core.reflection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reflection) = &*slot {
            reflection.set_schema(schema);
            return Ok(());
        }
        let reflection = py.detach(|| Reflection::new(&core.server, schema));
        *slot = Some(reflection.map_err(|error| crate::errors::refused(&error))?);
        Ok(())
    }
}

/// The health of a server's services.
#[pyclass(frozen, module = "stubless", name = "Health")]
pub(crate) struct HealthOfServer {
    health: ForkSafe<Health>,
    core: Arc<Core>,
}

#[pymethods]
impl HealthOfServer {
    /// Sets a service's status: `"SERVING"` or `"NOT_SERVING"` (or True, False). The service `""` is the whole server.
    fn set(&self, py: Python<'_>, service: &str, status: &Bound<'_, PyAny>) -> PyResult<()> {
        let wanted = match status.cast::<PyBool>() {
            Ok(serving) if serving.is_true() => Some(ServingStatus::Serving),
            Ok(_) => Some(ServingStatus::NotServing),
            Err(_) => {
                status.extract::<String>().ok().and_then(|name| ServingStatus::from_name(&name))
            }
        };
        let Some(wanted) = wanted else {
            return Err(PyValueError::new_err(
                "a health status is \"SERVING\", \"NOT_SERVING\" or \"UNKNOWN\"",
            ));
        };
        if self.health.is_forked() {
            return Ok(());
        }
        if let Some(hub) = &self.core.hub {
            hub.bind(py).get().before_submit(py)?;
        }
        py.detach(|| self.health.set(service, wanted));
        Ok(())
    }

    /// Forgets a service: it is unknown to clients that ask.
    fn clear(&self, py: Python<'_>, service: &str) -> PyResult<()> {
        if self.health.is_forked() {
            return Ok(());
        }
        if let Some(hub) = &self.core.hub {
            hub.bind(py).get().before_submit(py)?;
        }
        py.detach(|| self.health.clear(service));
        Ok(())
    }
}

/// Refuses options a server does not know, or values out of range.
#[pyfunction]
fn _check_server_options(options: &Bound<'_, PyDict>) -> PyResult<()> {
    crate::options::server(options).map(|_| ())
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ServerCore>()?;
    m.add_function(wrap_pyfunction!(_check_server_options, m)?)?;
    m.add_class::<HealthOfServer>()?;
    m.add_class::<Context>()?;
    m.add_class::<context::TlsIdentity>()?;
    m.add_class::<blocking::Requests>()?;
    m.add_class::<looped::AsyncRequests>()?;
    m.add_class::<driver::Driver>()
}
