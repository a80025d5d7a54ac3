//! Checkpoint files: one small JSON document per source, replaced as a whole and never half written.
//!
//! This module knows nothing of what a checkpoint means. It does blocking I/O: call it from a blocking thread.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// What must not stand in a file's name, plus the escape character itself.
const NOT_IN_FILE_NAMES: &AsciiSet = &CONTROLS.add(b'/').add(b'\\').add(b'%');

/// The checkpoint of one source: a value of type `T` in `<state_dir>/checkpoints/<source>.json`.
///
/// The file carries the version of `T`'s layout, so that an older bridge refuses what a newer one has written.
#[derive(Debug)]
pub struct CheckpointFile<T> {
    path: PathBuf,
    version: u32,
    content: PhantomData<fn(T) -> T>,
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is there but cannot be read.
    #[error("the checkpoint {path} cannot be read: {error}", path = path.display())]
    Read {
        /// The checkpoint file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file's content makes no sense. Starting over without asking could deliver or skip a lot, so nobody does.
    #[error(
        "the checkpoint {path} is damaged ({error}); restore it from a backup, or remove it to let the source start as \
         on its first run",
        path = path.display()
    )]
    Damaged {
        /// The checkpoint file.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The file was written by a later version of the bridge.
    #[error(
        "the checkpoint {path} has version {found}, this bridge reads versions up to {supported}; run the bridge that \
         wrote it, or remove it to let the source start as on its first run",
        path = path.display()
    )]
    Newer {
        /// The checkpoint file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The latest version known here.
        supported: u32,
    },
    /// The file could not be replaced; the former one is still there and whole.
    #[error("the checkpoint {path} cannot be written: {error}", path = path.display())]
    Write {
        /// The checkpoint file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl CheckpointError {
    /// True when trying again cannot help: someone has to look at the file.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Newer { .. })
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    state: T,
}

impl<T: Serialize + DeserializeOwned> CheckpointFile<T> {
    /// Names the checkpoint of `source`; `version` is the version of `T`'s layout. Does no I/O.
    pub fn new(state_dir: &Path, source: &str, version: u32) -> Self {
        let name = format!("{}.json", utf8_percent_encode(source, NOT_IN_FILE_NAMES));
        Self { path: state_dir.join("checkpoints").join(name), version, content: PhantomData }
    }

    /// Reads the checkpoint; `None` when none was ever written.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or comes from a later version.
    pub fn load(&self) -> Result<Option<T>, CheckpointError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CheckpointError::Read { path: self.path.clone(), error }),
        };
        let damaged = |error| CheckpointError::Damaged { path: self.path.clone(), error };
        let VersionOnly { version } = serde_json::from_slice(&text).map_err(damaged)?;
        if version > self.version {
            return Err(CheckpointError::Newer { path: self.path.clone(), found: version, supported: self.version });
        }
        let versioned: Versioned<T> = serde_json::from_slice(&text).map_err(damaged)?;
        Ok(Some(versioned.state))
    }

    /// Replaces the checkpoint. When this returns, the new one is on the disk; when it fails or the machine does, the
    /// former one is whole.
    ///
    /// # Errors
    /// When the file cannot be written, for example because the disk is full.
    pub fn save(&self, state: &T) -> Result<(), CheckpointError> {
        self.replace(state).map_err(|error| CheckpointError::Write { path: self.path.clone(), error })
    }

    fn replace(&self, state: &T) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // The rename that makes the new file current is atomic only within one file system: hence the same folder.
        let mut file = NamedTempFile::new_in(folder)?;
        let text = serde_json::to_vec(&Versioned { version: self.version, state })?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        // Without this the rename itself could be undone by a power failure.
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(folder: &tempfile::TempDir) -> CheckpointFile<Vec<u64>> {
        CheckpointFile::new(folder.path(), "a/b", 2)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(checkpoint(&folder).load().unwrap(), None);
        checkpoint(&folder).save(&vec![1, 2]).unwrap();
        checkpoint(&folder).save(&vec![3]).unwrap();
        assert_eq!(checkpoint(&folder).load().unwrap(), Some(vec![3]));
        let names: Vec<_> = fs::read_dir(folder.path().join("checkpoints")).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left behind: {names:?}");
    }

    #[test]
    fn a_damaged_checkpoint_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        checkpoint(&folder).save(&vec![1]).unwrap();
        for text in ["", "{\"version\":2,\"sta", "{\"version\":2,\"state\":{}}"] {
            fs::write(&checkpoint(&folder).path, text).unwrap();
            let error = checkpoint(&folder).load().unwrap_err();
            assert!(error.is_permanent() && error.to_string().contains("remove it"), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        CheckpointFile::new(folder.path(), "a/b", 3).save(&"later".to_owned()).unwrap();
        let error = checkpoint(&folder).load().unwrap_err();
        assert!(matches!(error, CheckpointError::Newer { found: 3, supported: 2, .. }), "{error}");
    }

    #[test]
    fn a_failed_save_leaves_the_former_checkpoint_whole() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("checkpoints"), "a file where the folder should be").unwrap();
        let error = checkpoint(&folder).save(&vec![1]).unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }) && !error.is_permanent(), "{error}");
    }
}
