//! The extension module `stubless._core`: convert, call the Rust core once, convert back.
//!
//! `schema` and `message` are the data side (schemas, message classes, containers); the call side stands beside them.

mod aio;
mod call;
mod channel;
mod engine;
mod errors;
mod message;
mod metadata;
mod options;
mod schema;
mod server;
mod tls;

use pyo3::prelude::*;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    schema::register(m)?;
    message::register(m)?;
    engine::register(m)?;
    errors::register(m)?;
    metadata::register(m)?;
    tls::register(m)?;
    call::register(m)?;
    channel::register(m)?;
    aio::register(m)?;
    server::register(m)?;
    Ok(())
}
