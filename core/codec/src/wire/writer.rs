//! A buffer that is filled from its end to its front.
//!
//! Written backwards, the length of a message is known when its prefix is due, so one pass is enough, however deep the
//! nesting. A binding that keeps its own objects walks them in reverse and pushes: value first, then tag.
//!
//! `unsafe` here buys two things that were measured: the buffer is not zeroed before it is written (half the time of a
//! large message), and a short value costs one comparison with the front of the buffer.

use std::fmt;
use std::mem::MaybeUninit;

use bytes::Bytes;

/// Free space in front that each reservation leaves over: enough for a tag and any varint.
const SLACK: usize = 16;
/// Results up to this size are copied out, so that the writer keeps its memory.
const COPY_BELOW: usize = 16 << 10;

/// The backward writer. Reusable: [`Writer::clear`] keeps the memory.
pub struct Writer {
    buf: Box<[MaybeUninit<u8>]>,
    /// Where the written part begins; everything behind it is initialised. At most `buf.len()`.
    head: usize,
}

/// A finished buffer on its way into [`Bytes`].
struct Filled(Writer);

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl Default for Writer {
    fn default() -> Writer {
        Writer::with_capacity(0)
    }
}

impl Writer {
    /// An empty writer; memory comes with the first value.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty writer with room for `bytes`; none is allocated for 0.
    pub fn with_capacity(bytes: usize) -> Writer {
        let size = if bytes == 0 { 0 } else { bytes + SLACK };
        Writer { buf: Box::new_uninit_slice(size), head: size }
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
        // SAFETY: `head <= buf.len()`, and what lies behind it was written.
        unsafe { std::slice::from_raw_parts(self.buf.as_ptr().add(self.head).cast(), self.len()) }
    }

    /// Forgets what was written and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.head = self.buf.len();
    }

    /// What was written, as bytes of its own; the writer is empty afterwards. Small results are copied, so that the
    /// writer keeps its memory; large ones are handed over.
    pub fn take(&mut self) -> Bytes {
        if self.len() <= COPY_BELOW || self.len() < self.buf.len() / 2 {
            let bytes = Bytes::copy_from_slice(self.as_slice());
            self.clear();
            return bytes;
        }
        Bytes::from_owner(Filled(std::mem::take(self)))
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
        // the tag and length of a large value that was just reserved must not make it move again
        let size = (len + more + 64).max(old * 2).max(256);
        let mut buf = Box::new_uninit_slice(size);
        let from = self.buf.get(self.head..).unwrap_or_default();
        if let Some(to) = buf.get_mut(size - len..) {
            to.copy_from_slice(from);
        }
        self.head = size - len;
        self.buf = buf;
    }

    /// Steps back by the length of `bytes` and writes them there.
    ///
    /// # Safety
    /// That many bytes are free in front.
    #[inline(always)]
    unsafe fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        debug_assert!(self.head >= N);
        self.head -= N;
        // SAFETY: as promised, `head` was at least `N`, so the place is within the buffer.
        unsafe { self.buf.as_mut_ptr().add(self.head).cast::<[u8; N]>().write_unaligned(bytes) }
    }

    /// # Safety
    /// Ten bytes are free in front.
    #[inline(always)]
    unsafe fn put_varint(&mut self, value: u64) {
        // SAFETY: at most ten bytes are written.
        unsafe {
            if value < 0x80 {
                self.put([value as u8]);
            } else if value < 0x4000 {
                self.put([value as u8 | 0x80, (value >> 7) as u8]);
            } else {
                self.put_long(value);
            }
        }
    }

    /// # Safety
    /// Ten bytes are free in front.
    #[inline]
    unsafe fn put_long(&mut self, mut value: u64) {
        let len = (63 - value.leading_zeros() as usize) / 7 + 1;
        debug_assert!(self.head >= len);
        self.head -= len;
        // SAFETY: a varint has at most ten bytes, which are free; each is written within them.
        unsafe {
            let mut to = self.buf.as_mut_ptr().add(self.head).cast::<u8>();
            while value >= 0x80 {
                to.write(value as u8 | 0x80);
                to = to.add(1);
                value >>= 7;
            }
            to.write(value as u8);
        }
    }

    /// # Safety
    /// That many bytes are free in front.
    #[inline(always)]
    unsafe fn put_slice(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        debug_assert!(self.head >= len);
        self.head -= len;
        // SAFETY: the place is within the buffer and cannot overlap a borrowed slice. Short ones are copied by two
        // words that may overlap each other, but stay within both.
        unsafe {
            let (from, to) = (bytes.as_ptr(), self.buf.as_mut_ptr().add(self.head).cast::<u8>());
            match len {
                8..=16 => {
                    let (a, b) = (
                        from.cast::<u64>().read_unaligned(),
                        from.add(len - 8).cast::<u64>().read_unaligned(),
                    );
                    to.cast::<u64>().write_unaligned(a);
                    to.add(len - 8).cast::<u64>().write_unaligned(b);
                }
                4..=7 => {
                    let (a, b) = (
                        from.cast::<u32>().read_unaligned(),
                        from.add(len - 4).cast::<u32>().read_unaligned(),
                    );
                    to.cast::<u32>().write_unaligned(a);
                    to.add(len - 4).cast::<u32>().write_unaligned(b);
                }
                17..=32 => {
                    let (a, b) = (
                        from.cast::<[u8; 16]>().read_unaligned(),
                        from.add(len - 16).cast::<[u8; 16]>().read_unaligned(),
                    );
                    to.cast::<[u8; 16]>().write_unaligned(a);
                    to.add(len - 16).cast::<[u8; 16]>().write_unaligned(b);
                }
                _ => to.copy_from_nonoverlapping(from, len),
            }
        }
    }

    /// Bytes as they are.
    #[inline(always)]
    pub fn push_raw(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        // SAFETY: just reserved.
        unsafe { self.put_slice(bytes) }
    }

    /// One byte.
    #[inline(always)]
    pub fn push_byte(&mut self, byte: u8) {
        self.reserve(1);
        // SAFETY: just reserved.
        unsafe { self.put([byte]) }
    }

    /// A varint of one to ten bytes.
    #[inline(always)]
    pub fn push_varint(&mut self, value: u64) {
        self.reserve(10);
        // SAFETY: just reserved.
        unsafe { self.put_varint(value) }
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
        self.reserve(4);
        // SAFETY: just reserved.
        unsafe { self.put(value.to_le_bytes()) }
    }

    /// Eight bytes, little-endian.
    #[inline(always)]
    pub fn push_fixed64(&mut self, value: u64) {
        self.reserve(8);
        // SAFETY: just reserved.
        unsafe { self.put(value.to_le_bytes()) }
    }

    /// A string or bytes value: the bytes and, before them, their length.
    #[inline(always)]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        // SAFETY: the slice was reserved, and the slack that stays free holds the length.
        unsafe {
            self.put_slice(bytes);
            self.put_varint(bytes.len() as u64);
        }
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
        self.push_raw(&len.to_be_bytes());
        self.push_byte(flag);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writer").field(&self.as_slice()).finish()
    }
}
