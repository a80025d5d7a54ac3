//! The `[store]` table, and its checked form: where durable state is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::problem::Problem;
use crate::secret::{self, Secret};
use crate::units::{ByteSize, Period};

/// Where deliveries wait for their next attempt, and where dead letters and the positions of file sources are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:` and a path, `postgres://…` for several replicas that share one state, or `none` for pods whose disk
    /// goes with them: then nothing is parked, and a delivery that fails holds its source's position. Default: an
    /// SQLite file in the pipeline's state folder.
    #[serde(default, deserialize_with = "crate::interpolated::deserialize_optional_url")]
    #[schemars(with = "Option<Secret>", extend("contentMediaType" = "text/uri-list"))]
    #[schemars(example = &"postgres://bridge:${file:/run/secrets/db}@db/bridge")]
    pub url: Option<Secret>,
    /// The most that parked deliveries and dead letters may take; in a PostgreSQL database, those of all pipelines
    /// together. When it is reached the store keeps nothing new, and sources wait until there is room.
    #[serde(default = "default_max_size")]
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "1TiB"))]
    pub max_size: ByteSize,
    /// How long a replica that shares a PostgreSQL store may be silent before others take its deliveries over. At least
    /// 1s.
    #[serde(default = "default_lease")]
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub lease: Period,
    /// Dead letters older than this are deleted, whoever has seen them or not: for those who must not keep what is in
    /// them. The running bridge looks for them at its start and then every hour, or 24 times within an age below 1d.
    /// Default: they are kept until `bridge dead purge`. At least 1h, so that there is time to see and replay them.
    #[serde(default)]
    #[schemars(extend("x-minimum" = "1h", "x-maximum" = "366d"))]
    #[schemars(example = &"30d")]
    pub keep_dead_letters: Option<Period>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: None, max_size: default_max_size(), lease: default_lease(), keep_dead_letters: None }
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
    /// Bytes of parked deliveries and dead letters, at most: those of all pipelines in the database.
    pub max_size: u64,
    /// The longest a replica may be silent.
    pub lease: Duration,
    /// How old dead letters may get; `None` when they are kept until somebody purges them.
    pub keep_dead_letters: Option<Duration>,
}

/// The shortest that dead letters may be kept: somebody must have the time to see them, to mend what is wrong and to replay
/// them.
const SHORTEST_KEPT: Duration = Duration::from_secs(3600);

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
        if config.max_size.0 == 0 {
            problems.push(Problem::new(["max_size"], "`max_size` must be more than zero"));
        }
        let keep_dead_letters = config.keep_dead_letters.map(|period| period.0);
        if keep_dead_letters.is_some_and(|kept| kept < SHORTEST_KEPT) {
            problems.push(Problem::new(["keep_dead_letters"], "`keep_dead_letters` must be at least 1h"));
        }
        let location = match &config.url {
            None => Ok(Some(Location::Sqlite(state_dir.join(STORE_FILE)))),
            Some(url) if url.expose() == "none" => Ok(None),
            Some(url) => location(url, base_dir).map(Some),
        };
        let location = match (location, problems.is_empty()) {
            (Ok(location), true) => location,
            (location, _) => {
                problems.extend(location.err());
                return Err(problems);
            }
        };
        let max_size = config.max_size.0 as u64;
        let (pipeline, lease) = (pipeline.to_owned(), config.lease.0);
        Ok(location.map(|location| Self { location, pipeline, max_size, lease, keep_dead_letters }))
    }
}

/// What a URL names. No message repeats any of it: it may hold a password.
fn location(url: &Secret, base_dir: &Path) -> Result<Location, Problem> {
    let text = url.expose();
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path {
            "" => Err(Problem::new(["url"], "the store's URL names no file").with_help(KNOWN_URLS)),
            path => Ok(Location::Sqlite(base_dir.join(path))),
        };
    }
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(Problem::new(["url"], "the store's URL is none that is known").with_help(KNOWN_URLS));
    }
    url.register();
    let parsed = Url::parse(text).map_err(|error| {
        let message = format!("the store's URL cannot be read: {error}");
        Problem::new(["url"], message)
            .with_help("in a password that is written out, write characters such as `/` and `@` percent-encoded")
    })?;
    if let Some(password) = parsed.password() {
        secret::register(password);
    }
    Ok(Location::Postgres(url.clone()))
}

const KNOWN_URLS: &str =
    "write \"sqlite:/var/lib/bridge/store.db\", \"postgres://user:password@host/database\" or \"none\"";

fn default_max_size() -> ByteSize {
    ByteSize::mib(4 * 1024)
}

fn default_lease() -> Period {
    Period::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::mask;

    fn settings(url: Option<&str>) -> Result<Option<StoreSettings>, Vec<Problem>> {
        let config = StoreConfig { url: url.map(Secret::new), ..StoreConfig::default() };
        StoreSettings::new(&config, "p", Path::new("/state/p"), Path::new("/etc/bridge"))
    }

    #[test]
    fn a_url_names_a_file_a_server_or_nothing() {
        for (url, expected) in [
            (None, "/state/p/store.db"),
            (Some("sqlite:/data/a.db"), "/data/a.db"),
            (Some("sqlite:///data/a.db"), "/data/a.db"),
            (Some("sqlite:a.db"), "/etc/bridge/a.db"),
        ] {
            match settings(url).unwrap().unwrap().location {
                Location::Sqlite(path) => assert_eq!(path, Path::new(expected)),
                Location::Postgres(_) => panic!("{url:?}"),
            }
        }
        let postgres = settings(Some("postgresql://u@h/d")).unwrap().unwrap();
        assert!(matches!(postgres.location, Location::Postgres(_)));
        assert!(settings(Some("none")).unwrap().is_none());
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_being_repeated() {
        for url in
            ["", "sqlite:", "sqlite://", "mysql://u:pass-1f@h/d", "/var/lib/store.db", "postgres://u:pass-1f@h:x/d"]
        {
            let problems = settings(Some(url)).unwrap_err();
            assert_eq!((problems.len(), &*problems[0].path), (1, &["url".to_owned()][..]), "{url}");
            assert!(!format!("{problems:?}").contains("pass-1f"), "{problems:?}");
        }
    }

    #[test]
    fn the_password_is_masked_wherever_it_turns_up() {
        settings(Some("postgres://u:p%40ss-7c1@db/bridge")).unwrap();
        for text in ["p%40ss-7c1", "p@ss-7c1"] {
            assert_eq!(mask(&format!("a server said {text}")), "a server said ***");
        }
    }

    #[test]
    fn every_value_at_fault_is_named() {
        let config = StoreConfig {
            url: Some(Secret::new("nowhere")),
            max_size: ByteSize(0),
            lease: Period::from_secs(0),
            keep_dead_letters: Some(Period::from_secs(3599)),
        };
        let problems = StoreSettings::new(&config, "p", Path::new(""), Path::new("")).unwrap_err();
        let paths: Vec<String> = problems.iter().map(|problem| problem.path.join(".")).collect();
        assert_eq!(paths, ["lease", "max_size", "keep_dead_letters", "url"]);
    }
}
