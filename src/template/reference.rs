//! The helpers of templates for the reference, each with an example and what it gives for one event.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::helpers::{SIGNATURES, Signature};
use super::{Context, Escape, Options, Template};

/// The event of the examples.
pub const EVENT: &str = r#"
{
  "id": "orders/0/7", "time": "2026-03-01T12:00:00Z", "source": "orders", "key": "7", "headers": {}, "meta": {},
  "data": {
    "id": "o-1", "type": "paid", "name": "Ada Lovelace", "at": 1700000000, "vip": false, "paid": true,
    "cents": 1999, "total": 12.55, "shipping": "4.90", "tags": ["new", "gift"], "prices": {"EUR": 12.5, "USD": 13.9},
    "items": [{"sku": "a"}, {"sku": "b"}], "customer": {"id": 7, "name": "Ada", "email": "ada@example.com"}
  }
}"#;

/// A helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperReference {
    /// Its name in templates.
    pub name: &'static str,
    /// How it is written.
    pub example: &'static str,
    /// What the example gives for [`EVENT`]; `None` of those that are only asked.
    pub output: Option<String>,
    /// What it gives, what it takes for that, and what it refuses.
    pub gives: &'static str,
}

/// All helpers, in the order of the reference.
pub fn helpers() -> Vec<HelperReference> {
    let event = serde_json::from_str(EVENT).unwrap_or_default();
    let context = Context::new(event);
    let options = Options {
        clock: Arc::new(|| Timestamp::from_second(1_772_366_400).unwrap_or(Timestamp::UNIX_EPOCH)),
        ids: Arc::new(|| Uuid::from_u128(0x0d5c_4d1e_8f3a_4b6c_9a2e_7f1b_3c5d_6e8f)),
        ..Options::default()
    };
    let output = |example: &str| Template::compile_with(example, Escape::Text, &options).ok()?.render(&context).ok();
    let reference = |signature: &Signature| HelperReference {
        name: signature.name,
        example: signature.example,
        output: output(signature.example).filter(|output| !output.is_empty() && output != "…"),
        gives: signature.gives,
    };
    SIGNATURES.iter().map(reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_renders_for_the_event() {
        assert!(serde_json::from_str::<serde_json::Value>(EVENT).is_ok());
        for helper in helpers() {
            let asks = helper.example.contains("}}…{{");
            assert_eq!(helper.output.is_none(), asks, "{}", helper.example);
            assert!(helper.gives.ends_with('.'), "{}", helper.name);
        }
    }
}
