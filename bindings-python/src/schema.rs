//! `Schema` in Python: descriptors in, message classes, enums and services out.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBytes, PyDict, PyList, PyMapping, PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference,
};
use pyo3::{PyTraverseError, PyVisit};
use stubless_codec as codec;

use crate::message::{ClassInfo, Guarded, build_class};

/// An immutable set of descriptors: message types, enums, services.
#[pyclass(frozen, weakref, mapping, module = "stubless", name = "Schema")]
pub(crate) struct Schema {
    pub inner: codec::Schema,
    types: Vec<codec::MessageType>,
    index: HashMap<String, usize>,
    /// One class per message type, made when it is first asked for.
    classes: Guarded<Vec<Option<Py<ClassInfo>>>>,
}

fn schema_error(e: codec::SchemaError) -> PyErr {
    PyValueError::new_err(e.to_string())
}

impl Schema {
    pub fn new(inner: codec::Schema) -> Schema {
        let types: Vec<_> = inner.messages().collect();
        let index = types.iter().enumerate().map(|(i, t)| (t.full_name().to_owned(), i)).collect();
        let classes = Guarded::new(std::iter::repeat_with(|| None).take(types.len()).collect());
        Schema { inner, types, index, classes }
    }

    /// The position of a message type.
    pub fn index_of(&self, full_name: &str) -> Option<usize> {
        self.index.get(full_name).copied()
    }

    /// The class of the message type at a position. `this` is this schema.
    pub fn class_at(&self, this: &Bound<'_, Schema>, index: usize) -> PyResult<Py<ClassInfo>> {
        let py = this.py();
        if let Some(Some(found)) = self.classes.lock(py).get(index) {
            return Ok(found.clone_ref(py));
        }
        let Some(ty) = self.types.get(index) else {
            return Err(PyTypeError::new_err("the schema has no such message"));
        };
        // made outside the lock: it runs Python code
        let made = build_class(py, this, ty.clone())?;
        let mut classes = self.classes.lock(py);
        if classes.is_empty() {
            classes.resize_with(self.types.len(), || None);
        }
        match classes.get_mut(index) {
            Some(place) => Ok(place.get_or_insert(made).clone_ref(py)),
            None => Ok(made),
        }
    }

    fn class_named<'py>(this: &Bound<'py, Schema>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let Some(index) = this.get().index_of(name) else {
            return Err(PyKeyError::new_err(this.get().no_such(
                "message",
                name,
                this.get().index.keys().map(String::as_str),
            )));
        };
        let info = this.get().class_at(this, index)?;
        Ok(info.get().class(this.py())?.clone().into_any())
    }

    /// What to say of a name that is not there: the nearest thing that is.
    fn no_such<'a>(&self, what: &str, name: &str, all: impl Iterator<Item = &'a str>) -> String {
        let last = name.rsplit('.').next().unwrap_or(name);
        let mut near: Vec<&str> = all.filter(|n| n.rsplit('.').next() == Some(last)).collect();
        near.sort_unstable();
        match near.first() {
            Some(near) => format!("the schema has no {what} {name:?}; did you mean {near:?}?"),
            None => format!("the schema has no {what} {name:?}"),
        }
    }
}

/// One path or several.
fn paths(from: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    if from.is_instance_of::<PyString>() || from.hasattr("__fspath__")? {
        return Ok(vec![from.extract()?]);
    }
    from.try_iter()?.map(|p| p?.extract()).collect()
}

/// Schemas that came from or went into a pickle, by their bytes, so that one in this process is found again.
static PICKLED: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

fn pickled(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    PICKLED.get_or_try_init(py, || Ok(PyDict::new(py).unbind())).map(|d| d.bind(py))
}

/// Remembers a schema, weakly, under its bytes' hash.
fn remember(schema: &Bound<'_, Schema>, digest: &Bound<'_, PyAny>) -> PyResult<()> {
    let known = pickled(schema.py())?;
    let gone: Vec<_> = known
        .iter()
        .filter(|(_, weak)| weak.cast::<PyWeakrefReference>().is_ok_and(|w| w.upgrade().is_none()))
        .map(|pair| pair.0)
        .collect();
    for key in gone {
        known.del_item(key)?;
    }
    known.set_item(digest, PyWeakrefReference::new(schema.as_any())?)
}

fn digest<'py>(bytes: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
    bytes.py().import("hashlib")?.call_method1("sha256", (bytes,))?.call_method0("digest")
}

/// What `pickle` calls: the schema these bytes describe, the one at hand if there is one.
#[pyfunction]
fn _schema<'py>(bytes: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, Schema>> {
    let (py, digest) = (bytes.py(), digest(bytes)?);
    if let Some(weak) = pickled(py)?.get_item(&digest)?
        && let Some(found) = weak.cast::<PyWeakrefReference>()?.upgrade()
    {
        return Ok(found.cast_into::<Schema>()?);
    }
    let inner =
        codec::Schema::from_descriptor_set(bytes.as_bytes().to_vec()).map_err(schema_error)?;
    let schema = Bound::new(py, Schema::new(inner))?;
    remember(&schema, &digest)?;
    Ok(schema)
}

#[pymethods]
impl Schema {
    /// Compiles `.proto` files. `include`: folders searched for them and their imports, in order; default: the current one.
    /// ValueError with file, line and column where something does not compile.
    #[staticmethod]
    #[pyo3(signature = (files, include=None))]
    fn load(
        py: Python<'_>,
        files: &Bound<'_, PyAny>,
        include: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Schema> {
        let files = paths(files)?;
        let include = include.map_or(Ok(Vec::new()), paths)?;
        Ok(Schema::new(py.detach(|| codec::Schema::load(files, include)).map_err(schema_error)?))
    }

    /// Compiles `.proto` text: a mapping of file name to text, whose files may import each other, or one text.
    #[staticmethod]
    fn from_source(py: Python<'_>, files: &Bound<'_, PyAny>) -> PyResult<Schema> {
        let mut all: Vec<(String, String)> = Vec::new();
        if let Ok(text) = files.cast::<PyString>() {
            all.push(("schema.proto".into(), text.to_str()?.to_owned()));
        } else if let Ok(files) = files.cast::<PyMapping>() {
            for pair in files.items()? {
                all.push(pair.extract()?);
            }
        } else {
            return Err(PyTypeError::new_err(
                "from_source takes a mapping of file names to .proto text",
            ));
        }
        Ok(Schema::new(py.detach(|| codec::Schema::from_source(all)).map_err(schema_error)?))
    }

    /// A schema from the bytes of a `FileDescriptorSet`, imports included.
    #[staticmethod]
    fn from_descriptor_set(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Schema> {
        let bytes: Vec<u8> = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes().to_vec(),
            Err(_) => data.extract()?,
        };
        Ok(Schema::new(
            py.detach(|| codec::Schema::from_descriptor_set(bytes)).map_err(schema_error)?,
        ))
    }

    /// The schema of a live server, asked of its reflection service (v1, or v1alpha). Options as for `stubless.connect`;
    /// `timeout` in seconds bounds the whole. Blocks.
    #[staticmethod]
    #[pyo3(signature = (target, *, timeout = None, **options))]
    fn reflect(
        py: Python<'_>,
        target: &str,
        timeout: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Schema> {
        let options = options.map_or_else(|| PyDict::new(py), Clone::clone);
        Ok(Schema::new(crate::call::reflect::reflect(py, target, &options, timeout)?))
    }

    /// Both schemas as one.
    fn merge(&self, py: Python<'_>, other: &Schema) -> PyResult<Schema> {
        Ok(Schema::new(py.detach(|| self.inner.merge(&other.inner)).map_err(schema_error)?))
    }

    /// The class of a message type, by full name. KeyError if there is none.
    fn message<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        Schema::class_named(slf, name)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        Schema::class_named(slf, name)
    }

    fn __contains__(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// An enum type, by full name. KeyError if there is none.
    #[pyo3(name = "enum")]
    fn enum_type(&self, name: &str) -> PyResult<EnumType> {
        match self.inner.enum_type(name) {
            Some(ty) => Ok(EnumType { ty }),
            None => {
                let all: Vec<codec::EnumType> = self.inner.enums().collect();
                Err(PyKeyError::new_err(self.no_such(
                    "enum",
                    name,
                    all.iter().map(codec::EnumType::full_name),
                )))
            }
        }
    }

    /// Full names of all services.
    fn services(&self) -> Vec<String> {
        self.inner.services().map(|s| s.full_name().to_owned()).collect()
    }

    /// The methods of a service. KeyError if there is no such service.
    fn methods(&self, service: &str) -> PyResult<Vec<Method>> {
        match self.inner.service(service) {
            Some(s) => Ok(s.methods().map(|method| Method { method }).collect()),
            None => {
                let all: Vec<String> = self.services();
                Err(PyKeyError::new_err(self.no_such(
                    "service",
                    service,
                    all.iter().map(String::as_str),
                )))
            }
        }
    }

    /// Full names of all message types, those of map entries left out.
    fn messages(&self) -> Vec<String> {
        self.types.iter().filter(|t| !t.is_map_entry()).map(|t| t.full_name().to_owned()).collect()
    }

    /// Full names of all enum types.
    fn enums(&self) -> Vec<String> {
        self.inner.enums().map(|e| e.full_name().to_owned()).collect()
    }

    /// Names of the files, each behind those it imports.
    fn file_names(&self) -> Vec<String> {
        self.inner.file_names().map(str::to_owned).collect()
    }

    /// A file's encoded `FileDescriptorProto`. KeyError if there is no such file.
    fn file_bytes<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyBytes>> {
        match self.inner.file_bytes(name) {
            Some(bytes) => Ok(PyBytes::new(py, &bytes)),
            None => Err(PyKeyError::new_err(format!("the schema has no file {name:?}"))),
        }
    }

    /// All files as one encoded `FileDescriptorSet`; `from_descriptor_set` gives the schema back.
    fn to_descriptor_set<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.to_descriptor_set())
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let py = slf.py();
        let bytes = slf.get().to_descriptor_set(py);
        let digest = digest(&bytes)?;
        if !pickled(py)?.contains(&digest)? {
            remember(slf, &digest)?;
        }
        Ok((py.import("stubless._core")?.getattr("_schema")?, (bytes,)))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __repr__(&self) -> String {
        let files: Vec<&str> = self.inner.file_names().collect();
        format!("<Schema of {}>", files.join(", "))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(classes) = self.classes.visit(&visit) else { return Ok(()) };
        classes.iter().flatten().try_for_each(|class| visit.call(class))
    }

    fn __clear__(&self) {
        let old = Python::attach(|py| std::mem::take(&mut *self.classes.lock(py)));
        drop(old);
    }
}

/// An enum type: names to numbers.
#[pyclass(frozen, mapping, module = "stubless", name = "EnumType")]
pub(crate) struct EnumType {
    ty: codec::EnumType,
}

#[pymethods]
impl EnumType {
    /// `pkg.Outer.Name`.
    #[getter]
    fn full_name(&self) -> &str {
        self.ty.full_name()
    }

    /// The number of a name. KeyError if there is none.
    fn __getitem__(&self, name: &str) -> PyResult<i32> {
        self.ty.number_of(name).ok_or_else(|| {
            let names: Vec<&str> = self.ty.values().map(|v| v.0).collect();
            PyKeyError::new_err(format!(
                "{} has no value {name:?}; its values are {}",
                self.ty.full_name(),
                names.join(", ")
            ))
        })
    }

    /// The name of a number, or None; the first one declared where several share it.
    fn name_of(&self, number: i32) -> Option<&str> {
        self.ty.name_of(number)
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        match name.cast::<PyString>() {
            Ok(name) => name.to_str().is_ok_and(|n| self.ty.number_of(n).is_some()),
            Err(_) => name.extract::<i32>().is_ok_and(|n| self.ty.name_of(n).is_some()),
        }
    }

    fn __len__(&self) -> usize {
        self.ty.values().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.keys(py)?.as_any().try_iter()?.into_any())
    }

    /// The names in the order of the file, aliases included.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.ty.values().map(|v| v.0))
    }

    /// The numbers in the order of the file.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.ty.values().map(|v| v.1))
    }

    /// Pairs of name and number.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = self
            .ty
            .values()
            .map(|(name, number)| (name, number).into_pyobject(py))
            .collect::<PyResult<Vec<Bound<'py, PyTuple>>>>()?;
        PyList::new(py, pairs)
    }

    fn __repr__(&self) -> String {
        format!("<enum {}>", self.ty.full_name())
    }
}

/// A method of a service.
#[pyclass(frozen, module = "stubless", name = "MethodType")]
pub(crate) struct Method {
    method: codec::Method,
}

#[pymethods]
impl Method {
    /// Name in the file.
    #[getter]
    fn name(&self) -> &str {
        self.method.name()
    }

    /// `pkg.Service/Method`.
    #[getter]
    fn path(&self) -> &str {
        self.method.path().trim_start_matches('/')
    }

    /// Full name of the requests' type.
    #[getter]
    fn input(&self) -> String {
        self.method.input().full_name().to_owned()
    }

    /// Full name of the answers' type.
    #[getter]
    fn output(&self) -> String {
        self.method.output().full_name().to_owned()
    }

    /// Whether the client sends a stream.
    #[getter]
    fn client_streaming(&self) -> bool {
        self.method.is_client_streaming()
    }

    /// Whether the server sends a stream.
    #[getter]
    fn server_streaming(&self) -> bool {
        self.method.is_server_streaming()
    }

    fn __repr__(&self) -> String {
        format!("<method {}>", self.path())
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Schema>()?;
    m.add_class::<EnumType>()?;
    m.add_class::<Method>()?;
    m.add_function(wrap_pyfunction!(_schema, m)?)
}
