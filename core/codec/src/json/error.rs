//! Why text is not the JSON form of a message, or a message has none.

use std::fmt;

/// Why a JSON conversion failed, and where. As a request or an answer it becomes `INTERNAL` in an RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: JsonErrorKind,
    reason: String,
    message: String,
    /// From the value outwards, each with its dot or brackets.
    path: Vec<String>,
    offset: usize,
    /// Both 0 while printing, and until the reader is done.
    line: u32,
    column: u32,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// Not JSON at all: RFC 8259's grammar, text behind the value, a byte order mark, a lone surrogate.
    Syntax,
    /// JSON of another type than the field takes, null in a list among them.
    WrongType,
    /// A number outside what its type holds, or a fraction where an integer is due.
    OutOfRange,
    /// A string that is not what its field wants: base64, a date, a duration, a field mask, the name of an enum value.
    InvalidValue,
    /// A name the message type does not have.
    UnknownField,
    /// One field named twice (in either spelling), one key twice, or two members of one oneof.
    Duplicate,
    /// Nested deeper than [`JsonParseOptions::max_depth`](super::JsonParseOptions).
    TooDeep,
    /// A required (proto2) field is missing.
    Required,
    /// An `Any` without a type, of a type the schema does not know, or with bytes that are not of that type.
    Any,
    /// The message would need more memory than [`JsonParseOptions::max_memory_bytes`](super::JsonParseOptions); printing:
    /// `Any`s inside each other that together need more than 256 MiB once decoded.
    /// Becomes `RESOURCE_EXHAUSTED` in an RPC.
    Memory,
    /// Printing: a value JSON has no form for, such as a string that is not UTF-8 or a date after the year 9999.
    NoJsonForm,
}

impl JsonError {
    #[cold]
    #[inline(never)]
    pub(super) fn new(kind: JsonErrorKind, offset: usize, reason: impl Into<String>) -> JsonError {
        JsonError(Box::new(Inner {
            kind,
            reason: reason.into(),
            message: String::new(),
            path: Vec::new(),
            offset,
            line: 0,
            column: 0,
        }))
    }

    /// The same error, known to lie in this field.
    #[cold]
    #[inline(never)]
    pub(super) fn in_field(mut self, name: &str) -> JsonError {
        self.0.path.push(format!(".{name}"));
        self
    }

    /// The same error, known to lie at this position of a list.
    #[cold]
    #[inline(never)]
    pub(super) fn in_element(mut self, index: usize) -> JsonError {
        self.0.path.push(format!("[{index}]"));
        self
    }

    /// The same error, known to lie under this key of a map.
    #[cold]
    #[inline(never)]
    pub(super) fn in_key(mut self, key: &str) -> JsonError {
        self.0.path.push(format!("[{key:?}]"));
        self
    }

    /// The same error, with the name of the root's type.
    #[cold]
    pub(super) fn of_message(mut self, full_name: &str) -> JsonError {
        self.0.message = full_name.to_owned();
        self
    }

    /// The same error, its offset turned into line and column of `text`.
    #[cold]
    pub(super) fn located(mut self, text: &str) -> JsonError {
        let mut at = self.0.offset.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let before = text.get(..at).unwrap_or_default();
        let line = before.rfind('\n').map_or(before, |i| before.get(i + 1..).unwrap_or_default());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.0.line = count(before.bytes().filter(|&b| b == b'\n').count() + 1);
        self.0.column = count(line.chars().count() + 1);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> JsonErrorKind {
        self.0.kind
    }

    /// The same in words.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Where in the text: bytes from its start. 0 while printing.
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// Line in the text, counted from 1. 0 while printing.
    pub fn line(&self) -> u32 {
        self.0.line
    }

    /// Character in the line, counted from 1. 0 while printing.
    pub fn column(&self) -> u32 {
        self.0.column
    }

    /// Where in the message: `items[3].labels["k"]`, fields by their names in the file; empty at the root.
    pub fn path(&self) -> String {
        let path: String = self.0.path.iter().rev().map(String::as_str).collect();
        path.strip_prefix('.').unwrap_or(&path).to_owned()
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.message)?;
        for segment in self.0.path.iter().rev() {
            write!(f, "{segment}")?;
        }
        write!(f, ": {}", self.0.reason)?;
        if self.0.line != 0 {
            write!(f, " (line {}, column {})", self.0.line, self.0.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for JsonError {}
