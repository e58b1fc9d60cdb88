//! The one door of every binding: submit operations that never block, drain events in batches.
//!
//! A [`Queue`] collects the events of any number of calls. Its notifier is raised only when it goes from empty to not empty,
//! so one wake-up serves a whole batch. Operations on a call ([`ClientCallHandle`], [`ServerCallHandle`]) only note what is
//! wanted and wake the call's task. No thread of the engine runs foreign code except a notifier, which must not block.

mod client;
mod ops;
mod server;
#[cfg(feature = "net")]
mod workers;

pub use client::{ClientCallHandle, StartCall, start_call, start_unary};
pub use server::{IncomingCall, PortHandler, ServerCallHandle, accept_call};
#[cfg(feature = "net")]
pub use workers::Workers;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;

use bytes::Bytes;

use crate::metadata::Metadata;
use crate::rt::lock;
use crate::status::Status;

/// The whole answer of a call with one response.
#[derive(Debug)]
pub struct Reply {
    /// Initial metadata.
    pub headers: Metadata,
    /// The response; present if and only if the status is OK.
    pub message: Option<Bytes>,
    /// How the call ended.
    pub status: Status,
    /// Trailing metadata.
    pub trailers: Metadata,
}

/// What happened. `tag` is the number its starter gave the call (client), or the call's own id (server).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Client: a call with one response has ended. Its last event.
    Reply {
        /// The call.
        tag: u64,
        /// Its answer.
        reply: Box<Reply>,
    },
    /// Client, streamed responses: initial metadata, at most once, first.
    Headers {
        /// The call.
        tag: u64,
        /// The metadata.
        metadata: Metadata,
    },
    /// One message of a stream; takes one credit.
    Message {
        /// The call.
        tag: u64,
        /// The message.
        message: Bytes,
    },
    /// There is room again after a send said there was none.
    Writable {
        /// The call.
        tag: u64,
    },
    /// Client, streamed responses: the call has ended. Its last event.
    Status {
        /// The call.
        tag: u64,
        /// How it ended.
        status: Status,
        /// Trailing metadata.
        trailers: Metadata,
    },
    /// Server: a call for a handler.
    Call(Box<IncomingCall>),
    /// Server: the client will send no more messages.
    HalfClosed {
        /// The call.
        tag: u64,
    },
    /// Server: nobody waits for the answer any more. Its last event.
    Cancelled {
        /// The call.
        tag: u64,
        /// Why: CANCELLED, DEADLINE_EXCEEDED, or what was wrong with the request.
        status: Status,
    },
}

/// How the owner of a queue learns that it is not empty any more. Called on the engine's driver; must not block.
pub type Notify = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Events {
    list: VecDeque<Event>,
    closed: bool,
}

/// Events that wait to be drained.
pub struct Queue {
    events: Mutex<Events>,
    filled: AtomicBool,
    notify: Notify,
    /// Threads that wait for an event.
    waiting: Mutex<Vec<Thread>>,
}

/// A thread's wait at a queue; ends when dropped.
pub(crate) struct WaitHere<'a>(&'a Queue);

impl Drop for WaitHere<'_> {
    fn drop(&mut self) {
        let me = std::thread::current().id();
        lock(&self.0.waiting).retain(|thread| thread.id() != me);
    }
}

impl Queue {
    /// An empty queue; `notify` is called when it becomes filled.
    pub fn new(notify: Notify) -> Arc<Queue> {
        Arc::new(Queue {
            events: Mutex::default(),
            filled: AtomicBool::new(false),
            notify,
            waiting: Mutex::default(),
        })
    }

    /// A queue whose owner looks by itself (it drives the engine).
    pub fn silent() -> Arc<Queue> {
        Queue::new(Box::new(|| {}))
    }

    /// Whether events wait.
    pub fn is_empty(&self) -> bool {
        !self.filled.load(Ordering::Acquire)
    }

    /// Moves up to `most` events to the end of `into`; returns how many.
    pub fn drain(&self, into: &mut Vec<Event>, most: usize) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut events = lock(&self.events);
        let count = events.list.len().min(most);
        into.extend(events.list.drain(..count));
        if events.list.is_empty() {
            self.filled.store(false, Ordering::Release);
        }
        count
    }

    /// The next event.
    pub fn next(&self) -> Option<Event> {
        if self.is_empty() {
            return None;
        }
        let mut events = lock(&self.events);
        let event = events.list.pop_front();
        if events.list.is_empty() {
            self.filled.store(false, Ordering::Release);
        }
        event
    }

    /// Drops what waits and what comes: nobody will look again.
    pub fn close(&self) {
        let dropped = {
            let mut events = lock(&self.events);
            events.closed = true;
            self.filled.store(false, Ordering::Release);
            std::mem::take(&mut events.list)
        };
        drop(dropped);
    }

    /// The calling thread is unparked when the queue becomes filled, until the answer is dropped.
    #[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only a driver with threads waits"))]
    pub(crate) fn wait_here(&self) -> WaitHere<'_> {
        lock(&self.waiting).push(std::thread::current());
        WaitHere(self)
    }

    pub(crate) fn push(&self, event: Event) {
        {
            let mut events = lock(&self.events);
            if events.closed {
                return;
            }
            events.list.push_back(event);
        }
        if !self.filled.swap(true, Ordering::AcqRel) {
            (self.notify)();
            for thread in &*lock(&self.waiting) {
                thread.unpark();
            }
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("empty", &self.is_empty()).finish_non_exhaustive()
    }
}
