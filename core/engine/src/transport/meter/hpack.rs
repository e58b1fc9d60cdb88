//! Whether a header block is HPACK at all. Asked only when `h2` has given a connection up.
//!
//! `h2` says PROTOCOL_ERROR for everything it cannot decode; RFC 9113 section 4.3 wants COMPRESSION_ERROR where the
//! compression itself is broken. So the last blocks are kept (a copy of a few hundred bytes a call), and looked at when that
//! GOAWAY comes. No field is built here.
//!
//! Spec: RFC 7541 sections 5 and 6, appendix B.

use super::frames::{END_HEADERS, Head, Kind};

/// Blocks beyond this many bytes are not kept: `h2` refuses them for their size first.
const MAX_KEPT: usize = 64 << 10;
/// Entries of the static table.
const STATIC: u64 = 61;
/// The table size we announce (the default), in bytes.
const TABLE_BYTES: u64 = 4096;
/// The most entries such a table can hold: each counts 32 bytes at least.
const MAX_ENTRIES: u64 = TABLE_BYTES / 32;

/// Code lengths of the Huffman code, by symbol; 256 ends a string and must not occur. The code is canonical, so that the
/// lengths are all of it.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// More frames than this are not kept: no peer splits its blocks so.
const MAX_FRAMES: usize = 256;
/// Room kept from block to block on a connection.
const ROOM_BYTES: usize = 1024;

/// The header blocks that `h2` may be working on.
#[derive(Default)]
pub(super) struct Blocks {
    /// Frame heads, and where in `bytes` each payload ends.
    frames: Vec<(Head, usize)>,
    bytes: Vec<u8>,
    /// It was too much; nothing can be said.
    overflown: bool,
    begun: bool,
    /// Blocks were let go before: the dynamic table's history is not known.
    forgot: bool,
}

impl Blocks {
    /// `h2` asks for more: it has worked off every whole block. An open one stays.
    pub(super) fn worked_off(&mut self, open: bool) {
        if open || !self.begun {
            return;
        }
        self.frames.clear();
        self.bytes.clear();
        if self.bytes.capacity() > ROOM_BYTES {
            self.bytes = Vec::new();
            self.frames = Vec::new();
        }
        (self.overflown, self.begun, self.forgot) = (false, false, true);
    }

    /// A HEADERS or CONTINUATION frame begins.
    pub(super) fn begin(&mut self, head: &Head) {
        self.begun = true;
        self.overflown |= self.frames.len() >= MAX_FRAMES;
        if !self.overflown {
            self.frames.push((*head, self.bytes.len()));
        }
    }

    /// A piece of its payload.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.overflown |= self.bytes.len() + piece.len() > MAX_KEPT;
        if !self.overflown {
            self.bytes.extend_from_slice(piece);
            if let Some((_, end)) = self.frames.last_mut() {
                *end = self.bytes.len();
            }
        }
    }

    /// The first frame whose block is not HPACK, and what is wrong with it.
    pub(super) fn broken(&self) -> Option<(Head, &'static str)> {
        if self.overflown {
            return None;
        }
        let mut entries = if self.forgot { MAX_ENTRIES } else { 0 };
        let (mut block, mut from, mut first) = (Vec::new(), 0, None);
        for (head, end) in &self.frames {
            let payload = self.bytes.get(from..*end)?;
            if payload.len() != head.len as usize {
                // still on its way, so h2 has not seen it either
                return None;
            }
            block.extend_from_slice(fragment(head, payload));
            from = *end;
            let first_head = *first.get_or_insert(*head);
            if head.has(END_HEADERS) {
                if let Err(why) = check(&block, &mut entries) {
                    return Some((first_head, why));
                }
                block.clear();
                first = None;
            }
        }
        None
    }
}

/// A frame's share of the header block: without padding and priority.
fn fragment<'a>(head: &Head, payload: &'a [u8]) -> &'a [u8] {
    let (mut from, mut to) = (0, payload.len());
    if head.kind == Kind::HEADERS {
        if head.has(0x8) {
            from += 1;
            to = to.saturating_sub(payload.first().copied().unwrap_or(0).into());
        }
        if head.has(0x20) {
            from += 5;
        }
    }
    payload.get(from..to).unwrap_or(&[])
}

type Checked<T> = Result<T, &'static str>;

/// Walks one block. `entries`: how many the dynamic table may hold at most.
fn check(block: &[u8], entries: &mut u64) -> Checked<()> {
    let mut rest = block;
    let mut fields = false;
    while let Some(&first) = rest.first() {
        match first {
            0x80.. => {
                let index = integer(&mut rest, 7)?;
                if index == 0 {
                    return Err("index 0");
                }
                if index > STATIC + *entries {
                    return Err("an index past the table");
                }
                fields = true;
            }
            0x20..0x40 => {
                if fields {
                    return Err("a table size after a field");
                }
                if integer(&mut rest, 5)? > TABLE_BYTES {
                    return Err("a table size over the limit");
                }
            }
            _ => {
                let indexed = first & 0x40 != 0;
                let name = integer(&mut rest, if indexed { 6 } else { 4 })?;
                if name == 0 {
                    string(&mut rest)?;
                } else if name > STATIC + *entries {
                    return Err("an index past the table");
                }
                string(&mut rest)?;
                if indexed {
                    *entries = (*entries + 1).min(MAX_ENTRIES);
                }
                fields = true;
            }
        }
    }
    Ok(())
}

/// An integer with a prefix of `bits` bits (RFC 7541 section 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Checked<u64> {
    const CUT: &str = "an integer cut short";
    let (&first, mut tail) = rest.split_first().ok_or(CUT)?;
    let mask = (1u64 << bits) - 1;
    let mut value = u64::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = tail.split_first().ok_or(CUT)?;
            tail = after;
            if shift > 28 {
                return Err("an integer without end");
            }
            value += u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

/// A string, plain or Huffman coded (section 5.2).
fn string(rest: &mut &[u8]) -> Checked<()> {
    let huffman = rest.first().ok_or("a string cut short")? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let text = rest.get(..length).ok_or("a string past the end")?;
    *rest = &rest[length..];
    if huffman { huffman_string(text) } else { Ok(()) }
}

fn huffman_string(text: &[u8]) -> Checked<()> {
    // by length: the first code, and how many codes come before it
    let mut counts = [0u32; 31];
    for length in LENGTHS {
        counts[usize::from(length)] += 1;
    }
    let (mut code, mut first, mut length) = (0u32, 0u32, 0usize);
    let mut ones = true;
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i & 1))) {
        code = code << 1 | bit;
        first <<= 1;
        length += 1;
        ones &= bit == 1;
        let Some(count) = counts.get(length) else { return Err("Huffman: no such code") };
        if code - first < *count {
            if length == 30 && code - first == count - 1 {
                return Err("Huffman: the end-of-string symbol");
            }
            (code, first, length, ones) = (0, 0, 0, true);
        } else {
            first += count;
        }
    }
    if length > 7 || !ones { Err("Huffman: wrong padding") } else { Ok(()) }
}
