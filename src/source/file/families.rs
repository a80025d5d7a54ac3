//! Families: the files of each root in the order in which they were written.
//!
//! This module does no I/O, and does not know what the files hold.

use std::collections::HashMap;

use super::names::{self, Age, Times};
use super::observed::{Observed, Role};
use super::path::FilePath;

/// The files of each root: the rotated ones, oldest first, and last the root itself. What the root led to before comes
/// with its own rotated files. Files are named by their index.
pub(super) fn families(files: &[Observed]) -> HashMap<&FilePath, Vec<usize>> {
    let mut bases: HashMap<(&FilePath, &FilePath), Vec<(usize, &Age)>> = HashMap::new();
    let mut main_files = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let of_base = bases.entry((&file.root, &file.base)).or_default();
        match &file.role {
            Role::Rotated(age) => of_base.push((index, age)),
            Role::Root | Role::Former => main_files.push(index),
            Role::Sibling => {}
        }
    }
    let mut by_base: HashMap<(&FilePath, &FilePath), Vec<usize>> = HashMap::new();
    for (base, mut rotated) in bases {
        let times = |index: usize| Times { modified: files[index].modified, born: files[index].born };
        names::sort_oldest_first(&mut rotated, |(index, age)| (age, times(*index)));
        by_base.insert(base, rotated.into_iter().map(|(index, _)| index).collect());
    }
    for index in main_files {
        by_base.entry((&files[index].root, &files[index].base)).or_default().push(index);
    }
    let mut families: HashMap<&FilePath, Vec<Vec<usize>>> = HashMap::new();
    for ((root, _), of_base) in by_base.into_iter().filter(|(_, of_base)| !of_base.is_empty()) {
        families.entry(root).or_default().push(of_base);
    }
    let in_order = families.into_iter().map(|(root, mut of_bases)| {
        // What a root leads to now is younger than all it led to before.
        of_bases.sort_by_key(|of_base| {
            let current = of_base.iter().any(|index| files[*index].base == files[*index].real_root);
            let newest = of_base.iter().map(|index| files[*index].modified).max();
            (current, newest, of_base.first().copied())
        });
        (root, of_bases.concat())
    });
    in_order.collect()
}
