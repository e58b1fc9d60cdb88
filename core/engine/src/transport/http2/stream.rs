//! One HTTP/2 stream, either side, as verbs and [`Part`]s.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{FlowControl, Reason, RecvStream, SendStream};
use http::HeaderMap;

use super::client::Slot;
use crate::frame::FrameBytes;
use crate::transport::meter::MeterHandle;
use crate::transport::outbox::{Ending, Next, Outbox};
use crate::transport::{Part, code};

/// What a client's stream may send together with its headers: far less than any peer's first window usually is.
const FIRST_FLUSH: usize = 16 << 10;

/// The receiving side's place in the stream.
enum Receiving {
    Headers(h2::client::ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Ended,
}

/// A call's stream on a client's connection. Dropping it resets what has not ended (CANCEL).
pub(crate) struct ClientStream {
    receiving: Receiving,
    window: Option<FlowControl>,
    sending: SendStream<FrameBytes>,
    outbox: Outbox,
    id: u32,
    meter: MeterHandle,
    /// Bytes of the first flush that need no window: h2 gives a stream none before its headers are out, and a request that waited
    /// for it would leave in two writes.
    ahead: usize,
    _slot: Slot,
}

impl ClientStream {
    pub(super) fn new(
        response: h2::client::ResponseFuture,
        sending: SendStream<FrameBytes>,
        meter: MeterHandle,
        slot: Slot,
    ) -> ClientStream {
        let id = response.stream_id().as_u32();
        ClientStream {
            receiving: Receiving::Headers(response),
            window: None,
            sending,
            outbox: Outbox::default(),
            id,
            meter,
            ahead: FIRST_FLUSH,
            _slot: slot,
        }
    }

    /// What the stream brought next; `End`, `Trailers`, `Reset` and `Lost` come last.
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        let Receiving::Headers(response) = &mut self.receiving else {
            return poll_body(&mut self.receiving, cx)
                .map(|part| part.unwrap_or_else(|e| self.failed(&e)));
        };
        let response = match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(self.failed(&error)),
        };
        let (head, mut body) = response.into_parts();
        let end = body.is_end_stream();
        self.window = Some(body.flow_control().clone());
        self.receiving = if end { Receiving::Ended } else { Receiving::Body(body) };
        Poll::Ready(Part::Headers { http_status: head.status.as_u16(), headers: head.headers, end })
    }

    fn failed(&mut self, error: &h2::Error) -> Part {
        self.receiving = Receiving::Ended;
        failure(error, self.id, &self.meter)
    }

    /// Gives the peer room again for `bytes` of data that the reader has taken.
    pub fn release(&mut self, bytes: usize) {
        release(self.window.as_mut(), bytes);
    }

    /// Queues a message.
    pub fn send(&mut self, frame: FrameBytes) {
        self.outbox.push(frame);
    }

    /// Ends our side behind what is queued.
    pub fn half_close(&mut self) {
        self.outbox.end(Ending::HalfClose);
    }

    /// Bytes that wait for window.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Hands over what the window allows; ready when nothing waits any more.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ahead = std::mem::take(&mut self.ahead);
        // that sending is in vain is told by the receiving side
        poll_flush(&mut self.outbox, &mut self.sending, ahead, cx).map(|_| ())
    }

    /// Ends the stream at once.
    pub fn reset(&mut self, code: u32) {
        self.outbox = Outbox::default();
        self.sending.send_reset(Reason::from(code));
        self.receiving = Receiving::Ended;
    }
}

/// A call's stream on a server's connection. Dropping it unfinished resets it.
pub(crate) struct ServerStream {
    receiving: Receiving,
    window: FlowControl,
    respond: h2::server::SendResponse<FrameBytes>,
    sending: Option<SendStream<FrameBytes>>,
    outbox: Outbox,
    id: u32,
    meter: MeterHandle,
    finished: bool,
    /// What was queued could not be sent any more.
    is_dead: bool,
}

impl ServerStream {
    pub(super) fn new(
        mut body: RecvStream,
        respond: h2::server::SendResponse<FrameBytes>,
        meter: MeterHandle,
    ) -> ServerStream {
        let id = respond.stream_id().as_u32();
        let window = body.flow_control().clone();
        let receiving = Receiving::Body(body);
        let (outbox, sending) = (Outbox::default(), None);
        ServerStream {
            receiving,
            window,
            respond,
            sending,
            outbox,
            id,
            meter,
            finished: false,
            is_dead: false,
        }
    }

    /// What the request brought next. After its end this waits for a reset: that is how a cancel is seen.
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        if let Receiving::Ended = self.receiving {
            if self.finished {
                return Poll::Pending;
            }
            let reset = match &mut self.sending {
                Some(sending) => sending.poll_reset(cx),
                None => self.respond.poll_reset(cx),
            };
            return match ready!(reset) {
                Ok(reason) => {
                    self.finished = true;
                    Poll::Ready(Part::Reset { code: reason.into(), unprocessed: false })
                }
                Err(error) => {
                    self.finished = true;
                    Poll::Ready(failure(&error, self.id, &self.meter))
                }
            };
        }
        poll_body(&mut self.receiving, cx).map(|part| {
            part.unwrap_or_else(|error| {
                self.receiving = Receiving::Ended;
                self.finished = true;
                failure(&error, self.id, &self.meter)
            })
        })
    }

    /// Gives the peer room again for `bytes` of data that the reader has taken.
    pub fn release(&mut self, bytes: usize) {
        release(Some(&mut self.window), bytes);
    }

    /// Sends the response's header block.
    pub fn send_headers(&mut self, http_status: u16, headers: HeaderMap, end: bool) {
        if self.sending.is_some() || self.finished {
            return;
        }
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(http_status).unwrap_or_default();
        *response.headers_mut() = headers;
        match self.respond.send_response(response, end) {
            Ok(sending) => self.sending = Some(sending),
            // the stream is reset or the connection gone: the receiving side tells
            Err(error) => log::debug!(target: "stubless", "response headers not sent: {error}"),
        }
        self.finished |= end;
    }

    /// Queues a message; the headers must have been sent.
    pub fn send(&mut self, frame: FrameBytes) {
        self.outbox.push(frame);
    }

    /// Ends the stream with trailers behind what is queued.
    pub fn finish(&mut self, trailers: HeaderMap) {
        self.outbox.end(Ending::Trailers(trailers));
    }

    /// Drops the messages that wait for window, so that the trailers can go out at once.
    pub fn drop_queued(&mut self) {
        self.outbox.drop_messages();
    }

    /// Bytes that wait for window.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Hands over what the window allows; ready when nothing waits any more.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.outbox.is_empty() {
            return Poll::Ready(());
        }
        let Some(sending) = &mut self.sending else {
            self.outbox = Outbox::default();
            self.is_dead = true;
            return Poll::Ready(());
        };
        let ending = self.outbox.is_ending();
        if ready!(poll_flush(&mut self.outbox, sending, 0, cx)).is_err() {
            self.is_dead = true;
        }
        self.finished |= ending;
        Poll::Ready(())
    }

    /// Whether sending was found to be in vain: the stream was reset or its connection is gone.
    pub fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Ends the stream at once.
    pub fn reset(&mut self, code: u32) {
        self.outbox = Outbox::default();
        self.finished = true;
        match &mut self.sending {
            Some(sending) => sending.send_reset(Reason::from(code)),
            None => self.respond.send_reset(Reason::from(code)),
        }
    }
}

fn poll_body(receiving: &mut Receiving, cx: &mut Context<'_>) -> Poll<Result<Part, h2::Error>> {
    loop {
        match receiving {
            Receiving::Body(body) => match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Ok(Part::Data(data))),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    if let Receiving::Body(body) = std::mem::replace(receiving, Receiving::Ended) {
                        *receiving = Receiving::Trailers(body);
                    }
                }
            },
            Receiving::Trailers(body) => {
                let part = match ready!(body.poll_trailers(cx)) {
                    Ok(Some(trailers)) => Ok(Part::Trailers(trailers)),
                    Ok(None) => Ok(Part::End),
                    Err(error) => Err(error),
                };
                *receiving = Receiving::Ended;
                return Poll::Ready(part);
            }
            Receiving::Headers(_) | Receiving::Ended => return Poll::Pending,
        }
    }
}

fn release(window: Option<&mut FlowControl>, bytes: usize) {
    if let Some(window) = window
        && bytes > 0
    {
        // refused only for more than was received, or on a stream that is gone: then there is nothing to give back
        let _ = window.release_capacity(bytes);
    }
}

/// The stream has ended below us; what was queued is gone.
struct InVain;

fn poll_flush(
    outbox: &mut Outbox,
    sending: &mut SendStream<FrameBytes>,
    mut ahead: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<(), InVain>> {
    loop {
        let wanted = outbox.wanted();
        let mut window = 0;
        if wanted > 0 && wanted <= ahead {
            (ahead, window) = (ahead - wanted, wanted);
        } else if wanted > 0 {
            sending.reserve_capacity(wanted.min(SEND_AHEAD));
            window = sending.capacity();
            if window == 0 {
                match sending.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(capacity))) => window = capacity,
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Err(_)) | None) => {
                        // the stream has ended below us: the receiving side tells how
                        *outbox = Outbox::default();
                        return Poll::Ready(Err(InVain));
                    }
                }
            }
        }
        let sent = match outbox.next(window) {
            Next::Data(frame, end) => sending.send_data(frame, end),
            Next::Trailers(trailers) => sending.send_trailers(trailers),
            Next::Window => continue,
            Next::Nothing => return Poll::Ready(Ok(())),
        };
        if let Err(error) = sent {
            log::trace!(target: "stubless", "not sent: {error}");
            *outbox = Outbox::default();
            return Poll::Ready(Err(InVain));
        }
    }
}

/// The most that is handed to h2 at once per stream.
const SEND_AHEAD: usize = super::SEND_BUFFER;

/// Turns h2's error into what it means for the call on stream `id`.
fn failure(error: &h2::Error, id: u32, meter: &MeterHandle) -> Part {
    if error.is_reset() {
        let code = error.reason().map_or(code::INTERNAL_ERROR, u32::from);
        return Part::Reset {
            code,
            unprocessed: error.is_remote() && code == code::REFUSED_STREAM,
        };
    }
    let unprocessed = meter.received_goaway().is_some_and(|goaway| id > goaway.last_stream_id);
    Part::Lost { text: lost_text(error, meter), unprocessed }
}

/// Why a connection is gone, for a status message.
pub(super) fn lost_text(error: &h2::Error, meter: &MeterHandle) -> String {
    if let Some(why) = meter.close_reason() {
        return why.to_string();
    }
    match meter.received_goaway() {
        Some(goaway) if error.is_go_away() || error.is_io() => {
            format!("connection closed by the peer: GOAWAY {} {}", goaway.code, goaway.text)
        }
        _ if error.is_io() => format!("connection lost: {error}"),
        _ => format!("connection error: {error}"),
    }
}
