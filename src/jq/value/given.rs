//! JSON that was read before a program runs, as its values see it: where it lies, without a copy.
//!
//! This module must not change what is given, and knows nothing of what programs make themselves.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;
use yoke::Yoke;

use super::containers::{Array, Extent, Object};
use super::{COST, Value, charge};
use crate::event::Envelope;
use crate::jq::json;

/// What holds JSON that programs read, such as the envelope that templates read too.
pub trait HoldsJson: Send + Sync + 'static {
    /// The JSON.
    fn json(&self) -> &Json;
}

impl HoldsJson for Json {
    fn json(&self) -> &Json {
        self
    }
}

impl HoldsJson for Envelope {
    fn json(&self) -> &Json {
        self.as_value()
    }
}

/// An array or object of what was given.
#[derive(Clone)]
pub(super) struct Given(Yoke<&'static Json, Arc<dyn HoldsJson>>);

impl Value {
    /// The value of JSON that was read before, such as an event's envelope ([`Event::envelope`]): nothing of it is copied,
    /// and nothing is made a value that no program asks for.
    ///
    /// [`Event::envelope`]: crate::event::Event::envelope
    pub fn of_json(holder: Arc<impl HoldsJson>) -> Self {
        let whole = Given(Yoke::attach_to_cart(holder as Arc<dyn HoldsJson>, |holder| holder.json()));
        whole.part(|json| Some(json)).unwrap_or_default()
    }
}

impl Given {
    pub(super) fn json(&self) -> &Json {
        self.0.get()
    }

    /// The value of a part of it, if `find` finds that.
    pub(super) fn part(&self, find: impl for<'a> Fn(&'a Json) -> Option<&'a Json>) -> Option<Value> {
        let found = find(self.json())?;
        let inner = || self.0.try_map_project_cloned(|json, _| find(json).ok_or(())).ok().map(Self);
        match found {
            Json::Null => Some(Value::Null),
            Json::Bool(value) => Some(Value::Bool(*value)),
            Json::Number(number) => Some(Value::Number(json::number(number.as_str()))),
            Json::String(text) => Some(Value::text(text.as_str())),
            Json::Array(_) => {
                charge(COST);
                Some(Value::Array(Arc::new(Array::given(inner()?))))
            }
            Json::Object(_) => {
                charge(COST);
                Some(Value::Object(Arc::new(Object::given(inner()?))))
            }
        }
    }

    /// The number of its elements or members.
    pub(super) fn len(&self) -> usize {
        match self.json() {
            Json::Array(items) => items.len(),
            Json::Object(members) => members.len(),
            _ => 0,
        }
    }

    /// How large it is. All of it is looked at.
    pub(super) fn extent(&self) -> Extent {
        let extent = extent(self.json());
        charge(extent.size / 4);
        extent
    }
}

fn extent(json: &Json) -> Extent {
    match json {
        Json::Null | Json::Bool(_) => Extent::of_scalar(5),
        Json::Number(number) => Extent::of_scalar(number.as_str().len().max(20) as u64),
        Json::String(text) => Extent::of_scalar(text.len() as u64 + 2),
        Json::Array(items) => items.iter().fold(Extent::default(), |whole, item| whole.and(extent(item), 0)),
        Json::Object(members) => {
            let with = |whole: Extent, (name, value): (&String, &Json)| whole.and(extent(value), name.len() as u64 + 3);
            members.iter().fold(Extent::default(), with)
        }
    }
}

/// Nothing of what an event holds.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").finish_non_exhaustive()
    }
}
