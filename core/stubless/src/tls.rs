//! TLS of channels and servers.

pub use stubless_engine::transport::tls::{ClientTls, ClientTlsConfig, ServerTls, ServerTlsConfig};
