//! What a look at the paths says of one file.
//!
//! It reads the little that tells a copy from another file with the same beginning, and decides nothing else.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::heads::read_up_to;
use super::identity::{HEAD_LENGTH, Identity};
use super::names::Age;
use super::path::FilePath;

/// One file that was seen.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The path that matched the source's patterns, or its rotated sibling's.
    pub(super) root: FilePath,
    /// The same with symbolic links resolved.
    pub(super) real_root: FilePath,
    /// The path beside which it was found: that of `real_root`, or of what the root led to before.
    pub(super) base: FilePath,
    /// Where the file is.
    pub(super) path: PathBuf,
    pub(super) role: Role,
    /// True when a pattern names it, so that it is read whatever its age.
    pub(super) named: bool,
    pub(super) identity: Identity,
    pub(super) compressed: bool,
    /// The content's size; of a compressed file only known when it is small.
    pub(super) size: Option<u64>,
    /// The file's own size, compressed or not.
    pub(super) stored_size: u64,
    /// The content's size modulo 2³² as a compressed file tells it (RFC 1952, ISIZE).
    pub(super) size_modulo: Option<u32>,
    pub(super) modified: SystemTime,
    /// When the file was made, as far as the file system says; otherwise when it was last changed.
    pub(super) born: SystemTime,
    /// The content's first bytes, at most [`HEAD_LENGTH`]; `None` when they cannot be read.
    pub(super) head: Option<Arc<[u8]>>,
    /// False when the head is short because no more of it can be decompressed yet.
    pub(super) head_is_whole: bool,
    /// The offset behind the last line's end; found on request and only for what a pattern names.
    pub(super) line_end: Option<u64>,
    /// Of a rotated file with a long head that the root has, too: whether its last bytes are those that the root has there.
    /// `None` where that was not to be found out.
    pub(super) begins_root: Option<bool>,
}

/// What a file is to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the root.
    Root,
    /// Its name is that of a file rotated away.
    Rotated(Age),
    /// The root, a symbolic link, led here before. What is there now may have been written since.
    Former,
    /// Its name begins with the root's. It is of interest only if it turns out to be a known file.
    Sibling,
}

impl Observed {
    /// Finds out whether what begins as the root does, and is not longer, also ends with what the root has there: logs with
    /// a long header all begin alike. Neither of them is compressed.
    ///
    /// Returns false when one of the two is not any more what was seen: it was renamed or truncated meanwhile, and what was
    /// seen of it does not belong to what is compared here.
    pub(super) fn compare_with_root(&mut self, root: &Self) -> bool {
        let (Some(head), Some(size)) = (&self.head, self.size) else { return true };
        let begins_alike =
            head.len() == HEAD_LENGTH && self.head == root.head && root.size.is_some_and(|of_root| size <= of_root);
        if !begins_alike || self.compressed || root.compressed || self.identity == root.identity {
            return true;
        }
        match self.end_before(size).and_then(|end| Ok(end.zip(root.end_before(size)?))) {
            Ok(Some((end, of_root))) => self.begins_root = Some(end == of_root),
            Ok(None) => return false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            // Nothing can be found out of it.
            Err(_) => {}
        }
        true
    }

    /// The last bytes that a plain file has before `size`; `None` when it is not what was seen any more.
    fn end_before(&self, size: u64) -> io::Result<Option<Vec<u8>>> {
        let file = File::open(&self.path)?;
        if Identity::of(&file.metadata()?) != self.identity {
            return Ok(None);
        }
        let start = size.saturating_sub(HEAD_LENGTH as u64);
        // The difference is at most HEAD_LENGTH, which is a usize.
        let mut end = vec![0; usize::try_from(size - start).unwrap_or(HEAD_LENGTH)];
        let length = read_up_to(&file, start, &mut end)?;
        // Looked at after that: a truncation before it shows here.
        let mut head = vec![0; self.head.as_ref().map_or(0, |head| head.len())];
        let head_length = read_up_to(&file, 0, &mut head)?;
        let is_as_seen = length == end.len()
            && head_length == head.len()
            && self.head.as_deref().is_none_or(|seen| *seen == head[..])
            && self.size.is_none_or(|size| file.metadata().is_ok_and(|metadata| metadata.len() >= size));
        Ok(is_as_seen.then_some(end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::source::file::discovery::Scanner;
    use crate::source::file::pattern::PathPattern;

    fn text() -> String {
        format!("{}\nend\n", "x".repeat(2 * HEAD_LENGTH))
    }

    fn rewrite(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).unwrap();
    }

    /// A rotation goes on while its files are looked at: a root that was truncated since it was seen has no more of the
    /// copy, which must not make the copy another content than the one that was seen at the root.
    #[test]
    fn what_has_changed_since_it_was_seen_is_not_compared() {
        type Change = fn(&Path);
        let changes: [(&str, Change, bool, Option<bool>); 7] = [
            ("nothing", |_| {}, true, Some(true)),
            ("the root grows", |folder| rewrite(folder, "a.log", &(text() + "more\n")), true, Some(true)),
            ("another end", |folder| rewrite(folder, "a.log", &text().replace("end", "END")), true, Some(false)),
            ("a truncation", |folder| rewrite(folder, "a.log", ""), false, None),
            ("another beginning", |folder| rewrite(folder, "a.log", &text().replace('x', "y")), false, None),
            ("a shift", |folder| fs::rename(folder.join("a.log.1"), folder.join("a.log.2")).unwrap(), false, None),
            ("a rename", |folder| fs::rename(folder.join("a.log"), folder.join("a.log.1")).unwrap(), false, None),
        ];
        for (name, change, is_as_seen, begins_root) in changes {
            let folder = tempfile::tempdir().unwrap();
            for file in ["a.log", "a.log.1"] {
                rewrite(folder.path(), file, &text());
            }
            let mut scanner = Scanner::new(&PathPattern::parse("a.log", folder.path()).unwrap());
            let [mut copy, root] = <[Observed; 2]>::try_from(scanner.scan(&BTreeSet::new(), false).files).unwrap();
            copy.begins_root = None;
            change(folder.path());
            assert_eq!((copy.compare_with_root(&root), copy.begins_root), (is_as_seen, begins_root), "{name}");
        }
    }
}
