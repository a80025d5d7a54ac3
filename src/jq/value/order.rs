//! The order of values, as in jq: null, false, true, numbers, text, arrays, objects.

use std::cmp::Ordering;

use super::{Object, Value, charge};

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        charge(1);
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Number(left), Self::Number(right)) => left.cmp(right),
            (Self::Text(left), Self::Text(right)) => {
                charge(left.len().min(right.len()) as u64 / 16);
                left.cmp(right)
            }
            (Self::Array(left), Self::Array(right)) => left.items().iter().cmp(right.items()),
            (Self::Object(left), Self::Object(right)) => in_order_of_names(left, right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// The names first, then the values in the order of the names.
fn in_order_of_names(left: &Object, right: &Object) -> Ordering {
    let sorted = |object: &Object| {
        charge(8 * object.len() as u64);
        let mut names: Vec<_> = object.members().keys().cloned().collect();
        names.sort_unstable();
        names
    };
    let (names, others) = (sorted(left), sorted(right));
    names.cmp(&others).then_with(|| {
        let values = |object: &'_ Object| names.iter().map(|name| object.get(name)).collect::<Vec<_>>();
        values(left).cmp(&values(right))
    })
}

impl Value {
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}
