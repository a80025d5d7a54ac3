//! Whatever the payload of an event holds, a body has exactly what was written, read by parsers as receivers use them.
//! That of XML is read in the tests of templates.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::config::WebhookConfig;
use super::encoding::{Encoding, NamedTemplates};
use super::expression::Input;
use super::rendering::{TemplateCompiler, options_of_programs};
use crate::event::{Event, Format};
use crate::template::{Context, Options};

fn any_text() -> impl Strategy<Value = String> {
    "(\\PC|[\"\\\\{}<>&'=+%,:\\[\\] \n\t\r\u{0}]|\\$serde_json::private::Number|\u{2028}){0,12}"
}

/// Numbers in any digits.
fn any_number() -> impl Strategy<Value = Value> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?".prop_map(|digits| serde_json::from_str(&digits).unwrap())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any_text().prop_map(Value::from),
        any_number(),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(any_text(), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The body that a sink with these keys makes of an event with this payload.
fn body(sink: &str, payload: &Value) -> Bytes {
    let event = event(payload.to_string());
    let config: WebhookConfig = toml::from_str(&format!("url = 'http://h/'\n{sink}")).unwrap();
    let options = Options::default();
    let of_programs = options_of_programs(&options);
    let mut compiler = TemplateCompiler::new(&options, &of_programs);
    let (none, declared) = (IndexMap::new(), BTreeSet::new());
    let templates = NamedTemplates::compile(&none, &declared, &mut compiler);
    let encoding = Encoding::compile(&config, &templates, &mut compiler);
    let encoding = encoding.unwrap_or_else(|| panic!("{:?}", compiler.problems));
    let context = Arc::new(Context::new(event.envelope().unwrap()));
    encoding.render(&Input::new(&event, &context)).unwrap().bytes
}

fn read(body: &[u8]) -> Value {
    // The name that `serde_json` keeps for itself may be in it, so that it is read as an event's payload is.
    event(Bytes::copy_from_slice(body)).envelope().unwrap()["data"].clone()
}

fn event(payload: impl Into<Bytes>) -> Event {
    Event {
        id: "a/1".into(),
        time: Timestamp::UNIX_EPOCH,
        source: "a".into(),
        key: None,
        headers: Vec::new(),
        meta: Vec::new(),
        payload: Some(payload.into()),
        format: Format::Json,
        content_type: None,
    }
}

const TEMPLATE: &str = r#"body = '''{"value": {{data.value}}, "text": "<{{data.text}}>", "upper": {{json (upper data.text)}},
                          "list": [{{#each data.list}}"{{this}}"{{#unless @last}},{{/unless}}{{/each}}]}'''"#;

const PROGRAM: &str = r#"jq = '''{value: .data.value, text: "<\(.data.text)>", upper: (.data.text | ascii_upcase),
                         list: [.data.list[]]}'''"#;

const FORM: &str = "form = { text = '{{data.text}}', around = '={{data.text}}&', n = '{{data.n}}' }";

proptest! {
    #[test]
    fn a_json_body_has_exactly_the_written_members(
        value in any_value(),
        text in any_text(),
        list in proptest::collection::vec(any_text(), 0..4),
    ) {
        let payload = json!({"value": value, "text": text, "list": list});
        for (sink, upper) in [(TEMPLATE, text.to_uppercase()), (PROGRAM, text.to_ascii_uppercase())] {
            let expected = json!({"value": value, "text": format!("<{text}>"), "upper": upper, "list": list});
            let body = body(sink, &payload);
            prop_assert_eq!(read(&body), expected, "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn a_value_that_is_passed_on_is_the_same_to_its_last_digit(value in any_value()) {
        let payload = json!({"value": value});
        for sink in ["body = '{{json data}}'", "jq = '.data'"] {
            prop_assert_eq!(read(&body(sink, &payload)), payload.clone(), "{}", sink);
        }
    }

    #[test]
    fn a_form_has_exactly_the_written_fields(text in any_text(), n in any_number()) {
        let body = body(FORM, &json!({"text": text, "n": n}));
        let fields: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
        let expected = [("text", text.clone()), ("around", format!("={text}&")), ("n", n.to_string())];
        prop_assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)).to_vec());
    }
}
