//! Names with values that are templates, as a URL's query and a form have them. Values are encoded here and never by their
//! templates, so that no value can begin another pair.

use indexmap::IndexMap;
use url::form_urlencoded;

use super::rendering::{RequestError, TemplateCompiler, render_unless_empty};
use crate::interpolated::InterpolatedText;
use crate::secret;
use crate::template::{Context, Escape, Template, percent_encode};

/// Pairs in the order of the file, compiled.
#[derive(Debug)]
pub(super) struct Pairs {
    pairs: Vec<Pair>,
    /// Pairs whose value is empty or missing are left out.
    omit_empty: bool,
}

#[derive(Debug)]
struct Pair {
    name: String,
    /// What errors call it.
    part: String,
    value: Template,
}

impl Pairs {
    /// Compiles a table of the sink.
    pub(super) fn compile(
        table: &str,
        texts: &IndexMap<String, InterpolatedText>,
        omit_empty: bool,
        compiler: &mut TemplateCompiler<'_>,
    ) -> Option<Self> {
        let mut pairs = Vec::with_capacity(texts.len());
        for (name, text) in texts {
            let Some(value) = compiler.compile(&[table, name], text, Escape::Text) else { continue };
            if let Some(literal) = value.literal().filter(|_| holds_a_secret(name)) {
                secret::register(literal);
            }
            pairs.push(Pair { name: name.clone(), part: format!("{table}.{name}"), value });
        }
        (pairs.len() == texts.len()).then_some(Self { pairs, omit_empty })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// True when rendering needs the envelope.
    pub(super) fn needs_envelope(&self) -> bool {
        self.pairs.iter().any(|pair| pair.value.literal().is_none())
    }

    /// The pairs as a query, behind the one that a URL has already.
    pub(super) fn append_to_query(&self, query: Option<&str>, context: &Context) -> Result<String, RequestError> {
        let mut whole = query.unwrap_or_default().to_owned();
        self.render(context, |name, value| {
            if !whole.is_empty() {
                whole.push('&');
            }
            whole.push_str(&percent_encode(name));
            whole.push('=');
            whole.push_str(&percent_encode(value));
        })?;
        Ok(whole)
    }

    /// The pairs as `application/x-www-form-urlencoded` (URL Standard, 5.2).
    pub(super) fn to_form(&self, context: &Context) -> Result<String, RequestError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        self.render(context, |name, value| {
            form.append_pair(name, value);
        })?;
        Ok(form.finish())
    }

    fn render(&self, context: &Context, mut add: impl FnMut(&str, &str)) -> Result<(), RequestError> {
        for Pair { name, part, value } in &self.pairs {
            if let Some(value) = render_unless_empty(part, value, context, self.omit_empty)? {
                add(name, &value);
            }
        }
        Ok(())
    }
}

/// Names whose values are masked wherever they are shown, when they are written out in the pipeline file.
pub fn holds_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    secret::is_named_as_secret(&name) || name.contains("signature") || ["key", "sig", "code"].contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::template::Options;

    fn pairs(texts: &[(&str, &str)], omit_empty: bool) -> Pairs {
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect();
        let options = Options::default();
        Pairs::compile("form", &texts, omit_empty, &mut TemplateCompiler::new(&options, &crate::jq::Options::default()))
            .unwrap()
    }

    fn context(data: Value) -> Context {
        Context::new(json!({ "data": data }))
    }

    fn parsed(encoded: &str) -> Vec<(String, String)> {
        form_urlencoded::parse(encoded.as_bytes()).into_owned().collect()
    }

    #[test]
    fn what_is_empty_or_missing_is_left_out_where_that_is_asked_for() {
        let texts =
            [("a", "{{data.a}}"), ("none", "{{data.none}}"), ("null", "x{{data.null}}"), ("empty", "{{data.e}}")];
        let event = context(json!({"a": "1 & 2", "null": null, "e": ""}));
        assert_eq!(pairs(&texts, true).to_form(&event).unwrap(), "a=1+%26+2");
        assert_eq!(pairs(&texts, true).append_to_query(Some("x=1"), &event).unwrap(), "x=1&a=1%20%26%202");
        let error = pairs(&texts, false).to_form(&event).unwrap_err().to_string();
        assert!(error.contains("form.none") && error.contains("`data.none` is missing"), "{error}");
        assert_eq!(pairs(&[("e", "{{data.e}}")], false).append_to_query(None, &event).unwrap(), "e=");
        let wrong = pairs(&[("o", "{{data}}")], true).to_form(&event);
        assert!(wrong.is_err(), "an object is no value that is missing");
    }

    proptest! {
        /// Whatever an event holds, there are exactly the written pairs with its values.
        #[test]
        fn a_form_and_a_query_have_exactly_the_written_pairs(one in "\\PC{0,12}", other in "\\PC{0,12}", name in "\\PC{2,8}") {
            let event = context(json!({"one": one, "other": other}));
            let pairs = pairs(&[(&name, "{{data.one}}"), ("b", "-{{data.other}}-")], false);
            let expected = vec![(name, one), ("b".to_owned(), format!("-{other}-"))];
            prop_assert_eq!(&parsed(&pairs.to_form(&event).unwrap()), &expected);
            let mut url = reqwest::Url::parse("https://h/p#f").unwrap();
            url.set_query(Some(&pairs.append_to_query(None, &event).unwrap()));
            prop_assert_eq!((url.path(), url.fragment()), ("/p", Some("f")));
            prop_assert_eq!(url.query_pairs().into_owned().collect::<Vec<_>>(), expected);
        }
    }
}
