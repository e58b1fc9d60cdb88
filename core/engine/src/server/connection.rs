//! One accepted connection: handshakes, its streams, its timers and its end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Request;

use super::Inner;
use super::call::{CallHead, ServerCall, Slot, Stream};
use super::listener::Security;
use crate::metadata::MetadataLimits;
use crate::protocol::grpc::{
    Accepted, IncomingHead, Rejection, ServerStream, ServerStreamOptions, accept, reject,
};
use crate::rt::{AcceptedIo, BoxIo, Sleep, lock};
use crate::status::{Code, Status};
use crate::time::Time;
use crate::transport::http2::server::{ServerConnection, handshake};
use crate::transport::meter::{MeterConfig, MeterHandle};
use crate::transport::{Peer, TlsIdentity, code, in_process};

/// What a server tells its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    /// Nothing.
    None,
    /// No new calls; close when those open have ended.
    Graceful,
    /// Close now.
    Now,
}

/// The server's hand on one connection.
pub(super) struct Control {
    command: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    fn new() -> Control {
        Control { command: AtomicU8::new(Command::None as u8), waker: Mutex::default() }
    }

    pub fn command(&self, command: Command) {
        self.command.fetch_max(command as u8, Ordering::AcqRel);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Command {
        {
            let mut slot = lock(&self.waker);
            match slot.as_mut() {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *slot = Some(cx.waker().clone()),
            }
        }
        match self.command.load(Ordering::Acquire) {
            0 => Command::None,
            1 => Command::Graceful,
            _ => Command::Now,
        }
    }
}

/// Serves one accepted connection in a task of its own.
pub(super) fn serve(inner: &Arc<Inner>, accepted: AcceptedIo, security: Security) {
    let control = Arc::new(Control::new());
    let Some(key) = inner.enter(&control) else { return };
    let entry = Entry { server: Arc::downgrade(inner), key };
    let rt = inner.rt.clone();
    inner.rt.spawn(async move {
        let peer = accepted.peer.clone();
        match prepare(&entry, accepted, security, control).await {
            // a task of its own: what the handshakes needed is freed here
            Ok(mut task) => rt.spawn(poll_fn(move |cx| {
                let _listed = &entry;
                task.poll(cx).map(|end| {
                    if let Err(reason) = end {
                        log::debug!(target: "stubless", "connection from {}: {reason}", task.peer.address);
                    }
                })
            })),
            Err(reason) => log::debug!(target: "stubless", "connection from {peer}: {reason}"),
        }
    });
}

/// Takes the connection off the server's list when it is over, however it ends.
struct Entry {
    server: Weak<Inner>,
    key: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(inner) = self.server.upgrade() {
            inner.leave(self.key);
        }
    }
}

/// TLS and HTTP/2 handshakes.
async fn prepare(
    entry: &Entry,
    accepted: AcceptedIo,
    security: Security,
    control: Arc<Control>,
) -> Result<Box<ConnectionTask>, String> {
    let inner = entry.server.upgrade().ok_or("the server is gone")?;
    let rt = inner.rt.clone();
    let born = rt.now();
    let (options, address) = (inner.options.clone(), accepted.peer);
    drop(inner);
    let securing = secure(&rt, accepted.io, &security, options.handshake_timeout);
    let mut securing = pin!(securing);
    let secured = poll_fn(|cx| match control.poll(cx) {
        Command::Now => Poll::Ready(Err("the server is stopping".to_owned())),
        _ => securing.as_mut().poll(cx),
    });
    let (io, identity, encrypted) = secured.await?;
    let peer = Arc::new(Peer { address, tls: identity, encrypted });
    let mut meter = MeterConfig::server();
    meter.ping_policy = Some(options.ping_policy);
    meter.early_resets = Some(options.early_resets);
    meter.handshake_timeout = options.handshake_timeout.saturating_sub(rt.now().since(born));
    let (shaking, meter) = handshake(&rt, io, &options.http2, meter);
    let mut shaking = Box::pin(shaking);
    let mut timer = rt.sleep_until(Time::NEVER);
    let connection = poll_fn(|cx| {
        loop {
            if control.poll(cx) == Command::Now {
                return Poll::Ready(Err("the server is stopping".to_owned()));
            }
            if let Poll::Ready(done) = shaking.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            timer.reset(meter.next_deadline().unwrap_or(Time::NEVER));
            if Pin::new(&mut timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            meter.handle_time(rt.now());
        }
    })
    .await?;
    drop(shaking);
    let jitter = |span| rt.now() + rt.jitter(span, 0.1);
    Ok(Box::new(ConnectionTask {
        server: entry.server.clone(),
        connection,
        meter,
        control,
        peer,
        slots: Arc::default(),
        timer,
        pinged: None,
        keepalive: (options.keepalive_time, options.keepalive_timeout),
        age_at: options.max_connection_age.map_or(Time::NEVER, jitter),
        idle_after: options.max_connection_idle,
        idle_since: rt.now(),
        grace: options.max_connection_age_grace,
        grace_until: Time::NEVER,
        draining: false,
        rt: rt.clone(),
    }))
}

type Secured = (BoxIo, Option<Arc<TlsIdentity>>, bool);

#[cfg(feature = "net")]
async fn secure(
    rt: &crate::rt::Rt,
    io: BoxIo,
    security: &Security,
    limit: std::time::Duration,
) -> Result<Secured, String> {
    let Some(tls) = &security.tls else { return Ok((io, None, false)) };
    let (io, identity) = tls
        .accept(rt, io, limit)
        .await
        .map_err(|error| format!("TLS handshake failed: {error}"))?;
    Ok((io, identity, true))
}

#[cfg(not(feature = "net"))]
async fn secure(
    _: &crate::rt::Rt,
    io: BoxIo,
    _: &Security,
    _: std::time::Duration,
) -> Result<Secured, String> {
    Ok((io, None, false))
}

struct ConnectionTask {
    server: Weak<Inner>,
    connection: ServerConnection,
    meter: MeterHandle,
    control: Arc<Control>,
    peer: Arc<Peer>,
    /// Handlers of this connection that have not returned.
    slots: Arc<AtomicUsize>,
    timer: Sleep,
    pinged: Option<Time>,
    keepalive: (Option<std::time::Duration>, std::time::Duration),
    age_at: Time,
    idle_after: Option<std::time::Duration>,
    idle_since: Time,
    grace: Option<std::time::Duration>,
    grace_until: Time,
    draining: bool,
    rt: crate::rt::Rt,
}

impl ConnectionTask {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            match self.control.poll(cx) {
                Command::None => {}
                Command::Graceful => self.drain("server_shutdown"),
                Command::Now => {
                    self.connection.go_away_now("server_shutdown");
                    // the meter writes the GOAWAY and then ends the stream of bytes
                    let _ = self.connection.poll_accept(cx);
                    return Poll::Ready(Ok(()));
                }
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, stream)))) => {
                    let Some(inner) = self.server.upgrade() else { return Poll::Ready(Ok(())) };
                    self.serve_stream(&inner, request, stream);
                    continue;
                }
                Poll::Ready(Some(Err(reason))) => return Poll::Ready(Err(reason)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if let Some(result) = self.handle_time(cx) {
                return Poll::Ready(result);
            }
            let deadline = self.next_deadline();
            self.timer.reset(deadline);
            if Pin::new(&mut self.timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn drain(&mut self, text: &str) {
        if !self.draining {
            self.draining = true;
            self.connection.go_away_gracefully(text);
        }
    }

    fn is_quiet(&self) -> bool {
        self.slots.load(Ordering::Acquire) == 0
    }

    fn idle_at(&self) -> Time {
        match self.idle_after {
            Some(after) if !self.draining => self.idle_since + after,
            _ => Time::NEVER,
        }
    }

    fn keepalive_at(&self) -> Time {
        match (self.keepalive, self.pinged) {
            ((Some(_), timeout), Some(pinged)) => pinged + timeout,
            ((Some(time), _), None) => self.meter.last_received() + time,
            _ => Time::NEVER,
        }
    }

    fn next_deadline(&self) -> Time {
        let meter = self.meter.next_deadline().unwrap_or(Time::NEVER);
        let age = if self.draining { self.grace_until } else { self.age_at };
        meter.min(age).min(self.idle_at()).min(self.keepalive_at())
    }

    /// `Some`: the connection is over.
    fn handle_time(&mut self, cx: &mut Context<'_>) -> Option<Result<(), String>> {
        let now = self.rt.now();
        if self.meter.next_deadline().is_some_and(|at| at <= now) {
            self.meter.handle_time(now);
            cx.waker().wake_by_ref();
        }
        if !self.is_quiet() {
            self.idle_since = now;
        }
        if self.idle_at() <= now {
            self.drain("max_idle");
            cx.waker().wake_by_ref();
        }
        if self.age_at <= now && !self.draining {
            self.drain("max_age");
            self.grace_until = self.grace.map_or(Time::NEVER, |grace| now + grace);
            cx.waker().wake_by_ref();
        }
        if self.draining && self.grace_until <= now {
            self.connection.go_away_now("max_age");
            let _ = self.connection.poll_accept(cx);
            return Some(Ok(()));
        }
        if let Some(pinged) = self.pinged {
            if self.connection.poll_pong(cx) || self.meter.last_received() > pinged {
                self.pinged = None;
            } else if self.keepalive_at() <= now {
                self.meter.cut("keepalive: the client did not answer a PING in time");
                return Some(Err("keepalive: the client did not answer a PING in time".into()));
            }
        } else if self.keepalive_at() <= now && self.connection.send_ping() {
            self.pinged = Some(now);
            cx.waker().wake_by_ref();
        }
        None
    }

    fn serve_stream(
        &mut self,
        inner: &Arc<Inner>,
        request: Request<()>,
        mut stream: crate::transport::http2::ServerStream,
    ) {
        if self.slots.load(Ordering::Acquire) >= inner.options.http2.max_concurrent_streams as usize
        {
            // handlers that were cancelled and have not returned hold their places
            stream.reset(code::REFUSED_STREAM);
            return;
        }
        self.idle_since = inner.rt.now();
        let (parts, ()) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let head = IncomingHead {
            method: parts.method,
            path: Bytes::copy_from_slice(path.as_bytes()),
            authority: parts.uri.authority().map(|authority| authority.as_str().to_owned()),
            headers: parts.headers,
        };
        dispatch(inner, head, Stream::Http2(stream), &self.peer, &self.slots);
    }
}

/// Serves a call of this process.
pub(super) fn serve_in_process(inner: &Arc<Inner>, incoming: in_process::Incoming) {
    let head = IncomingHead {
        method: http::Method::POST,
        path: incoming.path,
        authority: Some(incoming.authority),
        headers: incoming.headers,
    };
    let peer = Arc::new(Peer { address: "inprocess:".into(), tls: None, encrypted: false });
    dispatch(inner, head, Stream::InProcess(incoming.stream), &peer, &Arc::default());
}

/// Judges a request and hands it to its handler, or answers it.
fn dispatch(
    inner: &Arc<Inner>,
    head: IncomingHead,
    stream: Stream,
    peer: &Arc<Peer>,
    slots: &Arc<AtomicUsize>,
) {
    let options = &inner.options;
    let limits = MetadataLimits {
        max_bytes: options.max_metadata_bytes,
        max_fields: options.max_metadata_fields,
    };
    let head = match accept(head, &limits) {
        Accepted::Call(head) => head,
        Accepted::Reject(rejection) => return answer(stream, rejection),
        Accepted::Reset(code) => {
            match stream {
                Stream::Http2(mut stream) => stream.reset(code),
                Stream::InProcess(mut stream) => stream.reset(code),
            }
            return;
        }
    };
    let route = match inner.router().find(&head.path) {
        Ok(route) => route,
        Err(status) => return answer(stream, reject(&status)),
    };
    if options
        .max_concurrent_calls
        .is_some_and(|most| inner.running.load(Ordering::Acquire) >= most)
    {
        let status =
            Status::new(Code::ResourceExhausted, "the server runs as many calls as it may");
        return answer(stream, reject(&status));
    }
    let deadline = head.timeout.map(|timeout| inner.rt.now() + timeout);
    let protocol = ServerStream::new(
        &head,
        route.kind,
        ServerStreamOptions {
            max_receive_message_bytes: options.max_receive_message_bytes,
            max_send_message_bytes: options.max_send_message_bytes,
            deadline,
            compression: Some(options.compression),
        },
    );
    let mut head = CallHead {
        path: head.path,
        kind: route.kind,
        authority: head.authority,
        metadata: head.metadata,
        deadline,
        peer: peer.clone(),
    };
    let mut observers = Vec::new();
    for interceptor in &options.interceptors {
        match interceptor.start(&mut head) {
            Ok(observer) => observers.extend(observer),
            Err(status) => {
                for mut observer in observers.into_iter().rev() {
                    observer.ended(&status);
                }
                return answer(stream, reject(&status));
            }
        }
    }
    let slot = Slot::new(slots.clone(), inner.running.clone());
    route.handler.handle(ServerCall::new(&inner.rt, head, protocol, stream, slot, observers));
}

fn answer(stream: Stream, rejection: Rejection) {
    match stream {
        Stream::Http2(mut stream) => {
            stream.send_headers(rejection.http_status, rejection.headers, true)
        }
        Stream::InProcess(mut stream) => {
            stream.send_headers(rejection.http_status, rejection.headers, true)
        }
    }
}
