//! The tables of a pipeline file: rows by key, asked by `{{lookup tables.tenants data.tenant}}`.
//!
//! They are no part of any event. A path that leads into them is replaced by the value there when the template is loaded,
//! so that it costs no event anything, and an unknown table is found at load.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use handlebars::template::{Parameter, TemplateElement};
use handlebars::{Path, PathSeg};
use serde_json::{Map, Value};

use super::check::Scope;
use super::fault::TemplateFault;
use super::helpers;
use super::written::written;
use crate::problem::did_you_mean;

/// What the first name of a path into the tables is.
pub(super) const TABLES: &str = "tables";

/// The tables of a pipeline file, by name.
#[derive(Clone, Default)]
pub struct Tables(Arc<Map<String, Value>>);

impl Tables {
    /// The tables of a file.
    pub fn new<R: IntoIterator<Item = (String, Value)>>(tables: impl IntoIterator<Item = (String, R)>) -> Self {
        let table = |(name, rows): (String, R)| (name, Value::Object(rows.into_iter().collect()));
        Self(Arc::new(tables.into_iter().map(table).collect()))
    }

    /// All tables by name, each an object of its rows.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The value that a path within the tables leads to: a table, a row, or what stands in one.
    pub(super) fn find(&self, path: &TablePath<'_>) -> Result<Value, TemplateFault> {
        let (mut members, mut found) = (Some(&*self.0), None);
        for (depth, name) in path.names.iter().enumerate() {
            let value = members.and_then(|members| members.get(*name));
            found = Some(value.ok_or_else(|| unknown(members, name, depth, path))?);
            members = value.and_then(Value::as_object);
        }
        Ok(found.cloned().unwrap_or_else(|| Value::Object((*self.0).clone())))
    }
}

impl fmt::Debug for Tables {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A path into the tables.
pub(super) struct TablePath<'a> {
    /// The names behind `tables`.
    names: Vec<&'a str>,
    raw: &'a str,
}

impl<'a> TablePath<'a> {
    /// The path that a value is, if it is one into the tables.
    pub(super) fn of(value: &'a Parameter, scopes: &[Scope], names: &[String]) -> Option<Self> {
        let Parameter::Path(Path::Relative((segments, raw))) = value else { return None };
        if !starts_in_envelope(raw, segments, scopes) || names.iter().any(|name| name == TABLES) {
            return None;
        }
        let name = |segment: &'a PathSeg| match segment {
            PathSeg::Named(name) => Some(name.trim_start_matches('[').trim_end_matches(']')),
            _ => None,
        };
        let mut path = segments.iter().filter_map(name);
        (path.next() == Some(TABLES)).then(|| Self { names: path.collect(), raw })
    }
}

/// Whether a path begins in the envelope: not within `{{#each}}` or `{{#with}}`, or behind `@root` or `../`.
fn starts_in_envelope(raw: &str, segments: &[PathSeg], scopes: &[Scope]) -> bool {
    let ups = segments.iter().filter(|segment| matches!(segment, PathSeg::Ruled(_))).count();
    let scope = scopes.len().checked_sub(ups + 1).and_then(|level| scopes.get(level));
    raw.starts_with("@root") || scopes.len() == 1 || scope == Some(&Scope::Envelope)
}

/// Puts the values into the parameters of a call, and keeps their names for messages.
pub(super) fn bind(
    tables: &Tables,
    scopes: &[Scope],
    names: &[String],
    params: &mut [Parameter],
    named: &mut HashMap<String, Parameter>,
) {
    for (index, param) in params.iter_mut().enumerate() {
        if let Some(raw) = bind_one(tables, scopes, names, param) {
            named.insert(helpers::name_of(index), Parameter::Literal(raw.into()));
        }
    }
    for param in named.values_mut() {
        bind_one(tables, scopes, names, param);
    }
}

/// Gives what was written, where it was a path into the tables.
fn bind_one(tables: &Tables, scopes: &[Scope], names: &[String], param: &mut Parameter) -> Option<String> {
    if let Parameter::Subexpression(inner) = param {
        if let TemplateElement::Expression(call) = inner.element.as_mut() {
            bind(tables, scopes, names, &mut call.params, &mut call.hash);
        }
        return None;
    }
    let value = tables.find(&TablePath::of(param, scopes, names)?).ok()?;
    let raw = written(param);
    *param = Parameter::Literal(value);
    Some(raw)
}

fn unknown(known: Option<&Map<String, Value>>, name: &str, depth: usize, path: &TablePath<'_>) -> TemplateFault {
    let message = match depth {
        0 => format!("there is no table `{name}`"),
        _ => format!("`{TABLES}.{}` has no `{name}`", path.names[..depth].join(".")),
    };
    let fault = TemplateFault::new(message).about(path.raw);
    let known: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    match did_you_mean(name, known.iter().copied()) {
        Some(meant) => fault.help(format!("did you mean `{meant}`?")),
        None if depth == 0 && known.is_empty() => fault.help(format!("add `[{TABLES}.{name}]` with a row per key")),
        None if known.is_empty() => fault,
        None => fault.help(format!("there are {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::{Context, Escape, Options, RenderFault, Template, TemplateError};

    fn options() -> Options {
        let tenants =
            json!({"acme": {"url": "https://acme.example", "vip": true}, "b.c": {"url": "https://b.example"}});
        let tables = [("tenants", tenants), ("regions", json!({"eu": "Europe"}))];
        let rows = |(name, rows): (&str, Value)| (name.to_owned(), rows.as_object().cloned().unwrap_or_default());
        Options { tables: Tables::new(tables.map(rows)), ..Options::default() }
    }

    fn compile(text: &str) -> Result<Template, Vec<TemplateError>> {
        Template::compile_with(text, Escape::Text, &options())
    }

    fn render(text: &str, data: Value) -> Result<String, RenderFault> {
        let template = compile(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        template.render(&Context::new(json!({ "data": data }))).map_err(|failure| failure.fault)
    }

    #[test]
    fn a_row_is_looked_up_by_what_the_event_holds() {
        let data = json!({"tenant": "acme", "items": [{"tenant": "b.c"}], "tables": "own"});
        for (text, expected) in [
            ("{{lookup (lookup tables.tenants data.tenant) \"url\"}}", "https://acme.example"),
            ("{{lookup tables.regions \"eu\"}}", "Europe"),
            ("{{tables.regions.eu}} {{upper tables.regions.eu}}", "Europe EUROPE"),
            ("{{tables.tenants.[b.c].url}}", "https://b.example"),
            ("{{#with (lookup tables.tenants data.tenant)}}{{url}} {{vip}}{{/with}}", "https://acme.example true"),
            (
                "{{#each data.items}}{{lookup (lookup @root.tables.tenants tenant) \"url\"}}{{/each}}",
                "https://b.example",
            ),
            ("{{#if (has tables.tenants data.tenant)}}known{{/if}}", "known"),
            ("{{#each tables.regions}}{{@key}}={{this}}{{/each}}", "eu=Europe"),
            ("{{data.tables}}{{#with data}}{{tables}}{{/with}}", "ownown"),
        ] {
            assert_eq!(render(text, data.clone()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_missing_row_is_named_without_any_value_of_the_table() {
        for (text, name) in [
            ("{{lookup tables.tenants data.tenant}}", "lookup tables.tenants data.tenant"),
            (
                "{{lookup (lookup tables.tenants data.tenant) \"url\"}}",
                "lookup (lookup tables.tenants data.tenant) \"url\"",
            ),
        ] {
            assert_eq!(render(text, json!({"tenant": "x"})), Err(RenderFault::NothingFound(name.into())), "{text}");
        }
        let fault = render("{{upper tables.tenants}}", json!({})).unwrap_err().to_string();
        assert!(fault.contains("`tables.tenants`") && !fault.contains("acme"), "{fault}");
        let fault = render("{{tables.tenants}}", json!({})).unwrap_err().to_string();
        assert!(fault.contains("`tables.tenants`") && !fault.contains("acme"), "{fault}");
        assert!(!format!("{:?}", options().tables).contains("acme"));
    }

    #[test]
    fn a_missing_row_goes_to_else_or_to_a_default() {
        let url = r#"{{lookup (lookup tables.tenants data.tenant) "url"}}"#;
        for text in [
            "{{#with (lookup tables.tenants data.tenant)}}{{url}}{{else}}none{{/with}}".to_owned(),
            "{{#with (lookup tables.tenants data.tenant) as |row|}}{{row.url}}{{else}}none{{/with}}".to_owned(),
            format!("{{{{#if (lookup tables.tenants data.tenant)}}}}{url}{{{{else}}}}none{{{{/if}}}}"),
            format!("{{{{#unless (lookup tables.tenants data.tenant)}}}}none{{{{else}}}}{url}{{{{/unless}}}}"),
            format!("{{{{#if (has tables.tenants data.tenant)}}}}{url}{{{{else}}}}none{{{{/if}}}}"),
            format!(
                "{{{{#if data.x}}}}x{{{{else if (lookup tables.tenants data.tenant)}}}}{url}{{{{else}}}}none{{{{/if}}}}"
            ),
            r#"{{default (lookup (lookup tables.tenants data.tenant) "url") "none"}}"#.to_owned(),
        ] {
            for (tenant, expected) in [("acme", "https://acme.example"), ("x", "none")] {
                assert_eq!(render(&text, json!({"tenant": tenant})).as_deref(), Ok(expected), "{text}");
            }
        }
        let text = "{{#with (lookup tables.tenants data.tenant)}}{{vip}}{{else}}none{{/with}}";
        // A row that lacks a member is no missing row, and an event without a tenant has none to look up.
        assert_eq!(render(text, json!({"tenant": "b.c"})), Err(RenderFault::Missing("vip".into())));
        assert_eq!(render(text, json!({})), Err(RenderFault::Missing("data.tenant".into())));
    }

    #[test]
    fn what_no_table_has_is_found_at_load() {
        for (text, message, help) in [
            ("{{lookup tables.tenant data.x}}", "no table `tenant`", "`tenants`"),
            ("{{tables.regions.us}}", "`tables.regions` has no `us`", "did you mean `eu`|there are eu"),
            ("{{#each data.x}}{{lookup @root.tables.foo y}}{{/each}}", "no table `foo`", "there are tenants, regions"),
        ] {
            let fault = compile(text).err().and_then(|mut faults| faults.pop()).unwrap_or_else(|| panic!("{text}"));
            assert!(fault.message.contains(message), "{text}: {fault}");
            assert!(help.split('|').any(|help| fault.help.as_ref().unwrap().contains(help)), "{text}: {fault:?}");
        }
        let fault = Template::compile("{{lookup tables.tenants data.x}}", Escape::Text).unwrap_err().remove(0);
        assert!(fault.help.unwrap().contains("[tables.tenants]"));
    }
}
