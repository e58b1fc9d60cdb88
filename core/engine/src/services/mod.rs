//! The standard services and their clients, on the public API of server and client.
//!
//! [`health`] says whether a server takes calls, [`reflection`] what it offers, and [`details`] reads and writes the
//! `google.rpc.Status` that travels with an error. Their messages are small and fixed, so they are read and written here by hand;
//! the descriptors of all of them are in [`bundled`].

pub mod bundled;
pub mod details;
pub mod health;
pub mod reflection;
mod wire;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use crate::call::{ClientEvent, MethodKind, ServerEvent};
use crate::client::{Call, CallOptions, Channel, Method};
use crate::metadata::Metadata;
use crate::server::{Handler, Registration, ServerCall};
use crate::status::{Code, Status};

/// A method whose calls are each served by a task of their own.
fn method<F, T>(name: &str, kind: MethodKind, serve: F) -> Registration
where
    F: Fn(ServerCall) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let handler = move |call: ServerCall| {
        let rt = call.rt().clone();
        rt.spawn(serve(call));
    };
    let handler: Arc<dyn Handler> = Arc::new(handler);
    Registration { name: name.to_owned(), kind, handler }
}

/// The one request of a call; `None`: there is nobody to answer any more.
async fn request(call: &mut ServerCall) -> Option<Bytes> {
    match poll_fn(|cx| call.poll_event(cx)).await {
        ServerEvent::Message(message) => Some(message),
        _ => None,
    }
}

/// Ends a call with its one answer.
fn answer(mut call: ServerCall, answer: Result<Bytes, Status>) {
    let sent = answer.and_then(|message| call.send_message(message));
    call.finish(&sent.err().unwrap_or_default(), &Metadata::new());
}

/// Waits until all that was sent has left; `false`: the call has ended instead.
async fn sent(call: &mut ServerCall) -> bool {
    poll_fn(|cx| {
        if call.poll_unwanted(cx).is_ready() || !call.is_open() {
            return Poll::Ready(false);
        }
        let _ = call.poll_ready(cx);
        if call.queued() == 0 { Poll::Ready(true) } else { Poll::Pending }
    })
    .await
}

/// The request cannot be read.
fn unreadable() -> Status {
    Status::new(Code::Internal, "the request is no message of the method's type")
}

/// Calls a method with one request and one response.
async fn unary(
    channel: &Channel,
    path: &str,
    request: Bytes,
    metadata: Metadata,
    options: CallOptions,
) -> Result<Bytes, Status> {
    let mut call = Call::new(channel, &Method::new(path, MethodKind::UNARY)?, metadata, options);
    call.send_message(request)?;
    call.half_close();
    let mut response = Bytes::new();
    loop {
        match poll_fn(|cx| call.poll_event(cx)).await {
            Some(ClientEvent::Message(message)) => response = message,
            Some(ClientEvent::Status(status, _)) => {
                return if status.is_ok() { Ok(response) } else { Err(status) };
            }
            Some(ClientEvent::Headers(_)) => {}
            None => return Err(Status::new(Code::Internal, "the call ended without a status")),
        }
    }
}

/// The most of a peer's words that is repeated in a text, bytes.
const MAX_QUOTED: usize = 256;

/// The beginning of a peer's words, which may be as long as a message.
fn quoted(words: &str) -> String {
    let mut end = words.len().min(MAX_QUOTED);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < words.len() { "..." } else { "" };
    format!("{}{more}", words.get(..end).unwrap_or_default())
}
