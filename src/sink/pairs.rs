//! Names with values that are templates or programs, as a URL's query and a form have them. Values are encoded here and
//! never by what gives them, so that no value can begin another pair.

use indexmap::IndexMap;
use url::form_urlencoded;

use super::expression::{Expression, Input};
use super::rendering::{RequestError, TemplateCompiler};
use crate::jq::ValueText;
use crate::secret;
use crate::template::{Escape, percent_encode};

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
    value: Expression,
}

impl Pairs {
    /// Compiles a table of the sink.
    pub(super) fn compile(
        table: &str,
        values: &IndexMap<String, ValueText>,
        omit_empty: bool,
        compiler: &mut TemplateCompiler<'_>,
    ) -> Option<Self> {
        let mut pairs = Vec::with_capacity(values.len());
        for (name, value) in values {
            let Some(value) = compiler.compile_value(&[table, name], value, Escape::Text) else { continue };
            if let Some(literal) = value.literal().filter(|_| holds_a_secret(name)) {
                secret::register(literal);
            }
            pairs.push(Pair { name: name.clone(), part: format!("{table}.{name}"), value });
        }
        (pairs.len() == values.len()).then_some(Self { pairs, omit_empty })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// True when rendering needs the envelope.
    pub(super) fn needs_envelope(&self) -> bool {
        self.pairs.iter().any(|pair| pair.value.literal().is_none())
    }

    /// The pairs as a query, behind the one that a URL has already.
    pub(super) fn append_to_query(&self, query: Option<&str>, input: &Input<'_>) -> Result<String, RequestError> {
        let mut whole = query.unwrap_or_default().to_owned();
        self.render(input, |name, value| {
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
    pub(super) fn to_form(&self, input: &Input<'_>) -> Result<String, RequestError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        self.render(input, |name, value| {
            form.append_pair(name, value);
        })?;
        Ok(form.finish())
    }

    fn render(&self, input: &Input<'_>, mut add: impl FnMut(&str, &str)) -> Result<(), RequestError> {
        for Pair { name, part, value } in &self.pairs {
            if let Some(value) = value.render_unless_empty(part, input, self.omit_empty)? {
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
    use std::sync::Arc;

    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::{Event, Format};
    use crate::template::{Context, Options};

    fn pairs(texts: &[(&str, &str)], omit_empty: bool) -> Pairs {
        let value = |text: &str| match text.strip_prefix("jq: ") {
            Some(program) => serde_json::from_value(json!({ "jq": program })).unwrap(),
            None => text.into(),
        };
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        let options = Options::default();
        Pairs::compile("form", &texts, omit_empty, &mut TemplateCompiler::new(&options, &crate::jq::Options::default()))
            .unwrap()
    }

    /// What these pairs are for an event with this data: as a form, and behind the query `x=1`.
    fn rendered(pairs: &Pairs, data: Value) -> (Result<String, RequestError>, Result<String, RequestError>) {
        let event = Event {
            id: "a/1".into(),
            time: Timestamp::UNIX_EPOCH,
            source: "a".into(),
            key: None,
            headers: Vec::new(),
            meta: Vec::new(),
            payload: Some(data.to_string().into()),
            format: Format::Json,
            content_type: None,
        };
        let context = Arc::new(Context::new(event.envelope().unwrap()));
        let input = Input::new(&event, &context);
        (pairs.to_form(&input), pairs.append_to_query(Some("x=1"), &input))
    }

    fn parsed(encoded: &str) -> Vec<(String, String)> {
        form_urlencoded::parse(encoded.as_bytes()).into_owned().collect()
    }

    #[test]
    fn what_is_empty_or_missing_is_left_out_where_that_is_asked_for() {
        let texts =
            [("a", "{{data.a}}"), ("none", "{{data.none}}"), ("null", "x{{data.null}}"), ("empty", "{{data.e}}")];
        let data = json!({"a": "1 & 2", "null": null, "e": ""});
        let (form, query) = rendered(&pairs(&texts, true), data.clone());
        assert_eq!((form.unwrap().as_str(), query.unwrap().as_str()), ("a=1+%26+2", "x=1&a=1%20%26%202"));
        let error = rendered(&pairs(&texts, false), data.clone()).0.unwrap_err().to_string();
        assert!(error.contains("form.none") && error.contains("`data.none` is missing"), "{error}");
        assert_eq!(rendered(&pairs(&[("e", "{{data.e}}")], false), data.clone()).1.unwrap(), "x=1&e=");
        let wrong = rendered(&pairs(&[("o", "{{data}}")], true), data).0;
        assert!(wrong.is_err(), "an object is no value that is missing");
    }

    #[test]
    fn programs_give_values_too() {
        let texts =
            [("sum", "jq: .data.a + 1"), ("none", "jq: .data.none"), ("e", "jq: .data.e"), ("b", "jq: .data.b")];
        let data = json!({"a": 1, "b": "x&c=d", "e": ""});
        let (form, query) = rendered(&pairs(&texts, true), data.clone());
        assert_eq!((form.unwrap().as_str(), query.unwrap().as_str()), ("sum=2&b=x%26c%3Dd", "x=1&sum=2&b=x%26c%3Dd"));
        let error = rendered(&pairs(&texts, false), data.clone()).0.unwrap_err().to_string();
        assert!(error.contains("form.none: the program gives null"), "{error}");
        let error = rendered(&pairs(&[("o", "jq: .data")], true), data).1.unwrap_err().to_string();
        assert!(error.contains("form.o: the program gives an object"), "{error}");
    }

    proptest! {
        /// Whatever an event holds, there are exactly the written pairs with its values.
        #[test]
        fn a_form_and_a_query_have_exactly_the_written_pairs(one in "\\PC{0,12}", other in "\\PC{0,12}", name in "\\PC{2,8}") {
            let data = json!({"one": one, "other": other});
            let pairs = pairs(&[(&name, "{{data.one}}"), ("b", "-{{data.other}}-"), ("c", "jq: .data.one + .data.other")], false);
            let mut expected =
                vec![(name, one.clone()), ("b".to_owned(), format!("-{other}-")), ("c".to_owned(), one + &other)];
            let (form, query) = rendered(&pairs, data);
            prop_assert_eq!(&parsed(&form.unwrap()), &expected);
            let mut url = reqwest::Url::parse("https://h/p#f").unwrap();
            url.set_query(Some(&query.unwrap()));
            expected.insert(0, ("x".to_owned(), "1".to_owned()));
            prop_assert_eq!((url.path(), url.fragment()), ("/p", Some("f")));
            prop_assert_eq!(url.query_pairs().into_owned().collect::<Vec<_>>(), expected);
        }
    }
}
