//! HTTP/2 by the crate h2 over any [`Io`](crate::rt::Io), with the frame meter below it.
//!
//! The settings are those h2 needs to carry legal gRPC traffic (its defaults end a connection on a burst of small
//! messages or of cancels); see `configure_client` and `configure_server`. Spec: RFC 9113; gRPC PROTOCOL-HTTP2.md.
//!
//! What h2 cannot be made to do (its debts) is listed in ARCHITECTURE.md, "HTTP/2".

pub mod client;
pub mod server;
mod stream;

pub(crate) use stream::{ClientStream, ServerStream};

use std::time::Duration;

/// Limits and windows of one connection, either side.
#[derive(Debug, Clone)]
pub struct Http2Config {
    /// Receive window of a stream, bytes. Default 1 MiB.
    pub stream_window_bytes: u32,
    /// Receive window of the connection, bytes. Default 16 MiB: many times the stream window, so that stalled streams
    /// do not starve the others.
    pub connection_window_bytes: u32,
    /// Largest header list accepted, bytes (sum of name + value + 32). Default 64 KiB.
    pub max_header_list_bytes: u32,
    /// Server: streams a peer may have open. Default 200.
    pub max_concurrent_streams: u32,
}

impl Default for Http2Config {
    fn default() -> Self {
        Http2Config {
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 16 << 20,
            max_header_list_bytes: 64 << 10,
            max_concurrent_streams: 200,
        }
    }
}

/// Streams a client opens before the server's SETTINGS have come.
pub const STREAMS_BEFORE_SETTINGS: usize = 100;

/// Bytes of unread small DATA frames that h2 tolerates. Its own choice ends a connection on a legal burst of empty messages.
///
/// One full stream window (1 MiB) of five-byte messages is charged 53 MB when its reader lags.
const DATA_FRAME_BUDGET: usize = 64 << 20;

/// Bytes h2 may hold per stream. Sends wait in the [outbox](super::outbox), not here.
const SEND_BUFFER: usize = 64 << 10;

/// How long frames for a stream that we reset are ignored instead of counted as a fault.
const RESET_MEMORY: Duration = Duration::from_secs(10);

/// h2 asks a clock that wasm does not have when it keeps reset streams; it must keep none there.
const fn reset_streams(native: usize) -> usize {
    if cfg!(target_arch = "wasm32") { 0 } else { native }
}

pub(super) fn configure_client(config: &Http2Config) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_header_list_size(config.max_header_list_bytes)
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(reset_streams(256))
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(200);
    builder
}

pub(super) fn configure_server(config: &Http2Config) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_header_list_size(config.max_header_list_bytes)
        .max_concurrent_streams(config.max_concurrent_streams)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(reset_streams(1024))
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(Some(10_000))
        .max_pending_accept_reset_streams(200);
    builder
}
