//! Secrets: values that must never be printed, and the mask that keeps them out of whatever is.
//!
//! Two guards, because either alone leaks: [`Secret`] shows `***` wherever a typed value is printed, and [`mask`]
//! replaces every registered value in text that was made by others (library errors, rendered URLs, log lines).
//! The register is global to the process because log lines are: it only ever grows, while pipelines are loaded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{OnceLock, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use url::form_urlencoded;

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// Shorter values are not searched for in text: they would blot out half of every log line and hide nothing.
pub const SHORTEST_MASKED: usize = 4;

/// What templates leave alone in a URL (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

static REGISTER: RwLock<Register> = RwLock::new(Register { forms: BTreeSet::new(), search: OnceLock::new() });

/// What is hidden, in the forms in which it may turn up in text.
struct Register {
    forms: BTreeSet<String>,
    /// Finds all of them at once; made again after one was added. `None` when they are too many for it.
    search: OnceLock<Option<AhoCorasick>>,
}

/// A string that is never printed: `Debug`, `Display` and `Serialize` show `***`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent, description = "A secret. Take it from `${env:NAME}` or `${file:/path}`.")]
pub struct Secret(String);

impl Secret {
    /// Makes a secret and registers it with [`mask`].
    pub fn new(value: impl Into<String>) -> Self {
        let secret = Self(value.into());
        secret.register();
        secret
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Registers the value with [`mask`]: deserialized secrets are registered by whoever owns them.
    pub fn register(&self) {
        register(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Remembers a value that [`mask`] must hide, in the forms in which it may turn up in text.
pub fn register(value: &str) {
    let forms = [
        value.to_owned(),
        in_json(value),
        // JSON within JSON: a quoted value in a log line of JSON.
        in_json(&in_json(value)),
        utf8_percent_encode(value, UNRESERVED).to_string(),
        in_url("http://x/", value),
        in_url("http://x/?", value),
        form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        in_xml(value),
        percent_decode_str(value).decode_utf8_lossy().into_owned(),
    ];
    let forms = forms.into_iter().chain(in_base64(value));
    let mut register = REGISTER.write().unwrap_or_else(PoisonError::into_inner);
    for form in forms {
        if form.len() >= SHORTEST_MASKED && register.forms.insert(form) {
            register.search = OnceLock::new();
        }
    }
}

/// The inside of the value's JSON string.
fn in_json(value: &str) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// What base64 text has of the value whatever stands before and behind it, as a user's name does: each of the three ways in
/// which its bytes can fall on the characters, without those at the ends that others have a part in.
fn in_base64(value: &str) -> impl Iterator<Item = String> {
    (0..3).map(|before| {
        let bytes = [&[0; 2][..before.min(2)], value.as_bytes()].concat();
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        BASE64.encode(&bytes).get(first..end).unwrap_or_default().to_owned()
    })
}

/// The value in text and attributes of XML, as templates and programs write it.
fn in_xml(value: &str) -> String {
    let escapes = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    escapes.iter().fold(value.to_owned(), |text, (character, escape)| text.replace(character, escape))
}

/// The value as a URL shows it behind `before`. A URL encodes less than templates do, and in a query less than in a path.
fn in_url(before: &str, value: &str) -> String {
    let url = url::Url::parse(&format!("{before}{value}"));
    url.ok().and_then(|url| url.as_str().strip_prefix(before).map(str::to_owned)).unwrap_or_default()
}

/// The text with every registered secret replaced by `***`. Secrets that overlap or touch are replaced together, so that no
/// part of one is left where another begins.
pub fn mask(text: &str) -> Cow<'_, str> {
    let register = REGISTER.read().unwrap_or_else(PoisonError::into_inner);
    let search = register.search.get_or_init(|| AhoCorasick::new(&register.forms).ok());
    // Better nothing to read than a secret.
    let Some(search) = search else { return Cow::Borrowed(MASK) };
    if !search.is_match(text) {
        return Cow::Borrowed(text);
    }
    let mut found: Vec<Range<usize>> = search.find_overlapping_iter(text).map(|found| found.range()).collect();
    found.sort_by_key(|range| range.start);
    found.dedup_by(|next, last| {
        let is_joined = next.start <= last.end;
        last.end = if is_joined { last.end.max(next.end) } else { last.end };
        is_joined
    });
    let mut masked = text.to_owned();
    for range in found.into_iter().rev() {
        masked.replace_range(range, MASK);
    }
    Cow::Owned(masked)
}

/// True when the name of a header or parameter says that its value is a secret. The name is in lower case, with hyphens.
pub fn is_named_as_secret(name: &str) -> bool {
    let parts = ["authorization", "token", "secret", "api-key", "apikey", "password"];
    parts.iter().any(|part| name.contains(part))
}

/// The text with the password of every URL replaced by as many `*` as it has bytes: what is known by its place in the text
/// stays in its place.
pub fn blot_out_passwords(text: &str) -> String {
    let mut blotted = text.to_owned();
    for password in text.match_indices("://").filter_map(|(at, mark)| password_in(text, at + mark.len())) {
        let stars = "*".repeat(password.len());
        blotted.replace_range(password, &stars);
    }
    blotted
}

/// Where the password stands in a URL whose authority begins at `start` (RFC 3986 section 3.2.1). A reference such as
/// `${env:NAME}` in its place is none.
fn password_in(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = text.get(start..)?;
    let authority = &rest[..rest.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c)).unwrap_or(rest.len())];
    let (user_info, _host) = authority.rsplit_once('@')?;
    let (user, password) = user_info.split_once(':')?;
    let start = start + user.len() + 1;
    (!password.starts_with("${")).then_some(start..start + password.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_blotted_out_leave_the_rest_in_its_place() {
        let text = "b = \"postgres://u:pa:w@rö@h/d\" c = 'http://h:80/@' d = \"amqp://u:${env:P}@h\" e = \"x://u@h\"";
        let blotted = blot_out_passwords(text);
        assert_eq!(
            blotted,
            "b = \"postgres://u:********@h/d\" c = 'http://h:80/@' d = \"amqp://u:${env:P}@h\" e = \"x://u@h\""
        );
        assert_eq!(blotted.len(), text.len());
    }

    #[test]
    fn a_secret_shows_only_its_mask() {
        let secret = Secret::new("p4ss/w\"ord-7d1");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "p4ss/w\"ord-7d1");
    }

    #[test]
    fn registered_values_vanish_from_text_in_every_form() {
        register("s3cr3t/÷+value");
        assert_eq!(mask("https://x/?k=s3cr3t/÷+value&a=1"), "https://x/?k=***&a=1");
        assert_eq!(mask("https://x/?k=s3cr3t%2F%C3%B7%2Bvalue"), "https://x/?k=***");
        assert_eq!(mask("nothing here"), "nothing here");
        register("s3cr3t-2 \"wörd\"?x");
        assert_eq!(mask("https://x/s3cr3t-2%20%22w%C3%B6rd%22?x"), "https://x/***");
        assert_eq!(mask("https://x/?k=s3cr3t-2%20%22w%C3%B6rd%22?x"), "https://x/?k=***");
        assert_eq!(mask(r#"{"a":"s3cr3t-2 \"wörd\"?x"}"#), r#"{"a":"***"}"#);
        assert_eq!(mask("s3cr3t-2%20%22w%C3%B6rd%22%3Fx"), "***");
        assert_eq!(mask("a=1&k=s3cr3t-2+%22w%C3%B6rd%22%3Fx"), "a=1&k=***");
        assert_eq!(mask("<k>s3cr3t-2 &quot;wörd&quot;?x</k>"), "<k>***</k>");
    }

    #[test]
    fn a_value_vanishes_from_base64_whatever_stands_around_it() {
        let secret = "s3cr3t-in-base64";
        register(secret);
        for before in ["", "u", "us", "use", "user:"] {
            for behind in ["", "b", "be", "beh", " behind"] {
                let text = format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}{behind}"))
                );
                let masked = mask(&text);
                let most_left = "Basic ***====".len() + (before.len() + behind.len()).div_ceil(3) * 4 + 2;
                assert!(masked.contains("***") && masked.len() <= most_left, "{before} {behind}: {masked}");
            }
        }
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_another_overlaps_it() {
        register("overlap-abcd");
        register("abcd-efgh-ijkl");
        register("efgh");
        assert_eq!(mask("<overlap-abcd-efgh-ijkl> <efgh>"), "<***> <***>");
    }

    #[test]
    fn a_value_too_short_to_search_for_is_left_alone() {
        register("ab");
        assert_eq!(mask("about"), "about");
    }
}
