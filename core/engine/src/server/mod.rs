//! The server's pumps: listeners, connections, the router, and calls on their way to a handler.

pub mod call;
mod connection;
pub mod interceptor;
pub mod listener;
mod options;
pub mod router;

pub use call::{CallHead, ServerCall, Slot};
pub use interceptor::{ServerInterceptor, ServerObserver};
pub use options::ServerOptions;
pub use router::{Handler, Registration};

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::error::Error;
use crate::rt::{Rt, lock};
use connection::Control;
use listener::Stop;
use router::Router;

pub(crate) struct Inner {
    pub rt: Rt,
    pub options: ServerOptions,
    router: Mutex<Arc<Router>>,
    state: Mutex<State>,
    /// Handlers that have not returned.
    running: Arc<AtomicUsize>,
    stopping: AtomicBool,
}

#[derive(Default)]
struct State {
    listeners: Vec<Arc<Stop>>,
    in_process: Vec<crate::transport::in_process::Listener>,
    connections: Slab<Arc<Control>>,
    on_shutdown: Vec<Arc<dyn Fn() + Send + Sync>>,
    waiting: Vec<Waker>,
}

/// Serves calls on any number of addresses. Cheap to clone; it stops by [`Server::shutdown`], or when the last clone is dropped.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
    _last: Arc<Last>,
}

struct Last(Arc<Inner>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.stop_listening();
        self.0.command(connection::Command::Now);
    }
}

impl Server {
    /// A server without services or addresses.
    pub fn new(rt: &Rt, options: ServerOptions) -> Server {
        let inner = Arc::new(Inner {
            rt: rt.clone(),
            options,
            router: Mutex::default(),
            state: Mutex::default(),
            running: Arc::default(),
            stopping: AtomicBool::new(false),
        });
        Server { _last: Arc::new(Last(inner.clone())), inner }
    }

    /// The runtime it lives on.
    pub fn rt(&self) -> &Rt {
        &self.inner.rt
    }

    /// Adds a service, also while calls are served. `package.Service`, then its methods.
    ///
    /// # Errors
    /// A service of that name is there already.
    pub fn register(&self, service: &str, methods: Vec<Registration>) -> Result<(), Error> {
        let mut router = lock(&self.inner.router);
        let mut changed = Router::clone(&router);
        changed.add(service, methods)?;
        *router = Arc::new(changed);
        Ok(())
    }

    /// Removes a service: its calls that run go on, new ones get UNIMPLEMENTED. `false`: there was none.
    pub fn unregister(&self, service: &str) -> bool {
        let mut router = lock(&self.inner.router);
        let mut changed = Router::clone(&router);
        let removed = changed.remove(service);
        *router = Arc::new(changed);
        removed
    }

    /// Who gets calls to methods nobody registered (proxies); without one they get UNIMPLEMENTED.
    pub fn set_fallback(&self, handler: Option<Arc<dyn Handler>>) {
        let mut router = lock(&self.inner.router);
        let mut changed = Router::clone(&router);
        changed.fallback = handler;
        *router = Arc::new(changed);
    }

    /// The names of the registered services, sorted.
    pub fn services(&self) -> Vec<String> {
        self.inner.router().services()
    }

    /// Handlers that have not returned yet.
    pub fn running_calls(&self) -> usize {
        self.inner.running.load(Ordering::Acquire)
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        lock(&self.inner.state).connections.len()
    }

    /// Called once when a shutdown begins, before anything else happens (health turns NOT_SERVING here).
    pub fn on_shutdown(&self, callback: impl Fn() + Send + Sync + 'static) {
        lock(&self.inner.state).on_shutdown.push(Arc::new(callback));
    }

    /// Begins to stop: no new connections or calls; those that run may finish within `grace`, then they are cancelled.
    /// Wait for the end by [`Server::poll_stopped`]. A second call can only shorten the grace.
    pub fn shutdown(&self, grace: Duration) {
        let inner = &self.inner;
        if !inner.stopping.swap(true, Ordering::AcqRel) {
            let callbacks = lock(&inner.state).on_shutdown.clone();
            for callback in callbacks {
                callback();
            }
            inner.stop_listening();
            inner.command(connection::Command::Graceful);
        }
        if grace.is_zero() {
            inner.command(connection::Command::Now);
            return;
        }
        let weak = Arc::downgrade(inner);
        let grace = inner.rt.sleep(grace);
        inner.rt.spawn(async move {
            grace.await;
            if let Some(inner) = weak.upgrade() {
                inner.command(connection::Command::Now);
            }
        });
    }

    /// Ready when a shutdown is complete: every connection is closed.
    pub fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.inner.state);
        if self.inner.stopping.load(Ordering::Acquire) && state.connections.is_empty() {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether a shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }
}

impl Inner {
    pub(crate) fn router(&self) -> Arc<Router> {
        lock(&self.router).clone()
    }

    fn stop_listening(&self) {
        let (listeners, in_process) = {
            let mut state = lock(&self.state);
            (std::mem::take(&mut state.listeners), std::mem::take(&mut state.in_process))
        };
        drop(in_process);
        for listener in listeners {
            listener.stop();
        }
    }

    fn command(&self, command: connection::Command) {
        let controls: Vec<_> =
            lock(&self.state).connections.iter().map(|(_, control)| control.clone()).collect();
        for control in controls {
            control.command(command);
        }
        self.wake_if_stopped();
    }

    fn wake_if_stopped(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            if !state.connections.is_empty() {
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        for waker in waiting {
            waker.wake();
        }
    }

    /// Enters a connection in the list; `None`: the server is stopping.
    fn enter(&self, control: &Arc<Control>) -> Option<usize> {
        let mut state = lock(&self.state);
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        Some(state.connections.insert(control.clone()))
    }

    fn leave(&self, key: usize) {
        lock(&self.state).connections.try_remove(key);
        self.wake_if_stopped();
    }
}
