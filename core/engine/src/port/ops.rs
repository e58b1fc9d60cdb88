//! What was submitted for one call and waits for the call's task; and how much of it are bytes on their way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use crate::frame::PREFIX_BYTES;
use crate::rt::lock;

/// Bytes of messages in hand above which a sender is told to wait.
const SEND_AHEAD: usize = 64 << 10;

struct List<O> {
    ops: Vec<O>,
    waker: Option<Waker>,
    ended: bool,
}

/// The operations of one call: submitted by any thread, taken by the call's task.
pub(super) struct Ops<O> {
    list: Mutex<List<O>>,
    /// Bytes submitted and not yet on their way.
    waiting: AtomicUsize,
    /// A sender was told to wait.
    blocked: AtomicBool,
}

impl<O> Default for Ops<O> {
    fn default() -> Self {
        Ops {
            list: Mutex::new(List { ops: Vec::new(), waker: None, ended: false }),
            waiting: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
        }
    }
}

impl<O> Ops<O> {
    /// Adds operations that belong together; `false`: the call has ended.
    pub fn submit(&self, ops: impl IntoIterator<Item = O>) -> bool {
        let waker = {
            let mut list = lock(&self.list);
            if list.ended {
                return false;
            }
            list.ops.extend(ops);
            list.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Adds the operation that sends a message of `length` bytes; `false`: the sender has to wait, or the call has ended.
    pub fn submit_message(&self, length: usize, op: O) -> bool {
        let length = length + PREFIX_BYTES;
        let room = self.waiting.fetch_add(length, Ordering::AcqRel) + length < SEND_AHEAD;
        if !room {
            self.blocked.store(true, Ordering::Release);
        }
        self.submit([op]) && room
    }

    /// What was submitted since the last look; the next submission wakes `cx`.
    pub fn take(&self, cx: &Context<'_>, into: &mut Vec<O>) {
        let mut list = lock(&self.list);
        std::mem::swap(&mut list.ops, into);
        match &mut list.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Nothing is taken any more.
    pub fn end(&self) {
        let dropped = {
            let mut list = lock(&self.list);
            list.ended = true;
            list.waker = None;
            std::mem::take(&mut list.ops)
        };
        drop(dropped);
    }

    /// Whether the call has ended.
    pub fn is_ended(&self) -> bool {
        lock(&self.list).ended
    }

    /// Bytes submitted that were not on their way at the last look. `None`: there are none, and nobody waits for room.
    pub fn waiting(&self) -> Option<usize> {
        let waiting = self.waiting.load(Ordering::Acquire);
        // the bytes of a sender that is about to wait may be counted, and taken off, before it says so
        (waiting > 0 || self.blocked.load(Ordering::Acquire)).then_some(waiting)
    }

    /// Of `submitted` bytes only `queued` still wait. `true`: a sender that was told to wait may go on.
    pub fn sent(&self, submitted: usize, queued: usize) -> bool {
        self.waiting.fetch_sub(submitted - queued.min(submitted), Ordering::AcqRel);
        self.blocked.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_told_of_room_even_if_its_bytes_were_counted_off_before_it_waits() {
        let ops = Ops::<u8>::default();
        // the sender has counted its message and is about to say that it waits ...
        ops.waiting.fetch_add(SEND_AHEAD, Ordering::AcqRel);
        // ... when the call's task looks: nothing is queued, nobody waits
        assert_eq!(ops.waiting(), Some(SEND_AHEAD));
        assert!(!ops.sent(SEND_AHEAD, 0));
        ops.blocked.store(true, Ordering::Release);
        assert!(ops.submit([1]));
        // the next look must not pass over it
        assert_eq!(ops.waiting(), Some(0));
        assert!(ops.sent(0, 0));
        assert_eq!(ops.waiting(), None);
    }
}
