//! Writes one value into the output, escaped for its place. Every value that a template inserts comes through here.

use std::borrow::Cow;

use handlebars::{Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Escape, RenderFault};

/// The name of the helper. It has a blank, so that no template can call it.
pub(super) const NAME: &str = "insert value";

/// All but the unreserved characters of RFC 3986 (2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The helper to which [`compile`](super::compile) rewrites every expression that inserts a value: `{{data.x}}` becomes
/// `{{insert data.x}}`, and `{{upper data.x}}` becomes `{{insert (upper data.x) "upper"}}`. Handlebars alone would
/// write null and missing as nothing and an object as `[object]`, before its escape function sees them.
pub(super) struct Insert(pub(super) Escape);

impl HelperDef for Insert {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        rc: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let name = || {
            let path = call.param(0).and_then(|value| value.relative_path()).map(String::as_str);
            let helper = call.param(1).and_then(|name| name.value().as_str());
            path.or(helper).unwrap_or_default().to_owned()
        };
        let value = match call.param(0) {
            Some(value) if !value.is_value_missing() => value.value(),
            _ => return Err(RenderFault::Missing(name()).into()),
        };
        let text = match (value, self.0) {
            (Value::Null, Escape::Url | Escape::Header) => return Err(RenderFault::Null(name()).into()),
            (Value::Null, Escape::Text) => return Ok(()),
            _ => value_text(value),
        };
        let text = match self.0 {
            Escape::Header if !is_header_text(&text) => return Err(RenderFault::NotHeaderText(name()).into()),
            Escape::Header | Escape::Text => text,
            _ if rc.is_disable_escape() => text,
            Escape::Url => url_encode(&text).into(),
            Escape::Json if value.is_string() => json_escape(&text).into(),
            Escape::Json => text,
        };
        Ok(out.write(&text)?)
    }
}

/// Text as it is, anything else as its JSON.
pub(super) fn value_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

pub(super) fn url_encode(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

/// Visible ASCII and blanks, all that a field value may safely hold (RFC 9110, 5.5).
pub(super) fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The inside of the JSON string that stands for `text`.
pub(super) fn json_escape(text: &str) -> String {
    let mut quoted = Value::from(text).to_string();
    quoted.pop();
    quoted.remove(0);
    quoted
}
