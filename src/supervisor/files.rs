//! The pipeline files: which there are, which differ from the last look, and what each says.
//!
//! Files are compared by their bytes, and so are those that they name by `${file:…}`. What the operating system says of a change (a write, a rename, a swapped link) is
//! no more than a reason to look.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::config::files::{FilesError, PipelineNames, pipeline_files};
use crate::config::{ConfigErrors, NamedFiles, Parsed, load_lenient, parse_lenient};
use crate::problem::Problem;

/// The files as they were at the last scan.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    known: BTreeMap<PathBuf, Known>,
}

/// What was found at a look.
#[derive(Default)]
pub(super) struct Found {
    /// Files without a fault that can be seen before they are compiled.
    pub(super) sound: Vec<(PathBuf, Parsed)>,
    /// The others.
    pub(super) faulty: Vec<(PathBuf, ConfigErrors)>,
    /// Files of the last look that are not there any more.
    pub(super) gone: Vec<PathBuf>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    /// Of its content; `None` when it could not be read.
    digest: Option<[u8; 32]>,
    /// What else it is made of.
    named_files: NamedFiles,
    /// The name of its last sound version.
    name: Option<String>,
    /// That version reads standard input.
    reads_input: bool,
}

impl Files {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, known: BTreeMap::new() }
    }

    /// The number of files at the last scan.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Looks at all files, or reads only those whose content is not as it was.
    ///
    /// # Errors
    /// When nobody knows which files are meant. Nothing has changed then.
    pub(super) fn scan(&mut self, only_changed: bool) -> Result<Found, FilesError> {
        let files = pipeline_files(&self.paths)?;
        let before = std::mem::take(&mut self.known);
        let gone = before.keys().filter(|file| !files.contains(file)).cloned().collect();
        let mut found = Found { gone, ..Found::default() };
        let mut claims = Claims::default();
        let mut to_read = Vec::new();
        for file in files {
            let content = std::fs::read(&file).ok();
            let digest = content.as_ref().map(|content| Sha256::digest(content).into());
            let known = before.get(&file).cloned();
            match known.filter(|known| only_changed && known.digest == digest && !known.named_files.have_changed()) {
                Some(known) => {
                    // What was sound then is so now.
                    claims.claim(&file, known.name.as_deref(), known.reads_input).ok();
                    self.known.insert(file, known);
                }
                None => to_read.push((file, content, digest)),
            }
        }
        // Who has had a name keeps it.
        to_read.sort_by_key(|(file, ..)| before.get(file).is_none_or(|known| known.name.is_none()));
        for (file, content, digest) in to_read {
            let mut parsed = match read(&file, content) {
                Ok(parsed) => parsed,
                Err(errors) => {
                    let name = before.get(&file).and_then(|known| known.name.clone());
                    self.known.insert(file.clone(), Known { digest, name, ..Known::default() });
                    found.faulty.push((file, errors));
                    continue;
                }
            };
            let reads_input = parsed.pipeline.sources.values().any(|source| source.kind.is_standard_input());
            if parsed.faults.is_empty() {
                parsed.refuse(claims.claim(&file, Some(&parsed.pipeline.name), reads_input).err());
            }
            let named_files = std::mem::take(&mut parsed.named_files);
            let mut known = Known { digest, named_files, ..before.get(&file).cloned().unwrap_or_default() };
            if parsed.faults.is_empty() {
                known.name = Some(parsed.pipeline.name.clone());
                known.reads_input = reads_input;
                found.sound.push((file.clone(), parsed));
            } else {
                found.faulty.push((file.clone(), parsed.report(Vec::new())));
            }
            self.known.insert(file, known);
        }
        Ok(found)
    }
}

/// What one pipeline of the process can have: a name, and standard input.
#[derive(Default)]
struct Claims {
    names: PipelineNames,
    input: Option<PathBuf>,
}

impl Claims {
    fn claim(&mut self, file: &Path, name: Option<&str>, reads_input: bool) -> Result<(), Problem> {
        self.names.claim(name.unwrap_or_default(), file)?;
        if !reads_input {
            return Ok(());
        }
        if let Some(first) = &self.input {
            let message = format!("the pipeline in {} reads standard input already", first.display());
            return Err(Problem::new(["sources"], message).with_help("what one reads, the other would not get"));
        }
        self.input = Some(file.to_owned());
        Ok(())
    }
}

fn read(file: &Path, content: Option<Vec<u8>>) -> Result<Parsed, ConfigErrors> {
    match content.map(String::from_utf8) {
        Some(Ok(text)) => {
            Ok(parse_lenient(&file.display().to_string(), &text, &|variable| std::env::var(variable).ok()))
        }
        // It says what is wrong.
        Some(Err(_)) | None => load_lenient(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn pipeline(name: &str, source: &str) -> String {
        format!(
            "name = '{name}'\n[sources.a]\n{source}\n[sinks.b]\ntype = 'webhook'\nfrom = ['a']\nurl = 'http://localhost/'\n"
        )
    }

    fn file_pipeline(name: &str) -> String {
        pipeline(name, "type = 'file'\npaths = ['x']")
    }

    fn names(found: &Found) -> Vec<&str> {
        found.sound.iter().map(|(_, parsed)| parsed.pipeline.name.as_str()).collect()
    }

    #[test]
    fn files_are_read_when_their_bytes_differ() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("a.toml", file_pipeline("a"));
        write("b.toml", file_pipeline("b"));
        let mut files = Files::new(vec![folder.path().to_owned()]);
        assert_eq!(names(&files.scan(true).unwrap()), ["a", "b"]);
        assert_eq!(names(&files.scan(true).unwrap()), [""; 0]);
        assert_eq!(names(&files.scan(false).unwrap()), ["a", "b"], "all are asked for");

        write("b.toml", file_pipeline("b2"));
        write("c.toml", "name =".to_owned());
        fs::remove_file(folder.path().join("a.toml")).unwrap();
        let found = files.scan(true).unwrap();
        assert_eq!((names(&found), found.faulty.len(), found.gone.len()), (vec!["b2"], 1, 1));
        assert_eq!(files.scan(true).unwrap().faulty.len(), 0, "what is wrong is said once");
        write("c.toml", file_pipeline("c"));
        assert_eq!(names(&files.scan(true).unwrap()), ["c"]);
    }

    #[test]
    fn files_are_read_when_what_they_name_differs() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let source = format!("type = 'amqp'\nuri = 'amqp://a:${{file:{}}}@b'\nqueue = 'c'", secret.display());
        fs::write(folder.path().join("a.toml"), pipeline("a", &source)).unwrap();
        let mut files = Files::new(vec![folder.path().to_owned()]);
        assert_eq!(files.scan(true).unwrap().faulty.len(), 1, "there is no secret yet");
        assert_eq!(files.scan(true).unwrap().faulty.len(), 0, "what is wrong is said once");
        for rotated in ["one", "two"] {
            fs::write(&secret, rotated).unwrap();
            assert_eq!(names(&files.scan(true).unwrap()), ["a"]);
            assert_eq!(names(&files.scan(true).unwrap()), [""; 0]);
        }
        fs::write(folder.path().join("b.toml"), b"name = '\xff'").unwrap();
        assert_eq!(files.scan(true).unwrap().faulty.len(), 1);
        assert_eq!(files.scan(true).unwrap().faulty.len(), 0, "what is wrong is said once");
    }

    #[test]
    fn a_name_belongs_to_the_file_that_has_had_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("z.toml", file_pipeline("orders"));
        let mut files = Files::new(vec![folder.path().to_owned()]);
        files.scan(false).unwrap();
        write("a.toml", file_pipeline("orders"));
        for only_changed in [true, false] {
            let found = files.scan(only_changed).unwrap();
            let (file, errors) = &found.faulty[0];
            let message = &errors.faults()[0].message;
            assert!(file.ends_with("a.toml") && message.contains("z.toml") && message.contains("a.toml"), "{message}");
            write("a.toml", file_pipeline("orders") + "\n");
        }
    }

    #[test]
    fn standard_input_belongs_to_one_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let text = pipeline(name, "type = 'stdin'");
            fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        }
        let found = Files::new(vec![folder.path().to_owned()]).scan(false).unwrap();
        assert_eq!((names(&found), found.faulty.len()), (vec!["a"], 1));
    }
}
