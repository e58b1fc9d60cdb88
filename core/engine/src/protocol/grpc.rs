//! gRPC over HTTP/2: header and trailer fields around the call machines of [`crate::call`].
//!
//! Bytes, header maps and the time come in; events, header maps and frames go out. Pseudo-headers are the
//! transport's: it sets `:method`, `:scheme`, `:path`, `:authority` and `:status`.
//! Spec: gRPC PROTOCOL-HTTP2.md; http-grpc-status-mapping.md.

mod client;
mod fields;
mod server;

pub use client::{ClientStream, ClientStreamOptions, RequestHead, request_headers};
pub use server::{
    Accepted, Finish, IncomingHead, Rejection, ServerHead, ServerLimits, ServerStream,
    ServerStreamOptions, accept, reject, split_path,
};

pub use crate::call::{ClientEvent, MethodKind, ServerEvent};

use crate::call::Abort;

/// RFC 9113 error codes this module sends.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;

/// The HTTP/2 code a stream is reset with.
fn reset_code(abort: Abort) -> u32 {
    match abort {
        Abort::Cancel => CANCEL,
        Abort::Enough => NO_ERROR,
        Abort::Violation => PROTOCOL_ERROR,
    }
}

#[cfg(test)]
mod tests;
