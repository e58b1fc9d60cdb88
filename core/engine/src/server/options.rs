//! What can be set on a server, with gRPC's defaults.

use std::sync::Arc;
use std::time::Duration;

use super::interceptor::ServerInterceptor;
use crate::compression::Encoding;
use crate::transport::http2::Http2Config;
use crate::transport::meter::{EarlyResets, PingPolicy};

/// Options of a server. Sizes in bytes.
#[derive(Clone)]
pub struct ServerOptions {
    /// Coding of responses, for clients that read it; default identity.
    pub compression: Encoding,
    /// Largest message received; default 4 MiB.
    pub max_receive_message_bytes: usize,
    /// Largest message sent; default unlimited.
    pub max_send_message_bytes: usize,
    /// Largest header block accepted (sum of name + value + 32); default 16 KiB.
    pub max_metadata_bytes: usize,
    /// Most fields in a header block; default 128.
    pub max_metadata_fields: usize,
    /// Handlers that may run at once on the whole server; default unlimited. Calls above it get RESOURCE_EXHAUSTED.
    pub max_concurrent_calls: Option<usize>,
    /// Silence after which the server sends a PING; default 2 h, `None`: never.
    pub keepalive_time: Option<Duration>,
    /// How long its answer may take; default 20 s.
    pub keepalive_timeout: Duration,
    /// How often a client may send PINGs; default every 5 min, two hours without calls, two strikes.
    pub ping_policy: PingPolicy,
    /// When a client that opens calls to reset them has to go.
    pub early_resets: EarlyResets,
    /// A connection without calls for this long is closed; default never.
    pub max_connection_idle: Option<Duration>,
    /// A connection as old as this is closed (plus or minus 10 %); default never.
    pub max_connection_age: Option<Duration>,
    /// How long calls may go on after the age or idle limit; default without limit.
    pub max_connection_age_grace: Option<Duration>,
    /// TLS handshake, preface and SETTINGS together; default 20 s.
    pub handshake_timeout: Duration,
    /// Windows and limits of the connections.
    pub http2: Http2Config,
    /// See every call, the first one outermost.
    pub interceptors: Vec<Arc<dyn ServerInterceptor>>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            compression: Encoding::Identity,
            max_receive_message_bytes: 4 << 20,
            max_send_message_bytes: u32::MAX as usize,
            max_metadata_bytes: 16 << 10,
            max_metadata_fields: 128,
            max_concurrent_calls: None,
            keepalive_time: Some(Duration::from_secs(2 * 60 * 60)),
            keepalive_timeout: Duration::from_secs(20),
            ping_policy: PingPolicy::default(),
            early_resets: EarlyResets::default(),
            max_connection_idle: None,
            max_connection_age: None,
            max_connection_age_grace: None,
            handshake_timeout: Duration::from_secs(20),
            http2: Http2Config::default(),
            interceptors: Vec::new(),
        }
    }
}
