//! What names, paths and values may be in an expression, as far as that can be known before any event comes.
//!
//! All faults of an expression are collected. What to write instead of what other languages have is `foreign`'s.

use std::collections::HashMap;

use handlebars::template::{Parameter, TemplateElement};
use handlebars::{Path, PathSeg};
use regex::Regex;

use super::fault::TemplateFault;
use super::helpers::{Kind, SIGNATURES, Signature};
use super::literals::Literals;
use super::place::Place;
use super::tables::{TablePath, Tables};
use super::{RenderFault, foreign, infix};
use crate::event::ENVELOPE;
use crate::jsonpath::Query;

/// What a path starts from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scope {
    Envelope,
    /// A value that is only known when an event comes, within `{{#each}}` and `{{#with}}`.
    Block,
}

/// What was found in one expression.
pub(super) struct Checks<'a> {
    /// The scopes around the expression, from the outermost.
    scopes: &'a [Scope],
    /// The names that `as |…|` gives to values there.
    names: &'a [String],
    tables: &'a Tables,
    pub(super) faults: Vec<TemplateFault>,
    /// Queries for what no event has.
    pub(super) unknown_members: Vec<TemplateFault>,
    pub(super) queries: Vec<(String, Query)>,
    pub(super) patterns: Vec<(String, Regex)>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(scopes: &'a [Scope], names: &'a [String], tables: &'a Tables) -> Self {
        let (faults, unknown_members) = (Vec::new(), Vec::new());
        Self { scopes, names, tables, faults, unknown_members, queries: Vec::new(), patterns: Vec::new() }
    }

    /// Checks a value: a literal, a path, or a call of a helper with what is handed to it.
    pub(super) fn parameter(&mut self, value: &Parameter) {
        match value {
            Parameter::Literal(_) => {}
            Parameter::Name(name) => self.path(name, &[]),
            Parameter::Path(Path::Local((_, name, raw))) => self.local(name, raw),
            Parameter::Path(Path::Relative((segments, raw))) => match TablePath::of(value, self.scopes, self.names) {
                Some(path) => self.faults.extend(self.tables.find(&path).err()),
                None => self.path(raw, segments),
            },
            Parameter::Subexpression(inner) => {
                let TemplateElement::Expression(call) = inner.as_element() else { return };
                let name = call.name.as_name().unwrap_or_default();
                match signature(&call.name) {
                    None => {
                        self.faults.push(foreign::unknown_helper(name, Kind::Value, &call.params));
                        // What is handed to it is looked at too, but for a calculation.
                        if !foreign::has_a_dash(&call.params) {
                            self.values(&call.params, &call.hash);
                        }
                    }
                    Some(signature) if signature.kind == Kind::Block => {
                        let fault = TemplateFault::new(format!("`{name}` is a block")).about(name);
                        self.faults.push(fault.help(format!("write {{{{#{name} …}}}}")));
                    }
                    Some(signature) => self.arguments(signature, &call.params, &call.hash),
                }
            }
            // The enum may grow: what the library adds is unknown here until it is thought about.
            _ => self.faults.push(TemplateFault::new("this kind of value is not supported")),
        }
    }

    /// Checks what a helper is given.
    pub(super) fn arguments(
        &mut self,
        signature: &Signature,
        params: &[Parameter],
        named: &HashMap<String, Parameter>,
    ) {
        let (name, (fewest, most)) = (signature.name, signature.values);
        if params.len() < fewest || params.len() > most {
            let message = format!("`{name}` takes {}, and is given {}", count(fewest, most), params.len());
            let help = foreign::other_order(signature, params)
                .unwrap_or_else(|| format!("for example `{}`", signature.example));
            return self.faults.push(TemplateFault::new(message).about(name).help(help));
        }
        let mut unknown: Vec<_> = named.keys().filter(|key| !signature.named.contains(&key.as_str())).collect();
        unknown.sort();
        for key in unknown {
            let fault = TemplateFault::new(format!("`{name}` takes no value named `{key}`")).about(key);
            let known = signature.named.join(", ");
            self.faults.push(if known.is_empty() { fault } else { fault.help(format!("it knows {known}")) });
        }
        self.values(params, named);
        let Literals { faults, unknown_members, query, pattern } = Literals::of(name, params, named);
        self.faults.extend(faults);
        self.unknown_members.extend(unknown_members);
        self.queries.extend(query);
        self.patterns.extend(pattern);
    }

    /// Refuses what is an object in every event where none can stand.
    pub(super) fn object(&mut self, value: &Parameter, place: Place) {
        let Parameter::Path(Path::Relative((segments, raw))) = value else { return };
        let is_object = match segments.as_slice() {
            [] => true,
            [PathSeg::Named(name)] => matches!(name.as_str(), "headers" | "meta"),
            _ => false,
        };
        if is_object && place != Place::JsonValue && self.scopes == [Scope::Envelope] {
            let whole = if segments.is_empty() { "; outside of blocks, `this` is the whole envelope" } else { "" };
            let message = RenderFault::NotScalar(raw.clone()).to_string();
            let (message, help) = message.split_once("; ").unwrap_or((&message, ""));
            self.faults.push(TemplateFault::new(message).about(raw).help(format!("{help}{whole}")));
        }
    }

    fn values(&mut self, params: &[Parameter], named: &HashMap<String, Parameter>) {
        let mut names: Vec<_> = named.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        params.iter().chain(names.into_iter().map(|(_, value)| value)).for_each(|value| self.parameter(value));
    }

    /// A path from the envelope must start with one of its members, otherwise it is missing from every event.
    fn path(&mut self, raw: &str, segments: &[PathSeg]) {
        if let Some(fault) = this_within(raw) {
            return self.faults.push(fault);
        }
        // The library does not give away what it calls `@root` and `../`.
        let from_root = raw.starts_with("@root");
        let ups =
            segments.iter().filter(|segment| matches!(segment, PathSeg::Ruled(_))).count() - usize::from(from_root);
        // Outside of blocks, `../` changes nothing.
        let level = self.scopes.len().checked_sub(ups + 1).or((self.scopes.len() == 1).then_some(0));
        let scope = match level.and_then(|level| self.scopes.get(level)) {
            _ if from_root => Scope::Envelope,
            Some(scope) => *scope,
            None => return self.faults.push(beyond_the_envelope(raw)),
        };
        let first = segments.iter().find_map(|segment| match segment {
            PathSeg::Named(name) => Some(name.as_str()),
            _ => None,
        });
        let Some(name) = first.filter(|name| scope == Scope::Envelope && !ENVELOPE.contains(name)) else { return };
        if !self.names.iter().any(|known| known == name) {
            self.faults.push(foreign::unknown_path(name, raw));
        }
    }

    /// What `{{#each}}` sets.
    fn local(&mut self, name: &str, raw: &str) {
        const LOCALS: [&str; 4] = ["index", "key", "first", "last"];
        if name == "root" {
            let help = "write `@root.data` for a member of the envelope, or `this` outside of blocks for all of it";
            self.faults.push(TemplateFault::new("`@root` cannot stand alone").about(raw).help(help));
        } else if !LOCALS.contains(&name) {
            let fault = TemplateFault::new(format!("there is no `{raw}`")).about(raw);
            self.faults.push(fault.help("`{{#each}}` sets @index, @key, @first and @last"));
        } else if self.scopes.last() != Some(&Scope::Block) {
            self.faults.push(TemplateFault::new(format!("`{raw}` is known only within {{{{#each}}}}")).about(raw));
        }
    }
}

/// What is known of the helper of a name.
pub(super) fn signature(name: &Parameter) -> Option<&'static Signature> {
    let name = name.as_name()?;
    SIGNATURES.iter().find(|signature| signature.name == name)
}

pub(super) fn is_path(name: &Parameter) -> bool {
    matches!(name, Parameter::Path(_))
}

fn count(fewest: usize, most: usize) -> String {
    match (fewest, most) {
        (0, 0) => "no value".to_owned(),
        (1, 1) => "one value".to_owned(),
        (fewest, usize::MAX) => format!("{fewest} or more values"),
        (fewest, most) if fewest == most => format!("{fewest} values"),
        (fewest, most) => format!("{fewest} to {most} values"),
    }
}

fn beyond_the_envelope(raw: &str) -> TemplateFault {
    let rest = raw.trim_start_matches("../");
    let path = if infix::starts_in_envelope(rest) { rest.to_owned() } else { format!("data.{rest}") };
    TemplateFault::new(format!(
        "`{raw}` leads beyond the envelope: only `{{{{#each}}}}` and `{{{{#with}}}}` are left by `../`"
    ))
    .about(raw)
    .help(format!("write `@root.{path}`, which is the same everywhere"))
}

/// Handlebars leaves `this` out wherever it stands in a path: `data.this` would be all of `data`.
fn this_within(raw: &str) -> Option<TemplateFault> {
    let path = raw.trim_start_matches("../").trim_start_matches("./");
    let mut parts = path.split(['.', '/']).skip(1);
    let fault = || {
        TemplateFault::new(format!("`this` cannot stand within a path, as in `{raw}`"))
            .about(raw)
            .help("the member of that name is `(lookup data \"this\")`")
    };
    parts.any(|part| matches!(part, "this" | "[this]")).then(fault)
}
