//! What waits to be sent on one stream: framed messages, then the end.
//!
//! Nothing is handed to HTTP/2 before its window has room (but for the first 16 KiB of a client's stream, which leave with its
//! headers), so a call that is cancelled or expires drops what waits here
//! and its trailers go out at once. Small messages that wait together leave in one DATA frame.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;

use crate::frame::FrameBytes;

/// Messages up to this size are packed together.
const SMALL: usize = 4 * 1024;
/// A packed buffer takes no more once it is this long: one default HTTP/2 frame.
const PACKED: usize = 16 * 1024;

enum Waiting {
    One(FrameBytes),
    Packed(BytesMut),
}

impl Waiting {
    fn len(&self) -> usize {
        match self {
            Waiting::One(frame) => frame.remaining(),
            Waiting::Packed(bytes) => bytes.len(),
        }
    }
}

/// How the sending side of a stream ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// An empty or last DATA frame with END_STREAM.
    HalfClose,
    /// A trailer block.
    Trailers(HeaderMap),
}

/// What the outbox wants done next.
pub(crate) enum Next {
    /// Send this much of the body; `true`: with END_STREAM.
    Data(FrameBytes, bool),
    /// Send the trailers.
    Trailers(HeaderMap),
    /// Window is wanted first.
    Window,
    /// Nothing waits.
    Nothing,
}

/// The frames that wait on one stream.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    ending: Option<Ending>,
}

impl Outbox {
    /// Appends a message.
    pub fn push(&mut self, frame: FrameBytes) {
        let length = frame.remaining();
        self.bytes += length;
        if length <= SMALL {
            match self.waiting.back_mut() {
                Some(Waiting::Packed(packed)) if packed.len() + length <= PACKED => {
                    packed.put(frame);
                    return;
                }
                Some(back @ Waiting::One(_)) if back.len() <= SMALL => {
                    let mut packed = BytesMut::with_capacity(SMALL.max(back.len() + length));
                    if let Waiting::One(first) =
                        std::mem::replace(back, Waiting::Packed(BytesMut::new()))
                    {
                        packed.put(first);
                    }
                    packed.put(frame);
                    *back = Waiting::Packed(packed);
                    return;
                }
                _ => {}
            }
        }
        self.waiting.push_back(Waiting::One(frame));
    }

    /// Ends the stream behind what waits.
    pub fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// Drops the messages that wait; an ending stays.
    pub fn drop_messages(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether neither bytes nor an ending wait.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ending.is_none()
    }

    /// Whether an ending has been given and not sent.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// What to do with a window of `window` bytes.
    pub fn next(&mut self, window: usize) -> Next {
        let Some(front) = self.waiting.front_mut() else {
            return match self.ending.take() {
                Some(Ending::HalfClose) => Next::Data(FrameBytes::raw(Bytes::new()), true),
                Some(Ending::Trailers(trailers)) => Next::Trailers(trailers),
                None => Next::Nothing,
            };
        };
        let length = front.len();
        if window == 0 && length > 0 {
            return Next::Window;
        }
        let taken = length.min(window);
        let frame = match front {
            Waiting::One(frame) if taken < length => frame.split_to(taken),
            Waiting::Packed(bytes) if taken < length => {
                FrameBytes::raw(bytes.split_to(taken).freeze())
            }
            _ => match self.waiting.pop_front() {
                Some(Waiting::One(frame)) => frame,
                Some(Waiting::Packed(bytes)) => FrameBytes::raw(bytes.freeze()),
                None => return Next::Nothing,
            },
        };
        self.bytes -= taken;
        let last = self.waiting.is_empty() && matches!(self.ending, Some(Ending::HalfClose));
        if last {
            self.ending = None;
        }
        Next::Data(frame, last)
    }

    /// The length of what would go next, for reserving window.
    pub fn wanted(&self) -> usize {
        self.waiting.front().map_or(0, Waiting::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize, fill: u8) -> FrameBytes {
        FrameBytes::new(false, Bytes::from(vec![fill; length]))
    }

    fn drain(outbox: &mut Outbox, window: usize) -> (Vec<u8>, usize, bool) {
        let (mut bytes, mut frames, mut ended) = (Vec::new(), 0, false);
        loop {
            match outbox.next(window) {
                Next::Data(mut frame, end) => {
                    frames += 1;
                    ended |= end;
                    while frame.has_remaining() {
                        let chunk = frame.chunk();
                        bytes.extend_from_slice(chunk);
                        let n = chunk.len();
                        frame.advance(n);
                    }
                }
                Next::Trailers(_) => ended = true,
                Next::Nothing => return (bytes, frames, ended),
                Next::Window => panic!("asked for window although there is some"),
            }
        }
    }

    #[test]
    fn small_messages_that_wait_together_leave_in_one_frame() {
        let mut outbox = Outbox::default();
        for fill in 0..100 {
            outbox.push(message(10, fill));
        }
        outbox.end(Ending::HalfClose);
        let (bytes, frames, ended) = drain(&mut outbox, 1 << 20);
        assert_eq!((bytes.len(), frames, ended), (1500, 1, true));
        assert_eq!(&bytes[15..21], [0, 0, 0, 0, 10, 1]);
    }

    #[test]
    fn any_window_cuts_the_same_bytes() {
        let expected = {
            let mut outbox = Outbox::default();
            [3, 0, 9000, 70_000, 20, 5].iter().for_each(|n| outbox.push(message(*n, 7)));
            drain(&mut outbox, usize::MAX).0
        };
        for window in [1, 2, 3, 4, 5, 6, 7, 1000, 16_384] {
            let mut outbox = Outbox::default();
            [3, 0, 9000, 70_000, 20, 5].iter().for_each(|n| outbox.push(message(*n, 7)));
            outbox.end(Ending::HalfClose);
            let (bytes, _, ended) = drain(&mut outbox, window);
            assert!(bytes == expected && ended, "window {window}");
            assert_eq!(outbox.len(), 0);
        }
    }

    #[test]
    fn dropped_messages_let_the_trailers_go_without_window() {
        let mut outbox = Outbox::default();
        outbox.push(message(100, 1));
        outbox.end(Ending::Trailers(HeaderMap::new()));
        assert!(matches!(outbox.next(0), Next::Window));
        outbox.drop_messages();
        assert!(matches!(outbox.next(0), Next::Trailers(_)));
        assert!(outbox.is_empty());
    }
}
