//! What can go wrong: a call that ended badly, and everything that keeps one from beginning.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use stubless_codec::{DecodeError, EncodeError, Message, Schema, SchemaError, ValueError};
use stubless_engine::metadata::{Metadata, MetadataError};
use stubless_engine::status::{Code, Origin, Status};

use crate::details;

/// Why a request did not give its answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call ended with a status other than OK.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The schema has no such service, method or type.
    #[error("{0}")]
    Unknown(String),
    /// A schema cannot be made of what was given.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A message cannot hold what was given.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Metadata that gRPC does not carry.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// An option, target or address that cannot be used.
    #[error(transparent)]
    Option(#[from] stubless_engine::error::Error),
    /// The operating system refused something.
    #[error("{0}")]
    System(Arc<std::io::Error>),
}

impl Error {
    pub(crate) fn system(error: std::io::Error) -> Error {
        Error::System(Arc::new(error))
    }

    /// The status code, if a call ended.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Rpc(error) => Some(error.code()),
            _ => None,
        }
    }
}

/// How a call ended when it did not end well.
#[derive(Clone)]
pub struct RpcError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: Status,
    headers: Metadata,
    trailers: Metadata,
    schema: Option<Schema>,
}

/// One entry of a status's details (`google.protobuf.Any`).
#[derive(Debug, Clone)]
pub struct Detail {
    /// As sent: `type.googleapis.com/google.rpc.ErrorInfo`.
    pub type_url: String,
    /// The serialized message.
    pub value: Bytes,
    /// The message itself, where the schema (or the bundled `google.rpc` types) knows its type.
    pub message: Option<Message>,
}

impl RpcError {
    /// An error for a handler to return, or as a call ended.
    pub fn new(code: Code, message: impl Into<String>) -> RpcError {
        RpcError::from(Status::new(code, message.into()))
    }

    /// Adds details: messages of any type, packed into the status.
    ///
    /// # Errors
    /// A message lacks a required field.
    pub fn with_details(mut self, messages: &[Message]) -> Result<RpcError, Error> {
        let packed = details::pack(self.code(), self.message(), messages)?;
        self.0.status = self.0.status.with_details(packed);
        Ok(self)
    }

    /// Adds trailing metadata.
    pub fn with_trailers(mut self, trailers: Metadata) -> RpcError {
        self.0.trailers = trailers;
        self
    }

    pub(crate) fn received(
        status: Status,
        headers: Metadata,
        trailers: Metadata,
        schema: &Schema,
    ) -> RpcError {
        RpcError(Box::new(Inner { status, headers, trailers, schema: Some(schema.clone()) }))
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// The text.
    pub fn message(&self) -> &str {
        self.0.status.message()
    }

    /// Whether this side or the peer ended the call.
    pub fn origin(&self) -> Origin {
        self.0.status.origin()
    }

    /// The whole status.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// Initial metadata, if any came.
    pub fn headers(&self) -> &Metadata {
        &self.0.headers
    }

    /// Trailing metadata.
    pub fn trailers(&self) -> &Metadata {
        &self.0.trailers
    }

    /// The serialized `google.rpc.Status`, empty if none came.
    pub fn details_bytes(&self) -> &Bytes {
        self.0.status.details()
    }

    /// The details, decoded where the type is known.
    pub fn details(&self) -> Vec<Detail> {
        details::unpack(self.0.status.details(), self.0.schema.as_ref())
    }
}

impl From<Status> for RpcError {
    fn from(status: Status) -> RpcError {
        RpcError(Box::new(Inner {
            status,
            headers: Metadata::new(),
            trailers: Metadata::new(),
            schema: None,
        }))
    }
}

impl fmt::Debug for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcError")
            .field("code", &self.code())
            .field("message", &self.message())
            .field("trailers", &self.0.trailers)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code().name(), self.message())
    }
}

impl std::error::Error for RpcError {}

/// A message that came and cannot be read ends its call so.
pub(crate) fn undecodable(what: &str, error: &DecodeError) -> Status {
    Status::new(Code::Internal, format!("cannot parse the {what}: {error}"))
}
