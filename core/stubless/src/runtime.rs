//! Which engine a channel or server lives on, and who drives it.
//!
//! Inside a tokio runtime each runtime gets an engine of its own, driven by a task of that runtime: calls need no other
//! thread. Anywhere else one engine of the process is used, driven by a thread of its own (`stubless-io`).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stubless_engine::rt::driver::Engine;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Error;

type PerRuntime = Mutex<HashMap<tokio::runtime::Id, Engine>>;

fn per_runtime() -> &'static PerRuntime {
    static ENGINES: OnceLock<PerRuntime> = OnceLock::new();
    ENGINES.get_or_init(Mutex::default)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine of the tokio runtime at hand, or the process's.
///
/// # Errors
/// The system gives no poller, or no thread.
pub(crate) fn engine() -> Result<Engine, Error> {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) => on_tokio(&handle),
        Err(_) => of_process(),
    }
}

fn of_process() -> Result<Engine, Error> {
    static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);
    let mut slot = lock(&ENGINE);
    if let Some(engine) = slot.as_ref().filter(|engine| !engine.is_closed() && !engine.is_forked())
    {
        return Ok(engine.clone());
    }
    let engine = Engine::new().map_err(Error::system)?;
    engine.start_keeper().map_err(Error::system)?;
    *slot = Some(engine.clone());
    Ok(engine)
}

fn on_tokio(handle: &tokio::runtime::Handle) -> Result<Engine, Error> {
    let mut engines = lock(per_runtime());
    if let Some(engine) = engines.get(&handle.id()).filter(|engine| !engine.is_forked()) {
        return Ok(engine.clone());
    }
    let engine = Engine::new().map_err(Error::system)?;
    let waker = Arc::new(Mutex::new(None::<Waker>));
    let to_wake = waker.clone();
    engine.rt().executor().set_kick(Arc::new(move || {
        if let Some(waker) = lock(&to_wake).take() {
            waker.wake();
        }
    }));
    // from here on it counts as asleep: the first call kicks it, on whatever thread the driver is by then
    engine.flush();
    let descriptor = {
        let _inside = handle.enter();
        let owned = engine.duplicate_descriptor().map_err(Error::system)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an `OwnedFd` keeps what that one asks for"
        )]
        AsyncFd::with_interest(owned, Interest::READABLE).map_err(Error::system)?
    };
    let mut driver = Driver { engine: engine.clone(), descriptor, waker, runtime: handle.id() };
    handle.spawn(std::future::poll_fn(move |cx| driver.poll(cx)));
    engines.insert(handle.id(), engine.clone());
    Ok(engine)
}

/// The task that drives an engine on a tokio runtime, for as long as that runtime lives.
struct Driver {
    descriptor: AsyncFd<OwnedFd>,
    engine: Engine,
    waker: Arc<Mutex<Option<Waker>>>,
    runtime: tokio::runtime::Id,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *lock(&self.waker) = Some(cx.waker().clone());
        loop {
            match self.descriptor.poll_read_ready(cx) {
                Poll::Ready(Ok(mut ready)) => {
                    ready.clear_ready();
                    self.engine.turn();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    // kicked: for tasks that are ready, or for a timer that is earlier than the one armed
                    if !self.engine.rt().executor().is_asleep() {
                        self.engine.flush();
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        lock(per_runtime()).remove(&self.runtime);
        self.engine.shutdown(Duration::ZERO);
    }
}
