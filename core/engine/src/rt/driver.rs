//! Who drives the engine: one thread at a time, whichever has reason to.
//!
//! An [`Engine`] is a reactor and an executor without a thread of their own. Three kinds of driver share it:
//! - **a host's event loop** watches [`Engine::descriptor`] and calls [`Engine::turn`] (asyncio, trio, tokio, libuv);
//! - **a blocking caller** drives until its own answer is there ([`Engine::drive_until`]): one caller leads, the others
//!   wait for their answer or for the lead, so a call costs no thread switch;
//! - **the keeper**, a thread of the engine ([`Engine::start_keeper`]), drives whenever nobody has for a while, so that
//!   pings are answered and deadlines kept while the program computes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread, ThreadId};
use std::time::{Duration, Instant, SystemTime};

use super::executor::{Executor, Kick, lock};
use super::reactor::{Reactor, Sources};
use super::socket;
use super::{Address, BoxFuture, BoxIo, Listen, Network, Rt, SocketOptions, dns};
use crate::time::{Clock, Time};

/// The keeper takes the lead only when nobody has led for this long.
const KEEPER_PATIENCE: Duration = Duration::from_millis(20);

/// Readiness older than this is looked at again before new work uses a socket.
const STALE: Duration = Duration::from_millis(1);

struct SystemClock(Instant);

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

struct Sockets {
    sources: Arc<Sources>,
}

impl Network for Sockets {
    fn connect(
        &self,
        _: &Rt,
        address: &Address,
        options: SocketOptions,
    ) -> BoxFuture<io::Result<BoxIo>> {
        let (sources, address) = (self.sources.clone(), address.clone());
        Box::pin(socket::connect(sources, address, options))
    }

    fn listen(&self, address: &Address) -> io::Result<Box<dyn Listen>> {
        Ok(Box::new(socket::Listener::bind(&self.sources, address)?))
    }

    fn resolve(&self, _: &Rt, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        Box::pin(dns::resolve(host.to_owned(), port))
    }
}

/// Wakes a thread that waits in [`Engine::block_on`].
struct Signal {
    woken: AtomicBool,
    thread: Thread,
    shared: Weak<Shared>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::AcqRel)
            || self.thread.id() == std::thread::current().id()
        {
            return;
        }
        self.thread.unpark();
        // a thread that leads sleeps in the poller, where no unpark reaches it
        let Some(shared) = self.shared.upgrade() else { return };
        let leads = lock(&shared.lead).leader == Some(self.thread.id());
        if leads {
            shared.rt.executor().poke();
        }
    }
}

#[derive(Default)]
struct Lead {
    taken: bool,
    leader: Option<ThreadId>,
    followers: VecDeque<Thread>,
}

struct Shared {
    reactor: Mutex<Reactor>,
    rt: Rt,
    sources: Arc<Sources>,
    descriptor: RawFd,
    waker: Arc<mio::Waker>,
    lead: Mutex<Lead>,
    /// Callers that want the lead while the keeper has it.
    wanted: AtomicBool,
    last_lead: AtomicU64,
    keeper: Mutex<Option<JoinHandle<()>>>,
    keeper_thread: Mutex<Option<Thread>>,
    closed: AtomicBool,
    pid: AtomicU32,
}

/// A reactor, an executor and whoever drives them; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

/// What a wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The condition holds.
    Done,
    /// The time is up.
    TimedOut,
    /// The engine was shut down, or belongs to the parent of this process.
    Closed,
}

impl Engine {
    /// An engine nobody drives yet.
    ///
    /// # Errors
    /// The system gives no poller or timer descriptor.
    #[allow(clippy::disallowed_methods, reason = "the clock starts here")]
    pub fn new() -> io::Result<Engine> {
        let reactor = Reactor::new()?;
        let (sources, waker, descriptor) =
            (reactor.sources(), reactor.waker(), reactor.descriptor());
        let kick: Kick = {
            let waker = waker.clone();
            Arc::new(move || {
                let _ = waker.wake();
            })
        };
        let seed = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |t| t.as_nanos() as u64);
        let clock = Arc::new(SystemClock(Instant::now()));
        let network = Arc::new(Sockets { sources: sources.clone() });
        let rt = Rt::new(Executor::new(kick), clock, network, seed ^ u64::from(std::process::id()));
        Ok(Engine(Arc::new(Shared {
            reactor: Mutex::new(reactor),
            rt,
            sources,
            descriptor,
            waker,
            lead: Mutex::default(),
            wanted: AtomicBool::new(false),
            last_lead: AtomicU64::new(0),
            keeper: Mutex::default(),
            keeper_thread: Mutex::default(),
            closed: AtomicBool::new(false),
            pid: AtomicU32::new(std::process::id()),
        })))
    }

    /// The runtime that channels and servers of this engine use.
    pub fn rt(&self) -> &Rt {
        &self.0.rt
    }

    /// Where sockets register.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.0.sources
    }

    /// Readable whenever [`Engine::turn`] has something to do. Owned by the engine.
    pub fn descriptor(&self) -> RawFd {
        self.0.descriptor
    }

    /// A duplicate of [`Engine::descriptor`] that its holder owns, for loops that insist on that.
    ///
    /// # Errors
    /// The system gives no further descriptor.
    pub fn duplicate_descriptor(&self) -> io::Result<OwnedFd> {
        lock(&self.0.reactor).duplicate()
    }

    /// Whether the process was forked since this engine was made; then it must not be touched again.
    pub fn is_forked(&self) -> bool {
        self.0.pid.load(Ordering::Relaxed) != std::process::id()
    }

    /// Whether [`Engine::shutdown`] was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// One round for a host's loop: takes what the sockets and timers have, runs the tasks, arms the descriptor for
    /// the next timer. Never blocks.
    pub fn turn(&self) {
        if self.is_forked() || self.is_closed() {
            return;
        }
        let Ok(mut reactor) = self.0.reactor.try_lock() else { return };
        self.0.round(&mut reactor, Some(Duration::ZERO));
        let executor = self.0.rt.executor();
        // what became ready after the last look still needs a round: at most a few, then the descriptor tells
        for _ in 0..4 {
            if executor.prepare_to_sleep() {
                reactor.arm(self.0.rt.now(), executor.next_timer());
                return;
            }
            executor.run(self.0.rt.now());
        }
        let _ = self.0.waker.wake();
    }

    /// Runs what is ready without asking the poller: for a host that has just submitted work.
    pub fn flush(&self) {
        if self.is_forked() || self.is_closed() {
            return;
        }
        let Ok(mut reactor) = self.0.reactor.try_lock() else { return };
        let executor = self.0.rt.executor();
        for _ in 0..4 {
            executor.run(self.0.rt.now());
            if executor.prepare_to_sleep() {
                reactor.arm(self.0.rt.now(), executor.next_timer());
                return;
            }
        }
        let _ = self.0.waker.wake();
    }

    /// Drives, or waits while another thread drives, until `done` holds, at most until `timeout` has passed. `done` is asked
    /// often and must be quick. Whoever makes it true from another thread calls `unpark` on this thread.
    pub fn drive_until(&self, mut done: impl FnMut() -> bool, timeout: Option<Duration>) -> Waited {
        if self.is_forked() {
            return Waited::Closed;
        }
        let until = timeout.map(|span| self.0.rt.now() + span);
        let mut passing_on = None;
        loop {
            if done() {
                return Waited::Done;
            }
            if self.is_closed() {
                return Waited::Closed;
            }
            let left = match until {
                Some(until) => match until.since(self.0.rt.now()) {
                    Duration::ZERO => return Waited::TimedOut,
                    left => Some(left),
                },
                None => None,
            };
            if self.0.try_lead() {
                let _end = EndLead(&self.0);
                let mut reactor = lock(&self.0.reactor);
                loop {
                    let left = until.map(|until| until.since(self.0.rt.now()));
                    if done() || left == Some(Duration::ZERO) || self.is_closed() {
                        break;
                    }
                    self.0.round(&mut reactor, left);
                }
            } else {
                // whatever makes this thread leave, a lead it was offered must not be lost
                passing_on.get_or_insert(PassOn(&self.0));
                self.0.follow(left);
            }
        }
    }

    /// Drives, or waits while another thread drives, until `future` is ready; `None`: the time was up first, or the engine
    /// is closed. The future is polled by this thread alone.
    pub fn block_on<T>(
        &self,
        future: impl Future<Output = T>,
        timeout: Option<Duration>,
    ) -> Option<T> {
        let mut future = std::pin::pin!(future);
        self.block_on_pinned(future.as_mut(), timeout)
    }

    /// As [`Engine::block_on`], but between slices of the wait `check` is asked (for signals); its error ends the wait and drops
    /// the future. `Ok(None)`: the engine is closed.
    ///
    /// # Errors
    /// What `check` said.
    pub fn block_on_checked<T, E>(
        &self,
        future: impl Future<Output = T>,
        slice: Duration,
        mut check: impl FnMut() -> Result<(), E>,
    ) -> Result<Option<T>, E> {
        let mut future = std::pin::pin!(future);
        loop {
            if let Some(done) = self.block_on_pinned(future.as_mut(), Some(slice)) {
                return Ok(Some(done));
            }
            if self.is_closed() || self.is_forked() {
                return Ok(None);
            }
            check()?;
        }
    }

    fn block_on_pinned<T>(
        &self,
        mut future: std::pin::Pin<&mut impl Future<Output = T>>,
        timeout: Option<Duration>,
    ) -> Option<T> {
        let (thread, shared) = (std::thread::current(), Arc::downgrade(&self.0));
        let signal = Arc::new(Signal { woken: AtomicBool::new(true), thread, shared });
        let waker = Waker::from(signal.clone());
        let mut cx = Context::from_waker(&waker);
        let mut done = None;
        self.drive_until(
            || {
                if done.is_none()
                    && signal.woken.swap(false, Ordering::AcqRel)
                    && let Poll::Ready(value) = future.as_mut().poll(&mut cx)
                {
                    done = Some(value);
                }
                done.is_some()
            },
            timeout,
        );
        done
    }

    /// Starts the keeper (once): a thread that drives whenever nobody else has for 20 ms.
    pub fn start_keeper(&self) -> io::Result<()> {
        let mut keeper = lock(&self.0.keeper);
        if keeper.is_some() || self.is_closed() {
            return Ok(());
        }
        let shared = Arc::downgrade(&self.0);
        #[allow(clippy::disallowed_methods, reason = "the engine's one thread")]
        let handle =
            std::thread::Builder::new().name("stubless-io".into()).spawn(move || keep(&shared))?;
        *lock(&self.0.keeper_thread) = Some(handle.thread().clone());
        *keeper = Some(handle);
        Ok(())
    }

    /// Ends the engine: tasks are dropped where they stand, waits return [`Waited::Closed`], the keeper is joined for at
    /// most `grace`. Returns whether everything stopped in time. Harmless when repeated.
    pub fn shutdown(&self, grace: Duration) -> bool {
        if self.is_forked() {
            return true;
        }
        self.0.closed.store(true, Ordering::Release);
        let _ = self.0.waker.wake();
        for thread in lock(&self.0.lead).followers.drain(..) {
            thread.unpark();
        }
        if let Some(thread) = lock(&self.0.keeper_thread).take() {
            thread.unpark();
        }
        let keeper = lock(&self.0.keeper).take();
        let until = self.0.rt.now() + grace;
        if let Some(keeper) = keeper {
            if keeper.thread().id() == std::thread::current().id() {
                return false;
            }
            while !keeper.is_finished() && self.0.rt.now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !keeper.is_finished() {
                return false;
            }
            let _ = keeper.join();
        }
        loop {
            if let Ok(_reactor) = self.0.reactor.try_lock() {
                self.0.rt.executor().clear();
                return true;
            }
            if self.0.rt.now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Shared {
    /// Waits for events (not at all when tasks are ready), then runs tasks.
    fn round(&self, reactor: &mut Reactor, timeout: Option<Duration>) {
        let executor = self.rt.executor();
        let timeout = if executor.has_ready() && timeout != Some(Duration::ZERO) {
            let now = self.rt.now();
            if now.since(reactor.last_wait()) >= STALE {
                // after a pause the peer may have said goodbye: hear that before using the connection
                let _ = reactor.wait(now, Some(Duration::ZERO), || {});
            }
            // then what is ready: the answer may already be on its way out of a task
            if executor.run(now) {
                let _ = reactor.wait(self.rt.now(), Some(Duration::ZERO), || {});
            }
            return;
        } else if executor.prepare_to_sleep() {
            let timer = executor.next_timer().map(|at| at.since(self.rt.now()));
            match (timeout, timer) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        } else {
            Some(Duration::ZERO)
        };
        // the poller counts milliseconds and mio rounds up, so a timer is never early
        let mut more = reactor
            .wait(self.rt.now(), timeout, || executor.promise_run())
            .unwrap_or_else(|error| {
                log::error!(target: "stubless", "the system's poller failed: {error}");
                std::thread::sleep(Duration::from_millis(10));
                false
            });
        // all of them now: a host that watches the descriptor is told of a change only once
        while more {
            more = reactor.wait(self.rt.now(), Some(Duration::ZERO), || {}).unwrap_or(false);
        }
        executor.run(self.rt.now());
    }

    fn try_lead(&self) -> bool {
        let mut lead = lock(&self.lead);
        if lead.taken {
            return false;
        }
        lead.taken = true;
        lead.leader = Some(std::thread::current().id());
        self.wanted.store(false, Ordering::Release);
        true
    }

    /// Waits for an unpark: the lead is free, or somebody made our condition true.
    fn follow(&self, left: Option<Duration>) {
        {
            let mut lead = lock(&self.lead);
            if !lead.taken {
                return;
            }
            lead.followers.push_back(std::thread::current());
        }
        if lock(&self.keeper).is_some() && !self.wanted.swap(true, Ordering::AcqRel) {
            // if it is the keeper that leads, it steps aside
            let _ = self.waker.wake();
        }
        match left {
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
        let me = std::thread::current().id();
        lock(&self.lead).followers.retain(|thread| thread.id() != me);
    }
}

/// Offers the lead, if nobody has it, to the next follower.
struct PassOn<'a>(&'a Shared);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        let next = {
            let mut lead = lock(&self.0.lead);
            if lead.taken { None } else { lead.followers.pop_front() }
        };
        if let Some(next) = next {
            next.unpark();
        }
    }
}

struct EndLead<'a>(&'a Shared);

impl Drop for EndLead<'_> {
    fn drop(&mut self) {
        self.0.last_lead.store(self.0.rt.now().as_nanos(), Ordering::Release);
        let next = {
            let mut lead = lock(&self.0.lead);
            lead.taken = false;
            lead.leader = None;
            lead.followers.pop_front()
        };
        if let Some(next) = next {
            next.unpark();
        }
    }
}

/// The keeper's life: lead while nobody else wants to, otherwise look again now and then.
fn keep(shared: &Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        if shared.closed.load(Ordering::Acquire) {
            return;
        }
        let quiet =
            shared.rt.now().since(Time::from_nanos(shared.last_lead.load(Ordering::Acquire)));
        if quiet >= KEEPER_PATIENCE && shared.try_lead() {
            let _end = EndLead(&shared);
            let mut reactor = lock(&shared.reactor);
            // an engine that only the keeper still holds is dropped
            while !shared.wanted.load(Ordering::Acquire)
                && !shared.closed.load(Ordering::Acquire)
                && Arc::strong_count(&shared) > 1
            {
                shared.round(&mut reactor, None);
            }
            continue;
        }
        drop(shared);
        std::thread::park_timeout(KEEPER_PATIENCE);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("descriptor", &self.0.descriptor).finish_non_exhaustive()
    }
}
