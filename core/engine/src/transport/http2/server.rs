//! A server's connection: the streams a client opens, and the verbs that end it.

use std::task::{Context, Poll, ready};

use http::Request;

use super::stream::lost_text;
use super::{Http2Config, ServerStream, configure_server};
use crate::frame::FrameBytes;
use crate::rt::{BoxIo, Rt};
use crate::transport::meter::{ErrorCode, Meter, MeterConfig, MeterHandle};

/// A stream that a client opened: its head, and what comes and goes behind it.
type Opened = (Request<()>, ServerStream);

/// One accepted connection. Its owner polls [`ServerConnection::poll_accept`], which also moves all of its bytes.
pub(crate) struct ServerConnection {
    connection: h2::server::Connection<Meter<BoxIo>, FrameBytes>,
    meter: MeterHandle,
    ping: Option<h2::PingPong>,
}

/// Waits for the client's preface and answers with our SETTINGS. The meter's handshake timer bounds it; the caller drives that.
pub(crate) fn handshake(
    rt: &Rt,
    io: BoxIo,
    config: &Http2Config,
    meter: MeterConfig,
) -> (impl Future<Output = Result<ServerConnection, String>> + use<>, MeterHandle) {
    let (metered, meter) = Meter::new(io, meter, rt.clock());
    let handshake = configure_server(config).handshake::<_, FrameBytes>(metered);
    let handle = meter.clone();
    let done = async move {
        let mut connection = handshake.await.map_err(|error| lost_text(&error, &handle))?;
        let ping = connection.ping_pong();
        Ok(ServerConnection { connection, meter: handle, ping })
    };
    (done, meter)
}

impl ServerConnection {
    /// The next stream a client opens; `None` when the connection has ended in good order.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Opened, String>>> {
        Poll::Ready(match ready!(self.connection.poll_accept(cx)) {
            Some(Ok((request, respond))) => {
                let (head, body) = request.into_parts();
                let stream = ServerStream::new(body, respond, self.meter.clone());
                Some(Ok((Request::from_parts(head, ()), stream)))
            }
            Some(Err(error)) => Some(Err(lost_text(&error, &self.meter))),
            None => None,
        })
    }

    /// Announces the end: no new streams, those open finish. The text goes into the GOAWAY's debug data.
    pub fn go_away_gracefully(&mut self, text: &str) {
        self.meter.set_goaway_text(text);
        self.connection.graceful_shutdown();
    }

    /// Ends the connection now; open streams are cut.
    pub fn go_away_now(&mut self, text: &str) {
        self.meter.go_away(ErrorCode::NO_ERROR, text, None);
    }

    /// Sends a PING unless one is on its way.
    pub fn send_ping(&mut self) -> bool {
        self.ping.as_mut().is_some_and(|ping| ping.send_ping(h2::Ping::opaque()).is_ok())
    }

    /// Takes a PING's answer.
    pub fn poll_pong(&mut self, cx: &mut Context<'_>) -> bool {
        self.ping.as_mut().is_some_and(|ping| ping.poll_pong(cx).is_ready())
    }
}
