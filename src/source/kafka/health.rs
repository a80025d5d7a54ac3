//! What is worth saying about the brokers: changes of state, and each kind of trouble now and then, not every retry.
//!
//! A pure decision: must not log and must not read the clock.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

/// How long a kind of trouble that goes on is not repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// What the operator should hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Nothing,
    /// No broker can be reached any more.
    Away {
        reason: String,
    },
    /// A broker has answered for the first time since [`Away`](Self::Away).
    Back {
        after: Duration,
    },
    /// Something else that librdkafka goes on trying.
    Trouble {
        reason: String,
    },
}

/// What is known of the brokers from librdkafka's errors.
#[derive(Debug, Default)]
pub(super) struct Health {
    away_since: Option<Instant>,
    /// Why the last connection failed. "All brokers are down" does not say.
    last_failure: Option<String>,
    last_said: Vec<(RDKafkaErrorCode, Instant)>,
}

impl Health {
    /// librdkafka has reported an error.
    pub(super) fn failed(&mut self, code: RDKafkaErrorCode, reason: &str, now: Instant) -> Notice {
        if code == RDKafkaErrorCode::AllBrokersDown {
            return self.all_down(reason, now);
        }
        if is_of_connection(code) {
            self.last_failure = Some(reason.to_owned());
        }
        self.last_said.retain(|(_, said)| now.duration_since(*said) < REPEAT_AFTER);
        if self.away_since.is_some() || self.last_said.iter().any(|(known, _)| *known == code) {
            return Notice::Nothing;
        }
        self.last_said.push((code, now));
        Notice::Trouble { reason: reason.to_owned() }
    }

    /// A broker has answered.
    pub(super) fn answered(&mut self, now: Instant) -> Notice {
        let Some(since) = self.away_since.take() else { return Notice::Nothing };
        self.last_said.clear();
        Notice::Back { after: now.duration_since(since) }
    }

    /// Why no broker can be reached, if that is so.
    pub(super) fn outage(&self) -> Option<&str> {
        self.away_since?;
        Some(self.last_failure.as_deref().unwrap_or("all brokers are down"))
    }

    fn all_down(&mut self, reason: &str, now: Instant) -> Notice {
        if self.away_since.is_some() {
            return Notice::Nothing;
        }
        self.away_since = Some(now);
        Notice::Away { reason: self.last_failure.clone().unwrap_or_else(|| reason.to_owned()) }
    }
}

/// Errors that explain why a broker cannot be reached.
fn is_of_connection(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::SaslAuthenticationFailed
            | Code::SSL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused";

    #[test]
    fn an_outage_is_said_once_with_its_cause_and_its_end_once() {
        let start = Instant::now();
        let mut health = Health::default();
        let trouble = Notice::Trouble { reason: REFUSED.into() };
        assert_eq!(health.failed(RDKafkaErrorCode::BrokerTransportFailure, REFUSED, start), trouble);
        assert_eq!(health.outage(), None);
        let away = Notice::Away { reason: REFUSED.into() };
        assert_eq!(health.failed(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down", start), away);
        assert_eq!(health.outage(), Some(REFUSED));
        for second in 1..600 {
            let now = start + Duration::from_secs(second);
            assert_eq!(health.failed(RDKafkaErrorCode::BrokerTransportFailure, REFUSED, now), Notice::Nothing);
            assert_eq!(health.failed(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down", now), Notice::Nothing);
        }
        let after = Duration::from_secs(600);
        assert_eq!(health.answered(start + after), Notice::Back { after });
        assert_eq!(health.answered(start + after), Notice::Nothing);
        assert_eq!(health.outage(), None);
    }

    #[test]
    fn trouble_that_goes_on_is_repeated_once_a_minute_for_each_kind() {
        let start = Instant::now();
        let mut health = Health::default();
        let mut said = 0;
        for second in 0..180 {
            let now = start + Duration::from_secs(second);
            let notice = health.failed(RDKafkaErrorCode::TopicAuthorizationFailed, "no", now);
            said += usize::from(notice != Notice::Nothing);
        }
        assert_eq!(said, 3);
        assert_ne!(health.failed(RDKafkaErrorCode::UnknownTopicOrPartition, "no", start), Notice::Nothing);
    }
}
