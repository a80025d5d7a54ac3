//! The path of a file. Names are bytes: they are compared and kept as such, and only what people see of them is text, in
//! which no name can break a line or forge one.
//!
//! This module does no I/O.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A path, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FilePath {
    path: Arc<Path>,
    /// The same as text: bytes that are no UTF-8 are replaced.
    text: Arc<str>,
}

/// What people see of a path: control characters are escaped.
pub(super) fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

pub(super) struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string_lossy().chars().try_for_each(|char| match char {
            control if control.is_control() => write!(f, "{}", control.escape_debug()),
            char => f.write_char(char),
        })
    }
}

impl FilePath {
    /// The path as text, with bytes that are no UTF-8 replaced: for events, where every character is data.
    pub(super) fn text(&self) -> &Arc<str> {
        &self.text
    }
}

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl From<&Path> for FilePath {
    fn from(path: &Path) -> Self {
        Self { path: path.into(), text: path.to_string_lossy().into() }
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        Path::new(path).into()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.path).fmt(f)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => self.path.as_os_str().as_bytes().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // It is kept as text where it is text, otherwise byte by byte. An untagged enum would not do: numbers keep their
        // digits, of which serde makes no bytes there.
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(PathBuf::from(text).into()),
            bytes => {
                let bytes = Vec::<u8>::deserialize(bytes).map_err(serde::de::Error::custom)?;
                Ok(PathBuf::from(OsString::from_vec(bytes)).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_path_of_any_bytes_is_kept_as_it_is(bytes in proptest::collection::vec(1..=255_u8, 0..40)) {
            let path = FilePath::from(PathBuf::from(OsString::from_vec(bytes)));
            let kept = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<FilePath>(&kept).unwrap(), path);
        }
    }

    #[test]
    fn no_name_can_break_the_line_in_which_it_is_shown() {
        let path = PathBuf::from(OsString::from_vec(b"/a/\n\x1b[1m\xc2\x85caf\xc3\xa9 \\\xff\t'.log".to_vec()));
        let expected = "/a/\\n\\u{1b}[1m\\u{85}café \\\u{fffd}\\t'.log";
        assert_eq!(shown(&path).to_string(), expected);
        assert_eq!(FilePath::from(path).to_string(), expected);
    }

    #[test]
    fn what_is_text_is_kept_as_text() {
        assert_eq!(serde_json::to_string(&FilePath::from("/a/ä.log")).unwrap(), "\"/a/ä.log\"");
    }
}
