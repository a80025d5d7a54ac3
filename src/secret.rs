//! Secrets: values that must never be printed, and the mask that keeps them out of whatever is.
//!
//! Two guards, because either alone leaks: [`Secret`] shows `***` wherever a typed value is printed, and [`mask`]
//! replaces every registered value in text that was made by others (library errors, rendered URLs, log lines).
//! The register is global to the process because log lines are: it only ever grows, while pipelines are loaded.

use std::borrow::Cow;
use std::fmt;
use std::sync::RwLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// Shorter values are not searched for in text: they would blot out half of every log line and hide nothing.
const SHORTEST_MASKED: usize = 4;

static REGISTER: RwLock<Vec<String>> = RwLock::new(Vec::new());

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
    let json = serde_json::to_string(value).unwrap_or_default();
    let forms = [
        value.to_owned(),
        json.trim_matches('"').to_owned(),
        percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string(),
        percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned(),
    ];
    let mut register = REGISTER.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for form in forms {
        if form.len() >= SHORTEST_MASKED && !register.contains(&form) {
            register.push(form);
        }
    }
    // Longest first, so that a secret which contains another is hidden whole.
    register.sort_by_key(|form| std::cmp::Reverse(form.len()));
}

/// The text with every registered secret replaced by `***`.
pub fn mask(text: &str) -> Cow<'_, str> {
    let register = REGISTER.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut masked = Cow::Borrowed(text);
    for form in register.iter() {
        if masked.contains(form.as_str()) {
            masked = Cow::Owned(masked.replace(form.as_str(), MASK));
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn a_value_too_short_to_search_for_is_left_alone() {
        register("ab");
        assert_eq!(mask("about"), "about");
    }
}
