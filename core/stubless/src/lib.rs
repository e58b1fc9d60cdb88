//! Dynamic gRPC: give it a schema at run time, get clients and servers at once. No generated code.
//!
//! ```
//! use stubless::{Channel, Code, RpcError, Schema, Server, Service};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let schema = Schema::from_source([(
//!     "echo.proto",
//!     r#"syntax = "proto3"; package demo.v1;
//!        message Msg { string text = 1; }
//!        service Echo { rpc Unary(Msg) returns (Msg); rpc Count(Msg) returns (stream Msg); }"#,
//! )])?;
//! let msg = schema.message("demo.v1.Msg").unwrap();
//!
//! let server = Server::new(&schema)?;
//! let echo = Service::new(&schema, "demo.v1.Echo")?
//!     .unary("Unary", |request, _context| async move {
//!         match request.get_by_name("text") {
//!             Ok(text) if !text.is_zero() => Ok(request),
//!             _ => Err(RpcError::new(Code::NotFound, "no text")),
//!         }
//!     })
//!     .server_streaming("Count", |request, _context, mut responder| async move {
//!         for _ in 0..3 {
//!             responder.send(&request).await?;
//!         }
//!         Ok(())
//!     });
//! server.add(echo)?;
//! let port = server.listen("127.0.0.1:0")?;
//!
//! let channel = Channel::connect(&format!("127.0.0.1:{port}"), &schema)?;
//! let mut hi = msg.new_message();
//! hi.set_by_name("text", "hi")?;
//! let response = channel.unary("demo.v1.Echo/Unary", &hi).await?;
//! assert_eq!(response.message, hi);
//!
//! let mut stream = channel.server_streaming("demo.v1.Echo/Count", &hi)?;
//! let mut count = 0;
//! while let Some(_message) = stream.message().await? {
//!     count += 1;
//! }
//! assert_eq!(count, 3);
//!
//! let refused = channel.unary("demo.v1.Echo/Unary", msg.new_message()).await.unwrap_err();
//! assert_eq!(refused.code(), Some(Code::NotFound));
//! server.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! A schema comes from `.proto` files or text, from a descriptor set, or from a live server's reflection. Messages
//! are read and written by field name or by [`Field`] handle. Behaviour (deadlines, retries of what no server saw, limits, status codes) is the
//! engine's and the same in every language.
#![forbid(unsafe_code)]

mod channel;
mod context;
mod details;
mod error;
mod runtime;
mod server;
mod service;
mod services;
mod stream;
mod tls;

pub use channel::{
    Channel, ChannelBuilder, IntoRequest, MethodHandle, OneResponse, Options, Request, Response,
    Sender,
};
pub use context::Context;
pub use error::{Detail, Error, RpcError};
pub use server::{Server, ServerBuilder};
pub use service::{Requests, Responder, Service};
pub use services::{Health, Reflection, ServingStatus, reflect};
pub use stream::Streaming;
pub use tls::{ClientTls, ClientTlsConfig, ServerTls, ServerTlsConfig};

pub use stubless_codec::{
    EnumType, Field, Kind, ListMut, ListRef, MapMut, MapRef, Message, MessageMut, MessageRef,
    MessageType, Method, OneofType, Schema, SchemaError, Value, ValueError,
};
pub use stubless_engine::call::MethodKind;
pub use stubless_engine::channel::Connectivity;
pub use stubless_engine::client::{ChannelOptions, ClientInterceptor, ClientObserver};
pub use stubless_engine::compression::Encoding;
pub use stubless_engine::metadata::{Metadata, MetadataError, MetadataValue};
pub use stubless_engine::server::{CallHead, ServerInterceptor, ServerObserver, ServerOptions};
pub use stubless_engine::status::{Code, Origin, Status};
pub use stubless_engine::transport::{Peer, TlsIdentity};

pub use stubless_engine as engine;
