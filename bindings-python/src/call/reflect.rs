//! A schema from a live server.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use stubless_engine::client::{CallOptions, Channel};
use stubless_engine::services::reflection::{LoadError, load_schema};

use crate::engine::{SLICE, local_closed, process_engine};
use crate::errors::local_error;

/// Asks a server's reflection for everything it serves.
pub(crate) fn reflect(
    py: Python<'_>,
    target: &str,
    options: &Bound<'_, PyDict>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<stubless_codec::Schema> {
    let options = crate::options::channel(options)?;
    let timeout = match timeout.filter(|timeout| !timeout.is_none()) {
        Some(timeout) => {
            Some(crate::options::duration("timeout", timeout, std::time::Duration::ZERO)?)
        }
        None => None,
    };
    let engine = process_engine()?;
    let channel = Channel::new(engine.rt(), target, options)
        .map_err(|error| crate::errors::refused(&error))?;
    let loaded = py.detach(|| {
        let options = CallOptions { timeout, ..CallOptions::default() };
        let loading = load_schema(&channel, Default::default(), options);
        let loaded =
            engine.block_on_checked(loading, SLICE, || Python::attach(|py| py.check_signals()));
        channel.close();
        engine.flush();
        loaded
    })?;
    match loaded {
        Some(Ok(loaded)) => Ok(loaded.schema),
        Some(Err(LoadError::Call(status))) => Err(local_error(py, &status)),
        Some(Err(error)) => Err(PyValueError::new_err(error.to_string())),
        None => Err(local_error(py, &local_closed())),
    }
}
