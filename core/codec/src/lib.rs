//! Dynamic protobuf: schemas, messages and bytes, all driven by one table made at run time.
//!
//! Nothing here is generated and nothing here knows of RPC, sockets or clocks.
//! A [`Schema`] comes from `.proto` text, a descriptor set or files one by one; it is compiled once into an immutable
//! table. A [`Message`] lives in an arena, its fields at offsets the table knows; strings are slices of the bytes they
//! were decoded from. [`wire`] turns bytes into messages and back, [`json`] does the same for the JSON mapping.
//!
//! # Reading order
//! `schema/mod.rs` (what a schema answers), `schema/handles.rs` (types, fields), `schema/table.rs` (the compiled table),
//! `message/mod.rs` (owned messages), `message/view.rs` and `message/edit.rs` (reading, writing), `wire/decode.rs`,
//! `wire/encode.rs`. `unsafe` lives in `message/arena.rs`, `message/raw.rs`, `wire/writer.rs` and `schema/pinned.rs`, with a
//! few lines in `message/mod.rs` and `message/view.rs` that hand pointers out; Miri runs over all of it.
//!
//! # In one look
//! ```
//! # #[cfg(feature = "protox")] {
//! use stubless_codec::{Schema, Value};
//!
//! let schema = Schema::from_source([(
//!     "echo.proto",
//!     r#"syntax = "proto3"; package demo; message Msg { string text = 1; repeated int32 n = 2; Msg next = 3; }"#,
//! )])?;
//! let ty = schema.message("demo.Msg").expect("declared above");
//! let (text, n, next) = (ty.field("text").unwrap(), ty.field("n").unwrap(), ty.field("next").unwrap());
//!
//! let mut msg = ty.new_message();
//! msg.set(&text, "hi")?;
//! msg.list_mut(&n)?.push(7)?;
//! msg.mutable(&next)?.set(&text, "nested")?;
//!
//! let bytes = msg.encode()?;
//! let back = ty.decode(bytes)?;
//! assert_eq!(back.get(&text), Value::Str("hi"));
//! assert_eq!(back.message(&next)?.str(&text)?, "nested");
//! assert_eq!(back, msg);
//! # } Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The surface, as a list
//! **Schema** (`Clone + Send + Sync`, one `Arc`). Made by `load(files, include)`, `from_source([(name, text)])` (feature
//! `protox`), `from_descriptor_set(bytes)`, `from_files(file_bytes)`, `builder()` (one file at a time, any order),
//! `merge(&other)`. Answers `message(name)`, `enum_type(name)`, `service(name)`, `method("pkg.Svc/Method")`,
//! `extension(name)`, `extension_by_number(type, n)`, iterators `messages() enums() services() extensions()`, and for
//! reflection `file_names() file_bytes(name) file_of_symbol(name) file_of_extension(type, n) extension_numbers(type)
//! imports(name) transitive_imports(name) to_descriptor_set()`.
//!
//! **Handles** ([`MessageType`], [`Field`], [`OneofType`], [`EnumType`], [`Service`], [`Method`]): owned, cheap to clone,
//! compared by identity (same table, same entry). An extension is a [`Field`] with `is_extension()`. `MessageType`:
//! `full_name name fields() field(name) field_by_json_name(name) field_by_number(n) find_field(name or JSON name or
//! "[pkg.ext]") oneofs() oneof(name) well_known() is_map_entry() options() file() new_message() decode(bytes)`. `Field`:
//! `name json_name full_name number index() kind() is_list() is_map() is_required() has_presence() oneof() message_type()
//! enum_type() map_key() map_value() default() is_packed() checks_utf8() is_delimited() wire_tag() options()`.
//! `fields()` is in number order and `index()` is the position in it.
//!
//! **Reading** ([`MessageRef`], `Copy`, one pointer wide; [`Message`] has the same methods): `get(&Field) -> Value`
//! (default when unset), `present(&Field) -> Option<Value>`, `has(&Field)`, `which_oneof(&OneofType) -> Option<Field>`,
//! `fields()` (set fields and extensions in number order), `unknown()` (raw records in wire order), typed getters
//! `bool i32 i64 u32 u64 f32 f64 str bytes enum_number message list map` (an error if the field is of another kind).
//! [`ListRef`]: `len get(i) iter() as_i32s()...`; [`MapRef`]: `len get(key) iter()`. [`MessageView`]: a nested message
//! together with a share of its root, for languages whose objects have no lifetimes.
//!
//! **Writing** ([`MessageMut`]; [`Message`] has the same methods): `set(&Field, value)`, `clear(&Field)`,
//! `clear_oneof(&OneofType)`, `mutable(&Field)` (nested message, created if unset), `list_mut(&Field)`, `map_mut(&Field)`,
//! `merge_from(MessageRef)`, `clear_all()`, `clear_unknown()`. [`ListMut`]: `push push_message set insert remove truncate
//! clear message(i)`; [`MapMut`]: `insert insert_message remove clear message(key)`. A wrong type or a number out of range is a
//! [`ValueError`] naming the field, and nothing was changed. By name: `get_by_name`, `set_by_name`, `has_by_name`.
//!
//! **JSON** ([`json`]): `MessageType::from_json(text)`, `from_json_with(text, &JsonParseOptions)`, `Message::to_json()`,
//! `to_json_with(&JsonPrintOptions)`. A [`JsonError`] knows kind, line, column and the field's path.
//!
//! **Bytes**: `MessageType::decode(bytes)`, `Message::decode_with(type, bytes, &Limits)`, `Message::merge_bytes`,
//! `Message::encode()`, `encode_frame()` (five-byte gRPC prefix in place), `encode_with(EncodeOptions)`. Building blocks:
//! [`wire::Reader`], [`wire::Writer`] (backward) for bindings that keep their own objects. What decoding may cost:
//! [`Limits`] for one message, [`set_process_memory_limit`] for all of them.
#![warn(missing_docs)]

mod error;
pub mod json;
mod message;
mod schema;
pub mod wire;

pub use error::{DecodeError, DecodeErrorKind, EncodeError, SchemaError, ValueError};
pub use json::{JsonError, JsonErrorKind, JsonParseOptions, JsonPrintOptions};
pub use message::{
    ListMut, ListRef, MapMut, MapRef, Message, MessageMut, MessageRef, MessageView, Value,
    set_process_memory_limit,
};
pub use schema::{
    EnumType, Field, Kind, MessageType, Method, OneofType, Schema, SchemaBuilder, Service, Syntax,
    WellKnown,
};
pub use wire::{EncodeOptions, Limits};
