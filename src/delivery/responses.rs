//! What an answer means: the table from a status to an action. Pure.

use schemars::JsonSchema;
use serde::Deserialize;

/// What is done about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The receiver has the event.
    Delivered,
    /// Try again later.
    Retry,
    /// Give up and keep a dead letter.
    DeadLetter,
    /// Give up and keep nothing: the receiver does not want this event.
    Drop,
    /// Stop the sink: this delivery and all that follow become dead letters, until the bridge is restarted.
    Disable,
}
