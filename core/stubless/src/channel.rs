//! Channels and the four kinds of calls.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stubless_codec::{Message, MessageType, Method, Schema};
use stubless_engine::call::{ClientEvent, MethodKind};
use stubless_engine::channel::Connectivity;
use stubless_engine::client::{self, Call, CallOptions, ChannelOptions, ClientInterceptor};
use stubless_engine::compression::Encoding;
use stubless_engine::metadata::Metadata;
use stubless_engine::port::{self, StartCall};
use stubless_engine::status::Status;

use crate::error::{Error, RpcError, undecodable};
use crate::runtime;
use crate::stream::{Inbox, Streaming};
use crate::tls::ClientTls;

/// A logical connection to a target. Cheap to clone, usable from any thread and task.
///
/// Connects when the first call needs it, reconnects with backoff; see [`ChannelBuilder`] for the options.
#[derive(Clone)]
pub struct Channel {
    inner: client::Channel,
    schema: Schema,
}

/// Makes a [`Channel`]; the option's names are the same in every language.
#[derive(Clone)]
pub struct ChannelBuilder {
    target: String,
    schema: Schema,
    options: ChannelOptions,
}

impl Channel {
    /// A cleartext channel with default options. `target`: `host:port`, `dns:///host:port`, `ipv4:1.2.3.4:5`, `ipv6:[::1]:5`,
    /// `unix:/path`, `unix-abstract:name`, `inprocess:name`.
    ///
    /// # Errors
    /// The target cannot be understood.
    pub fn connect(target: &str, schema: &Schema) -> Result<Channel, Error> {
        Channel::builder(target, schema).connect()
    }

    /// A channel with options.
    pub fn builder(target: &str, schema: &Schema) -> ChannelBuilder {
        ChannelBuilder {
            target: target.to_owned(),
            schema: schema.clone(),
            options: ChannelOptions::default(),
        }
    }

    /// The schema its calls use.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The same channel with another schema.
    pub fn with_schema(&self, schema: &Schema) -> Channel {
        Channel { inner: self.inner.clone(), schema: schema.clone() }
    }

    /// The state now; `try_to_connect` leaves IDLE.
    pub fn state(&self, try_to_connect: bool) -> Connectivity {
        self.inner.state(try_to_connect)
    }

    /// Waits until the state is another than `known`; gives the new one.
    pub async fn state_changed(&self, known: Connectivity) -> Connectivity {
        poll_fn(|cx| self.inner.poll_state_change(cx, known)).await
    }

    /// Closes it: no new calls; open ones finish.
    pub fn close(&self) {
        self.inner.close();
    }

    /// The engine's channel below, for calls in raw bytes.
    pub fn engine(&self) -> &client::Channel {
        &self.inner
    }

    /// The method `package.Service/Name` (with or without a leading slash), ready to be called. Make it once, call it often.
    ///
    /// # Errors
    /// The schema has no such method.
    pub fn method(&self, path: &str) -> Result<MethodHandle, Error> {
        let found = self.schema.method(path.strip_prefix('/').unwrap_or(path));
        let method =
            found.ok_or_else(|| Error::Unknown(format!("the schema has no method {path:?}")))?;
        MethodHandle::new(self, &method)
    }

    /// Calls a method with one request and one response.
    ///
    /// # Errors
    /// [`Error::Rpc`]: how the call ended. Otherwise nothing was sent: no such method, or a wrong request.
    pub async fn unary(&self, path: &str, request: impl IntoRequest) -> Result<Response, Error> {
        self.method(path)?.unary(request).await
    }

    /// Calls a method that streams responses.
    ///
    /// # Errors
    /// No such method, or a wrong request; how the call ends comes with the stream.
    pub fn server_streaming(
        &self,
        path: &str,
        request: impl IntoRequest,
    ) -> Result<Streaming, Error> {
        self.method(path)?.server_streaming(request)
    }

    /// Calls a method that streams requests and gives one response.
    ///
    /// # Errors
    /// No such method, or wrong options.
    pub fn client_streaming(
        &self,
        path: &str,
        options: Options,
    ) -> Result<(Sender, OneResponse), Error> {
        self.method(path)?.client_streaming(options)
    }

    /// Calls a method that streams both ways.
    ///
    /// # Errors
    /// No such method, or wrong options.
    pub fn bidi(&self, path: &str, options: Options) -> Result<(Sender, Streaming), Error> {
        self.method(path)?.bidi(options)
    }
}

impl ChannelBuilder {
    /// TLS, made by [`ClientTls`]. Default: cleartext.
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// The `:authority` of every call. Default: from the target.
    pub fn authority(mut self, authority: &str) -> Self {
        self.options.authority = Some(authority.to_owned());
        self
    }

    /// Goes in front of the library's own user agent.
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        self.options.user_agent = Some(user_agent.to_owned());
        self
    }

    /// Timeout of calls that set none. Default: none.
    pub fn default_timeout(mut self, timeout: Duration) -> Self {
        self.options.default_timeout = Some(timeout);
        self
    }

    /// Calls wait through failures to connect, until their deadline. Default: no.
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.options.wait_for_ready = wait;
        self
    }

    /// Compresses the requests: `Encoding::Gzip`, `Deflate`, `Zstd`. Default: not.
    pub fn compression(mut self, encoding: Encoding) -> Self {
        self.options.compression = encoding;
        self
    }

    /// Adds an interceptor; the first one added is the outermost.
    pub fn interceptor(mut self, interceptor: impl ClientInterceptor) -> Self {
        self.options.interceptors.push(Arc::new(interceptor));
        self
    }

    /// All other options, by the engine's own struct (sizes, keepalive, backoff, windows).
    pub fn options(mut self, change: impl FnOnce(&mut ChannelOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Makes the channel. Inside a tokio runtime it lives there, elsewhere on the process's own engine thread.
    ///
    /// # Errors
    /// Names the target or option that cannot be used.
    pub fn connect(self) -> Result<Channel, Error> {
        let engine = runtime::engine()?;
        let inner = client::Channel::new(engine.rt(), &self.target, self.options)?;
        Ok(Channel { inner, schema: self.schema })
    }
}

/// What one call sets differently from its channel, and its metadata.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) metadata: Metadata,
    pub(crate) call: CallOptions,
}

impl Options {
    /// Nothing set.
    pub fn new() -> Options {
        Options::default()
    }

    /// Time until the call ends with DEADLINE_EXCEEDED.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.timeout = Some(timeout);
        self
    }

    /// Adds metadata; `-bin` keys take any bytes.
    ///
    /// # Errors
    /// gRPC does not carry such a key or value; the error names it.
    pub fn metadata(mut self, key: &str, value: impl Into<Bytes>) -> Result<Self, Error> {
        self.metadata.append(key, value)?;
        Ok(self)
    }

    /// Waits through failures to connect.
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.call.wait_for_ready = Some(wait);
        self
    }

    /// Compresses the requests of this call, or (Identity) does not.
    pub fn compression(mut self, encoding: Encoding) -> Self {
        self.call.compression = Some(encoding);
        self
    }

    /// All other options, by the engine's own struct.
    pub fn change(mut self, change: impl FnOnce(&mut CallOptions)) -> Self {
        change(&mut self.call);
        self
    }
}

/// A request message and what its call sets.
#[derive(Debug, Clone)]
pub struct Request {
    /// The message.
    pub message: Message,
    /// Metadata and options.
    pub options: Options,
}

impl Request {
    /// A request with default options.
    pub fn new(message: Message) -> Request {
        Request { message, options: Options::default() }
    }

    /// With options.
    pub fn with(mut self, options: Options) -> Request {
        self.options = options;
        self
    }
}

/// A [`Message`], or a [`Request`] with options.
pub trait IntoRequest {
    /// The request.
    fn into_request(self) -> Request;
}

impl IntoRequest for Request {
    fn into_request(self) -> Request {
        self
    }
}

impl IntoRequest for Message {
    fn into_request(self) -> Request {
        Request::new(self)
    }
}

impl IntoRequest for &Message {
    fn into_request(self) -> Request {
        Request::new(self.clone())
    }
}

/// A response and its metadata.
#[derive(Debug, Clone)]
pub struct Response {
    /// The message.
    pub message: Message,
    /// Initial metadata.
    pub headers: Metadata,
    /// Trailing metadata.
    pub trailers: Metadata,
}

/// A method of a channel, looked up once.
#[derive(Clone)]
pub struct MethodHandle {
    channel: client::Channel,
    schema: Schema,
    method: client::Method,
    input: MessageType,
    output: MessageType,
}

impl MethodHandle {
    fn new(channel: &Channel, method: &Method) -> Result<MethodHandle, Error> {
        let kind = MethodKind {
            client_streaming: method.is_client_streaming(),
            server_streaming: method.is_server_streaming(),
        };
        Ok(MethodHandle {
            channel: channel.inner.clone(),
            schema: channel.schema.clone(),
            method: client::Method::new(method.path(), kind)?,
            input: method.input(),
            output: method.output(),
        })
    }

    /// The type of its requests.
    pub fn input(&self) -> &MessageType {
        &self.input
    }

    /// The type of its responses.
    pub fn output(&self) -> &MessageType {
        &self.output
    }

    /// How many messages go each way.
    pub fn kind(&self) -> MethodKind {
        self.method.kind()
    }

    fn check_kind(&self, client_streaming: bool, server_streaming: bool) -> Result<(), Error> {
        let wanted = MethodKind { client_streaming, server_streaming };
        if self.kind() == wanted {
            return Ok(());
        }
        let side = |streams| if streams { "a stream of messages" } else { "one message" };
        Err(Error::Unknown(format!(
            "{} takes {} and gives {}",
            self.method.path(),
            side(self.kind().client_streaming),
            side(self.kind().server_streaming)
        )))
    }

    fn encode(&self, message: &Message) -> Result<Bytes, Error> {
        if message.message_type() != self.input {
            return Err(Error::Unknown(format!(
                "{} takes {}, not {}",
                self.method.path(),
                self.input.full_name(),
                message.full_name()
            )));
        }
        Ok(message.encode()?)
    }

    /// See [`Channel::unary`].
    ///
    /// # Errors
    /// As there.
    pub async fn unary(&self, request: impl IntoRequest) -> Result<Response, Error> {
        self.check_kind(false, false)?;
        let Request { message, options } = request.into_request();
        let bytes = self.encode(&message)?;
        let mut call = Call::new(&self.channel, &self.method, options.metadata, options.call);
        // a message over the limit has ended the call: its status comes below
        let _ = call.send_message(bytes);
        call.half_close();
        let (mut headers, mut answer) = (Metadata::new(), None);
        loop {
            match poll_fn(|cx| call.poll_event(cx)).await {
                Some(ClientEvent::Headers(metadata)) => headers = metadata,
                Some(ClientEvent::Message(message)) => answer = Some(message),
                Some(ClientEvent::Status(status, trailers)) => {
                    return self.response(answer, status, headers, trailers);
                }
                None => return self.response(None, Status::ok(), headers, Metadata::new()),
            }
        }
    }

    fn response(
        &self,
        answer: Option<Bytes>,
        status: Status,
        headers: Metadata,
        trailers: Metadata,
    ) -> Result<Response, Error> {
        let status = match (answer, status.is_ok()) {
            (Some(bytes), true) => match self.output.decode(bytes) {
                Ok(message) => return Ok(Response { message, headers, trailers }),
                Err(error) => undecodable("response", &error),
            },
            (None, true) => Status::new(
                stubless_engine::status::Code::Internal,
                "the call ended OK without a response",
            ),
            (_, false) => status,
        };
        Err(RpcError::received(status, headers, trailers, &self.schema).into())
    }

    fn start(
        &self,
        options: Options,
        request: Option<Bytes>,
    ) -> (port::ClientCallHandle, Arc<Inbox>) {
        let inbox = Inbox::new();
        let start =
            StartCall { tag: 0, metadata: options.metadata, options: options.call, request };
        let handle = port::start_call(&self.channel, &self.method, start, inbox.queue());
        (handle, inbox)
    }

    /// See [`Channel::server_streaming`].
    ///
    /// # Errors
    /// As there.
    pub fn server_streaming(&self, request: impl IntoRequest) -> Result<Streaming, Error> {
        self.check_kind(false, true)?;
        let Request { message, options } = request.into_request();
        let bytes = self.encode(&message)?;
        let (handle, inbox) = self.start(options, Some(bytes));
        Ok(Streaming::new(handle, inbox, &self.output, &self.schema))
    }

    /// See [`Channel::client_streaming`].
    ///
    /// # Errors
    /// As there.
    pub fn client_streaming(&self, options: Options) -> Result<(Sender, OneResponse), Error> {
        self.check_kind(true, false)?;
        let (handle, inbox) = self.start(options, None);
        let sender = Sender { method: self.clone(), handle: handle.clone(), inbox: inbox.clone() };
        Ok((sender, OneResponse { method: self.clone(), inbox, _handle: handle }))
    }

    /// See [`Channel::bidi`].
    ///
    /// # Errors
    /// As there.
    pub fn bidi(&self, options: Options) -> Result<(Sender, Streaming), Error> {
        self.check_kind(true, true)?;
        let (handle, inbox) = self.start(options, None);
        let sender = Sender { method: self.clone(), handle: handle.clone(), inbox: inbox.clone() };
        Ok((sender, Streaming::new(handle, inbox, &self.output, &self.schema)))
    }
}

/// The requests of a streaming call. Dropping it ends them (half-close).
pub struct Sender {
    method: MethodHandle,
    handle: port::ClientCallHandle,
    inbox: Arc<Inbox>,
}

impl Sender {
    /// Sends one message; waits while the peer's window is full.
    ///
    /// # Errors
    /// A message of the wrong type. `Ok(false)`: the call has ended; its receiving side tells how.
    pub async fn send(&mut self, message: &Message) -> Result<bool, Error> {
        let bytes = self.method.encode(message)?;
        if self.handle.is_ended() {
            return Ok(false);
        }
        if !self.handle.send(bytes) {
            let (inbox, handle) = (&self.inbox, &self.handle);
            poll_fn(|cx| inbox.poll_writable(cx, || handle.is_ended())).await;
        }
        Ok(!self.handle.is_ended())
    }

    /// No more messages will be sent.
    pub fn done(self) {}

    /// Cancels the call.
    pub fn cancel(&self) {
        self.handle.cancel();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.handle.half_close();
    }
}

/// The response of a call that streams its requests. Dropping it cancels the call once its [`Sender`] is gone too.
pub struct OneResponse {
    method: MethodHandle,
    inbox: Arc<Inbox>,
    _handle: port::ClientCallHandle,
}

impl OneResponse {
    /// Waits for the response.
    ///
    /// # Errors
    /// How the call ended otherwise.
    pub async fn response(self) -> Result<Response, Error> {
        let inbox = &self.inbox;
        let reply = poll_fn(|cx| inbox.poll_reply(cx)).await;
        self.method.response(reply.message, reply.status, reply.headers, reply.trailers)
    }
}
