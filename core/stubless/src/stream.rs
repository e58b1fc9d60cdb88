//! Streams of messages that come in, and the queue behind them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_core::Stream;
use stubless_codec::{Message, MessageType, Schema};
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{ClientCallHandle, Event, Queue, Reply};
use stubless_engine::status::Status;

use crate::error::{RpcError, undecodable};
use crate::runtime::lock;
use crate::service::Cancelled;

/// Messages the engine may hand over ahead of the reader.
pub(crate) const CREDIT: usize = 64;

#[derive(Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    writable: bool,
    ended: bool,
    events: VecDeque<Event>,
    spare: Vec<Event>,
}

/// One call's events, for a task that reads and one that writes.
pub(crate) struct Inbox {
    queue: Arc<Queue>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Inbox {
    pub fn new() -> Arc<Inbox> {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let to_wake = waiting.clone();
        let queue = Queue::new(Box::new(move || {
            let (reader, writer) = {
                let mut waiting = lock(&to_wake);
                (waiting.reader.take(), waiting.writer.take())
            };
            for waker in [reader, writer].into_iter().flatten() {
                waker.wake();
            }
        }));
        Arc::new(Inbox { queue, waiting })
    }

    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Sorts what has come: room for the writer, the rest for the reader.
    fn sort(&self, waiting: &mut Waiting, wake_reader: bool) {
        let mut batch = std::mem::take(&mut waiting.spare);
        while self.queue.drain(&mut batch, usize::MAX) > 0 {
            for event in batch.drain(..) {
                match event {
                    Event::Writable { .. } => waiting.writable = true,
                    event => {
                        let last = matches!(
                            event,
                            Event::Reply { .. } | Event::Status { .. } | Event::Cancelled { .. }
                        );
                        waiting.ended |= last;
                        waiting.events.push_back(event);
                    }
                }
            }
            if (waiting.writable || waiting.ended)
                && let Some(writer) = waiting.writer.take()
            {
                writer.wake();
            }
            if wake_reader
                && !waiting.events.is_empty()
                && let Some(reader) = waiting.reader.take()
            {
                reader.wake();
            }
        }
        waiting.spare = batch;
    }

    /// The next event for the reader.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut waiting = lock(&self.waiting);
        if waiting.events.is_empty() {
            // registered first: what comes after this look wakes it
            waiting.reader = Some(cx.waker().clone());
            self.sort(&mut waiting, false);
        }
        match waiting.events.pop_front() {
            Some(event) => {
                waiting.reader = None;
                Poll::Ready(event)
            }
            None => Poll::Pending,
        }
    }

    /// Ready when there is room for another message, or the call has ended.
    pub fn poll_writable(&self, cx: &mut Context<'_>, ended: impl Fn() -> bool) -> Poll<()> {
        let mut waiting = lock(&self.waiting);
        waiting.writer = Some(cx.waker().clone());
        self.sort(&mut waiting, true);
        if std::mem::take(&mut waiting.writable) || waiting.ended || ended() {
            waiting.writer = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether the call was cancelled; wakes the task when it is. What else has come stays for the reader.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>, cancelled: &Cancelled) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.reader.is_none() {
            waiting.reader = Some(cx.waker().clone());
        }
        self.sort(&mut waiting, false);
        let at = waiting.events.iter().position(|event| matches!(event, Event::Cancelled { .. }));
        if let Some(Event::Cancelled { status, .. }) = at.and_then(|at| waiting.events.remove(at)) {
            cancelled.set(status);
        }
        cancelled.get().is_some()
    }

    /// The answer of a call with one response.
    pub fn poll_reply(&self, cx: &mut Context<'_>) -> Poll<Reply> {
        loop {
            if let Event::Reply { reply, .. } = ready!(self.poll_event(cx)) {
                return Poll::Ready(*reply);
            }
        }
    }
}

/// The responses of a streaming call, one by one. Dropping it before the end cancels the call.
///
/// It is a [`futures_core::Stream`] of `Result<Message, RpcError>`; [`Streaming::message`] needs no other crate.
pub struct Streaming {
    handle: ClientCallHandle,
    inbox: Arc<Inbox>,
    output: MessageType,
    schema: Schema,
    headers: Option<Metadata>,
    ended: Option<(Status, Metadata)>,
    taken: usize,
    ready: VecDeque<Bytes>,
}

impl Streaming {
    pub(crate) fn new(
        handle: ClientCallHandle,
        inbox: Arc<Inbox>,
        output: &MessageType,
        schema: &Schema,
    ) -> Streaming {
        handle.grant(CREDIT);
        Streaming {
            handle,
            inbox,
            output: output.clone(),
            schema: schema.clone(),
            headers: None,
            ended: None,
            taken: 0,
            ready: VecDeque::new(),
        }
    }

    /// The next message; `None` when the call has ended with OK.
    ///
    /// # Errors
    /// How the call ended otherwise; messages that came before are given first.
    pub async fn message(&mut self) -> Result<Option<Message>, RpcError> {
        poll_fn(|cx| self.poll_message(cx)).await.transpose()
    }

    /// Waits for the initial metadata.
    ///
    /// # Errors
    /// The call ended without.
    pub async fn headers(&mut self) -> Result<&Metadata, RpcError> {
        while self.headers.is_none() && self.ended.is_none() {
            poll_fn(|cx| self.poll_one(cx)).await;
        }
        if self.headers.is_none()
            && let Some((status, _)) = &self.ended
            && !status.is_ok()
        {
            return Err(self.error(status.clone()));
        }
        Ok(self.headers.get_or_insert_default())
    }

    /// Trailing metadata, once the stream has ended.
    pub fn trailers(&self) -> Option<&Metadata> {
        self.ended.as_ref().map(|(_, trailers)| trailers)
    }

    /// How the call ended, once it has.
    pub fn status(&self) -> Option<&Status> {
        self.ended.as_ref().map(|(status, _)| status)
    }

    /// Cancels the call.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    fn error(&self, status: Status) -> RpcError {
        let headers = self.headers.clone().unwrap_or_default();
        let trailers = self.trailers().cloned().unwrap_or_default();
        RpcError::received(status, headers, trailers, &self.schema)
    }

    fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.inbox.poll_event(cx)) {
            Event::Headers { metadata, .. } => self.headers = Some(metadata),
            Event::Message { message, .. } => self.ready.push_back(message),
            Event::Status { status, trailers, .. } => self.ended = Some((status, trailers)),
            _ => {}
        }
        Poll::Ready(())
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, RpcError>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.taken += 1;
                if self.taken >= CREDIT / 2 {
                    self.handle.grant(self.taken);
                    self.taken = 0;
                }
                return Poll::Ready(Some(self.output.decode(bytes).map_err(|error| {
                    self.handle.cancel();
                    let status = undecodable("response", &error);
                    self.ended = Some((status.clone(), Metadata::new()));
                    self.ready.clear();
                    self.error(status)
                })));
            }
            if let Some((status, _)) = &self.ended {
                if status.is_ok() || self.taken == usize::MAX {
                    return Poll::Ready(None);
                }
                // told once; then the stream is at its end
                let error = self.error(status.clone());
                self.taken = usize::MAX;
                return Poll::Ready(Some(Err(error)));
            }
            ready!(self.poll_one(cx));
        }
    }
}

impl Stream for Streaming {
    type Item = Result<Message, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.handle.cancel();
        }
    }
}
