//! What is known of receivers that many use: a file of keys for each, which the pipeline file's own keys go before.
//!
//! A preset is data. What its keys mean is said where the keys are; nothing here knows them.

use schemars::JsonSchema;
use serde::Deserialize;
use strum::{EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr};

/// The receivers that are known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, EnumIter, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Preset {
    /// Slack: incoming webhooks, and `chat.postMessage`.
    Slack,
    /// Discord: webhooks of a channel.
    Discord,
    /// Microsoft Teams: webhooks of a workflow.
    Teams,
    /// PagerDuty: the Events API v2.
    Pagerduty,
    /// Elasticsearch and OpenSearch: the Bulk API with one document for each event.
    ElasticsearchBulk,
    /// Splunk: the HTTP Event Collector.
    SplunkHec,
    /// Grafana Loki: the push API.
    Loki,
    /// Opsgenie: the Alert API.
    Opsgenie,
}

impl Preset {
    /// All presets.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }

    /// The preset of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its file: `about`, `documentation`, and the keys of the sink as the table `sink`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Slack => include_str!("presets/slack.toml"),
            Self::Discord => include_str!("presets/discord.toml"),
            Self::Teams => include_str!("presets/teams.toml"),
            Self::Pagerduty => include_str!("presets/pagerduty.toml"),
            Self::ElasticsearchBulk => include_str!("presets/elasticsearch-bulk.toml"),
            Self::SplunkHec => include_str!("presets/splunk-hec.toml"),
            Self::Loki => include_str!("presets/loki.toml"),
            Self::Opsgenie => include_str!("presets/opsgenie.toml"),
        }
    }
}
