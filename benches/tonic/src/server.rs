//! The server under test.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{
    ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::Outcome;
use crate::messages::{Msg, Order};

type Pinned<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Replies = Pin<Box<dyn Stream<Item = Result<Msg, Status>> + Send>>;

pub async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready {}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    tokio::spawn(async {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        std::process::exit(0);
    });
    let incoming = TcpListenerStream::new(listener)
        .map(|socket| socket.and_then(|s| s.set_nodelay(true).map(|()| s)));
    Ok(Server::builder().add_service(Bench).serve_with_incoming(incoming).await?)
}

#[derive(Clone)]
struct Bench;

impl NamedService for Bench {
    const NAME: &'static str = "bench.v1.Bench";
}

impl tower::Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pinned<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/bench.v1.Bench/Unary" => {
                    Grpc::new(ProstCodec::<Msg, Msg>::default()).unary(Echo, request).await
                }
                "/bench.v1.Bench/PlaceOrder" => {
                    Grpc::new(ProstCodec::<Order, Order>::default()).unary(Echo, request).await
                }
                "/bench.v1.Bench/Receive" => {
                    Grpc::new(ProstCodec::<Msg, Msg>::default())
                        .server_streaming(Echo, request)
                        .await
                }
                "/bench.v1.Bench/Send" => {
                    Grpc::new(ProstCodec::<Msg, Msg>::default())
                        .client_streaming(Echo, request)
                        .await
                }
                "/bench.v1.Bench/Bidi" => {
                    Grpc::new(ProstCodec::<Msg, Msg>::default()).streaming(Echo, request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct Echo;

impl UnaryService<Msg> for Echo {
    type Response = Msg;
    type Future = std::future::Ready<Result<Response<Msg>, Status>>;

    fn call(&mut self, request: Request<Msg>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl UnaryService<Order> for Echo {
    type Response = Order;
    type Future = std::future::Ready<Result<Response<Order>, Status>>;

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl ServerStreamingService<Msg> for Echo {
    type Response = Msg;
    type ResponseStream = Replies;
    type Future = std::future::Ready<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<Msg>) -> Self::Future {
        let Msg { n: count, text } = request.into_inner();
        let replies =
            tokio_stream::iter((0..count).map(move |n| Ok(Msg { n, text: text.clone() })));
        std::future::ready(Ok(Response::new(Box::pin(replies) as Replies)))
    }
}

impl ClientStreamingService<Msg> for Echo {
    type Response = Msg;
    type Future = Pinned<Result<Response<Msg>, Status>>;

    fn call(&mut self, request: Request<Streaming<Msg>>) -> Self::Future {
        Box::pin(async move {
            let mut requests = request.into_inner();
            let mut count = 0;
            while requests.message().await?.is_some() {
                count += 1;
            }
            Ok(Response::new(Msg { n: count, text: String::new() }))
        })
    }
}

impl StreamingService<Msg> for Echo {
    type Response = Msg;
    type ResponseStream = Replies;
    type Future = std::future::Ready<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<Streaming<Msg>>) -> Self::Future {
        std::future::ready(Ok(Response::new(Box::pin(request.into_inner()) as Replies)))
    }
}
