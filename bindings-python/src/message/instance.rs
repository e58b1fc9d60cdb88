//! `Message`: what an instance holds, and how a field is read, written, cleared and asked for.
//!
//! A field that was never touched is read from the shared core message. A message field that is not set reads as an
//! empty message that knows where it belongs and is put there by the first write to it; its parent knows it weakly, so
//! that reading twice gives the same object and no circle of references is made.

use std::cell::Cell;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use stubless_codec::{Kind, MessageRef, MessageView, Value};

use super::cell::{Guard, Guarded};
use super::class::{ClassInfo, FieldSpec, Shape};
use super::convert::{self, Stored};
use super::list::MessageList;
use super::map::MessageMap;

/// What an instance holds of one field.
#[derive(Default)]
pub(crate) enum Slot {
    /// As in the core message, or unset if there is none.
    #[default]
    Unread,
    /// Unset, whatever the core message says.
    Absent,
    /// A number, bool or enum that was written.
    Bits(u64),
    /// A text, message or container.
    Obj(Py<PyAny>),
    /// An empty message or container somebody may still hold, which joins this message when it is written to.
    Weak(Py<PyWeakrefReference>),
}

/// Where an empty message belongs once it is written to.
pub(crate) struct Parent {
    pub message: Py<Message>,
    pub spec: Arc<FieldSpec>,
}

#[derive(Default)]
pub(crate) struct State {
    /// By field position; empty as long as nothing was written or found.
    pub slots: Vec<Slot>,
    pub parent: Option<Parent>,
    /// What few messages have.
    pub rare: Option<Box<Rare>>,
    /// Something was set or cleared here (not: in a nested message or container).
    pub touched: bool,
}

/// What few messages have.
#[derive(Default)]
pub(crate) struct Rare {
    pub extensions: Vec<(Arc<FieldSpec>, Slot)>,
    /// Fields the type does not know, encoded, that a merge brought.
    pub unknown: Vec<u8>,
    /// Those of the core message do not count any more.
    pub drop_unknown: bool,
}

impl State {
    #[inline(always)]
    pub fn slot(&self, spec: &FieldSpec) -> &Slot {
        static UNREAD: Slot = Slot::Unread;
        if spec.extension {
            let number = spec.field.number();
            return self
                .extensions()
                .iter()
                .find(|e| e.0.field.number() == number)
                .map_or(&UNREAD, |e| &e.1);
        }
        self.slots.get(spec.index).unwrap_or(&UNREAD)
    }

    pub fn extensions(&self) -> &[(Arc<FieldSpec>, Slot)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.extensions)
    }

    /// All slots there are.
    pub fn all(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().chain(self.extensions().iter().map(|e| &e.1))
    }

    /// Puts a slot in place and gives the old one back, to be dropped where no lock is held.
    #[must_use]
    pub fn put(&mut self, info: &ClassInfo, spec: &Arc<FieldSpec>, slot: Slot) -> Slot {
        if spec.extension {
            let number = spec.field.number();
            let extensions = &mut self.rare.get_or_insert_default().extensions;
            if let Some(found) = extensions.iter_mut().find(|e| e.0.field.number() == number) {
                return std::mem::replace(&mut found.1, slot);
            }
            extensions.push((spec.clone(), slot));
            return Slot::Unread;
        }
        if self.slots.is_empty() {
            self.slots = unread(info);
        }
        match self.slots.get_mut(spec.index) {
            Some(place) => std::mem::replace(place, slot),
            None => slot,
        }
    }

    /// Sets a field as a write does: the other members of its oneof go.
    #[must_use]
    pub fn write(
        &mut self,
        info: &ClassInfo,
        spec: &Arc<FieldSpec>,
        slot: Slot,
    ) -> (Slot, Vec<Slot>) {
        self.touched = true;
        let old = self.put(info, spec, slot);
        let mut gone = Vec::new();
        if let Some(oneof) = spec.oneof.and_then(|i| info.oneofs.get(i)) {
            for &member in oneof.members.iter().filter(|&&m| m != spec.index) {
                if let Some(other) = info.fields.get(member) {
                    gone.push(self.put(info, other, Slot::Absent));
                }
            }
        }
        (old, gone)
    }
}

/// Slots for all fields of a type.
fn unread(info: &ClassInfo) -> Vec<Slot> {
    std::iter::repeat_with(Slot::default).take(info.fields.len()).collect()
}

thread_local! {
    /// What the next call of a message class's `__new__` on this thread is to hold: set right before the call.
    static NEXT: Cell<Option<Message>> = const { Cell::new(None) };
}

/// A protobuf message. Its class comes from a schema: `schema.message("pkg.Name")`.
#[pyclass(frozen, subclass, weakref, mapping, module = "stubless", name = "Message")]
pub(crate) struct Message {
    pub info: Py<ClassInfo>,
    /// What was decoded. Never written to.
    pub view: Option<MessageView>,
    pub state: Guarded<State>,
}

impl Message {
    fn fresh(
        info: &Bound<'_, ClassInfo>,
        view: Option<MessageView>,
        parent: Option<Parent>,
    ) -> Message {
        Message {
            info: info.clone().unbind(),
            view,
            state: Guarded::new(State { parent, ..State::default() }),
        }
    }

    /// An instance of the class.
    pub fn create<'py>(
        info: &Bound<'py, ClassInfo>,
        view: Option<MessageView>,
        parent: Option<Parent>,
    ) -> PyResult<Bound<'py, Message>> {
        Message::fresh(info, view, parent).into_object(info)
    }

    fn into_object<'py>(self, info: &Bound<'py, ClassInfo>) -> PyResult<Bound<'py, Message>> {
        let class = info.get().class(info.py())?;
        NEXT.set(Some(self));
        match class.call0() {
            Ok(made) => Ok(made.cast_into::<Message>()?),
            Err(e) => {
                NEXT.set(None);
                Err(e)
            }
        }
    }

    /// What `Msg(...)` makes; the instance itself is made by Python.
    pub fn construct(
        class: &Bound<'_, pyo3::types::PyType>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Message> {
        if let Some(next) = NEXT.take() {
            return Ok(next);
        }
        let py = class.py();
        let info = match class.getattr(pyo3::intern!(py, "[class]")) {
            Ok(info) => info.cast_into::<ClassInfo>()?,
            Err(_) => {
                return Err(PyTypeError::new_err(
                    "a message class comes from a schema: schema.message(\"pkg.Name\")",
                ));
            }
        };
        let (mut view, mut state) = (None, State::default());
        match args.len() {
            0 => {}
            1 => {
                let from = args.get_item(0)?;
                match convert::whole(py, &info, &from)? {
                    Some(made) => view = super::encode::snapshot(py, made.get())?,
                    None => fill(py, &info, &mut state, &from)?,
                }
            }
            n => {
                return Err(PyTypeError::new_err(format!(
                    "{} takes one mapping or keywords, not {n} values",
                    info.get().full_name()
                )));
            }
        }
        if let Some(kwargs) = kwargs {
            for (name, value) in kwargs {
                fill_one(py, &info, &mut state, &name, &value)?;
            }
        }
        Ok(Message { info: info.unbind(), view, state: Guarded::new(state) })
    }

    /// A message from a mapping of field names to values.
    pub fn from_mapping<'py>(
        py: Python<'py>,
        info: &Bound<'py, ClassInfo>,
        from: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Message>> {
        let mut state = State::default();
        fill(py, info, &mut state, from)?;
        Message { info: info.clone().unbind(), view: None, state: Guarded::new(state) }
            .into_object(info)
    }

    #[inline(always)]
    pub fn lock<'a>(&'a self, py: Python<'a>) -> Guard<'a, State> {
        self.state.lock(py)
    }

    /// The core message, for reading what was not touched.
    #[inline]
    pub fn core(&self) -> Option<MessageRef<'_>> {
        self.view.as_ref().map(MessageView::as_ref)
    }

    /// The value of a field.
    #[inline]
    pub fn get(
        &self,
        py: Python<'_>,
        this: &Bound<'_, Message>,
        spec: &Arc<FieldSpec>,
    ) -> PyResult<Py<PyAny>> {
        let unread = {
            let mut state = self.lock(py);
            match state.slot(spec) {
                Slot::Bits(bits) => return convert::from_bits(py, &spec.elem, *bits),
                Slot::Obj(obj) => return Ok(obj.clone_ref(py)),
                Slot::Weak(weak) => {
                    if let Some(obj) = weak.bind(py).upgrade() {
                        return Ok(obj.unbind());
                    }
                    false
                }
                Slot::Absent if spec.plain => return convert::default(py, spec),
                Slot::Absent => false,
                Slot::Unread if spec.plain => {
                    let Some(core) = self.core() else { return convert::default(py, spec) };
                    if spec.elem.kind == Kind::String && spec.elem.utf8 {
                        let text = core.str(&spec.field).map_err(convert::value_error)?;
                        // made under the guard: a text is nothing the garbage collector looks at
                        let obj = PyString::new(py, text).into_any().unbind();
                        drop(state.put(self.info.get(), spec, Slot::Obj(obj.clone_ref(py))));
                        return Ok(obj);
                    }
                    let value = core.try_get(&spec.field).map_err(convert::value_error)?;
                    return convert::from_core(py, &spec.elem, value);
                }
                Slot::Unread => true,
            }
        };
        self.make(py, this, spec, unread)
    }

    /// The message or container of a field that has none yet.
    fn make(
        &self,
        py: Python<'_>,
        this: &Bound<'_, Message>,
        spec: &Arc<FieldSpec>,
        unread: bool,
    ) -> PyResult<Py<PyAny>> {
        let present = match (unread, &self.view) {
            (true, Some(view)) => view.as_ref().present(&spec.field).map(|value| (view, value)),
            _ => None,
        };
        let info = self.info.bind(py);
        let detached = self.lock(py).parent.is_some();
        let owner = || detached.then(|| this.clone().unbind());
        let (obj, weak) = match (spec.shape, present) {
            (Shape::Single, Some((view, Value::Message(child)))) => {
                let child_info = info.get().child(py, &spec.elem)?;
                (Message::create(child_info.bind(py), view.child(child), None)?.into_any(), false)
            }
            (Shape::Single, _) => {
                let child_info = info.get().child(py, &spec.elem)?;
                let parent = Parent { message: this.clone().unbind(), spec: spec.clone() };
                (Message::create(child_info.bind(py), None, Some(parent))?.into_any(), true)
            }
            (Shape::List, from) => {
                let view = from.map(|(view, _)| view.clone());
                (MessageList::create(info, spec, view, owner())?.into_any(), detached)
            }
            (Shape::Map, from) => {
                let view = from.map(|(view, _)| view.clone());
                (MessageMap::create(info, spec, view, owner())?.into_any(), detached)
            }
        };
        let slot = match weak {
            true => Slot::Weak(PyWeakrefReference::new(&obj)?.unbind()),
            false => Slot::Obj(obj.clone().unbind()),
        };
        // somebody else may have read or written the field meanwhile: theirs counts
        let (answer, _dropped) = {
            let mut state = self.lock(py);
            let theirs = match state.slot(spec) {
                Slot::Obj(obj) => Some(obj.clone_ref(py)),
                Slot::Weak(weak) => weak.bind(py).upgrade().map(Bound::unbind),
                _ => None,
            };
            match theirs {
                Some(theirs) => (theirs, slot),
                None => (obj.unbind(), state.put(info.get(), spec, slot)),
            }
        };
        Ok(answer)
    }

    /// Sets a field; `None` clears it.
    pub fn set(
        &self,
        py: Python<'_>,
        this: &Bound<'_, Message>,
        spec: &Arc<FieldSpec>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if value.is_none() {
            self.unset(py, this, spec);
            return Ok(());
        }
        if spec.shape != Shape::Single {
            // `m.list += [...]` sets the field to the container it already has
            let mine = match self.lock(py).slot(spec) {
                Slot::Obj(obj) => obj.as_ptr() == value.as_ptr(),
                Slot::Weak(weak) => weak.bind(py).upgrade().is_some_and(|o| o.is(value)),
                _ => false,
            };
            if mine {
                return Ok(());
            }
        }
        let slot = Slot::from(convert::field(py, self.info.bind(py), spec, value)?);
        attach(py, this);
        let dropped = self.lock(py).write(self.info.get(), spec, slot);
        drop(dropped);
        Ok(())
    }

    /// Unsets a field.
    pub fn unset(&self, py: Python<'_>, this: &Bound<'_, Message>, spec: &Arc<FieldSpec>) {
        attach(py, this);
        let dropped = {
            let mut state = self.lock(py);
            state.touched = true;
            state.put(self.info.get(), spec, Slot::Absent)
        };
        drop(dropped);
    }

    /// Whether a field is set: for fields without presence, whether it is not zero or empty.
    pub fn is_set(&self, py: Python<'_>, spec: &FieldSpec) -> bool {
        let obj = {
            let state = self.lock(py);
            match state.slot(spec) {
                Slot::Absent | Slot::Weak(_) => return false,
                Slot::Bits(bits) => return spec.presence || *bits != 0,
                Slot::Unread => return self.core().is_some_and(|core| core.has(&spec.field)),
                Slot::Obj(_) if spec.presence => return true,
                Slot::Obj(obj) => obj.clone_ref(py),
            }
        };
        // no presence: a text or a container, set if it is not empty
        obj.bind(py).len().is_ok_and(|len| len > 0)
    }

    /// Whether this message encodes as its core message does.
    pub fn is_clean(&self, py: Python<'_>) -> bool {
        let state = self.lock(py);
        !state.touched
            && state.all().all(|slot| match slot {
                Slot::Obj(obj) => clean(obj.bind(py)),
                _ => true,
            })
    }
}

/// Whether a slot's object is as the core message has it.
fn clean(obj: &Bound<'_, PyAny>) -> bool {
    if let Ok(m) = obj.cast::<Message>() {
        return m.get().is_clean(obj.py());
    }
    if let Ok(list) = obj.cast_exact::<MessageList>() {
        return list.get().is_clean(obj.py());
    }
    match obj.cast_exact::<MessageMap>() {
        Ok(map) => map.get().is_clean(obj.py()),
        Err(_) => true,
    }
}

/// Puts a message that is about to be written to where it belongs, and so on upwards.
pub(crate) fn attach(py: Python<'_>, this: &Bound<'_, Message>) {
    let mut current = this.clone();
    loop {
        let Some(parent) = current.get().lock(py).parent.take() else { return };
        let above = parent.message.into_bound(py);
        if !adopt(&above, &parent.spec, current.as_any()) {
            return;
        }
        current = above;
    }
}

/// Makes `child` the value of a field that knows it weakly; `false` if the field has been given another value since.
pub(crate) fn adopt(
    above: &Bound<'_, Message>,
    spec: &Arc<FieldSpec>,
    child: &Bound<'_, PyAny>,
) -> bool {
    let (py, m) = (above.py(), above.get());
    let dropped = {
        let mut state = m.lock(py);
        let mine = match state.slot(spec) {
            Slot::Weak(weak) => weak.bind(py).upgrade().is_some_and(|o| o.is(child)),
            _ => false,
        };
        if !mine {
            return false;
        }
        state.write(m.info.get(), spec, Slot::Obj(child.clone().unbind()))
    };
    drop(dropped);
    true
}

impl From<Stored> for Slot {
    fn from(stored: Stored) -> Slot {
        match stored {
            Stored::Bits(bits) => Slot::Bits(bits),
            Stored::Obj(obj) => Slot::Obj(obj),
        }
    }
}

/// Sets the fields a mapping names.
fn fill(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    state: &mut State,
    from: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if let Ok(from) = from.cast_exact::<PyDict>() {
        for (name, value) in from {
            fill_one(py, info, state, &name, &value)?;
        }
        return Ok(());
    }
    let Ok(from) = from.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "{}: expected a mapping of field names to values, got {}",
            info.get().full_name(),
            super::type_name(from)
        )));
    };
    for pair in from.items()? {
        let (name, value) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        fill_one(py, info, state, &name, &value)?;
    }
    Ok(())
}

#[inline]
fn fill_one(
    py: Python<'_>,
    info: &Bound<'_, ClassInfo>,
    state: &mut State,
    name: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let class = info.get();
    state.touched = true;
    if let Some(index) = class.position(name)
        && let Some(spec) = class.fields.get(index)
    {
        let slot = match value.is_none() {
            true => Slot::Absent,
            false => Slot::from(convert::field(py, info, spec, value)?),
        };
        if state.slots.is_empty() {
            state.slots = unread(class);
        }
        if spec.oneof.is_some() && !matches!(slot, Slot::Absent) {
            drop(state.write(class, spec, slot));
        } else if let Some(place) = state.slots.get_mut(index) {
            *place = slot;
        }
        return Ok(());
    }
    let Some(spec) = class.find(py, name)? else {
        return Err(PyValueError::new_err(class.no_such_field(name)));
    };
    let slot = match value.is_none() {
        true => Slot::Absent,
        false => Slot::from(convert::field(py, info, &spec, value)?),
    };
    drop(state.put(class, &spec, slot));
    Ok(())
}
