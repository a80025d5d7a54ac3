//! What a sink says of one attempt, so that whoever delivers knows nothing of HTTP.
//!
//! Pure: it reads what an attempt has brought. It must not wait or retry: what follows from a verdict is decided in
//! `delivery`.

use std::time::{Duration, SystemTime};

use super::failure::AttemptError;
use super::responses::{Action, AnswerBody, Decision, Responses, retry_after};

/// What a sink says of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has the event.
    Delivered {
        /// The status of its answer.
        status: u16,
        /// What decided beside the status, for people; secrets masked.
        reason: Option<String>,
    },
    /// The receiver does not want the event: the delivery ends, and nothing is kept of it.
    Dropped {
        /// The status of its answer.
        status: u16,
        /// What decided beside the status, for people; secrets masked.
        reason: Option<String>,
    },
    /// Another attempt may succeed.
    Retry {
        /// What has failed.
        failure: FailedAttempt,
        /// For so long the receiver wants no attempts.
        pause: Option<Duration>,
        /// False when the receiver works all the same, so that its breaker must not open.
        counts_for_breaker: bool,
    },
    /// The same request would be refused again: the event becomes a dead letter.
    Reject(FailedAttempt),
    /// The receiver wants no events any more, neither this nor others.
    Disable(FailedAttempt),
    /// The receiver has not processed the request: this was no attempt, and the request may go again at once.
    NotSent(FailedAttempt),
    /// This process could not open a connection, for which the receiver is not to blame: this was no attempt. Why.
    Shortage(String),
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Why, in a sentence for people; secrets masked.
    pub message: String,
    /// What the receiver answered; `None` when there was no answer that can be read.
    pub answer: Option<Answer>,
}

/// What the receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header, as it came.
    pub retry_after: Option<String>,
    /// Headers that tell a person what to do, secrets masked; none for 2xx, unless rules look at the body.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, for people, secrets masked; empty for 2xx, unless rules look at the body.
    pub excerpt: String,
}

/// What answers mean to a sink.
#[derive(Debug, Clone, Default)]
pub struct AnswerRules {
    /// What each answer means.
    pub responses: Responses,
    /// The longest pause that a receiver gets with `Retry-After`.
    pub max_retry_after: Duration,
}

/// A receiver that answers so works, and asks for less.
const TOO_MANY_REQUESTS: u16 = 429;

impl AnswerRules {
    /// The verdict on an attempt that was answered.
    pub fn judge(&self, answer: Answer, body: &AnswerBody, now: SystemTime) -> Verdict {
        let status = answer.status;
        let Decision { action, basis } = self.responses.decide(status, body);
        let reason = basis.reason();
        match action {
            Action::Delivered => Verdict::Delivered { status, reason },
            Action::Drop => Verdict::Dropped { status, reason },
            Action::DeadLetter => Verdict::Reject(FailedAttempt::answered(answer, reason)),
            Action::Disable => Verdict::Disable(FailedAttempt::answered(answer, reason)),
            Action::Retry => {
                let header = answer.retry_after.as_deref();
                let pause = header.and_then(|header| retry_after(header, now, self.max_retry_after));
                let failure = FailedAttempt::answered(answer, reason);
                Verdict::Retry { failure, pause, counts_for_breaker: status != TOO_MANY_REQUESTS }
            }
        }
    }
}

/// The verdict on an attempt without an answer.
impl From<AttemptError> for Verdict {
    fn from(error: AttemptError) -> Self {
        let failure = FailedAttempt { message: error.to_string(), answer: None };
        match error {
            AttemptError::Timeout(_) | AttemptError::Connect(_) | AttemptError::Broken(_) => {
                Self::Retry { failure, pause: None, counts_for_breaker: true }
            }
            AttemptError::NotProcessed(_) => Self::NotSent(failure),
            AttemptError::Shortage(reason) => Self::Shortage(reason),
            // The receiver has answered, and would be sent the same for the same answer.
            AttemptError::UnreadableAnswer(_) => Self::Reject(failure),
        }
    }
}

impl FailedAttempt {
    /// An attempt whose answer means that it has failed. The message has the status, what decided beside it, and the
    /// headers that say what to do about it.
    fn answered(answer: Answer, reason: Option<String>) -> Self {
        let mut message = format!("the receiver answered {}", answer.status);
        if let Some(reason) = reason {
            message += &format!(": {reason}");
        }
        let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        if !headers.is_empty() {
            message += &format!(" ({})", headers.join("; "));
        }
        Self { message, answer: Some(answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::responses::Unjudgeable;

    const HOUR: Duration = Duration::from_secs(3600);

    fn answer(status: u16, retry_after: Option<&str>) -> Answer {
        let retry_after = retry_after.map(str::to_owned);
        Answer { status, retry_after, headers: Vec::new(), excerpt: String::new() }
    }

    fn judge(answer: Answer) -> Verdict {
        judge_by("", answer, &AnswerBody::NotAskedFor)
    }

    fn judge_by(table: &str, answer: Answer, body: &AnswerBody) -> Verdict {
        let responses = Responses::new(&toml::from_str(table).unwrap()).unwrap();
        AnswerRules { responses, max_retry_after: HOUR }.judge(answer, body, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn an_answer_is_judged_by_its_status() {
        assert_eq!(judge(answer(204, None)), Verdict::Delivered { status: 204, reason: None });
        assert!(matches!(judge(answer(400, None)), Verdict::Reject(_)));
        assert!(matches!(judge(answer(410, None)), Verdict::Disable(_)));
        let dropped = judge_by("404 = 'drop'", answer(404, None), &AnswerBody::NotAskedFor);
        assert_eq!(dropped, Verdict::Dropped { status: 404, reason: None });
    }

    #[test]
    fn a_receiver_that_asks_for_less_works_and_gets_a_bounded_pause() {
        for (status, header, expected_pause, expected_counts) in [
            (503, None, None, true),
            (503, Some("7"), Some(Duration::from_secs(7)), true),
            (503, Some("soon"), None, true),
            (429, Some("86400"), Some(HOUR), false),
        ] {
            let Verdict::Retry { pause, counts_for_breaker, .. } = judge(answer(status, header)) else {
                panic!("{status} may pass");
            };
            assert_eq!((pause, counts_for_breaker), (expected_pause, expected_counts), "{status} {header:?}");
        }
        // What does not ask for a retry asks for no pause.
        assert!(matches!(judge(answer(400, Some("7"))), Verdict::Reject(_)));
    }

    #[test]
    fn people_are_told_the_status_and_what_to_do() {
        let headers = vec![("allow".to_owned(), "PUT".to_owned()), ("location".to_owned(), "/new".to_owned())];
        let Verdict::Reject(failure) = judge(Answer { headers, ..answer(405, None) }) else { panic!() };
        assert_eq!(failure.message, "the receiver answered 405 (allow: PUT; location: /new)");
        assert_eq!(failure.answer.unwrap().status, 405);
    }

    #[test]
    fn people_are_told_which_rule_matched_the_answer() {
        let table = "2xx = [{ when = '$.errors', is = 'retry' }, { when = '$.ok == true', is = 'drop' }]";
        let body = |value| AnswerBody::Json(value);
        let verdict = judge_by(table, answer(200, Some("7")), &body(serde_json::json!({"errors": []})));
        let Verdict::Retry { failure, pause, counts_for_breaker: true } = verdict else { panic!("{verdict:?}") };
        assert_eq!(failure.message, "the receiver answered 200: the answer matched \"$.errors\"");
        assert_eq!(pause, Some(Duration::from_secs(7)));
        let dropped = judge_by(table, answer(200, None), &body(serde_json::json!({"ok": true})));
        assert_eq!(
            dropped,
            Verdict::Dropped { status: 200, reason: Some("the answer matched \"$.ok == true\"".into()) }
        );
    }

    #[test]
    fn people_are_told_that_a_body_could_not_be_judged() {
        let table =
            "2xx = [{ when = '$.ok == true', is = 'delivered' }, 'retry']\n202 = [{ when = '$.x', is = 'retry' }]";
        let body = AnswerBody::Unjudgeable(Unjudgeable::NotJson);
        let Verdict::Retry { failure, .. } = judge_by(table, answer(200, None), &body) else { panic!() };
        assert!(failure.message.ends_with("because the body of the answer is not JSON"), "{}", failure.message);
        let Verdict::Delivered { reason, .. } = judge_by(table, answer(202, None), &body) else { panic!() };
        assert!(reason.unwrap().ends_with("because the body of the answer is not JSON"));
    }

    #[test]
    fn without_an_answer_it_matters_what_the_receiver_can_have_processed() {
        let broken = Verdict::from(AttemptError::Broken("reset".into()));
        assert!(matches!(broken, Verdict::Retry { pause: None, counts_for_breaker: true, .. }), "{broken:?}");
        let refused = Verdict::from(AttemptError::NotProcessed("GOAWAY".into()));
        assert!(matches!(&refused, Verdict::NotSent(failure) if failure.answer.is_none()), "{refused:?}");
        let unreadable = Verdict::from(AttemptError::UnreadableAnswer("64 KiB".into()));
        assert!(matches!(&unreadable, Verdict::Reject(failure) if failure.answer.is_none()), "{unreadable:?}");
        let shortage = Verdict::from(AttemptError::Shortage("no descriptors".into()));
        assert_eq!(shortage, Verdict::Shortage("no descriptors".into()));
    }
}
