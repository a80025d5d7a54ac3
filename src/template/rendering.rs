//! Renders a compiled template, element by element.
//!
//! Text and the values of paths, which is most of most templates, are written here: a call of the helper that inserts a
//! value costs Handlebars some ten allocations. Only what succeeds is: whatever else there is to a value (it is missing,
//! in an array, cannot stand at its place), Handlebars finds, so that every failure is told in one way.

use handlebars::template::{Parameter, TemplateElement};
use handlebars::{Context, Handlebars, Output, Path, PathSeg, RenderContext, RenderError, Renderable as _, Template};
use serde_json::Value;
use strum::VariantArray as _;

use super::insert::{inserted, is_call_of};
use super::place::Place;
use super::written::subexpression_name;

/// The output for this context. `insertions` are what the elements insert.
///
/// # Errors
/// What Handlebars objects to, and an output of more than `limit` bytes.
pub(super) fn render(
    template: &Template,
    insertions: &[Option<Insertion>],
    registry: &Handlebars<'_>,
    context: &Context,
    limit: usize,
) -> Result<String, RenderError> {
    let mut output = BoundedOutput { text: String::with_capacity(256), limit };
    let mut render_context = None;
    for (index, (element, insertion)) in template.elements.iter().zip(insertions).enumerate() {
        match (element, insertion) {
            (TemplateElement::RawString(text), _) => output.write(text)?,
            (_, Some(insertion)) if insertion.write(context.data(), &mut output) => {}
            _ => {
                let render_context = render_context.get_or_insert_with(|| RenderContext::new(None));
                element.render(registry, context, render_context, &mut output).map_err(|mut error| {
                    // As Handlebars does when it renders all elements itself.
                    if let (None, Some(place)) = (error.line_no, template.mapping.get(index)) {
                        (error.line_no, error.column_no) = (Some(place.0), Some(place.1));
                    }
                    error
                })?;
            }
        }
    }
    Ok(output.text)
}

/// An expression that inserts the value of a path.
#[derive(Debug)]
pub(super) struct Insertion {
    names: Vec<String>,
    place: Place,
    /// `{{{…}}}`
    is_unescaped: bool,
    /// The value is given to the helper `json`.
    is_json: bool,
}

impl Insertion {
    /// What an element of a checked template inserts, if it is that and no more.
    pub(super) fn of(element: &TemplateElement) -> Option<Self> {
        let (call, is_unescaped) = match element {
            TemplateElement::Expression(call) => (call, false),
            TemplateElement::HtmlExpression(call) => (call, true),
            _ => return None,
        };
        let place = *Place::VARIANTS.iter().find(|place| is_call_of(call, **place))?;
        let (value, is_json) = match call.params.first()? {
            Parameter::Subexpression(inner) if subexpression_name(inner) == "json" => (inner.params()?.first()?, true),
            value => (value, false),
        };
        Some(Self { names: names(value)?, place, is_unescaped, is_json })
    }

    /// Writes the value that the envelope has. False when it has none, or one that cannot be written so.
    pub(super) fn write(&self, envelope: &Value, output: &mut dyn Output) -> bool {
        let found = self.names.iter().try_fold(envelope, |value, name| value.as_object()?.get(name));
        let Some(value) = found else { return false };
        let json = self.is_json.then(|| Value::String(value.to_string()));
        let text = inserted(json.as_ref().unwrap_or(value), self.place, self.is_unescaped, String::new);
        text.is_ok_and(|text| output.write(&text).is_ok())
    }
}

/// The names of a path that begins in the envelope.
fn names(value: &Parameter) -> Option<Vec<String>> {
    let Parameter::Path(Path::Relative((segments, _))) = value else { return None };
    let name = |segment: &PathSeg| match segment {
        PathSeg::Named(name) => Some(name.clone()),
        _ => None,
    };
    let names: Vec<_> = segments.iter().map(name).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(names)
}

/// Collects the output and stops at the limit, so that no event can make it grow without bound.
struct BoundedOutput {
    text: String,
    limit: usize,
}

impl Output for BoundedOutput {
    fn write(&mut self, part: &str) -> std::io::Result<()> {
        if self.text.len() + part.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.text.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::template::{Context, Escape, Options, Template};

    fn compile(text: &str, escape: Escape) -> Template {
        Template::compile(text, escape).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
    }

    #[test]
    fn only_paths_and_their_json_are_inserted_directly() {
        let is_direct = |text: &str, escape| compile(text, escape).insertions.iter().any(Option::is_some);
        for text in
            ["{{data.a}}", "\"{{data.a.b-c}}\"", "{{json data}}", "\"{{json data.a}}\"", "{{key}}", "{{{data.a}}}"]
        {
            assert!(is_direct(text, Escape::Json), "{text}");
        }
        for text in
            ["{{now}}", "{{upper data.a}}", "{{default data.a 1}}", "{{#if data.a}}{{data.a}}{{/if}}", "{{@root.key}}"]
        {
            assert!(!is_direct(text, Escape::Json), "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaves = vec![
            json!(null),
            json!(true),
            json!(-1),
            json!(0.5),
            json!(u64::MAX),
            json!("plain"),
            json!("q\"\\\n\u{1}é/<&,;\t"),
            json!(""),
            json!("\u{2028}\u{7f}"),
            json!("2"),
        ];
        let leaf = proptest::sample::select(leaves);
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[ab0]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn any_piece() -> impl Strategy<Value = String> {
        let path = "(key|data|data\\.[ab]|data\\.[ab]\\.[ab]|data\\.a\\.\\[0\\])";
        let text = "[ x,:1\\[\\]/]{0,3}|\"";
        let expression = (path, 0..8).prop_map(|(path, form)| match form {
            0 => format!("{{{{{{{path}}}}}}}"),
            1 => format!("{{{{json {path}}}}}"),
            2 => format!("{{{{{{json {path}}}}}}}"),
            3 => format!("{{{{upper {path}}}}}"),
            4 => format!("{{{{#if {path}}}}}{{{{{path}}}}}{{{{/if}}}}"),
            _ => format!("{{{{{path}}}}}"),
        });
        prop_oneof![text.prop_map(|text| text), expression]
    }

    proptest! {
        /// What is written directly is what Handlebars would have written, and every failure is the same.
        #[test]
        fn handlebars_would_write_the_same(
            pieces in proptest::collection::vec(any_piece(), 1..8),
            escape in proptest::sample::select(vec![
                Escape::Json, Escape::JsonLines, Escape::Url, Escape::Header, Escape::Xml, Escape::Form, Escape::Csv,
                Escape::Tsv, Escape::Text, Escape::Key,
            ]),
            data in any_value(),
            max_output in prop_oneof![Just(20_usize), Just(1 << 20)],
        ) {
            let text = pieces.concat();
            let options = Options { max_output, ..Options::default() };
            let Ok(mut template) = Template::compile_with(&*text, escape, &options) else { return Ok(()) };
            let context = Context::new(json!({"key": "k-1", "data": data}));
            let direct = template.render(&context);
            template.insertions.iter_mut().for_each(|insertion| *insertion = None);
            prop_assert_eq!(direct, template.render(&context), "{}", text);
        }

        /// What was said at load to be always JSON is JSON.
        #[test]
        fn what_is_always_json_is_json(
            pieces in proptest::collection::vec(prop_oneof![
                any_piece(), Just("{\"a\": ".to_owned()), Just("}".to_owned()), Just("\\u12".to_owned()), Just("\\".to_owned()),
            ], 1..6),
            escape in proptest::sample::select(vec![Escape::Json, Escape::JsonLines, Escape::JsonSequence]),
            data in any_value(),
        ) {
            let text = pieces.concat();
            let Ok(template) = Template::compile(&*text, escape) else { return Ok(()) };
            let context = Context::new(json!({"key": "k-1", "data": data}));
            if let (true, Ok(body)) = (template.is_always_json, template.render(&context)) {
                prop_assert!(escape.verify(&body).is_ok(), "{} gives {}", text, body);
            }
        }
    }
}
