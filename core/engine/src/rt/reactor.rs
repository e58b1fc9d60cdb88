//! Readiness of sockets, by the operating system's own poller (epoll on Linux) through the crate mio.
//!
//! Edge-triggered: a source stays "ready" until an operation on it would block or moved fewer bytes than it could have.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Registry, Token};
use slab::Slab;

use super::executor::lock;
use crate::time::Time;

/// Events taken in one look.
const EVENTS: usize = 256;

const WAKE: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// What the poller knows of one source.
#[derive(Default)]
pub struct Readiness {
    readable: AtomicBool,
    writable: AtomicBool,
    /// The peer sends no more: the end may lie right behind the last bytes, and no event of its own will tell of it.
    ends: AtomicBool,
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

/// The direction an operation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Bytes, an end, or a connection to accept.
    Read,
    /// Room for bytes, or the end of a connect.
    Write,
}

impl Readiness {
    fn side(&self, direction: Direction) -> (&AtomicBool, &Mutex<Option<Waker>>) {
        match direction {
            Direction::Read => (&self.readable, &self.reader),
            Direction::Write => (&self.writable, &self.writer),
        }
    }

    /// Ready when an operation may be tried; otherwise the task is woken when it may.
    pub fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<()> {
        let (ready, waker) = self.side(direction);
        if ready.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut slot = lock(waker);
        match slot.as_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *slot = Some(cx.waker().clone()),
        }
        drop(slot);
        // the event may have come between the two looks
        if ready.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// A read took all there was: wait for the next event, unless the last one already told of the end.
    pub fn emptied(&self) {
        if !self.ends.load(Ordering::Acquire) {
            self.clear(Direction::Read);
        }
    }

    /// The operation would block: wait for the next event.
    pub fn clear(&self, direction: Direction) {
        self.side(direction).0.store(false, Ordering::Release);
    }

    fn set(&self, direction: Direction) {
        let (ready, waker) = self.side(direction);
        ready.store(true, Ordering::Release);
        let waker = lock(waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Where sources are registered; shared by all sockets of one runtime.
pub struct Sources {
    registry: Registry,
    slots: Mutex<Slab<(RawFd, Arc<Readiness>)>>,
}

impl Sources {
    /// Watches `source` in both directions until [`Sources::remove`].
    pub fn add(&self, source: &mut (impl Source + AsRawFd)) -> io::Result<(usize, Arc<Readiness>)> {
        let readiness = Arc::new(Readiness::default());
        let key = lock(&self.slots).insert((source.as_raw_fd(), readiness.clone()));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(source, Token(key), interest) {
            lock(&self.slots).try_remove(key);
            return Err(error);
        }
        Ok((key, readiness))
    }

    /// Stops watching.
    pub fn remove(&self, key: usize, source: &mut impl Source) {
        let _ = self.registry.deregister(source);
        lock(&self.slots).try_remove(key);
    }
}

/// The sources of every reactor of this process.
static ALL: Mutex<Vec<Weak<Sources>>> = Mutex::new(Vec::new());

/// The sockets of every engine, for the child of a fork: it closes these descriptors, and nothing else of the engines, so that
/// it does not hold its parent's connections and listeners open. Never waits for a lock; what is locked is left out.
pub fn inherited_descriptors() -> Vec<RawFd> {
    let Ok(all) = ALL.try_lock() else { return Vec::new() };
    let mut descriptors = Vec::new();
    // leaked, not dropped: the last share of an engine must not end in a child
    for sources in all.iter().filter_map(Weak::upgrade).map(std::mem::ManuallyDrop::new) {
        if let Ok(slots) = sources.slots.try_lock() {
            descriptors.extend(slots.iter().map(|(_, (descriptor, _))| *descriptor));
        }
    }
    descriptors
}

/// The poller and the descriptors of its own: a wake-up and, on Linux, a timer.
pub struct Reactor {
    poll: mio::Poll,
    events: Events,
    sources: Arc<Sources>,
    waker: Arc<mio::Waker>,
    #[cfg(target_os = "linux")]
    timer: OwnedFd,
    armed: Time,
    last_wait: Time,
}

impl Reactor {
    /// A poller with nothing to watch yet.
    pub fn new() -> io::Result<Reactor> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKE)?);
        let sources =
            Arc::new(Sources { registry: poll.registry().try_clone()?, slots: Mutex::default() });
        let mut all = lock(&ALL);
        all.retain(|sources| sources.strong_count() > 0);
        all.push(Arc::downgrade(&sources));
        drop(all);
        #[cfg(target_os = "linux")]
        let timer = {
            use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )?;
            poll.registry().register(
                &mut mio::unix::SourceFd(&timer.as_raw_fd()),
                TIMER,
                Interest::READABLE,
            )?;
            timer
        };
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS),
            sources,
            waker,
            #[cfg(target_os = "linux")]
            timer,
            armed: Time::NEVER,
            last_wait: Time::ZERO,
        })
    }

    /// Where sockets register.
    pub fn sources(&self) -> Arc<Sources> {
        self.sources.clone()
    }

    /// Ends a wait from another thread.
    pub fn waker(&self) -> Arc<mio::Waker> {
        self.waker.clone()
    }

    /// The poller's descriptor: readable when [`Reactor::wait`] would return at once (Linux: timers included).
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// When the last wait began.
    pub fn last_wait(&self) -> Time {
        self.last_wait
    }

    /// The same poller under another descriptor.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::dup(self.poll.registry().as_fd())?)
    }

    /// Waits for events at most `timeout` (`None`: without limit), says that it is awake again, and wakes their tasks. `true`: there
    /// may be more events than fitted in one look.
    pub fn wait(
        &mut self,
        now: Time,
        timeout: Option<Duration>,
        awake: impl FnOnce(),
    ) -> io::Result<bool> {
        self.last_wait = now;
        let polled = self.poll.poll(&mut self.events, timeout);
        // before any task is woken: nobody has to kick a driver that is up
        awake();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            other => other?,
        }
        for event in &self.events {
            match event.token() {
                WAKE => {}
                TIMER => {
                    self.armed = Time::NEVER;
                    #[cfg(target_os = "linux")]
                    {
                        let mut expirations = [0u8; 8];
                        let _ = rustix::io::read(self.timer.as_fd(), &mut expirations);
                    }
                }
                Token(key) => {
                    let Some(readiness) =
                        lock(&self.sources.slots).get(key).map(|(_, readiness)| readiness.clone())
                    else {
                        continue;
                    };
                    if event.is_read_closed() || event.is_error() {
                        readiness.ends.store(true, Ordering::Release);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        readiness.set(Direction::Read);
                    }
                    if event.is_writable() || event.is_write_closed() || event.is_error() {
                        readiness.set(Direction::Write);
                    }
                }
            }
        }
        Ok(self.events.iter().count() >= EVENTS)
    }

    /// Makes the descriptor readable at `next`, for a host that only watches descriptors. A later time than the one
    /// armed is ignored: the early wake-up then arms anew. Elsewhere than on Linux it does nothing.
    pub fn arm(&mut self, now: Time, next: Option<Time>) {
        let Some(next) = next.filter(|next| *next < self.armed) else { return };
        self.armed = next;
        #[cfg(target_os = "linux")]
        {
            use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
            // zero would disarm
            let span = next.since(now).max(Duration::from_nanos(1));
            let value = Timespec {
                tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(span.subsec_nanos()),
            };
            let spec =
                Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            if let Err(error) =
                timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &spec)
            {
                log::error!(target: "stubless", "the engine's timer cannot be set: {error}");
            }
        }
    }
}
