//! Turns the text of a template into a tree that inserts values in one way only, and refuses what could not render.
//!
//! All faults are found, each with its place: those of tags that cannot be parsed (`syntax`) and those of all others
//! (`walk`).

use std::collections::HashMap;

use handlebars::template::TemplateElement;
use regex::Regex;

use super::fault::TemplateFault;
use super::nesting::{self, MAX_NESTING};
use super::rendering::Insertion;
use super::tables::Tables;
use super::values::Values;
use super::walk::Walk;
use super::{Doubt, Escape, Outline, TemplateError, has_dot_segment, infix, never_json, syntax};
use crate::interpolated::TextRef;
use crate::jsonpath::Query;

/// A template ready for the registry that [`helpers`](super::helpers) makes.
pub(super) struct Compiled {
    pub(super) template: handlebars::Template,
    /// The JSONPath queries in the template, by their text.
    pub(super) queries: HashMap<String, Query>,
    /// The regular expressions in the template, by their text.
    pub(super) patterns: HashMap<String, Regex>,
    /// The output, if it is the same for every event.
    pub(super) literal: Option<String>,
    /// See [`Template::outline`](super::Template::outline).
    pub(super) outline: Outline,
    /// What is probably not meant so.
    pub(super) doubts: Vec<Doubt>,
    /// Some value is inserted with the escaping of its place, which `{{{…}}}` switches off.
    pub(super) inserts: bool,
    /// What its elements insert, of those that insert the value of a path and no more.
    pub(super) insertions: Vec<Option<Insertion>>,
    /// The output is the JSON that its content type promises, whatever the event holds.
    pub(super) is_always_json: bool,
    /// Why it can never be the JSON that it should be, if it were a body.
    pub(super) never_json: Vec<TemplateError>,
}

/// Parses and checks a template. Gives all faults, in the order of the text.
pub(super) fn compile(text: TextRef<'_>, escape: Escape, tables: &Tables) -> Result<Compiled, Vec<TemplateError>> {
    let (values, text) = Values::new(text, escape).map_err(|error| vec![error])?;
    let text = text.as_ref();
    if let Some(offset) = nesting::too_deep(text) {
        let fault = TemplateFault::new(format!("the template is nested deeper than {MAX_NESTING} levels"));
        return Err(vec![fault.at(text, offset)]);
    }
    let mut template = match handlebars::Template::compile(text) {
        Ok(template) => template,
        Err(error) => return Err(faults_of_unparsed(text, escape, values, tables, &error)),
    };
    let mut walk = Walk::new(text, text, escape, values, tables);
    walk.template(&mut template);
    if !walk.faults.is_empty() {
        return Err(walk.faults);
    }
    if escape == Escape::Url && has_dot_segment(&shape(&template)) {
        let fault = TemplateFault::new("a segment of the URL's path is `.` or `..`, which leads to another path");
        return Err(vec![fault.at(text, 0)]);
    }
    if escape == Escape::Key && literal(&template).is_some() {
        return Err(vec![constant_key(text).at(text, 0)]);
    }
    // Where quotes are opened in one branch only, nothing is certain.
    let never_json = if walk.uncertain { None } else { never_json::fault(&template, text, escape) };
    Ok(Compiled {
        insertions: template.elements.iter().map(Insertion::of).collect(),
        is_always_json: !walk.uncertain && never_json::is_always(&template, text, escape),
        never_json: never_json.map_or_else(Vec::new, |fault| likelier(fault, &walk.doubts)),
        literal: literal(&template),
        queries: walk.queries,
        patterns: walk.patterns,
        outline: outline(&template),
        doubts: walk.doubts,
        inserts: walk.inserts,
        template,
    })
}

fn faults_of_unparsed(
    text: &str,
    escape: Escape,
    values: Values<'_>,
    tables: &Tables,
    error: &handlebars::TemplateError,
) -> Vec<TemplateError> {
    let syntax::Unparsed { mut faults, mended } = syntax::explain(text, error);
    if let Some(mended) = mended
        && let Ok(mut template) = handlebars::Template::compile(&mended)
    {
        let mut walk = Walk::new(text, &mended, escape, values, tables);
        walk.template(&mut template);
        faults.extend(walk.faults);
        faults.sort_by_key(|fault| fault.part.start);
    }
    faults
}

/// Expressions of another language are what keeps a text from being JSON, where there are any.
fn likelier(fault: TemplateError, doubts: &[Doubt]) -> Vec<TemplateError> {
    let lookalikes = doubts.iter().filter_map(|doubt| match doubt {
        Doubt::NotAnExpression(error) => Some(error.clone()),
        _ => None,
    });
    let lookalikes: Vec<_> = lookalikes.collect();
    if lookalikes.is_empty() { vec![fault] } else { lookalikes }
}

/// A key that is the same for every event was meant to be an expression.
fn constant_key(text: &str) -> TemplateFault {
    let path = text.trim().trim_start_matches(['$', '.', '{', '@']).trim_end_matches('}');
    let help = match infix::path(path).filter(|path| infix::starts_in_envelope(path)) {
        Some(path) => format!("write `{{{{{path}}}}}`"),
        None => "write an expression in two braces, such as `{{data.id}}`".to_owned(),
    };
    TemplateFault::new("this holds no expression, so it is the same for every event").help(help)
}

/// The text of a template in which every expression stands as a letter.
fn shape(template: &handlebars::Template) -> String {
    let text = |element: &TemplateElement| match element {
        TemplateElement::RawString(text) => text.clone(),
        TemplateElement::Comment(_) => String::new(),
        _ => "x".to_owned(),
    };
    template.elements.iter().map(text).collect()
}

fn outline(template: &handlebars::Template) -> Outline {
    let mut outline = Outline { text: String::new(), is_whole: true };
    for element in &template.elements {
        match element {
            TemplateElement::RawString(text) => outline.text.push_str(text),
            TemplateElement::Comment(_) => {}
            TemplateElement::HelperBlock(_) => {
                outline.is_whole = false;
                break;
            }
            _ => outline.text.push(Outline::VALUE),
        }
    }
    outline
}

fn literal(template: &handlebars::Template) -> Option<String> {
    let is_text =
        |element: &TemplateElement| matches!(element, TemplateElement::RawString(_) | TemplateElement::Comment(_));
    template.elements.iter().all(is_text).then(|| shape(template))
}
