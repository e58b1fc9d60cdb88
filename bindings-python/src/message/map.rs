//! `MessageMap`: the entries of a map field as a mutable mapping.
//!
//! The length is the core message's until something changes; the first lookup makes a dict of all entries.

use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use pyo3::{IntoPyObjectExt, PyTraverseError, PyVisit};
use stubless_codec::{MapRef, MessageView, Value};

use super::cell::{Guard, Guarded};
use super::class::{ClassInfo, FieldSpec};
use super::convert::{self, Stored};
use super::instance::{Message, adopt, attach};

struct MapState {
    /// All entries, once they were asked for.
    dict: Option<Py<PyDict>>,
    /// Not as in the core message any more.
    dirty: bool,
    /// The message this map joins when it is written to, if that one is not set itself yet.
    owner: Option<Py<Message>>,
}

/// The entries of a map field.
#[pyclass(frozen, weakref, mapping, module = "stubless", name = "MessageMap")]
pub(crate) struct MessageMap {
    info: Py<ClassInfo>,
    spec: Arc<FieldSpec>,
    view: Option<MessageView>,
    state: Guarded<MapState>,
}

impl MessageMap {
    pub fn create<'py>(
        info: &Bound<'py, ClassInfo>,
        spec: &Arc<FieldSpec>,
        view: Option<MessageView>,
        owner: Option<Py<Message>>,
    ) -> PyResult<Bound<'py, MessageMap>> {
        let state = Guarded::new(MapState { dict: None, dirty: false, owner });
        let map = MessageMap { info: info.clone().unbind(), spec: spec.clone(), view, state };
        Bound::new(info.py(), map)
    }

    /// A map with the entries of a mapping.
    pub fn from_python<'py>(
        info: &Bound<'py, ClassInfo>,
        spec: &Arc<FieldSpec>,
        from: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, MessageMap>> {
        let made = MessageMap::create(info, spec, None, None)?;
        let dict = PyDict::new(info.py());
        made.get().fill(info.py(), &dict, from)?;
        *made.get().lock(info.py()) =
            MapState { dict: Some(dict.unbind()), dirty: true, owner: None };
        Ok(made)
    }

    fn lock<'a>(&'a self, py: Python<'a>) -> Guard<'a, MapState> {
        self.state.lock(py)
    }

    /// The core message's map.
    pub fn core(&self) -> Option<MapRef<'_>> {
        self.view.as_ref().and_then(|view| view.as_ref().map(&self.spec.field).ok())
    }

    pub fn dict_if_made(&self, py: Python<'_>) -> Option<Py<PyDict>> {
        self.lock(py).dict.as_ref().map(|d| d.clone_ref(py))
    }

    pub fn is_clean(&self, py: Python<'_>) -> bool {
        let dict = {
            let state = self.lock(py);
            match (&state.dict, state.dirty) {
                (_, true) => return false,
                (Some(dict), _) if self.spec.elem.is_message() => dict.clone_ref(py),
                _ => return true,
            }
        };
        // walked without a list of its values: making one could set off the garbage collector under a guard above
        dict.bind(py).iter().all(|(_, v)| v.cast::<Message>().is_ok_and(|m| m.get().is_clean(py)))
    }

    fn key<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let Some(elem) = &self.spec.key else { return Ok(key.clone()) };
        Ok(match convert::single(py, self.info.bind(py), elem, key)? {
            Stored::Obj(obj) => obj.into_bound(py),
            Stored::Bits(bits) => convert::from_bits(py, elem, bits)?.into_bound(py),
        })
    }

    fn value<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let elem = &self.spec.elem;
        if value.is_none() {
            return Err(convert::wrong_type(elem, value));
        }
        Ok(match convert::single(py, self.info.bind(py), elem, value)? {
            Stored::Obj(obj) => obj.into_bound(py),
            Stored::Bits(bits) => convert::from_bits(py, elem, bits)?.into_bound(py),
        })
    }

    /// Checked and converted entries of a mapping, or of pairs.
    fn fill<'py>(
        &self,
        py: Python<'py>,
        dict: &Bound<'py, PyDict>,
        from: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Ok(from) = from.cast_exact::<PyDict>() {
            for (key, value) in from {
                dict.set_item(self.key(py, &key)?, self.value(py, &value)?)?;
            }
            return Ok(());
        }
        let Ok(from) = from.cast::<PyMapping>() else {
            return Err(PyTypeError::new_err(format!(
                "{}: expected a mapping to {}, got {}",
                self.spec.label(),
                convert::expected(&self.spec.elem),
                super::type_name(from)
            )));
        };
        for pair in from.items()? {
            let (key, value) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            dict.set_item(self.key(py, &key)?, self.value(py, &value)?)?;
        }
        Ok(())
    }

    /// All entries.
    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if let Some(dict) = self.dict_if_made(py) {
            return Ok(dict.into_bound(py));
        }
        let made = PyDict::new(py);
        if let (Some(core), Some(key), Some(view)) = (self.core(), &self.spec.key, &self.view) {
            let child = match self.spec.elem.is_message() {
                true => Some(self.info.get().child(py, &self.spec.elem)?),
                false => None,
            };
            for (k, v) in core.iter() {
                let v = match (v, &child) {
                    (Value::Message(m), Some(child)) => {
                        Message::create(child.bind(py), view.child(m), None)?.into_any().unbind()
                    }
                    (v, _) => convert::from_core(py, &self.spec.elem, v)?,
                };
                made.set_item(convert::from_core(py, key, k)?, v)?;
            }
        }
        let mut state = self.lock(py);
        match &state.dict {
            Some(theirs) => Ok(theirs.bind(py).clone()),
            None => {
                state.dict = Some(made.clone().unbind());
                Ok(made)
            }
        }
    }

    /// The entries for writing: the map joins its message.
    fn begin_write<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let (py, this) = (slf.py(), slf.get());
        let dict = this.dict(py)?;
        let owner = {
            let mut state = this.lock(py);
            state.dirty = true;
            state.owner.take()
        };
        if let Some(owner) = owner {
            let owner = owner.into_bound(py);
            if adopt(&owner, &this.spec, slf.as_any()) {
                attach(py, &owner);
            }
        }
        Ok(dict)
    }

    fn missing(key: &Bound<'_, PyAny>) -> PyErr {
        PyKeyError::new_err(key.clone().unbind())
    }
}

#[pymethods]
impl MessageMap {
    fn __len__(&self, py: Python<'_>) -> usize {
        match self.dict_if_made(py) {
            Some(dict) => dict.bind(py).len(),
            None => self.core().map_or(0, MapRef::len),
        }
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.dict(py)?.get_item(self.key(py, key)?)?;
        found.ok_or_else(|| MessageMap::missing(key))
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (key, value) = (this.key(py, key)?, this.value(py, value)?);
        MessageMap::begin_write(slf)?.set_item(key, value)
    }

    fn __delitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let own = this.key(slf.py(), key)?;
        if !this.dict(slf.py())?.contains(&own)? {
            return Err(MessageMap::missing(key));
        }
        MessageMap::begin_write(slf)?.del_item(own)
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        match self.key(py, key) {
            Ok(key) => self.dict(py)?.contains(key),
            Err(_) => Ok(false),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.dict(py)?.as_any().try_iter()?.into_any())
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0(pyo3::intern!(py, "__reversed__"))
    }

    /// The keys, as a view.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0(pyo3::intern!(py, "keys"))
    }

    /// The values, as a view.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0(pyo3::intern!(py, "values"))
    }

    /// Pairs of key and value, as a view.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict(py)?.call_method0(pyo3::intern!(py, "items"))
    }

    /// The value under a key, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.key(py, key) {
            Ok(key) => Ok(self.dict(py)?.get_item(key)?.or(default)),
            Err(_) => Ok(default),
        }
    }

    /// Takes out a key and gives its value; `default`, if given, where the key is missing.
    #[pyo3(signature = (key, *default))]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, pyo3::types::PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let own = slf.get().key(slf.py(), key)?;
        match slf.get().dict(slf.py())?.get_item(&own)? {
            Some(value) => {
                MessageMap::begin_write(slf)?.del_item(own)?;
                Ok(value)
            }
            None => default.get_item(0).map_err(|_| MessageMap::missing(key)),
        }
    }

    /// Takes out the last entry and gives it as a pair.
    fn popitem<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        MessageMap::begin_write(slf)?.call_method0("popitem")
    }

    /// The value under a key, put there first if it is missing.
    fn setdefault<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let key = this.key(py, key)?;
        if let Some(found) = this.dict(py)?.get_item(&key)? {
            return Ok(found);
        }
        let value = this.value(py, default)?;
        MessageMap::begin_write(slf)?.set_item(key, &value)?;
        Ok(value)
    }

    /// Adds the entries of a mapping, or of pairs; none if one is refused.
    #[pyo3(signature = (other=None, **kwargs))]
    fn update(
        slf: &Bound<'_, Self>,
        other: Option<Bound<'_, PyAny>>,
        kwargs: Option<Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let more = PyDict::new(py);
        for from in other.into_iter().chain(kwargs.map(Bound::into_any)) {
            match from.is_instance_of::<PyDict>() || from.is_instance_of::<PyMapping>() {
                true => this.fill(py, &more, &from)?,
                false => this.fill(py, &more, &py.get_type::<PyDict>().call1((from,))?)?,
            }
        }
        MessageMap::begin_write(slf)?.update(more.as_mapping())
    }

    fn __ior__(slf: &Bound<'_, Self>, other: Bound<'_, PyAny>) -> PyResult<()> {
        MessageMap::update(slf, Some(other), None)
    }

    /// Takes out all entries.
    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        MessageMap::begin_write(slf)?.clear();
        Ok(())
    }

    /// The entries as a plain dict; messages are the same ones.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.dict(py)?.copy()
    }

    fn __or__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let all = self.dict(py)?.copy()?;
        all.call_method1("update", (other,))?;
        Ok(all.into_any())
    }

    fn __richcmp__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        op: pyo3::basic::CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let theirs = match other.cast_exact::<MessageMap>() {
            Ok(map) => map.get().dict(py)?.into_any(),
            Err(_) if other.is_instance_of::<PyDict>() => other.clone(),
            Err(_) => return Ok(py.NotImplemented()),
        };
        self.dict(py)?.rich_compare(theirs, op)?.into_py_any(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.dict(py)?.repr()?.to_string_lossy().into_owned())
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((py.get_type::<PyDict>().into_any(), (self.dict(py)?.copy()?,)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.info)?;
        let Some(state) = self.state.visit(&visit) else { return Ok(()) };
        if let Some(owner) = &state.owner {
            visit.call(owner)?;
        }
        state.dict.as_ref().map_or(Ok(()), |dict| visit.call(dict))
    }

    fn __clear__(&self) {
        Python::attach(|py| {
            let mut state = self.lock(py);
            let old = (state.dict.take(), state.owner.take());
            drop(state);
            drop(old);
        });
    }
}
