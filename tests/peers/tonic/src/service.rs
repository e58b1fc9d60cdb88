//! The server: the interop service and demo.v1.Echo on dynamic messages.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Frame;
use http_body_util::BodyExt;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::{self, HeaderMap, HeaderValue};
use tonic::metadata::MetadataMap;
use tonic::server::{
    ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::codec::DynamicCodec;
use crate::{Outcome, Tls};

type Pinned<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Replies = Pin<Box<dyn Stream<Item = Result<DynamicMessage, Status>> + Send>>;

pub async fn serve(pool: DescriptorPool, port: u16, tls: Option<Tls>) -> Outcome<()> {
    let mut server = Server::builder();
    if let Some(tls) = tls {
        let mut config = ServerTlsConfig::new().identity(tls.pair(&tls.identity)?);
        if tls.mutual {
            config = config.client_ca_root(tls.authority()?);
        }
        server = server.tls_config(config)?;
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("ready {}", listener.local_addr()?.port());
    let router =
        server.add_service(Service::<true>(pool.clone())).add_service(Service::<false>(pool));
    let input_closed = async {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        std::process::exit(0); // open calls end with it
    };
    Ok(router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), input_closed).await?)
}

/// One service of the pool: `grpc.testing.TestService` if `INTEROP`, otherwise `demo.v1.Echo`.
#[derive(Clone)]
struct Service<const INTEROP: bool>(DescriptorPool);

impl NamedService for Service<true> {
    const NAME: &'static str = "grpc.testing.TestService";
}

impl NamedService for Service<false> {
    const NAME: &'static str = "demo.v1.Echo";
}

impl<const INTEROP: bool> tower::Service<http::Request<Body>> for Service<INTEROP> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pinned<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let pool = self.0.clone();
        Box::pin(async move { Ok(route(pool, request).await) })
    }
}

async fn route(pool: DescriptorPool, request: http::Request<Body>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let (service, name) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
    let method = pool.get_service_by_name(service).and_then(|service| {
        service.methods().find(|method| method.name() == name && name != "UnimplementedCall")
    });
    let Some(method) = method else { return Status::unimplemented("no such method").into_http() };
    let trailers = trailers_for(&path, request.headers());
    let handler = Handler { pool: Arc::new(pool), path };
    let mut grpc = Grpc::new(DynamicCodec { incoming: method.input() })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let response = match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => grpc.unary(handler, request).await,
        (false, true) => grpc.server_streaming(handler, request).await,
        (true, false) => grpc.client_streaming(handler, request).await,
        (true, true) => grpc.streaming(handler, request).await,
    };
    with_trailers(response, trailers)
}

/// What one call runs: the method is known by its path.
#[derive(Clone)]
struct Handler {
    pool: Arc<DescriptorPool>,
    path: String,
}

impl Handler {
    fn message(&self, name: &str) -> Result<DynamicMessage, Status> {
        let descriptor = self.pool.get_message_by_name(name);
        Ok(DynamicMessage::new(
            descriptor.ok_or_else(|| Status::internal(format!("no message {name}")))?,
        ))
    }

    /// A reply with a payload of `size` zero bytes.
    fn with_payload(
        &self,
        name: &str,
        request: &DynamicMessage,
        size: i32,
    ) -> Result<DynamicMessage, Status> {
        if request.get_field_by_name("response_type").and_then(|value| value.as_enum_number())
            != Some(0)
        {
            return Err(Status::invalid_argument("unknown payload type"));
        }
        let mut payload = self.message("grpc.testing.Payload")?;
        payload.set_field_by_name("body", Value::Bytes(vec![0; size.max(0) as usize].into()));
        let mut reply = self.message(name)?;
        reply.set_field_by_name("payload", Value::Message(payload));
        Ok(reply)
    }

    /// Sends what one request of a streaming output method asks for; `false` when the caller has gone.
    async fn replies_to(
        &self,
        request: DynamicMessage,
        replies: &mpsc::Sender<Result<DynamicMessage, Status>>,
    ) -> bool {
        for (size, pause) in wanted(&request) {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let reply =
                self.with_payload("grpc.testing.StreamingOutputCallResponse", &request, size);
            let failed = reply.is_err();
            if replies.send(reply).await.is_err() || failed {
                return false;
            }
        }
        if let Err(status) = asked_status(&request) {
            let _ = replies.send(Err(status)).await;
            return false;
        }
        true
    }
}

fn int(message: &DynamicMessage, field: &str) -> i32 {
    message.get_field_by_name(field).and_then(|value| value.as_i32()).unwrap_or(0)
}

/// The sizes of the replies a request asks for, and the pause before each.
fn wanted(request: &DynamicMessage) -> Vec<(i32, Duration)> {
    let parameters = request.get_field_by_name("response_parameters");
    let parameters = parameters.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    let each = parameters.iter().filter_map(Value::as_message);
    each.map(|one| (int(one, "size"), Duration::from_micros(int(one, "interval_us").max(0) as u64)))
        .collect()
}

fn payload_len(message: &DynamicMessage) -> i32 {
    let payload = message.get_field_by_name("payload");
    let payload = payload.as_ref().and_then(|value| value.as_message());
    let body = payload.and_then(|payload| {
        payload.get_field_by_name("body").and_then(|body| body.as_bytes().map(|b| b.len()))
    });
    body.unwrap_or(0) as i32
}

fn asked_status(request: &DynamicMessage) -> Result<(), Status> {
    let status = request.get_field_by_name("response_status");
    let Some(status) = status.as_ref().and_then(|value| value.as_message()) else { return Ok(()) };
    let text =
        status.get_field_by_name("message").and_then(|value| value.as_str().map(str::to_owned));
    match int(status, "code") {
        0 => Ok(()),
        code => Err(Status::new(Code::from(code), text.unwrap_or_default())),
    }
}

const INITIAL: &str = "x-grpc-test-echo-initial";
const TRAILING: &str = "x-grpc-test-echo-trailing-bin";

fn echo_initial(from: &MetadataMap, to: &mut MetadataMap) {
    if let Some(value) = from.get(INITIAL) {
        to.insert(INITIAL, value.clone());
    }
}

/// The trailers a call is to end with: the interop echo, and what demo.v1.Echo adds.
fn trailers_for(path: &str, request: &HeaderMap) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Some(value) = request.get(TRAILING) {
        trailers.insert(TRAILING, value.clone());
    }
    if path == "/demo.v1.Echo/Unary" {
        trailers.insert("x-took", HeaderValue::from_static("1"));
    }
    trailers
}

/// tonic's handlers cannot add trailers to an answer that ends well: they are put into its last frame here.
fn with_trailers(response: http::Response<Body>, extra: HeaderMap) -> http::Response<Body> {
    response.map(|body| {
        Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.extend(extra.clone());
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }))
    })
}

impl UnaryService<DynamicMessage> for Handler {
    type Response = DynamicMessage;
    type Future = Pinned<Result<Response<DynamicMessage>, Status>>;

    fn call(&mut self, request: Request<DynamicMessage>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let (metadata, _, request) = request.into_parts();
            asked_status(&request)?;
            let reply = match handler.path.as_str() {
                "/grpc.testing.TestService/EmptyCall" => handler.message("grpc.testing.Empty")?,
                "/demo.v1.Echo/Unary" => {
                    if request
                        .get_field_by_name("text")
                        .is_none_or(|text| text.as_str() == Some(""))
                    {
                        return Err(Status::not_found("no text"));
                    }
                    request
                }
                _ => handler.with_payload(
                    "grpc.testing.SimpleResponse",
                    &request,
                    int(&request, "response_size"),
                )?,
            };
            let mut response = Response::new(reply);
            echo_initial(&metadata, response.metadata_mut());
            Ok(response)
        })
    }
}

impl ServerStreamingService<DynamicMessage> for Handler {
    type Response = DynamicMessage;
    type ResponseStream = Replies;
    type Future = Pinned<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<DynamicMessage>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let (metadata, _, request) = request.into_parts();
            let (sender, receiver) = mpsc::channel(16);
            tokio::spawn(async move {
                if handler.path == "/demo.v1.Echo/ServerStream" {
                    for n in 0..int(&request, "n") {
                        let mut reply = DynamicMessage::new(request.descriptor());
                        reply.set_field_by_name("n", Value::I32(n));
                        if sender.send(Ok(reply)).await.is_err() {
                            return;
                        }
                    }
                } else {
                    handler.replies_to(request, &sender).await;
                }
            });
            let mut response = Response::new(Box::pin(ReceiverStream::new(receiver)) as Replies);
            echo_initial(&metadata, response.metadata_mut());
            Ok(response)
        })
    }
}

impl ClientStreamingService<DynamicMessage> for Handler {
    type Response = DynamicMessage;
    type Future = Pinned<Result<Response<DynamicMessage>, Status>>;

    fn call(&mut self, request: Request<Streaming<DynamicMessage>>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let (metadata, _, mut requests) = request.into_parts();
            let echo = handler.path == "/demo.v1.Echo/ClientStream";
            let mut sum = 0;
            while let Some(request) = requests.message().await? {
                sum += if echo { int(&request, "n") } else { payload_len(&request) };
            }
            let (name, field) = match echo {
                true => ("demo.v1.Msg", "n"),
                false => ("grpc.testing.StreamingInputCallResponse", "aggregated_payload_size"),
            };
            let mut reply = handler.message(name)?;
            reply.set_field_by_name(field, Value::I32(sum));
            let mut response = Response::new(reply);
            echo_initial(&metadata, response.metadata_mut());
            Ok(response)
        })
    }
}

impl StreamingService<DynamicMessage> for Handler {
    type Response = DynamicMessage;
    type ResponseStream = Replies;
    type Future = Pinned<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<Streaming<DynamicMessage>>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let (metadata, _, mut requests) = request.into_parts();
            let (sender, receiver) = mpsc::channel(16);
            tokio::spawn(async move {
                let gather = handler.path == "/grpc.testing.TestService/HalfDuplexCall";
                let mut gathered = Vec::new();
                while let Some(request) = requests.next().await {
                    let Ok(request) = request else { return };
                    if handler.path == "/demo.v1.Echo/Bidi" {
                        if sender.send(Ok(request)).await.is_err() {
                            return;
                        }
                    } else if gather {
                        gathered.push(request);
                    } else if !handler.replies_to(request, &sender).await {
                        return;
                    }
                }
                for request in gathered {
                    if !handler.replies_to(request, &sender).await {
                        return;
                    }
                }
            });
            let mut response = Response::new(Box::pin(ReceiverStream::new(receiver)) as Replies);
            echo_initial(&metadata, response.metadata_mut());
            Ok(response)
        })
    }
}
