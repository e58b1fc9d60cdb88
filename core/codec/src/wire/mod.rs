//! Bytes to messages and back, by the table.

mod decode;
mod decode_extension;
mod decode_repeated;
mod encode;
mod reader;
#[cfg(test)]
mod tests;
mod utf8;
mod writer;

pub use decode::Limits;
pub(crate) use decode::{decode_copied, decode_shared, transfer};
pub use encode::EncodeOptions;
pub use reader::{MAX_FIELD_NUMBER, RawValue, Reader, WireType};
pub use utf8::is_utf8;
pub use writer::Writer;
