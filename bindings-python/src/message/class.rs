//! One Python class per message type: its fields, looked up once, and a data descriptor for each.
//!
//! [`ClassInfo`] is what every instance points to. It is a Python object so that the garbage collector sees the circle
//! schema, class, descriptors, schema. Field facts live in [`FieldSpec`], shared by descriptors and containers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use stubless_codec::{EnumType, Field, Kind, MessageType, WellKnown};

use super::instance::Message;
use super::lock;
use crate::schema::Schema;

/// Key of the [`ClassInfo`] in a class's namespace: no field and no attribute can be called so.
pub(crate) const INFO_KEY: &str = "[class]";

/// How many values a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    List,
    Map,
}

/// The names of an enum's numbers as Python strings, made once.
pub(crate) struct EnumNames {
    pub ty: EnumType,
    small: Vec<Option<Py<PyString>>>,
    other: HashMap<i32, Py<PyString>>,
}

impl EnumNames {
    pub fn new(py: Python<'_>, ty: EnumType) -> EnumNames {
        let (mut small, mut other) = (Vec::new(), HashMap::new());
        for (_, number) in ty.values() {
            let Some(name) = ty.name_of(number) else { continue };
            let name = PyString::intern(py, name).unbind();
            match usize::try_from(number) {
                Ok(n) if n < 256 => {
                    if small.len() <= n {
                        small.resize_with(n + 1, || None);
                    }
                    small[n] = Some(name);
                }
                _ => _ = other.insert(number, name),
            }
        }
        EnumNames { ty, small, other }
    }

    /// The name of a number; the first where several share it.
    #[inline]
    pub fn name(&self, number: i32) -> Option<&Py<PyString>> {
        match self.small.get(number as usize) {
            Some(name) => name.as_ref(),
            None => self.other.get(&number),
        }
    }
}

/// What one value of a field, list or map half is.
pub(crate) struct Elem {
    pub field: Field,
    pub kind: Kind,
    /// Full name for messages about it.
    pub label: String,
    pub enums: Option<EnumNames>,
    /// Where the schema keeps the class of the values, if they are messages.
    pub child: usize,
    pub known: Option<WellKnown>,
    pub tag: u32,
    pub utf8: bool,
}

impl Elem {
    fn new(py: Python<'_>, schema: &Schema, field: Field, label: &str) -> Elem {
        let message = field.message_type().filter(|_| !field.is_map());
        Elem {
            kind: field.kind(),
            label: label.to_owned(),
            enums: field.enum_type().map(|e| EnumNames::new(py, e)),
            child: message
                .as_ref()
                .and_then(|m| schema.index_of(m.full_name()))
                .unwrap_or(usize::MAX),
            known: message.and_then(|m| m.well_known()),
            tag: field.tag(),
            utf8: field.checks_utf8(),
            field,
        }
    }

    pub fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Message | Kind::Group)
    }

    pub fn is_text(&self) -> bool {
        matches!(self.kind, Kind::String | Kind::Bytes)
    }
}

/// What is known of a field or extension.
pub(crate) struct FieldSpec {
    pub field: Field,
    pub name: Py<PyString>,
    pub shape: Shape,
    /// The value; a list's element; a map's value.
    pub elem: Elem,
    /// A map's key.
    pub key: Option<Elem>,
    pub presence: bool,
    /// Single and no message: read without making a container.
    pub plain: bool,
    /// Position among the class's oneofs.
    pub oneof: Option<usize>,
    /// Position among the class's fields.
    pub index: usize,
    pub extension: bool,
}

impl FieldSpec {
    pub fn new(py: Python<'_>, schema: &Schema, field: Field, oneof: Option<usize>) -> FieldSpec {
        let shape = match (field.is_map(), field.is_list()) {
            (true, _) => Shape::Map,
            (_, true) => Shape::List,
            _ => Shape::Single,
        };
        let label = field.full_name();
        let elem = Elem::new(py, schema, field.map_value().unwrap_or_else(|| field.clone()), label);
        let key = field.map_key().map(|k| Elem::new(py, schema, k, &format!("{label} (key)")));
        let extension = field.is_extension();
        let name = match extension {
            true => PyString::new(py, &format!("[{label}]")).unbind(),
            false => PyString::intern(py, field.name()).unbind(),
        };
        FieldSpec {
            name,
            shape,
            plain: shape == Shape::Single && !elem.is_message(),
            elem,
            key,
            presence: field.has_presence(),
            oneof,
            index: field.index(),
            extension,
            field,
        }
    }

    pub fn label(&self) -> &str {
        self.field.full_name()
    }
}

/// What encoding needs to know of a field first, without following a pointer.
#[derive(Clone, Copy)]
pub(crate) struct Hot {
    pub tag: u32,
    pub kind: Kind,
    pub plain: bool,
    pub presence: bool,
}

impl Hot {
    fn of(spec: &FieldSpec) -> Hot {
        Hot { tag: spec.elem.tag, kind: spec.elem.kind, plain: spec.plain, presence: spec.presence }
    }
}

/// Names by the address of their one interned string object, which the fields keep alive: open addressing.
struct Addresses {
    slots: Vec<(usize, usize)>,
}

impl Addresses {
    fn of(fields: &[Arc<FieldSpec>]) -> Addresses {
        let size = (fields.len() * 2).next_power_of_two().max(2);
        let mut table = Addresses { slots: vec![(0, 0); size] };
        for spec in fields {
            let address = spec.name.as_ptr() as usize;
            let mut at = table.home(address);
            while table.slots[at].0 != 0 {
                at = (at + 1) % size;
            }
            table.slots[at] = (address, spec.index);
        }
        table
    }

    #[inline(always)]
    fn home(&self, address: usize) -> usize {
        ((address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
            & (self.slots.len() - 1)
    }

    #[inline(always)]
    fn find(&self, address: usize) -> Option<usize> {
        let mut at = self.home(address);
        loop {
            // half of the slots are free, so this ends
            match self.slots.get(at) {
                Some(&(a, index)) if a == address => return Some(index),
                Some(&(0, _)) | None => return None,
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }
}

/// A oneof and the positions of its members.
pub(crate) struct OneofSpec {
    pub name: String,
    pub members: Vec<usize>,
}

/// A message type as Python sees it.
#[pyclass(frozen, module = "stubless._core", name = "_MessageInfo")]
pub(crate) struct ClassInfo {
    pub ty: MessageType,
    pub schema: Py<Schema>,
    pub fields: Vec<Arc<FieldSpec>>,
    pub oneofs: Vec<OneofSpec>,
    pub required: Vec<usize>,
    by_name: HashMap<Box<str>, usize>,
    /// What encoding looks at first, beside `fields`.
    pub hot: Vec<Hot>,
    /// The interned names by address: keyword arguments are nearly always the same objects.
    by_address: Addresses,
    extensions: Mutex<HashMap<u32, Arc<FieldSpec>>>,
    class: OnceLock<Py<PyType>>,
}

#[pymethods]
impl ClassInfo {
    /// A message from its encoded form (bytes or a buffer). ValueError: not an encoding of this type.
    fn from_bytes<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Message>> {
        super::methods::parse(slf, data)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.schema)?;
        self.class.get().map_or(Ok(()), |class| visit.call(class))
    }
}

impl ClassInfo {
    fn new(py: Python<'_>, schema: &Bound<'_, Schema>, ty: MessageType) -> ClassInfo {
        let home = schema.get();
        let oneof_types: Vec<_> = ty.oneofs().collect();
        let fields: Vec<Arc<FieldSpec>> = ty
            .fields()
            .map(|f| {
                let oneof = f.oneof().and_then(|o| oneof_types.iter().position(|x| *x == o));
                Arc::new(FieldSpec::new(py, home, f, oneof))
            })
            .collect();
        let oneofs = oneof_types
            .iter()
            .map(|o| OneofSpec {
                name: o.name().into(),
                members: o.fields().map(|f| f.index()).collect(),
            })
            .collect();
        ClassInfo {
            oneofs,
            required: fields.iter().filter(|f| f.field.is_required()).map(|f| f.index).collect(),
            by_name: fields.iter().map(|f| (f.field.name().into(), f.index)).collect(),
            hot: fields.iter().map(|f| Hot::of(f)).collect(),
            by_address: Addresses::of(&fields),
            extensions: Mutex::new(HashMap::new()),
            class: OnceLock::new(),
            schema: schema.clone().unbind(),
            fields,
            ty,
        }
    }

    pub fn full_name(&self) -> &str {
        self.ty.full_name()
    }

    /// The Python class.
    pub fn class<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        match self.class.get() {
            Some(class) => Ok(class.bind(py)),
            None => Err(PyTypeError::new_err("this class is being taken down")),
        }
    }

    /// The class of a message field's values.
    pub fn child(&self, py: Python<'_>, elem: &Elem) -> PyResult<Py<ClassInfo>> {
        self.schema.bind(py).get().class_at(self.schema.bind(py), elem.child)
    }

    /// The position of the own field called `name`.
    #[inline]
    pub fn position(&self, name: &Bound<'_, PyAny>) -> Option<usize> {
        if let Some(index) = self.by_address.find(name.as_ptr() as usize) {
            return Some(index);
        }
        self.by_name.get(name.cast::<PyString>().ok()?.to_str().ok()?).copied()
    }

    /// The field called `name`, which may be `[pkg.extension]`.
    pub fn find(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Arc<FieldSpec>>> {
        if let Some(index) = self.position(name) {
            return Ok(Some(self.fields[index].clone()));
        }
        let name = name.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err(format!(
                "{}: a field's name is a str, not {}",
                self.full_name(),
                super::type_name(name)
            ))
        })?;
        let name = name.to_str()?;
        if !name.starts_with('[') {
            return Ok(None);
        }
        Ok(self.ty.find_field(name).map(|f| self.extension(py, f)))
    }

    /// What is known of an extension of this type.
    pub fn extension(&self, py: Python<'_>, field: Field) -> Arc<FieldSpec> {
        if let Some(found) = lock(&self.extensions).get(&field.number()) {
            return found.clone();
        }
        let number = field.number();
        let made = Arc::new(FieldSpec::new(py, self.schema.bind(py).get(), field, None));
        lock(&self.extensions).entry(number).or_insert(made).clone()
    }

    /// The end of a message about a name that is no field: what there is.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.ty.declared_fields().map(|f| f.name().to_owned()).collect();
        match names.as_slice() {
            [] => "it has no fields".to_owned(),
            names => format!("its fields are {}", names.join(", ")),
        }
    }

    pub fn no_such_field(&self, name: &Bound<'_, PyAny>) -> String {
        let shown =
            name.str().map_or_else(|_| "?".to_owned(), |s| s.to_string_lossy().into_owned());
        format!("{} has no field {shown:?}; {}", self.full_name(), self.names())
    }
}

/// Makes the class of a message type.
pub(crate) fn build(
    py: Python<'_>,
    schema: &Bound<'_, Schema>,
    ty: MessageType,
) -> PyResult<Py<ClassInfo>> {
    let package = schema.get().inner.file_package(ty.file()).unwrap_or_default().to_owned();
    let full_name = ty.full_name().to_owned();
    let name = ty.name().to_owned();
    let info = Bound::new(py, ClassInfo::new(py, schema, ty))?;
    let base = py.get_type::<Message>();
    let names = PyDict::new(py);
    let local = full_name.strip_prefix(&package).map_or(&*full_name, |n| n.trim_start_matches('.'));
    names.set_item("__slots__", PyTuple::empty(py))?;
    names.set_item("__module__", if package.is_empty() { "stubless" } else { &package })?;
    names.set_item("__qualname__", local)?;
    names.set_item("full_name", &full_name)?;
    names.set_item(INFO_KEY, &info)?;
    // bound to what it needs: the class method of `Message` would have to look that up at each call
    names.set_item("from_bytes", info.getattr("from_bytes")?)?;
    for (own, shared) in super::known::methods(info.get().ty.well_known()) {
        names.set_item(own, base.getattr(shared)?)?;
    }
    for spec in &info.get().fields {
        let name = spec.field.name();
        if name.starts_with("__") && name.ends_with("__") {
            // Python's own names stay Python's; `m["__name__"]` reads the field
            continue;
        }
        names.set_item(
            &spec.name,
            Bound::new(py, FieldDescriptor { info: info.clone().unbind(), spec: spec.clone() })?,
        )?;
    }
    let class = py.get_type::<PyType>().call1((name, (base,), names))?.cast_into::<PyType>()?;
    let _ = info.get().class.set(class.unbind());
    Ok(info.unbind())
}

/// The attribute of a message class that reads and writes one field.
#[pyclass(frozen, module = "stubless._core", name = "_Field")]
pub(crate) struct FieldDescriptor {
    info: Py<ClassInfo>,
    spec: Arc<FieldSpec>,
}

impl FieldDescriptor {
    #[inline]
    fn owner<'a, 'py>(&self, obj: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Message>> {
        // nearly always the class itself and no subclass of it: one comparison in place of two calls
        if self
            .info
            .get()
            .class
            .get()
            .is_some_and(|class| obj.get_type_ptr() == class.as_ptr().cast())
        {
            // SAFETY: instances of a message class are `Message`s, which its class has as base.
            return Ok(unsafe { obj.cast_unchecked::<Message>() });
        }
        self.checked_owner(obj)
    }

    #[inline(never)]
    fn checked_owner<'a, 'py>(
        &self,
        obj: &'a Bound<'py, PyAny>,
    ) -> PyResult<&'a Bound<'py, Message>> {
        match obj.cast::<Message>() {
            Ok(m) if m.get().info.as_ptr() == self.info.as_ptr() => Ok(m),
            _ => Err(PyTypeError::new_err(format!(
                "{} is a field of another type than {}",
                self.spec.label(),
                super::type_name(obj)
            ))),
        }
    }
}

#[pymethods]
impl FieldDescriptor {
    #[inline]
    fn __get__<'py>(
        slf: &Bound<'py, Self>,
        obj: Option<&Bound<'py, PyAny>>,
        owner: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        match obj {
            Some(obj) => {
                let owner = this.owner(obj)?;
                owner.get().get(slf.py(), owner, &this.spec)
            }
            None => this.on_class(slf, owner),
        }
    }

    fn __set__(&self, obj: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let obj = self.owner(obj)?;
        obj.get().set(obj.py(), obj, &self.spec, value)
    }

    fn __delete__(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let obj = self.owner(obj)?;
        obj.get().unset(obj.py(), obj, &self.spec);
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<field {}>", self.spec.label())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.info)
    }
}

impl FieldDescriptor {
    /// `Msg.name`: what the class itself has by that name (`from_bytes`, `full_name`), else the descriptor.
    fn on_class(
        &self,
        slf: &Bound<'_, Self>,
        owner: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let name = self.spec.name.bind(py);
        if name.to_str()? == "full_name" {
            return Ok(self.info.get().full_name().into_pyobject(py)?.into_any().unbind());
        }
        let base = py.get_type::<Message>();
        let shared = base.getattr("__dict__")?.call_method1("get", (name,))?;
        if shared.is_none() || owner.is_none() {
            return Ok(slf.clone().into_any().unbind());
        }
        match shared.call_method1("__get__", (py.None(), owner)) {
            Ok(bound) => Ok(bound.unbind()),
            Err(e) if e.is_instance_of::<PyAttributeError>(py) => Ok(shared.unbind()),
            Err(e) => Err(e),
        }
    }
}
