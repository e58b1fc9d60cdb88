//! What can be set on a channel, with gRPC's defaults.

use std::sync::Arc;
use std::time::Duration;

use super::interceptor::ClientInterceptor;
use crate::channel::BackoffConfig;
use crate::compression::Encoding;
use crate::transport::http2::Http2Config;
use crate::transport::http2::client::Keepalive;

/// Options of a channel. Sizes in bytes.
#[derive(Clone)]
pub struct ChannelOptions {
    /// TLS; `None` is cleartext.
    #[cfg(feature = "net")]
    pub tls: Option<crate::transport::tls::ClientTls>,
    /// The `:authority` of every call; default: from the target.
    pub authority: Option<String>,
    /// Goes in front of the engine's own user agent.
    pub user_agent: Option<String>,
    /// Timeout of calls that set none; default none.
    pub default_timeout: Option<Duration>,
    /// Calls wait through TRANSIENT_FAILURE; default no.
    pub wait_for_ready: bool,
    /// Coding of messages sent; default identity.
    pub compression: Encoding,
    /// Largest message received; default 4 MiB.
    pub max_receive_message_bytes: usize,
    /// Largest message sent; default unlimited (2^32-1 on the wire).
    pub max_send_message_bytes: usize,
    /// Largest header or trailer block accepted (sum of name + value + 32); default 16 KiB.
    pub max_metadata_bytes: usize,
    /// Most fields in such a block; default 128.
    pub max_metadata_fields: usize,
    /// PINGs on a silent connection; default off, timeout 20 s.
    pub keepalive: Keepalive,
    /// Without calls for this long the connection is closed; default 30 min, `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Backoff between connection attempts; its `min_connect_timeout` (20 s) bounds one.
    pub backoff: BackoffConfig,
    /// Windows and limits of the connection.
    pub http2: Http2Config,
    /// See every call, the first one outermost.
    pub interceptors: Vec<Arc<dyn ClientInterceptor>>,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        ChannelOptions {
            #[cfg(feature = "net")]
            tls: None,
            authority: None,
            user_agent: None,
            default_timeout: None,
            wait_for_ready: false,
            compression: Encoding::Identity,
            max_receive_message_bytes: 4 << 20,
            max_send_message_bytes: u32::MAX as usize,
            max_metadata_bytes: 16 << 10,
            max_metadata_fields: 128,
            keepalive: Keepalive {
                time: None,
                timeout: Duration::from_secs(20),
                without_calls: false,
            },
            idle_timeout: Some(Duration::from_secs(30 * 60)),
            backoff: BackoffConfig::default(),
            http2: Http2Config::default(),
            interceptors: Vec::new(),
        }
    }
}
