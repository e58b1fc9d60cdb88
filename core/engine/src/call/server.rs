//! A call as its server sees it: the request goes in, events for the handler come out, and the machine says
//! what the handler's answer becomes.
//!
//! A method that takes one request gets it only once the request is complete and right: a handler never runs
//! on an empty, doubled or damaged one. What goes wrong with the request is answered by the engine itself.
//! Spec: gRPC PROTOCOL-HTTP2.md, "Requests"; statuscodes.md for wrong numbers of messages.

use bytes::{Bytes, BytesMut};

use super::messages::{Inbound, Outbound};
use super::{Abort, MethodKind};
use crate::compression::Encoding;
use crate::deadline::Deadline;
use crate::frame::FrameBytes;
use crate::status::{Code, Status};
use crate::time::Time;

/// What a server call is made with.
#[derive(Debug, Clone, Copy)]
pub struct ServerCallOptions {
    /// How many messages go each way.
    pub kind: MethodKind,
    /// When the call ends by itself; `None` is never.
    pub deadline: Option<Time>,
    /// Longest request message, on the wire and decompressed.
    pub max_receive_message_bytes: usize,
    /// Longest response message, before compression.
    pub max_send_message_bytes: usize,
    /// The coding of request messages.
    pub request_encoding: Encoding,
    /// Coding of response messages that ask to be compressed.
    pub response_encoding: Encoding,
}

/// What a server call tells the engine and its handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// One request message.
    Message(Bytes),
    /// The request is complete.
    HalfClosed,
    /// Nobody waits for the answer any more: `CANCELLED` by the client or by the connection's end, or
    /// `DEADLINE_EXCEEDED`, which still is to be answered.
    Cancelled(Status),
    /// The request breaks a rule; the engine answers with this status, and the handler's is not heard.
    Failed(Status),
}

/// How the call stands with the client's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// More may come.
    Open,
    /// END_STREAM came; messages may be unread.
    Closed,
    /// The handler knows of the end.
    Told,
}

/// Why the handler's status no longer counts.
#[derive(Debug)]
struct Verdict {
    /// The client reset the stream, or the connection is gone: there is nobody to answer.
    gone: bool,
    /// What the engine answers with, if somebody is there.
    status: Status,
}

/// What happened and was not polled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    None,
    /// The one request was given out, and was the last.
    HalfClosed,
    /// The verdict came from outside of the request's bytes.
    Cancelled,
}

/// One RPC, server side.
#[derive(Debug)]
pub struct ServerCall {
    kind: MethodKind,
    deadline: Deadline,
    inbound: Inbound,
    outbound: Outbound,
    request: Request,
    /// The one request of a method that takes one, until END_STREAM.
    message: Option<Bytes>,
    /// Boxed, since hardly any call comes to it.
    verdict: Option<Box<Verdict>>,
    news: News,
    finished: bool,
    abort: Option<Abort>,
}

impl ServerCall {
    /// A call whose headers were accepted.
    pub fn new(options: &ServerCallOptions) -> ServerCall {
        ServerCall {
            kind: options.kind,
            deadline: options.deadline.into(),
            inbound: Inbound::new(
                Some(options.request_encoding),
                options.max_receive_message_bytes,
            ),
            outbound: Outbound::new(
                options.response_encoding,
                options.max_send_message_bytes,
                !options.kind.server_streaming,
            ),
            request: Request::Open,
            message: None,
            verdict: None,
            news: News::None,
            finished: false,
            abort: None,
        }
    }

    /// Bytes of the request's messages, cut anywhere.
    pub fn handle_data(&mut self, data: Bytes) {
        if self.request == Request::Open && self.verdict.is_none() && !self.finished {
            self.inbound.push(data);
        }
    }

    /// The request is complete.
    pub fn handle_end(&mut self) {
        if self.request == Request::Open {
            self.request = Request::Closed;
        }
    }

    /// The client gave up, or its connection is gone. Unread messages are dropped.
    pub fn handle_gone(&mut self, status: Status) {
        match &mut self.verdict {
            // whatever was to be answered, nobody is there to read it
            Some(verdict) => verdict.gone = true,
            None => {
                if !self.finished {
                    self.news = News::Cancelled;
                }
                self.judge(true, status);
            }
        }
        self.abort = None;
        self.request = Request::Told;
    }

    /// It is `now`: ends the call if its deadline has passed.
    pub fn handle_time(&mut self, now: Time) {
        if self.verdict.is_none() && !self.finished && self.deadline.is_past(now) {
            self.news = News::Cancelled;
            self.judge(false, Status::new(Code::DeadlineExceeded, "deadline exceeded"));
        }
    }

    #[cold]
    fn judge(&mut self, gone: bool, status: Status) {
        self.drop_request();
        self.verdict = Some(Box::new(Verdict { gone, status }));
    }

    fn drop_request(&mut self) {
        self.inbound.clear();
        self.message = None;
    }

    /// What the engine or the handler should hear next; `None` until something comes.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        match std::mem::replace(&mut self.news, News::None) {
            News::None => {}
            News::HalfClosed => return Some(ServerEvent::HalfClosed),
            News::Cancelled => {
                return self
                    .verdict
                    .as_ref()
                    .map(|verdict| ServerEvent::Cancelled(verdict.status.clone()));
            }
        }
        if self.verdict.is_some() || self.finished || self.request == Request::Told {
            return None;
        }
        loop {
            match self.inbound.poll() {
                Ok(Some(message)) if self.kind.client_streaming => {
                    return Some(ServerEvent::Message(message));
                }
                Ok(Some(_)) if self.message.is_some() => {
                    return self
                        .fail(Code::Unimplemented, "two requests to a method that takes one");
                }
                Ok(Some(message)) => self.message = Some(message),
                Ok(None) if self.request == Request::Open => return None,
                Ok(None) if self.inbound.is_mid_message() => {
                    return self.fail(Code::Internal, "the request ended inside a message");
                }
                Ok(None) if self.kind.client_streaming => {
                    self.request = Request::Told;
                    return Some(ServerEvent::HalfClosed);
                }
                Ok(None) => {
                    let Some(message) = self.message.take() else {
                        return self
                            .fail(Code::Unimplemented, "no request to a method that takes one");
                    };
                    self.request = Request::Told;
                    self.news = News::HalfClosed;
                    return Some(ServerEvent::Message(message));
                }
                Err(status) => return self.fail_with(status),
            }
        }
    }

    fn fail(&mut self, code: Code, text: &'static str) -> Option<ServerEvent> {
        self.fail_with(Status::new(code, text))
    }

    fn fail_with(&mut self, status: Status) -> Option<ServerEvent> {
        self.judge(false, status.clone());
        Some(ServerEvent::Failed(status))
    }

    /// Frames one response message, compressed if `compress` and the client reads the coding.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` over the send limit; `INTERNAL` for a second message of a method that gives one,
    /// or after the end; the call's own status once it ended.
    pub fn encode_message(&mut self, message: Bytes, compress: bool) -> Result<FrameBytes, Status> {
        self.sendable()?;
        self.outbound.encode(message, compress)
    }

    /// As [`ServerCall::encode_message`], for a message written behind five free bytes: nothing is copied.
    ///
    /// # Errors
    /// As [`ServerCall::encode_message`].
    pub fn encode_in_place(
        &mut self,
        framed: BytesMut,
        compress: bool,
    ) -> Result<FrameBytes, Status> {
        self.sendable()?;
        self.outbound.encode_in_place(framed, compress)
    }

    fn sendable(&self) -> Result<(), Status> {
        match &self.verdict {
            Some(verdict) => Err(verdict.status.clone()),
            None if self.finished => {
                Err(Status::new(Code::Internal, "message after the end of the call"))
            }
            None => Ok(()),
        }
    }

    /// Sets the coding of response messages that ask to be compressed.
    pub fn set_response_encoding(&mut self, encoding: Encoding) {
        self.outbound.encoding = encoding;
    }

    /// The coding of response messages that ask to be compressed.
    pub fn response_encoding(&self) -> Encoding {
        self.outbound.encoding
    }

    /// Whether a response message was framed.
    pub fn any_sent(&self) -> bool {
        self.outbound.any_sent
    }

    /// The call ends: gives the status to send, `None` if it has ended already or nobody is there. That is
    /// `status`, unless the deadline passed or the request was bad (those come first), or a method with one
    /// response ends OK without it.
    pub fn finish(&mut self, status: &Status) -> Option<Status> {
        if self.finished {
            return None;
        }
        self.finished = true;
        self.news = News::None;
        self.drop_request();
        let answer = match &self.verdict {
            Some(verdict) if verdict.gone => return None,
            Some(verdict) => verdict.status.clone(),
            None if status.is_ok() && !self.kind.server_streaming && !self.outbound.any_sent => {
                Status::new(Code::Internal, "the handler ended OK without a response")
            }
            None => status.clone(),
        };
        if self.request == Request::Open {
            self.abort = Some(Abort::Enough);
        }
        Some(answer)
    }

    /// Once, after the status went out, if the client's half is still open and must be broken off.
    pub fn take_abort(&mut self) -> Option<Abort> {
        self.abort.take()
    }

    /// Whether there is nothing more to send.
    pub fn is_ended(&self) -> bool {
        self.finished || self.verdict.as_ref().is_some_and(|verdict| verdict.gone)
    }

    /// Whether the next event is a `Cancelled`.
    pub fn is_cancelled(&self) -> bool {
        self.news == News::Cancelled
    }

    /// When the call ends by itself.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline.time()
    }
}

#[cfg(test)]
mod tests;
