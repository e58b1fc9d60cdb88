//! Where a call goes: target, resolver, balancer, subchannel, connectivity and backoff.
//!
//! Everything here is decided without a socket and without a clock: addresses and times come in as arguments, verbs come out as
//! actions. `client/channel.rs` carries them out. Seams: another name system implements [`resolver::Resolver`], another
//! policy implements [`balancer::LoadBalancer`]; service config joins in [`resolver::Resolution`].

mod address;
pub mod backoff;
pub mod balancer;
pub mod connectivity;
pub mod pick_first;
pub mod resolver;
pub mod subchannel;
pub mod target;

pub use address::Address;
pub use backoff::{Backoff, BackoffConfig};
pub use connectivity::Connectivity;
pub use target::{Target, TargetError};
