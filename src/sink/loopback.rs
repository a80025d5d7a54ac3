//! Whether a host is this machine: then a proxy has no part in reaching it, and nobody on the way can read along. It is
//! decided on the host as a URL parser reads it, never on text.

use reqwest::Url;
use url::Host;

/// True when the host of a URL is this machine, by its name (RFC 6761) or by its address in any spelling.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        // Connecting to the unspecified address leads to this machine as well.
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => {
            let mapped = address.to_ipv4_mapped();
            let is_mapped = mapped.is_some_and(|address| address.is_loopback() || address.is_unspecified());
            address.is_loopback() || address.is_unspecified() || is_mapped
        }
        None => false,
    }
}

/// As [`is_loopback`], for a URL that may be a template: only when every event's host is this machine.
pub fn is_always_loopback(template: &str) -> bool {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        // A digit may stand wherever a value may, and as a host of its own it is not this machine.
        text.push('1');
        rest = after.split_once("}}").map_or("", |(_, after)| after.trim_start_matches('}'));
    }
    text.push_str(rest);
    Url::parse(&text).is_ok_and(|url| is_loopback(&url))
}

/// The name below `localhost` that a URL has as its host: few resolvers know such names, which all are this machine.
pub(super) fn name_below_localhost(url: &Url) -> Option<&str> {
    let name = url.domain()?;
    let is_below = name.trim_end_matches('.').ends_with(".localhost");
    is_below.then_some(name)
}

/// A parser has made the name lower case.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_every_spelling() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "api.localhost",
            "127.0.0.1",
            "127.1",
            "127.9.9.9",
            "2130706433",
            "0x7f.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[0:0::0:1]",
            "%6cocalhost",
            "ｌｏｃａｌｈｏｓｔ",
        ] {
            assert!(is_loopback(&Url::parse(&format!("http://{host}:80/x")).unwrap()), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "128.0.0.1", "[::2]", "10.0.0.1", "localhost@example.com"] {
            assert!(!is_loopback(&Url::parse(&format!("http://{host}/localhost")).unwrap()), "{host}");
        }
    }

    #[test]
    fn a_template_is_this_machine_only_if_every_value_leaves_it_there() {
        for template in ["http://LOCALHOST/{{id}}", "http://[::1]:{{data.port}}/", "http://{{data.x}}.localhost/"] {
            assert!(is_always_loopback(template), "{template}");
        }
        for template in ["http://{{data.host}}/localhost", "http://localhost{{data.x}}/", "http://a.example/{{id}}"] {
            assert!(!is_always_loopback(template), "{template}");
        }
    }
}
