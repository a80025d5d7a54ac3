//! Arrays and objects: what a program made itself, and what was given to it, which becomes values when it is asked for as
//! a whole. One element or member of it is found without that.

use std::sync::{Arc, OnceLock};

use indexmap::{Equivalent, IndexMap};
use serde_json::Value as Json;

use super::given::Given;
use super::{COST, Value, admit, charge};

/// The elements of an array.
#[derive(Debug, Clone, Default)]
pub struct Array(Contents<Vec<Value>>);

/// The members of an object, in their order.
#[derive(Debug, Clone, Default)]
pub struct Object(Contents<Members>);

pub(in crate::jq) type Members = IndexMap<Arc<String>, Value>;

/// How large a value is. Both figures may be too high where members were taken away, and never too low.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) size: u64,
    levels: u32,
}

#[derive(Debug, Clone)]
enum Contents<T> {
    Made(Made<T>),
    Given { given: Given, parts: OnceLock<T>, extent: OnceLock<Extent> },
}

/// What a program may change.
#[derive(Debug, Clone, Default)]
pub(super) struct Made<T> {
    pub(super) parts: T,
    pub(super) extent: Extent,
}

/// The name of a member to look for.
#[derive(Hash)]
struct Name<'a>(&'a str);

impl Array {
    pub(super) fn given(given: Given) -> Self {
        Self(Contents::given(given))
    }

    /// The JSON that it is, if it was given.
    pub(in crate::jq) fn json(&self) -> Option<&Json> {
        self.0.json()
    }

    pub(in crate::jq) fn len(&self) -> usize {
        self.0.len(Vec::len)
    }

    pub(in crate::jq) fn items(&self) -> &[Value] {
        self.0.parts(items_of)
    }

    pub(super) fn into_items(self) -> Vec<Value> {
        self.0.into_made(items_of).parts
    }

    pub(super) fn get(&self, place: usize) -> Option<Value> {
        match &self.0 {
            Contents::Given { given, parts, .. } if parts.get().is_none() => {
                given.part(|json| json.as_array()?.get(place))
            }
            contents => contents.parts(items_of).get(place).cloned(),
        }
    }

    pub(super) fn push(&mut self, item: Value) {
        charge(COST);
        let made = self.made();
        made.extent.add(item.extent(), 0);
        made.parts.push(item);
    }

    pub(super) fn extent(&self) -> Extent {
        self.0.extent()
    }

    pub(super) fn made(&mut self) -> &mut Made<Vec<Value>> {
        self.0.made(items_of)
    }
}

impl Object {
    pub(super) fn given(given: Given) -> Self {
        Self(Contents::given(given))
    }

    /// The JSON that it is, if it was given.
    pub(in crate::jq) fn json(&self) -> Option<&Json> {
        self.0.json()
    }

    pub(in crate::jq) fn len(&self) -> usize {
        self.0.len(Members::len)
    }

    pub(in crate::jq) fn members(&self) -> &Members {
        self.0.parts(members_of)
    }

    pub(super) fn into_members(self) -> Members {
        self.0.into_made(members_of).parts
    }

    pub(in crate::jq) fn get(&self, name: &str) -> Option<Value> {
        match &self.0 {
            Contents::Given { given, parts, .. } if parts.get().is_none() => {
                given.part(|json| json.as_object()?.get(name))
            }
            contents => contents.parts(members_of).get(&Name(name)).cloned(),
        }
    }

    pub(super) fn insert(&mut self, name: Arc<String>, value: Value) {
        charge(2 * COST);
        let Made { parts, extent } = self.made();
        extent.add(value.extent(), name.len() as u64 + 3);
        if let Some(before) = parts.insert(name, value) {
            extent.size = extent.size.saturating_sub(before.size());
        }
    }

    pub(super) fn extent(&self) -> Extent {
        self.0.extent()
    }

    pub(super) fn made(&mut self) -> &mut Made<Members> {
        self.0.made(members_of)
    }
}

impl<T: Clone> Contents<T> {
    fn given(given: Given) -> Self {
        Self::Given { given, parts: OnceLock::new(), extent: OnceLock::new() }
    }

    fn json(&self) -> Option<&Json> {
        match self {
            Self::Made(_) => None,
            Self::Given { given, .. } => Some(given.json()),
        }
    }

    fn len(&self, of_parts: impl FnOnce(&T) -> usize) -> usize {
        match self {
            Self::Made(made) => of_parts(&made.parts),
            Self::Given { given, .. } => given.len(),
        }
    }

    fn parts(&self, of: impl FnOnce(&Given) -> T) -> &T {
        match self {
            Self::Made(made) => &made.parts,
            Self::Given { given, parts, .. } => parts.get_or_init(|| of(given)),
        }
    }

    fn extent(&self) -> Extent {
        match self {
            Self::Made(made) => made.extent,
            Self::Given { given, extent, .. } => *extent.get_or_init(|| given.extent()),
        }
    }

    fn into_made(self, of: impl FnOnce(&Given) -> T) -> Made<T> {
        let extent = self.extent();
        match self {
            Self::Made(made) => made,
            Self::Given { given, parts, .. } => {
                Made { parts: parts.into_inner().unwrap_or_else(|| of(&given)), extent }
            }
        }
    }
}

impl<T: Clone + Default> Contents<T> {
    fn made(&mut self, of: impl FnOnce(&Given) -> T) -> &mut Made<T> {
        if let Self::Given { .. } = self {
            *self = Self::Made(std::mem::take(self).into_made(of));
        }
        match self {
            Self::Made(made) => made,
            Self::Given { .. } => unreachable!("what was given was made above"),
        }
    }
}

impl<T: Default> Default for Contents<T> {
    fn default() -> Self {
        Self::Made(Made::default())
    }
}

fn items_of(given: &Given) -> Vec<Value> {
    charge(COST * given.len() as u64);
    (0..given.len()).filter_map(|place| given.part(|json| json.as_array()?.get(place))).collect()
}

fn members_of(given: &Given) -> Members {
    charge(2 * COST * given.len() as u64);
    let names = given.json().as_object().into_iter().flat_map(serde_json::Map::keys);
    let member = |name: &String| {
        charge(name.len() as u64);
        Some((Arc::new(name.clone()), given.part(|json| json.as_object()?.get(name))?))
    };
    names.filter_map(member).collect()
}

impl Equivalent<Arc<String>> for Name<'_> {
    fn equivalent(&self, name: &Arc<String>) -> bool {
        self.0 == name.as_str()
    }
}

impl Extent {
    /// That of a value that holds no others.
    pub(super) fn of_scalar(size: u64) -> Self {
        Self { size, levels: 0 }
    }

    /// Takes in an element or member.
    pub(super) fn add(&mut self, inner: Self, name: u64) {
        *self = self.and(inner, name);
        admit(self.size, self.levels);
    }

    /// With one more element, or a member whose name takes so much.
    pub(super) fn and(self, inner: Self, name: u64) -> Self {
        Self {
            size: self.size.saturating_add(inner.size).saturating_add(name + 1),
            levels: self.levels.max(inner.levels + 1),
        }
    }
}
