//! The client's pumps: a channel that keeps connections, and calls that use them.

pub mod call;
pub mod channel;
mod connect;
mod connection;
pub mod interceptor;
mod options;

pub use call::{Call, CallOptions, Method};
pub use channel::Channel;
pub use interceptor::{ClientInterceptor, ClientObserver};
pub use options::ChannelOptions;
