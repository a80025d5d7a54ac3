//! The file connector: lines of files that grow, through rotation and restarts.
//!
//! | part | does |
//! |---|---|
//! | `discovery`, `heads`, `names` | look at the paths: what is there, how it begins, what its name says |
//! | `rotation` | decide which of the files seen holds which known content (pure) |
//! | `registry`, `identity` | what is known and confirmed of every content; what the checkpoint holds |
//! | `session`, `jobs`, `follow` | one connection: handing out, blocking work, acting on what was seen |
//! | `tail`, `content`, `records` | one content being read: lines, chunks, events |
//! | `watch` | hear of changes at once |
//!
//! An event's id is `<content>/<offset>`. A content has one id for ever, under whatever name its bytes are found.
//!
//! This module must not know what becomes of its events, and never hands out a line before its end is written, unless
//! no end can come any more.

mod content;
mod discovery;
mod follow;
mod heads;
mod identity;
mod jobs;
mod names;
mod records;
mod registry;
mod rotation;
mod session;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::path::Path;
use std::sync::Arc;

use glob::Pattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use self::discovery::Scanner;
use self::registry::{CHECKPOINT_VERSION, Checkpoint, Registry};
use self::session::{Session, Timing};
use super::{Input, Progress, Source, SourceContext, SourceError};
use crate::problem::Problem;
use crate::store::checkpoints::{CheckpointError, CheckpointFile};

/// Reads the lines of files that grow, such as logs. Rotation by rename and by copytruncate loses nothing. Every file
/// that matches is kept open, so the limit on open files must be above their number.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Files to read, as paths or globs. Relative paths start at the pipeline file's folder.
    #[schemars(length(min = 1), example = ["/var/log/shop/*.jsonl"])]
    pub paths: Vec<String>,
    /// Where to start in a file that is there at the first start and was never seen before. Files that appear later are
    /// read from their beginning.
    #[serde(default)]
    pub start: FileStart,
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
    patterns: Vec<Pattern>,
    start: FileStart,
    timing: Timing,
    checkpoint: Arc<CheckpointFile<Checkpoint>>,
    session: Option<Session>,
}

/// A call that makes no sense before `connect`.
#[derive(Debug, thiserror::Error)]
#[error("the files were read before the source was connected")]
struct NotConnected;

impl FileSource {
    /// A source over the files that match `config.paths`. Does no I/O.
    ///
    /// # Errors
    /// One problem per path that is no valid glob, or one when there is no path at all.
    pub fn new(context: SourceContext, config: FileConfig) -> Result<Self, Vec<Problem>> {
        let patterns = patterns(&config.paths, &context.base_dir)?;
        let checkpoint = CheckpointFile::new(&context.state_dir, &context.name, CHECKPOINT_VERSION);
        Ok(Self {
            context,
            patterns,
            start: config.start,
            timing: Timing::default(),
            checkpoint: Arc::new(checkpoint),
            session: None,
        })
    }

    fn session(&mut self) -> Result<&mut Session, SourceError> {
        self.session.as_mut().ok_or_else(|| SourceError::permanent(NotConnected))
    }

    async fn load(&self) -> Result<Registry, SourceError> {
        let checkpoint = Arc::clone(&self.checkpoint);
        let loaded = spawn_blocking(move || checkpoint.load()).await.map_err(SourceError::transient)?;
        loaded.map(Registry::new).map_err(checkpoint_error)
    }
}

impl Source for FileSource {
    async fn connect(&mut self) -> Result<(), SourceError> {
        let registry = match self.session.take() {
            Some(session) => session.end().await,
            None => self.load().await?,
        };
        let scanner = Scanner::new(&self.patterns);
        let checkpoint = Arc::clone(&self.checkpoint);
        let session = Session::new(self.context.clone(), self.start, self.timing, checkpoint, scanner, registry);
        self.session.insert(session).connect().await
    }

    async fn read(&mut self) -> Result<Input, SourceError> {
        self.session()?.read().await
    }

    async fn read_paused(&mut self) -> Result<Input, SourceError> {
        self.session()?.read_paused().await
    }

    async fn commit(&mut self, progress: Progress) -> Result<(), SourceError> {
        self.session()?.commit(progress).await
    }

    async fn release(&mut self, partitions: &[u32]) -> Result<(), SourceError> {
        self.session()?.release(partitions).await
    }

    async fn close(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        if let Err(error) = session.save().await {
            tracing::warn!(source = %self.context.name, %error, "the last checkpoint was not saved");
        }
    }

    async fn probe(&mut self) -> Result<String, SourceError> {
        self.load().await?;
        let mut scanner = Scanner::new(&self.patterns);
        let count = spawn_blocking(move || scanner.count()).await.map_err(SourceError::transient)?;
        Ok(match count {
            0 => "no file matches yet".into(),
            1 => "1 file matches".into(),
            count => format!("{count} files match"),
        })
    }
}

/// The globs, relative ones started at `base`.
fn patterns(paths: &[String], base: &Path) -> Result<Vec<Pattern>, Vec<Problem>> {
    if paths.is_empty() {
        let problem = Problem::new(["paths"], "no path is given").with_help("name at least one file or glob");
        return Err(vec![problem]);
    }
    let mut problems = Vec::new();
    let mut patterns = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let problem = |message: String| Problem::new(["paths".to_owned(), index.to_string()], message);
        match Pattern::new(path) {
            Ok(_) if path.is_empty() => problems.push(problem("the path is empty".into())),
            Ok(pattern) => patterns.push(start_at(base, pattern)),
            Err(error) => {
                let problem = problem(format!("`{path}` is not a glob: {}", error.msg));
                let part = error.pos..path.len();
                problems.push(problem.with_part(part).with_help("`[` and `*` stand for themselves as `[[]` and `[*]`"));
            }
        }
    }
    if problems.is_empty() { Ok(patterns) } else { Err(problems) }
}

/// A relative pattern made to start at `base`, in whose own name no character is special.
fn start_at(base: &Path, pattern: Pattern) -> Pattern {
    if Path::new(pattern.as_str()).is_absolute() || base.as_os_str().is_empty() {
        return pattern;
    }
    let base = Pattern::escape(&base.to_string_lossy());
    // A pattern that is valid stays so behind a literal folder.
    Pattern::new(&format!("{base}/{}", pattern.as_str())).unwrap_or(pattern)
}

fn checkpoint_error(error: CheckpointError) -> SourceError {
    if error.is_permanent() { SourceError::permanent(error) } else { SourceError::transient(error) }
}
