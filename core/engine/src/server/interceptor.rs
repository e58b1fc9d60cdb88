//! What stands between a client and a handler: sees and may change metadata, messages and the outcome.

use bytes::Bytes;

use super::call::CallHead;
use crate::metadata::Metadata;
use crate::status::Status;

/// Sees each call before its handler does.
pub trait ServerInterceptor: Send + Sync + 'static {
    /// A call to a registered method came; its metadata may be changed. The observer, if any, sees the rest of it.
    ///
    /// # Errors
    /// The client gets this status and the handler hears nothing.
    fn start(&self, head: &mut CallHead) -> Result<Option<Box<dyn ServerObserver>>, Status>;
}

/// Sees one call. All methods do nothing unless overridden.
pub trait ServerObserver: Send {
    /// A message came; it may be replaced.
    fn received(&mut self, _message: &mut Bytes) {}
    /// Initial metadata is about to be sent.
    fn headers(&mut self, _headers: &mut Metadata) {}
    /// A message is about to be sent; it may be replaced.
    fn sending(&mut self, _message: &mut Bytes) {}
    /// The call's end, exactly once.
    fn ended(&mut self, _status: &Status) {}
}
