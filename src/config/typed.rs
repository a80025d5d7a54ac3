//! From a table to its struct, with every fault and not only the first.
//!
//! serde stops at its first error. So a value at which it stops is reported and left out, and the table is
//! deserialized again, until that succeeds or a key is lacking that the struct cannot do without.

use std::collections::HashSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Error, ValueDeserializer};

use super::diagnostics::Fault;
use super::shape::Findings;
use super::wording;
use crate::interpolated::{Part, TextRef};

impl Findings<'_> {
    /// Deserializes a table whose shape has been checked. With a `variant`, the table is the content of that variant
    /// of an enum. `None` means that faults, reported here or before, leave too little of it.
    pub(super) fn typed<T: DeserializeOwned>(
        &mut self,
        place: &Range<usize>,
        table: &DeTable<'_>,
        variant: Option<&str>,
    ) -> Option<T> {
        let mut sound = sound_table(table, &self.broken);
        loop {
            let error = match deserialize::<T>(place, self.in_parts(&sound), variant) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let at = error.span().unwrap_or(place.clone());
            let culprit = value_at(&sound, &at).map(Spanned::span);
            if !self.lacks_a_key_known_to_be_lacking(&error, &at, table) {
                let (message, help) = wording::explain(&self.message_of::<T>(&error, place, &sound, variant));
                self.faults.push(Fault { span: Some(at), message, help });
                self.broken.extend(culprit.clone());
            }
            sound = sound_table(&sound, &HashSet::from([culprit?]));
        }
    }

    /// The table with every string that another language reads as an array of its parts: written and put in, by turns.
    pub(super) fn in_parts<'i>(&self, table: &DeTable<'i>) -> DeTable<'i> {
        map_table(table, &|value| {
            let place = value.span();
            let values = self.replaced.get(&place).filter(|_| self.with_values.contains(&place));
            let (Some(values), DeValue::String(text)) = (values, value.get_ref()) else { return Some(value.clone()) };
            let mut parts = DeArray::new();
            for part in TextRef::new(text, values).parts() {
                let (Part::Written(part) | Part::Value(part)) = part;
                // Without a place of its own: it is not to be looked up again.
                parts.push(Spanned::new(0..0, DeValue::String(part.to_owned().into())));
            }
            Some(Spanned::new(place, DeValue::Array(parts)))
        })
    }

    /// Whether serde only misses a key whose absence, or whose value, was reported before.
    fn lacks_a_key_known_to_be_lacking(&self, error: &Error, at: &Range<usize>, table: &DeTable<'_>) -> bool {
        let table = match value_at(table, at) {
            Some(value) => value.get_ref().as_table(),
            None => Some(table),
        };
        let has_lost_a_value =
            || table.is_some_and(|table| table.values().any(|value| self.broken.contains(&value.span())));
        error.message().starts_with("missing field") && (self.incomplete.contains(at) || has_lost_a_value())
    }

    /// The error's message. Where the value came from the environment or a file, the message quotes what stands in
    /// the pipeline file in its place: for that, serde is shown this text instead of the value.
    fn message_of<T: DeserializeOwned>(
        &self,
        error: &Error,
        place: &Range<usize>,
        table: &DeTable<'_>,
        variant: Option<&str>,
    ) -> String {
        let at = error.span().unwrap_or(place.clone());
        let Some(written) = self.as_written(&at) else {
            return error.message().to_owned();
        };
        let as_written = map_table(table, &|value| {
            let is_meant = value.span() == at && value.get_ref().is_str();
            let shown = if is_meant { DeValue::String(written.into()) } else { value.get_ref().clone() };
            Some(Spanned::new(value.span(), shown))
        });
        match deserialize::<T>(place, as_written, variant) {
            Err(shown) if shown.span() == error.span() => shown.message().to_owned(),
            _ => format!("what `{written}` stands for is not allowed here"),
        }
    }
}

fn deserialize<T: DeserializeOwned>(
    place: &Range<usize>,
    table: DeTable<'_>,
    variant: Option<&str>,
) -> Result<T, Error> {
    let mut value = Spanned::new(place.clone(), DeValue::Table(table));
    if let Some(variant) = variant {
        let key = Spanned::new(place.clone(), variant.to_owned().into());
        value = Spanned::new(place.clone(), DeValue::Table(DeTable::from_iter([(key, value)])));
    }
    T::deserialize(ValueDeserializer::from(value))
}

/// The table without the values at fault.
fn sound_table<'i>(table: &DeTable<'i>, broken: &HashSet<Range<usize>>) -> DeTable<'i> {
    map_table(table, &|value| (!broken.contains(&value.span())).then(|| value.clone()))
}

/// The table with every value replaced or left out by `change`, from the outside in.
fn map_table<'i>(
    table: &DeTable<'i>,
    change: &dyn Fn(&Spanned<DeValue<'i>>) -> Option<Spanned<DeValue<'i>>>,
) -> DeTable<'i> {
    table.iter().filter_map(|(key, value)| Some((key.clone(), map_value(value, change)?))).collect()
}

fn map_value<'i>(
    value: &Spanned<DeValue<'i>>,
    change: &dyn Fn(&Spanned<DeValue<'i>>) -> Option<Spanned<DeValue<'i>>>,
) -> Option<Spanned<DeValue<'i>>> {
    let changed = change(value)?;
    let inner = match changed.get_ref() {
        DeValue::Table(table) => DeValue::Table(map_table(table, change)),
        DeValue::Array(array) => {
            let mut mapped = DeArray::new();
            array.iter().filter_map(|element| map_value(element, change)).for_each(|element| mapped.push(element));
            DeValue::Array(mapped)
        }
        _ => return Some(changed),
    };
    Some(Spanned::new(changed.span(), inner))
}

/// The innermost value of a table that stands, or whose key stands, at a place.
fn value_at<'t, 'i>(table: &'t DeTable<'i>, at: &Range<usize>) -> Option<&'t Spanned<DeValue<'i>>> {
    table.iter().find_map(|(key, value)| value_within(value, at).or_else(|| (key.span() == *at).then_some(value)))
}

fn value_within<'t, 'i>(value: &'t Spanned<DeValue<'i>>, at: &Range<usize>) -> Option<&'t Spanned<DeValue<'i>>> {
    let inner = match value.get_ref() {
        DeValue::Table(table) => value_at(table, at),
        DeValue::Array(array) => array.iter().find_map(|element| value_within(element, at)),
        _ => None,
    };
    inner.or_else(|| (value.span() == *at).then_some(value))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::units::Period;

    #[derive(Debug, Deserialize)]
    struct Example {
        #[serde(default)]
        waits: Vec<Period>,
        wait: Option<Period>,
        #[allow(dead_code, reason = "only its absence matters")]
        needed: u8,
    }

    fn typed<'t>(text: &'t str, findings: &mut Findings<'t>) -> Option<Example> {
        findings.typed(&(0..0), DeTable::parse(text).unwrap().get_ref(), None)
    }

    #[test]
    fn every_value_at_fault_is_reported_and_the_rest_is_read() {
        let text = "wait = 'x'\nwaits = ['y', '5s', 'z']\nneeded = 5";
        let mut findings = Findings { text, ..Findings::default() };
        let example = typed(text, &mut findings).unwrap();
        assert_eq!((example.waits, example.wait), (vec![Period::from_secs(5)], None));
        let shown: Vec<&str> = findings.faults.iter().map(|fault| &text[fault.span.clone().unwrap()]).collect();
        assert_eq!(shown, ["'x'", "'y'", "'z'"]);
    }

    #[test]
    fn a_missing_key_is_reported_unless_that_is_done() {
        let text = "wait = '1s'";
        let mut findings = Findings { text, ..Findings::default() };
        assert!(typed(text, &mut findings).is_none());
        assert_eq!(findings.faults.len(), 1);

        let mut findings = Findings { text, incomplete: std::iter::once(0..0).collect(), ..Findings::default() };
        assert!(typed(text, &mut findings).is_none());
        assert_eq!(findings.faults, []);
    }
}
