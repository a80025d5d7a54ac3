//! Which pipeline files a command line means, and that each of them is a pipeline of its own.
//!
//! Nothing is parsed here: [`pipeline_files`] turns files and folders into files, [`PipelineNames`] keeps two of them
//! from having one name.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// Why no list of pipeline files could be made.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The folder cannot be listed.
    #[error("cannot list the folder {}: {error}", folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The folder has no pipeline file.
    #[error("there is no *.toml in the folder {}", .0.display())]
    Empty(PathBuf),
}

/// The pipeline files that `paths` mean, each once: a folder stands for the `*.toml` in it (not in folders within it), by
/// name. Names that begin with `.` are left out, because Kubernetes keeps the files of a ConfigMap a second time below
/// `..data`, and editors keep what they are writing there.
///
/// A path that does not exist is taken for a file: reading it says what is wrong.
///
/// # Errors
/// A folder that cannot be listed, or that has no such file: a mount that went wrong must not pass for "nothing to do".
pub fn pipeline_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FilesError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_of_folder(path)?);
        } else {
            files.push(path.clone());
        }
    }
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(std::path::absolute(file).unwrap_or_else(|_| file.clone())));
    Ok(files)
}

fn files_of_folder(folder: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| is_pipeline_file(path)).collect())
    };
    let mut files = list().map_err(|error| FilesError::Unreadable { folder: folder.to_owned(), error })?;
    if files.is_empty() {
        return Err(FilesError::Empty(folder.to_owned()));
    }
    files.sort();
    Ok(files)
}

/// A link that leads nowhere counts: it is somebody's pipeline, and that it cannot be read must be said.
fn is_pipeline_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir()
}

/// The names of the pipelines of one process. Consumer groups, state folders and stores go by the name, so two pipelines
/// of one name would take each other's events.
#[derive(Debug, Default)]
pub struct PipelineNames {
    files: HashMap<String, PathBuf>,
}

impl PipelineNames {
    /// Notes that `file` has the pipeline `name`. An empty name, which is a fault of its own, is anybody's.
    ///
    /// # Errors
    /// When another file has that name. The problem names both files.
    pub fn claim(&mut self, name: &str, file: &Path) -> Result<(), Problem> {
        if name.is_empty() {
            return Ok(());
        }
        if let Some(first) = self.files.get(name) {
            let message =
                format!("the pipeline in {} has the name `{name}` of the one in {}", file.display(), first.display());
            let help = "every pipeline of a process needs a name of its own: consumer groups and state go by it";
            return Err(Problem::new(["name"], message).with_help(help));
        }
        self.files.insert(name.to_owned(), file.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(files: &[PathBuf]) -> Vec<&str> {
        files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn a_folder_means_its_toml_files_by_name() {
        let folder =
            folder_with(&["b.toml", "a.toml", "c.toml.bak", "README.md", ".a.toml.swp", ".d.toml", "sub/e.toml"]);
        std::fs::create_dir(folder.path().join("folder.toml")).unwrap();
        let files = pipeline_files(&[folder.path().to_owned()]).unwrap();
        assert_eq!(names(&files), ["a.toml", "b.toml"]);
    }

    /// `..data` is a link to the folder of the present version, and each file a link through it.
    #[test]
    fn the_files_of_a_config_map_are_seen_once() {
        let folder = folder_with(&["..2026_01_01/a.toml", "..2026_01_01/b.toml"]);
        symlink("..2026_01_01", folder.path().join("..data")).unwrap();
        for name in ["a.toml", "b.toml"] {
            symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
        }
        symlink("nowhere", folder.path().join("dangling.toml")).unwrap();
        let files = pipeline_files(&[folder.path().to_owned()]).unwrap();
        assert_eq!(names(&files), ["a.toml", "b.toml", "dangling.toml"]);
    }

    #[test]
    fn paths_keep_their_order_and_none_is_taken_twice() {
        let folder = folder_with(&["a.toml", "b.toml"]);
        let paths = [folder.path().join("b.toml"), folder.path().to_owned(), PathBuf::from("no-such.toml")];
        assert_eq!(names(&pipeline_files(&paths).unwrap()), ["b.toml", "a.toml", "no-such.toml"]);
    }

    #[test]
    fn a_folder_without_pipelines_is_an_error() {
        let folder = folder_with(&["README.md"]);
        let error = pipeline_files(&[folder.path().to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no *.toml in the folder {}", folder.path().display()));
    }

    #[test]
    fn a_name_belongs_to_one_file() {
        let mut taken = PipelineNames::default();
        taken.claim("orders", Path::new("a.toml")).unwrap();
        taken.claim("audit", Path::new("b.toml")).unwrap();
        let problem = taken.claim("orders", Path::new("c.toml")).unwrap_err();
        assert!(problem.message.contains("a.toml") && problem.message.contains("c.toml"), "{problem}");
        assert!(taken.claim("", Path::new("d.toml")).and(taken.claim("", Path::new("e.toml"))).is_ok());
    }
}
