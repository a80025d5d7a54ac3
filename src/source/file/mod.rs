//! The file connector: lines of files that grow, through rotation and restarts.
//!
//! | part | does |
//! |---|---|
//! | `pattern`, `walk`, `path` | what `paths` mean, which files match, names of any bytes |
//! | `discovery`, `siblings`, `observed`, `heads`, `names` | look at the paths: what is there, how it begins, what its name says |
//! | `passed_over` | what a look passes over, said once |
//! | `families`, `rotation` | in which order files were written, and which of them holds which known content (pure) |
//! | `registry`, `identity` | what is known and confirmed of every content; what the checkpoint holds |
//! | `checkpoint` | its form in the store, and saving it |
//! | `session`, `jobs`, `follow` | one connection: handing out, blocking work, acting on what was seen |
//! | `open_files` | which files are open when not all can be |
//! | `tail`, `content`, `gzip`, `records` | one content being read: lines, chunks, events |
//! | `compression` | what is compressed in a way that is not read |
//! | `incomplete` | compressed files that end too early: waiting for their rest |
//! | `watch` | notice changes at once |
//! | `glance`, `file_system` | whether anything has changed since the last look, and where that need not be asked often |
//!
//! An event's id is `<content>/<offset>`. A content has one id for ever, under whatever name its bytes are found.
//!
//! This module must not know what becomes of its events, and never hands out a line before its end is written, unless
//! no end can come any more.

mod checkpoint;
mod compression;
mod content;
mod discovery;
mod families;
mod file_system;
mod follow;
mod glance;
mod gzip;
mod heads;
mod identity;
mod incomplete;
mod jobs;
mod names;
mod observed;
mod open_files;
mod passed_over;
mod path;
mod pattern;
mod records;
mod registry;
mod rotation;
mod session;
mod siblings;
mod tail;
#[cfg(test)]
mod tests;
mod walk;
mod watch;

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use self::checkpoint::{CheckpointStore, Saver};
use self::discovery::Scanner;
use self::path::shown;
use self::pattern::{PathPattern, PatternError};
use self::registry::Registry;
use self::session::{Session, Timing};
use super::{Input, Progress, Room, Source, SourceContext, SourceError};
use crate::event::Meta;
use crate::interpolated::{InterpolatedText, Part, are_patterns};
use crate::off_worker::on_own_thread;
use crate::problem::Problem;
use crate::units::Period;

/// Reads the lines of files that grow, such as logs. Rotation by rename and by copytruncate loses nothing. Files are
/// kept open while the limit on open files allows it; beyond that, those that do not grow are closed until they do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Files to read, as paths or globs: `*`, `?` and `[…]` within a name, `{a,b}` for alternatives, `**` for any number
    /// of folders. As in a shell, wildcards do not match hidden files. Relative paths start at the pipeline file's folder.
    /// What `${…}` brings stands for itself: wildcards are written here, as in `${var:LOGS}/*.log`.
    #[schemars(length(min = 1), example = ["/var/log/shop/*.jsonl"], transform = are_patterns)]
    pub paths: Vec<InterpolatedText>,
    /// Where to start in a file that is there at the first start and was never seen before. Files that appear later are
    /// read from their beginning.
    #[serde(default)]
    pub start: FileStart,
    /// How long a file that was rotated away, and is read to its end, is kept open in case that a program still holds it
    /// and writes to it: counted from the rotation or from the last write, whichever is later. Beyond that, what is
    /// written to it is still read while it is there under a name of its rotation, and lost when it was deleted,
    /// compressed or moved elsewhere. Each such file takes a descriptor for so long; newer files do not wait for it.
    #[serde(default = "default_rotated_wait")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub rotated_wait: Period,
}

impl FileConfig {
    /// The `meta` of an event that nothing was read for: the first line of the first path, as it is written.
    pub fn meta_of_tests(&self) -> Meta {
        let path = self.paths.first().map_or("", InterpolatedText::as_str);
        records::meta(path.into(), "0000000000000000".into(), 0)
    }

    /// The keys for one file, from its beginning. No character of the path is a wildcard.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn of_file(path: &std::path::Path) -> std::io::Result<Self> {
        let mut text = InterpolatedText::default();
        text.push_value(&std::path::absolute(path)?.to_string_lossy());
        Ok(Self { paths: vec![text], start: FileStart::default(), rotated_wait: default_rotated_wait() })
    }
}

/// Programs are told to reopen their files at the rotation, and do so with their next line, or when what they were at is
/// done. For most that is a matter of seconds; a minute of one descriptor costs little.
fn default_rotated_wait() -> Period {
    Period::from_secs(60)
}

/// Where reading starts in a file never seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileStart {
    /// At the file's first byte.
    #[default]
    Beginning,
    /// At the file's end.
    End,
}

/// The source of `type = "file"`.
pub struct FileSource {
    context: SourceContext,
    patterns: Vec<PathPattern>,
    start: FileStart,
    timing: Timing,
    checkpoints: CheckpointStore,
    session: Option<Session>,
    /// Of the paths into which `${…}` has put one, until it was said.
    literal_wildcards: Vec<char>,
}

/// How long the end of a source waits for its last save: a disk that refuses must not hold up the process.
const LAST_SAVE: Duration = Duration::from_secs(2);

/// A call that makes no sense before `connect`.
#[derive(Debug, thiserror::Error)]
#[error("the files were read before the source was connected")]
struct NotConnected;

impl FileConfig {
    /// How many files match now. Blocks; `None` when the paths are at fault.
    pub fn count_matching(&self, base: &Path) -> Option<usize> {
        let patterns = patterns(&self.paths, base).ok()?;
        Some(Scanner::new(&patterns).look().0)
    }

    /// The paths into which `${…}` has put a wildcard, which stands for itself, by index.
    pub fn literal_wildcards(&self) -> impl Iterator<Item = (usize, char)> {
        self.paths.iter().enumerate().filter_map(|(index, path)| {
            let wildcard = path.as_ref().parts().find_map(|part| match part {
                Part::Value(value) => value.chars().find(|character| "*?[{".contains(*character)),
                Part::Written(_) => None,
            });
            wildcard.map(|wildcard| (index, wildcard))
        })
    }
}

impl FileSource {
    /// A source over the files that match `config.paths`. Does no I/O.
    ///
    /// # Errors
    /// One problem per path that is no valid glob, or one when there is no path at all; and one when there is no store,
    /// in which positions could survive a restart.
    pub fn new(context: SourceContext, config: FileConfig) -> Result<Self, Vec<Problem>> {
        let patterns = patterns(&config.paths, &context.base_dir);
        let store = context.store.clone().ok_or_else(needs_a_store);
        let (patterns, store) = match (patterns, store) {
            (Ok(patterns), Ok(store)) => (patterns, store),
            (patterns, store) => {
                let problems = patterns.err().into_iter().flatten();
                return Err(store.err().into_iter().chain(problems).collect());
            }
        };
        let checkpoints = CheckpointStore::new(store, context.name.clone());
        let timing = Timing::new(config.rotated_wait.0);
        let literal_wildcards = config.literal_wildcards().map(|(_, wildcard)| wildcard).collect();
        Ok(Self { context, patterns, start: config.start, timing, checkpoints, session: None, literal_wildcards })
    }

    fn session(&mut self) -> Result<&mut Session, SourceError> {
        self.session.as_mut().ok_or_else(|| SourceError::permanent(NotConnected))
    }
}

impl Source for FileSource {
    const READS_PARTITIONS_ALONE: bool = true;

    async fn connect(&mut self) -> Result<(), SourceError> {
        for wildcard in self.literal_wildcards.drain(..) {
            tracing::warn!(source = %self.context.name, "`{wildcard}` in what `${{…}}` brings into `paths` stands for \
                itself, and is no wildcard: write it in the pipeline file");
        }
        let (registry, stored) = match self.session.take() {
            Some(session) => (session.end(), None),
            None => {
                let registry = Registry::new(self.checkpoints.load().await?);
                let stored = registry.digest();
                (registry, Some(stored))
            }
        };
        let scanner = Scanner::new(&self.patterns);
        let saver = Saver::new(self.checkpoints.clone(), stored);
        let session = Session::new(self.context.clone(), self.start, self.timing, saver, scanner, registry);
        self.session.insert(session).connect().await
    }

    async fn read(&mut self, room: Room) -> Result<Input, SourceError> {
        self.session()?.read(room).await
    }

    async fn read_paused(&mut self) -> Result<Input, SourceError> {
        self.session()?.read_paused().await
    }

    async fn commit(&mut self, progress: Progress) -> Result<(), SourceError> {
        self.session()?.commit(progress);
        Ok(())
    }

    async fn release(&mut self, partitions: &[u32]) -> Result<(), SourceError> {
        self.session()?.release(partitions);
        Ok(())
    }

    async fn close(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        match timeout(LAST_SAVE, session.save()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(source = %self.context.name, %error, "the last checkpoint was not saved");
            }
            // The store has it, and tries until its own end.
            Err(_) => tracing::warn!(source = %self.context.name, "the last checkpoint is not saved yet"),
        }
    }

    /// Looks at the paths only: the store has its own probe, and does not run.
    async fn probe(&mut self) -> Result<String, SourceError> {
        let mut scanner = Scanner::new(&self.patterns);
        let (count, passed_over) = on_own_thread(move || scanner.look()).await.map_err(SourceError::transient)?;
        let mut found = match count {
            0 => "no file matches yet".to_owned(),
            1 => "1 file matches".to_owned(),
            count => format!("{count} files match"),
        };
        for (path, reason) in passed_over {
            found.push_str(&format!("; {} is passed over: {reason}", shown(&path)));
        }
        Ok(found)
    }
}

/// The patterns, relative ones started at `base`.
fn patterns(paths: &[InterpolatedText], base: &Path) -> Result<Vec<PathPattern>, Vec<Problem>> {
    if paths.is_empty() {
        let problem = Problem::new(["paths"], "no path is given").with_help("name at least one file or glob");
        return Err(vec![problem]);
    }
    let mut problems = Vec::new();
    let mut patterns = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match PathPattern::parse(path, base) {
            Ok(parsed) => patterns.extend(parsed),
            Err(error) => problems.push(not_a_path(index, error)),
        }
    }
    if problems.is_empty() { Ok(patterns) } else { Err(problems) }
}

fn not_a_path(index: usize, error: PatternError) -> Problem {
    let problem = Problem::new(["paths".to_owned(), index.to_string()], &error);
    match error {
        PatternError::Empty => problem,
        PatternError::Folder { text } => {
            problem.with_help(format!("name the files in it: `{}/*.log`", text.trim_end_matches('/')))
        }
        PatternError::Unexpanded { sign, part, .. } => {
            let problem = problem.with_help(match sign.as_str() {
                "~" => "write the folder out, or take it from the environment: `${var:HOME}/…`; `./~` is a folder of \
                        that name"
                    .to_owned(),
                user if user.starts_with('~') => {
                    format!("write the home folder out; `./{user}` is a folder of that name")
                }
                command if command.starts_with("$(") => {
                    "write out what it stands for, or take it from the environment: `${var:NAME}`; a `$` in a name is \
                     `[$]`"
                        .to_owned()
                }
                name => {
                    let name = name.trim_start_matches('$');
                    format!("take it from the environment: `${{var:{name}}}`; a `$` in a name is `[$]`")
                }
            });
            match part {
                Some(part) => problem.with_part(part),
                None => problem,
            }
        }
        PatternError::Url { path: Some(path), .. } => problem.with_help(format!("write the path: `{path}`")),
        PatternError::Url { path: None, .. } => problem.with_help("write the path of a file on this machine"),
        PatternError::Glob { part, .. } => {
            let problem =
                problem.with_help("`[`, `*`, `{` and `}` stand for themselves as `[[]`, `[*]`, `[{]` and `[}]`");
            match part {
                Some(part) => problem.with_part(part),
                None => problem,
            }
        }
    }
}

fn needs_a_store() -> Problem {
    Problem::new(["type"], "a file source needs a store, and `store.url` is \"none\"").with_help(
        "without a store its position would be lost at each restart; remove `store.url`, or let it name an SQLite file \
         or a PostgreSQL database",
    )
}
