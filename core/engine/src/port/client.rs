//! Calls to a server, by handle.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::ops::Ops;
use super::{Event, Queue, Reply};
use crate::call::ClientEvent;
use crate::client::{Call, CallOptions, Channel, Method};
use crate::metadata::Metadata;
use crate::status::{Code, Status};

/// What a call begins with.
#[derive(Debug)]
pub struct StartCall {
    /// The number its events carry.
    pub tag: u64,
    /// Its metadata.
    pub metadata: Metadata,
    /// What it sets differently from its channel.
    pub options: CallOptions,
    /// The only request message; `None`: messages follow by [`ClientCallHandle::send`].
    pub request: Option<Bytes>,
}

enum Op {
    Send(Bytes),
    HalfClose,
    End(Status),
    Grant(usize),
}

/// A call in progress. Its methods only note what is wanted; any thread. Dropping the last clone cancels the call.
#[derive(Clone)]
pub struct ClientCallHandle(Arc<Guard>);

struct Guard(Arc<Ops<Op>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.submit([Op::End(Status::new(Code::Cancelled, "the call was dropped"))]);
    }
}

impl ClientCallHandle {
    /// Queues a message. `false`: wait for [`Event::Writable`] (or the call's end) before the next one.
    pub fn send(&self, message: Bytes) -> bool {
        self.0.0.submit_message(message.len(), Op::Send(message))
    }

    /// No more messages will be sent.
    pub fn half_close(&self) {
        self.0.0.submit([Op::HalfClose]);
    }

    /// Ends the call with CANCELLED, here and on the wire.
    pub fn cancel(&self) {
        self.end(Status::new(Code::Cancelled, "the call was cancelled"));
    }

    /// Ends the call with `status`, here and (as a cancel) on the wire.
    pub fn end(&self, status: Status) {
        self.0.0.submit([Op::End(status)]);
    }

    /// Allows `count` more [`Event::Message`]s. A call starts with none.
    pub fn grant(&self, count: usize) {
        self.0.0.submit([Op::Grant(count)]);
    }

    /// Whether the call has ended for the engine; its last event may still wait in the queue.
    pub fn is_ended(&self) -> bool {
        self.0.0.is_ended()
    }
}

/// Starts a call with one request and one response; its only event is [`Event::Reply`].
pub fn start_unary(
    channel: &Channel,
    method: &Method,
    tag: u64,
    metadata: Metadata,
    options: CallOptions,
    request: Bytes,
    queue: &Arc<Queue>,
) -> ClientCallHandle {
    let start = StartCall { tag, metadata, options, request: Some(request) };
    start_call(channel, method, start, queue)
}

/// Starts a call of any kind; its events go to `queue`.
pub fn start_call(
    channel: &Channel,
    method: &Method,
    start: StartCall,
    queue: &Arc<Queue>,
) -> ClientCallHandle {
    let ops = Arc::new(Ops::default());
    let mut call = Call::new(channel, method, start.metadata, start.options);
    if let Some(request) = start.request {
        // a message over the limit has ended the call: its status comes as the event
        let _ = call.send_message(request);
        call.half_close();
    }
    let mut pump = Pump {
        call,
        ops: ops.clone(),
        queue: queue.clone(),
        tag: start.tag,
        credits: 0,
        spare: Vec::new(),
        told_headers: false,
        reply: (!method.kind().server_streaming).then(Collected::default),
    };
    channel.rt().spawn(std::future::poll_fn(move |cx| pump.poll(cx)));
    ClientCallHandle(Arc::new(Guard(ops)))
}

#[derive(Default)]
struct Collected {
    headers: Metadata,
    message: Option<Bytes>,
}

struct Pump {
    call: Call,
    ops: Arc<Ops<Op>>,
    queue: Arc<Queue>,
    tag: u64,
    credits: usize,
    spare: Vec<Op>,
    told_headers: bool,
    reply: Option<Collected>,
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.take_ops(cx);
        loop {
            let wanted = self.reply.is_some()
                || self.credits > 0
                || !self.told_headers
                || self.call.is_ended();
            if !wanted {
                // read on without handing over, so that the connection never waits for this reader
                self.call.drive(cx);
                if self.call.is_ended() {
                    continue;
                }
                break;
            }
            match self.call.poll_event(cx) {
                Poll::Ready(Some(event)) => {
                    if self.tell(event) {
                        self.ops.end();
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(None) => {
                    self.ops.end();
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
        }
        self.tell_writable(cx);
        Poll::Pending
    }

    fn take_ops(&mut self, cx: &Context<'_>) {
        let mut ops = std::mem::take(&mut self.spare);
        self.ops.take(cx, &mut ops);
        for op in ops.drain(..) {
            match op {
                Op::Send(message) => {
                    let _ = self.call.send_message(message);
                }
                Op::HalfClose => self.call.half_close(),
                Op::End(status) => self.call.end(status),
                Op::Grant(count) => self.credits = self.credits.saturating_add(count),
            }
        }
        self.spare = ops;
    }

    /// `true`: that was the last event.
    fn tell(&mut self, event: ClientEvent) -> bool {
        let tag = self.tag;
        match (event, &mut self.reply) {
            (ClientEvent::Headers(headers), Some(reply)) => reply.headers = headers,
            (ClientEvent::Message(message), Some(reply)) => reply.message = Some(message),
            (ClientEvent::Status(status, trailers), Some(_)) => {
                let Collected { headers, message } = self.reply.take().unwrap_or_default();
                let message = message.filter(|_| status.is_ok());
                let reply = Box::new(Reply { headers, message, status, trailers });
                self.queue.push(Event::Reply { tag, reply });
                return true;
            }
            (ClientEvent::Headers(metadata), None) => {
                self.told_headers = true;
                self.queue.push(Event::Headers { tag, metadata });
            }
            (ClientEvent::Message(message), None) => {
                self.credits = self.credits.saturating_sub(1);
                self.queue.push(Event::Message { tag, message });
            }
            (ClientEvent::Status(status, trailers), None) => {
                self.queue.push(Event::Status { tag, status, trailers });
                return true;
            }
        }
        false
    }

    fn tell_writable(&mut self, cx: &mut Context<'_>) {
        if let Some(submitted) = self.ops.waiting()
            && self.call.poll_ready(cx).is_ready()
            && self.ops.sent(submitted, self.call.queued())
        {
            self.queue.push(Event::Writable { tag: self.tag });
        }
    }
}
