//! Finding keys in the entries of a map, which lie in the order in which they came.

use std::collections::HashMap;

use super::raw::{Place, RawVec};
use super::value::Given;
use crate::schema::table::Slot;

/// Maps longer than this get an index while they are built or cleaned.
const INDEX_ABOVE: usize = 16;

/// A key, comparable and hashable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Bits(u64),
    Text(&'a [u8]),
}

impl<'a> Key<'a> {
    pub fn of(given: Given<'a>) -> Key<'a> {
        match given {
            Given::Bits(bits) => Key::Bits(bits),
            Given::Text(text) => Key::Text(text),
            Given::Message(_) => Key::Bits(0),
        }
    }

    #[inline]
    pub fn at(place: Place, slot: Slot) -> Key<'a> {
        match slot {
            Slot::Text => Key::Text(place.text()),
            slot => Key::Bits(place.bits(slot)),
        }
    }
}

/// Where the entry with this key is.
pub(crate) fn position(vec: &RawVec, stride: usize, slot: Slot, key: Given<'_>) -> Option<usize> {
    let key = Key::of(key);
    (0..vec.len as usize).find(|&i| Key::at(vec.element(i, stride), slot) == key)
}

/// An index of a map's keys, made once the map is long enough to be worth it.
#[derive(Default)]
pub(crate) struct Index<'a>(Option<HashMap<Key<'a>, u32>>);

impl<'a> Index<'a> {
    pub fn position(
        &mut self,
        vec: &RawVec,
        stride: usize,
        slot: Slot,
        key: Given<'_>,
    ) -> Option<usize> {
        if (vec.len as usize) <= INDEX_ABOVE {
            return position(vec, stride, slot, key);
        }
        let index = self.0.get_or_insert_with(|| {
            (0..vec.len).map(|i| (Key::at(vec.element(i as usize, stride), slot), i)).collect()
        });
        index.get(&Key::of(key)).map(|&i| i as usize)
    }

    /// An entry was added at the end.
    pub fn added(&mut self, vec: &RawVec, stride: usize, slot: Slot) {
        if let (Some(index), Some(last)) = (&mut self.0, vec.len.checked_sub(1)) {
            index.insert(Key::at(vec.element(last as usize, stride), slot), last);
        }
    }

    /// Entries moved.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

/// Leaves the last entry of each key, where the first one was.
pub(crate) fn keep_last(vec: &mut RawVec, stride: usize, slot: Slot) {
    let len = vec.len as usize;
    if len < 2 {
        return;
    }
    let mut index: HashMap<Key<'_>, usize> = HashMap::new();
    let mut kept = 0usize;
    for i in 0..len {
        let key = Key::at(vec.element(i, stride), slot);
        let to = match len > INDEX_ABOVE {
            true => *index.entry(key).or_insert(kept),
            false => {
                (0..kept).find(|&k| Key::at(vec.element(k, stride), slot) == key).unwrap_or(kept)
            }
        };
        if to != i {
            vec.copy_element(i, to, stride);
        }
        kept += usize::from(to == kept);
    }
    vec.len = kept as u32;
}
