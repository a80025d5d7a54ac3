//! Where the admin port is.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::str::FromStr;

/// The admin port's default: for this machine, or this pod, only.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9180";

/// An address for the admin port: `host:port`, `:port` for all addresses, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// There is no admin port.
    Off,
    /// At this `host:port`.
    At(String),
}

impl AdminAddress {
    /// Listens there; `None` when there shall be no admin port.
    ///
    /// # Errors
    /// When the address does not resolve or cannot be bound.
    pub fn listen(&self) -> io::Result<Option<TcpListener>> {
        match self {
            Self::Off => Ok(None),
            Self::At(address) => match address.strip_prefix(':') {
                // As in other tools: all addresses, of both families where there are two.
                Some(port) => {
                    let both = TcpListener::bind(format!("[::]:{port}"));
                    both.or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))).map(Some)
                }
                None => TcpListener::bind(address).map(Some),
            },
        }
    }

    /// Where to reach a bridge that listens there: on this machine when it listens on all addresses. `None` when there
    /// is no admin port.
    ///
    /// # Errors
    /// When the address does not resolve.
    pub fn reach(&self) -> io::Result<Option<SocketAddr>> {
        let Self::At(address) = self else { return Ok(None) };
        let address = match address.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.clone(),
        };
        let Some(mut reached) = address.to_socket_addrs()?.next() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        };
        if reached.ip().is_unspecified() {
            let loopback =
                if reached.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
            reached.set_ip(loopback);
        }
        Ok(Some(reached))
    }
}

impl FromStr for AdminAddress {
    type Err = Infallible;

    /// Takes any text: whether it is an address shows when it is used.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "none" { Self::Off } else { Self::At(text.to_owned()) })
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("none"),
            Self::At(address) => f.write_str(address),
        }
    }
}

impl Default for AdminAddress {
    fn default() -> Self {
        Self::At(DEFAULT_ADDRESS.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(text: &str) -> Option<String> {
        text.parse::<AdminAddress>().unwrap().reach().unwrap().map(|address| address.to_string())
    }

    #[test]
    fn all_addresses_are_reached_on_this_machine() {
        assert_eq!(reached("0.0.0.0:9180").unwrap(), "127.0.0.1:9180");
        assert_eq!(reached("[::]:9180").unwrap(), "[::1]:9180");
        assert_eq!(reached("10.1.2.3:80").unwrap(), "10.1.2.3:80");
        assert_eq!(reached(":9180").unwrap(), "127.0.0.1:9180");
        let all = ":0".parse::<AdminAddress>().unwrap().listen().unwrap().unwrap().local_addr().unwrap();
        assert!(all.ip().is_unspecified(), "{all}");
        assert_eq!(reached("none"), None);
        assert_eq!(AdminAddress::default().reach().unwrap().unwrap().to_string(), "127.0.0.1:9180");
    }

    #[test]
    fn what_is_no_address_is_an_error_at_use() {
        for text in ["9180", "", ":", "127.0.0.1", "127.0.0.1:port"] {
            let address: AdminAddress = text.parse().unwrap();
            assert!(address.reach().is_err() && address.listen().is_err(), "{text}");
        }
    }
}
