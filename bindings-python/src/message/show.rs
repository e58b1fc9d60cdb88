//! Messages as plain Python values and as text for people: `to_dict` and `repr`, both read from a core message.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use stubless_codec::{Field, MessageRef, Value};

use super::class::{ClassInfo, Elem, FieldSpec};
use super::{convert, known};

/// A message as a dict of its set fields, by proto names; extensions as `[pkg.name]`. Enums are names, types with a
/// plain value (`Struct`, wrappers) are that value. `Msg.from_dict` takes it back.
pub(crate) fn to_dict<'py>(
    py: Python<'py>,
    info: &Bound<'py, ClassInfo>,
    m: MessageRef<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    if known::is_plain(info.get().ty.well_known()) {
        return known::to_python(py, m);
    }
    let dict = PyDict::new(py);
    for (field, value) in m.fields() {
        let spec = spec_of(py, info, &field);
        let shown = plain(py, info, &spec, value)?;
        dict.set_item(&spec.name, shown)?;
    }
    Ok(dict.into_any())
}

fn spec_of(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    field: &Field,
) -> std::sync::Arc<FieldSpec> {
    match info.get().fields.get(field.index()) {
        Some(spec) if !field.is_extension() => spec.clone(),
        _ => info.get().extension(py, field.clone()),
    }
}

fn plain<'py>(
    py: Python<'py>,
    info: &Bound<'py, ClassInfo>,
    spec: &FieldSpec,
    value: Value<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::List(list) => {
            let all = PyList::empty(py);
            for value in list.iter() {
                all.append(one(py, info, &spec.elem, value)?)?;
            }
            Ok(all.into_any())
        }
        Value::Map(map) => {
            let all = PyDict::new(py);
            for (key, value) in map.iter() {
                let Some(elem) = &spec.key else { continue };
                all.set_item(
                    convert::from_core(py, elem, key)?,
                    one(py, info, &spec.elem, value)?,
                )?;
            }
            Ok(all.into_any())
        }
        value => one(py, info, &spec.elem, value),
    }
}

fn one<'py>(
    py: Python<'py>,
    info: &Bound<'py, ClassInfo>,
    elem: &Elem,
    value: Value<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Message(m) => to_dict(py, info.get().child(py, elem)?.bind(py), m),
        value => Ok(convert::from_core(py, elem, value)?.into_bound(py)),
    }
}

/// `demo.v1.Msg(text='hi', n=3)`: what is set, by proto names.
pub(crate) fn repr(py: Python<'_>, m: MessageRef<'_>, out: &mut String) -> PyResult<()> {
    out.push_str(m.full_name());
    out.push('(');
    let mut first = true;
    for (field, value) in m.fields() {
        if !std::mem::take(&mut first) {
            out.push_str(", ");
        }
        match field.is_extension() {
            true => _ = std::fmt::Write::write_fmt(out, format_args!("[{}]", field.full_name())),
            false => out.push_str(field.name()),
        }
        out.push('=');
        let of = field.map_value();
        shown(py, of.as_ref().unwrap_or(&field), value, out)?;
    }
    let unknown: usize = m.unknown().map(<[u8]>::len).sum();
    if unknown > 0 {
        let comma = if first { "" } else { ", " };
        let _ = std::fmt::Write::write_fmt(out, format_args!("{comma}<{unknown} unknown bytes>"));
    }
    out.push(')');
    Ok(())
}

fn shown(py: Python<'_>, field: &Field, value: Value<'_>, out: &mut String) -> PyResult<()> {
    use std::fmt::Write as _;
    match value {
        Value::Message(m) => return repr(py, m, out),
        Value::List(list) => {
            out.push('[');
            for (i, value) in list.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                shown(py, field, value, out)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                shown(py, field, key, out)?;
                out.push_str(": ");
                shown(py, field, value, out)?;
            }
            out.push('}');
        }
        Value::Str(text) => out.push_str(&PyString::new(py, text).repr()?.to_string_lossy()),
        Value::Bytes(bytes) => {
            out.push_str(&pyo3::types::PyBytes::new(py, bytes).repr()?.to_string_lossy())
        }
        Value::Enum(number) => match field.enum_type().as_ref().and_then(|e| e.name_of(number)) {
            Some(name) => _ = write!(out, "'{name}'"),
            None => _ = write!(out, "{number}"),
        },
        Value::Bool(v) => out.push_str(if v { "True" } else { "False" }),
        Value::I32(v) => _ = write!(out, "{v}"),
        Value::I64(v) => _ = write!(out, "{v}"),
        Value::U32(v) => _ = write!(out, "{v}"),
        Value::U64(v) => _ = write!(out, "{v}"),
        Value::F32(v) => {
            out.push_str(&pyo3::types::PyFloat::new(py, v.into()).repr()?.to_string_lossy())
        }
        Value::F64(v) => out.push_str(&pyo3::types::PyFloat::new(py, v).repr()?.to_string_lossy()),
    }
    Ok(())
}
