//! The two kinds of store, and a look into them past the bridge.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::AnyConnection;
use sqlx::{Connection as _, Row as _};

use super::ledger::Letter;
use super::plan::Sink;

/// Where a pipeline's state is.
pub(super) struct Store {
    url: Option<String>,
    file: PathBuf,
    pipeline: String,
}

impl Store {
    pub(super) fn sqlite(folder: &Path, pipeline: &str) -> Self {
        let file = folder.join("state").join(pipeline).join("store.db");
        Self { url: None, file, pipeline: pipeline.to_owned() }
    }

    pub(super) fn postgres(pipeline: &str) -> Self {
        let url = std::env::var("POSTGRES_URL").unwrap();
        Self { url: Some(url), file: PathBuf::new(), pipeline: pipeline.to_owned() }
    }

    /// The `[store]` table. The lease is the shortest there may be: a killed replica's deliveries wait for it.
    pub(super) fn table(&self) -> String {
        let url = self.url.as_ref().map(|url| format!("url = \"{url}\"\n")).unwrap_or_default();
        format!("[store]\nlease = \"1s\"\n{url}")
    }

    /// The deliveries that are parked.
    pub(super) async fn parked(&self) -> i64 {
        let mut connection = self.connect().await;
        let query = sqlx::query("SELECT count(*) FROM deliveries WHERE state = 'parked' AND pipeline = $1");
        query.bind(&self.pipeline).fetch_one(&mut connection).await.unwrap().get(0)
    }

    /// The dead letters.
    pub(super) async fn letters(&self) -> Vec<Letter> {
        let mut connection = self.connect().await;
        let query =
            "SELECT node, payload, reason, attempts_made FROM deliveries WHERE state = 'dead' AND pipeline = $1";
        let rows = sqlx::query(query).bind(&self.pipeline).fetch_all(&mut connection).await.unwrap();
        let letters = rows.iter().map(|row| {
            let node: String = row.get(0);
            let payload: Value = serde_json::from_slice(&row.get::<Vec<u8>, _>(1)).unwrap();
            let sink =
                node.strip_prefix("sinks.").and_then(Sink::named).unwrap_or_else(|| panic!("a letter of {node}"));
            Letter { sink, event: payload["n"].as_u64().unwrap(), reason: row.get(2), attempts: row.get(3) }
        });
        letters.collect()
    }

    /// The sinks that are disabled.
    pub(super) async fn disabled(&self) -> Vec<String> {
        if self.url.is_none() && !self.file.exists() {
            return Vec::new();
        }
        let mut connection = self.connect().await;
        let query = sqlx::query("SELECT sink FROM disabled_sinks WHERE pipeline = $1").bind(&self.pipeline);
        // The first bridge may have been killed before it had made the table.
        let rows = query.fetch_all(&mut connection).await.unwrap_or_default();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(super) async fn enable(&self, sink: &str) {
        let mut c = self.connect().await;
        sqlx::query("DELETE FROM disabled_sinks WHERE pipeline = $1 AND sink = $2")
            .bind(&self.pipeline)
            .bind(sink)
            .execute(&mut c)
            .await
            .unwrap();
    }

    async fn connect(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = self.url.clone().unwrap_or_else(|| format!("sqlite:{}", self.file.display()));
        AnyConnection::connect(&url).await.unwrap()
    }
}
