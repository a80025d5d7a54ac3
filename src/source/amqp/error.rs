//! What can go wrong between the bridge and an AMQP broker, in words that say what to do about it.

use std::path::PathBuf;

use lapin::ErrorKind;
use lapin::protocol::AMQPErrorKind;

use crate::secret;

/// The reply codes of AMQP 0-9-1 (section 1.2, "constants") that are told apart here.
mod reply {
    pub(super) const CONNECTION_FORCED: u16 = 320;
    pub(super) const ACCESS_REFUSED: u16 = 403;
    pub(super) const NOT_FOUND: u16 = 404;
    pub(super) const PRECONDITION_FAILED: u16 = 406;
    pub(super) const NOT_ALLOWED: u16 = 530;
}

/// A fault, with the queue and the broker it concerns. The broker is named without user and password.
#[derive(Debug, thiserror::Error)]
#[error("queue \"{queue}\" on {broker}: {fault}")]
pub struct AmqpError {
    /// The queue to consume.
    pub queue: String,
    /// The broker's URI without user, password and parameters.
    pub broker: String,
    /// What went wrong; it is part of this error's own text.
    pub fault: FailureKind,
}

/// What went wrong. Each of these can pass without a change to the pipeline file, so each is worth another attempt.
#[derive(Debug, thiserror::Error)]
pub enum FailureKind {
    /// The broker cannot be reached, or TLS or the handshake failed.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The broker did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(std::time::Duration),
    /// The certificate authorities cannot be read.
    #[error("ca_file {} cannot be used: {reason}", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Wrong credentials or missing permissions.
    #[error("access refused: {0}; check the user, the password and the user's permissions")]
    AccessRefused(String),
    /// The virtual host does not exist or is not for this user.
    #[error("the virtual host cannot be used: {0}; it is the path of `uri`, where the default one is written `/%2f`")]
    VirtualHost(String),
    /// The queue does not exist.
    #[error("the queue does not exist; create it, or set `declare` and the bridge does")]
    QueueMissing,
    /// The queue exists and is not as `declare` describes it.
    #[error(
        "the queue exists with other properties than `declare` asks for: {0}; change `declare` or delete the queue"
    )]
    OtherProperties(String),
    /// The queue could not be bound.
    #[error("cannot bind the queue to exchange \"{exchange}\": {reason}")]
    Bind {
        /// The exchange.
        exchange: String,
        /// Why.
        reason: String,
    },
    /// Any other operation on the queue failed.
    #[error("cannot {operation}: {reason}")]
    Operation {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The broker did not only refuse an operation but ended the connection over it.
    #[error("cannot {operation}: {reason}; the broker ended the connection over it")]
    ConnectionEnded {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The channel or the connection ended while messages were consumed.
    #[error("the connection was lost: {0}; the broker delivers again what was not acknowledged")]
    Lost(String),
    /// The broker ended the consumer.
    #[error("the broker cancelled the consumer, as it does when the queue is deleted")]
    Cancelled,
    /// Reading or committing without a connection.
    #[error("there is no connection")]
    NotConnected,
}

impl FailureKind {
    /// The fault of connecting.
    pub(super) fn connect(error: &lapin::Error) -> Self {
        match reply_code(error) {
            Some(reply::ACCESS_REFUSED) => Self::AccessRefused(reason(error)),
            Some(reply::NOT_ALLOWED) => Self::VirtualHost(reason(error)),
            _ => Self::Connect(reason(error)),
        }
    }

    /// The fault of declaring the queue, or of asking for it.
    pub(super) fn declare(error: &lapin::Error) -> Self {
        match reply_code(error) {
            Some(reply::NOT_FOUND) => Self::QueueMissing,
            Some(reply::PRECONDITION_FAILED) => Self::OtherProperties(reason(error)),
            _ => Self::operation("declare the queue", error),
        }
    }

    /// The fault of binding the queue.
    pub(super) fn bind(exchange: &str, error: &lapin::Error) -> Self {
        match reply_code(error) {
            Some(reply::ACCESS_REFUSED) => Self::AccessRefused(reason(error)),
            _ if ends_connection(error) => Self::operation("bind the queue", error),
            _ => Self::Bind { exchange: exchange.to_owned(), reason: reason(error) },
        }
    }

    /// The fault of any other operation.
    pub(super) fn operation(operation: &'static str, error: &lapin::Error) -> Self {
        match reply_code(error) {
            Some(reply::ACCESS_REFUSED) => Self::AccessRefused(reason(error)),
            _ if ends_connection(error) => Self::ConnectionEnded { operation, reason: reason(error) },
            _ => Self::Operation { operation, reason: reason(error) },
        }
    }

    /// The end of a channel or connection in use.
    pub(super) fn lost(error: &lapin::Error) -> Self {
        Self::Lost(reason(error))
    }
}

/// The code with which the broker closed the channel or the connection.
fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// True for what AMQP calls a hard error: the broker closes the connection, and with it the channels of all its users.
/// Not for a connection that an operator closed or a broker that shuts down, as nothing that we did brought that about.
fn ends_connection(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            matches!(error.kind(), AMQPErrorKind::Hard(_)) && error.get_id() != reply::CONNECTION_FORCED
        }
        _ => false,
    }
}

/// The broker's or the library's words, with all secrets masked.
fn reason(error: &lapin::Error) -> String {
    let text = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        _ => error.to_string(),
    };
    secret::mask(&text).into_owned()
}
