//! What an answer means: the table from a status, and where rules ask for it from the body, to an action. Pure.

mod config;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

pub use config::{Action, ConditionalAction, Meaning, RuleConfig};

use crate::interpolated::InterpolatedText;
use crate::jsonpath::{self, Condition};
use crate::problem::Problem;
use crate::secret::mask;

/// The checked form of a `responses` table: an action for every answer.
#[derive(Debug, Clone, Default)]
pub struct Responses {
    exact: BTreeMap<u16, Vec<Rule>>,
    classes: BTreeMap<u16, Vec<Rule>>,
}

/// An action, and what it asks of the body.
#[derive(Debug, Clone)]
struct Rule {
    when: Option<When>,
    action: Action,
}

/// An expression over the body, and how it is written.
#[derive(Debug, Clone)]
struct When {
    written: Arc<str>,
    condition: Condition,
}

/// What is done about an answer, and the rule about its body that says so, if one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What is done.
    pub action: Action,
    /// The rule's expression, as it is written.
    pub rule: Option<Arc<str>>,
}

impl Responses {
    /// Checks a `responses` table.
    ///
    /// # Errors
    /// Every key that is neither a status (`"409"`) nor a class of statuses (`"4xx"`), every expression that is none, and
    /// rules that no answer reaches.
    pub fn new(table: &BTreeMap<String, Meaning>) -> Result<Self, Vec<Problem>> {
        let mut responses = Self::default();
        let mut problems = Vec::new();
        for (key, meaning) in table {
            let rules = rules(meaning).unwrap_or_else(|found| {
                problems.extend(found.into_iter().map(|problem| problem.under([key])));
                Vec::new()
            });
            if let Some(class) = Self::class(key) {
                responses.classes.insert(class, rules);
            } else if let Some(status) = key.parse().ok().filter(|status| (100..600).contains(status)) {
                responses.exact.insert(status, rules);
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

    /// Whether the body of an answer with this status has a say.
    pub fn asks_for_body(&self, status: u16) -> bool {
        self.rules(status).iter().any(|rule| rule.when.is_some())
    }

    /// What is done about an answer. `body` is the JSON in its body; `None` when it is not known, or none: then no rule
    /// about it holds. What the table does not say follows HTTP (RFC 9110 section 15): 2xx is success; 408, 425, 429 and
    /// 5xx may pass; 410 says that the receiver is gone for good. All others, redirects included, will not change by
    /// repeating the request.
    pub fn judge(&self, status: u16, body: Option<&Value>) -> Judgement {
        let holds = |rule: &&Rule| match &rule.when {
            Some(when) => body.is_some_and(|body| when.condition.holds(body)),
            None => true,
        };
        if let Some(rule) = self.rules(status).iter().find(holds) {
            let written = rule.when.as_ref().map(|when| Arc::clone(&when.written));
            return Judgement { action: rule.action, rule: written };
        }
        let action = match status {
            200..=299 => Action::Delivered,
            408 | 425 | 429 | 500..=599 => Action::Retry,
            410 => Action::Disable,
            _ => Action::DeadLetter,
        };
        Judgement { action, rule: None }
    }

    fn rules(&self, status: u16) -> &[Rule] {
        let configured = self.exact.get(&status).or_else(|| self.classes.get(&(status / 100)));
        configured.map_or(&[], Vec::as_slice)
    }
}

fn rules(meaning: &Meaning) -> Result<Vec<Rule>, Vec<Problem>> {
    let configured = match meaning {
        Meaning::Always(action) => return Ok(vec![Rule { when: None, action: *action }]),
        Meaning::Rules(rules) => rules,
    };
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (index, rule) in configured.iter().enumerate() {
        let index = index.to_string();
        match rule {
            RuleConfig::When(rule) => match condition(&rule.when) {
                Ok(when) => rules.push(Rule { when: Some(when), action: rule.is }),
                Err(problem) => problems.push(problem.under([index])),
            },
            RuleConfig::Otherwise(action) => rules.push(Rule { when: None, action: *action }),
        }
    }
    let last = configured.len().saturating_sub(1);
    if let Some(early) = configured[..last].iter().position(|rule| matches!(rule, RuleConfig::Otherwise(_))) {
        let message = "the rules behind this one are never reached";
        problems.push(Problem::new([early.to_string()], message).with_help("let it stand at the end"));
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

fn condition(when: &InterpolatedText) -> Result<When, Problem> {
    let parsed = jsonpath::with_values(when.as_ref()).and_then(|text| Condition::parse(&text));
    parsed.map(|condition| When { written: mask(when.as_str()).into(), condition }).map_err(|error| {
        let problem = Problem::new(["when"], format!("in the expression: {error}"));
        let problem = error.part.clone().into_iter().fold(problem, Problem::with_part);
        error.help.iter().fold(problem, |problem, help| problem.with_help(help))
    })
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
    use serde_json::json;

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
            assert_eq!(responses.judge(status, None), Judgement { action, rule: None }, "{status}");
        }
    }

    #[test]
    fn a_status_goes_before_its_class() {
        let responses = responses("409 = 'delivered'\n4xx = 'drop'").unwrap();
        assert_eq!(responses.judge(409, None).action, Action::Delivered);
        assert_eq!(responses.judge(410, None).action, Action::Drop);
        assert_eq!(responses.judge(500, None).action, Action::Retry);
        assert!(!responses.asks_for_body(409));
    }

    #[test]
    fn strange_keys_are_refused() {
        for key in ["ok", "99", "600", "6xx", "0xx", "+4xx", ""] {
            assert!(responses(&format!("'{key}' = 'drop'")).is_err(), "{key}");
        }
    }

    fn responses(table: &str) -> Result<Responses, Vec<Problem>> {
        Responses::new(&toml::from_str(table).unwrap())
    }

    #[test]
    fn the_first_rule_that_holds_for_the_body_decides() {
        let table = "2xx = [{ when = '$.errors == true', is = 'retry' }, { when = '$.ok == false', is = 'dead-letter' }]\n\
                     400 = [{ when = \"$.code in ['dup', 'old']\", is = 'drop' }, 'retry']";
        let responses = responses(table).unwrap();
        for (status, body, action, rule) in [
            (200, Some(json!({"errors": true, "ok": false})), Action::Retry, Some("$.errors == true")),
            (201, Some(json!({"ok": false})), Action::DeadLetter, Some("$.ok == false")),
            (200, Some(json!({"ok": true})), Action::Delivered, None),
            (200, None, Action::Delivered, None),
            (400, Some(json!({"code": "dup"})), Action::Drop, Some("$.code in ['dup', 'old']")),
            (400, Some(json!([])), Action::Retry, None),
            (400, None, Action::Retry, None),
            (404, Some(json!({"errors": true})), Action::DeadLetter, None),
        ] {
            let expected = Judgement { action, rule: rule.map(Into::into) };
            assert_eq!(responses.judge(status, body.as_ref()), expected, "{status} {body:?}");
        }
        assert!(responses.asks_for_body(204) && responses.asks_for_body(400) && !responses.asks_for_body(404));
    }

    #[test]
    fn rules_that_cannot_be_meant_so_are_refused_at_their_place() {
        for (table, path, message) in [
            ("200 = [{ when = '$.a = 1', is = 'retry' }]", &["200", "0", "when"][..], "`=` is not an operator"),
            ("200 = ['retry', { when = '$.a', is = 'drop' }]", &["200", "0"], "never reached"),
        ] {
            let problem = responses(table).unwrap_err().remove(0);
            assert_eq!(problem.path, path, "{table}");
            assert!(problem.message.contains(message), "{table}: {}", problem.message);
        }
        let part = responses("200 = [{ when = '$.a = 1', is = 'retry' }]").unwrap_err().remove(0).part;
        assert_eq!(part, Some(4..5));
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
