//! Siblings: the files beside another one that rotation may have made of it.
//!
//! It lists folders, and looks at nothing but names.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::names;
use super::observed::Role;
use super::walk::list;

/// Folders listed once per scan.
#[derive(Default)]
pub(super) struct Listings(HashMap<PathBuf, io::Result<Vec<OsString>>>);

impl Listings {
    /// The names in a folder, in order.
    pub(super) fn of(&mut self, folder: &Path) -> Result<&[OsString], &io::Error> {
        self.0.entry(folder.to_owned()).or_insert_with(|| list(folder)).as_deref()
    }

    /// The folders are to be listed anew.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The files of a folder that may have been made of `name` by rotation, those without a role by compressing another one
/// of them. The listing is in order.
pub(super) fn siblings<'a>(
    name: &'a OsStr,
    listing: &'a [OsString],
) -> impl Iterator<Item = (&'a OsStr, Option<Role>)> {
    let name = name.as_bytes();
    let stem = names::stem(name);
    let first = listing.partition_point(|other| other.as_bytes() < stem);
    let similar = listing[first..].iter().take_while(move |other| other.as_bytes().starts_with(stem));
    let contains = |name: &[u8]| listing.binary_search_by(|other| other.as_bytes().cmp(name)).is_ok();
    similar.filter(move |other| other.as_bytes() != name).filter_map(move |other| {
        let bytes = other.as_bytes();
        // A compressed file beside its original is a copy, and perhaps not complete yet.
        let original = names::uncompressed(bytes);
        if names::is_compressed(bytes) && contains(original) && original != name {
            return bytes.starts_with(name).then_some((other.as_os_str(), None));
        }
        match names::rotated_age(name, bytes) {
            Some(age) => Some((other.as_os_str(), Some(Role::Rotated(age)))),
            None => bytes.starts_with(name).then_some((other.as_os_str(), Some(Role::Sibling))),
        }
    })
}
