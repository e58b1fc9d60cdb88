//! Python values to field values and back, one at a time. A wrong type or a number out of range is refused here, with
//! the field's name and what it takes, before anything changes.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyMapping, PyMemoryView, PyString,
};
use stubless_codec::{Kind, Message as Core, Value, ValueError};

use super::class::{ClassInfo, Elem, FieldSpec, Shape};
use super::instance::Message;
use super::list::MessageList;
use super::map::MessageMap;
use super::{known, type_name};

/// A value as a slot, list or map keeps it.
pub(crate) enum Stored {
    /// A number, bool or enum, as the core has it.
    Bits(u64),
    /// A text, message or container.
    Obj(Py<PyAny>),
}

pub(crate) fn value_error(e: ValueError) -> PyErr {
    PyValueError::new_err(e.to_string())
}

/// What a field's values are called in messages.
pub(crate) fn expected(elem: &Elem) -> String {
    match elem.kind {
        Kind::Bool => "a bool".into(),
        Kind::String => "a str".into(),
        Kind::Bytes => "bytes".into(),
        Kind::Float | Kind::Double => "a float or int".into(),
        Kind::Enum => match &elem.enums {
            Some(e) => format!("a name or number of {}", e.ty.full_name()),
            None => "an enum's name or number".into(),
        },
        Kind::Message | Kind::Group => {
            let name =
                elem.field.message_type().map_or_else(String::new, |m| m.full_name().to_owned());
            match known::natural(elem.known) {
                Some(natural) => format!("a {name}, {natural} or a mapping"),
                None => format!("a {name} or a mapping"),
            }
        }
        kind => format!("an int ({})", integer_name(kind)),
    }
}

fn integer_name(kind: Kind) -> String {
    format!("{kind:?}").to_ascii_lowercase()
}

#[cold]
pub(crate) fn wrong_type(elem: &Elem, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "{}: expected {}, got {}",
        elem.label,
        expected(elem),
        type_name(value)
    ))
}

#[cold]
fn out_of_range(elem: &Elem, value: &Bound<'_, PyAny>) -> PyErr {
    let shown =
        value.str().map_or_else(|_| "the number".to_owned(), |s| s.to_string_lossy().into_owned());
    let (low, high) = match elem.kind {
        Kind::Int32 | Kind::SInt32 | Kind::SFixed32 | Kind::Enum => {
            (i32::MIN.to_string(), i32::MAX.to_string())
        }
        Kind::UInt32 | Kind::Fixed32 => ("0".into(), u32::MAX.to_string()),
        Kind::UInt64 | Kind::Fixed64 => ("0".into(), u64::MAX.to_string()),
        Kind::Float => (format!("{:e}", f32::MIN), format!("{:e}", f32::MAX)),
        Kind::Double => (format!("{:e}", f64::MIN), format!("{:e}", f64::MAX)),
        _ => (i64::MIN.to_string(), i64::MAX.to_string()),
    };
    PyValueError::new_err(format!(
        "{}: {shown} is out of range for {} ({low} to {high})",
        elem.label,
        integer_name(elem.kind)
    ))
}

/// Whether a value may stand for an integer: an int that is no bool, or what has `__index__`.
#[inline]
fn is_integer(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyInt>()
        || (!value.is_instance_of::<PyBool>()
            && (value.is_instance_of::<PyInt>()
                || value.hasattr(pyo3::intern!(value.py(), "__index__")).unwrap_or(false)))
}

/// A value of a field that holds no messages, or a message.
#[inline]
pub(crate) fn single(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    elem: &Elem,
    value: &Bound<'_, PyAny>,
) -> PyResult<Stored> {
    match elem.kind {
        Kind::String => text(elem, value),
        Kind::Bytes => bytes(py, elem, value),
        Kind::Message | Kind::Group => {
            let child = info.get().child(py, elem)?;
            let made = message(py, child.bind(py), &elem.label, value)
                .map_err(|e| described(py, elem, value, e))?;
            Ok(Stored::Obj(made.into_any().unbind()))
        }
        _ => number(elem, value).map(Stored::Bits),
    }
}

/// A message field given something that is no message at all: says what the field takes.
fn described(py: Python<'_>, elem: &Elem, value: &Bound<'_, PyAny>, e: PyErr) -> PyErr {
    match e.is_instance_of::<Refused>(py) {
        true => wrong_type(elem, value),
        false => e,
    }
}

pyo3::create_exception!(stubless, Refused, PyTypeError, "A value that is no message of the type.");

fn text(elem: &Elem, value: &Bound<'_, PyAny>) -> PyResult<Stored> {
    if let Ok(s) = value.cast::<PyString>() {
        let Ok(utf8) = s.to_str() else {
            return Err(PyValueError::new_err(format!(
                "{}: the str has surrogates and cannot be UTF-8",
                elem.label
            )));
        };
        return Ok(Stored::Obj(match s.is_exact_instance_of::<PyString>() {
            true => s.clone().into_any().unbind(),
            false => PyString::new(value.py(), utf8).into_any().unbind(),
        }));
    }
    match value.cast::<PyBytes>() {
        // what a proto2 string that is not UTF-8 reads as
        Ok(raw) if !elem.utf8 && std::str::from_utf8(raw.as_bytes()).is_err() => {
            Ok(Stored::Obj(raw.clone().into_any().unbind()))
        }
        _ => Err(wrong_type(elem, value)),
    }
}

fn bytes(py: Python<'_>, elem: &Elem, value: &Bound<'_, PyAny>) -> PyResult<Stored> {
    if value.is_exact_instance_of::<PyBytes>() {
        return Ok(Stored::Obj(value.clone().unbind()));
    }
    if value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
    {
        return Ok(Stored::Obj(py.get_type::<PyBytes>().call1((value,))?.unbind()));
    }
    Err(wrong_type(elem, value))
}

/// A number, bool or enum as the core has it.
pub(crate) fn number(elem: &Elem, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let range = |_: PyErr| out_of_range(elem, value);
    match elem.kind {
        Kind::Bool => match value.cast::<PyBool>() {
            Ok(b) => Ok(b.is_true().into()),
            Err(_) => Err(wrong_type(elem, value)),
        },
        Kind::Double | Kind::Float => float(elem, value),
        Kind::Enum => enum_number(elem, value),
        _ if !is_integer(value) => Err(wrong_type(elem, value)),
        Kind::Int32 | Kind::SInt32 | Kind::SFixed32 => {
            value.extract::<i32>().map(|v| u64::from(v as u32)).map_err(range)
        }
        Kind::UInt32 | Kind::Fixed32 => value.extract::<u32>().map(u64::from).map_err(range),
        Kind::UInt64 | Kind::Fixed64 => value.extract::<u64>().map_err(range),
        _ => value.extract::<i64>().map(|v| v as u64).map_err(range),
    }
}

fn float(elem: &Elem, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let wide = match value.cast::<PyFloat>() {
        Ok(f) => f.value(),
        Err(_)
            if is_integer(value)
                || value.hasattr(pyo3::intern!(value.py(), "__float__"))?
                    && !value.is_instance_of::<PyBool>()
                    && !value.is_instance_of::<PyString>() =>
        {
            value.extract::<f64>().map_err(|_| out_of_range(elem, value))?
        }
        Err(_) => return Err(wrong_type(elem, value)),
    };
    if elem.kind == Kind::Double {
        return Ok(wide.to_bits());
    }
    let narrow = wide as f32;
    match wide.is_finite() && narrow.is_infinite() {
        true => Err(out_of_range(elem, value)),
        false => Ok(narrow.to_bits().into()),
    }
}

fn enum_number(elem: &Elem, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let Some(names) = &elem.enums else { return Err(wrong_type(elem, value)) };
    let no_such = |shown: String| {
        let all: Vec<&str> = names.ty.values().map(|v| v.0).take(20).collect();
        PyValueError::new_err(format!(
            "{}: {shown} is no value of {}; its values are {}",
            elem.label,
            names.ty.full_name(),
            all.join(", ")
        ))
    };
    if let Ok(name) = value.cast::<PyString>() {
        let name = name.to_string_lossy();
        return match names.ty.number_of(&name) {
            Some(number) => Ok(u64::from(number as u32)),
            None => Err(no_such(format!("{name:?}"))),
        };
    }
    if !is_integer(value) {
        return Err(wrong_type(elem, value));
    }
    let number = value.extract::<i32>().map_err(|_| out_of_range(elem, value))?;
    if elem.field.is_closed_enum() && names.name(number).is_none() {
        return Err(no_such(number.to_string()));
    }
    Ok(u64::from(number as u32))
}

/// A message of the class, from one (taken as it is), a mapping, or what the type takes naturally.
///
/// # Errors
/// [`Refused`] if `value` is none of these.
pub(crate) fn message<'py>(
    py: Python<'py>,
    info: &Bound<'py, ClassInfo>,
    label: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, Message>> {
    if value.is_exact_instance_of::<PyDict>() && info.get().ty.well_known().is_none() {
        return Message::from_mapping(py, info, value);
    }
    if let Ok(m) = value.cast::<Message>()
        && m.get().info.as_ptr() == info.as_ptr()
    {
        if m.get().lock(py).parent.is_none() {
            return Ok(m.clone());
        }
        // it belongs to another message and would join that one when written to
        return Message::create(info, None, None);
    }
    if let Some(made) = whole(py, info, value)? {
        return Ok(made);
    }
    if value.is_instance_of::<PyDict>() || value.is_instance_of::<PyMapping>() {
        return Message::from_mapping(py, info, value);
    }
    Err(Refused::new_err(format!(
        "{label}: expected a {} or a mapping of its fields, got {}",
        info.get().full_name(),
        type_name(value)
    )))
}

/// A message from a value that stands for all of it: the same type of another schema or another library, or what a
/// well-known type takes. `None`: not such a value.
pub(crate) fn whole<'py>(
    py: Python<'py>,
    info: &Bound<'py, ClassInfo>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, Message>>> {
    if let Ok(m) = value.cast::<Message>() {
        let theirs = m.get();
        if theirs.info.get().full_name() == info.get().full_name() {
            let core = match theirs.info.as_ptr() == info.as_ptr() {
                true => {
                    return Message::create(info, super::encode::snapshot(py, theirs)?, None)
                        .map(Some);
                }
                false => super::encode::to_shared(py, theirs)?,
            };
            let message = info.get().ty.decode(core).map_err(|e| super::decode_error(&e))?;
            return Message::create(info, Some(message.into_view()), None).map(Some);
        }
    }
    if let Some(core) = known::from_python(py, info, value)? {
        return Message::create(info, Some(core.into_view()), None).map(Some);
    }
    if let Some(bytes) = foreign(value, info.get().full_name())? {
        let message =
            Core::decode_slice(&info.get().ty, &bytes).map_err(|e| super::decode_error(&e))?;
        return Message::create(info, Some(message.into_view()), None).map(Some);
    }
    Ok(None)
}

/// The bytes of a `google.protobuf` message of this type.
fn foreign(value: &Bound<'_, PyAny>, full_name: &str) -> PyResult<Option<Vec<u8>>> {
    let py = value.py();
    if value.is_exact_instance_of::<PyDict>() || value.is_exact_instance_of::<PyString>() {
        return Ok(None);
    }
    let Ok(descriptor) = value.getattr(pyo3::intern!(py, "DESCRIPTOR")) else { return Ok(None) };
    let Ok(serialize) = value.getattr(pyo3::intern!(py, "SerializeToString")) else {
        return Ok(None);
    };
    match descriptor.getattr(pyo3::intern!(py, "full_name"))?.extract::<String>()? == full_name {
        true => Ok(Some(serialize.call0()?.extract()?)),
        false => Ok(None),
    }
}

/// A value for a field of any shape.
#[inline]
pub(crate) fn field(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    spec: &std::sync::Arc<FieldSpec>,
    value: &Bound<'_, PyAny>,
) -> PyResult<Stored> {
    match spec.shape {
        Shape::Single => single(py, info, &spec.elem, value),
        Shape::List => {
            Ok(Stored::Obj(MessageList::from_python(info, spec, value)?.into_any().unbind()))
        }
        Shape::Map => {
            Ok(Stored::Obj(MessageMap::from_python(info, spec, value)?.into_any().unbind()))
        }
    }
}

/// A number, bool or enum for Python.
#[inline]
pub(crate) fn from_bits(py: Python<'_>, elem: &Elem, bits: u64) -> PyResult<Py<PyAny>> {
    Ok(match elem.kind {
        Kind::Bool => PyBool::new(py, bits != 0).to_owned().into_any().unbind(),
        Kind::Int32 | Kind::SInt32 | Kind::SFixed32 => {
            (bits as i32).into_pyobject(py)?.into_any().unbind()
        }
        Kind::UInt32 | Kind::Fixed32 => (bits as u32).into_pyobject(py)?.into_any().unbind(),
        Kind::UInt64 | Kind::Fixed64 => bits.into_pyobject(py)?.into_any().unbind(),
        Kind::Double => PyFloat::new(py, f64::from_bits(bits)).into_any().unbind(),
        Kind::Float => PyFloat::new(py, f64::from(f32::from_bits(bits as u32))).into_any().unbind(),
        Kind::Enum => match elem.enums.as_ref().and_then(|e| e.name(bits as i32)) {
            Some(name) => name.clone_ref(py).into_any(),
            None => (bits as i32).into_pyobject(py)?.into_any().unbind(),
        },
        _ => (bits as i64).into_pyobject(py)?.into_any().unbind(),
    })
}

/// A scalar of the core for Python. Messages, lists and maps are not made here.
#[inline]
pub(crate) fn from_core(py: Python<'_>, elem: &Elem, value: Value<'_>) -> PyResult<Py<PyAny>> {
    Ok(match value {
        Value::Str(v) => PyString::new(py, v).into_any().unbind(),
        Value::Bytes(v) => PyBytes::new(py, v).into_any().unbind(),
        Value::I32(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::I64(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::U32(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::U64(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::Bool(v) => PyBool::new(py, v).to_owned().into_any().unbind(),
        Value::F32(v) => PyFloat::new(py, v.into()).into_any().unbind(),
        Value::F64(v) => PyFloat::new(py, v).into_any().unbind(),
        Value::Enum(v) => from_bits(py, elem, u64::from(v as u32))?,
        _ => return Err(wrong_type(elem, py.None().bind(py))),
    })
}

/// What an unset field that is no container reads as.
pub(crate) fn default(py: Python<'_>, spec: &FieldSpec) -> PyResult<Py<PyAny>> {
    from_core(py, &spec.elem, spec.elem.field.default())
}

/// The bits of a core number.
pub(crate) fn core_bits(value: Value<'_>) -> u64 {
    match value {
        Value::Bool(v) => v.into(),
        Value::I32(v) | Value::Enum(v) => u64::from(v as u32),
        Value::I64(v) => v as u64,
        Value::U32(v) => v.into(),
        Value::U64(v) => v,
        Value::F32(v) => v.to_bits().into(),
        Value::F64(v) => v.to_bits(),
        _ => 0,
    }
}
