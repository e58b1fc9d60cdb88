//! Target names: what a user writes to say where a channel goes (gRPC naming.md).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::address::Address;

/// The port of a `dns`, `ipv4` or `ipv6` target that names none.
pub const DEFAULT_PORT: u16 = 443;

/// A parsed target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// `dns:[//server/]host[:port]`, or a bare `host[:port]`.
    Dns {
        /// The name to look up.
        host: String,
        /// The port, 443 if none was given.
        port: u16,
        /// What the target said, for the authority.
        written: String,
    },
    /// `ipv4:`, `ipv6:`, `unix:`, `unix-abstract:` and `inprocess:`: addresses that need no look-up.
    Addresses(Vec<Address>),
    /// A scheme known to somebody else's resolver: `scheme:rest`.
    Other {
        /// The scheme, lower-case.
        scheme: String,
        /// What follows the colon.
        rest: String,
    },
}

/// A target that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target {target:?}: {problem}")]
pub struct TargetError {
    /// What was given.
    pub target: String,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl Target {
    /// Parses a target. Schemes in `known` that this module does not have itself come back as [`Target::Other`];
    /// an unknown scheme makes the whole text a DNS name, as naming.md says.
    ///
    /// # Errors
    /// An empty host, a port that is no number from 0 to 65535, an address that is none, an unclosed bracket.
    pub fn parse(text: &str, known: &[&str]) -> Result<Target, TargetError> {
        let fail = |problem: String| TargetError { target: text.to_owned(), problem };
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        match scheme {
            "dns" => {
                let name = match rest.strip_prefix("//") {
                    Some(after) => {
                        after.split_once('/').map(|(_, name)| name).ok_or_else(|| {
                            fail(
                                "after dns:// comes a server and a slash, as in dns:///host:port"
                                    .into(),
                            )
                        })?
                    }
                    None => rest.strip_prefix('/').unwrap_or(rest),
                };
                dns(name).map_err(fail)
            }
            "ipv4" | "ipv6" => {
                let rest = rest.trim_start_matches('/');
                let addresses: Result<Vec<_>, _> =
                    rest.split(',').map(|one| address(scheme, one)).collect();
                Ok(Target::Addresses(addresses.map_err(fail)?))
            }
            "unix" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.contains('\0') {
                    return Err(fail(
                        "unix: needs the path of a socket, as in unix:/run/app.sock".into(),
                    ));
                }
                Ok(Target::Addresses(vec![Address::Unix(PathBuf::from(path))]))
            }
            "unix-abstract" if !rest.is_empty() => {
                Ok(Target::Addresses(vec![Address::UnixAbstract(rest.as_bytes().to_vec())]))
            }
            "inprocess" if !rest.is_empty() => {
                Ok(Target::Addresses(vec![Address::InProcess(rest.to_owned())]))
            }
            "unix-abstract" | "inprocess" => Err(fail(format!("{scheme}: needs a name"))),
            other if known.contains(&other) => {
                Ok(Target::Other { scheme: other.to_owned(), rest: rest.to_owned() })
            }
            _ => dns(text).map_err(fail),
        }
    }

    /// The authority calls carry unless the user sets one.
    pub fn authority(&self) -> String {
        match self {
            Target::Dns { written, .. } => written.clone(),
            Target::Addresses(addresses) => match addresses.first() {
                Some(Address::Tcp(address)) => address.to_string(),
                _ => "localhost".to_owned(),
            },
            Target::Other { rest, .. } => rest.trim_start_matches('/').to_owned(),
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("the port {text:?} is no number from 0 to 65535"))
}

fn dns(name: &str) -> Result<Target, String> {
    let (host, port_text) = if let Some(after) = name.strip_prefix('[') {
        let (host, after) =
            after.split_once(']').ok_or("an IPv6 address that begins with [ needs a ]")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("{host:?} is no IPv6 address"));
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("after ] only a colon and a port may follow".into()),
        }
    } else if name.parse::<Ipv6Addr>().is_ok() {
        (name, None)
    } else {
        match name.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (name, None),
        }
    };
    if host.is_empty() {
        return Err("the host is missing, as in localhost:50051".into());
    }
    let is_v6 = host.parse::<Ipv6Addr>().is_ok();
    if let Some(bad) = host
        .chars()
        .filter(|_| !is_v6)
        .find(|c| c.is_whitespace() || c.is_control() || "/\\@?#:".contains(*c))
    {
        return Err(format!("the host {host:?} has the character {bad:?}, which no host name has"));
    }
    let port = port_text.map_or(Ok(DEFAULT_PORT), port)?;
    Ok(Target::Dns { host: host.to_owned(), port, written: name.to_owned() })
}

fn address(scheme: &str, text: &str) -> Result<Address, String> {
    if let Ok(address) = text.parse::<SocketAddr>()
        && address.is_ipv4() == (scheme == "ipv4")
    {
        return Ok(Address::Tcp(address));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let ip: Option<IpAddr> = match scheme {
        "ipv4" => bare.parse::<Ipv4Addr>().ok().map(Into::into),
        _ => bare.parse::<Ipv6Addr>().ok().map(Into::into),
    };
    match ip {
        Some(ip) => Ok(Address::Tcp(SocketAddr::new(ip, DEFAULT_PORT))),
        None => Err(format!("{text:?} is no {scheme} address with an optional port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns_parts(text: &str) -> (String, u16, String) {
        match Target::parse(text, &[]) {
            Ok(target @ Target::Dns { .. }) => {
                let authority = target.authority();
                let Target::Dns { host, port, .. } = target else { unreachable!() };
                (host, port, authority)
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn names_of_hosts() {
        assert_eq!(
            dns_parts("api.local:50051"),
            ("api.local".into(), 50051, "api.local:50051".into())
        );
        assert_eq!(dns_parts("dns:///api.local"), ("api.local".into(), 443, "api.local".into()));
        assert_eq!(dns_parts("dns:api.local:1"), ("api.local".into(), 1, "api.local:1".into()));
        assert_eq!(
            dns_parts("dns://8.8.8.8/api.local:1"),
            ("api.local".into(), 1, "api.local:1".into())
        );
        assert_eq!(dns_parts("[::1]:7"), ("::1".into(), 7, "[::1]:7".into()));
        assert_eq!(dns_parts("::1").1, 443);
        assert_eq!(dns_parts("localhost:0").1, 0);
    }

    #[test]
    fn addresses_that_need_no_look_up() {
        let parsed = |text| match Target::parse(text, &[]) {
            Ok(Target::Addresses(list)) => {
                list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(parsed("ipv4:127.0.0.1:5,10.0.0.1"), "ipv4:127.0.0.1:5 ipv4:10.0.0.1:443");
        assert_eq!(parsed("ipv6:[::1]:5"), "ipv6:[::1]:5");
        assert_eq!(parsed("unix:/tmp/x"), "unix:/tmp/x");
        assert_eq!(parsed("unix:///tmp/x"), "unix:/tmp/x");
        assert_eq!(parsed("unix:rel"), "unix:rel");
        assert_eq!(parsed("unix-abstract:n"), "unix-abstract:n");
        assert_eq!(
            Target::parse("unix:/tmp/x", &[]).map(|t| t.authority()),
            Ok("localhost".into())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "host is missing"),
            (":50051", "host is missing"),
            ("host:port", "no number"),
            ("host:65536", "no number"),
            ("[::1", "needs a ]"),
            ("[::1]x", "only a colon"),
            ("ipv4:localhost", "no ipv4 address"),
            ("ipv4:[::1]:5", "no ipv4 address"),
            ("unix:", "path of a socket"),
            ("http://host:1", "no host name has"),
            ("ho st:1", "no host name has"),
            ("dns://8.8.8.8", "slash"),
        ] {
            let error = Target::parse(text, &[]).expect_err(text);
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }
}
