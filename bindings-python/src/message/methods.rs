//! What Python can ask of a message: the methods of the class `Message`, and the module's functions of the same names
//! for messages whose fields hide a method.

use std::sync::Arc;

use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use stubless_codec::Message as Core;
use stubless_codec::json::{JsonParseOptions, JsonPrintOptions};

use super::class::{ClassInfo, FieldSpec, Shape};
use super::instance::{Message, Rare, Slot, attach};
use super::list::MessageList;
use super::map::MessageMap;
use super::{convert, encode, known, show, type_name};
use crate::schema::Schema;

/// Inputs longer than this are kept as they are and not copied into the message.
const SHARE_ABOVE: usize = 64 << 10;

fn info_of<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, ClassInfo>> {
    match class.getattr(pyo3::intern!(class.py(), "[class]")) {
        Ok(info) => Ok(info.cast_into::<ClassInfo>()?),
        Err(_) => Err(PyTypeError::new_err(
            "a message class comes from a schema: schema.message(\"pkg.Name\")",
        )),
    }
}

/// What `pickle` keeps of a message: the function that makes it again, and its arguments.
type Pickled<'py> = (Bound<'py, PyAny>, (Py<Schema>, String, Bound<'py, PyBytes>));

/// The message some bytes are.
pub(crate) fn parse<'py>(
    info: &Bound<'py, ClassInfo>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, Message>> {
    let ty = &info.get().ty;
    let core = match data.cast::<PyBytes>() {
        Ok(bytes) if bytes.as_bytes().len() <= SHARE_ABOVE => {
            Core::decode_slice(ty, bytes.as_bytes())
        }
        Ok(bytes) => ty.decode(bytes::Bytes::from_owner(PyBackedBytes::from(bytes.clone()))),
        Err(_) => {
            if data.is_instance_of::<PyString>() {
                return Err(PyTypeError::new_err(format!(
                    "{}.from_bytes takes bytes, not str",
                    ty.full_name()
                )));
            }
            let copy = data
                .py()
                .get_type::<pyo3::types::PyByteArray>()
                .call1((pyo3::types::PyMemoryView::from(data)?,))?;
            ty.decode(copy.extract::<Vec<u8>>()?)
        }
    };
    let core = core.map_err(|e| super::decode_error(&e))?;
    Message::create(info, Some(core.into_view()), None)
}

impl Message {
    fn spec(&self, name: &Bound<'_, PyAny>) -> PyResult<Arc<FieldSpec>> {
        let info = self.info.get();
        info.find(name.py(), name)?.ok_or_else(|| PyValueError::new_err(info.no_such_field(name)))
    }

    fn key(&self, name: &Bound<'_, PyAny>) -> PyResult<Arc<FieldSpec>> {
        let info = self.info.get();
        info.find(name.py(), name)?.ok_or_else(|| PyKeyError::new_err(info.no_such_field(name)))
    }

    fn copied<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Message>> {
        Message::create(self.info.bind(py), encode::snapshot(py, self)?, None)
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = encode::snapshot_or_empty(py, self)?;
        show::to_dict(py, self.info.bind(py), view.as_ref())
    }

    fn json(&self, py: Python<'_>, options: &JsonPrintOptions) -> PyResult<String> {
        let view = encode::snapshot_or_empty(py, self)?;
        view.as_ref().to_json_with(options).map_err(|e| PyValueError::new_err(e.to_string()))
    }

    /// The name of the member of a oneof that is set.
    fn oneof(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyString>>> {
        let info = self.info.get();
        let Some(oneof) = info.oneofs.iter().find(|o| o.name == name) else {
            let names: Vec<&str> = info.oneofs.iter().map(|o| &*o.name).collect();
            let has = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("its oneofs are {}", names.join(", "))
            };
            return Err(PyValueError::new_err(format!(
                "{} has no oneof {name:?}; {has}",
                info.full_name()
            )));
        };
        let set = oneof
            .members
            .iter()
            .filter_map(|&i| info.fields.get(i))
            .find(|spec| self.is_set(py, spec));
        Ok(set.map(|spec| spec.name.clone_ref(py)))
    }

    /// Whether both are of one type and hold the same.
    fn equals(&self, py: Python<'_>, other: &Message) -> PyResult<bool> {
        let (mine, theirs) = (self.info.get(), other.info.get());
        if std::ptr::eq(self, other) {
            return Ok(true);
        }
        if mine.full_name() != theirs.full_name() {
            return Ok(false);
        }
        let a = encode::snapshot_or_empty(py, self)?;
        let b = match self.info.as_ptr() == other.info.as_ptr() {
            true => encode::snapshot_or_empty(py, other)?,
            // the same type of another schema
            false => {
                let bytes = encode::to_bytes_partial(py, other)?;
                match Core::decode_slice(&mine.ty, bytes.as_bytes()) {
                    Ok(core) => core.into_view(),
                    Err(_) => return Ok(false),
                }
            }
        };
        Ok(a.as_ref() == b.as_ref())
    }
}

/// Protobuf's merge: what is set in `from` replaces, nested messages merge, lists append, map entries replace.
fn merge_into(into: &Bound<'_, Message>, from: &Bound<'_, Message>) -> PyResult<()> {
    let (py, m, other) = (into.py(), into.get(), from.get());
    let info = m.info.get();
    attach(py, into);
    let mut specs: Vec<Arc<FieldSpec>> = info.fields.clone();
    if let Some(core) = other.core() {
        specs.extend(core.fields().filter(|f| f.0.is_extension()).map(|f| info.extension(py, f.0)));
    }
    for (spec, _) in other.lock(py).extensions() {
        if !specs.iter().any(|s| s.field == spec.field) {
            specs.push(spec.clone());
        }
    }
    for spec in specs.iter().filter(|s| other.is_set(py, s)) {
        let value = other.get(py, from, spec)?.into_bound(py);
        match spec.shape {
            Shape::Single if spec.elem.is_message() => {
                let child = m.get(py, into, spec)?.into_bound(py).cast_into::<Message>()?;
                merge_into(&child, &value.cast_into::<Message>()?)?;
            }
            Shape::Single => m.set(py, into, spec, &value)?,
            Shape::List => {
                let list = m.get(py, into, spec)?.into_bound(py);
                let copies = pyo3::types::PyList::empty(py);
                for item in value.try_iter()? {
                    copies.append(own_copy(item?)?)?;
                }
                list.cast_exact::<MessageList>()?.call_method1("extend", (copies,))?;
            }
            Shape::Map => {
                let map = m.get(py, into, spec)?.into_bound(py);
                let copies = PyDict::new(py);
                for pair in value.call_method0("items")?.try_iter()? {
                    let (k, v) = pair?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
                    copies.set_item(k, own_copy(v)?)?;
                }
                map.cast_exact::<MessageMap>()?.call_method1("update", (copies,))?;
            }
        }
    }
    let mut unknown: Vec<u8> =
        other.core().map_or(Vec::new(), |core| core.unknown().flatten().copied().collect());
    if let Some(rare) = &other.lock(py).rare {
        unknown.extend_from_slice(&rare.unknown);
    }
    let mut state = m.lock(py);
    state.touched = true;
    if !unknown.is_empty() {
        state.rare.get_or_insert_default().unknown.extend_from_slice(&unknown);
    }
    Ok(())
}

fn own_copy(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    match value.cast::<Message>() {
        Ok(m) => Ok(m.get().copied(value.py())?.into_any()),
        Err(_) => Ok(value),
    }
}

fn merge_any(into: &Bound<'_, Message>, other: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = into.py();
    let info = into.get().info.bind(py);
    if other.is(into) {
        return merge_into(into, &into.get().copied(py)?);
    }
    merge_into(into, &convert::message(py, info, info.get().full_name(), other)?)
}

fn print_options(indent: Option<u8>, preserve_proto_names: bool) -> JsonPrintOptions {
    let options = JsonPrintOptions::new().preserve_proto_names(preserve_proto_names);
    indent.map_or(options, |spaces| options.indent(spaces))
}

#[pymethods]
impl Message {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs))]
    fn __new__(
        class: &Bound<'_, PyType>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Message> {
        Message::construct(class, args, kwargs)
    }

    fn __getitem__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        slf.get().get(slf.py(), slf, &slf.get().key(name)?)
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        slf.get().set(slf.py(), slf, &slf.get().key(name)?, value)
    }

    fn __delitem__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.get().unset(slf.py(), slf, &slf.get().key(name)?);
        Ok(())
    }

    fn __contains__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.info.get().find(py, name)?.is_some_and(|spec| self.is_set(py, &spec)))
    }

    /// Whether a field is set; for a field without presence, whether it is not zero or empty.
    fn has(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.is_set(py, &*self.spec(name)?))
    }

    /// Unsets a field; without a name, all of them.
    #[pyo3(signature = (name=None))]
    fn clear(slf: &Bound<'_, Self>, name: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        clear(slf, name)
    }

    /// The name of the member of a oneof that is set, or None.
    fn which_oneof(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyString>>> {
        self.oneof(py, name)
    }

    /// The encoded form. ValueError: a required field is not set.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        encode::to_bytes(py, self)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        encode::to_bytes(py, self)
    }

    /// A message from its encoded form (bytes or a buffer). ValueError: not an encoding of this type.
    #[classmethod]
    fn from_bytes<'py>(
        class: &Bound<'py, PyType>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Message>> {
        parse(&info_of(class)?, data)
    }

    /// The set fields as a dict, by proto names; nested messages as dicts, enums as names.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)
    }

    /// A message from a mapping of field names to values, as the constructor takes it.
    #[classmethod]
    fn from_dict<'py>(
        class: &Bound<'py, PyType>,
        values: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Message>> {
        let info = info_of(class)?;
        convert::message(class.py(), &info, info.get().full_name(), values)
    }

    /// The message as JSON (the protobuf mapping): on one line, or indented by so many spaces a level.
    #[pyo3(signature = (*, indent=None, preserve_proto_names=false))]
    fn to_json(
        &self,
        py: Python<'_>,
        indent: Option<u8>,
        preserve_proto_names: bool,
    ) -> PyResult<String> {
        self.json(py, &print_options(indent, preserve_proto_names))
    }

    /// A message from JSON text. ValueError: not JSON of this type, with the place.
    #[classmethod]
    #[pyo3(signature = (text, *, ignore_unknown_fields=false))]
    fn from_json<'py>(
        class: &Bound<'py, PyType>,
        text: &Bound<'py, PyAny>,
        ignore_unknown_fields: bool,
    ) -> PyResult<Bound<'py, Message>> {
        let info = info_of(class)?;
        let utf8 = match text.cast::<PyString>() {
            Ok(text) => text.to_str()?.to_owned(),
            Err(_) => String::from_utf8(text.extract::<Vec<u8>>()?)
                .map_err(|_| PyValueError::new_err("JSON text is UTF-8"))?,
        };
        let options = JsonParseOptions::new().ignore_unknown_fields(ignore_unknown_fields);
        let core = info
            .get()
            .ty
            .from_json_with(&utf8, &options)
            .map_err(|e| PyValueError::new_err(e.to_string()))?;
        Message::create(&info, Some(core.into_view()), None)
    }

    /// Merges another message of this type, or a mapping, into this one.
    fn merge(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        merge_any(slf, other)
    }

    /// A copy that shares nothing that can change.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Message>> {
        self.copied(py)
    }

    fn __copy__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Message>> {
        self.copied(py)
    }

    fn __deepcopy__<'py>(
        &self,
        py: Python<'py>,
        _memo: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Message>> {
        self.copied(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py>> {
        let load = py.import("stubless._core")?.getattr("_unpickle")?;
        let info = self.info.get();
        Ok((
            load,
            (
                info.schema.clone_ref(py),
                info.full_name().to_owned(),
                encode::to_bytes_partial(py, self)?,
            ),
        ))
    }

    fn __richcmp__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<Message>() else { return Ok(py.NotImplemented()) };
        let equal = match op {
            CompareOp::Eq => self.equals(py, other.get())?,
            CompareOp::Ne => !self.equals(py, other.get())?,
            _ => return Ok(py.NotImplemented()),
        };
        Ok(pyo3::types::PyBool::new(py, equal).to_owned().into_any().unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut out = String::new();
        match encode::snapshot_or_empty(py, self) {
            Ok(view) => show::repr(py, view.as_ref(), &mut out)?,
            Err(e) => out = format!("<{}: {}>", self.info.get().full_name(), e.value(py)),
        }
        Ok(out)
    }

    /// A `datetime` in UTC.
    fn _to_datetime<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        known::to_datetime(py, encode::snapshot_or_empty(py, self)?.as_ref())
    }

    /// A `timedelta`.
    fn _to_timedelta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        known::to_timedelta(py, encode::snapshot_or_empty(py, self)?.as_ref())
    }

    /// The plain value this message stands for.
    fn _to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        known::to_python(py, encode::snapshot_or_empty(py, self)?.as_ref())
    }

    /// Makes this `Any` hold a message.
    fn _pack(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let Ok(packed) = message.cast::<Message>() else {
            return Err(PyTypeError::new_err(format!(
                "google.protobuf.Any.pack takes a message, not {}",
                type_name(message)
            )));
        };
        let (url, bytes) = known::packed(py, packed.get())?;
        slf.set_item("type_url", url)?;
        slf.set_item("value", PyBytes::new(py, &bytes))
    }

    /// The message this `Any` holds. KeyError: the schema does not know its type.
    fn _unpack<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Message>> {
        let (py, name) = (slf.py(), any_type(slf)?);
        let schema = slf.get().info.get().schema.bind(py);
        let Some(index) = schema.get().index_of(&name) else {
            return Err(PyKeyError::new_err(format!(
                "the schema has no message {name:?}, which this Any holds"
            )));
        };
        let class = schema.get().class_at(schema, index)?;
        parse(class.bind(py), &slf.get_item("value")?)
    }

    /// Whether this `Any` holds a message of the type with this full name.
    fn _is_type(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let wanted = match name.cast::<PyString>() {
            Ok(name) => name.to_str()?.to_owned(),
            Err(_) => match name.cast::<PyType>() {
                Ok(class) => info_of(class)?.get().full_name().to_owned(),
                Err(_) => {
                    return Err(PyTypeError::new_err("is_type takes a type's full name or class"));
                }
            },
        };
        Ok(any_type(slf)? == wanted)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.info)?;
        let Some(state) = self.state.visit(&visit) else { return Ok(()) };
        if let Some(parent) = &state.parent {
            visit.call(&parent.message)?;
        }
        state.all().try_for_each(|slot| match slot {
            Slot::Obj(obj) => visit.call(obj),
            Slot::Weak(weak) => visit.call(weak),
            _ => Ok(()),
        })
    }

    fn __clear__(&self) {
        let old = Python::attach(|py| std::mem::take(&mut *self.lock(py)));
        drop(old);
    }
}

fn any_type(any: &Bound<'_, Message>) -> PyResult<String> {
    let url: String = any.get_item("type_url")?.extract()?;
    Ok(url.rsplit('/').next().unwrap_or_default().to_owned())
}

/// Whether a field is set, as `m.has(name)`.
#[pyfunction]
fn has(message: &Bound<'_, Message>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
    let m = message.get();
    Ok(m.is_set(message.py(), &*m.spec(name)?))
}

/// Unsets a field, or all, as `m.clear(name)`.
#[pyfunction]
#[pyo3(signature = (message, name=None))]
fn clear(message: &Bound<'_, Message>, name: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let (py, m) = (message.py(), message.get());
    if let Some(name) = name {
        if let Ok(oneof) = name.cast::<PyString>()
            && let Some(oneof) =
                m.info.get().oneofs.iter().find(|o| oneof.to_str().is_ok_and(|n| n == o.name))
        {
            for spec in oneof.members.iter().filter_map(|&i| m.info.get().fields.get(i)) {
                m.unset(py, message, spec);
            }
            return Ok(());
        }
        let spec = m.spec(name)?;
        m.unset(py, message, &spec);
        return Ok(());
    }
    attach(py, message);
    let empty = m.info.get().fields.iter().map(|_| Slot::Absent).collect();
    let mut extensions = Vec::new();
    if let Some(core) = m.core() {
        for (field, _) in core.fields().filter(|f| f.0.is_extension()) {
            extensions.push((m.info.get().extension(py, field), Slot::Absent));
        }
    }
    let old = {
        let mut state = m.lock(py);
        state.touched = true;
        let rare = Box::new(Rare { extensions, unknown: Vec::new(), drop_unknown: true });
        (std::mem::replace(&mut state.slots, empty), state.rare.replace(rare))
    };
    drop(old);
    Ok(())
}

/// The name of the member of a oneof that is set, as `m.which_oneof(name)`.
#[pyfunction]
fn which_oneof(message: &Bound<'_, Message>, name: &str) -> PyResult<Option<Py<PyString>>> {
    message.get().oneof(message.py(), name)
}

/// The encoded form, as `m.to_bytes()`.
#[pyfunction]
fn to_bytes<'py>(message: &Bound<'py, Message>) -> PyResult<Bound<'py, PyBytes>> {
    encode::to_bytes(message.py(), message.get())
}

/// The set fields as a dict, as `m.to_dict()`.
#[pyfunction]
fn to_dict<'py>(message: &Bound<'py, Message>) -> PyResult<Bound<'py, PyAny>> {
    message.get().dict(message.py())
}

/// The message as JSON, as `m.to_json()`.
#[pyfunction]
#[pyo3(signature = (message, *, indent=None, preserve_proto_names=false))]
fn to_json(
    message: &Bound<'_, Message>,
    indent: Option<u8>,
    preserve_proto_names: bool,
) -> PyResult<String> {
    message.get().json(message.py(), &print_options(indent, preserve_proto_names))
}

/// Merges another message, or a mapping, into the first, as `m.merge(other)`.
#[pyfunction]
fn merge(message: &Bound<'_, Message>, other: &Bound<'_, PyAny>) -> PyResult<()> {
    merge_any(message, other)
}

/// A copy, as `m.copy()`.
#[pyfunction]
fn copy<'py>(message: &Bound<'py, Message>) -> PyResult<Bound<'py, Message>> {
    message.get().copied(message.py())
}

/// What `pickle` calls: a message of `schema`.
#[pyfunction]
fn _unpickle<'py>(
    schema: &Bound<'py, Schema>,
    name: &str,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, Message>> {
    let Some(index) = schema.get().index_of(name) else {
        return Err(PyKeyError::new_err(format!("the schema has no message {name:?}")));
    };
    parse(schema.get().class_at(schema, index)?.bind(schema.py()), data)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(has, m)?)?;
    m.add_function(wrap_pyfunction!(clear, m)?)?;
    m.add_function(wrap_pyfunction!(which_oneof, m)?)?;
    m.add_function(wrap_pyfunction!(to_bytes, m)?)?;
    m.add_function(wrap_pyfunction!(to_dict, m)?)?;
    m.add_function(wrap_pyfunction!(to_json, m)?)?;
    m.add_function(wrap_pyfunction!(merge, m)?)?;
    m.add_function(wrap_pyfunction!(copy, m)?)?;
    m.add_function(wrap_pyfunction!(_unpickle, m)?)
}
