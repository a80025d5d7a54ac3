//! Whatever an event holds, a body has exactly what was written, read by the parsers that receivers use.

use proptest::prelude::*;
use quick_xml::events::Event;
use serde_json::{Value, json};

use super::{Context, Escape, Template};

fn any_text() -> impl Strategy<Value = String> {
    "(\\PC|[\"\\\\{}<>&',:\\[\\] \n\t\r]|\\]\\]>|<!--|\u{2028}){0,12}"
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any_text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(0.5)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(any_text(), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn render(text: &str, escape: Escape, data: &Value) -> String {
    let template = Template::compile(text, escape).unwrap();
    template.render(&Context::new(json!({ "data": data }))).unwrap()
}

/// The elements with their attributes and texts, in the order of the document.
fn read_xml(document: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(document);
    let mut found = Vec::new();
    let mut text = String::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) => {
                found.push(format!("<{}", element.name().as_ref()));
                for attribute in element.attributes() {
                    let raw = attribute.unwrap().value;
                    found.push(quick_xml::escape::unescape(&raw).unwrap().into_owned());
                }
                text.clear();
            }
            Event::Text(part) => text.push_str(&part),
            Event::GeneralRef(name) => {
                let reference = format!("&{};", &*name);
                text.push_str(&quick_xml::escape::unescape(&reference).unwrap());
            }
            Event::End(_) => found.push(std::mem::take(&mut text)),
            Event::Eof => return found,
            other => panic!("{other:?} was not written"),
        }
    }
}

proptest! {
    #[test]
    fn a_json_body_has_exactly_the_written_members(value in any_value(), text in any_text(), list in proptest::collection::vec(any_text(), 0..4)) {
        let template = "{\"value\": {{data.value}}, \"text\": \"<{{data.text}}>\", \"upper\": {{json (upper data.text)}}, \
                        \"list\": [{{#each data.list}}\"{{this}}\"{{#unless @last}},{{/unless}}{{/each}}]}";
        let body = render(template, Escape::Json, &json!({"value": value, "text": text, "list": list}));
        let expected = json!({"value": value, "text": format!("<{text}>"), "upper": text.to_uppercase(), "list": list});
        prop_assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn an_xml_body_has_exactly_the_written_elements(text in any_text(), attribute in any_text()) {
        let data = json!({"text": text, "attribute": attribute});
        let document = render("<a b=\"{{data.attribute}}\">{{data.text}}</a>", Escape::Xml, &data);
        prop_assert_eq!(read_xml(&document), vec!["<a".to_owned(), attribute, text]);
    }
}
