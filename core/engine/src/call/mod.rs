//! One RPC as a state machine, client side and server side, whatever protocol carries it.
//!
//! What holds for every protocol stands here: how many messages each kind of method takes, size limits,
//! decompression, the deadline, cancelling, and that a call ends exactly once with one status. How headers
//! look, and which numbers a stream is reset with, is the protocol's business.
//! The machines take bytes and [`crate::time::Time`] as arguments: no IO, no clock.

mod client;
mod messages;
mod server;

pub use client::{ClientCall, ClientCallOptions, ClientEvent};
pub use server::{ServerCall, ServerCallOptions, ServerEvent};

/// How many messages go each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MethodKind {
    /// The client sends any number of messages, not exactly one.
    pub client_streaming: bool,
    /// The server answers with any number of messages, not exactly one.
    pub server_streaming: bool,
}

impl MethodKind {
    /// One request, one response.
    pub const UNARY: MethodKind = MethodKind { client_streaming: false, server_streaming: false };
    /// Many requests, one response.
    pub const CLIENT_STREAMING: MethodKind =
        MethodKind { client_streaming: true, server_streaming: false };
    /// One request, many responses.
    pub const SERVER_STREAMING: MethodKind =
        MethodKind { client_streaming: false, server_streaming: true };
    /// Many requests, many responses, in any interleaving.
    pub const BIDI_STREAMING: MethodKind =
        MethodKind { client_streaming: true, server_streaming: true };
}

/// Why this side must break the stream off; the protocol gives it its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abort {
    /// The call ended here before the peer ended it: cancelled, expired, or failed by a rule.
    Cancel,
    /// The peer's answer is complete while our request is not: nobody reads the rest of it.
    Enough,
    /// The peer broke the protocol.
    Violation,
}

/// The default limit of a received message: 4 MiB.
pub const DEFAULT_MAX_RECEIVE_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
