//! Names to addresses: the seam a name system implements.

use std::io;
use std::net::SocketAddr;

use super::address::Address;
use crate::future::BoxFuture;

/// One backend: the addresses that reach it, to be tried in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// At least one address.
    pub addresses: Vec<Address>,
}

/// What a resolver found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// The backends. An empty list is a failure of the channel.
    pub endpoints: Vec<Endpoint>,
    /// Service config as JSON, if the name system has one.
    pub service_config: Option<String>,
}

/// The runtime's look-up of host names.
pub trait Lookup {
    /// All addresses of `host`, in the order to try them.
    fn lookup(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>>;
}

/// A name system. The channel calls it when it starts and again when connections fail (at most every 30 s).
pub trait Resolver: Send + Sync + 'static {
    /// Looks the target up once; the text of an error goes into the calls' status.
    fn resolve(&self, lookup: &dyn Lookup) -> BoxFuture<Result<Resolution, String>>;

    /// Whether asking again can bring something new.
    fn is_fixed(&self) -> bool {
        false
    }
}

/// Addresses known beforehand.
pub struct FixedResolver(pub Vec<Address>);

impl Resolver for FixedResolver {
    fn resolve(&self, _: &dyn Lookup) -> BoxFuture<Result<Resolution, String>> {
        let endpoints = self.0.iter().map(|a| Endpoint { addresses: vec![a.clone()] }).collect();
        Box::pin(async move { Ok(Resolution { endpoints, service_config: None }) })
    }

    fn is_fixed(&self) -> bool {
        true
    }
}

/// The runtime's own look-up of host names.
pub struct DnsResolver {
    /// The name.
    pub host: String,
    /// The port of every address.
    pub port: u16,
}

impl Resolver for DnsResolver {
    fn resolve(&self, lookup: &dyn Lookup) -> BoxFuture<Result<Resolution, String>> {
        let found = lookup.lookup(&self.host, self.port);
        let host = self.host.clone();
        Box::pin(async move {
            let addresses = found
                .await
                .map_err(|error| format!("name resolution of {host:?} failed: {error}"))?;
            if addresses.is_empty() {
                return Err(format!("name resolution of {host:?} gave no address"));
            }
            let endpoints = addresses
                .into_iter()
                .map(|a| Endpoint { addresses: vec![Address::Tcp(a)] })
                .collect();
            Ok(Resolution { endpoints, service_config: None })
        })
    }
}
