//! A service's methods and the functions that answer them.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use stubless_codec::{Message, MessageType, Method, Schema};
use stubless_engine::call::{MethodKind, ServerEvent};
use stubless_engine::port::{self, Event, ServerCallHandle};
use stubless_engine::server::{Registration, ServerCall};
use stubless_engine::status::{Code, Status};

use crate::context::Context;
use crate::error::{Error, RpcError, undecodable};
use crate::runtime::lock;
use crate::stream::{CREDIT, Inbox};

/// The methods of one service, to be added to a [`Server`](crate::Server). Methods left out answer UNIMPLEMENTED.
pub struct Service {
    service: stubless_codec::Service,
    pub(crate) methods: Vec<Registration>,
    error: Option<Error>,
}

type Answer = Result<Message, RpcError>;

impl Service {
    /// The service `package.Name` of a schema, without methods yet.
    ///
    /// # Errors
    /// The schema has no such service.
    pub fn new(schema: &Schema, name: &str) -> Result<Service, Error> {
        let service = schema
            .service(name)
            .ok_or_else(|| Error::Unknown(format!("the schema has no service {name:?}")))?;
        Ok(Service { service, methods: Vec::new(), error: None })
    }

    /// Its full name.
    pub fn name(&self) -> &str {
        self.service.full_name()
    }

    fn add(mut self, name: &str, kind: MethodKind, make: impl FnOnce(Types) -> Handler) -> Service {
        let found = self.service.method(name);
        let problem = match &found {
            None => Some(format!("{} has no method {name:?}", self.name())),
            Some(method) if kind_of(method) != kind => Some(format!(
                "{}.{name} is not of this kind: see its streams in the schema",
                self.name()
            )),
            Some(_) if self.methods.iter().any(|m| m.name == name) => {
                Some(format!("{}.{name} has a handler already", self.name()))
            }
            Some(_) => None,
        };
        match (found, problem) {
            (Some(method), None) => {
                let handler = make(Types { input: method.input(), output: method.output() });
                self.methods.push(Registration { name: name.to_owned(), kind, handler });
            }
            (_, problem) => self.error = self.error.or(problem.map(Error::Unknown)),
        }
        self
    }

    /// The methods, or the first thing that was wrong with one.
    pub(crate) fn finish(self) -> Result<(String, Vec<Registration>), Error> {
        match self.error {
            Some(error) => Err(error),
            None => Ok((self.service.full_name().to_owned(), self.methods)),
        }
    }

    /// Answers a method with one request and one response.
    ///
    /// The future is dropped when nobody waits for it any more (cancel, deadline).
    pub fn unary<F, R>(self, name: &str, handler: F) -> Service
    where
        F: Fn(Message, Context) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.add(name, MethodKind::UNARY, move |types| {
            Arc::new(move |call: ServerCall| {
                let (types, handler) = (types.clone(), handler.clone());
                spawn(&call.rt().clone(), serve_unary(call, types, handler));
            })
        })
    }

    /// Answers a method that streams responses through a [`Responder`].
    pub fn server_streaming<F, R>(self, name: &str, handler: F) -> Service
    where
        F: Fn(Message, Context, Responder) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), RpcError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.add(name, MethodKind::SERVER_STREAMING, move |types| {
            streaming(types, move |stream, context| {
                let (handler, stream) = (handler.clone(), stream);
                Box::pin(async move {
                    let request = match stream.first {
                        Some(bytes) => stream.types.decode(bytes)?,
                        None => return Err(Status::new(Code::Internal, "no request").into()),
                    };
                    handler(request, context, stream.responder).await.map(|()| None)
                })
            })
        })
    }

    /// Answers a method that streams requests with one response.
    pub fn client_streaming<F, R>(self, name: &str, handler: F) -> Service
    where
        F: Fn(Requests, Context) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.add(name, MethodKind::CLIENT_STREAMING, move |types| {
            streaming(types, move |stream, context| {
                let handler = handler.clone();
                Box::pin(async move { handler(stream.requests, context).await.map(Some) })
            })
        })
    }

    /// Answers a method that streams both ways.
    pub fn bidi<F, R>(self, name: &str, handler: F) -> Service
    where
        F: Fn(Requests, Context, Responder) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), RpcError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.add(name, MethodKind::BIDI_STREAMING, move |types| {
            streaming(types, move |stream, context| {
                let handler = handler.clone();
                Box::pin(async move {
                    handler(stream.requests, context, stream.responder).await.map(|()| None)
                })
            })
        })
    }
}

fn kind_of(method: &Method) -> MethodKind {
    MethodKind {
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
    }
}

type Handler = Arc<dyn stubless_engine::server::Handler>;

#[derive(Clone)]
struct Types {
    input: MessageType,
    output: MessageType,
}

impl Types {
    fn decode(&self, bytes: Bytes) -> Result<Message, RpcError> {
        self.input.decode(bytes).map_err(|error| undecodable("request", &error).into())
    }

    fn encode(&self, message: &Message) -> Result<Bytes, Status> {
        if message.message_type() != self.output {
            let (wanted, given) = (self.output.full_name(), message.full_name());
            return Err(Status::new(
                Code::Internal,
                format!("the handler gave a {given} instead of a {wanted}"),
            ));
        }
        message.encode().map_err(|error| {
            Status::new(Code::Internal, format!("cannot encode the response: {error}"))
        })
    }
}

/// Runs a handler: as a task of the tokio runtime with several threads, so that handlers use them all; otherwise beside the sockets.
fn spawn(rt: &stubless_engine::rt::Rt, task: impl Future<Output = ()> + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread => {
            handle.spawn(task);
        }
        _ => rt.spawn(task),
    }
}

async fn serve_unary<F, R>(mut call: ServerCall, types: Types, handler: Arc<F>)
where
    F: Fn(Message, Context) -> R,
    R: Future<Output = Answer>,
{
    let bytes = match poll_fn(|cx| call.poll_event(cx)).await {
        ServerEvent::Message(bytes) => bytes,
        // answered, or nobody is there
        _ => return,
    };
    let context = Context::new(call.head().clone(), call.rt());
    let answer = match types.decode(bytes) {
        Ok(request) => {
            let mut running = pin!(handler(request, context.clone()));
            let done = poll_fn(|cx| {
                if let Poll::Ready(answer) = running.as_mut().poll(cx) {
                    return Poll::Ready(Some(answer));
                }
                loop {
                    match call.poll_event(cx) {
                        Poll::Ready(ServerEvent::Cancelled(_)) => return Poll::Ready(None),
                        Poll::Ready(_) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            match done.await {
                Some(answer) => answer,
                None => return,
            }
        }
        Err(error) => Err(error),
    };
    let mut additions = std::mem::take(&mut *lock(&context.additions));
    if !additions.headers.is_empty() {
        call.set_headers(additions.headers);
    }
    if let Some(encoding) = additions.compression {
        call.set_compression(encoding);
    }
    let status = match answer {
        Ok(message) => match types.encode(&message).and_then(|bytes| call.send_message(bytes)) {
            Ok(()) => Status::ok(),
            Err(status) => status,
        },
        Err(error) => {
            additions.trailers.extend(error.trailers());
            error.status().clone()
        }
    };
    call.finish(&status, &additions.trailers);
}

/// What a streaming handler is given.
struct Started {
    types: Types,
    first: Option<Bytes>,
    requests: Requests,
    responder: Responder,
}

type Running = Pin<Box<dyn Future<Output = Result<Option<Message>, RpcError>> + Send>>;

fn streaming(
    types: Types,
    start: impl Fn(Started, Context) -> Running + Send + Sync + 'static,
) -> Handler {
    let start = Arc::new(start);
    Arc::new(move |call: ServerCall| {
        let (types, start, rt) = (types.clone(), start.clone(), call.rt().clone());
        let inbox = Inbox::new();
        port::accept_call(call, 0, inbox.queue());
        spawn(&rt.clone(), async move {
            let first = poll_fn(|cx| inbox.poll_event(cx)).await;
            let Event::Call(incoming) = first else { return };
            let incoming = *incoming;
            let context = Context::new(incoming.head, &rt);
            let handle = Arc::new(incoming.handle);
            handle.grant(CREDIT);
            let cancelled = Arc::new(Cancelled::default());
            let started = Started {
                types: types.clone(),
                first: incoming.message,
                requests: Requests {
                    types: types.clone(),
                    inbox: inbox.clone(),
                    handle: handle.clone(),
                    taken: 0,
                    ended: false,
                    cancelled: cancelled.clone(),
                },
                responder: Responder {
                    types: types.clone(),
                    inbox: inbox.clone(),
                    handle: handle.clone(),
                    context: context.clone(),
                    told: false,
                },
            };
            let mut running = start(started, context.clone());
            let done = poll_fn(|cx| {
                if let Poll::Ready(done) = running.as_mut().poll(cx) {
                    return Poll::Ready(Some(done));
                }
                if inbox.poll_cancelled(cx, &cancelled) { Poll::Ready(None) } else { Poll::Pending }
            })
            .await;
            drop(running);
            if let Some(done) = done {
                finish(&handle, &types, &context, done);
            }
        });
    })
}

fn finish(
    handle: &ServerCallHandle,
    types: &Types,
    context: &Context,
    done: Result<Option<Message>, RpcError>,
) {
    let additions = std::mem::take(&mut *lock(&context.additions));
    if !additions.headers.is_empty() {
        handle.set_headers(additions.headers);
    }
    let mut trailers = additions.trailers;
    let status = match done {
        Ok(None) => Status::ok(),
        Ok(Some(message)) => match types.encode(&message) {
            Ok(bytes) => {
                handle.send(bytes);
                Status::ok()
            }
            Err(status) => status,
        },
        Err(error) => {
            trailers.extend(error.trailers());
            error.status().clone()
        }
    };
    handle.finish(status, trailers);
}

/// Set once the call was cancelled, so that its request stream says so.
#[derive(Default)]
pub(crate) struct Cancelled(std::sync::Mutex<Option<Status>>);

impl Cancelled {
    pub fn set(&self, status: Status) {
        lock(&self.0).get_or_insert(status);
    }

    pub fn get(&self) -> Option<Status> {
        lock(&self.0).clone()
    }
}

/// The requests of a streaming call, one by one.
pub struct Requests {
    types: Types,
    inbox: Arc<Inbox>,
    handle: Arc<ServerCallHandle>,
    taken: usize,
    ended: bool,
    cancelled: Arc<Cancelled>,
}

impl Requests {
    /// The next request; `None` when the client has sent them all.
    ///
    /// # Errors
    /// The client cancelled or its deadline passed (a cancel never looks like the end), or a request cannot be parsed.
    pub async fn message(&mut self) -> Result<Option<Message>, RpcError> {
        loop {
            if let Some(status) = self.cancelled.get() {
                return Err(status.into());
            }
            if self.ended {
                return Ok(None);
            }
            match poll_fn(|cx| self.inbox.poll_event(cx)).await {
                Event::Message { message, .. } => {
                    self.taken += 1;
                    if self.taken >= CREDIT / 2 {
                        self.handle.grant(self.taken);
                        self.taken = 0;
                    }
                    return self.types.decode(message).map(Some);
                }
                Event::HalfClosed { .. } => self.ended = true,
                Event::Cancelled { status, .. } => self.cancelled.set(status),
                _ => {}
            }
        }
    }
}

/// Sends the responses of a streaming call.
pub struct Responder {
    types: Types,
    inbox: Arc<Inbox>,
    handle: Arc<ServerCallHandle>,
    context: Context,
    told: bool,
}

impl Responder {
    /// Sends one response; waits while the client's window is full.
    ///
    /// # Errors
    /// The call has ended (cancelled, deadline), or the message is not of the method's type.
    pub async fn send(&mut self, message: &Message) -> Result<(), RpcError> {
        let bytes = self.types.encode(message)?;
        if !self.told {
            self.send_additions();
        }
        if self.handle.is_ended() {
            return Err(Status::new(Code::Cancelled, "the call has ended").into());
        }
        if !self.handle.send(bytes) {
            let (inbox, handle) = (&self.inbox, &self.handle);
            poll_fn(|cx| inbox.poll_writable(cx, || handle.is_ended())).await;
        }
        Ok(())
    }

    /// Sends the initial metadata now instead of with the first response.
    pub fn send_headers(&mut self) {
        self.send_additions();
        self.handle.send_headers();
    }

    fn send_additions(&mut self) {
        self.told = true;
        let mut additions = lock(&self.context.additions);
        let headers = std::mem::take(&mut additions.headers);
        if !headers.is_empty() {
            self.handle.set_headers(headers);
        }
        if let Some(encoding) = additions.compression.take() {
            self.handle.set_compression(encoding);
        }
    }
}
