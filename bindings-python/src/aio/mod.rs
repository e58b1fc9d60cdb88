//! Event loops: one engine per loop, driven by the loop itself through one descriptor.
//!
//! The loop watches the engine's descriptor and calls [`hub::Hub`]'s `_on_ready`: one turn of the engine, one batch of events, and
//! the tasks that waited run their next step right there, without a detour through the loop's queue.

pub(crate) mod call;
pub(crate) mod future;
pub(crate) mod hub;
pub(crate) mod method;
pub(crate) mod stream;
pub(crate) mod wait;

use pyo3::prelude::*;

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<hub::Hub>()?;
    m.add_class::<future::Parked>()?;
    m.add_class::<future::Ready>()?;
    m.add_class::<method::AsyncMethod>()?;
    m.add_class::<call::AsyncCall>()?;
    m.add_class::<stream::AsyncStreamCall>()?;
    m.add_class::<wait::Wait>()
}
