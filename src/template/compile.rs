//! Turns the text of a template into a tree that inserts values in one way only, and refuses what could not render.

use std::collections::HashMap;
use std::ops::Range;

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{Path, PathSeg, TemplateErrorReason};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::helpers::{self, Kind, SIGNATURES, Signature};
use super::nesting::{self, MAX_NESTING};
use super::place::{Place, is_within_json_string};
use super::values::Values;
use super::{Doubt, Escape, Outline, TemplateError, has_dot_segment, insert, never_json};
use crate::event::ENVELOPE;
use crate::interpolated::TextRef;
use crate::jsonpath::Query;
use crate::problem::did_you_mean;

/// A template ready for the registry that [`helpers`] makes.
pub(super) struct Compiled {
    pub(super) template: handlebars::Template,
    /// The JSONPath queries in the template, by their text.
    pub(super) queries: HashMap<String, Query>,
    /// The output, if it is the same for every event.
    pub(super) literal: Option<String>,
    /// See [`Template::outline`](super::Template::outline).
    pub(super) outline: Outline,
    /// What is probably not meant so.
    pub(super) doubts: Vec<Doubt>,
    /// Some value is inserted with the escaping of its place, which `{{{…}}}` switches off.
    pub(super) inserts: bool,
    /// Why it can never be the JSON that it should be, if it were a body.
    pub(super) never_json: Option<TemplateError>,
}

/// Parses and checks a template.
pub(super) fn compile(text: TextRef<'_>, escape: Escape) -> Result<Compiled, TemplateError> {
    let (values, text) = Values::new(text, escape)?;
    let text = text.as_ref();
    if let Some(offset) = nesting::too_deep(text) {
        let fault = Fault::new(format!("the template is nested deeper than {MAX_NESTING} levels"));
        return Err(fault.at(text, offset));
    }
    let mut template = handlebars::Template::compile(text).map_err(|error| syntax_error(text, &error))?;
    let mut walk = Walk {
        text,
        escape,
        values,
        queries: HashMap::new(),
        place: (1, 1),
        uncertain: false,
        doubts: Vec::new(),
        inserts: false,
    };
    walk.template(&mut template, Scope::Envelope)?;
    if escape == Escape::Url && has_dot_segment(&shape(&template)) {
        return Err(Fault::new("a segment of the URL's path is `.` or `..`, which leads to another path").at(text, 0));
    }
    if escape == Escape::Key && literal(&template).is_some() {
        return Err(constant_key(text).at(text, 0));
    }
    // Where quotes are opened in one branch only, nothing is certain.
    let never_json = if walk.uncertain { None } else { never_json::fault(&template, text, escape) };
    Ok(Compiled {
        never_json,
        literal: literal(&template),
        queries: walk.queries,
        outline: outline(&template),
        doubts: walk.doubts,
        inserts: walk.inserts,
        template,
    })
}

/// What is wrong with an expression; its place is known a level above.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

type Checked = Result<(), Fault>;

/// What a path without `@root` or `../` starts from.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Envelope,
    /// A value that is only known when an event comes, within `{{#each}}` and `{{#with}}`.
    Block,
}

struct Walk<'a> {
    text: &'a str,
    escape: Escape,
    values: Values<'a>,
    queries: HashMap<String, Query>,
    /// The line and column of the element that is looked at.
    place: (usize, usize),
    /// The branches of a block leave off at different places, one within quotes and one outside.
    uncertain: bool,
    doubts: Vec<Doubt>,
    inserts: bool,
}

impl Walk<'_> {
    fn template(&mut self, template: &mut handlebars::Template, scope: Scope) -> Result<(), TemplateError> {
        for (index, element) in template.elements.iter_mut().enumerate() {
            // A block pushes the place of its beginning, any other element its own: there is one for each.
            // Only the block that an `{{else if}}` makes has none, and is found by what comes before it.
            self.place = template.mapping.get(index).map_or(self.place, |place| (place.0, place.1));
            let (line, column) = self.place;
            let start = self.values.place();
            self.values.bind(element).map_err(|fault| fault.at(self.text, offset_of(self.text, line, column)))?;
            self.inserts |= matches!(element, TemplateElement::Expression(_));
            let checked = match element {
                TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                    let finished = self.expression(call, scope, &start);
                    if finished.as_ref().is_ok_and(|finished| *finished) {
                        *element = TemplateElement::HtmlExpression(call.clone());
                    }
                    finished.map(drop)
                }
                TemplateElement::HelperBlock(block) => match self.block(block, scope) {
                    Ok(inner) => {
                        self.doubt_repeated(block);
                        block.template.as_mut().map_or(Ok(()), |template| self.template(template, inner))?;
                        let end = self.values.place();
                        self.values.go_back(start.clone());
                        block.inverse.as_mut().map_or(Ok(()), |template| self.template(template, scope))?;
                        let without = self.values.place();
                        let repeats = block.name.as_name() == Some("each");
                        self.values.go_back(if without.len() == start.len() { end.clone() } else { without.clone() });
                        self.branches(&start, &end, &without, repeats)
                    }
                    Err(fault) => Err(fault),
                },
                TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                    Err(Fault::unsupported("partials", partial, "write the text in place"))
                }
                TemplateElement::DecoratorExpression(decorator) | TemplateElement::DecoratorBlock(decorator) => {
                    Err(Fault::unsupported("decorators", decorator, "write the text in place"))
                }
                TemplateElement::RawString(text) if self.escape == Escape::Header && !insert::is_header_text(text) => {
                    Err(Fault::new("the text holds a character that an HTTP header cannot carry")
                        .help("only visible ASCII and blanks, on one line"))
                }
                _ => Ok(()),
            };
            checked.map_err(|fault| fault.at(self.text, offset_of(self.text, line, column)))?;
        }
        Ok(())
    }

    /// Checks an expression that inserts a value, and makes it a call of [`insert`]. Gives whether what it inserts is
    /// right for its place already.
    fn expression(&mut self, call: &mut HelperTemplate, scope: Scope, before: &str) -> Result<bool, Fault> {
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
        self.parameter(&value, scope)?;
        let place = Place::behind(before, self.escape)?;
        let place = if self.uncertain { place.uncertain() } else { place };
        call.name = Parameter::Name(insert::name(place));
        let written = written(&value);
        let Parameter::Subexpression(inner) = &mut value else {
            call.params = vec![value];
            return Ok(false);
        };
        let finished =
            matches!((subexpression_name(inner), place), ("json", Place::JsonValue) | ("url_encode", Place::Encoded));
        if let TemplateElement::Expression(inner) = inner.element.as_mut() {
            keep_names(&mut inner.params, &mut inner.hash);
        }
        call.params = vec![value, Parameter::Literal(written.into())];
        Ok(finished)
    }

    /// Looks at where the branches of a block leave off, in JSON.
    fn branches(&mut self, start: &str, end: &str, without: &str, repeats: bool) -> Checked {
        if !self.escape.is_json() {
            return Ok(());
        }
        let changes = is_within_json_string(start) != is_within_json_string(end);
        if repeats && changes {
            return Err(Fault::new("a quote is opened and not closed, or the reverse, from one element to the next")
                .help("let `{{#each}}` and `{{/each}}` both stand within quotes, or both outside"));
        }
        self.uncertain |= is_within_json_string(end) != is_within_json_string(without);
        Ok(())
    }

    /// What `jsonpath` gives is an array only when it finds several values.
    fn doubt_repeated(&mut self, block: &HelperTemplate) {
        let is_jsonpath = |value: &Parameter| match value {
            Parameter::Subexpression(inner) => subexpression_name(inner) == "jsonpath",
            _ => false,
        };
        if block.name.as_name() == Some("each") && block.params.first().is_some_and(is_jsonpath) {
            let fault = Fault::new(
                "`jsonpath` gives an array only when it finds several values: of one, `#each` takes the members",
            )
            .help("write `query` in its place, which always gives an array");
            let (line, column) = self.place;
            self.doubts.push(Doubt::SingleValueRepeated(fault.at(self.text, offset_of(self.text, line, column))));
        }
    }

    /// Checks the beginning of a block, and gives the scope within it.
    fn block(&mut self, block: &mut HelperTemplate, scope: Scope) -> Result<Scope, Fault> {
        let name = block.name.as_name().unwrap_or_default();
        let Some(signature) = signature(&block.name) else {
            let help = format!("write {{{{#each {name}}}}}, {{{{#with {name}}}}} or {{{{#if {name}}}}}");
            return Err(unknown_helper(name, Kind::Block).or_help(help));
        };
        if signature.kind == Kind::Value {
            return Err(Fault::new(format!("`{name}` is not a block")).help(format!("write {{{{{name} …}}}}")));
        }
        self.arguments(signature, &block.params, &block.hash, scope)?;
        keep_names(&mut block.params, &mut block.hash);
        Ok(if matches!(signature.name, "each" | "with") { Scope::Block } else { scope })
    }

    fn arguments(
        &mut self,
        signature: &Signature,
        params: &[Parameter],
        named: &HashMap<String, Parameter>,
        scope: Scope,
    ) -> Checked {
        let (name, (fewest, most)) = (signature.name, signature.values);
        if params.len() < fewest || params.len() > most {
            let count = match (fewest, most) {
                (0, 0) => "no value".to_owned(),
                (1, 1) => "one value".to_owned(),
                (fewest, usize::MAX) => format!("{fewest} or more values"),
                (fewest, most) if fewest == most => format!("{fewest} values"),
                (fewest, most) => format!("{fewest} to {most} values"),
            };
            return Err(Fault::new(format!("`{name}` takes {count}, and is given {}", params.len())));
        }
        if let Some(unknown) = named.keys().find(|key| !signature.named.contains(&key.as_str())) {
            let fault = Fault::new(format!("`{name}` takes no value named `{unknown}`"));
            let known = signature.named.join(", ");
            return Err(if known.is_empty() { fault } else { fault.help(format!("it knows {known}")) });
        }
        params.iter().chain(named.values()).try_for_each(|value| self.parameter(value, scope))?;
        self.literals(name, params, named)
    }

    fn parameter(&mut self, value: &Parameter, scope: Scope) -> Checked {
        match value {
            Parameter::Literal(_) => Ok(()),
            Parameter::Name(name) => check_path(name, None, scope),
            Parameter::Path(Path::Local((_, name, raw))) => check_local(name, raw, scope),
            Parameter::Path(Path::Relative((segments, raw))) => {
                check_this(raw)?;
                check_path(raw, segments.first(), scope)
            }
            Parameter::Subexpression(inner) => {
                let TemplateElement::Expression(call) = inner.as_element() else { return Ok(()) };
                let name = call.name.as_name().unwrap_or_default();
                let Some(signature) = signature(&call.name) else { return Err(unknown_helper(name, Kind::Value)) };
                if signature.kind == Kind::Block {
                    return Err(Fault::new(format!("`{name}` is a block")).help(format!("write {{{{#{name} …}}}}")));
                }
                self.arguments(signature, &call.params, &call.hash, scope)
            }
            // The enum may grow: what the library adds is unknown here until it is thought about.
            _ => Err(Fault::new("this kind of value is not supported")),
        }
    }

    /// Checks literals that a helper would otherwise find wrong at every event.
    fn literals(&mut self, helper: &str, params: &[Parameter], named: &HashMap<String, Parameter>) -> Checked {
        match (helper, params) {
            ("jsonpath" | "query", [Parameter::Literal(Value::String(query))]) => {
                let parsed = Query::parse(query).map_err(|error| Fault {
                    message: format!("`{query}` is not a JSONPath query: {error}"),
                    help: error.help,
                })?;
                if let Some(member) = parsed.first_member().filter(|member| !ENVELOPE.contains(member)) {
                    let fault = Fault::new(format!("no event has a member `{member}`")).help(envelope_help(member));
                    let (line, column) = self.place;
                    self.doubts.push(Doubt::UnknownMember(fault.at(self.text, offset_of(self.text, line, column))));
                }
                self.queries.insert(query.clone(), parsed);
            }
            ("jsonpath" | "query", _) => {
                return Err(Fault::new(format!("`{helper}` takes its query as a literal")).help("put it in quotes"));
            }
            ("format_time", [_, format]) | ("now", [format]) => check_format(helper, format)?,
            _ => {}
        }
        match named.get("tz") {
            Some(Parameter::Literal(zone)) if zone.as_str().and_then(helpers::time_zone).is_none() => {
                Err(Fault::new(format!("{zone} is not a time zone")).help("the name of one, such as \"Europe/Berlin\""))
            }
            _ => Ok(()),
        }
    }
}

fn check_format(helper: &str, format: &Parameter) -> Checked {
    let Parameter::Literal(Value::String(format)) = format else {
        return Err(Fault::new(format!("`{helper}` takes its format as a literal")).help("put it in quotes"));
    };
    match helpers::strftime(Timestamp::UNIX_EPOCH, format, TimeZone::UTC) {
        Some(_) => Ok(()),
        None => Err(Fault::new(format!("`{format}` is not a strftime format")).help("for example \"%Y-%m-%d\"")),
    }
}

fn envelope_help(member: &str) -> String {
    match did_you_mean(member, ENVELOPE) {
        Some(meant) => format!("did you mean `$.{meant}`?"),
        None => format!("an event has {}; a member of the payload is `$.data.{member}`", ENVELOPE.join(", ")),
    }
}

/// A path from the envelope must start with one of its members, otherwise it is missing from every event.
fn check_path(raw: &str, first: Option<&PathSeg>, scope: Scope) -> Checked {
    let Some(PathSeg::Named(name)) = first else { return Ok(()) };
    if scope == Scope::Block || ENVELOPE.contains(&name.as_str()) {
        return Ok(());
    }
    let help = match did_you_mean(name, ENVELOPE).or(did_you_mean(name, SIGNATURES.iter().map(|known| known.name))) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("the payload's members are under `data`: write `data.{raw}`"),
    };
    Err(Fault::new(format!("`{name}` is neither a member of the envelope nor a helper")).help(help))
}

/// Handlebars leaves `this` out wherever it stands in a path: `data.this` would be all of `data`.
fn check_this(raw: &str) -> Checked {
    let path = raw.trim_start_matches("../").trim_start_matches("./");
    let mut parts = path.split(['.', '/']).skip(1);
    if parts.any(|part| matches!(part, "this" | "[this]")) {
        return Err(Fault::new(format!("`this` cannot stand within a path, as in `{raw}`"))
            .help("the member of that name is `(lookup data \"this\")`"));
    }
    Ok(())
}

/// What `{{#each}}` sets.
fn check_local(name: &str, raw: &str, scope: Scope) -> Checked {
    const LOCALS: [&str; 4] = ["index", "key", "first", "last"];
    if name == "root" {
        let help = "write `@root.data` for a member of the envelope, or `this` outside of blocks for all of it";
        return Err(Fault::new("`@root` cannot stand alone").help(help));
    }
    if !LOCALS.contains(&name) {
        return Err(Fault::new(format!("there is no `{raw}`")).help("`{{#each}}` sets @index, @key, @first and @last"));
    }
    if scope == Scope::Block {
        return Ok(());
    }
    Err(Fault::new(format!("`{raw}` is known only within {{{{#each}}}}")))
}

/// A value as it is written in the template, more or less.
fn written(value: &Parameter) -> String {
    match value {
        Parameter::Literal(value) => value.to_string(),
        Parameter::Name(name) => name.clone(),
        Parameter::Path(Path::Local((_, _, raw)) | Path::Relative((_, raw))) => raw.clone(),
        Parameter::Subexpression(inner) => match inner.as_element() {
            TemplateElement::Expression(call) => {
                let name = call.name.as_name().unwrap_or_default();
                let part = |value| match value {
                    &Parameter::Subexpression(_) => format!(" ({})", written(value)),
                    other => format!(" {}", written(other)),
                };
                call.params.iter().fold(name.to_owned(), |text, value| text + &part(value))
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// Hands the names of values that helpers give on to the helpers that take them, for their messages.
fn keep_names(params: &mut [Parameter], named: &mut HashMap<String, Parameter>) {
    for (index, value) in params.iter_mut().enumerate() {
        if !matches!(value, Parameter::Subexpression(_)) {
            continue;
        }
        named.insert(helpers::name_of(index), Parameter::Literal(written(value).into()));
        if let Parameter::Subexpression(inner) = value
            && let TemplateElement::Expression(call) = inner.element.as_mut()
        {
            keep_names(&mut call.params, &mut call.hash);
        }
    }
}

fn subexpression_name(inner: &Subexpression) -> &str {
    match inner.as_element() {
        TemplateElement::Expression(call) => call.name.as_name().unwrap_or_default(),
        _ => "",
    }
}

fn is_path(name: &Parameter) -> bool {
    matches!(name, Parameter::Path(_))
}

fn signature(name: &Parameter) -> Option<&'static Signature> {
    let name = name.as_name()?;
    SIGNATURES.iter().find(|signature| signature.name == name)
}

fn unknown_helper(name: &str, kind: Kind) -> Fault {
    let fault = Fault::new(format!("there is no helper `{name}`"));
    let known = SIGNATURES.iter().filter(|known| known.kind == kind || known.kind == Kind::ValueOrBlock);
    match did_you_mean(name, known.map(|known| known.name)) {
        Some(known) => fault.help(format!("did you mean `{known}`?")),
        None => fault,
    }
}

/// A key that is the same for every event was meant to be an expression.
fn constant_key(text: &str) -> Fault {
    let path = text.trim().trim_start_matches(['$', '.', '{', '@']).trim_end_matches('}');
    let first = path.split(['.', '[']).next().unwrap_or_default();
    let help = if ENVELOPE.contains(&first) {
        format!("write `{{{{{path}}}}}`")
    } else {
        "write an expression in two braces, such as `{{data.id}}`".to_owned()
    };
    Fault::new("this holds no expression, so it is the same for every event").help(help)
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

/// A syntax error in the words of someone who writes templates rather than grammars.
fn syntax_error(text: &str, error: &handlebars::TemplateError) -> TemplateError {
    let (line, column) = error.pos().unwrap_or((1, 1));
    let offset = offset_of(text, line, column);
    let fault = match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(opened, closed)
        | TemplateErrorReason::MismatchingClosedDecorator(opened, closed) => {
            Fault::new(format!("the block `{opened}` is closed as `{closed}`"))
        }
        TemplateErrorReason::InvalidParam(value) => Fault::new(format!("`{value}` is not a value")),
        _ if offset >= text.trim_end().len() => {
            Fault::new("the template ends within a block or an expression").help("close it with {{/…}} or }}")
        }
        _ => Fault::new("this is not a Handlebars expression").help("write \\{{ for two braces that are meant as text"),
    };
    fault.at(text, offset)
}

/// The bytes of the expression at a place, counted from 1; nothing when there is no such place.
pub(super) fn part_at(text: &str, line: usize, column: usize) -> Option<Range<usize>> {
    let offset = offset_of(text, line.max(1), column.max(1));
    Some(expression_at(offset, text.get(offset..)?))
}

/// The byte offset of a line and column, both from 1.
pub(super) fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = &text[start..];
    start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(offset, _)| offset)
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn unsupported(what: &str, element: &DecoratorTemplate, help: &str) -> Self {
        let name = element.name.as_name().unwrap_or_default();
        Self::new(format!("{what} such as `{name}` are not supported")).help(help)
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds help, if there is none yet.
    fn or_help(self, help: impl Into<String>) -> Self {
        if self.help.is_some() { self } else { self.help(help) }
    }

    /// Adds the place: the expression that begins at `offset`, or the one character there.
    pub(super) fn at(self, text: &str, offset: usize) -> TemplateError {
        let (before, here) = text.split_at(offset.min(text.len()));
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TemplateError {
            message: self.message,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            part: expression_at(offset, here),
            help: self.help,
        }
    }
}

fn expression_at(offset: usize, here: &str) -> Range<usize> {
    let expression = here.starts_with("{{").then(|| here.find("}}")).flatten().map(|end| end + 2);
    let length = expression.or(here.chars().next().map(char::len_utf8)).unwrap_or(0);
    offset..offset + length
}
