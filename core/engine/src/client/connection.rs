//! What a channel knows of one connection, whichever transport carries it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::channel::{Channel, Inner};
use crate::transport::meter::ErrorCode;
use crate::transport::{http2, in_process};

/// Keepalive is slowed down at most by this factor.
pub(super) const PING_LIMIT: u32 = 1 << 12;

/// A connection that lasted this long was of use even if no call was answered on it.
const USEFUL_AFTER: Duration = Duration::from_secs(1);

/// What carries calls to one address.
#[derive(Clone)]
pub(crate) enum Connection {
    Http2(http2::client::ClientConnection),
    InProcess(in_process::Connector),
}

impl Connection {
    pub(super) fn is_done(&self) -> bool {
        match self {
            Connection::Http2(connection) => connection.is_done(),
            Connection::InProcess(connector) => connector.is_done(),
        }
    }

    pub(super) fn drain(&self) {
        if let Connection::Http2(connection) = self {
            connection.drain();
        }
    }

    pub(super) fn was_useful(&self, age: Duration) -> bool {
        match self {
            Connection::Http2(connection) => {
                age >= USEFUL_AFTER || connection.meter().counts().headers_in > 0
            }
            Connection::InProcess(_) => true,
        }
    }

    /// Whether the server closed it because we sent too many PINGs (gRPC keepalive.md).
    pub(super) fn pinged_too_often(&self) -> bool {
        let Connection::Http2(connection) = self else { return false };
        let goaway = connection.meter().received_goaway();
        goaway.is_some_and(|g| g.code == ErrorCode::ENHANCE_YOUR_CALM && g.text == "too_many_pings")
    }
}

/// Counts a call as open.
pub(crate) struct OpenCall(Arc<Inner>);

impl OpenCall {
    pub fn new(channel: &Channel) -> OpenCall {
        channel.0.calls.fetch_add(1, Ordering::AcqRel);
        OpenCall(channel.0.clone())
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.note_quiet();
        }
    }
}
