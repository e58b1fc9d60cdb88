//! Where a connection goes.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a connection goes: one address a socket can be opened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
    /// A name in Linux's abstract socket name space, without the leading NUL.
    UnixAbstract(Vec<u8>),
    /// A server in this process, by the name it listens on.
    InProcess(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(SocketAddr::V4(a)) => write!(f, "ipv4:{a}"),
            Address::Tcp(SocketAddr::V6(a)) => write!(f, "ipv6:{a}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::UnixAbstract(name) => {
                write!(f, "unix-abstract:{}", String::from_utf8_lossy(name))
            }
            Address::InProcess(name) => write!(f, "inprocess:{name}"),
        }
    }
}
