//! Why no call began: an argument this side refuses before a byte is sent.
//!
//! [`crate::status::Status`] is how an RPC ended, [`Error`] why none began.

use crate::metadata::MetadataError;
use crate::status::{Code, Status};

/// Why no call began.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A metadata key or value that gRPC does not carry.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// An option with a value outside what it allows.
    #[error("option {option}: {reason}")]
    Option {
        /// The option's name as the caller wrote it.
        option: &'static str,
        /// What is allowed instead.
        reason: String,
    },
    /// The channel or server was closed before.
    #[error("{what} is closed")]
    Closed {
        /// What was closed: "channel", "server", "engine".
        what: &'static str,
    },
}

impl Error {
    /// An option that cannot be used, and why.
    pub fn option(option: &'static str, reason: impl std::fmt::Display) -> Error {
        Error::Option { option, reason: reason.to_string() }
    }

    /// The code under which a caller that only knows statuses sees this error.
    pub fn code(&self) -> Code {
        match self {
            Error::Metadata(error) => error.code(),
            Error::Option { .. } => Code::InvalidArgument,
            Error::Closed { .. } => Code::Unavailable,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        Status::new(error.code(), error.to_string())
    }
}
