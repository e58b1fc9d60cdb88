//! Health and reflection. Both ends in one process, run by a test that polls: no thread, no sleep; and once over sockets.
#![allow(clippy::unwrap_used, missing_docs)]

mod details;
mod health;
mod reflection_client;
mod reflection_server;
mod sockets;
mod support;
