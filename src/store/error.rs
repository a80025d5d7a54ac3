//! Why the store cannot be used. No message shows a password: places are named without one, and what others say is
//! masked.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::secret::mask;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's keeper has ended.
    #[error("the store is closed")]
    Closed,
    /// Another process uses the SQLite file.
    #[error(
        "another bridge is running on the store {path}: stop it, or give each its own --state-dir or `store.url`",
        path = path.display()
    )]
    Locked {
        /// The SQLite file.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error("cannot open the store {place}: {problem}")]
    Open {
        /// The file, or the server and its database.
        place: String,
        /// What the system or the database said.
        problem: String,
    },
    /// The file or its folder, or the database, may only be read.
    #[error("the store {place} cannot be written, only read: {problem}")]
    ReadOnly {
        /// The file, or the server and its database.
        place: String,
        /// What the system or the database said.
        problem: String,
    },
    /// The database's user lacks a right.
    #[error(
        "the database user \"{user}\" lacks a right on the store {place}: {problem}; let it make its tables there, as \
         with `GRANT USAGE, CREATE ON SCHEMA … TO \"{user}\"`; tables that are there already must be its own"
    )]
    Denied {
        /// The server and its database.
        place: String,
        /// Who lacks it.
        user: String,
        /// What the database said.
        problem: String,
    },
    /// There is no room left.
    #[error("the disk of the store {place} is full: {problem}")]
    Full {
        /// The file, or the server and its database.
        place: String,
        /// What the system or the database said.
        problem: String,
    },
    /// Another process writes to the database, and has done so for too long.
    #[error("the store {place} is in use by another process: {problem}")]
    Busy {
        /// The file.
        place: String,
        /// What the database said.
        problem: String,
    },
    /// A later version of the bridge has changed the tables.
    #[error(
        "the store {place} has schema version {found}, this bridge knows versions up to {known}: run the bridge that \
         wrote it, or a later one"
    )]
    Newer {
        /// The file, or the server and its database.
        place: String,
        /// The version found.
        found: i64,
        /// The latest version known here.
        known: i64,
    },
    /// The database does not answer, or not any more.
    #[error("the connection to the store {place} is lost: {problem}")]
    Lost {
        /// The file, or the server and its database.
        place: String,
        /// What the system said.
        problem: String,
    },
    /// A row is not what the bridge has written.
    #[error("row {row} of the store cannot be read: {problem}")]
    Damaged {
        /// The row's number.
        row: i64,
        /// What is wrong with it.
        problem: String,
    },
    /// The database refused for another reason.
    #[error("the store {place} failed: {problem}")]
    Failed {
        /// The file, or the server and its database.
        place: String,
        /// What the database said.
        problem: String,
    },
}

impl StoreError {
    /// True when trying again cannot help: someone has to act.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Closed | Self::Locked { .. } | Self::Open { .. } | Self::Denied { .. } => true,
            Self::Newer { .. } | Self::Damaged { .. } => true,
            Self::ReadOnly { .. } | Self::Full { .. } | Self::Busy { .. } | Self::Lost { .. } | Self::Failed { .. } => {
                false
            }
        }
    }

    /// The database cannot be opened.
    pub(super) fn open(place: &str, problem: impl std::fmt::Display) -> Self {
        Self::Open { place: place.to_owned(), problem: masked(problem) }
    }
}

/// How an error of one database becomes a [`StoreError`].
pub(super) enum Kind {
    Open,
    ReadOnly,
    Full,
    Busy,
    Lost,
    Failed,
}

/// The error of a statement or of a connection.
pub(super) fn of_kind(kind: &Kind, place: &str, error: &sqlx::Error) -> StoreError {
    let (place, problem) = (place.to_owned(), problem(error));
    match kind {
        Kind::Open => StoreError::Open { place, problem },
        Kind::ReadOnly => StoreError::ReadOnly { place, problem },
        Kind::Full => StoreError::Full { place, problem },
        Kind::Busy => StoreError::Busy { place, problem },
        Kind::Lost => StoreError::Lost { place, problem },
        Kind::Failed => StoreError::Failed { place, problem },
    }
}

/// The error's code in the database's own terms.
pub(super) fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}

/// What the database or the library said.
pub(super) fn problem(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => masked(error.message()),
        None => masked(error),
    }
}

fn masked(problem: impl std::fmt::Display) -> String {
    mask(&problem.to_string()).into_owned()
}
