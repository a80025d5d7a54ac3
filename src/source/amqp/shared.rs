//! Connections that the sources of one worker share: same runtime, same broker, user, TLS and heartbeat.
//!
//! Sharing is safe for consumers, each with a channel of its own: the prefetch, the delivery tags, consumer tags and
//! the faults that a queue can have are the channel's, and lapin reads the socket into a buffer per consumer that the
//! prefetch bounds, so a slow source holds up no other. Nothing is published here: a broker short of memory or disk
//! stops reading from connections that publish, and acknowledgements would wait behind the messages. The publishers of
//! dead letters therefore have their own. Two things do belong to a connection, and who has them is `alone`: an
//! exclusive queue, and what the broker takes for an abuse of the connection (its "hard" errors).
//!
//! Kafka consumers are not shared, as a group member is a client: its assignment, rebalances and poll interval are of
//! one subscription. lapin's tasks live on the runtime that connected, so nothing is shared between workers either.
//!
//! This module must not decide when to reconnect. When a connection dies all its users hear of it; the first that
//! connects again makes the new one, while the others wait for it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lapin::Channel;
use lapin::uri::AMQPUri;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::debug;

use super::connection::{CLOSE_TIMEOUT, Connection};
use super::error::FailureKind;
use super::settings::Settings;

/// The longest time for a channel on a connection that is there already. One that takes longer hangs, and is left to
/// its heartbeats while those who connect get another.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(3);

/// One user's part in a connection: a channel of its own. Dropped without a close, it leaves the connection to others.
#[derive(Debug)]
pub(super) struct SharedConnection {
    channel: Channel,
    connection: Arc<Connection>,
}

impl SharedConnection {
    /// Opens a channel on the connection of this runtime to this broker, which is made if there is none. With `alone`,
    /// or for an exclusive queue, the connection is nobody else's.
    pub(super) async fn open(settings: &Settings, alone: bool, limit: Duration) -> Result<Self, FailureKind> {
        if alone || settings.declare.as_ref().is_some_and(|declare| declare.exclusive) {
            return Self::on(Arc::new(Connection::open(settings, limit).await?)).await;
        }
        let slot = slot(Key::new(settings));
        let mut latest = slot.lock().await;
        if let Some(connection) = latest.upgrade().filter(|connection| connection.is_open()) {
            match timeout(CHANNEL_TIMEOUT, Self::on(connection)).await {
                Ok(Ok(shared)) => return Ok(shared),
                // It was us who ended it: on another one we would do the same.
                Ok(Err(fault @ FailureKind::ConnectionEnded { .. })) => return Err(fault),
                Ok(Err(fault)) => debug!(%fault, "no further channel on this connection; making another"),
                Err(_) => debug!("the connection does not answer; making another"),
            }
        }
        let mut named = settings.clone();
        named.connection_name.push_str(" (shared)");
        let connection = Arc::new(Connection::open(&named, limit).await?);
        *latest = Arc::downgrade(&connection);
        Self::on(connection).await
    }

    async fn on(connection: Arc<Connection>) -> Result<Self, FailureKind> {
        let channel = connection.open_channel().await?;
        Ok(Self { channel, connection })
    }

    /// The channel. Without lapin's recovery, which is off by default, it stays closed once it is closed.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Closes the channel, so that the broker requeues what was not acknowledged; the last user closes the connection,
    /// or cuts it when the broker does not answer.
    pub(super) async fn close(self) {
        if self.channel.status().connected() {
            let closing = self.channel.close(lapin::protocol::constants::REPLY_SUCCESS, "closing".into());
            match timeout(CLOSE_TIMEOUT, closing).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "the channel did not close in order"),
                Err(_) => {
                    debug!(limit = ?CLOSE_TIMEOUT, "the broker did not answer to the close of a channel");
                    return;
                }
            }
        }
        if let Some(connection) = Arc::into_inner(self.connection) {
            connection.close().await;
        }
    }
}

/// What connections must have in common to be one. The URI holds the heartbeat, too.
#[derive(PartialEq)]
struct Key {
    runtime: tokio::runtime::Id,
    uri: AMQPUri,
    ca_file: Option<PathBuf>,
}

impl Key {
    fn new(settings: &Settings) -> Self {
        Self { runtime: Handle::current().id(), uri: settings.uri.clone(), ca_file: settings.ca_file.clone() }
    }
}

/// The connection that is handed out at present. It is locked while one is being made, so that the others wait for it.
type Slot = Arc<tokio::sync::Mutex<Weak<Connection>>>;

/// The connections of the process, kept by their users alone.
static CONNECTIONS: Mutex<Vec<(Key, Slot)>> = Mutex::new(Vec::new());

fn slot(key: Key) -> Slot {
    let mut connections = CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, slot)) = connections.iter().find(|(known, _)| *known == key) {
        return slot.clone();
    }
    connections.retain(|(_, slot)| {
        Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|latest| latest.strong_count() > 0)
    });
    let slot = Slot::default();
    connections.push((key, slot.clone()));
    slot
}
