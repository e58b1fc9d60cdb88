//! The gRPC call engine.
#![forbid(unsafe_code)]

pub mod call;
pub mod compression;
pub mod deadline;
pub mod error;
pub mod frame;
pub mod metadata;
pub mod protocol;
pub mod status;
pub mod time;
