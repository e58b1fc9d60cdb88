//! The runtime: clock, timers, tasks, randomness and sockets, behind one handle.
//!
//! Everything above takes an [`Rt`] and asks it; nothing above reads a clock, opens a socket or starts a thread. Tasks
//! run on an executor that somebody *drives*: the engine's own thread, a blocking caller, or a host's event loop that
//! watches one descriptor (`reactor`, with the feature `net`), a JavaScript pump (wasm), or a test that
//! turns the clock by hand. All of them run the same tasks in the same way.

pub(crate) mod executor;
mod timer;

#[cfg(feature = "net")]
pub mod dns;
#[cfg(feature = "net")]
pub mod driver;
#[cfg(feature = "net")]
pub mod reactor;
#[cfg(feature = "net")]
pub mod socket;

pub(crate) use executor::lock;
pub use executor::{Executor, Kick};
pub use timer::Sleep;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::channel::resolver::Lookup;

pub use crate::channel::Address;
pub use crate::future::BoxFuture;
pub use crate::time::{Clock, Time};

/// A byte stream between two peers: a socket, a TLS session, or bytes that a host carries.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Any [`Io`], its type forgotten.
pub type BoxIo = Box<dyn Io>;

/// One accepted connection.
pub struct AcceptedIo {
    /// The byte stream.
    pub io: BoxIo,
    /// The other end in gRPC's notation: `ipv4:127.0.0.1:5000`, `unix:`.
    pub peer: String,
}

/// A place where connections come in.
pub trait Listen: Send + 'static {
    /// The next connection; an error does not end the listening.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedIo>>;
    /// The port, if it has one.
    fn port(&self) -> Option<u16>;
}

/// What a client sets on its sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    /// Unacknowledged bytes end the connection after this (gRFC A18); `None` leaves the system's default. TCP on Linux.
    pub user_timeout: Option<Duration>,
}

/// Opens byte streams and looks names up; natively sockets, in wasm whatever the host offers.
pub trait Network: Send + Sync + 'static {
    /// Opens a stream to `address`; the caller bounds the time.
    fn connect(
        &self,
        rt: &Rt,
        address: &Address,
        options: SocketOptions,
    ) -> BoxFuture<io::Result<BoxIo>>;
    /// Listens on `address`; port 0 takes a free one.
    fn listen(&self, address: &Address) -> io::Result<Box<dyn Listen>>;
    /// All addresses of `host`, in the order to try them.
    fn resolve(&self, rt: &Rt, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>>;
}

/// A [`Network`] that reaches nothing: for tests and for hosts that hand over open streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNetwork;

impl Network for NoNetwork {
    fn connect(&self, _: &Rt, address: &Address, _: SocketOptions) -> BoxFuture<io::Result<BoxIo>> {
        let text = format!("no network here to reach {address}");
        Box::pin(async move { Err(io::Error::new(io::ErrorKind::Unsupported, text)) })
    }

    fn listen(&self, address: &Address) -> io::Result<Box<dyn Listen>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("no network here to listen on {address}"),
        ))
    }

    fn resolve(&self, _: &Rt, host: &str, _: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        let text = format!("no network here to look up {host}");
        Box::pin(async move { Err(io::Error::new(io::ErrorKind::Unsupported, text)) })
    }
}

struct Inner {
    executor: Executor,
    clock: Arc<dyn Clock>,
    network: Arc<dyn Network>,
    random: AtomicU64,
}

/// The handle to a runtime; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Rt(Arc<Inner>);

impl Rt {
    /// A runtime of these parts. `seed` starts the pseudo-random sequence used for jitter (not for secrets).
    pub fn new(
        executor: Executor,
        clock: Arc<dyn Clock>,
        network: Arc<dyn Network>,
        seed: u64,
    ) -> Rt {
        Rt(Arc::new(Inner { executor, clock, network, random: AtomicU64::new(seed | 1) }))
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.0.clock.now()
    }

    /// The clock itself, for parts that only tell the time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    /// Runs `future` until it ends, on whoever drives this runtime.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.executor.spawn(Box::pin(future));
    }

    /// Ready at `deadline`; [`Time::NEVER`] never is.
    pub fn sleep_until(&self, deadline: Time) -> Sleep {
        Sleep::new(self.clone(), deadline)
    }

    /// Ready after `span`.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// The executor below.
    pub fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// The network below.
    pub fn network(&self) -> Arc<dyn Network> {
        self.0.network.clone()
    }

    /// The next pseudo-random number (SplitMix64): for jitter, never for secrets.
    pub fn random(&self) -> u64 {
        let mut z = self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `span` changed by a uniform random share of plus or minus `fraction` (0.2 = 20 %).
    pub fn jitter(&self, span: Duration, fraction: f64) -> Duration {
        let unit = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        span.mul_f64(1.0 + fraction * (2.0 * unit - 1.0))
    }
}

/// `future`'s result, or `None` when the time is up first.
pub(crate) async fn until<T>(mut timer: Sleep, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        Pin::new(&mut timer).poll(cx).map(|()| None)
    })
    .await
}

impl Lookup for Rt {
    fn lookup(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        self.0.network.resolve(self, host, port)
    }
}

impl std::fmt::Debug for Rt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rt")
    }
}
