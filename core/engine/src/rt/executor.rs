//! Tasks and the queue of those that are ready; whoever drives calls [`Executor::run`].
//!
//! One driver at a time polls tasks; anybody on any thread may wake one. A wake while the driver sleeps *kicks* it (a
//! descriptor write, a host's callback); a wake while it works only queues. The registry keeps every task alive until it
//! ends, so dropping the last waker (which h2 does while it holds its own lock) never runs a task's destructor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

use super::timer::Timers;
use crate::future::BoxFuture;
use crate::time::Time;

/// How a sleeping driver is told that a task is ready: called from any thread, must not block.
pub type Kick = Arc<dyn Fn() + Send + Sync>;

/// Polls one run may make before sockets and timers get their turn.
const BUDGET: usize = 4096;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const AGAIN: u8 = 3;
const DONE: u8 = 4;

struct Task {
    future: Mutex<Option<BoxFuture<()>>>,
    state: AtomicU8,
    key: usize,
    shared: Arc<Shared>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        loop {
            let state = self.state.load(Ordering::Acquire);
            let next = match state {
                IDLE => QUEUED,
                RUNNING => AGAIN,
                _ => return,
            };
            if self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
            {
                if next == QUEUED {
                    self.shared.push(self.clone());
                }
                return;
            }
        }
    }
}

struct Shared {
    ready: Mutex<VecDeque<Arc<Task>>>,
    registry: Mutex<Slab<Arc<Task>>>,
    timers: Mutex<Timers>,
    asleep: AtomicBool,
    /// The driver has something to look at that is no task.
    poked: AtomicBool,
    kick: Mutex<Kick>,
}

impl Shared {
    fn push(&self, task: Arc<Task>) {
        lock(&self.ready).push_back(task);
        self.kick_if_asleep();
    }

    fn kick_if_asleep(&self) {
        // SeqCst pairs with `prepare_to_sleep`: either the driver sees the queue, or this sees it asleep
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            let kick = lock(&self.kick).clone();
            kick();
        }
    }
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a poisoned lock only says that a panic passed by; panics are caught per task and the data stays usable
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks of one runtime, their ready queue and their timers.
#[derive(Clone)]
pub struct Executor(Arc<Shared>);

impl Executor {
    /// An empty executor; `kick` tells its driver that there is work (see [`Kick`]).
    pub fn new(kick: Kick) -> Executor {
        Executor(Arc::new(Shared {
            ready: Mutex::default(),
            registry: Mutex::default(),
            timers: Mutex::default(),
            asleep: AtomicBool::new(false),
            poked: AtomicBool::new(false),
            kick: Mutex::new(kick),
        }))
    }

    /// Another way to tell the driver, from now on.
    pub fn set_kick(&self, kick: Kick) {
        *lock(&self.0.kick) = kick;
    }

    /// Adds a task; it is polled for the first time by the next run.
    pub fn spawn(&self, future: BoxFuture<()>) {
        let task = {
            let mut registry = lock(&self.0.registry);
            let entry = registry.vacant_entry();
            let task = Arc::new(Task {
                future: Mutex::new(Some(future)),
                state: AtomicU8::new(QUEUED),
                key: entry.key(),
                shared: self.0.clone(),
            });
            entry.insert(task.clone());
            task
        };
        self.0.push(task);
    }

    /// Fires the timers that are due and polls ready tasks until none is left or the budget is spent.
    /// Returns whether tasks are still ready. One thread at a time.
    pub fn run(&self, now: Time) -> bool {
        self.0.asleep.store(false, Ordering::SeqCst);
        self.fire_timers(now);
        let mut spent = 0;
        let mut batch = VecDeque::new();
        while spent < BUDGET {
            {
                let mut ready = lock(&self.0.ready);
                if ready.is_empty() {
                    // the emptied buffer goes back, so that the queue allocates once
                    if ready.capacity() < batch.capacity() {
                        *ready = batch;
                    }
                    return false;
                }
                std::mem::swap(&mut *ready, &mut batch);
            }
            spent += batch.len();
            for task in batch.drain(..) {
                self.poll(task);
            }
        }
        !lock(&self.0.ready).is_empty()
    }

    fn poll(&self, task: Arc<Task>) {
        task.state.store(RUNNING, Ordering::Release);
        let waker = Waker::from(task.clone());
        let mut cx = Context::from_waker(&waker);
        let mut slot = lock(&task.future);
        let Some(future) = slot.as_mut() else { return };
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            future.as_mut().poll(&mut cx)
        }));
        match polled {
            Ok(Poll::Pending) => {
                drop(slot);
                if task
                    .state
                    .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
                    .is_err()
                {
                    task.state.store(QUEUED, Ordering::Release);
                    lock(&self.0.ready).push_back(task);
                }
            }
            ended => {
                if ended.is_err() {
                    log::error!(target: "stubless", "a task of the engine panicked; its call or connection is dropped");
                }
                task.state.store(DONE, Ordering::Release);
                let future = slot.take();
                drop(slot);
                let registered = lock(&self.0.registry).try_remove(task.key);
                // destructors run with no lock held: they may wake or spawn
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(future)));
                drop(registered);
            }
        }
    }

    fn fire_timers(&self, now: Time) {
        let due = lock(&self.0.timers).due(now);
        for waker in due {
            waker.wake();
        }
    }

    /// Says that the driver is about to sleep. `false`: work came in the meantime, run again instead.
    pub fn prepare_to_sleep(&self) -> bool {
        self.0.asleep.store(true, Ordering::SeqCst);
        if !self.0.poked.swap(false, Ordering::SeqCst) && lock(&self.0.ready).is_empty() {
            return true;
        }
        self.0.asleep.store(false, Ordering::SeqCst);
        false
    }

    /// Makes the driver come round once, though no task is ready: what it waits for itself may have come.
    pub(crate) fn poke(&self) {
        self.0.poked.store(true, Ordering::SeqCst);
        self.0.kick_if_asleep();
    }

    /// Whether the driver, if it sleeps, need not be kicked: the caller promises to run it soon.
    pub fn promise_run(&self) {
        self.0.asleep.store(false, Ordering::SeqCst);
    }

    /// Whether the driver sleeps, as far as [`Executor::prepare_to_sleep`] said and nobody kicked it since.
    pub fn is_asleep(&self) -> bool {
        self.0.asleep.load(Ordering::SeqCst)
    }

    /// Whether a task waits for the next run.
    pub fn has_ready(&self) -> bool {
        !lock(&self.0.ready).is_empty()
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Time> {
        lock(&self.0.timers).next()
    }

    /// Tasks that have not ended.
    pub fn task_count(&self) -> usize {
        lock(&self.0.registry).len()
    }

    /// Drops every task where it stands; for the end of a runtime, by the thread that drives it.
    pub fn clear(&self) {
        loop {
            let tasks: Vec<Arc<Task>> = lock(&self.0.registry).drain().collect();
            lock(&self.0.ready).clear();
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                task.state.store(DONE, Ordering::Release);
                let future = lock(&task.future).take();
                drop(future);
            }
        }
    }

    pub(super) fn arm(&self, deadline: Time, waker: &Waker) -> u64 {
        let (key, earlier) = lock(&self.0.timers).arm(deadline, waker.clone());
        if earlier {
            // a sleeping driver waits for a later timer: let it look again
            self.0.kick_if_asleep();
        }
        key
    }

    pub(super) fn rearm(&self, key: u64, waker: &Waker) {
        lock(&self.0.timers).rearm(key, waker);
    }

    pub(super) fn disarm(&self, key: u64) {
        let waker = lock(&self.0.timers).disarm(key);
        drop(waker);
    }
}
