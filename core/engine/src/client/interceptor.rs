//! What stands between a caller and its call: sees and may change metadata, messages and the outcome.

use bytes::Bytes;

use super::call::{CallOptions, Method};
use crate::metadata::Metadata;
use crate::status::Status;

/// Sees each call of a channel before it starts.
pub trait ClientInterceptor: Send + Sync + 'static {
    /// A call is about to start; its metadata and options may be changed. The observer, if any, sees the rest of it.
    ///
    /// # Errors
    /// The call ends with this status and nothing is sent.
    fn start(
        &self,
        method: &Method,
        metadata: &mut Metadata,
        options: &mut CallOptions,
    ) -> Result<Option<Box<dyn ClientObserver>>, Status>;
}

/// Sees one call. All methods do nothing unless overridden.
pub trait ClientObserver: Send {
    /// A message is about to be sent; it may be replaced.
    fn sending(&mut self, _message: &mut Bytes) {}
    /// The response's headers.
    fn headers(&mut self, _headers: &mut Metadata) {}
    /// A message came; it may be replaced.
    fn received(&mut self, _message: &mut Bytes) {}
    /// The call's end, exactly once.
    fn ended(&mut self, _status: &mut Status, _trailers: &mut Metadata) {}
}
