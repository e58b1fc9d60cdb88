//! How bytes reach a peer: HTTP/2 over any [`Io`](crate::rt::Io), TLS, and calls inside one process.
//!
//! Above this module a stream is verbs (send headers, data, trailers, reset) and [`Part`]s (headers, data, trailers,
//! end, reset, lost), whichever transport carries it. Only `http2` and `meter` know the crate h2, so that another
//! HTTP/2 can take its place without a change above.

#[cfg(feature = "net")]
mod certificate;
pub mod http2;
pub mod in_process;
pub mod meter;
pub mod outbox;
#[cfg(feature = "net")]
pub mod tls;

use bytes::Bytes;
use http::HeaderMap;

/// What a stream brought, in the order of the wire.
#[derive(Debug)]
pub(crate) enum Part {
    /// The response's header block (client side only).
    Headers { http_status: u16, headers: HeaderMap, end: bool },
    /// Bytes of the body.
    Data(Bytes),
    /// A trailer block; it ends the stream.
    Trailers(HeaderMap),
    /// The end of the stream without trailers.
    End,
    /// The peer (or our HTTP/2 layer, for the peer's fault) reset the stream.
    Reset { code: u32, unprocessed: bool },
    /// The connection is gone. `unprocessed`: the peer certainly never saw this stream.
    Lost { text: String, unprocessed: bool },
}

/// HTTP/2 error codes by name (RFC 9113, 7).
pub mod code {
    /// Graceful end.
    pub const NO_ERROR: u32 = 0;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// Something of ours failed.
    pub const INTERNAL_ERROR: u32 = 2;
    /// The stream was not processed and may be tried again.
    pub const REFUSED_STREAM: u32 = 7;
    /// The stream is not needed any more.
    pub const CANCEL: u32 = 8;
    /// The peer is making too much noise.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// The other end of a connection, as handlers see it.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its address in gRPC's notation: `ipv4:1.2.3.4:5`, `ipv6:[::1]:5`, `unix:`, `inprocess:name`.
    pub address: String,
    /// Who it proved to be by a TLS certificate, if it did.
    pub tls: Option<std::sync::Arc<TlsIdentity>>,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// A peer's verified TLS certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The chain as sent, the peer's own certificate first, DER.
    pub certificates: Vec<Bytes>,
    /// Names of the certificate: URI, DNS, e-mail and IP subject alternative names.
    pub subject_alternative_names: Vec<String>,
    /// The subject's common name, if it has one.
    pub common_name: Option<String>,
}
