//! PostgreSQL: one database that several replicas share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _};
use tokio::time::timeout;
use url::Url;

use super::StoreError;
use super::backend::Backend;
use super::error::{Kind, code, of_kind, problem};
use crate::secret::{self, Secret};

/// How long a server may take for a new connection: the operating system alone would wait for minutes, and a shutdown
/// with it.
const SLOWEST_CONNECT: Duration = Duration::from_secs(10);

/// A PostgreSQL database.
#[derive(Debug)]
pub(super) struct Postgres {
    options: Options,
    place: String,
    user: String,
}

/// What to connect with; it holds a password.
struct Options(AnyConnectOptions);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(secret::MASK)
    }
}

impl Postgres {
    /// Reads the URL.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn new(url: &Secret) -> Result<Self, StoreError> {
        let url: Url = url.expose().parse().map_err(|error| StoreError::open("of PostgreSQL", error))?;
        if let Some(password) = url.password() {
            secret::register(password);
        }
        let place = place(&url);
        let options = AnyConnectOptions::from_url(&url).map_err(|error| StoreError::open(&place, error))?;
        let user = percent_decode_str(url.username()).decode_utf8_lossy().into_owned();
        Ok(Self { options: Options(options.disable_statement_logging()), place, user })
    }

    async fn open(&self) -> Result<AnyConnection, StoreError> {
        let Ok(connected) = timeout(SLOWEST_CONNECT, self.options.0.connect()).await else {
            let problem = format!("no answer within {} s", SLOWEST_CONNECT.as_secs());
            return Err(StoreError::Lost { place: self.place.clone(), problem });
        };
        connected.map_err(|error| match self.error(&error) {
            // Such as a wrong password, or a database that is not there or not for this user.
            StoreError::Failed { place, problem } | StoreError::Denied { place, problem, .. } => {
                StoreError::Open { place, problem }
            }
            other => other,
        })
    }
}

/// Server and database, as in `postgres://db.example.com:5432/bridge`.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("localhost");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("postgres://{host}{port}{path}", path = url.path())
}

impl Backend for Postgres {
    fn place(&self) -> &str {
        &self.place
    }

    fn connect(&self) -> BoxFuture<'_, Result<AnyConnection, StoreError>> {
        Box::pin(self.open())
    }

    fn migrations(&self) -> &'static [&'static str] {
        &[include_str!("migrations/postgres/0001_store.sql")]
    }

    fn begin(&self) -> &'static str {
        "BEGIN"
    }

    fn try_begin(&self) -> &'static str {
        self.begin()
    }

    fn lock(&self) -> &'static str {
        "FOR UPDATE"
    }

    fn skip_locked(&self) -> &'static str {
        "FOR UPDATE SKIP LOCKED"
    }

    fn clock(&self) -> &'static str {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    }

    fn version_by_others(&self) -> Option<&'static str> {
        None
    }

    fn fold_log(&self) -> Option<&'static str> {
        None
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// The codes are those of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn error(&self, error: &sqlx::Error) -> StoreError {
        let code = code(error).unwrap_or_default();
        let kind = match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Kind::Lost,
            _ if code == "53100" => Kind::Full,
            _ if code == "25006" => Kind::ReadOnly,
            // No right, or no schema that may be used.
            _ if code == "42501" || code == "3F000" => {
                return StoreError::Denied {
                    place: self.place.clone(),
                    user: self.user.clone(),
                    problem: problem(error),
                };
            }
            // A server that starts, stops or has no room for another connection; a connection that failed.
            _ if code.starts_with("57P") || code.starts_with("08") || code == "53300" => Kind::Lost,
            _ => Kind::Failed,
        };
        of_kind(&kind, &self.place, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_never_shown() {
        let backend = Postgres::new(&Secret::new("postgres://bridge:h1dden-pw@db.example.com:5433/state")).unwrap();
        assert_eq!(backend.place(), "postgres://db.example.com:5433/state");
        let lost = backend.error(&sqlx::Error::Protocol("refused h1dden-pw".to_owned()));
        assert!(!format!("{backend:?} {lost} {lost:?}").contains("h1dden"), "{backend:?} {lost:?}");
        assert!(!lost.is_permanent());
    }

    #[tokio::test]
    async fn a_server_that_never_answers_does_not_hold_us_up_for_ever() {
        sqlx::any::install_default_drivers();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://u@{}/d", silent.local_addr().unwrap());
        let backend = Postgres::new(&Secret::new(url)).unwrap();
        // With nothing else to do, the paused clock goes to the limit at once.
        tokio::time::pause();
        let error = backend.connect().await.unwrap_err();
        assert!(matches!(error, StoreError::Lost { .. }), "{error}");
        assert!(error.to_string().contains("no answer within 10 s"), "{error}");
    }
}
