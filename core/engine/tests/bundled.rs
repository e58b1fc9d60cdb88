//! The committed descriptor set is what the `.proto` files beside it say. `make gen` rewrites it:
//! `STUBLESS_GENERATE=1 cargo test -p stubless-engine --test bundled`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use stubless_codec::Schema;

const OURS: [&str; 5] = [
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
];

/// The parser brings these itself.
const WELL_KNOWN: [&str; 11] = [
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

#[test]
fn the_committed_set_is_what_the_proto_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let imports: String = WELL_KNOWN.iter().map(|name| format!("import \"{name}\";\n")).collect();
    let all = ("all.proto".to_owned(), format!("syntax = \"proto3\";\n{imports}"));
    let files = OURS
        .iter()
        .map(|name| (name.to_string(), std::fs::read_to_string(folder.join(name)).unwrap()));
    let schema = Schema::from_source(files.chain([all])).unwrap();
    let wanted = OURS.iter().chain(&WELL_KNOWN).map(|name| schema.file_bytes(name).unwrap());
    let set = Schema::from_files(wanted).unwrap().to_descriptor_set();

    let path = folder.join("bundled.binpb");
    if std::env::var_os("STUBLESS_GENERATE").is_some() {
        std::fs::write(&path, &set).unwrap();
    }
    let committed = std::fs::read(&path).unwrap();
    assert!(
        committed == set,
        "proto/bundled.binpb is not what proto/**/*.proto say: run `make gen`"
    );
}

#[test]
fn the_engine_knows_its_own_services() {
    let schema = stubless_engine::services::bundled::schema();
    let health = schema.service("grpc.health.v1.Health").unwrap();
    let kinds: Vec<_> =
        health.methods().map(|m| (m.name().to_owned(), m.is_server_streaming())).collect();
    assert_eq!(
        kinds,
        [("Check".to_owned(), false), ("List".to_owned(), false), ("Watch".to_owned(), true)]
    );
    for version in ["v1", "v1alpha"] {
        let path = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let info = schema.method(&path).unwrap();
        assert!(info.is_client_streaming() && info.is_server_streaming());
    }
    assert!(schema.message("google.rpc.Status").is_some());
    assert!(schema.message("google.rpc.BadRequest.FieldViolation").is_some());
    assert!(schema.message("google.protobuf.Timestamp").is_some());
}
