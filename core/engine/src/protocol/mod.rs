//! How a call looks on the wire: one module per protocol, all on the same machines in [`crate::call`].

pub mod grpc;
