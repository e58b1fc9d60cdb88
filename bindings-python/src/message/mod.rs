//! Messages in Python: a class per type, instances that read from the core's arena and keep what was written.
//!
//! An instance has a share of the decoded core message, never written to, and a slot per field for what Python code put
//! there or must find again (nested messages, containers, strings). Encoding copies what was not touched straight from
//! the arena. Nothing here relies on the interpreter lock for memory safety: every instance and container has a lock of
//! its own, under which no Python code ever runs and no other object's lock is waited for, but down a tree of untouched
//! messages.

mod cell;
mod class;
mod convert;
mod encode;
mod instance;
mod known;
mod list;
mod map;
mod methods;
mod show;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use stubless_codec::{DecodeError, MessageType};

pub(crate) use cell::Guarded;
pub(crate) use class::build as build_class;
pub(crate) use class::{ClassInfo, FieldDescriptor};
pub(crate) use instance::Message;
pub(crate) use list::MessageList;
pub(crate) use map::MessageMap;

use crate::schema::Schema;

/// The class of a message type: what the calls need to turn values into bytes and back. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MessageClass(Arc<Py<ClassInfo>>);

#[allow(dead_code)] // the calls' side of the crate uses these
impl MessageClass {
    /// The class of a type of this schema.
    ///
    /// # Errors
    /// `TypeError`: the type is of another schema.
    pub fn of(schema: &Bound<'_, Schema>, ty: &MessageType) -> PyResult<MessageClass> {
        match schema.get().index_of(ty.full_name()) {
            Some(index) => Ok(MessageClass(Arc::new(schema.get().class_at(schema, index)?))),
            None => {
                Err(PyTypeError::new_err(format!("the schema has no message {}", ty.full_name())))
            }
        }
    }

    pub fn full_name(&self) -> &str {
        self.0.get().full_name()
    }
}

/// The bytes of a request or answer: `value` is a message of the class, a mapping, or what the type takes naturally.
///
/// # Errors
/// `TypeError` or `ValueError` naming the field.
#[allow(dead_code)] // the calls' side of the crate uses it
pub(crate) fn encode_request(
    py: Python<'_>,
    class: &MessageClass,
    value: &Bound<'_, PyAny>,
) -> PyResult<Bytes> {
    let info = class.0.bind(py);
    if let Ok(m) = value.cast::<Message>()
        && m.get().info.as_ptr() == info.as_ptr()
    {
        return encode::to_shared(py, m.get());
    }
    let made = convert::message(py, info, info.get().full_name(), value)?;
    encode::to_shared(py, made.get())
}

/// The message that `bytes` are.
///
/// # Errors
/// `ValueError`: the bytes are no message of the class.
#[allow(dead_code)] // the calls' side of the crate uses it
pub(crate) fn decode_message(
    py: Python<'_>,
    class: &MessageClass,
    bytes: Bytes,
) -> PyResult<Py<PyAny>> {
    let info = class.0.bind(py);
    let message = info.get().ty.decode(bytes).map_err(|e| decode_error(&e))?;
    Ok(Message::create(info, Some(message.into_view()), None)?.into_any().unbind())
}

pub(crate) fn decode_error(e: &DecodeError) -> PyErr {
    PyValueError::new_err(e.to_string())
}

/// A lock that a panic elsewhere does not close.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a value's type, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value
        .get_type()
        .name()
        .map_or_else(|_| "an object".to_owned(), |n| n.to_string_lossy().into_owned())
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Message>()?;
    m.add_class::<MessageList>()?;
    m.add_class::<MessageMap>()?;
    m.add_class::<ClassInfo>()?;
    m.add_class::<FieldDescriptor>()?;
    methods::register(m)?;
    let abc = m.py().import("collections.abc")?;
    abc.getattr("MutableSequence")?.call_method1("register", (m.getattr("MessageList")?,))?;
    abc.getattr("MutableMapping")?.call_method1("register", (m.getattr("MessageMap")?,))?;
    Ok(())
}
