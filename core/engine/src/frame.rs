//! Length-prefixed messages: the five bytes in front of every gRPC message.
//!
//! One flag byte (bit 0: compressed), then the payload length in bytes as a big-endian `u32`. Bytes in, frames
//! out: nothing here reads a socket or a clock. Message bounds have nothing to do with the bounds of DATA
//! frames: a chunk may hold a thousand messages, and a message may come a byte at a time.
//! Spec: gRPC PROTOCOL-HTTP2.md, "Length-Prefixed-Message".

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::status::{Code, Status};

/// Bytes in front of a payload.
pub const PREFIX_BYTES: usize = 5;

/// Most that is reserved for a message before its bytes are there: a prefix alone must not cost 4 MiB.
const RESERVE_BYTES: usize = 64 * 1024;

/// Chunks below this are joined while they wait, since each costs its entry in the queue and whatever
/// buffer it was cut from.
const SMALL_CHUNK_BYTES: usize = 512;

/// Joined small chunks become one chunk of at most this size.
const JOINED_BYTES: usize = 16 * 1024;

/// Payloads up to this size are copied behind their prefix, so that both go out as one piece.
const COPY_BYTES: usize = 4 * 1024;

/// One message as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The payload is coded as `grpc-encoding` says.
    pub compressed: bool,
    /// The message's bytes; they share memory with the chunk they came in.
    pub payload: Bytes,
}

/// Why the bytes on the wire are not a gRPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The prefix announces more payload than this side accepts. Becomes `RESOURCE_EXHAUSTED`.
    #[error("message of {length} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes announced.
        length: u32,
        /// Bytes accepted.
        limit: usize,
    },
    /// A flag byte other than 0 and 1. Becomes `INTERNAL`.
    #[error("message prefix with unknown flag byte {flag:#04x}")]
    Flag {
        /// The byte.
        flag: u8,
    },
}

impl FrameError {
    /// The one table from this error to a status.
    pub fn code(self) -> Code {
        match self {
            FrameError::TooLarge { .. } => Code::ResourceExhausted,
            FrameError::Flag { .. } => Code::Internal,
        }
    }
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Status {
        Status::new(error.code(), error.to_string())
    }
}

/// Cuts the bytes of a stream into messages.
#[derive(Debug)]
pub struct Deframer {
    max_message_bytes: usize,
    /// The chunk being cut.
    chunk: Bytes,
    /// Chunks behind it, then small ones joined in `tail`.
    waiting: VecDeque<Bytes>,
    tail: BytesMut,
    /// A prefix of which only `prefix_len` bytes came so far.
    prefix: [u8; PREFIX_BYTES],
    prefix_len: u8,
    body: Option<Body>,
    failed: Option<FrameError>,
}

/// A message that does not lie in one chunk.
#[derive(Debug)]
struct Body {
    compressed: bool,
    length: usize,
    bytes: BytesMut,
}

impl Deframer {
    /// `max_message_bytes`: the longest payload accepted (default in options: 4 MiB); 0 admits only empty ones.
    pub fn new(max_message_bytes: usize) -> Deframer {
        Deframer {
            max_message_bytes,
            chunk: Bytes::new(),
            waiting: VecDeque::new(),
            tail: BytesMut::new(),
            prefix: [0; PREFIX_BYTES],
            prefix_len: 0,
            body: None,
            failed: None,
        }
    }

    /// Takes bytes from the wire, cut anywhere. Nothing is parsed until [`Deframer::poll_frame`].
    pub fn push(&mut self, chunk: Bytes) {
        if self.failed.is_some() || chunk.is_empty() {
            return;
        }
        if self.chunk.is_empty() && self.waiting.is_empty() && self.tail.is_empty() {
            self.chunk = chunk;
        } else if chunk.len() < SMALL_CHUNK_BYTES {
            if self.tail.len() + chunk.len() > JOINED_BYTES {
                self.waiting.push_back(std::mem::take(&mut self.tail).freeze());
            }
            self.tail.extend_from_slice(&chunk);
        } else {
            if !self.tail.is_empty() {
                self.waiting.push_back(std::mem::take(&mut self.tail).freeze());
            }
            self.waiting.push_back(chunk);
        }
    }

    /// Takes the next whole frame out of the bytes pushed so far; `None` until it is complete.
    /// The length is checked as soon as the prefix is there, before any payload is buffered.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`]: longer than `max_message_bytes`. [`FrameError::Flag`]: a flag byte other than
    /// 0 and 1. Either is final: it comes again at every later call, and further bytes are dropped.
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        // the common case: prefix and payload lie whole in the chunk at hand
        if self.prefix_len == 0
            && self.body.is_none()
            && let Some(&prefix) = self.chunk.first_chunk::<PREFIX_BYTES>()
        {
            let (compressed, length) = self.check(prefix)?;
            if self.chunk.len() - PREFIX_BYTES >= length {
                return Ok(Some(Frame { compressed, payload: self.cut(length) }));
            }
            self.chunk.advance(PREFIX_BYTES);
            self.body = Some(Body { compressed, length, bytes: BytesMut::new() });
        }
        self.poll_split()
    }

    /// Takes a payload that lies whole in the chunk, behind its prefix.
    fn cut(&mut self, length: usize) -> Bytes {
        if self.chunk.len() == PREFIX_BYTES + length {
            // the last message of a chunk takes the chunk itself: no reference counted
            let mut payload = std::mem::take(&mut self.chunk);
            payload.advance(PREFIX_BYTES);
            self.refill();
            return payload;
        }
        self.chunk.advance(PREFIX_BYTES);
        if length == 0 { Bytes::new() } else { self.chunk.split_to(length) }
    }

    /// A message whose prefix or payload is spread over chunks.
    #[inline(never)]
    fn poll_split(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            if self.chunk.is_empty() && !self.refill() && !self.body_is_whole() {
                return Ok(None);
            }
            match &mut self.body {
                None => {
                    let have = usize::from(self.prefix_len);
                    let take = (PREFIX_BYTES - have).min(self.chunk.len());
                    self.prefix[have..have + take].copy_from_slice(&self.chunk[..take]);
                    self.chunk.advance(take);
                    self.prefix_len += take as u8;
                    if have + take == PREFIX_BYTES {
                        self.prefix_len = 0;
                        let (compressed, length) = self.check(self.prefix)?;
                        self.body = Some(Body { compressed, length, bytes: BytesMut::new() });
                    }
                }
                Some(body) => {
                    let missing = body.length - body.bytes.len();
                    if body.bytes.is_empty() && self.chunk.len() >= missing {
                        // split between prefix and payload only: still no copy
                        let payload = self.chunk.split_to(missing);
                        let compressed = body.compressed;
                        self.body = None;
                        return Ok(Some(Frame { compressed, payload }));
                    }
                    let take = missing.min(self.chunk.len());
                    reserve(&mut body.bytes, take, body.length);
                    body.bytes.extend_from_slice(&self.chunk[..take]);
                    self.chunk.advance(take);
                    if take == missing
                        && let Some(body) = self.body.take()
                    {
                        let payload = body.bytes.freeze();
                        return Ok(Some(Frame { compressed: body.compressed, payload }));
                    }
                }
            }
        }
    }

    fn body_is_whole(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.bytes.len() == body.length)
    }

    /// Puts the next waiting chunk at hand; `false` if there is none.
    fn refill(&mut self) -> bool {
        if let Some(chunk) = self.waiting.pop_front() {
            self.chunk = chunk;
        } else if !self.tail.is_empty() {
            self.chunk = std::mem::take(&mut self.tail).freeze();
        } else {
            self.chunk = Bytes::new();
            return false;
        }
        true
    }

    fn check(
        &mut self,
        [flag, length @ ..]: [u8; PREFIX_BYTES],
    ) -> Result<(bool, usize), FrameError> {
        let length = u32::from_be_bytes(length);
        let error = if flag > 1 {
            FrameError::Flag { flag }
        } else if length as usize > self.max_message_bytes {
            FrameError::TooLarge { length, limit: self.max_message_bytes }
        } else {
            return Ok((flag == 1, length as usize));
        };
        *self = Deframer::new(self.max_message_bytes);
        self.failed = Some(error);
        Err(error)
    }

    /// Bytes are here that belong to a message not yet taken. When the stream ends and
    /// [`Deframer::poll_frame`] has nothing more to give, this means it ended inside a message.
    pub fn is_mid_frame(&self) -> bool {
        self.prefix_len != 0
            || self.body.is_some()
            || !self.chunk.is_empty()
            || !self.waiting.is_empty()
            || !self.tail.is_empty()
    }
}

#[cfg(test)]
impl Deframer {
    fn waiting_chunks(&self) -> usize {
        self.waiting.len()
    }

    fn reserved(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.bytes.capacity())
    }
}

/// Room for `more` bytes in a message of `length`: what arrived doubles, never the announced length at once.
fn reserve(bytes: &mut BytesMut, more: usize, length: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let target = needed.max(bytes.capacity() * 2).max(RESERVE_BYTES).min(length).max(needed);
        bytes.reserve(target - bytes.len());
    }
}

/// The five bytes in front of a payload of `length` bytes.
pub const fn encode_prefix(compressed: bool, length: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [compressed as u8, a, b, c, d]
}

/// One message ready for the wire: its prefix and its payload, not copied together.
///
/// A transport that takes any [`Buf`] writes it as it is; one that wants `Bytes` asks for
/// [`FrameBytes::into_parts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameBytes {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that were consumed.
    consumed: u8,
    payload: Bytes,
}

impl FrameBytes {
    /// A message of fewer than 2^32 bytes; the caller has checked the length.
    pub fn new(compressed: bool, payload: Bytes) -> FrameBytes {
        FrameBytes { prefix: encode_prefix(compressed, payload.len() as u32), consumed: 0, payload }
    }

    /// A message that an encoder wrote behind five bytes of its own, which become the prefix.
    /// `framed` holds at least those five bytes; with fewer it counts as an empty message.
    pub fn in_place(mut framed: BytesMut) -> FrameBytes {
        let Some(length) = framed.len().checked_sub(PREFIX_BYTES) else {
            return FrameBytes::new(false, Bytes::new());
        };
        if let Some(prefix) = framed.first_chunk_mut::<PREFIX_BYTES>() {
            *prefix = encode_prefix(false, length as u32);
        }
        FrameBytes {
            prefix: [0; PREFIX_BYTES],
            consumed: PREFIX_BYTES as u8,
            payload: framed.freeze(),
        }
    }

    /// Bytes that bring their prefix with them, or need none.
    pub(crate) fn raw(payload: Bytes) -> FrameBytes {
        FrameBytes { prefix: [0; PREFIX_BYTES], consumed: PREFIX_BYTES as u8, payload }
    }

    /// Takes the first `n` bytes off, as far as there are so many.
    pub(crate) fn split_to(&mut self, n: usize) -> FrameBytes {
        let head = PREFIX_BYTES - usize::from(self.consumed);
        if n < head {
            // less window than the prefix is long: rare enough for a copy
            let part = FrameBytes::raw(Bytes::copy_from_slice(&self.prefix()[..n]));
            self.consumed += n as u8;
            return part;
        }
        let payload = self.payload.split_to((n - head).min(self.payload.len()));
        let part = FrameBytes { prefix: self.prefix, consumed: self.consumed, payload };
        self.consumed = PREFIX_BYTES as u8;
        part
    }

    /// Bytes still to be written, prefix included.
    pub fn len(&self) -> usize {
        PREFIX_BYTES - usize::from(self.consumed) + self.payload.len()
    }

    /// True once all is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn prefix(&self) -> &[u8] {
        &self.prefix[usize::from(self.consumed)..]
    }

    /// One piece for a small message (up to 4 KiB, copied; the second part is empty), prefix and payload for
    /// a larger one (not copied).
    pub fn into_parts(self) -> (Bytes, Bytes) {
        if usize::from(self.consumed) == PREFIX_BYTES {
            return (self.payload, Bytes::new());
        }
        if self.payload.len() > COPY_BYTES {
            return (Bytes::copy_from_slice(self.prefix()), self.payload);
        }
        let mut whole = Vec::with_capacity(self.len());
        whole.extend_from_slice(self.prefix());
        whole.extend_from_slice(&self.payload);
        (whole.into(), Bytes::new())
    }

    /// All in one piece; copies what is not one piece yet.
    pub fn into_bytes(self) -> Bytes {
        if usize::from(self.consumed) == PREFIX_BYTES {
            return self.payload;
        }
        let mut whole = Vec::with_capacity(self.len());
        whole.extend_from_slice(self.prefix());
        whole.extend_from_slice(&self.payload);
        whole.into()
    }
}

impl Buf for FrameBytes {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.prefix().is_empty() { &self.payload } else { self.prefix() }
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(PREFIX_BYTES - usize::from(self.consumed));
        self.consumed += of_prefix as u8;
        self.payload.advance(count - of_prefix);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for part in [self.prefix(), &self.payload] {
            if !part.is_empty()
                && let Some(slice) = slices.get_mut(filled)
            {
                *slice = IoSlice::new(part);
                filled += 1;
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests;
