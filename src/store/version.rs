//! Which SQLite is built in.

use sqlx::{Connection as _, SqliteConnection};

/// The version of the SQLite that is built in, asked of a database in memory. `unknown` when it cannot be opened.
pub async fn sqlite_version() -> String {
    let version = async {
        let mut database = SqliteConnection::connect("sqlite::memory:").await?;
        sqlx::query_scalar::<_, String>("SELECT sqlite_version()").fetch_one(&mut database).await
    };
    version.await.unwrap_or_else(|_| "unknown".to_owned())
}
