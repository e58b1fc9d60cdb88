//! A buffer that is filled from its end to its front.
//!
//! Written backwards, the length of a message is known when its prefix is due, so one pass is enough, however deep the
//! nesting. A binding that keeps its own objects walks them in reverse and pushes: value first, then tag.

use bytes::Bytes;

/// Free space that is always there before a varint or tag is written.
const SLACK: usize = 16;

/// The backward writer. Reusable: [`Writer::clear`] keeps the memory.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
    /// Where the written part begins.
    head: usize,
}

impl Writer {
    /// An empty writer without memory.
    pub const fn new() -> Writer {
        Writer { buf: Vec::new(), head: 0 }
    }

    /// An empty writer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Writer {
        let size = bytes + SLACK;
        Writer { buf: vec![0; size], head: size }
    }

    /// Bytes written so far.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.buf.len() - self.head
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written.
    pub fn as_slice(&self) -> &[u8] {
        self.buf.get(self.head..).unwrap_or_default()
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.head = self.buf.len();
    }

    /// What was written, as bytes of its own; the writer is empty afterwards. Small results are copied, so that the
    /// writer keeps its memory; large ones are handed over.
    pub fn take(&mut self) -> Bytes {
        if self.len() <= 16 * 1024 || self.len() < self.buf.len() / 2 {
            let bytes = Bytes::copy_from_slice(self.as_slice());
            self.clear();
            return bytes;
        }
        let head = std::mem::take(&mut self.head);
        let mut bytes = Bytes::from(std::mem::take(&mut self.buf));
        bytes.split_off(head)
    }

    /// Room for `more` bytes in front.
    #[inline(always)]
    pub fn reserve(&mut self, more: usize) {
        if self.head < more + SLACK {
            self.grow(more + SLACK);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        let (len, old) = (self.len(), self.buf.len());
        let size = (len + more).max(old * 2).max(256);
        let mut buf = vec![0; size];
        if let (Some(to), Some(from)) = (buf.get_mut(size - len..), self.buf.get(self.head..)) {
            to.copy_from_slice(from);
        }
        self.head = size - len;
        self.buf = buf;
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.reserve(N);
        self.head -= N;
        self.buf[self.head..self.head + N].copy_from_slice(&bytes);
    }

    /// Bytes as they are.
    #[inline(always)]
    pub fn push_raw(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.head -= bytes.len();
        self.buf[self.head..self.head + bytes.len()].copy_from_slice(bytes);
    }

    /// One byte.
    #[inline(always)]
    pub fn push_byte(&mut self, byte: u8) {
        self.put([byte]);
    }

    /// A varint of one to ten bytes.
    #[inline(always)]
    pub fn push_varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.put([value as u8]);
        }
        if value < 0x4000 {
            return self.put([value as u8 | 0x80, (value >> 7) as u8]);
        }
        self.long_varint(value);
    }

    #[inline]
    fn long_varint(&mut self, mut value: u64) {
        self.reserve(10);
        let len = (63 - value.leading_zeros() as usize) / 7 + 1;
        self.head -= len;
        let out = &mut self.buf[self.head..self.head + len];
        for b in out.iter_mut() {
            *b = value as u8 | 0x80;
            value >>= 7;
        }
        if let Some(last) = out.last_mut() {
            *last &= 0x7f;
        }
    }

    /// A 32-bit varint that is written as protobuf writes negative `int32`: sign-extended to ten bytes.
    #[inline(always)]
    pub fn push_i32(&mut self, value: i32) {
        self.push_varint(i64::from(value) as u64);
    }

    /// A zigzag varint (`sint32`, `sint64`).
    #[inline(always)]
    pub fn push_zigzag(&mut self, value: i64) {
        self.push_varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Four bytes, little-endian.
    #[inline(always)]
    pub fn push_fixed32(&mut self, value: u32) {
        self.put(value.to_le_bytes());
    }

    /// Eight bytes, little-endian.
    #[inline(always)]
    pub fn push_fixed64(&mut self, value: u64) {
        self.put(value.to_le_bytes());
    }

    /// A string or bytes value: the bytes and, before them, their length.
    #[inline(always)]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_raw(bytes);
        self.push_varint(bytes.len() as u64);
    }

    /// The length of everything written since `mark`, which was [`Writer::len`] before: closes a message, packed list
    /// or map entry.
    #[inline(always)]
    pub fn push_length(&mut self, mark: usize) {
        self.push_varint((self.len() - mark) as u64);
    }

    /// A tag, as [`Field::tag`](crate::Field::tag) gives it.
    #[inline(always)]
    pub fn push_tag(&mut self, tag: u32) {
        self.push_varint(u64::from(tag));
    }

    /// The five bytes in front of a gRPC message: `flag`, then the length of everything written as big-endian `u32`.
    pub fn push_frame_prefix(&mut self, flag: u8) {
        let len = self.len() as u32;
        self.put(len.to_be_bytes());
        self.put([flag]);
    }
}
