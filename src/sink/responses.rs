//! What an answer means: the table from a status to an action. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::problem::Problem;

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
    /// Stop the sink, beyond restarts: this delivery and all that follow become dead letters, until
    /// `bridge sinks enable PIPELINE NAME` is run.
    Disable,
}

/// The checked form of a `responses` table: an action for every status.
#[derive(Debug, Clone, Default)]
pub struct Responses {
    exact: BTreeMap<u16, Action>,
    classes: BTreeMap<u16, Action>,
}

impl Responses {
    /// Checks a `responses` table.
    ///
    /// # Errors
    /// Every key that is neither a status (`"409"`) nor a class of statuses (`"4xx"`).
    pub fn new(table: &BTreeMap<String, Action>) -> Result<Self, Vec<Problem>> {
        let mut responses = Self::default();
        let mut problems = Vec::new();
        for (key, action) in table {
            if let Some(class) = Self::class(key) {
                responses.classes.insert(class, *action);
            } else if let Some(status) = key.parse().ok().filter(|status| (100..600).contains(status)) {
                responses.exact.insert(status, *action);
            } else {
                let message = format!("`{key}` is neither a status nor a class of statuses");
                problems.push(Problem::new([key], message).with_help("write for example \"409\" or \"4xx\""));
            }
        }
        if problems.is_empty() { Ok(responses) } else { Err(problems) }
    }

    fn class(key: &str) -> Option<u16> {
        match key.as_bytes() {
            [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Some(u16::from(class - b'0')),
            _ => None,
        }
    }

    /// The action for a status. What the table does not say follows HTTP (RFC 9110 section 15): 2xx is success; 408,
    /// 425, 429 and 5xx may pass; 410 says that the receiver is gone for good. All others, redirects included, will
    /// not change by repeating the request.
    pub fn action(&self, status: u16) -> Action {
        let configured = self.exact.get(&status).or_else(|| self.classes.get(&(status / 100)));
        configured.copied().unwrap_or(match status {
            200..=299 => Action::Delivered,
            408 | 425 | 429 | 500..=599 => Action::Retry,
            410 => Action::Disable,
            _ => Action::DeadLetter,
        })
    }
}

/// The wait that a `Retry-After` header asks for (RFC 9110 section 10.2.3): seconds, or an HTTP date. `None` when it is
/// neither; a date that has passed asks for no wait. What is longer than `longest` is cut to it: some receivers send a
/// date as a number of seconds.
pub fn retry_after(header: &str, now: SystemTime, longest: Duration) -> Option<Duration> {
    let header = header.trim();
    let asked = if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number can have.
        Duration::from_secs(header.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(header).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_http() {
        let responses = Responses::default();
        for (status, action) in [
            (200, Action::Delivered),
            (204, Action::Delivered),
            (301, Action::DeadLetter),
            (304, Action::DeadLetter),
            (400, Action::DeadLetter),
            (408, Action::Retry),
            (410, Action::Disable),
            (425, Action::Retry),
            (429, Action::Retry),
            (500, Action::Retry),
            (599, Action::Retry),
        ] {
            assert_eq!(responses.action(status), action, "{status}");
        }
    }

    #[test]
    fn a_status_goes_before_its_class() {
        let table = [("409", Action::Delivered), ("4xx", Action::Drop)];
        let table = table.map(|(key, action)| (key.to_owned(), action)).into();
        let responses = Responses::new(&table).unwrap();
        assert_eq!(responses.action(409), Action::Delivered);
        assert_eq!(responses.action(410), Action::Drop);
        assert_eq!(responses.action(500), Action::Retry);
    }

    #[test]
    fn strange_keys_are_refused() {
        for key in ["ok", "99", "600", "6xx", "0xx", "+4xx", ""] {
            let table = [(key.to_owned(), Action::Drop)].into();
            assert!(Responses::new(&table).is_err(), "{key}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        const HOUR: Duration = Duration::from_secs(3600);
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap();
        assert_eq!(retry_after(" 120 ", now, HOUR), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now, HOUR), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now, HOUR), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now, HOUR), None);
        assert_eq!(retry_after("-1", now, HOUR), None);
        for absurd in ["1795833600", "99999999999999999999999", "Sat, 06 Nov 2094 08:49:37 GMT"] {
            assert_eq!(retry_after(absurd, now, HOUR), Some(HOUR), "{absurd}");
        }
    }
}
