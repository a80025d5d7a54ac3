//! The values of programs: JSON, with numbers that keep their digits.
//!
//! The interpreter's own value type would do, but for what it lets a program build: here each value knows its size and
//! depth, and making, cloning and comparing is charged to the budget. Behaviour follows jq, where the interpreter differs.
//!
//! JSON that was read before, such as an event's envelope, is no copy (`given`): what a program does not ask for is never
//! made a value.

mod access;
mod arithmetic;
mod containers;
mod given;
mod order;

use std::fmt;
use std::sync::Arc;

use jaq_core::ValR;
use jaq_json::Num;

pub(super) use containers::{Array, Object};
pub use given::HoldsJson;

use super::budget::{admit, charge};
use containers::Extent;

/// A value of a program.
#[derive(Debug, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number
    Number(Num),
    /// Text
    Text(Arc<String>),
    /// An array
    Array(Arc<Array>),
    /// An object
    Object(Arc<Object>),
}

/// What making a value costs, beside its text.
pub(super) const COST: u64 = 32;

impl Value {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        charge(COST + text.len() as u64);
        admit(text.len() as u64, 0);
        Self::Text(Arc::new(text))
    }

    /// An array.
    pub fn array(items: impl IntoIterator<Item = Self>) -> Self {
        let mut array = Array::default();
        for item in items {
            array.push(item);
        }
        Self::Array(Arc::new(array))
    }

    /// An object. A name that comes again takes the place of the one before.
    pub fn object(members: impl IntoIterator<Item = (Arc<String>, Self)>) -> Self {
        let mut object = Object::default();
        for (name, value) in members {
            object.insert(name, value);
        }
        Self::Object(Arc::new(object))
    }

    /// The member of an object.
    pub fn member(&self, name: &str) -> Option<Self> {
        match self {
            Self::Object(object) => object.get(name),
            _ => None,
        }
    }

    /// The JSON that it is, if it was given.
    pub(super) fn json(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Array(array) => array.json(),
            Self::Object(object) => object.json(),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// About as many bytes as its JSON text has.
    pub(super) fn size(&self) -> u64 {
        self.extent().size
    }

    fn extent(&self) -> Extent {
        Extent::of_scalar(match self {
            Self::Array(array) => return array.extent(),
            Self::Object(object) => return object.extent(),
            Self::Null | Self::Bool(_) => 5,
            Self::Number(Num::Dec(digits)) => digits.len() as u64,
            // Three bits make a digit, more or less.
            Self::Number(Num::BigInt(integer)) => integer.bits() / 3,
            Self::Number(_) => 20,
            Self::Text(text) => text.len() as u64 + 2,
        })
    }

    /// The name of a member.
    fn into_name(self) -> Result<Arc<String>, jaq_core::Error<Self>> {
        match self {
            Self::Text(name) => Ok(name),
            other => Err(error(format!("the name of a member is text, not {}", other.kind()))),
        }
    }
}

/// An error that a program may catch.
pub(super) fn error(message: impl Into<String>) -> jaq_core::Error<Value> {
    jaq_core::Error::new(Value::text(message))
}

impl Clone for Value {
    fn clone(&self) -> Self {
        charge(8);
        match self {
            Self::Null => Self::Null,
            Self::Bool(value) => Self::Bool(*value),
            Self::Number(number) => Self::Number(number.clone()),
            Self::Text(text) => Self::Text(Arc::clone(text)),
            Self::Array(array) => Self::Array(Arc::clone(array)),
            Self::Object(object) => Self::Object(Arc::clone(object)),
        }
    }
}

/// The kind of value and nothing of it, because messages of errors are made this way.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<isize> for Value {
    fn from(number: isize) -> Self {
        charge(8);
        Self::Number(Num::Int(number))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        charge(8);
        Self::Number(Num::from_integral(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        charge(8);
        Self::Number(Num::Float(number))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// The part of a path that is a slice.
impl From<jaq_core::val::Range<Self>> for Value {
    fn from(range: jaq_core::val::Range<Self>) -> Self {
        let named = |name: &str, value: Option<Self>| (Arc::new(name.to_owned()), value.unwrap_or_default());
        Self::object([named("start", range.start), named("end", range.end)])
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::array(items)
    }
}

/// What the interpreter asks of its values.
impl jaq_core::ValT for Value {
    fn from_num(digits: &str) -> ValR<Self> {
        Ok(Self::Number(super::json::number(digits)))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> ValR<Self> {
        let mut object = Object::default();
        for (name, value) in members {
            object.insert(name.into_name()?, value);
        }
        Ok(Self::Object(Arc::new(object)))
    }

    fn key_values(self) -> jaq_core::box_iter::BoxIter<'static, ValR<(Self, Self), Self>> {
        self.into_key_values()
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        Box::new(self.into_key_values().map(|found| found.map(|(_, value)| value)))
    }

    fn index(self, index: &Self) -> ValR<Self> {
        Ok(self.found(index)?.unwrap_or_default())
    }

    fn range(self, range: jaq_core::val::Range<&Self>) -> ValR<Self> {
        self.slice(range)
    }

    fn map_values<'a, I: Iterator<Item = jaq_core::ValX<'a, Self>>>(
        self,
        opt: jaq_core::path::Opt,
        f: impl Fn(Self) -> I,
    ) -> jaq_core::ValX<'a, Self> {
        self.with_values(opt, f)
    }

    fn map_index<'a, I: Iterator<Item = jaq_core::ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: jaq_core::path::Opt,
        f: impl Fn(Self) -> I,
    ) -> jaq_core::ValX<'a, Self> {
        self.with_index(index, opt, f)
    }

    fn map_range<'a, I: Iterator<Item = jaq_core::ValX<'a, Self>>>(
        self,
        range: jaq_core::val::Range<&Self>,
        opt: jaq_core::path::Opt,
        f: impl Fn(Self) -> I,
    ) -> jaq_core::ValX<'a, Self> {
        self.with_slice(range, opt, f)
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            Self::Text(_) => self,
            other => Self::text(super::json::write(&other)),
        }
    }
}

/// What the standard library asks of its values.
impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Array(array) => Ok(Arc::unwrap_or_clone(array).into_items().into_iter().collect()),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Number(Num::Int(_) | Num::BigInt(_)))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Number(number) => number.as_isize(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(arithmetic::double(number)),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => {
                charge(text.len() as u64 / 8);
                Some(text.as_bytes())
            }
            _ => None,
        }
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::text(String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::text(String::from_utf8_lossy(bytes.as_ref()))
    }
}
