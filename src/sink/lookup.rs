//! Where a host is, as the system says. It is a resolver of our own for one reason: a lookup that fails because this
//! process has no descriptor left says that the name cannot be resolved, which would be blamed on the receiver.

use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::descriptors::{is_short_now, out_of_descriptors};

/// The resolver of the system.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            match lookup_host((name.as_str(), 0)).await {
                Ok(addresses) => Ok(Box::new(addresses.collect::<Vec<SocketAddr>>().into_iter()) as Addrs),
                Err(error) => Err(reason(error).into()),
            }
        })
    }
}

fn reason(error: io::Error) -> io::Error {
    if is_short_now() { out_of_descriptors() } else { error }
}
