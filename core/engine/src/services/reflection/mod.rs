//! `grpc.reflection`: a server tells its descriptors ([`Reflection`]), a client makes a schema of them ([`load_schema`]).
//!
//! Versions v1 and v1alpha are the same on the wire. Spec: gRPC server-reflection.md; the numbers of the fields stand in
//! `proto/grpc/reflection/v1/reflection.proto`.

mod client;
mod server;

pub use client::{LoadError, Loaded, load_schema};
pub use server::Reflection;

/// The full names of the service, newest version first.
pub const SERVICES: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// The method both have.
const METHOD: &str = "ServerReflectionInfo";

/// The fields of `ServerReflectionRequest`'s oneof.
mod request {
    pub const FILE_BY_FILENAME: u32 = 3;
    pub const FILE_CONTAINING_SYMBOL: u32 = 4;
    pub const FILE_CONTAINING_EXTENSION: u32 = 5;
    pub const ALL_EXTENSION_NUMBERS_OF_TYPE: u32 = 6;
    pub const LIST_SERVICES: u32 = 7;
}

/// The fields of `ServerReflectionResponse`.
mod response {
    pub const VALID_HOST: u32 = 1;
    pub const ORIGINAL_REQUEST: u32 = 2;
    pub const FILE_DESCRIPTOR: u32 = 4;
    pub const ALL_EXTENSION_NUMBERS: u32 = 5;
    pub const LIST_SERVICES: u32 = 6;
    pub const ERROR: u32 = 7;
}
