//! The five states of a channel (gRPC connectivity-semantics-and-api.md).

use std::fmt;

/// What a channel, or one of its subchannels, is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// Not connected and not trying; the next call, or an explicit connect, makes it try.
    Idle,
    /// Trying to connect.
    Connecting,
    /// Connected: the server's SETTINGS have come.
    Ready,
    /// The last attempt failed; the next one follows after a backoff.
    TransientFailure,
    /// Closed for good.
    Shutdown,
}

impl Connectivity {
    /// gRPC's name: `IDLE`, `CONNECTING`, `READY`, `TRANSIENT_FAILURE`, `SHUTDOWN`.
    pub fn name(self) -> &'static str {
        match self {
            Connectivity::Idle => "IDLE",
            Connectivity::Connecting => "CONNECTING",
            Connectivity::Ready => "READY",
            Connectivity::TransientFailure => "TRANSIENT_FAILURE",
            Connectivity::Shutdown => "SHUTDOWN",
        }
    }
}

impl fmt::Display for Connectivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
