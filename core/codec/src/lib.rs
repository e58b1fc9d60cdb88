//! Dynamic protobuf.
