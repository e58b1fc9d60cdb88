//! Addresses a server listens on.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Inner, Server, connection};
use crate::channel::Target;
use crate::error::Error;
use crate::rt::{Address, Listen, lock};
use crate::time::Time;
use crate::transport::in_process;

/// Waits between failed accepts: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Ends one listener.
#[derive(Default)]
pub(super) struct Stop {
    stopped: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Stop {
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> bool {
        *lock(&self.waker) = Some(cx.waker().clone());
        self.stopped.load(Ordering::Acquire)
    }
}

/// How connections of a listener are secured.
#[derive(Clone, Default)]
pub struct Security {
    /// TLS; `None` is cleartext.
    #[cfg(feature = "net")]
    pub tls: Option<crate::transport::tls::ServerTls>,
}

impl Server {
    /// Listens on `address` and serves what comes: `host:port`, `[::]:port`, `unix:/path`, `unix-abstract:name` or
    /// `inprocess:name`. Gives the port (0 asks for a free one) or 0 where there is none. A host name listens on all of its
    /// addresses. May be called several times.
    ///
    /// # Errors
    /// The address cannot be understood or listened on; the error says why. The server was shut down.
    pub fn listen(&self, address: &str, security: Security) -> Result<u16, Error> {
        if self.is_stopping() {
            return Err(Error::Closed { what: "server" });
        }
        let fail = |reason: String| Error::option("address", format!("{address:?}: {reason}"));
        match Target::parse(address, &[]).map_err(|e| Error::option("address", e))? {
            Target::Addresses(addresses) => {
                let mut port = 0;
                for one in addresses {
                    port = self.listen_on(&one, &security).map_err(fail)?;
                }
                Ok(port)
            }
            Target::Dns { host, port, .. } => {
                let addresses: Vec<SocketAddr> = match host.parse() {
                    Ok(ip) => vec![SocketAddr::new(ip, port)],
                    Err(_) => (host.as_str(), port)
                        .to_socket_addrs()
                        .map_err(|e| fail(e.to_string()))?
                        .collect(),
                };
                let (mut bound, mut problem) = (0, format!("{host:?} has no address"));
                for mut one in addresses {
                    if bound != 0 {
                        one.set_port(bound);
                    }
                    match self.listen_on(&Address::Tcp(one), &security) {
                        Ok(port) => bound = port,
                        Err(error) => problem = error,
                    }
                }
                if bound == 0 { Err(fail(problem)) } else { Ok(bound) }
            }
            Target::Other { .. } => Err(fail("is nothing to listen on".into())),
        }
    }

    fn listen_on(&self, address: &Address, security: &Security) -> Result<u16, String> {
        let inner = &self.inner;
        if let Address::InProcess(name) = address {
            let weak = Arc::downgrade(inner);
            let accept: in_process::Accept = Arc::new(move |incoming| {
                if let Some(inner) = weak.upgrade() {
                    connection::serve_in_process(&inner, incoming);
                }
            });
            let listener = in_process::listen(name, accept).ok_or("the name is taken")?;
            lock(&inner.state).in_process.push(listener);
            return Ok(0);
        }
        let listener = inner.rt.network().listen(address).map_err(|error| error.to_string())?;
        let port = listener.port().unwrap_or(0);
        let stop = Arc::new(Stop::default());
        lock(&inner.state).listeners.push(stop.clone());
        inner.rt.spawn(accept_loop(Arc::downgrade(inner), listener, stop, security.clone()));
        Ok(port)
    }
}

async fn accept_loop(
    server: Weak<Inner>,
    mut listener: Box<dyn Listen>,
    stop: Arc<Stop>,
    security: Security,
) {
    let (mut pause, mut last_log) = (PAUSE.0, Time::ZERO);
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if stop.poll(cx) { Poll::Ready(None) } else { listener.poll_accept(cx).map(Some) }
        })
        .await;
        let Some(accepted) = accepted else { return };
        let Some(inner) = server.upgrade() else { return };
        match accepted {
            Ok(accepted) => {
                pause = PAUSE.0;
                connection::serve(&inner, accepted, security.clone());
            }
            Err(error) => {
                // out of descriptors, or a connection that died in the queue: others go on, and so do we
                let now = inner.rt.now();
                if now.since(last_log) >= Duration::from_secs(1) {
                    last_log = now;
                    log::warn!(target: "stubless", "accepting a connection failed, trying again: {error}");
                }
                let rest = inner.rt.sleep(pause);
                drop(inner);
                pause = (pause * 2).min(PAUSE.1);
                rest.await;
            }
        }
    }
}
