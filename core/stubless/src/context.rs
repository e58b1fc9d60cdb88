//! What a handler knows of its call, and what it may add to the answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stubless_engine::client::CallOptions;
use stubless_engine::compression::Encoding;
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::{Rt, Time};
use stubless_engine::server::CallHead;
use stubless_engine::transport::{Peer, TlsIdentity};

use crate::channel::Options;
use crate::runtime::lock;

#[derive(Default)]
pub(crate) struct Additions {
    pub headers: Metadata,
    pub trailers: Metadata,
    pub compression: Option<Encoding>,
}

/// A handler's view of its call. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    head: Arc<CallHead>,
    rt: Rt,
    pub(crate) additions: Arc<Mutex<Additions>>,
}

impl Context {
    pub(crate) fn new(head: CallHead, rt: &Rt) -> Context {
        Context { head: Arc::new(head), rt: rt.clone(), additions: Arc::default() }
    }

    /// `/package.Service/Method`.
    pub fn method(&self) -> &str {
        &self.head.path
    }

    /// The client's metadata, `user-agent` among it.
    pub fn metadata(&self) -> &Metadata {
        &self.head.metadata
    }

    /// The virtual host the client asked for.
    pub fn authority(&self) -> Option<&str> {
        self.head.authority.as_deref()
    }

    /// Who the client is.
    pub fn peer(&self) -> &Peer {
        &self.head.peer
    }

    /// Who the client proved to be by its certificate.
    pub fn tls_identity(&self) -> Option<&TlsIdentity> {
        self.head.peer.tls.as_deref()
    }

    /// The engine's time at which the client stops waiting.
    pub fn deadline(&self) -> Option<Time> {
        self.head.deadline
    }

    /// How long the client still waits; `None`: for ever.
    pub fn time_remaining(&self) -> Option<Duration> {
        self.head.deadline.map(|deadline| deadline.since(self.rt.now()))
    }

    /// Initial metadata, sent with the first response.
    pub fn set_headers(&self, headers: Metadata) {
        lock(&self.additions).headers = headers;
    }

    /// Trailing metadata, sent with the status.
    pub fn set_trailers(&self, trailers: Metadata) {
        lock(&self.additions).trailers = trailers;
    }

    /// The coding of the responses, if the client reads it; before the first one.
    pub fn set_compression(&self, encoding: Encoding) {
        lock(&self.additions).compression = Some(encoding);
    }

    /// Options for a call made on behalf of this one: it ends at this call's deadline at the latest.
    pub fn options(&self) -> Options {
        Options {
            metadata: Metadata::new(),
            call: CallOptions { timeout: self.time_remaining(), ..CallOptions::default() },
        }
    }
}
