//! The extension module `stubless._core`: convert, call the Rust core once, convert back.
//!
//! `schema` and `message` are the data side (schemas, message classes, containers); the call side stands beside them.

mod message;
mod schema;

use pyo3::prelude::*;

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    schema::register(m)?;
    message::register(m)?;
    Ok(())
}
