//! The shape of a table: which keys it may and must have, their types, and the ranges of its numbers and lists.
//!
//! The rules are those of the generated schema, so the schema and the code cannot disagree. What strings hold, such as
//! words, is left to serde, which reads them anyway, but for the bounds of values with a unit.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use regex::Regex;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Fault;
use super::interpolate::Replaced;
use super::{defaults, foreign, schema, wording};
use crate::interpolated::LANGUAGE;
use crate::problem::did_you_mean;
use crate::units;

/// What is known to be wrong with a file.
#[derive(Debug, Default)]
pub(super) struct Findings<'t> {
    /// The file's text.
    pub text: &'t str,
    /// In the order of discovery.
    pub faults: Vec<Fault>,
    /// The strings with values from the environment or a file.
    pub replaced: Replaced,
    /// Those of them that another language reads: a template, an expression.
    pub with_values: HashSet<Range<usize>>,
    /// The places of the values at fault. They are left out of what follows.
    pub broken: HashSet<Range<usize>>,
    /// The places of tables that lack a key they must have.
    pub incomplete: HashSet<Range<usize>>,
}

/// A table to look at.
pub(super) struct Subject<'a, 'i> {
    /// Where it stands in the file's tree.
    pub path: Vec<&'a str>,
    /// Where its key stands in the text.
    pub key: Range<usize>,
    /// Where it stands in the text.
    pub place: Range<usize>,
    /// The table.
    pub table: &'a DeTable<'i>,
}

impl Findings<'_> {
    /// Compares a table and those within it with their schema.
    pub(super) fn check_table(&mut self, subject: &Subject<'_, '_>, schema: &Value) {
        let properties = schema["properties"].as_object();
        self.refuse_two_spellings(subject);
        for (key, value) in subject.table {
            let name = key.get_ref().as_ref();
            let path: Vec<&str> = subject.path.iter().copied().chain([name]).collect();
            match property(schema, name) {
                Some(schema) => self.check_value(path, key.span(), value, schema),
                None => {
                    self.faults.push(unknown_key(&path, key.span(), value.get_ref(), schema));
                    self.broken.insert(value.span());
                }
            }
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !subject.table.contains_key(required) {
                let description = properties.and_then(|known| known.get(required)?["description"].as_str());
                self.faults.push(missing_key(&subject.path, subject.key.clone(), required, description));
                self.incomplete.insert(subject.place.clone());
            }
        }
    }

    /// Two keys that mean the same: which one holds would be chance.
    fn refuse_two_spellings(&mut self, subject: &Subject<'_, '_>) {
        if subject.path.contains(&"event") {
            return; // The headers of a record, whose names are their sender's.
        }
        let mut keys: Vec<_> = subject.table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let mut first_spellings = HashMap::new();
        for (key, value) in keys {
            let normalised = defaults::normalised(last(&subject.path), key.get_ref());
            let Some(first) = first_spellings.insert(normalised, key).filter(|_| !self.broken.contains(&value.span()))
            else {
                continue;
            };
            let line = line_of(self.text, first.span().start);
            let message = format!("`{}` stands on line {line} already, as `{}`", key.get_ref(), first.get_ref());
            let help = "upper and lower case make no difference here: keep one of the two".to_owned();
            self.faults.push(Fault { span: Some(key.span()), message, help: Some(help) });
            self.broken.insert(value.span());
        }
    }

    /// Compares a value and those within it with their schema.
    pub(super) fn check_value(
        &mut self,
        path: Vec<&str>,
        key: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        schema: &Value,
    ) {
        let place = value.span();
        if self.broken.contains(&place) {
            return;
        }
        let schema = wording::fitting(value.get_ref(), schema);
        if let Some(message) = wording::wrong_type(value.get_ref(), schema) {
            let help = match self.replaced.contains_key(&place) {
                true => Some("what `${…}` stands for is always a string; write the value itself here".to_owned()),
                false => wording::example(schema),
            };
            return self.reject(place, message, help);
        }
        match value.get_ref() {
            DeValue::Table(table) => self.check_table(&Subject { path, key, place, table }, schema),
            DeValue::Array(array) => {
                if schema["minItems"].as_u64().is_some_and(|least| (array.len() as u64) < least) {
                    self.reject(place, format!("`{}` must not be empty", last(&path)), None);
                }
                for element in array.iter() {
                    self.check_value(path.clone(), element.span(), element, &schema["items"]);
                }
            }
            DeValue::Integer(number) => {
                let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
                self.check_range(&path, place, number.map(|number| number as f64), schema);
            }
            DeValue::Float(number) => self.check_range(&path, place, number.as_str().parse().ok(), schema),
            DeValue::String(text) => {
                if schema.get(LANGUAGE).is_some() && self.replaced.contains_key(&place) {
                    self.with_values.insert(place.clone());
                }
                if let Some(bounds) = units::out_of_bounds(text, schema) {
                    self.reject(place, format!("`{}` must be {bounds}", last(&path)), None);
                }
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn check_range(&mut self, path: &[&str], place: Range<usize>, number: Option<f64>, schema: &Value) {
        let Some(number) = number else {
            return; // Too large for any number; serde says so.
        };
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        // Written so that NaN is out of every range.
        if least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most) {
            return;
        }
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, most) => format!("{} or less", most.unwrap_or_default()),
        };
        self.reject(place, format!("`{}` must be {range}", last(path)), None);
    }

    /// What stands in the file for a value that came from the environment or another file.
    pub(super) fn as_written(&self, place: &Range<usize>) -> Option<&str> {
        let is_replaced = self.replaced.contains_key(place);
        is_replaced.then(|| self.text.get(place.clone()).unwrap_or_default().trim_matches(['\'', '"']))
    }

    /// Notes a fault of the value at `place`.
    pub(super) fn reject(&mut self, place: Range<usize>, message: String, help: Option<String>) {
        self.faults.push(Fault { span: Some(place.clone()), message, help });
        self.broken.insert(place);
    }
}

/// The keys of a table.
pub(super) fn keys(schema: &Value) -> Vec<&str> {
    schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

/// The tables within a table that have this key: one that is written beside them is meant for them.
fn tables_with<'a>(schema: &'a Value, key: &str) -> Vec<&'a str> {
    let has_key = |table: &Value| {
        // A section takes any name for a node, and says nothing by that.
        let names = Some(&table["propertyNames"]).filter(|names| **names != schema::node_name());
        let pattern = names.and_then(|names| Regex::new(names["pattern"].as_str()?).ok());
        table["properties"].get(key).is_some() || pattern.is_some_and(|pattern| pattern.is_match(key))
    };
    let values = schema["properties"].as_object().into_iter().flatten();
    values.filter(|(_, value)| has_key(value)).map(|(name, _)| name.as_str()).collect()
}

/// The fault of a key that does not exist in a table of this schema.
pub(super) fn unknown_key(path: &[&str], key: Range<usize>, value: &DeValue<'_>, schema: &Value) -> Fault {
    let name = last(path);
    let known = keys(schema);
    let tables: Vec<_> = tables_with(schema, name).iter().map(|table| format!("`{table}`")).collect();
    // What the value cannot be for was not meant.
    let fits =
        |similar: &&str| property(schema, similar).is_none_or(|schema| wording::wrong_type(value, schema).is_none());
    let help = match (foreign::help(path, &known), did_you_mean(name, known.iter().copied()).filter(fits)) {
        (Some(help), _) => help.to_owned(),
        _ if !tables.is_empty() => format!("`{name}` belongs in the table {}", tables.join(" or ")),
        (None, Some(similar)) => format!("did you mean `{similar}`?"),
        _ if known.is_empty() => format!("{} takes no keys", table_name(&path[..path.len().saturating_sub(1)])),
        _ => format!("known keys: {}", known.join(", ")),
    };
    Fault { span: Some(key), message: format!("unknown key `{name}`"), help: Some(help) }
}

/// The fault of a table without a key that it must have.
pub(super) fn missing_key(path: &[&str], key: Range<usize>, required: &str, description: Option<&str>) -> Fault {
    let message = format!("{} lacks the key `{required}`", table_name(path));
    let help = description
        .and_then(|text| text.split_inclusive(". ").next())
        .map(|text| format!("{required}: {}", text.trim()));
    Fault { span: Some(key), message, help }
}

/// A table by its key. Not by its full path: several sinks may have it from the defaults.
pub(super) fn table_name(path: &[&str]) -> String {
    path.last().map_or("the file".to_owned(), |key| format!("`{key}`"))
}

/// The line of a place in the text, from 1.
pub(super) fn line_of(text: &str, start: usize) -> usize {
    text.get(..start).unwrap_or_default().matches('\n').count() + 1
}

fn last<'a>(path: &[&'a str]) -> &'a str {
    path.last().copied().unwrap_or_default()
}

/// The schema of a key: its own, or that of all further keys; `None` for an unknown key.
fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(property) = schema["properties"].get(key) {
        return Some(property);
    }
    match &schema["additionalProperties"] {
        Value::Bool(false) => None,
        further => Some(further),
    }
}
