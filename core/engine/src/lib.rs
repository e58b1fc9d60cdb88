//! The gRPC call engine.
