//! One connection attempt: socket, TLS, HTTP/2.

use http::uri::Authority;

use super::connection::Connection;
use super::options::ChannelOptions;
use crate::rt::{Address, Rt, SocketOptions};
use crate::transport::{http2, in_process};

/// Connects to `address`; returns when the server's SETTINGS have come. `on_closed` is told, once, when the connection is over.
pub(super) async fn connect(
    rt: &Rt,
    address: &Address,
    options: &ChannelOptions,
    authority: &Authority,
    on_closed: impl FnOnce(String) + Send + 'static,
) -> Result<Connection, String> {
    if let Address::InProcess(name) = address {
        return in_process::connect(name).map(Connection::InProcess);
    }
    // gRFC A18: the kernel gives up on unacknowledged bytes when we would
    let socket_options =
        SocketOptions { user_timeout: options.keepalive.time.map(|_| options.keepalive.timeout) };
    let socket = rt.network().connect(rt, address, socket_options).await;
    let io = socket.map_err(|error| format!("failed to connect to {address}: {error}"))?;
    #[cfg(feature = "net")]
    let (io, encrypted) = match &options.tls {
        Some(tls) => {
            let secured = tls.connect(io, authority.host()).await;
            (
                secured.map_err(|error| format!("TLS handshake with {address} failed: {error}"))?,
                true,
            )
        }
        None => (io, false),
    };
    #[cfg(not(feature = "net"))]
    let encrypted = false;
    let _ = authority;
    let connection =
        http2::client::handshake(rt, io, encrypted, &options.http2, options.keepalive, on_closed)
            .await
            .map_err(|error| format!("HTTP/2 handshake with {address} failed: {error}"))?;
    Ok(Connection::Http2(connection))
}
