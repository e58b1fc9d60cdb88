//! Why a schema, a value or some bytes were refused. Every error names the file, field or place it is about.

use std::fmt;

/// Why descriptors or `.proto` text do not make a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The bytes are not a descriptor at all.
    #[error("{file}: not a file descriptor: {reason}")]
    Malformed {
        /// The file's name, or `descriptor set` before one is known.
        file: String,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// A file imports another that was not given.
    #[error("{file}: imports {import:?}, which is not there")]
    MissingImport {
        /// The importing file.
        file: String,
        /// The name in the import statement.
        import: String,
    },
    /// Two files of one name differ.
    #[error("{file}: given twice, with different content")]
    FileConflict {
        /// The name both have.
        file: String,
    },
    /// Files import each other in a circle.
    #[error("{file}: imports itself by way of other files")]
    ImportCycle {
        /// One file of the circle.
        file: String,
    },
    /// The descriptors are readable and contradict themselves or the language's rules.
    #[error("{file}: {symbol}: {reason}")]
    Invalid {
        /// The file that holds the offending element.
        file: String,
        /// Full name of the offending element.
        symbol: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `.proto` text that does not compile.
    #[error("{file}:{line}:{column}: {reason}")]
    Source {
        /// The file as it was asked for.
        file: String,
        /// Counted from 1.
        line: u32,
        /// Counted from 1.
        column: u32,
        /// What is wrong there.
        reason: String,
    },
    /// A file that could not be found or read.
    #[error("{file}: {reason}")]
    Io {
        /// The file as it was asked for.
        file: String,
        /// What the file system, or the search along the include paths, said.
        reason: String,
    },
}

/// Why a value cannot be read from or written to a field. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The value is of another type than the field.
    #[error("{field}: expected {expected}, got {got}")]
    WrongType {
        /// Full name of the field.
        field: String,
        /// What the field holds.
        expected: String,
        /// What was given or asked for.
        got: String,
    },
    /// A number that the field's type cannot hold.
    #[error("{field}: {value} is out of range for {expected}")]
    OutOfRange {
        /// Full name of the field.
        field: String,
        /// The field's type.
        expected: String,
        /// The number, in decimal.
        value: String,
    },
    /// A list index past the end.
    #[error("{field}: index {index} is past the end of {len} elements")]
    Index {
        /// Full name of the field.
        field: String,
        /// The index that was asked for.
        index: usize,
        /// The number of elements.
        len: usize,
    },
    /// The message type has no such field.
    #[error("{message} has no field {name:?}")]
    NoSuchField {
        /// Full name of the message type.
        message: String,
        /// The name that was asked for.
        name: String,
    },
    /// The field belongs to another message type, or to the same type of another schema.
    #[error("{field} is not a field of {message}")]
    ForeignField {
        /// Full name of the field.
        field: String,
        /// Full name of the message's type.
        message: String,
    },
    /// The message would outgrow what one message may hold (4 GiB of arena).
    #[error("{field}: no room left in this message")]
    Full {
        /// Full name of the field.
        field: String,
    },
}

/// Why bytes are not a message of the expected type. Becomes `INTERNAL` in an RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(pub(crate) Box<DecodeErrorInner>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodeErrorInner {
    pub kind: DecodeErrorKind,
    pub message: String,
    pub path: Vec<String>,
    pub offset: usize,
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input ends inside a value, or a length points past the end.
    #[error("the input ends inside a value")]
    Truncated,
    /// A varint of more than ten bytes, or a tag or length varint that does not fit.
    #[error("a varint is too long")]
    VarintTooLong,
    /// Field number 0, or above 536,870,911.
    #[error("a field number is out of range")]
    FieldNumber,
    /// Wire type 6 or 7.
    #[error("a wire type is unknown")]
    WireType,
    /// An end-group tag that closes nothing, or another group than the one that is open.
    #[error("an end-group tag does not match")]
    EndGroup,
    /// The input ends inside a group.
    #[error("a group is not closed")]
    OpenGroup,
    /// A string field that must be UTF-8 and is not.
    #[error("a string is not valid UTF-8")]
    Utf8,
    /// Messages and groups nested deeper than [`Limits::max_depth`](crate::Limits).
    #[error("messages are nested too deep")]
    TooDeep,
    /// The decoded form would need more memory than [`Limits::max_memory_bytes`](crate::Limits).
    /// Becomes `RESOURCE_EXHAUSTED` in an RPC.
    #[error("the decoded message needs too much memory")]
    Memory,
    /// A required (proto2) field is missing.
    #[error("a required field is missing")]
    Required,
}

impl DecodeError {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(kind: DecodeErrorKind, offset: usize) -> DecodeError {
        DecodeError(Box::new(DecodeErrorInner {
            kind,
            message: String::new(),
            path: Vec::new(),
            offset,
        }))
    }

    /// What is wrong.
    pub fn kind(&self) -> DecodeErrorKind {
        self.0.kind
    }

    /// Where: bytes from the start of the input.
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// Where: the fields from the root to the value, joined by dots; empty if the root itself is broken.
    pub fn path(&self) -> String {
        self.0.path.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        if !self.0.path.is_empty() {
            write!(f, "{}{}", if self.0.message.is_empty() { "" } else { "." }, self.path())?;
        }
        let colon = if self.0.message.is_empty() && self.0.path.is_empty() { "" } else { ": " };
        write!(f, "{colon}{} (at byte {})", self.0.kind, self.0.offset)
    }
}

impl std::error::Error for DecodeError {}

/// Why a message cannot be written. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A required (proto2) field is not set.
    #[error("{field}: required, and not set")]
    Required {
        /// Path of the field from the root.
        field: String,
    },
    /// Longer than protobuf allows.
    #[error("{message}: over 2 GiB when encoded")]
    TooLarge {
        /// Full name of the root's type.
        message: String,
    },
    /// A string that must be UTF-8 and is not (it was decoded where no check was asked for).
    #[error("{field}: not valid UTF-8")]
    Utf8 {
        /// Full name of the field.
        field: String,
    },
    /// Nested deeper than a receiver will accept.
    #[error("{message}: nested deeper than {limit} messages")]
    TooDeep {
        /// Full name of the type at which the limit was reached.
        message: String,
        /// The limit.
        limit: u32,
    },
}
