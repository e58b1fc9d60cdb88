//! `MessageList`: the values of a repeated field as a mutable sequence.
//!
//! Until something changes, elements are read from the core message one by one; nested messages are kept once they were
//! handed out, because they can be written to. A changed list keeps numbers as the core does and the rest as objects.

use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice, PyString};
use pyo3::{IntoPyObjectExt, PyTraverseError, PyVisit};
use stubless_codec::{ListRef, MessageView, Value};

use super::cell::{Guard, Guarded};
use super::class::{ClassInfo, FieldSpec};
use super::convert::{self, Stored};
use super::instance::{Message, adopt, attach};

/// Where the elements are.
pub(crate) enum Items {
    /// In the core message, or nowhere: an empty list.
    Core,
    /// Numbers, bools and enums.
    Bits(Vec<u64>),
    /// Texts and messages; `None` is a message still to be made from the core's.
    Objs(Vec<Option<Py<PyAny>>>),
}

pub(crate) struct ListState {
    pub items: Items,
    /// Not as in the core message any more.
    pub dirty: bool,
    /// The message this list joins when it is written to, if that one is not set itself yet.
    pub owner: Option<Py<Message>>,
}

/// The values of a repeated field.
#[pyclass(frozen, weakref, sequence, module = "stubless", name = "MessageList")]
pub(crate) struct MessageList {
    info: Py<ClassInfo>,
    spec: Arc<FieldSpec>,
    view: Option<MessageView>,
    state: Guarded<ListState>,
}

impl MessageList {
    pub fn create<'py>(
        info: &Bound<'py, ClassInfo>,
        spec: &Arc<FieldSpec>,
        view: Option<MessageView>,
        owner: Option<Py<Message>>,
    ) -> PyResult<Bound<'py, MessageList>> {
        let state = Guarded::new(ListState { items: Items::Core, dirty: false, owner });
        let list = MessageList { info: info.clone().unbind(), spec: spec.clone(), view, state };
        Bound::new(info.py(), list)
    }

    /// A list with the values of an iterable.
    pub fn from_python<'py>(
        info: &Bound<'py, ClassInfo>,
        spec: &Arc<FieldSpec>,
        from: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, MessageList>> {
        let made = MessageList::create(info, spec, None, None)?;
        let items = made.get().converted(info, from)?;
        *made.get().lock(info.py()) = ListState { items, dirty: true, owner: None };
        Ok(made)
    }

    #[inline]
    pub fn lock<'a>(&'a self, py: Python<'a>) -> Guard<'a, ListState> {
        self.state.lock(py)
    }

    /// The core message's list.
    #[inline]
    pub fn core(&self) -> Option<ListRef<'_>> {
        self.view.as_ref().and_then(|view| view.as_ref().list(&self.spec.field).ok())
    }

    fn core_len(&self) -> usize {
        self.core().map_or(0, ListRef::len)
    }

    pub fn is_clean(&self, py: Python<'_>) -> bool {
        let state = self.lock(py);
        if state.dirty {
            return false;
        }
        match &state.items {
            Items::Objs(objs) if self.spec.elem.is_message() => objs
                .iter()
                .flatten()
                .all(|obj| obj.bind(py).cast::<Message>().is_ok_and(|m| m.get().is_clean(py))),
            _ => true,
        }
    }

    fn is_objects(&self) -> bool {
        self.spec.elem.is_message() || self.spec.elem.is_text()
    }

    /// The values of an iterable, checked and converted.
    fn converted(&self, info: &Bound<'_, ClassInfo>, from: &Bound<'_, PyAny>) -> PyResult<Items> {
        let (py, elem) = (info.py(), &self.spec.elem);
        let wrong = || {
            let what = super::type_name(from);
            PyTypeError::new_err(format!(
                "{}: expected a list of {}, got {what}",
                elem.label,
                convert::expected(elem)
            ))
        };
        if from.is_instance_of::<PyString>()
            || from.is_instance_of::<pyo3::types::PyBytes>()
            || from.is_instance_of::<pyo3::types::PyDict>()
        {
            return Err(wrong());
        }
        let Ok(values) = from.try_iter() else { return Err(wrong()) };
        if self.is_objects() {
            let mut objs = Vec::with_capacity(from.len().unwrap_or(0));
            for value in values {
                match convert::single(py, info, elem, &value?)? {
                    Stored::Obj(obj) => objs.push(Some(obj)),
                    Stored::Bits(_) => {}
                }
            }
            return Ok(Items::Objs(objs));
        }
        let mut bits = Vec::with_capacity(from.len().unwrap_or(0));
        for value in values {
            bits.push(convert::number(elem, &value?)?);
        }
        Ok(Items::Bits(bits))
    }

    fn one(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Stored> {
        convert::single(py, self.info.bind(py), &self.spec.elem, value)
    }

    /// The object at a position, if it was made.
    #[inline]
    pub fn made(&self, py: Python<'_>, index: usize) -> Option<Py<PyAny>> {
        match &self.lock(py).items {
            Items::Objs(objs) => objs.get(index)?.as_ref().map(|obj| obj.clone_ref(py)),
            _ => None,
        }
    }

    pub fn len(&self, py: Python<'_>) -> usize {
        match &self.lock(py).items {
            Items::Core => self.core_len(),
            Items::Bits(bits) => bits.len(),
            Items::Objs(objs) => objs.len(),
        }
    }

    /// The element at a position that may be past the end.
    fn at(&self, py: Python<'_>, index: usize) -> PyResult<Option<Py<PyAny>>> {
        {
            let state = self.lock(py);
            match &state.items {
                Items::Bits(bits) => {
                    return bits
                        .get(index)
                        .map(|b| convert::from_bits(py, &self.spec.elem, *b))
                        .transpose();
                }
                Items::Objs(objs) => match objs.get(index) {
                    Some(Some(obj)) => return Ok(Some(obj.clone_ref(py))),
                    Some(None) => {}
                    None => return Ok(None),
                },
                Items::Core => {}
            }
        }
        match self.core().and_then(|core| core.get(index)) {
            None => Ok(None),
            Some(Value::Message(_)) => self.message(py, index).map(Some),
            Some(value) => convert::from_core(py, &self.spec.elem, value).map(Some),
        }
    }

    /// The message at a position of the core's list, made and kept.
    fn message(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        let child = self.info.get().child(py, &self.spec.elem)?;
        let made = self.fresh(child.bind(py), self.core(), index)?;
        let mut state = self.lock(py);
        if matches!(state.items, Items::Core) {
            state.items =
                Items::Objs(std::iter::repeat_with(|| None).take(self.core_len()).collect());
        }
        match &mut state.items {
            Items::Objs(objs) => match objs.get_mut(index) {
                Some(place) => Ok(place.get_or_insert(made).clone_ref(py)),
                None => Ok(made),
            },
            _ => Ok(made),
        }
    }

    fn fresh(
        &self,
        child: &Bound<'_, ClassInfo>,
        core: Option<ListRef<'_>>,
        index: usize,
    ) -> PyResult<Py<PyAny>> {
        let view = match (&self.view, core.and_then(|core| core.get(index))) {
            (Some(view), Some(Value::Message(m))) => view.child(m),
            _ => None,
        };
        Ok(Message::create(child, view, None)?.into_any().unbind())
    }

    /// All elements as a Python list.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.spec.elem.is_message() {
            return PyList::new(py, self.messages(py)?);
        }
        let elem = &self.spec.elem;
        // the guard is gone before a list is made: that can set off the garbage collector
        let all = match &self.lock(py).items {
            Items::Bits(bits) => Ok(bits.clone()),
            Items::Objs(objs) => Err(objs.iter().flatten().map(|o| o.clone_ref(py)).collect()),
            Items::Core => match self.core() {
                Some(core) => Err(core
                    .iter()
                    .map(|v| convert::from_core(py, elem, v))
                    .collect::<PyResult<Vec<_>>>()?),
                None => Err(Vec::new()),
            },
        };
        match all {
            Ok(bits) => PyList::new(
                py,
                bits.into_iter()
                    .map(|b| convert::from_bits(py, elem, b))
                    .collect::<PyResult<Vec<_>>>()?,
            ),
            Err(objs) => PyList::new(py, objs),
        }
    }

    /// All elements of a list of messages, made and kept.
    fn messages(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let mut missing: Vec<(usize, Py<PyAny>)> = Vec::new();
        {
            let wanted: Vec<usize> = match &self.lock(py).items {
                Items::Core => (0..self.core_len()).collect(),
                Items::Bits(_) => Vec::new(),
                Items::Objs(objs) if objs.iter().all(Option::is_some) => {
                    return Ok(objs.iter().flatten().map(|o| o.clone_ref(py)).collect());
                }
                Items::Objs(objs) => (0..objs.len()).filter(|&i| objs[i].is_none()).collect(),
            };
            if !wanted.is_empty() {
                let child = self.info.get().child(py, &self.spec.elem)?;
                let (child, core) = (child.bind(py), self.core());
                for index in wanted {
                    missing.push((index, self.fresh(child, core, index)?));
                }
            }
        }
        let mut state = self.lock(py);
        if matches!(state.items, Items::Core) {
            state.items =
                Items::Objs(std::iter::repeat_with(|| None).take(self.core_len()).collect());
        }
        let Items::Objs(objs) = &mut state.items else { return Ok(Vec::new()) };
        let mut dropped = Vec::new();
        for (index, made) in missing {
            match objs.get_mut(index) {
                Some(place @ None) => *place = Some(made),
                _ => dropped.push(made),
            }
        }
        let all = objs.iter().flatten().map(|o| o.clone_ref(py)).collect();
        drop(state);
        Ok(all)
    }

    /// Brings the elements out of the core message, so that they can be changed.
    fn own(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(self.lock(py).items, Items::Bits(_)) {
            return Ok(());
        }
        if !self.is_objects() {
            let bits: Vec<u64> = self
                .core()
                .map_or(Vec::new(), |core| core.iter().map(convert::core_bits).collect());
            let mut state = self.lock(py);
            if matches!(state.items, Items::Core) {
                state.items = Items::Bits(bits);
            }
            return Ok(());
        }
        let whole = match &self.lock(py).items {
            Items::Objs(objs) => objs.iter().all(Option::is_some),
            _ => false,
        };
        if whole {
            return Ok(());
        }
        let all = self.snapshot(py)?;
        let mut state = self.lock(py);
        let incomplete = match &state.items {
            Items::Objs(objs) => objs.iter().any(Option::is_none),
            _ => true,
        };
        if incomplete {
            let objs = all.iter().map(|o| Some(o.unbind())).collect();
            let _old = std::mem::replace(&mut state.items, Items::Objs(objs));
            drop(state);
        }
        Ok(())
    }

    /// What has to happen before the first change: the elements come out of the core, the list joins its message.
    fn begin_write(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.own(py)?;
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
        Ok(())
    }

    /// Replaces all elements by those of a Python list made from them.
    fn replace(slf: &Bound<'_, Self>, with: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let items = this.converted(this.info.bind(slf.py()), with)?;
        MessageList::begin_write(slf)?;
        let old = std::mem::replace(&mut this.lock(slf.py()).items, items);
        drop(old);
        Ok(())
    }

    fn push(slf: &Bound<'_, Self>, items: Items) -> PyResult<()> {
        MessageList::begin_write(slf)?;
        let mut state = slf.get().lock(slf.py());
        match (&mut state.items, items) {
            (Items::Bits(bits), Items::Bits(more)) => bits.extend(more),
            (Items::Objs(objs), Items::Objs(more)) => objs.extend(more),
            _ => {}
        }
        Ok(())
    }

    fn position(&self, py: Python<'_>, index: isize, what: &str) -> PyResult<usize> {
        let len = self.len(py);
        let at = if index < 0 { index + len as isize } else { index };
        match usize::try_from(at) {
            Ok(at) if at < len => Ok(at),
            _ => Err(PyIndexError::new_err(format!(
                "{}: {what} {index} is out of range for {len} elements",
                self.spec.label()
            ))),
        }
    }

    fn index_of(&self, value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        for (i, item) in self.snapshot(value.py())?.iter().enumerate() {
            if item.is(value) || item.eq(value)? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }
}

#[pymethods]
impl MessageList {
    fn __len__(&self, py: Python<'_>) -> usize {
        self.len(py)
    }

    fn __getitem__(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if index.is_instance_of::<PySlice>() {
            return Ok(self.snapshot(py)?.as_any().get_item(index)?.unbind());
        }
        let at = self.position(py, index.extract()?, "index")?;
        match self.at(py, at)? {
            Some(value) => Ok(value),
            None => Err(PyIndexError::new_err(format!(
                "{}: index {at} is out of range",
                self.spec.label()
            ))),
        }
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        index: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if index.is_instance_of::<PySlice>() {
            let all = this.snapshot(py)?;
            all.as_any().set_item(index, value)?;
            return MessageList::replace(slf, all.as_any());
        }
        let at = this.position(py, index.extract()?, "index")?;
        let stored = this.one(py, value)?;
        MessageList::begin_write(slf)?;
        let _old = match (&mut this.lock(py).items, stored) {
            (Items::Bits(bits), Stored::Bits(new)) => {
                if let Some(place) = bits.get_mut(at) {
                    *place = new;
                }
                None
            }
            (Items::Objs(objs), Stored::Obj(new)) => {
                objs.get_mut(at).and_then(|place| place.replace(new))
            }
            _ => None,
        };
        Ok(())
    }

    fn __delitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>) -> PyResult<()> {
        let all = slf.get().snapshot(slf.py())?;
        all.as_any().del_item(index)?;
        MessageList::replace(slf, all.as_any())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.snapshot(py)?.as_any().try_iter()?.into_any())
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.snapshot(py)?.call_method0("__reversed__")
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.index_of(value)?.is_some())
    }

    /// Adds a value at the end.
    fn append(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let items = match slf.get().one(slf.py(), value)? {
            Stored::Bits(bits) => Items::Bits(vec![bits]),
            Stored::Obj(obj) => Items::Objs(vec![Some(obj)]),
        };
        MessageList::push(slf, items)
    }

    /// Adds the values of an iterable at the end; none if one is refused.
    fn extend(slf: &Bound<'_, Self>, values: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        MessageList::push(slf, this.converted(this.info.bind(slf.py()), values)?)
    }

    fn __iadd__(slf: &Bound<'_, Self>, values: &Bound<'_, PyAny>) -> PyResult<()> {
        MessageList::extend(slf, values)
    }

    /// Puts a value before the one at `index`.
    fn insert(slf: &Bound<'_, Self>, index: isize, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let all = slf.get().snapshot(slf.py())?;
        all.call_method1("insert", (index, value))?;
        MessageList::replace(slf, all.as_any())
    }

    /// Takes out the value at `index` and gives it.
    #[pyo3(signature = (index=-1))]
    fn pop(slf: &Bound<'_, Self>, index: isize) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let at = this.position(py, index, "pop index")?;
        MessageList::begin_write(slf)?;
        let value = this.at(py, at)?;
        let _old = match &mut this.lock(py).items {
            Items::Bits(bits) if at < bits.len() => {
                bits.remove(at);
                None
            }
            Items::Objs(objs) if at < objs.len() => objs.remove(at),
            _ => None,
        };
        value.ok_or_else(|| {
            PyIndexError::new_err(format!("{}: index {index} is out of range", this.spec.label()))
        })
    }

    /// Takes out the first value that is equal.
    fn remove(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        match slf.get().index_of(value)? {
            Some(at) => MessageList::pop(slf, at as isize).map(drop),
            None => {
                Err(PyValueError::new_err(format!("{}: no such value", slf.get().spec.label())))
            }
        }
    }

    /// Takes out all values.
    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        MessageList::replace(slf, PyList::empty(slf.py()).as_any())
    }

    /// The position of the first value that is equal.
    #[pyo3(signature = (value, start=0, stop=None))]
    fn index(
        &self,
        value: &Bound<'_, PyAny>,
        start: isize,
        stop: Option<isize>,
    ) -> PyResult<usize> {
        let all = self.snapshot(value.py())?;
        all.call_method1("index", (value, start, stop.unwrap_or(isize::MAX)))?.extract()
    }

    /// How many values are equal.
    fn count(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.snapshot(value.py())?.call_method1("count", (value,))?.extract()
    }

    /// Turns the order round.
    fn reverse(slf: &Bound<'_, Self>) -> PyResult<()> {
        let all = slf.get().snapshot(slf.py())?;
        all.reverse()?;
        MessageList::replace(slf, all.as_any())
    }

    /// Sorts the values, as `list.sort` does.
    #[pyo3(signature = (*, key=None, reverse=false))]
    fn sort(slf: &Bound<'_, Self>, key: Option<Bound<'_, PyAny>>, reverse: bool) -> PyResult<()> {
        let (py, all) = (slf.py(), slf.get().snapshot(slf.py())?);
        let options = pyo3::types::PyDict::new(py);
        options.set_item("key", key)?;
        options.set_item("reverse", reverse)?;
        all.call_method("sort", (), Some(&options))?;
        MessageList::replace(slf, all.as_any())
    }

    /// The values as a plain list; messages are the same ones.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.snapshot(py)
    }

    fn __add__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let all = self.snapshot(py)?;
        for value in other.try_iter()? {
            all.append(value?)?;
        }
        Ok(all.into_any())
    }

    fn __richcmp__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        op: pyo3::basic::CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let theirs = match other.cast_exact::<MessageList>() {
            Ok(list) => list.get().snapshot(py)?.into_any(),
            Err(_)
                if other.is_instance_of::<PyList>()
                    || other.is_instance_of::<pyo3::types::PyTuple>() =>
            {
                py.get_type::<PyList>().call1((other,))?
            }
            Err(_) => return Ok(py.NotImplemented()),
        };
        self.snapshot(py)?.rich_compare(theirs, op)?.into_py_any(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.snapshot(py)?.repr()?.to_string_lossy().into_owned())
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyList>,))> {
        Ok((py.get_type::<PyList>().into_any(), (self.snapshot(py)?,)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.info)?;
        let Some(state) = self.state.visit(&visit) else { return Ok(()) };
        if let Some(owner) = &state.owner {
            visit.call(owner)?;
        }
        match &state.items {
            Items::Objs(objs) => objs.iter().flatten().try_for_each(|obj| visit.call(obj)),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        Python::attach(|py| {
            let mut state = self.lock(py);
            let old = (std::mem::replace(&mut state.items, Items::Core), state.owner.take());
            drop(state);
            drop(old);
        });
    }
}
