//! Messages to bytes, back to front. What was not touched is copied by the core; the rest is walked slot by slot.
//!
//! No lock is held while a nested message is written, so a message that contains itself ends at the depth limit.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use stubless_codec::wire::Writer;
use stubless_codec::{EncodeError, EncodeOptions, Kind, ListRef, MapRef, MessageView, Value};

use super::class::{Elem, FieldSpec, Shape};
use super::convert;
use super::instance::{Message, Slot};
use super::list::{Items, MessageList};
use super::map::MessageMap;

/// Messages nested deeper are refused: no peer reads more than a hundred levels.
const MAX_DEPTH: u32 = 200;

thread_local! {
    /// The buffer of this thread, kept from one message to the next; taken out while it is used.
    static BUFFER: Cell<Writer> = Cell::new(Writer::new());
}

fn with_buffer<T>(f: impl FnOnce(&mut Writer) -> PyResult<T>) -> PyResult<T> {
    let mut writer = BUFFER.take();
    writer.clear();
    let out = f(&mut writer);
    BUFFER.set(writer);
    out
}

/// The encoded form as Python `bytes`.
pub(crate) fn to_bytes<'py>(py: Python<'py>, m: &Message) -> PyResult<Bound<'py, PyBytes>> {
    with_buffer(|w| {
        Encoder { py, partial: false, deterministic: false }.message(m, w, MAX_DEPTH)?;
        Ok(PyBytes::new(py, w.as_slice()))
    })
}

/// The encoded form, whether or not required fields are set.
pub(crate) fn to_bytes_partial<'py>(py: Python<'py>, m: &Message) -> PyResult<Bound<'py, PyBytes>> {
    with_buffer(|w| {
        Encoder { py, partial: true, deterministic: false }.message(m, w, MAX_DEPTH)?;
        Ok(PyBytes::new(py, w.as_slice()))
    })
}

/// The encoded form for the engine.
pub(crate) fn to_shared(py: Python<'_>, m: &Message) -> PyResult<Bytes> {
    with_buffer(|w| {
        Encoder { py, partial: false, deterministic: false }.message(m, w, MAX_DEPTH)?;
        Ok(w.take())
    })
}

/// The message as it is now, as a core message: the one it was decoded to if nothing was touched. `None`: empty.
pub(crate) fn snapshot(py: Python<'_>, m: &Message) -> PyResult<Option<MessageView>> {
    if m.is_clean(py) {
        return Ok(m.view.clone());
    }
    let bytes = with_buffer(|w| {
        Encoder { py, partial: true, deterministic: false }.message(m, w, MAX_DEPTH)?;
        Ok(w.take())
    })?;
    let core = m.info.get().ty.decode(bytes).map_err(|e| super::decode_error(&e))?;
    Ok(Some(core.into_view()))
}

/// As [`snapshot`], with an empty core message where there is none.
pub(crate) fn snapshot_or_empty(py: Python<'_>, m: &Message) -> PyResult<MessageView> {
    Ok(match snapshot(py, m)? {
        Some(view) => view,
        None => m.info.get().ty.new_message().into_view(),
    })
}

pub(crate) fn encode_error(e: EncodeError) -> PyErr {
    PyValueError::new_err(e.to_string())
}

#[derive(Clone, Copy)]
struct Encoder<'py> {
    py: Python<'py>,
    /// Required fields may be missing.
    partial: bool,
    deterministic: bool,
}

impl Encoder<'_> {
    fn options(self) -> EncodeOptions {
        let mut options = EncodeOptions::default();
        options.allow_partial = self.partial;
        options.deterministic = self.deterministic;
        options
    }

    fn message(self, m: &Message, w: &mut Writer, depth: u32) -> PyResult<()> {
        let info = m.info.get();
        let Some(depth) = depth.checked_sub(1) else {
            return Err(PyValueError::new_err(format!(
                "{}: nested deeper than {MAX_DEPTH} messages, or in itself",
                info.full_name()
            )));
        };
        if !self.partial {
            for spec in info.required.iter().filter_map(|&i| info.fields.get(i)) {
                if !m.is_set(self.py, spec) {
                    return Err(PyValueError::new_err(format!(
                        "{}: a required field, and not set",
                        spec.label()
                    )));
                }
            }
        }
        if m.is_clean(self.py) {
            return match m.core() {
                Some(core) => core.encode_into(w, self.options()).map_err(encode_error),
                None => Ok(()),
            };
        }
        self.rare(m, w, depth)?;
        let core = m.core();
        let mut state = m.lock(self.py);
        for (index, hot) in info.hot.iter().enumerate().rev() {
            match state.slots.get(index) {
                Some(Slot::Bits(bits)) => {
                    if hot.presence || *bits != 0 {
                        push_bits(w, hot.kind, *bits);
                        w.push_tag(hot.tag);
                    }
                }
                Some(Slot::Obj(obj)) if hot.plain => {
                    let raw = raw(obj.bind(self.py))?;
                    if hot.presence || !raw.is_empty() {
                        w.push_bytes(raw);
                        w.push_tag(hot.tag);
                    }
                }
                Some(Slot::Obj(obj)) => {
                    let obj = obj.clone_ref(self.py);
                    drop(state);
                    self.nested(&info.fields[index], obj.bind(self.py), w, depth)?;
                    state = m.lock(self.py);
                }
                Some(Slot::Unread) | None => {
                    if let Some(core) = core {
                        let spec = &info.fields[index];
                        if let Some(value) = core.present(&spec.field) {
                            self.core_field(spec, value, w)?;
                        }
                    }
                }
                Some(Slot::Absent | Slot::Weak(_)) => {}
            }
        }
        Ok(())
    }

    /// Unknown fields, and extensions before them.
    fn rare(self, m: &Message, w: &mut Writer, depth: u32) -> PyResult<()> {
        let info = m.info.get();
        let mut drop_unknown = false;
        if let Some(rare) = &m.lock(self.py).rare {
            w.push_raw(&rare.unknown);
            drop_unknown = rare.drop_unknown;
        }
        if let Some(core) = m.core().filter(|_| !drop_unknown) {
            for unknown in core.unknown().rev() {
                w.push_raw(unknown);
            }
        }
        if info.ty.extension_ranges().is_empty() {
            return Ok(());
        }
        for spec in extensions(self.py, m).iter().rev() {
            let obj = match m.lock(self.py).slot(spec) {
                Slot::Absent | Slot::Weak(_) => None,
                Slot::Unread => {
                    if let Some(value) = m.core().and_then(|core| core.present(&spec.field)) {
                        self.core_field(spec, value, w)?;
                    }
                    None
                }
                Slot::Bits(bits) => {
                    push_bits(w, spec.elem.kind, *bits);
                    w.push_tag(spec.elem.tag);
                    None
                }
                Slot::Obj(obj) => Some(obj.clone_ref(self.py)),
            };
            if let Some(obj) = obj {
                self.nested(spec, obj.bind(self.py), w, depth)?;
            }
        }
        Ok(())
    }

    /// The value of a field that is an object, whatever its shape. No guard is held.
    fn nested(
        self,
        spec: &FieldSpec,
        obj: &Bound<'_, PyAny>,
        w: &mut Writer,
        depth: u32,
    ) -> PyResult<()> {
        match spec.shape {
            Shape::Single => self.tagged(&spec.elem, obj, w, depth),
            Shape::List => self.list(spec, obj.cast_exact::<MessageList>()?.get(), w, depth),
            Shape::Map => self.map(spec, obj.cast_exact::<MessageMap>()?.get(), w, depth),
        }
    }

    /// A text or message and the tag in front of it.
    fn tagged(
        self,
        elem: &Elem,
        obj: &Bound<'_, PyAny>,
        w: &mut Writer,
        depth: u32,
    ) -> PyResult<()> {
        match elem.kind {
            Kind::String | Kind::Bytes => w.push_bytes(raw(obj)?),
            Kind::Group => {
                w.push_tag(elem.field.number() << 3 | 4);
                self.message(obj.cast::<Message>()?.get(), w, depth)?;
            }
            Kind::Message => {
                let mark = w.len();
                self.message(obj.cast::<Message>()?.get(), w, depth)?;
                w.push_length(mark);
            }
            _ => push_bits(w, elem.kind, convert::number(elem, obj)?),
        }
        w.push_tag(elem.tag);
        Ok(())
    }

    fn list(
        self,
        spec: &FieldSpec,
        list: &MessageList,
        w: &mut Writer,
        depth: u32,
    ) -> PyResult<()> {
        let from_core = {
            let state = list.lock(self.py);
            match &state.items {
                Items::Core => true,
                Items::Bits(bits) => {
                    push_bits_list(w, spec, bits.iter().rev().copied());
                    return Ok(());
                }
                Items::Objs(objs) if spec.elem.is_text() => {
                    for obj in objs.iter().rev().flatten() {
                        w.push_bytes(raw(obj.bind(self.py))?);
                        w.push_tag(spec.elem.tag);
                    }
                    return Ok(());
                }
                Items::Objs(_) => false,
            }
        };
        let core = list.core();
        if from_core {
            return core.map_or(Ok(()), |core| self.core_list(spec, core, w));
        }
        // messages: no guard while one is written, it has its own
        let mut index = list.len(self.py);
        while index > 0 {
            index -= 1;
            match (list.made(self.py, index), core.and_then(|core| core.get(index))) {
                (Some(obj), _) => self.tagged(&spec.elem, obj.bind(self.py), w, depth)?,
                (None, Some(value)) => self.core_value(&spec.elem, value, w)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn map(self, spec: &FieldSpec, map: &MessageMap, w: &mut Writer, depth: u32) -> PyResult<()> {
        let dict = map.dict_if_made(self.py);
        let Some(key) = &spec.key else { return Ok(()) };
        let Some(dict) = dict else {
            return match map.core() {
                Some(core) => self.core_map(spec, core, w),
                None => Ok(()),
            };
        };
        let entries: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> =
            dict.bind(self.py).cast::<PyDict>()?.iter().collect();
        for (k, v) in entries.iter().rev() {
            let mark = w.len();
            self.tagged(&spec.elem, v, w, depth)?;
            self.tagged(key, k, w, depth)?;
            w.push_length(mark);
            w.push_tag(spec.field.tag());
        }
        Ok(())
    }

    fn core_field(self, spec: &FieldSpec, value: Value<'_>, w: &mut Writer) -> PyResult<()> {
        match value {
            Value::List(list) => self.core_list(spec, list, w),
            Value::Map(map) => self.core_map(spec, map, w),
            value => self.core_value(&spec.elem, value, w),
        }
    }

    fn core_list(self, spec: &FieldSpec, list: ListRef<'_>, w: &mut Writer) -> PyResult<()> {
        if spec.elem.is_message() || spec.elem.is_text() {
            return list.iter().rev().try_for_each(|value| self.core_value(&spec.elem, value, w));
        }
        push_bits_list(w, spec, list.iter().rev().map(convert::core_bits));
        Ok(())
    }

    fn core_map(self, spec: &FieldSpec, map: MapRef<'_>, w: &mut Writer) -> PyResult<()> {
        let Some(key) = &spec.key else { return Ok(()) };
        for i in (0..map.len()).rev() {
            let Some((k, v)) = map.entry(i) else { continue };
            let mark = w.len();
            self.core_value(&spec.elem, v, w)?;
            self.core_value(key, k, w)?;
            w.push_length(mark);
            w.push_tag(spec.field.tag());
        }
        Ok(())
    }

    fn core_value(self, elem: &Elem, value: Value<'_>, w: &mut Writer) -> PyResult<()> {
        match value {
            Value::Str(text) => w.push_bytes(text.as_bytes()),
            Value::Bytes(bytes) => w.push_bytes(bytes),
            Value::Message(m) if elem.kind == Kind::Group => {
                w.push_tag(elem.field.number() << 3 | 4);
                m.encode_into(w, self.options()).map_err(encode_error)?;
            }
            Value::Message(m) => {
                let mark = w.len();
                m.encode_into(w, self.options()).map_err(encode_error)?;
                w.push_length(mark);
            }
            value => push_bits(w, elem.kind, convert::core_bits(value)),
        }
        w.push_tag(elem.tag);
        Ok(())
    }
}

/// The bytes of a text.
#[inline]
fn raw<'a>(obj: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    match obj.cast_exact::<PyString>() {
        Ok(text) => Ok(text.to_str()?.as_bytes()),
        Err(_) => Ok(obj.cast::<PyBytes>()?.as_bytes()),
    }
}

/// The extensions of a message that are set or were touched, in number order.
fn extensions(py: Python<'_>, m: &Message) -> Vec<Arc<FieldSpec>> {
    let mut found: Vec<Arc<FieldSpec>> =
        m.lock(py).extensions().iter().map(|e| e.0.clone()).collect();
    if let Some(core) = m.core() {
        for (field, _) in core.fields().filter(|f| f.0.is_extension()) {
            if !found.iter().any(|s| s.field == field) {
                found.push(m.info.get().extension(py, field));
            }
        }
    }
    found.sort_by_key(|s| s.field.number());
    found
}

/// The elements of a numeric list, last first.
fn push_bits_list(w: &mut Writer, spec: &FieldSpec, bits: impl ExactSizeIterator<Item = u64>) {
    if bits.len() == 0 {
        return;
    }
    if !spec.field.is_packed() {
        for bits in bits {
            push_bits(w, spec.elem.kind, bits);
            w.push_tag(spec.elem.tag);
        }
        return;
    }
    let mark = w.len();
    let kind = spec.elem.kind;
    bits.for_each(|bits| push_bits(w, kind, bits));
    w.push_length(mark);
    w.push_tag(spec.elem.tag);
}

#[inline]
fn push_bits(w: &mut Writer, kind: Kind, bits: u64) {
    match kind {
        Kind::Int32 | Kind::Enum => w.push_i32(bits as i32),
        Kind::SInt32 => w.push_zigzag((bits as i32).into()),
        Kind::SInt64 => w.push_zigzag(bits as i64),
        Kind::Double | Kind::Fixed64 | Kind::SFixed64 => w.push_fixed64(bits),
        Kind::Float | Kind::Fixed32 | Kind::SFixed32 => w.push_fixed32(bits as u32),
        Kind::Bool => w.push_byte(u8::from(bits != 0)),
        _ => w.push_varint(bits),
    }
}
