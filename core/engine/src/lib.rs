//! The gRPC call engine.
#![forbid(unsafe_code)]

pub mod call;
pub mod channel;
pub mod client;
pub mod compression;
pub mod deadline;
pub mod error;
pub mod frame;
pub mod future;
pub mod metadata;
pub mod port;
pub mod protocol;
pub mod rt;
pub mod server;
pub mod services;
pub mod status;
pub mod time;
pub mod transport;
