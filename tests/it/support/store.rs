//! Looking into a bridge's SQLite store from outside, while the bridge runs or after it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Connection as _, Row as _, SqliteConnection};

/// A delivery that waits in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    /// The event's payload.
    pub(crate) payload: String,
    /// Attempts made.
    pub(crate) attempts: i64,
    /// Milliseconds since 1970; `None` for one that waits for an earlier one of its lane.
    pub(crate) due: Option<i64>,
}

/// The store of the pipeline `name` whose bridge runs in `folder`.
pub(crate) fn store_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("state").join(name).join("store.db")
}

/// The dead letters of the pipeline `name` whose bridge runs in `folder`, the oldest first.
pub(crate) fn dead_letters(folder: &Path, name: &str) -> Vec<Value> {
    let sql = "SELECT * FROM deliveries WHERE state = 'dead' ORDER BY died, id";
    rows(&store_file(folder, name), sql).iter().map(letter).collect()
}

/// The parked deliveries of the pipeline `name` whose bridge runs in `folder`, in the order in which they came.
pub(crate) fn parked(folder: &Path, name: &str) -> Vec<Parked> {
    let sql = "SELECT payload, attempts_made, due FROM deliveries WHERE state = 'parked' ORDER BY id";
    let parked = |row: &SqliteRow| Parked {
        payload: String::from_utf8(row.get("payload")).unwrap(),
        attempts: row.get("attempts_made"),
        due: row.get("due"),
    };
    rows(&store_file(folder, name), sql).iter().map(parked).collect()
}

/// Runs a statement on a store; gives its rows, none when there is no store yet.
pub(crate) fn rows(file: &Path, sql: &'static str) -> Vec<SqliteRow> {
    if !file.exists() {
        return Vec::new();
    }
    // A thread of its own: the caller may be within a runtime.
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(std::time::Duration::from_secs(30));
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let rows = sqlx::query(sql).fetch_all(&mut connection).await;
            connection.close().await?;
            rows
        })
    });
    match thread.join().unwrap() {
        Ok(rows) => rows,
        Err(error) if error.to_string().contains("no such table") => Vec::new(),
        Err(error) => panic!("{}: {error}", file.display()),
    }
}

fn letter(row: &SqliteRow) -> Value {
    let text =
        |column: &str| row.get::<Option<Vec<u8>>, _>(column).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let log: Value = serde_json::from_str(row.get("attempts")).unwrap();
    let mut letter = Map::new();
    for column in ["pipeline", "node", "reason", "message"] {
        letter.insert(column.to_owned(), row.get::<String, _>(column).into());
    }
    letter.insert("attempts".to_owned(), row.get::<i64, _>("attempts_made").into());
    letter.insert("event".to_owned(), json!({ "id": text("event_id"), "payload": text("payload") }));
    if let Some(shown) = row.get::<Option<String>, _>("shown") {
        letter.insert("request".to_owned(), serde_json::from_str(&shown).unwrap());
    }
    if let Some(last) = log["records"].as_array().and_then(|records| records.last()) {
        letter.insert("last_answer".to_owned(), last.clone());
    }
    Value::Object(letter)
}
