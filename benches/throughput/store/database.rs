//! The store's database, seen from outside the bridge: a fresh one for each run, filled and counted by plain SQL.

use std::path::Path;
use std::time::Instant;

use sqlx::{AnyConnection, AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _};

use crate::Result;
use crate::pipelines::NAME;

/// Which database keeps the state.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    Sqlite,
    /// The server's URL; each run gets a database of its own there.
    Postgres(String),
}

/// The database of one run.
pub(crate) struct Database {
    engine: Engine,
    name: String,
    pub(crate) url: String,
}

/// Rows of one transaction of [`Database::inserts_per_second`]. The bridge commits whatever waits.
const GROUP: usize = 500;

impl Engine {
    /// Those that can be measured here.
    pub(crate) fn available() -> Vec<Self> {
        let postgres = std::env::var("POSTGRES_URL").ok().map(Self::Postgres);
        std::iter::once(Self::Sqlite).chain(postgres).collect()
    }

    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// The numbers from 1 to `amount`, as a table `number` with the column `i`.
    fn numbers(&self, amount: usize) -> String {
        match self {
            Self::Sqlite => format!(
                "(WITH RECURSIVE counted(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counted WHERE i < {amount}) \
                 SELECT i FROM counted) AS number"
            ),
            Self::Postgres(_) => format!("generate_series(1, {amount}) AS number(i)"),
        }
    }

    /// The event's id with a number behind it.
    fn numbered_id(&self, number: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST(event_id || '-' || {number} AS BLOB)"),
            Self::Postgres(_) => format!("event_id || convert_to('-' || {number}, 'UTF8')"),
        }
    }
}

impl Database {
    /// An empty database; of SQLite, a file in the folder.
    pub(crate) async fn create(engine: &Engine, folder: &Path) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", folder.join("store.db").display()),
            Engine::Postgres(server) => {
                let create = format!("CREATE DATABASE {name}");
                AnyConnection::connect(server).await?.execute(AssertSqlSafe(create)).await?;
                let mut url: url::Url = server.parse()?;
                url.set_path(&name);
                url.into()
            }
        };
        Ok(Self { engine: engine.clone(), name, url })
    }

    /// Removes the database of a server; a file goes with its folder.
    pub(crate) async fn remove(self) -> Result<()> {
        if let Engine::Postgres(server) = &self.engine {
            let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            AnyConnection::connect(server).await?.execute(AssertSqlSafe(drop)).await?;
        }
        Ok(())
    }

    /// The deliveries that are parked.
    pub(crate) async fn parked(&self) -> Result<usize> {
        let query = sqlx::query("SELECT count(*) FROM deliveries WHERE state = 'parked' AND pipeline = $1");
        let count: i64 = query.bind(NAME).fetch_one(&mut self.connect().await?).await?.get(0);
        Ok(usize::try_from(count)?)
    }

    /// Makes `amount` of the one parked delivery that there is, to go to `receiver` from `due` on (milliseconds since
    /// 1970). The bridge must not be running.
    pub(crate) async fn multiply(&self, amount: usize, receiver: &str, due: i64) -> Result<()> {
        let mut connection = self.connect().await?;
        let numbers = self.engine.numbers(amount);
        let replaced =
            [("event_id", self.engine.numbered_id("i")), ("url", format!("'{receiver}/'")), ("due", due.to_string())];
        let (columns, values) = copied(&mut connection, &replaced).await?;
        let statements = [
            format!("INSERT INTO deliveries ({columns}) SELECT {values} FROM deliveries, {numbers}"),
            "DELETE FROM deliveries WHERE id = (SELECT min(id) FROM deliveries)".to_owned(),
            "UPDATE replicas SET bytes = (SELECT sum(size) FROM deliveries) WHERE id = ''".to_owned(),
        ];
        for statement in statements {
            connection.execute(AssertSqlSafe(statement)).await?;
        }
        if let Engine::Postgres(_) = self.engine {
            // What the server would soon do by itself.
            for statement in ["VACUUM ANALYZE deliveries", "CHECKPOINT"] {
                connection.execute(statement).await?;
            }
        }
        Ok(connection.close().await?)
    }

    /// The least that parking can cost: the same rows into the same table, one plain insert each. Replaces what is
    /// there.
    pub(crate) async fn inserts_per_second(&self, rows: usize) -> Result<f64> {
        let mut connection = self.connect().await?;
        connection.execute("DELETE FROM deliveries WHERE id > (SELECT min(id) FROM deliveries)").await?;
        if let Engine::Sqlite = self.engine {
            connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").await?;
        }
        let number = "CAST($1 AS BIGINT)";
        let replaced = [("event_id", self.engine.numbered_id(number))];
        let (columns, values) = copied(&mut connection, &replaced).await?;
        let template = "id = (SELECT min(id) FROM deliveries)";
        let insert = format!("INSERT INTO deliveries ({columns}) SELECT {values} FROM deliveries WHERE {template}");
        let started = Instant::now();
        let mut inserted: usize = 0;
        while inserted < rows {
            let mut transaction = connection.begin().await?;
            for number in inserted..rows.min(inserted + GROUP) {
                let number = i64::try_from(number)?;
                sqlx::query(AssertSqlSafe(insert.as_str())).bind(number).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            inserted += GROUP;
        }
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    }

    async fn connect(&self) -> Result<AnyConnection> {
        Ok(AnyConnection::connect(&self.url).await?)
    }
}

/// All columns but the number, and what a copy of a row has in them.
async fn copied(connection: &mut AnyConnection, replaced: &[(&str, String)]) -> Result<(String, String)> {
    let row = sqlx::query("SELECT * FROM deliveries LIMIT 1").fetch_one(connection).await?;
    let columns: Vec<&str> = row.columns().iter().map(|column| column.name()).filter(|name| *name != "id").collect();
    let value = |column: &str| {
        let replaced = replaced.iter().find(|(name, _)| *name == column);
        replaced.map_or_else(|| column.to_owned(), |(_, value)| value.clone())
    };
    let values: Vec<String> = columns.iter().map(|column| value(column)).collect();
    Ok((columns.join(", "), values.join(", ")))
}
