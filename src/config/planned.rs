//! Keys of the design that a later version brings. They are refused with an explanation, so that nobody hunts for a
//! slip of the fingers, and nobody believes that a key which is silently ignored does its work.

/// What is said about a key that is planned, by its path in the file.
pub(super) fn key(path: &[&str]) -> Option<&'static str> {
    match path {
        ["sinks" | "defaults", _, "signing", "header" | "prefix" | "algorithm" | "encoding"] => Some(HMAC),
        _ => None,
    }
}

/// What is said about a word that is planned as the value of the key at `path`.
pub(super) fn value(path: &[&str], value: &str) -> Option<&'static str> {
    match (path, value) {
        (["sinks" | "defaults", _, "signing", "scheme"], "hmac") => Some(HMAC),
        _ => None,
    }
}

const HMAC: &str = "signing by an HMAC header of your own choice comes with a later version; \"standard-webhooks\" is \
                    there today";
