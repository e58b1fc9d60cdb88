//! Descriptors that come with the engine: the services here, `google.rpc`, and `google/protobuf/*.proto`.
//!
//! `proto/bundled.binpb` is made of `proto/**/*.proto` by `make gen`, and a test holds the two together; so no parser of
//! `.proto` text is needed at run time.

use std::sync::OnceLock;

use bytes::Bytes;
use stubless_codec::Schema;

static SET: &[u8] = include_bytes!("../../proto/bundled.binpb");

/// The encoded `FileDescriptorSet`.
pub fn descriptor_set() -> Bytes {
    Bytes::from_static(SET)
}

/// The same, compiled once: `grpc.health.v1`, `grpc.reflection.v1` and `v1alpha`, `google.rpc` (`Status` and the usual error
/// details), and the well-known types of `google.protobuf`.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        Schema::from_descriptor_set(descriptor_set())
            .expect("a test loads the committed descriptor set")
    })
}
