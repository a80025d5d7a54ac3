//! What stands in a value, and a value with a part of it changed: `.[k]`, `.[a:b]`, `.[]` and their updates.

use std::sync::Arc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValR, ValX};

use super::containers::Made;
use super::{Array, COST, Object, Value, arithmetic, charge, error};

impl Value {
    /// The elements with their indices, or the members with their names.
    pub(super) fn into_key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        match self {
            Self::Array(array) => {
                Box::new((0..array.len()).map(move |index| Ok((Self::from(index), array.items()[index].clone()))))
            }
            Self::Object(object) => Box::new((0..object.len()).filter_map(move |index| {
                let (name, value) = object.members().get_index(index)?;
                Some(Ok((Self::Text(Arc::clone(name)), value.clone())))
            })),
            other => box_once(Err(error(format!("{} has no elements or members", other.kind())))),
        }
    }

    /// What `.[index]` is, if it is there.
    pub(in crate::jq) fn found(&self, index: &Self) -> Result<Option<Self>, Error<Self>> {
        Ok(match (self, index) {
            (Self::Null, Self::Null | Self::Text(_) | Self::Number(_) | Self::Object(_)) => None,
            (Self::Object(object), Self::Text(name)) => object.get(name),
            (Self::Array(array), Self::Number(_)) => index.place_in(array.len()).and_then(|place| array.get(place)),
            (Self::Array(array), Self::Array(part)) => Some(array.indices_of_part(part)),
            (Self::Array(_) | Self::Text(_), Self::Object(range)) => {
                let bound = |name: &str| range.get(name);
                let (start, end) = (bound("start"), bound("end"));
                return self.clone().slice(start.as_ref()..end.as_ref()).map(Some);
            }
            _ => return Err(no_such_index(self, index)),
        })
    }

    /// `.[a:b]` of an array, or of the characters of a text.
    pub(super) fn slice(self, range: Range<&Self>) -> ValR<Self> {
        match self {
            Self::Null => Ok(Self::Null),
            Self::Array(array) => {
                let (start, end) = bounds(&range, array.len())?;
                Ok(array.items()[start..end].iter().cloned().collect())
            }
            Self::Text(text) => {
                let (start, end) = characters(&text, &range)?;
                Ok(Self::text(&text[start..end]))
            }
            other => Err(error(format!("{} has no parts from one place to another", other.kind()))),
        }
    }

    /// `.[] |= f`
    pub(super) fn with_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self {
            Self::Array(array) => Arc::unwrap_or_clone(array).into_items().into_iter().flat_map(f).collect(),
            Self::Object(object) => {
                let mut changed = Object::default();
                for (name, value) in Arc::unwrap_or_clone(object).into_members() {
                    if let Some(value) = f(value).next().transpose()? {
                        changed.insert(name, value);
                    }
                }
                Ok(Self::Object(Arc::new(changed)))
            }
            other => opt.fail(other, |other| error(format!("{} has no elements or members", other.kind())).into()),
        }
    }

    /// `.[index] |= f`
    pub(super) fn with_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match (self, index) {
            (Self::Null, Self::Text(_)) => Self::object([]).with_index(index, opt, f),
            (Self::Null, Self::Number(_)) => Self::array([]).with_index(index, opt, f),
            (Self::Object(mut object), Self::Text(name)) => {
                Arc::make_mut(&mut object).change(name, f)?;
                Ok(Self::Object(object))
            }
            (Self::Array(mut array), Self::Number(_)) => {
                let Some(place) = index.place_in(array.len()) else {
                    let fail = |_| error("an index is before the beginning of the array").into();
                    return opt.fail(Self::Array(array), fail);
                };
                Arc::make_mut(&mut array).change(place, f)?;
                Ok(Self::Array(array))
            }
            (value @ (Self::Array(_) | Self::Null | Self::Text(_)), Self::Object(range)) => {
                let bound = |name: &str| range.get(name);
                let (start, end) = (bound("start"), bound("end"));
                value.with_slice(start.as_ref()..end.as_ref(), opt, f)
            }
            (value, index) => opt.fail(value, |value| no_such_index(&value, index).into()),
        }
    }

    /// `.[a:b] |= f`
    pub(super) fn with_slice<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let array = match self {
            Self::Array(array) => array,
            Self::Null => Arc::default(),
            other => {
                let message = format!("a part of {} cannot be changed", other.kind());
                return opt.fail(other, |_| error(message).into());
            }
        };
        let (start, end) = match bounds(&range, array.len()) {
            Ok(bounds) => bounds,
            Err(fault) => return opt.fail(Self::Array(array), |_| fault.into()),
        };
        let part = array.items()[start..end].iter().cloned().collect();
        let replacement = match f(part).next().transpose()? {
            Some(Self::Array(items)) => items,
            Some(other) => {
                return Err(error(format!("a part of an array becomes an array, not {}", other.kind())).into());
            }
            None => Arc::default(),
        };
        let (before, behind) = (&array.items()[..start], &array.items()[end..]);
        Ok(before.iter().chain(replacement.items()).chain(behind).cloned().collect())
    }

    /// The place in an array of this length that a number means; one behind the end is a place too.
    fn place_in(&self, length: usize) -> Option<usize> {
        let Self::Number(number) = self else { return None };
        let place = arithmetic::double(number).floor();
        let place = if place < 0.0 { place + length as f64 } else { place };
        // A cast gives the nearest number there is.
        (place >= 0.0).then_some(place as usize)
    }
}

impl Array {
    fn indices_of_part(&self, part: &Self) -> Value {
        if part.len() == 0 {
            return Value::array([]);
        }
        let places = self.items().windows(part.len()).enumerate();
        places.filter(|(_, window)| *window == part.items()).map(|(place, _)| Value::from(place)).collect()
    }

    fn change<'a, I: Iterator<Item = ValX<'a, Value>>>(
        &mut self,
        place: usize,
        f: impl Fn(Value) -> I,
    ) -> Result<(), Exn<'a, Value>> {
        let Made { parts, .. } = self.made();
        let size = parts.get(place).map_or(0, Value::size);
        let before = parts.get_mut(place).map(std::mem::take).unwrap_or_default();
        match f(before).next().transpose()? {
            Some(after) => {
                while self.len() <= place {
                    self.push(Value::Null);
                }
                let Made { parts, extent } = self.made();
                // What is filled up stays counted, which is not too little.
                extent.size = extent.size.saturating_sub(size);
                extent.add(after.extent(), 0);
                parts[place] = after;
            }
            None if place < self.len() => {
                charge((self.len() - place) as u64);
                let Made { parts, extent } = self.made();
                extent.size = extent.size.saturating_sub(size);
                parts.remove(place);
            }
            None => {}
        }
        Ok(())
    }
}

impl Object {
    fn change<'a, I: Iterator<Item = ValX<'a, Value>>>(
        &mut self,
        name: &Arc<String>,
        f: impl Fn(Value) -> I,
    ) -> Result<(), Exn<'a, Value>> {
        let Made { parts, extent } = self.made();
        let before = match parts.get_mut(name) {
            Some(value) => {
                let before = std::mem::take(value);
                // What stands there meanwhile is null.
                extent.size = (extent.size + Value::Null.size()).saturating_sub(before.size());
                before
            }
            None => Value::Null,
        };
        match f(before).next().transpose()? {
            Some(after) => self.insert(Arc::clone(name), after),
            None => {
                charge(self.len() as u64);
                self.made().parts.shift_remove(name);
            }
        }
        Ok(())
    }
}

/// A range as two places of an array of this length.
fn bounds(range: &Range<&Value>, length: usize) -> Result<(usize, usize), Error<Value>> {
    let place = |bound: Option<&Value>, open: usize, round: fn(f64) -> f64| match bound {
        None | Some(Value::Null) => Ok(open),
        Some(Value::Number(number)) => {
            let place = round(arithmetic::double(number));
            let place = if place < 0.0 { place + length as f64 } else { place };
            // A cast gives the nearest number there is.
            Ok((place.max(0.0) as usize).min(length))
        }
        Some(other) => Err(error(format!("a part begins and ends at a number, not {}", other.kind()))),
    };
    let (start, end) = (place(range.start, 0, f64::floor)?, place(range.end, length, f64::ceil)?);
    Ok((start, end.max(start)))
}

/// A range of characters as one of bytes.
fn characters(text: &str, range: &Range<&Value>) -> Result<(usize, usize), Error<Value>> {
    charge(text.len() as u64 / 4 + COST);
    let length = if text.is_ascii() { text.len() } else { text.chars().count() };
    let (start, end) = bounds(range, length)?;
    if text.is_ascii() {
        return Ok((start, end));
    }
    let byte = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte);
    Ok((byte(start), byte(end)))
}

fn no_such_index(value: &Value, index: &Value) -> Error<Value> {
    error(match index {
        Value::Text(name) => {
            let name: String = name.chars().take(80).collect();
            format!("{} has no member `{name}`", value.kind())
        }
        Value::Number(number) => format!("{} has no element {number}", value.kind()),
        other => format!("{} has no place that is {}", value.kind(), other.kind()),
    })
}
