//! Sinks: how one attempt is made, and how it is signed.

pub mod signing;
pub mod webhook;

/// The keys of one type of sink.
#[derive(Debug, Clone)]
pub enum TypeConfig {
    /// `type = "webhook"`
    Webhook(Box<webhook::WebhookConfig>),
}
