//! The JSON mapping: messages to JSON text and back, on the same tables as the binary form.
//!
//! Printing walks the message and appends to one buffer; reading writes straight into the arena. Neither makes a tree of
//! values in between. The reader has its own tokenizer, because numbers must be exact and errors must say where.
//! Spec: protobuf.dev "ProtoJSON Format"; RFC 8259 for the text. The rules in detail are those the official conformance
//! suite tests (`tests/conformance-protobuf`).
//!
//! Reading is strict where the mapping lets it be: one field under two spellings, one key twice, two members of a oneof,
//! text behind the value, `NaN` as a bare word, comments and trailing commas are all refused.

#![forbid(unsafe_code)]

mod error;
mod field_mask;
mod lexer;
mod number;
mod read;
mod read_known;
mod read_scalar;
#[cfg(all(test, feature = "protox", not(miri)))]
mod tests;
#[cfg(test)]
mod tests_small;
mod time;
mod write;
mod write_known;

pub use error::{JsonError, JsonErrorKind};

use crate::message::{Message, MessageRef};
use crate::schema::MessageType;

/// Objects and arrays nested deeper than this are not read, whatever the options say: the stack is finite, and on some
/// hosts' threads half a megabyte.
const MAX_DEPTH: u32 = 200;
/// Messages nested deeper than this are not printed. One array of a `Value` is two of them, so what was read prints.
const MAX_MESSAGES: u32 = 2 * MAX_DEPTH + 1;

/// How to print. The default is the mapping's canonical form on one line, without spaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsonPrintOptions {
    /// Field names as in the `.proto` file instead of lowerCamelCase. Default `false`.
    pub preserve_proto_names: bool,
    /// Prints fields without presence that are zero, and empty lists and maps. Default `false`.
    pub always_print_fields_without_presence: bool,
    /// Enum values as numbers instead of names. Default `false`.
    pub enums_as_ints: bool,
    /// Spaces a level, one member a line; `None` (default) prints everything on one line.
    pub indent: Option<u8>,
}

impl JsonPrintOptions {
    /// The defaults.
    pub fn new() -> JsonPrintOptions {
        JsonPrintOptions::default()
    }

    /// Sets [`JsonPrintOptions::preserve_proto_names`].
    #[must_use]
    pub fn preserve_proto_names(self, on: bool) -> JsonPrintOptions {
        JsonPrintOptions { preserve_proto_names: on, ..self }
    }

    /// Sets [`JsonPrintOptions::always_print_fields_without_presence`].
    #[must_use]
    pub fn always_print_fields_without_presence(self, on: bool) -> JsonPrintOptions {
        JsonPrintOptions { always_print_fields_without_presence: on, ..self }
    }

    /// Sets [`JsonPrintOptions::enums_as_ints`].
    #[must_use]
    pub fn enums_as_ints(self, on: bool) -> JsonPrintOptions {
        JsonPrintOptions { enums_as_ints: on, ..self }
    }

    /// Sets [`JsonPrintOptions::indent`] to so many spaces.
    #[must_use]
    pub fn indent(self, spaces: u8) -> JsonPrintOptions {
        JsonPrintOptions { indent: Some(spaces), ..self }
    }
}

/// What a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JsonParseOptions {
    /// Skips names the type does not have, and enum values by names or (closed enums) numbers it does not have, instead
    /// of refusing them. Default `false`.
    pub ignore_unknown_fields: bool,
    /// Objects and arrays inside each other, the root among them; the array of a repeated field does not count, its
    /// elements do. Default 100; more than 200 counts as 200.
    pub max_depth: u32,
    /// Memory of one message in bytes: three characters of text can become a hundred bytes. Default 256 MiB.
    pub max_memory_bytes: usize,
    /// Leaves out the check for required (proto2) fields. Default `false`.
    pub allow_partial: bool,
}

impl Default for JsonParseOptions {
    fn default() -> JsonParseOptions {
        JsonParseOptions {
            ignore_unknown_fields: false,
            max_depth: 100,
            max_memory_bytes: 256 << 20,
            allow_partial: false,
        }
    }
}

impl JsonParseOptions {
    /// The defaults.
    pub fn new() -> JsonParseOptions {
        JsonParseOptions::default()
    }

    /// Sets [`JsonParseOptions::ignore_unknown_fields`].
    #[must_use]
    pub fn ignore_unknown_fields(self, on: bool) -> JsonParseOptions {
        JsonParseOptions { ignore_unknown_fields: on, ..self }
    }

    /// Sets [`JsonParseOptions::max_depth`].
    #[must_use]
    pub fn max_depth(self, max_depth: u32) -> JsonParseOptions {
        JsonParseOptions { max_depth, ..self }
    }

    /// Sets [`JsonParseOptions::max_memory_bytes`].
    #[must_use]
    pub fn max_memory_bytes(self, max_memory_bytes: usize) -> JsonParseOptions {
        JsonParseOptions { max_memory_bytes, ..self }
    }

    /// Sets [`JsonParseOptions::allow_partial`].
    #[must_use]
    pub fn allow_partial(self, on: bool) -> JsonParseOptions {
        JsonParseOptions { allow_partial: on, ..self }
    }
}

/// JSON.
impl MessageRef<'_> {
    /// The message as JSON, by the default [`JsonPrintOptions`]. Unknown fields have no JSON form and are left out.
    ///
    /// # Errors
    /// What JSON cannot say: strings that are not UTF-8, dates and durations out of their range, a `Value` that is unset
    /// or not finite, a field mask that would not read back, an `Any` whose type the schema does not know.
    pub fn to_json(self) -> Result<String, JsonError> {
        self.to_json_with(&JsonPrintOptions::default())
    }

    /// The message as JSON, with options.
    ///
    /// # Errors
    /// As [`MessageRef::to_json`].
    pub fn to_json_with(self, options: &JsonPrintOptions) -> Result<String, JsonError> {
        write::print(self, options)
    }
}

/// JSON.
impl Message {
    /// See [`MessageRef::to_json`].
    ///
    /// # Errors
    /// As [`MessageRef::to_json`].
    pub fn to_json(&self) -> Result<String, JsonError> {
        self.as_ref().to_json()
    }

    /// See [`MessageRef::to_json_with`].
    ///
    /// # Errors
    /// As [`MessageRef::to_json`].
    pub fn to_json_with(&self, options: &JsonPrintOptions) -> Result<String, JsonError> {
        self.as_ref().to_json_with(options)
    }

    /// A message from JSON text, by the default [`JsonParseOptions`].
    ///
    /// # Errors
    /// Text that is not JSON or not of this type; a required field that is missing.
    pub fn from_json(message_type: &MessageType, text: &str) -> Result<Message, JsonError> {
        read::parse(message_type, text, &JsonParseOptions::default())
    }
}

/// JSON.
impl MessageType {
    /// A message from JSON text, by the default [`JsonParseOptions`].
    ///
    /// # Errors
    /// Text that is not JSON or not of this type; a required field that is missing.
    pub fn from_json(&self, text: &str) -> Result<Message, JsonError> {
        read::parse(self, text, &JsonParseOptions::default())
    }

    /// A message from JSON text, with options.
    ///
    /// # Errors
    /// As [`MessageType::from_json`].
    pub fn from_json_with(
        &self,
        text: &str,
        options: &JsonParseOptions,
    ) -> Result<Message, JsonError> {
        read::parse(self, text, options)
    }
}
