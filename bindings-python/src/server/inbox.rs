//! What comes to a streaming call after it began: requests, their end, room for answers, a cancel.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pyo3::prelude::*;
use stubless_engine::port::Event;
use stubless_engine::status::Status;

use crate::aio::future::Parked;

/// Requests asked for ahead of the handler.
pub(crate) const CREDITS: usize = 128;

#[derive(Default)]
pub(crate) struct State {
    pub local: VecDeque<Bytes>,
    pub credits: usize,
    pub half_closed: bool,
    pub cancelled: Option<Status>,
    pub blocked: bool,
    pub readers: Option<Py<Parked>>,
    pub writers: Option<Py<Parked>>,
}

/// The events of one call.
pub(crate) struct Inbox(Mutex<State>);

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox(Mutex::default())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event; gives who waits for it.
    pub(crate) fn take(
        state: &mut State,
        event: Event,
    ) -> (Option<Py<Parked>>, Option<Py<Parked>>) {
        match event {
            Event::Message { message, .. } => {
                state.credits = state.credits.saturating_sub(1);
                state.local.push_back(message);
                (state.readers.take(), None)
            }
            Event::HalfClosed { .. } => {
                state.half_closed = true;
                (state.readers.take(), None)
            }
            Event::Writable { .. } => {
                state.blocked = false;
                (None, state.writers.take())
            }
            Event::Cancelled { status, .. } => {
                state.cancelled = Some(status);
                (state.readers.take(), state.writers.take())
            }
            _ => (None, None),
        }
    }

    /// How many more requests to ask for.
    pub(crate) fn wanted(state: &mut State) -> usize {
        let known = state.credits + state.local.len();
        if known >= CREDITS / 2 || state.half_closed || state.cancelled.is_some() {
            return 0;
        }
        state.credits += CREDITS - known;
        CREDITS - known
    }
}
