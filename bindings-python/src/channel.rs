//! A channel's core: the engine's channel, who drives it, and the methods made from it.

use std::sync::Arc;

use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use stubless_engine::client::Channel;
use stubless_engine::rt::driver::Engine;

use crate::aio::hub::Hub;
use crate::aio::method::AsyncMethod;
use crate::call::stream::StreamMethod;
use crate::call::unary::UnaryMethod;
use crate::call::{Coder, MethodSpec, engine_method};
use crate::engine::{ForkSafe, process_engine};
use crate::message::MessageClass;
use crate::schema::Schema;

/// Where calls go; shared by the methods of a channel.
pub(crate) struct Target {
    pub engine: ForkSafe<Engine>,
    pub channel: ForkSafe<Channel>,
    /// The event loop's side, for channels of `stubless.aio`.
    pub hub: Option<Py<Hub>>,
    pub schema: Option<Py<PyAny>>,
}

impl Target {
    pub(crate) fn is_forked(&self) -> bool {
        self.channel.is_forked()
    }
}

/// The Rust half of a channel.
#[pyclass(frozen, module = "stubless._core")]
pub(crate) struct ChannelCore(Arc<Target>);

#[pymethods]
impl ChannelCore {
    #[new]
    #[pyo3(signature = (target, options, schema = None, hub = None))]
    fn new(
        py: Python<'_>,
        target: &str,
        options: &Bound<'_, PyDict>,
        schema: Option<Py<PyAny>>,
        hub: Option<Py<Hub>>,
    ) -> PyResult<ChannelCore> {
        let options = crate::options::channel(options)?;
        let engine = match &hub {
            Some(hub) => hub.bind(py).get().engine().clone(),
            None => process_engine()?,
        };
        let channel = Channel::new(engine.rt(), target, options)
            .map_err(|error| crate::errors::refused(&error))?;
        Ok(ChannelCore(Arc::new(Target {
            engine: ForkSafe::new(engine),
            channel: ForkSafe::new(channel),
            hub,
            schema,
        })))
    }

    /// Ends the channel: calls that wait end with UNAVAILABLE, open ones finish.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.0.is_forked() {
            return Ok(());
        }
        match &self.0.hub {
            Some(hub) => {
                let hub = hub.bind(py).get();
                hub.before_submit(py)?;
                self.0.channel.close();
            }
            None => py.detach(|| {
                self.0.channel.close();
                self.0.engine.flush();
            }),
        }
        Ok(())
    }

    /// `IDLE`, `CONNECTING`, `READY`, `TRANSIENT_FAILURE` or `SHUTDOWN`.
    #[pyo3(signature = (try_to_connect = false))]
    fn state(&self, py: Python<'_>, try_to_connect: bool) -> PyResult<&'static str> {
        if self.0.is_forked() {
            return Ok("SHUTDOWN");
        }
        if let Some(hub) = &self.0.hub {
            hub.bind(py).get().before_submit(py)?;
        }
        Ok(self.0.channel.state(try_to_connect).name())
    }

    /// The callable of one method, by the schema. Without one its messages are bytes and its kind must be told.
    #[pyo3(signature = (path, schema = None, client_streaming = false, server_streaming = false))]
    fn method(
        &self,
        py: Python<'_>,
        path: &str,
        schema: Option<&Bound<'_, Schema>>,
        client_streaming: bool,
        server_streaming: bool,
    ) -> PyResult<Py<PyAny>> {
        let found = MethodOf::find(path, schema, client_streaming, server_streaming)?;
        let (client_streaming, server_streaming) = found.kind;
        let spec = Arc::new(MethodSpec {
            target: self.0.clone(),
            method: engine_method(path, client_streaming, server_streaming)?,
            input: found.input,
            output: found.output,
        });
        Ok(match (&self.0.hub, client_streaming || server_streaming) {
            (Some(_), _) => Py::new(py, AsyncMethod { spec })?.into_any(),
            (None, false) => Py::new(py, UnaryMethod { spec })?.into_any(),
            (None, true) => Py::new(py, StreamMethod { spec })?.into_any(),
        })
    }
}

/// A method as the schema describes it.
pub(crate) struct MethodOf {
    /// Client streaming, server streaming.
    pub kind: (bool, bool),
    pub input: Coder,
    pub output: Coder,
}

impl MethodOf {
    pub(crate) fn find(
        path: &str,
        schema: Option<&Bound<'_, Schema>>,
        client_streaming: bool,
        server_streaming: bool,
    ) -> PyResult<MethodOf> {
        let Some(schema) = schema else {
            return Ok(MethodOf {
                kind: (client_streaming, server_streaming),
                input: Coder::Raw,
                output: Coder::Raw,
            });
        };
        let Some(method) = schema.get().inner.method(path) else {
            return Err(PyLookupError::new_err(format!("the schema has no method {path}")));
        };
        Ok(MethodOf {
            kind: (method.is_client_streaming(), method.is_server_streaming()),
            input: Coder::Class(MessageClass::of(schema, &method.input())?),
            output: Coder::Class(MessageClass::of(schema, &method.output())?),
        })
    }
}

/// The methods of a service: `(name, path, client streaming, server streaming)`; `None` if the schema lacks the service.
#[pyfunction]
fn _service_methods(
    schema: &Bound<'_, Schema>,
    name: &str,
) -> Option<Vec<(String, String, bool, bool)>> {
    let service = schema.get().inner.service(name)?;
    let mut rows = Vec::new();
    for method in service.methods() {
        let (client_streaming, server_streaming) =
            (method.is_client_streaming(), method.is_server_streaming());
        rows.push((
            method.name().to_owned(),
            method.path().to_owned(),
            client_streaming,
            server_streaming,
        ));
    }
    Some(rows)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ChannelCore>()?;
    m.add_function(wrap_pyfunction!(_service_methods, m)?)
}
