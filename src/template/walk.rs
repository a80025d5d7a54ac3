//! Goes through a parsed template, rewrites what inserts values, and notes all faults.
//!
//! Nothing here stops at a fault: an expression that is refused is left as it is, and the next one is looked at. What
//! names and values may be is asked of `check`.

use std::collections::HashMap;

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter, Subexpression, TemplateElement};
use regex::Regex;

use super::check::{Checks, Scope, is_path, signature};
use super::fault::{TemplateFault, offset_of};
use super::helpers::Kind;
use super::place::{Place, is_within_json_string};
use super::tables::{self, Tables};
use super::tags::{self, Tag};
use super::values::Values;
use super::written::{keep_names, subexpression_name, written};
use super::{Doubt, Escape, TemplateError, each, foreign, insert, lookalike};
use crate::jsonpath::Query;

/// What is known of a template so far.
pub(super) struct Walk<'a> {
    /// The text that is shown, and the one that was parsed: what was no Handlebars in it stands for a value there. Both
    /// have the same length.
    text: &'a str,
    parsed: &'a str,
    tags: Vec<Tag<'a>>,
    escape: Escape,
    values: Values<'a>,
    tables: &'a Tables,
    /// Where the element begins that is looked at.
    offset: usize,
    /// What paths start from, here and around the blocks that this stands in.
    scopes: Vec<Scope>,
    /// The names that `as |…|` gives to values in the blocks that this stands in.
    names: Vec<String>,
    /// The branches of a block leave off at different places, one within quotes and one outside.
    pub(super) uncertain: bool,
    pub(super) faults: Vec<TemplateError>,
    pub(super) doubts: Vec<Doubt>,
    pub(super) queries: HashMap<String, Query>,
    pub(super) patterns: HashMap<String, Regex>,
    pub(super) inserts: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a str, parsed: &'a str, escape: Escape, values: Values<'a>, tables: &'a Tables) -> Self {
        Self {
            text,
            parsed,
            tags: tags::tags(parsed),
            escape,
            values,
            tables,
            offset: 0,
            scopes: vec![Scope::Envelope],
            names: Vec::new(),
            uncertain: false,
            faults: Vec::new(),
            doubts: Vec::new(),
            queries: HashMap::new(),
            patterns: HashMap::new(),
            inserts: false,
        }
    }

    pub(super) fn template(&mut self, template: &mut handlebars::Template) {
        for (index, element) in template.elements.iter_mut().enumerate() {
            // A block pushes the place of its beginning, any other element its own: there is one for each.
            // Only the block that an `{{else if}}` makes has none.
            self.offset = match template.mapping.get(index) {
                Some(place) => offset_of(self.parsed, place.0, place.1),
                None => self.next_else(),
            };
            self.element(element);
        }
    }

    /// The next `{{else if}}`: those of the blocks before it have been looked at.
    fn next_else(&self) -> usize {
        let is_next =
            |tag: &&Tag<'_>| tag.kind == tags::Kind::Else && !tag.body.is_empty() && tag.place.start > self.offset;
        self.tags.iter().find(is_next).map_or(self.offset, |tag| tag.place.start)
    }

    fn element(&mut self, element: &mut TemplateElement) {
        let start = self.values.place();
        if let TemplateElement::RawString(text) = &element {
            self.doubt_text(text);
        }
        if let Err(fault) = self.values.bind(element) {
            return self.refuse(fault);
        }
        self.inserts |= matches!(element, TemplateElement::Expression(_));
        match element {
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                match self.expression(call, &start) {
                    Ok(true) => *element = TemplateElement::HtmlExpression(call.clone()),
                    Ok(false) => {}
                    Err(fault) => self.refuse(fault),
                }
            }
            TemplateElement::HelperBlock(block) => {
                self.block(block, &start);
                each::guard(block);
            }
            TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                self.refuse(unsupported("partials", partial));
            }
            TemplateElement::DecoratorExpression(decorator) | TemplateElement::DecoratorBlock(decorator) => {
                self.refuse(unsupported("decorators", decorator));
            }
            TemplateElement::RawString(text) if self.escape == Escape::Header && !insert::is_header_text(text) => {
                let fault = TemplateFault::new("the text holds a character that an HTTP header cannot carry");
                self.refuse(fault.help("only visible ASCII and blanks, on one line"));
            }
            _ => {}
        }
    }

    /// Checks an expression that inserts a value, and makes it a call of [`insert`]. Gives whether what it inserts is
    /// right for its place already.
    fn expression(&mut self, call: &mut HelperTemplate, before: &str) -> Result<bool, TemplateFault> {
        let mut value = match call.name.clone() {
            // Handlebars looks for a helper first.
            name if is_path(&name) && call.params.is_empty() && call.hash.is_empty() && signature(&name).is_none() => {
                name
            }
            name @ Parameter::Subexpression(_) => name,
            name => {
                let (params, hash) = (std::mem::take(&mut call.params), std::mem::take(&mut call.hash));
                Parameter::Subexpression(Subexpression::new(name, params, hash))
            }
        };
        self.check(|checks| checks.parameter(&value));
        let place = Place::behind(before, self.escape)?;
        if !self.uncertain {
            self.check(|checks| checks.object(&value, place));
        }
        let place = if self.uncertain { place.uncertain() } else { place };
        call.name = Parameter::Name(insert::name(place));
        let written = written(&value);
        let Parameter::Subexpression(inner) = &mut value else {
            call.params = vec![value];
            self.bind_tables(call);
            // Only a path has its name within itself.
            if matches!(call.params.as_slice(), [Parameter::Literal(_)]) {
                call.params.push(Parameter::Literal(written.into()));
            }
            return Ok(false);
        };
        let finished = matches!(
            (subexpression_name(inner), place),
            ("json", Place::JsonValue) | ("url_encode", Place::Encoded) | ("xml", Place::Xml)
        );
        if let TemplateElement::Expression(inner) = inner.element.as_mut() {
            keep_names(&mut inner.params, &mut inner.hash);
        }
        call.params = vec![value, Parameter::Literal(written.into())];
        self.bind_tables(call);
        Ok(finished)
    }

    fn block(&mut self, block: &mut HelperTemplate, start: &str) {
        let offset = self.offset;
        let inner = self.block_beginning(block);
        self.doubt_repeated(block);
        let known_names = self.names.len();
        self.names.extend(names(block));
        self.scopes.extend(inner);
        if let Some(template) = &mut block.template {
            self.template(template);
        }
        self.scopes.truncate(self.scopes.len() - usize::from(inner.is_some()));
        self.names.truncate(known_names);
        let end = self.values.place();
        self.values.go_back(start.to_owned());
        if let Some(template) = &mut block.inverse {
            self.template(template);
        }
        let without = self.values.place();
        self.values.go_back(if without.len() == start.len() { end.clone() } else { without.clone() });
        if self.escape.is_json() {
            self.branches(offset, start, &end, &without, block.name.as_name() == Some("each"));
        }
    }

    /// Looks at where the branches of a block leave off, in JSON.
    fn branches(&mut self, offset: usize, start: &str, end: &str, without: &str, repeats: bool) {
        if repeats && is_within_json_string(start) != is_within_json_string(end) {
            let fault =
                TemplateFault::new("a quote is opened and not closed, or the reverse, from one element to the next")
                    .help("let `{{#each}}` and `{{/each}}` both stand within quotes, or both outside");
            return self.faults.push(fault.at(self.text, offset));
        }
        self.uncertain |= is_within_json_string(end) != is_within_json_string(without);
    }

    /// What looks like an expression of another language.
    fn doubt_text(&mut self, text: &str) {
        // The library's place of text is sometimes behind its first line break, or before blanks that it leaves out.
        let mut from = self.offset.saturating_sub(usize::from(text.starts_with('\n')));
        for (place, fault) in lookalike::find(text) {
            let Some(written) = text.get(place) else { continue };
            let Some(start) = self.text.get(from..).and_then(|rest| rest.find(written)) else { continue };
            let part = from + start..from + start + written.len();
            from = part.end;
            self.doubts.push(Doubt::NotAnExpression(fault.within(self.text, part)));
        }
    }

    /// What `jsonpath` gives is an array only when it finds several values.
    fn doubt_repeated(&mut self, block: &HelperTemplate) {
        let is_jsonpath = |value: &Parameter| match value {
            Parameter::Subexpression(inner) => subexpression_name(inner) == "jsonpath",
            _ => false,
        };
        if block.name.as_name() == Some("each") && block.params.first().is_some_and(is_jsonpath) {
            let fault = TemplateFault::new(
                "`jsonpath` gives an array only when it finds several values: of one, `#each` takes the members",
            )
            .help("write `query` in its place, which always gives an array");
            self.doubts.push(Doubt::SingleValueRepeated(fault.at(self.text, self.offset)));
        }
    }

    /// Checks the beginning of a block, and gives the scope within it, if that is another.
    fn block_beginning(&mut self, block: &mut HelperTemplate) -> Option<Scope> {
        let name = block.name.as_name().unwrap_or_default();
        let Some(signature) = signature(&block.name) else {
            let help = format!("write {{{{#each {name}}}}}, {{{{#with {name}}}}} or {{{{#if {name}}}}}");
            self.refuse(foreign::unknown_helper(name, Kind::Block, &block.params).or_help(help));
            // What it might have done is unknown.
            return Some(Scope::Block);
        };
        if signature.kind == Kind::Value {
            self.refuse(
                TemplateFault::new(format!("`{name}` is not a block")).help(format!("write `{}`", signature.example)),
            );
            return None;
        }
        self.check(|checks| checks.arguments(signature, &block.params, &block.hash));
        keep_names(&mut block.params, &mut block.hash);
        self.bind_tables(block);
        matches!(signature.name, "each" | "with").then_some(Scope::Block)
    }

    /// Puts the values of tables in the place of paths to them.
    fn bind_tables(&self, call: &mut HelperTemplate) {
        tables::bind(self.tables, &self.scopes, &self.names, &mut call.params, &mut call.hash);
    }

    fn check(&mut self, look: impl FnOnce(&mut Checks<'_>)) {
        let mut checks = Checks::new(&self.scopes, &self.names, self.tables);
        look(&mut checks);
        let Checks { faults, unknown_members, queries, patterns, .. } = checks;
        faults.into_iter().for_each(|fault| self.refuse(fault));
        let doubts = unknown_members.into_iter().map(|fault| Doubt::UnknownMember(fault.at(self.text, self.offset)));
        self.doubts.extend(doubts);
        self.queries.extend(queries);
        self.patterns.extend(patterns);
    }

    fn refuse(&mut self, fault: TemplateFault) {
        let fault = fault.at(self.text, self.offset);
        // The same word twice in an expression: both are shown by the whole of it.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The names that `as |…|` gives.
fn names(block: &HelperTemplate) -> Vec<String> {
    let given = match &block.block_param {
        Some(BlockParam::Single(name)) => vec![name],
        Some(BlockParam::Pair((one, other))) => vec![one, other],
        _ => Vec::new(),
    };
    given.into_iter().filter_map(Parameter::as_name).map(str::to_owned).collect()
}

fn unsupported(what: &str, element: &DecoratorTemplate) -> TemplateFault {
    let name = element.name.as_name().unwrap_or_default();
    TemplateFault::new(format!("{what} such as `{name}` are not supported")).help("write the text in place")
}
