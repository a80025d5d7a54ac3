//! What is logged about the brokers: changes of state, and each kind of trouble now and then, not every retry.
//!
//! A pure decision: must not log and must not read the clock.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

/// How long a kind of trouble that goes on is not repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Nothing,
    /// No broker answers any more.
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

/// What is known of the brokers.
///
/// librdkafka reports each connection that fails, but neither when the last one is gone (its "all brokers are down"
/// does not come reliably) nor when one is back. So a failed connection only raises the question, and asking for
/// metadata answers it.
#[derive(Debug, Default)]
pub(super) struct BrokerHealth {
    away_since: Option<Instant>,
    last_failure: Option<String>,
    /// What was said lately, and when. Connections fail for one reason in many words: these count as one.
    last_said: Vec<(Trouble, Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    code: RDKafkaErrorCode,
    detail: Option<String>,
}

impl BrokerHealth {
    /// librdkafka has reported an error.
    pub(super) fn failed(&mut self, code: RDKafkaErrorCode, reason: &str, now: Instant) -> Notice {
        if is_of_connection(code) {
            self.last_failure = Some(reason.to_owned());
        }
        self.last_said.retain(|(_, said)| now.duration_since(*said) < REPEAT_AFTER);
        let trouble = Trouble { code, detail: (!is_of_connection(code)).then(|| reason.to_owned()) };
        if self.away_since.is_some() || self.last_said.iter().any(|(known, _)| *known == trouble) {
            return Notice::Nothing;
        }
        self.last_said.push((trouble, now));
        Notice::Trouble { reason: reason.to_owned() }
    }

    /// No broker has answered in time.
    pub(super) fn unanswered(&mut self, now: Instant) -> Notice {
        if self.away_since.is_some() {
            return Notice::Nothing;
        }
        self.away_since = Some(now);
        Notice::Away { reason: self.last_failure.clone().unwrap_or_else(|| "no answer".to_owned()) }
    }

    /// A broker has answered.
    pub(super) fn answered(&mut self, now: Instant) -> Notice {
        self.last_failure = None;
        let Some(since) = self.away_since.take() else { return Notice::Nothing };
        self.last_said.clear();
        Notice::Back { after: now.duration_since(since) }
    }

    /// Why the last connection failed, unless a broker has answered since.
    pub(super) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }
}

/// Errors that say why a broker cannot be reached.
pub(super) fn is_of_connection(code: RDKafkaErrorCode) -> bool {
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
        let mut health = BrokerHealth::default();
        let trouble = Notice::Trouble { reason: REFUSED.into() };
        assert_eq!(health.failed(RDKafkaErrorCode::BrokerTransportFailure, REFUSED, start), trouble);
        assert_eq!(health.last_failure(), Some(REFUSED));
        assert_eq!(health.unanswered(start), Notice::Away { reason: REFUSED.into() });
        for second in 1..600 {
            let now = start + Duration::from_secs(second);
            assert_eq!(health.failed(RDKafkaErrorCode::BrokerTransportFailure, REFUSED, now), Notice::Nothing);
            assert_eq!(health.unanswered(now), Notice::Nothing);
        }
        let after = Duration::from_secs(600);
        assert_eq!(health.answered(start + after), Notice::Back { after });
        assert_eq!(health.answered(start + after), Notice::Nothing);
        assert_eq!(health.last_failure(), None);
    }

    #[test]
    fn trouble_that_goes_on_is_repeated_once_a_minute_for_each_kind() {
        let start = Instant::now();
        let mut health = BrokerHealth::default();
        let mut said = 0;
        for second in 0..180 {
            let now = start + Duration::from_secs(second);
            let notice = health.failed(RDKafkaErrorCode::TopicAuthorizationFailed, "no", now);
            said += usize::from(notice != Notice::Nothing);
        }
        assert_eq!(said, 3);
        assert_ne!(health.failed(RDKafkaErrorCode::TopicAuthorizationFailed, "nor there", start), Notice::Nothing);
    }
}
