//! Threads of a host that run handlers and, in between, drive the engine themselves.
//!
//! As long as handlers do not block, one thread does everything: it reads calls from the sockets, runs their handlers one
//! after the other and sends the answers together, without a single thread switch. When a handler blocks, the watchdog (the first
//! of the idle threads) sees within a millisecond that no event was taken and takes the lead over; another idle
//! thread becomes the watchdog. So as many handlers block at once as there are threads, and the sockets are always served.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Thread, ThreadId};
use std::time::Duration;

use super::{Event, Queue};
use crate::rt::driver::{Engine, Waited};
use crate::rt::lock;

/// How often the watchdog looks while handlers run.
const TICK: Duration = Duration::from_millis(1);

/// Quiet looks after which the watchdog sleeps until it is called.
const QUIET_TICKS: u32 = 100;

impl Engine {
    /// Drives, or waits while another thread drives, until `queue` has an event.
    pub fn wait_for(&self, queue: &Queue, timeout: Option<Duration>) -> Waited {
        let _waiting = queue.wait_here();
        self.drive_until(|| !queue.is_empty(), timeout)
    }
}

#[derive(Default)]
struct State {
    /// The thread that drives, or that runs a handler and will drive again.
    leader: Option<ThreadId>,
    /// Idle threads; the first one is the watchdog.
    idle: VecDeque<Thread>,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Workers {
    state: Mutex<State>,
    /// Events taken so far: the watchdog's measure of progress.
    taken: AtomicU64,
    /// The leader is in a handler.
    out: AtomicBool,
    /// The watchdog sleeps until called.
    watchdog_asleep: AtomicBool,
}

impl Workers {
    /// The next event for a worker thread; `None` after `timeout`, or when the workers or the engine are closed. The thread
    /// handles it and comes back.
    pub fn next(&self, engine: &Engine, queue: &Queue, timeout: Duration) -> Option<Event> {
        let me = std::thread::current();
        let until = engine.rt().now() + timeout;
        loop {
            let lead = {
                let mut state = lock(&self.state);
                if state.closed {
                    return None;
                }
                let lead = state.leader.is_none_or(|leader| leader == me.id());
                if lead {
                    state.leader = Some(me.id());
                }
                lead
            };
            let left = until.since(engine.rt().now());
            if lead {
                self.out.store(false, Ordering::Release);
                if let Some(event) = queue.next() {
                    return Some(self.take(event));
                }
                // what the last handlers answered leaves before anybody waits
                let waited = engine.wait_for(queue, Some(left));
                if let Some(event) = queue.next() {
                    return Some(self.take(event));
                }
                if waited != Waited::Done {
                    self.resign(&me);
                    return None;
                }
            } else if left.is_zero() || engine.is_closed() {
                return None;
            } else {
                self.wait_idle(&me, left);
            }
        }
    }

    fn take(&self, event: Event) -> Event {
        self.taken.fetch_add(1, Ordering::AcqRel);
        self.out.store(true, Ordering::Release);
        if self.watchdog_asleep.swap(false, Ordering::AcqRel) {
            let watchdog = lock(&self.state).idle.front().cloned();
            if let Some(watchdog) = watchdog {
                watchdog.unpark();
            }
        }
        event
    }

    /// The leader leaves for good (its time is up): somebody else must drive.
    fn resign(&self, me: &Thread) {
        let next = {
            let mut state = lock(&self.state);
            if state.leader == Some(me.id()) {
                state.leader = None;
            }
            state.idle.front().cloned()
        };
        if let Some(next) = next {
            next.unpark();
        }
    }

    fn wait_idle(&self, me: &Thread, left: Duration) {
        lock(&self.state).idle.push_back(me.clone());
        let (mut last, mut quiet) = (self.taken.load(Ordering::Acquire), 0);
        let mut waited = Duration::ZERO;
        loop {
            let is_watchdog = {
                let mut state = lock(&self.state);
                if state.closed || state.leader.is_none() || waited >= left {
                    state.idle.retain(|thread| thread.id() != me.id());
                    return;
                }
                state.idle.front().is_some_and(|thread| thread.id() == me.id())
            };
            if !is_watchdog {
                std::thread::park_timeout(left - waited);
                waited += TICK;
                continue;
            }
            if quiet >= QUIET_TICKS && !self.out.load(Ordering::Acquire) {
                self.watchdog_asleep.store(true, Ordering::Release);
                std::thread::park_timeout(left.saturating_sub(waited));
                self.watchdog_asleep.store(false, Ordering::Release);
                quiet = 0;
                waited += TICK;
                continue;
            }
            std::thread::park_timeout(TICK);
            waited += TICK;
            let now = self.taken.load(Ordering::Acquire);
            if now != last {
                (last, quiet) = (now, 0);
            } else if self.out.load(Ordering::Acquire) {
                // a whole tick inside one handler: it blocks, so this thread takes over
                let next = {
                    let mut state = lock(&self.state);
                    state.leader = Some(me.id());
                    state.idle.retain(|thread| thread.id() != me.id());
                    state.idle.front().cloned()
                };
                if let Some(next) = next {
                    next.unpark();
                }
                return;
            } else {
                quiet += 1;
            }
        }
    }

    /// Threads that wait for work. With none, a handler that blocks now leaves nobody to drive: the host may add a thread.
    pub fn idle(&self) -> usize {
        lock(&self.state).idle.len()
    }

    /// Sends every worker home: `next` gives `None` from here on.
    pub fn close(&self) {
        let idle = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for thread in idle {
            thread.unpark();
        }
    }
}
