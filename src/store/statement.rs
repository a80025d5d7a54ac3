//! Statements whose text depends on what is asked for: text and values are built side by side.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

/// A statement under construction. Only text of the program's own goes into [`push`](Self::push); whatever comes from
/// outside is bound.
#[derive(Debug, Default)]
pub(super) struct StatementBuilder {
    text: String,
    values: Vec<Value>,
}

/// A value of a statement.
#[derive(Debug)]
pub(super) enum Value {
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl StatementBuilder {
    /// Adds text.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a placeholder and its value.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        self.push(&format!("${number}"))
    }

    /// Adds placeholders and their values, as in `$2,$3`.
    pub(super) fn bind_all<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.bind(value);
        }
        self
    }

    /// The statement.
    pub(super) fn build(self) -> Query<'static, Any, AnyArguments> {
        let statement = sqlx::query(AssertSqlSafe(self.text));
        self.values.into_iter().fold(statement, |statement, value| match value {
            Value::Integer(number) => statement.bind(number),
            Value::Text(text) => statement.bind(text),
            Value::Bytes(bytes) => statement.bind(bytes),
        })
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_owned())
    }
}
