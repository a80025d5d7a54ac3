//! The two kinds of store, and a look into them past the bridge.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection as _, Row as _};

use super::ledger::{Delivery, Letter, Loss};
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

    /// The same, each of them; none before there is a store.
    pub(super) async fn parked_deliveries(&self) -> BTreeSet<Delivery> {
        let rows = self.rows("SELECT node, payload FROM deliveries WHERE state = 'parked' AND pipeline = $1").await;
        rows.iter().map(|row| (sink(row.get(0)), number(row))).collect()
    }

    /// The dead letters, of the sinks and of the source.
    pub(super) async fn letters(&self) -> (Vec<Letter>, Vec<Loss>) {
        let rows = self
            .rows(
                "SELECT node, payload, reason, attempts_made, event, message FROM deliveries \
                 WHERE state = 'dead' AND pipeline = $1",
            )
            .await;
        let (mut letters, mut losses) = (Vec::new(), Vec::new());
        for row in rows {
            match row.get(0) {
                "sources.input" => losses.push(loss(&row)),
                node => {
                    let (event, reason, attempts) = (number(&row), row.get(2), row.get(3));
                    letters.push(Letter { sink: sink(node), event, reason, attempts });
                }
            }
        }
        (letters, losses)
    }

    /// Whether a source has kept there where it is.
    pub(super) async fn has_checkpoint(&self) -> bool {
        !self.rows("SELECT source FROM checkpoints WHERE pipeline = $1").await.is_empty()
    }

    /// The sinks that are disabled.
    pub(super) async fn disabled(&self) -> Vec<String> {
        let rows = self.rows("SELECT sink FROM disabled_sinks WHERE pipeline = $1").await;
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

    /// None before there is a store: the first bridge may have been killed before it had made its tables.
    async fn rows(&self, sql: &'static str) -> Vec<AnyRow> {
        if self.url.is_none() && !self.file.exists() {
            return Vec::new();
        }
        let mut connection = self.connect().await;
        sqlx::query(sql).bind(&self.pipeline).fetch_all(&mut connection).await.unwrap_or_default()
    }

    async fn connect(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = self.url.clone().unwrap_or_else(|| format!("sqlite:{}", self.file.display()));
        AnyConnection::connect(&url).await.unwrap()
    }
}

fn sink(node: &str) -> Sink {
    node.strip_prefix("sinks.").and_then(Sink::named).unwrap_or_else(|| panic!("a row of {node}"))
}

/// The number in the payload, the second column.
fn number(row: &AnyRow) -> u64 {
    let payload: Value = serde_json::from_slice(&row.get::<Vec<u8>, _>(1)).unwrap();
    payload["n"].as_u64().unwrap()
}

fn loss(row: &AnyRow) -> Loss {
    let event: Value = serde_json::from_str(row.get(4)).unwrap();
    let meta = event["meta"].as_array().unwrap();
    let number = |name: &str| meta.iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_u64());
    Loss { reason: row.get(2), start: number("offset").unwrap(), end: number("end"), message: row.get(5) }
}
