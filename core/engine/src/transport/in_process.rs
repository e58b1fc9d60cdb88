//! Calls within one process: the same parts and verbs as HTTP/2, handed over without a socket.
//!
//! Two ends share a pair of queues. A queue that holds more than its window makes the sender wait, as on the wire.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::outbox::{Ending, Next, Outbox};
use super::{Part, code};
use crate::frame::FrameBytes;
use crate::rt::lock;

/// Bytes one direction of a call holds before its sender waits.
const WINDOW: usize = 1 << 20;

/// One direction of a call.
#[derive(Default)]
struct Queue {
    parts: VecDeque<Part>,
    bytes: usize,
    /// The reader took this many bytes without releasing them.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Nobody reads, or nobody writes, any more.
    closed: bool,
}

#[derive(Default)]
struct Pair {
    to_server: Mutex<Queue>,
    to_client: Mutex<Queue>,
}

/// One end of a call.
struct End {
    pair: Arc<Pair>,
    is_client: bool,
    outbox: Outbox,
    finished: bool,
}

impl End {
    fn incoming(&self) -> &Mutex<Queue> {
        if self.is_client { &self.pair.to_client } else { &self.pair.to_server }
    }

    fn outgoing(&self) -> &Mutex<Queue> {
        if self.is_client { &self.pair.to_server } else { &self.pair.to_client }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        let mut queue = lock(self.incoming());
        match queue.parts.pop_front() {
            Some(part) => Poll::Ready(part),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn release(&self, bytes: usize) {
        let writer = {
            let mut queue = lock(self.incoming());
            queue.bytes = queue.bytes.saturating_sub(bytes);
            queue.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn put(&self, part: Part) {
        let reader = {
            let mut queue = lock(self.outgoing());
            if queue.closed {
                return;
            }
            queue.parts.push_back(part);
            queue.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let room = {
                let mut queue = lock(self.outgoing());
                let room = WINDOW.saturating_sub(queue.bytes);
                if room == 0 && self.outbox.wanted() > 0 && !queue.closed {
                    queue.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                if queue.closed { usize::MAX } else { room }
            };
            match self.outbox.next(room) {
                Next::Data(mut frame, end) => {
                    let length = frame.remaining();
                    if length > 0 {
                        lock(self.outgoing()).bytes += length;
                        self.put(Part::Data(frame.copy_to_bytes(length)));
                    }
                    if end {
                        self.put(Part::End);
                    }
                }
                Next::Trailers(trailers) => {
                    self.finished = true;
                    self.put(Part::Trailers(trailers));
                }
                Next::Window => {}
                Next::Nothing => return Poll::Ready(()),
            }
        }
    }

    fn reset(&mut self, code: u32) {
        self.outbox = Outbox::default();
        if !self.finished {
            self.finished = true;
            self.put(Part::Reset { code, unprocessed: code == code::REFUSED_STREAM });
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.reset(code::CANCEL);
        let writer = {
            let mut queue = lock(self.incoming());
            queue.closed = true;
            queue.parts.clear();
            queue.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

/// The caller's end of a call.
pub(crate) struct ClientStream(End);

impl ClientStream {
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        let part = self.0.poll_part(cx);
        if let Poll::Ready(
            Part::Headers { end: true, .. } | Part::Trailers(_) | Part::Reset { .. },
        ) = part
        {
            self.0.finished = true;
        }
        part
    }

    pub fn release(&mut self, bytes: usize) {
        self.0.release(bytes);
    }

    pub fn send(&mut self, frame: FrameBytes) {
        self.0.outbox.push(frame);
    }

    pub fn half_close(&mut self) {
        self.0.outbox.end(Ending::HalfClose);
    }

    pub fn queued(&self) -> usize {
        self.0.outbox.len()
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_flush(cx)
    }

    pub fn reset(&mut self, code: u32) {
        self.0.reset(code);
    }
}

/// The server's end of a call.
pub(crate) struct ServerStream(End);

impl ServerStream {
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        self.0.poll_part(cx)
    }

    pub fn release(&mut self, bytes: usize) {
        self.0.release(bytes);
    }

    pub fn send_headers(&mut self, http_status: u16, headers: HeaderMap, end: bool) {
        self.0.put(Part::Headers { http_status, headers, end });
        self.0.finished |= end;
    }

    pub fn send(&mut self, frame: FrameBytes) {
        self.0.outbox.push(frame);
    }

    pub fn finish(&mut self, trailers: HeaderMap) {
        self.0.outbox.end(Ending::Trailers(trailers));
    }

    pub fn drop_queued(&mut self) {
        self.0.outbox.drop_messages();
    }

    pub fn queued(&self) -> usize {
        self.0.outbox.len()
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_flush(cx)
    }

    /// Whether nobody is left to read.
    pub fn is_dead(&self) -> bool {
        lock(self.0.outgoing()).closed
    }

    pub fn reset(&mut self, code: u32) {
        self.0.reset(code);
    }
}

/// A call as it reaches a server of this process.
pub(crate) struct Incoming {
    pub path: Bytes,
    pub authority: String,
    pub headers: HeaderMap,
    pub stream: ServerStream,
}

/// Takes the calls of one listening name; must not block.
pub(crate) type Accept = Arc<dyn Fn(Incoming) + Send + Sync>;

struct Listening {
    accept: Accept,
    closed: AtomicBool,
}

fn names() -> &'static Mutex<HashMap<String, Weak<Listening>>> {
    static NAMES: OnceLock<Mutex<HashMap<String, Weak<Listening>>>> = OnceLock::new();
    NAMES.get_or_init(Mutex::default)
}

/// Keeps a name taken; dropping it frees the name.
pub(crate) struct Listener {
    name: String,
    listening: Arc<Listening>,
}

/// Takes `name` for a server of this process; `None`: it is taken.
pub(crate) fn listen(name: &str, accept: Accept) -> Option<Listener> {
    let mut names = lock(names());
    if names
        .get(name)
        .is_some_and(|l| l.upgrade().is_some_and(|l| !l.closed.load(Ordering::Acquire)))
    {
        return None;
    }
    let listening = Arc::new(Listening { accept, closed: AtomicBool::new(false) });
    names.insert(name.to_owned(), Arc::downgrade(&listening));
    Some(Listener { name: name.to_owned(), listening })
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.closed.store(true, Ordering::Release);
        let mut names = lock(names());
        if names.get(&self.name).is_some_and(|l| l.as_ptr() == Arc::as_ptr(&self.listening)) {
            names.remove(&self.name);
        }
    }
}

/// Opens calls to a listening name.
#[derive(Clone)]
pub(crate) struct Connector(Weak<Listening>);

/// Finds the server that listens on `name`.
pub(crate) fn connect(name: &str) -> Result<Connector, String> {
    match lock(names()).get(name) {
        Some(listening) if listening.upgrade().is_some() => Ok(Connector(listening.clone())),
        _ => Err(format!("nothing in this process listens on {name:?}")),
    }
}

impl Connector {
    pub fn is_done(&self) -> bool {
        self.0.upgrade().is_none_or(|l| l.closed.load(Ordering::Acquire))
    }

    pub fn open(
        &self,
        authority: &str,
        path: &str,
        headers: HeaderMap,
    ) -> Result<ClientStream, String> {
        let listening = self.0.upgrade().filter(|l| !l.closed.load(Ordering::Acquire));
        let listening = listening.ok_or("the server in this process is gone")?;
        let pair = Arc::new(Pair::default());
        let end = |is_client| End {
            pair: pair.clone(),
            is_client,
            outbox: Outbox::default(),
            finished: false,
        };
        let client = ClientStream(end(true));
        (listening.accept)(Incoming {
            path: Bytes::copy_from_slice(path.as_bytes()),
            authority: authority.to_owned(),
            headers,
            stream: ServerStream(end(false)),
        });
        Ok(client)
    }
}
