//! Timers: a heap of deadlines beside a slab of wakers.
//!
//! Most deadlines never fire (their call ends first), so disarming only frees the slab entry; the heap drops stale
//! entries when they come up, or all at once when they outnumber the living.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::Rt;
use crate::time::Time;

struct Entry {
    sequence: u32,
    waker: Waker,
}

#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Time, u64)>>,
    entries: Slab<Entry>,
    sequence: u32,
}

fn split(key: u64) -> (usize, u32) {
    ((key & 0xffff_ffff) as usize, (key >> 32) as u32)
}

impl Timers {
    /// Returns the key and whether this is now the earliest deadline.
    pub fn arm(&mut self, deadline: Time, waker: Waker) -> (u64, bool) {
        self.sequence = self.sequence.wrapping_add(1);
        let slot = self.entries.insert(Entry { sequence: self.sequence, waker });
        let key = u64::from(self.sequence) << 32 | slot as u64;
        let earlier = self.heap.peek().is_none_or(|Reverse((first, _))| deadline < *first);
        self.heap.push(Reverse((deadline, key)));
        if self.heap.len() > 2 * self.entries.len() + 1024 {
            let entries = &self.entries;
            self.heap.retain(|Reverse((_, key))| Self::alive(entries, *key));
        }
        (key, earlier)
    }

    fn alive(entries: &Slab<Entry>, key: u64) -> bool {
        let (slot, sequence) = split(key);
        entries.get(slot).is_some_and(|entry| entry.sequence == sequence)
    }

    pub fn rearm(&mut self, key: u64, waker: &Waker) {
        let (slot, sequence) = split(key);
        if let Some(entry) = self.entries.get_mut(slot)
            && entry.sequence == sequence
        {
            entry.waker.clone_from(waker);
        }
    }

    pub fn disarm(&mut self, key: u64) -> Option<Waker> {
        let (slot, _) = split(key);
        if !Self::alive(&self.entries, key) {
            return None;
        }
        self.entries.try_remove(slot).map(|entry| entry.waker)
    }

    pub fn due(&mut self, now: Time) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(Reverse((deadline, key))) = self.heap.peek().copied() {
            if deadline > now {
                break;
            }
            self.heap.pop();
            due.extend(self.disarm(key));
        }
        due
    }

    pub fn next(&mut self) -> Option<Time> {
        while let Some(Reverse((deadline, key))) = self.heap.peek().copied() {
            if Self::alive(&self.entries, key) {
                return Some(deadline);
            }
            self.heap.pop();
        }
        None
    }
}

/// A point in time to wait for; made by [`Rt::sleep_until`].
pub struct Sleep {
    rt: Rt,
    deadline: Time,
    key: Option<u64>,
}

impl Sleep {
    pub(super) fn new(rt: Rt, deadline: Time) -> Sleep {
        Sleep { rt, deadline, key: None }
    }

    /// The point waited for.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Waits for another point instead.
    pub fn reset(&mut self, deadline: Time) {
        if deadline != self.deadline {
            self.disarm();
            self.deadline = deadline;
        }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            self.rt.executor().disarm(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline == Time::NEVER {
            return Poll::Pending;
        }
        if self.rt.now() >= self.deadline {
            self.disarm();
            return Poll::Ready(());
        }
        match self.key {
            Some(key) => self.rt.executor().rearm(key, cx.waker()),
            None => self.key = Some(self.rt.executor().arm(self.deadline, cx.waker())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}
