//! Metadata in Python: pairs of `str` and `str`, or `bytes` for keys that end in `-bin`.

use bytes::Bytes;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMapping, PyString, PyTuple};
use stubless_engine::metadata::{Metadata as Pairs, MetadataValue};

/// Received metadata: a sequence of `(key, value)` pairs, with `get` and `get_all`. Values of keys in `-bin` are `bytes`.
#[pyclass(frozen, sequence, module = "stubless")]
pub(crate) struct Metadata(pub(crate) Pairs);

fn value<'py>(py: Python<'py>, value: MetadataValue<'_>) -> Bound<'py, PyAny> {
    match value {
        MetadataValue::Ascii(text) => PyString::new(py, text).into_any(),
        MetadataValue::Binary(bytes) => PyBytes::new(py, bytes).into_any(),
    }
}

fn pair<'py>(
    py: Python<'py>,
    (key, v): (&str, MetadataValue<'_>),
) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, [PyString::new(py, key).into_any(), value(py, v)])
}

#[pymethods]
impl Metadata {
    #[new]
    #[pyo3(signature = (pairs = None, /))]
    fn new(pairs: Option<&Bound<'_, PyAny>>) -> PyResult<Metadata> {
        Ok(Metadata(to_pairs(pairs)?))
    }

    /// The first value of a key, or `default`.
    #[pyo3(signature = (key, default = None, /))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        self.0.get(&key.to_ascii_lowercase()).map(|v| value(py, v)).or(default)
    }

    /// All values of a key, in order.
    #[pyo3(signature = (key, /))]
    fn get_all<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Bound<'py, PyList>> {
        PyList::new(
            py,
            self.0.get_all(&key.to_ascii_lowercase()).map(|v| value(py, v)).collect::<Vec<_>>(),
        )
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(key) = index.cast::<PyString>() {
            let key = key.to_str()?.to_ascii_lowercase();
            return self.0.get(&key).map(|v| value(py, v)).ok_or_else(|| PyKeyError::new_err(key));
        }
        if index.cast::<pyo3::types::PySlice>().is_ok() {
            return self.pairs(py)?.as_any().get_item(index);
        }
        let at = index.extract::<isize>()?;
        let at = if at < 0 { at + self.0.len() as isize } else { at };
        let found = usize::try_from(at).ok().and_then(|at| self.0.iter().nth(at));
        match found {
            Some(found) => Ok(pair(py, found)?.into_any()),
            None => Err(PyIndexError::new_err("metadata index out of range")),
        }
    }

    fn __contains__(&self, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        match item.cast::<PyString>() {
            Ok(key) => Ok(self.0.get(&key.to_str()?.to_ascii_lowercase()).is_some()),
            Err(_) => self.pairs(item.py())?.as_any().contains(item),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyIterator>> {
        self.pairs(py)?.try_iter()
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Ok(other) = other.cast::<Metadata>() {
            return Ok(self.0 == other.get().0);
        }
        let Ok(other) = other.try_iter() else { return Ok(false) };
        let other = PyTuple::new(py, other.collect::<PyResult<Vec<_>>>()?)?;
        self.pairs(py)?.as_any().eq(other)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Metadata({})", self.pairs(py)?.repr()?))
    }
}

impl Metadata {
    fn pairs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.iter().map(|p| pair(py, p)).collect::<PyResult<Vec<_>>>()?)
    }
}

/// `pairs` as a Python object.
pub(crate) fn to_py(py: Python<'_>, pairs: Pairs) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Metadata(pairs))?.into_any())
}

/// What a caller gave as metadata: nothing, a mapping (values may be lists), or pairs.
pub(crate) fn to_pairs(given: Option<&Bound<'_, PyAny>>) -> PyResult<Pairs> {
    let mut pairs = Pairs::new();
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(pairs) };
    if let Ok(known) = given.cast::<Metadata>() {
        return Ok(known.get().0.clone());
    }
    if let Ok(mapping) = given.cast::<PyMapping>() {
        for item in mapping.items()?.iter() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            if let Ok(list) = value.cast::<PyList>() {
                for value in list.iter() {
                    append(&mut pairs, &key, &value)?;
                }
            } else {
                append(&mut pairs, &key, &value)?;
            }
        }
        return Ok(pairs);
    }
    let wrong = || PyTypeError::new_err("metadata must be a mapping or (key, value) pairs");
    for item in given.try_iter().map_err(|_| wrong())? {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            item?.extract().map_err(|_| wrong())?;
        append(&mut pairs, &key, &value)?;
    }
    Ok(pairs)
}

fn append(pairs: &mut Pairs, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let key =
        key.cast::<PyString>().map_err(|_| PyTypeError::new_err("a metadata key must be str"))?;
    let key = key.to_str()?;
    let lower;
    let key = if key.bytes().any(|b| b.is_ascii_uppercase()) {
        lower = key.to_ascii_lowercase();
        &lower
    } else {
        key
    };
    let binary = key.ends_with("-bin");
    let value = if let Ok(text) = value.cast::<PyString>() {
        if binary {
            return Err(PyTypeError::new_err(format!(
                "metadata {key:?}: a key in -bin takes bytes"
            )));
        }
        Bytes::copy_from_slice(text.to_str()?.as_bytes())
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Bytes::copy_from_slice(bytes.as_bytes())
    } else {
        let wanted = if binary { "bytes" } else { "str" };
        return Err(PyTypeError::new_err(format!("metadata {key:?}: the value must be {wanted}")));
    };
    pairs.append(key, value).map_err(|error| PyValueError::new_err(error.to_string()))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Metadata>()
}
