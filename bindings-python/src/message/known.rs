//! Well-known types: the natural Python values they take and give.

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDateTime, PyDelta, PyDeltaAccess, PyDict, PyFloat, PyInt, PyList, PyMapping,
    PyString, PyTimeAccess, PyTuple, PyTzInfo, PyTzInfoAccess,
};
use stubless_codec::{
    Kind, ListRef, Message as Core, MessageMut, MessageRef, MessageType, Value, WellKnown,
};

use super::class::ClassInfo;
use super::convert::{self, value_error};
use super::instance::Message;
use super::type_name;

/// `Struct`s and `ListValue`s inside each other, at most.
const MAX_DEPTH: u32 = 100;
const NANOS: i64 = 1_000_000_000;
/// Days from 0001-01-01 (ordinal 1) to 1970-01-01.
const EPOCH_ORDINAL: i64 = 719_163;

/// What a type takes besides messages and mappings, for messages.
pub(crate) fn natural(known: Option<WellKnown>) -> Option<&'static str> {
    Some(match known? {
        WellKnown::Timestamp => "a datetime",
        WellKnown::Duration => "a timedelta",
        WellKnown::FieldMask => "a list of str",
        WellKnown::Struct => "a dict of plain values",
        WellKnown::ListValue => "a list of plain values",
        WellKnown::Value => "a plain value",
        WellKnown::Any => "any message",
        WellKnown::Wrapper(_) => "a plain value",
        _ => return None,
    })
}

/// Methods that only some types have: their name there, and the one the base class has them under.
pub(crate) fn methods(known: Option<WellKnown>) -> &'static [(&'static str, &'static str)] {
    match known {
        Some(WellKnown::Timestamp) => &[("to_datetime", "_to_datetime")],
        Some(WellKnown::Duration) => &[("to_timedelta", "_to_timedelta")],
        Some(
            WellKnown::Struct
            | WellKnown::Value
            | WellKnown::ListValue
            | WellKnown::FieldMask
            | WellKnown::Wrapper(_),
        ) => &[("to_python", "_to_python")],
        Some(WellKnown::Any) => {
            &[("pack", "_pack"), ("unpack", "_unpack"), ("is_type", "_is_type")]
        }
        _ => &[],
    }
}

/// The core message a natural value stands for; `None` if it is none for this type.
pub(crate) fn from_python(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    value: &Bound<'_, PyAny>,
) -> PyResult<Option<Core>> {
    let ty = &info.get().ty;
    let Some(known) = ty.well_known() else { return Ok(None) };
    let mut core = ty.new_message();
    let done = match known {
        WellKnown::Timestamp => match value.cast::<PyDateTime>() {
            Ok(at) => set_time(&mut core, timestamp(at)?)?,
            Err(_) => false,
        },
        WellKnown::Duration => match value.cast::<PyDelta>() {
            Ok(delta) => set_time(&mut core, duration(delta))?,
            Err(_) => false,
        },
        WellKnown::FieldMask => field_mask(&mut core, value)?,
        WellKnown::Wrapper(_)
            if value.cast::<PyMapping>().is_err() && value.cast::<Message>().is_err() =>
        {
            wrapper(py, info, &mut core, value)?
        }
        WellKnown::Struct
            if value.cast::<PyMapping>().is_ok() && value.cast::<Message>().is_err() =>
        {
            fill_struct(core.as_mut(), value, MAX_DEPTH)?;
            true
        }
        WellKnown::ListValue if is_sequence(value) => {
            fill_list(core.as_mut(), value, MAX_DEPTH)?;
            true
        }
        WellKnown::Value if value.cast::<Message>().is_err() => {
            fill_value(core.as_mut(), value, MAX_DEPTH)?
        }
        WellKnown::Any => match value.cast::<Message>() {
            Ok(m) if m.get().info.get().ty.well_known() != Some(WellKnown::Any) => {
                let (url, bytes) = packed(py, m.get())?;
                core.set_by_name("type_url", &url).map_err(value_error)?;
                core.set_by_name("value", &bytes).map_err(value_error)?;
                true
            }
            _ => false,
        },
        _ => false,
    };
    Ok(done.then_some(core))
}

/// The type URL and bytes of a message as `Any` holds it.
pub(crate) fn packed(py: Python<'_>, m: &Message) -> PyResult<(String, Bytes)> {
    let bytes = super::encode::to_shared(py, m)?;
    Ok((format!("type.googleapis.com/{}", m.info.get().full_name()), bytes))
}

fn is_sequence(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<super::MessageList>()
}

fn set_time(core: &mut Core, (seconds, nanos): (i64, i32)) -> PyResult<bool> {
    core.set_by_name("seconds", seconds).map_err(value_error)?;
    core.set_by_name("nanos", nanos).map_err(value_error)?;
    Ok(true)
}

/// Seconds and nanoseconds since 1970 in UTC. A datetime without a time zone counts as UTC, as in `google.protobuf`.
fn timestamp(at: &Bound<'_, PyDateTime>) -> PyResult<(i64, i32)> {
    let days: i64 = at.call_method0("toordinal")?.extract::<i64>()? - EPOCH_ORDINAL;
    let mut seconds = days * 86_400
        + i64::from(at.get_hour()) * 3600
        + i64::from(at.get_minute()) * 60
        + i64::from(at.get_second());
    let mut nanos = i64::from(at.get_microsecond()) * 1000;
    if at.get_tzinfo().is_some() {
        let offset = at.call_method0("utcoffset")?;
        if let Ok(offset) = offset.cast::<PyDelta>() {
            let (s, n) = duration(offset);
            seconds -= s;
            nanos -= i64::from(n);
        }
    }
    seconds += nanos.div_euclid(NANOS);
    Ok((seconds, nanos.rem_euclid(NANOS) as i32))
}

/// Seconds and nanoseconds of one sign.
fn duration(delta: &Bound<'_, PyDelta>) -> (i64, i32) {
    let mut seconds = i64::from(delta.get_days()) * 86_400 + i64::from(delta.get_seconds());
    let mut nanos = delta.get_microseconds() * 1000;
    if seconds < 0 && nanos > 0 {
        seconds += 1;
        nanos -= NANOS as i32;
    }
    (seconds, nanos)
}

fn seconds_nanos(m: MessageRef<'_>) -> PyResult<(i64, i64)> {
    let number = |name: &str| match m.get_by_name(name).map_err(value_error)? {
        Value::I64(v) => Ok::<i64, PyErr>(v),
        Value::I32(v) => Ok(v.into()),
        _ => Ok(0),
    };
    Ok((number("seconds")?, number("nanos")?))
}

/// `datetime` in UTC, nanoseconds cut to microseconds.
pub(crate) fn to_datetime<'py>(py: Python<'py>, m: MessageRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    let (seconds, nanos) = seconds_nanos(m)?;
    let utc = PyTzInfo::utc(py)?.to_owned();
    let epoch = PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&utc))?;
    let outside = |_: PyErr| {
        PyValueError::new_err(format!(
            "{seconds} seconds since 1970 are outside of what datetime can hold"
        ))
    };
    let since = py.get_type::<PyDelta>().call1((0, seconds, nanos.div_euclid(1000)));
    epoch.add(since.map_err(outside)?).map_err(outside)
}

/// `timedelta`, nanoseconds cut towards zero to microseconds.
pub(crate) fn to_timedelta<'py>(py: Python<'py>, m: MessageRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    let (seconds, nanos) = seconds_nanos(m)?;
    py.get_type::<PyDelta>().call1((0, seconds, nanos / 1000)).map_err(|_| {
        PyValueError::new_err(format!("{seconds} seconds are more than timedelta can hold"))
    })
}

fn field_mask(core: &mut Core, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if !is_sequence(value) {
        return Ok(false);
    }
    let Some(paths) = core.message_type().field_by_number(1) else { return Ok(false) };
    let mut list = core.list_mut(&paths).map_err(value_error)?;
    for path in value.try_iter()? {
        let path = path?;
        let Ok(path) = path.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!(
                "google.protobuf.FieldMask.paths: expected a str, got {}",
                type_name(&path)
            )));
        };
        list.push(path.to_str()?).map_err(value_error)?;
    }
    Ok(true)
}

fn wrapper(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    core: &mut Core,
    value: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let Some(spec) = info.get().fields.first() else { return Ok(false) };
    let elem = &spec.elem;
    let stored = match elem.is_text() {
        true => convert::single(py, info, elem, value)?,
        false => convert::Stored::Bits(convert::number(elem, value)?),
    };
    match stored {
        convert::Stored::Obj(obj) => match obj.bind(py).cast::<PyString>() {
            Ok(text) => core.set(&spec.field, text.to_str()?),
            Err(_) => core.set(&spec.field, obj.bind(py).cast::<PyBytes>()?.as_bytes()),
        },
        convert::Stored::Bits(bits) => core.set(
            &spec.field,
            match elem.kind {
                Kind::Bool => Value::Bool(bits != 0),
                Kind::Int32 => Value::I32(bits as i32),
                Kind::UInt32 => Value::U32(bits as u32),
                Kind::UInt64 => Value::U64(bits),
                Kind::Float => Value::F32(f32::from_bits(bits as u32)),
                Kind::Double => Value::F64(f64::from_bits(bits)),
                _ => Value::I64(bits as i64),
            },
        ),
    }
    .map_err(value_error)?;
    Ok(true)
}

fn deeper(depth: u32) -> PyResult<u32> {
    depth.checked_sub(1).ok_or_else(|| {
        PyValueError::new_err(format!(
            "google.protobuf.Value: nested deeper than {MAX_DEPTH} levels, or in itself"
        ))
    })
}

fn own_field(m: &MessageMut<'_>, number: u32) -> PyResult<stubless_codec::Field> {
    let ty: MessageType = m.as_ref().message_type();
    ty.field_by_number(number)
        .ok_or_else(|| PyTypeError::new_err(format!("{} lacks field {number}", ty.full_name())))
}

fn fill_struct(mut m: MessageMut<'_>, from: &Bound<'_, PyAny>, depth: u32) -> PyResult<()> {
    let depth = deeper(depth)?;
    let fields = own_field(&m, 1)?;
    let mut map = m.map_mut(&fields).map_err(value_error)?;
    let items = match from.cast::<PyDict>() {
        Ok(dict) => dict.items(),
        Err(_) => from.cast::<PyMapping>()?.items()?,
    };
    for pair in items {
        let (key, value) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let Ok(key) = key.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!(
                "google.protobuf.Struct: a key is a str, not {}",
                type_name(&key)
            )));
        };
        let into = map.insert_message(key.to_str()?).map_err(value_error)?;
        plain(into, &value, depth)?;
    }
    Ok(())
}

fn fill_list(mut m: MessageMut<'_>, from: &Bound<'_, PyAny>, depth: u32) -> PyResult<()> {
    let depth = deeper(depth)?;
    let values = own_field(&m, 1)?;
    let mut list = m.list_mut(&values).map_err(value_error)?;
    for value in from.try_iter()? {
        let into = list.push_message().map_err(value_error)?;
        plain(into, &value?, depth)?;
    }
    Ok(())
}

/// A value inside a `Struct` or `ListValue`: a message of type `Value` does as well.
fn plain(mut m: MessageMut<'_>, value: &Bound<'_, PyAny>, depth: u32) -> PyResult<()> {
    if let Ok(given) = value.cast::<Message>() {
        let view = super::encode::snapshot_or_empty(value.py(), given.get())?;
        return m.merge_from(view.as_ref()).map_err(value_error);
    }
    match fill_value(m, value, depth)? {
        true => Ok(()),
        false => Err(PyTypeError::new_err(format!(
            "google.protobuf.Value: expected None, bool, int, float, str, list or dict, got {}",
            type_name(value)
        ))),
    }
}

fn fill_value(mut m: MessageMut<'_>, value: &Bound<'_, PyAny>, depth: u32) -> PyResult<bool> {
    let number = |n: u32| own_field(&m, n);
    if value.is_none() {
        let field = number(1)?;
        m.set(&field, Value::Enum(0)).map_err(value_error)?;
    } else if let Ok(b) = value.cast::<PyBool>() {
        let field = number(4)?;
        m.set(&field, b.is_true()).map_err(value_error)?;
    } else if value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() {
        let field = number(2)?;
        let wide: f64 = value.extract().map_err(|_| {
            PyValueError::new_err("google.protobuf.Value: the int is too large for a double")
        })?;
        m.set(&field, wide).map_err(value_error)?;
    } else if let Ok(text) = value.cast::<PyString>() {
        let field = number(3)?;
        m.set(&field, text.to_str()?).map_err(value_error)?;
    } else if is_sequence(value) {
        let field = number(6)?;
        fill_list(m.mutable(&field).map_err(value_error)?, value, depth)?;
    } else if value.cast::<PyMapping>().is_ok() {
        let field = number(5)?;
        fill_struct(m.mutable(&field).map_err(value_error)?, value, depth)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Whether the type reads as a plain value by `to_python`.
pub(crate) fn is_plain(known: Option<WellKnown>) -> bool {
    matches!(
        known,
        Some(WellKnown::Struct | WellKnown::Value | WellKnown::ListValue | WellKnown::Wrapper(_))
    )
}

/// The plain value of a wrapper, `Struct`, `Value`, `ListValue` or `FieldMask`.
pub(crate) fn to_python<'py>(py: Python<'py>, m: MessageRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    let ty = m.message_type();
    let first = || {
        ty.field_by_number(1)
            .ok_or_else(|| PyTypeError::new_err("a well-known type without fields"))
    };
    match ty.well_known() {
        Some(WellKnown::Wrapper(_)) => scalar(py, m.try_get(&first()?).map_err(value_error)?),
        Some(WellKnown::FieldMask) => {
            let paths = PyList::empty(py);
            for path in m.list(&first()?).map_err(value_error)?.iter() {
                paths.append(scalar(py, path)?)?;
            }
            Ok(paths.into_any())
        }
        Some(WellKnown::Struct) => {
            let dict = PyDict::new(py);
            for (key, value) in m.map(&first()?).map_err(value_error)?.iter() {
                if let Value::Message(value) = value {
                    dict.set_item(scalar(py, key)?, to_python(py, value)?)?;
                }
            }
            Ok(dict.into_any())
        }
        Some(WellKnown::ListValue) => list_value(py, m.list(&first()?).map_err(value_error)?),
        Some(WellKnown::Value) => {
            let Some((_, value)) = m.fields().next() else { return Ok(py.None().into_bound(py)) };
            match value {
                Value::Enum(_) => Ok(py.None().into_bound(py)),
                Value::Message(m) => to_python(py, m),
                value => scalar(py, value),
            }
        }
        _ => Err(PyTypeError::new_err(format!("{} has no plain value", ty.full_name()))),
    }
}

fn list_value<'py>(py: Python<'py>, values: ListRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::empty(py);
    for value in values.iter() {
        if let Value::Message(value) = value {
            list.append(to_python(py, value)?)?;
        }
    }
    Ok(list.into_any())
}

fn scalar<'py>(py: Python<'py>, value: Value<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Bool(v) => PyBool::new(py, v).to_owned().into_any(),
        Value::I32(v) | Value::Enum(v) => v.into_pyobject(py)?.into_any(),
        Value::I64(v) => v.into_pyobject(py)?.into_any(),
        Value::U32(v) => v.into_pyobject(py)?.into_any(),
        Value::U64(v) => v.into_pyobject(py)?.into_any(),
        Value::F32(v) => PyFloat::new(py, v.into()).into_any(),
        Value::F64(v) => PyFloat::new(py, v).into_any(),
        Value::Str(v) => PyString::new(py, v).into_any(),
        Value::Bytes(v) => PyBytes::new(py, v).into_any(),
        Value::Message(_) | Value::List(_) | Value::Map(_) => py.None().into_bound(py),
    })
}
