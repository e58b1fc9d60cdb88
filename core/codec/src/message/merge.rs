//! Copying, merging and comparing whole messages.

use super::arena::{ArenaPtr, Exhausted};
use super::raw::{Place, RawMessage, RawVec};
use super::view::{ListRef, MapRef, MessageRef};
use crate::schema::table::{FieldEntry, MessageTable, Shape, Slot, Tables};
use crate::wire::EncodeOptions;

/// A copy of `from` in `arena`; both of the same table.
pub(crate) fn copy(from: RawMessage, arena: ArenaPtr) -> Result<RawMessage, Exhausted> {
    let to = RawMessage::new(from.table(), arena)?;
    merge(to, from, arena)?;
    Ok(to)
}

/// Protobuf's merge: what is set in `from` replaces what is in `to`, messages merge, lists append, map entries replace.
pub(crate) fn merge(to: RawMessage, from: RawMessage, arena: ArenaPtr) -> Result<(), Exhausted> {
    debug_assert!(std::ptr::eq(to.table_ptr(), from.table_ptr()));
    let (table, tables) = (from.table(), from.tables());
    for entry in &table.fields {
        if !from.is_set(entry) {
            continue;
        }
        let (target, source) = (to.place(entry), from.place(entry));
        match entry.shape {
            Shape::List => append(target.vec_mut(), source.vec(), entry, arena)?,
            Shape::Map => put_all(
                target.vec_mut(),
                source.vec(),
                &tables.messages[entry.sub as usize],
                arena,
            )?,
            Shape::Single => {
                let had = to.bit(entry) && !entry.is(FieldEntry::IMPLICIT);
                merge_single(target, source, entry, had, arena)?;
                to.set_bit(entry);
            }
            Shape::Oneof => {
                let had = to.case(entry.presence) == entry.number;
                merge_single(target, source, entry, had, arena)?;
                to.set_case(entry.presence, entry.number);
            }
        }
    }
    let from = MessageRef::new(from);
    for slot in from.extension_slots() {
        let entry = &tables.extensions[slot.index as usize].entry;
        let Some(source) = from.raw.find_extension(slot.number) else { continue };
        let had = to.find_extension(slot.number).is_some();
        let target = to.put_extension(slot.number, slot.index)?;
        match entry.shape {
            Shape::List => append(target.vec_mut(), source.vec(), entry, arena)?,
            _ => merge_single(target, source, entry, had, arena)?,
        }
    }
    for unknown in from.unknown() {
        to.add_unknown(arena, arena.copy(unknown)?)?;
    }
    Ok(())
}

/// Copies one value; `had` says whether `target` holds a value of this field already.
fn merge_single(
    target: Place,
    source: Place,
    entry: &FieldEntry,
    had: bool,
    arena: ArenaPtr,
) -> Result<(), Exhausted> {
    if let (Slot::Message, true, Some(from), Some(to)) =
        (entry.slot, had, source.message(), target.message())
    {
        return merge(to, from, arena);
    }
    copy_value(target, source, entry.slot, arena)
}

fn copy_value(target: Place, source: Place, slot: Slot, arena: ArenaPtr) -> Result<(), Exhausted> {
    match slot {
        Slot::Text => {
            let text = source.text();
            target.set_text(arena.copy(text)?);
        }
        Slot::Message => target.set_message(match source.message() {
            Some(m) => Some(copy(m, arena)?),
            None => None,
        }),
        slot => target.set_bits(slot, source.bits(slot)),
    }
    Ok(())
}

pub(crate) fn append(
    to: &mut RawVec,
    from: &RawVec,
    entry: &FieldEntry,
    arena: ArenaPtr,
) -> Result<(), Exhausted> {
    let stride = entry.slot.size();
    to.reserve(arena, from.len as usize, stride)?;
    for i in 0..from.len as usize {
        // made before the place is taken, so that a failure leaves no half-written element
        let copied = match entry.slot {
            Slot::Message => {
                from.element(i, stride).message().map(|m| copy(m, arena)).transpose()?
            }
            _ => None,
        };
        let text = match entry.slot {
            Slot::Text => Some(arena.copy(from.element(i, stride).text())?),
            _ => None,
        };
        let (target, source) = (to.push(arena, stride)?, from.element(i, stride));
        match (entry.slot, text) {
            (Slot::Message, _) => target.set_message(copied),
            (_, Some(text)) => target.set_text(text),
            (slot, None) => target.set_bits(slot, source.bits(slot)),
        }
    }
    Ok(())
}

fn put_all(
    to: &mut RawVec,
    from: &RawVec,
    table: &MessageTable,
    arena: ArenaPtr,
) -> Result<(), Exhausted> {
    let Some(layout) = table.map else { return Ok(()) };
    let (stride, value) = (layout.stride as usize, layout.value_offset as usize);
    let (key_slot, value_slot) = (table.fields[0].slot, table.fields[1].slot);
    to.reserve(arena, from.len as usize, stride)?;
    for i in 0..from.len as usize {
        let source = from.element(i, stride);
        let target = to.push(arena, stride)?;
        // an entry of zeros is a valid one, should the copy fail half-way
        target.zero_bytes(stride);
        copy_value(target, source, key_slot, arena)?;
        copy_value(target.offset(value), source.offset(value), value_slot, arena)?;
    }
    super::map::keep_last(to, stride, key_slot);
    Ok(())
}

/// Same type, same fields set, same values; maps in any order, unknown fields byte by byte. Two types of one name from two
/// schemas are compared by their encodings.
pub(crate) fn equal(a: MessageRef<'_>, b: MessageRef<'_>) -> bool {
    if a.raw == b.raw {
        return true;
    }
    if !std::ptr::eq(a.raw.table_ptr(), b.raw.table_ptr()) {
        let options = EncodeOptions { allow_partial: true, ..EncodeOptions::deterministic() };
        let same = || Some(a.encode_with(options).ok()? == b.encode_with(options).ok()?);
        return a.full_name() == b.full_name() && same() == Some(true);
    }
    let (table, tables) = (a.table(), a.raw.tables());
    for entry in &table.fields {
        match (a.raw.is_set(entry), b.raw.is_set(entry)) {
            (false, false) => {}
            (true, true) if equal_field(a.raw.place(entry), b.raw.place(entry), entry, tables) => {}
            _ => return false,
        }
    }
    // an extension list that was emptied counts as unset
    let set = |m: MessageRef<'_>| -> Vec<u32> {
        let slots = m.extension_slots().iter();
        slots
            .filter(|x| m.place(&tables.extensions[x.index as usize].entry).is_some())
            .map(|x| x.index)
            .collect()
    };
    let extensions = set(a);
    extensions == set(b)
        && extensions.iter().all(|&x| {
            let entry = &tables.extensions[x as usize].entry;
            match (a.raw.find_extension(entry.number), b.raw.find_extension(entry.number)) {
                (Some(x), Some(y)) => equal_field(x, y, entry, tables),
                _ => false,
            }
        })
        && a.unknown().flatten().eq(b.unknown().flatten())
}

fn equal_field(a: Place, b: Place, entry: &FieldEntry, tables: &Tables) -> bool {
    match entry.shape {
        Shape::List => {
            let (a, b, stride) = (a.vec(), b.vec(), entry.slot.size());
            a.len == b.len
                && (0..a.len as usize)
                    .all(|i| equal_value(a.element(i, stride), b.element(i, stride), entry))
        }
        Shape::Map => {
            let table = &tables.messages[entry.sub as usize];
            let Some(layout) = table.map else { return true };
            let (stride, value) = (layout.stride as usize, layout.value_offset as usize);
            let (a, b) = (a.vec(), b.vec());
            let mut index = super::map::Index::default();
            a.len == b.len
                && (0..a.len as usize).all(|i| {
                    let mine = a.element(i, stride);
                    let key = match table.fields[0].slot {
                        Slot::Text => super::value::Given::Text(mine.text()),
                        slot => super::value::Given::Bits(mine.bits(slot)),
                    };
                    index.position(b, stride, table.fields[0].slot, key).is_some_and(|at| {
                        equal_value(
                            mine.offset(value),
                            b.element(at, stride).offset(value),
                            &table.fields[1],
                        )
                    })
                })
        }
        _ => equal_value(a, b, entry),
    }
}

fn equal_value(a: Place, b: Place, entry: &FieldEntry) -> bool {
    use crate::schema::Kind;
    match (entry.slot, entry.kind) {
        (Slot::Text, _) => a.text() == b.text(),
        (Slot::Message, _) => match (a.message(), b.message()) {
            (Some(a), Some(b)) => equal(MessageRef::new(a), MessageRef::new(b)),
            (Some(m), None) | (None, Some(m)) => MessageRef::new(m).is_empty(),
            (None, None) => true,
        },
        (_, Kind::Double) => f64::from_bits(a.word64()) == f64::from_bits(b.word64()),
        (_, Kind::Float) => f32::from_bits(a.word32()) == f32::from_bits(b.word32()),
        (slot, _) => a.bits(slot) == b.bits(slot),
    }
}

impl PartialEq for MessageRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        equal(*self, *other)
    }
}

impl PartialEq for ListRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.entry.kind == other.entry.kind
            && self.len() == other.len()
            && self.iter().eq(other.iter())
    }
}

impl PartialEq for MapRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|(key, value)| other.get(key).is_some_and(|v| v == value))
    }
}
