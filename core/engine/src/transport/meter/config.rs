//! The meter's numbers. Every one is an option; the defaults are the engine's.

use std::time::Duration;

/// Over how long the rates are counted.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Which end of the connection the meter sits at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// We opened the connection.
    Client,
    /// We accepted it.
    Server,
}

/// How often a client may PING (gRPC keepalive.md, "Server Enforcement").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingPolicy {
    /// Least time between two PINGs while a call is open. Default 5 min.
    pub min_interval: Duration,
    /// Whether PINGs are welcome while no call is open. Default `false`.
    pub permit_without_calls: bool,
    /// Least time between two PINGs while no call is open and they are not welcome. Default 2 h.
    pub idle_interval: Duration,
    /// How many bad PINGs are forgiven; the next one closes the connection with `too_many_pings`. Default 2.
    pub strikes: u32,
}

impl Default for PingPolicy {
    fn default() -> Self {
        PingPolicy {
            min_interval: Duration::from_secs(5 * 60),
            permit_without_calls: false,
            idle_interval: Duration::from_secs(2 * 60 * 60),
            strikes: 2,
        }
    }
}

/// When a client that opens calls only to reset them has to go (CVE-2023-44487, also when paced).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyResets {
    /// How many of the last finished streams are looked at; nothing is judged before there are so many. Default 1,100: a
    /// client that cancels a thousand calls at once has done no harm yet.
    pub streams: u32,
    /// Above this share of them the connection is closed with `too_many_resets`. Default 50.
    pub percent: u32,
    /// A reset counts if it comes within this time of the stream's opening, before we answered. Default 1 s.
    pub within: Duration,
}

impl Default for EarlyResets {
    fn default() -> Self {
        EarlyResets { streams: 1_100, percent: 50, within: Duration::from_secs(1) }
    }
}

/// What a [`Meter`](super::Meter) lets through. Counts are per [`WINDOW`] (10 s); `u32::MAX` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterConfig {
    /// Which end this is.
    pub side: Side,
    /// The longest frame payload accepted, in bytes: what our own SETTINGS announce. Default 16,384.
    pub max_frame_size: u32,
    /// PING frames, acknowledgements included. Default 1,000; beyond: `too_many_pings`.
    pub pings: u32,
    /// SETTINGS frames, acknowledgements included. Default 100; beyond: `too_many_control_frames`.
    pub settings: u32,
    /// PRIORITY frames. Default 1,000; beyond: `too_many_control_frames`.
    pub priorities: u32,
    /// Frames of unknown types. Default 1,000; beyond: `too_many_control_frames`.
    pub unknown: u32,
    /// WINDOW_UPDATE frames; [`window_updates_per_data`](Self::window_updates_per_data) come on top. Default 10,000;
    /// beyond: `too_many_control_frames`.
    pub window_updates: u32,
    /// WINDOW_UPDATE frames granted for each DATA frame we sent in the same window. Default 10.
    pub window_updates_per_data: u32,
    /// DATA frames without payload and without END_STREAM; they are dropped. Default 1,000; beyond:
    /// `too_many_empty_frames`.
    pub empty_data: u32,
    /// Stream errors the peer made us send (RST_STREAM other than NO_ERROR, CANCEL, REFUSED_STREAM). Default 200 for
    /// a server, off for a client; beyond: `too_many_error_resets` (CVE-2025-8671).
    pub error_resets: u32,
    /// Keepalive enforcement; `None` is off. Default: on for a server.
    pub ping_policy: Option<PingPolicy>,
    /// The limit on early resets; `None` is off. Default: on for a server.
    pub early_resets: Option<EarlyResets>,
    /// From the first HEADERS to END_HEADERS. Default 10 s; then `header_timeout`. Zero is off.
    pub header_block_timeout: Duration,
    /// From the meter's birth to the peer's first SETTINGS (a server waits for the preface before them). Default 20 s;
    /// the connection is cut. Zero is off. Take off what the TLS handshake used.
    pub handshake_timeout: Duration,
    /// How long the socket may accept no byte while bytes wait. Default 60 s; the connection is cut. Zero is off.
    pub write_stall_timeout: Duration,
    /// How long a closing GOAWAY may wait for room in the socket before the connection is cut. Default 5 s.
    pub goaway_timeout: Duration,
    /// How long a closed connection still swallows what the peer sends, so that the kernel does not answer unread bytes
    /// with a reset that overtakes our GOAWAY. Default 500 ms; ends early when the peer closes. Zero is off.
    pub linger: Duration,
}

impl MeterConfig {
    /// The defaults of a server's connection.
    pub fn server() -> Self {
        MeterConfig {
            side: Side::Server,
            max_frame_size: 16_384,
            pings: 1_000,
            settings: 100,
            priorities: 1_000,
            unknown: 1_000,
            window_updates: 10_000,
            window_updates_per_data: 10,
            empty_data: 1_000,
            error_resets: 200,
            ping_policy: Some(PingPolicy::default()),
            early_resets: Some(EarlyResets::default()),
            header_block_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(20),
            write_stall_timeout: Duration::from_secs(60),
            goaway_timeout: Duration::from_secs(5),
            linger: Duration::from_millis(500),
        }
    }

    /// The defaults of a client's connection: floods are limited the same, the rules for clients are off.
    pub fn client() -> Self {
        MeterConfig {
            side: Side::Client,
            error_resets: u32::MAX,
            ping_policy: None,
            early_resets: None,
            ..Self::server()
        }
    }
}
