//! Dynamic gRPC.
