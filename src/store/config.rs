//! The `[store]` table, and its checked form: where durable state is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::problem::Problem;
use crate::secret::Secret;
use crate::units::{ByteSize, Period};

/// Where deliveries wait for their next attempt, and where dead letters and the positions of file sources are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:` and a path, `postgres://…` for several replicas that share one state, or `none` for pods whose disk
    /// goes with them: then nothing is parked, and a delivery that fails holds its source's position. Default: an
    /// SQLite file in the pipeline's state folder.
    pub url: Option<Secret>,
    /// The most that parked deliveries and dead letters may take. When it is reached the sources wait.
    #[serde(default = "default_max_size")]
    pub max_size: ByteSize,
    /// How long a replica that shares a PostgreSQL store may be silent before others take its deliveries over.
    #[serde(default = "default_lease")]
    pub lease: Period,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: None, max_size: default_max_size(), lease: default_lease() }
    }
}

/// Which database keeps the state.
#[derive(Debug, Clone)]
pub enum Location {
    /// An SQLite file, used by one process at a time.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its URL.
    Postgres(Secret),
}

/// The checked form of [`StoreConfig`].
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Which database.
    pub location: Location,
    /// The pipeline whose rows are used: several pipelines may share a PostgreSQL database.
    pub pipeline: String,
    /// Bytes of parked deliveries and dead letters, at most.
    pub max_size: u64,
    /// The longest a replica may be silent.
    pub lease: Duration,
}

/// The store's file in a pipeline's state folder.
pub const STORE_FILE: &str = "store.db";

impl StoreSettings {
    /// Checks a `[store]` table; `None` means that there is to be no store. `state_dir` is the pipeline's own folder;
    /// a relative path starts at `base_dir`.
    ///
    /// # Errors
    /// Every value at fault, with its path below `store`.
    pub fn new(
        config: &StoreConfig,
        pipeline: &str,
        state_dir: &Path,
        base_dir: &Path,
    ) -> Result<Option<Self>, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.lease.0 < Duration::from_secs(1) {
            problems.push(Problem::new(["lease"], "`lease` must be at least 1s"));
        }
        let location = match config.url.as_ref().map(|url| (url, url.expose())) {
            None => Some(Location::Sqlite(state_dir.join(STORE_FILE))),
            Some((_, "none")) => None,
            Some((url, text)) if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                url.register();
                Some(Location::Postgres(url.clone()))
            }
            Some((_, text)) => match text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
                Some(path) => Some(Location::Sqlite(base_dir.join(path.strip_prefix("//").unwrap_or(path)))),
                None => {
                    let help = "write \"sqlite:/var/lib/bridge/store.db\", \"postgres://user:password@host/database\" \
                                or \"none\"";
                    problems.push(Problem::new(["url"], "the store's URL is none that is known").with_help(help));
                    None
                }
            },
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let max_size = config.max_size.0 as u64;
        Ok(location.map(|location| Self { location, pipeline: pipeline.to_owned(), max_size, lease: config.lease.0 }))
    }
}

fn default_max_size() -> ByteSize {
    ByteSize::mib(4 * 1024)
}

fn default_lease() -> Period {
    Period::from_secs(30)
}
