//! What an answer means: the table from a status, and from the body where rules ask for it, to an action. Pure.
//!
//! It must not read an answer, and does not know what follows from an action: see `answer` and `verdict`.

mod config;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

pub use config::{Action, ConditionalAction, Meaning, RuleConfig};

use crate::interpolated::InterpolatedText;
use crate::jsonpath::{self, Condition};
use crate::problem::Problem;
use crate::secret::mask;
use crate::units::ByteSize;

/// The checked form of a `responses` table: an action for every answer.
#[derive(Debug, Clone, Default)]
pub struct Responses {
    exact: BTreeMap<u16, Rules>,
    classes: BTreeMap<u16, Rules>,
}

/// The body of an answer, as far as rules ask for it.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerBody {
    /// No rule asks for it.
    NotAskedFor,
    /// It is this JSON.
    Json(Value),
    /// Rules ask for it, and cannot be applied.
    Unjudgeable(Unjudgeable),
}

/// Why rules about a body cannot be applied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unjudgeable {
    /// It is no JSON, or is nested deeper than JSON is read here (128 levels).
    NotJson,
    /// It is larger than the sink's `max_response_size`, which is this.
    TooLarge(ByteSize),
    /// It did not come to its end.
    BrokenOff,
}

/// What is done about an answer, and what decided that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'r> {
    /// What is done.
    pub action: Action,
    /// What decided.
    pub basis: Basis<'r>,
}

/// What decided on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis<'r> {
    /// Its status alone: there are no rules about the body, or none holds.
    Status,
    /// The rule with this expression holds for its body.
    Rule(&'r str),
    /// Its status alone, because rules about the body could not be applied.
    Unjudged(Unjudgeable),
}

impl Responses {
    /// Checks a `responses` table.
    ///
    /// # Errors
    /// Every key that is neither a status (`"409"`) nor a class of statuses (`"4xx"`), every expression that is not valid,
    /// and every rule that no answer reaches.
    pub fn new(table: &BTreeMap<String, Meaning>) -> Result<Self, Vec<Problem>> {
        let mut responses = Self::default();
        let mut problems = Vec::new();
        for (key, meaning) in table {
            let rules = Rules::new(meaning).unwrap_or_else(|found| {
                problems.extend(found.into_iter().map(|problem| problem.under([key])));
                Rules::default()
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

    /// Whether the meaning of an answer with this status depends on its body.
    pub fn ask_for_body(&self, status: u16) -> bool {
        self.of_status(status).is_some_and(|rules| !rules.conditions.is_empty())
    }

    /// The action for an answer. What the table does not say follows HTTP (RFC 9110 section 15): 2xx is success; 408,
    /// 425, 429 and 5xx may pass; 410 says that the receiver is gone for good. All others, redirects included, will
    /// not change by repeating the request.
    pub fn decide(&self, status: u16, body: &AnswerBody) -> Decision<'_> {
        let rules = self.of_status(status);
        let conditions = rules.map_or(&[][..], |rules| &rules.conditions);
        let otherwise = rules.and_then(|rules| rules.otherwise).unwrap_or_else(|| action_by_default(status));
        let basis = match body {
            AnswerBody::Json(body) => match conditions.iter().find(|rule| rule.condition.holds(body)) {
                Some(rule) => return Decision { action: rule.action, basis: Basis::Rule(&rule.written) },
                None => Basis::Status,
            },
            AnswerBody::Unjudgeable(why) if !conditions.is_empty() => Basis::Unjudged(*why),
            AnswerBody::Unjudgeable(_) | AnswerBody::NotAskedFor => Basis::Status,
        };
        Decision { action: otherwise, basis }
    }

    fn of_status(&self, status: u16) -> Option<&Rules> {
        self.exact.get(&status).or_else(|| self.classes.get(&(status / 100)))
    }
}

fn action_by_default(status: u16) -> Action {
    match status {
        200..=299 => Action::Delivered,
        408 | 425 | 429 | 500..=599 => Action::Retry,
        410 => Action::Disable,
        _ => Action::DeadLetter,
    }
}

impl Basis<'_> {
    /// What decided, for people, unless it was the status alone; secrets masked.
    pub fn reason(self) -> Option<String> {
        match self {
            Self::Status => None,
            Self::Rule(written) => Some(format!("the answer matched \"{}\"", mask(written))),
            Self::Unjudged(why) => Some(format!("the rules in `responses` could not be applied, because {why}")),
        }
    }
}

impl fmt::Display for Unjudgeable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the body of the answer is not JSON"),
            Self::TooLarge(most) => {
                write!(f, "the body of the answer is larger than `max_response_size`, which is {most}")
            }
            Self::BrokenOff => f.write_str("the body of the answer broke off"),
        }
    }
}

/// What the answers of one status mean.
#[derive(Debug, Clone, Default)]
struct Rules {
    /// The first one that holds decides.
    conditions: Vec<Rule>,
    /// The action when none holds; `None` for the one that the status has by default.
    otherwise: Option<Action>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// The expression as it is written, on one line and with secrets masked, to be shown.
    written: String,
    condition: Condition,
    action: Action,
}

impl Rules {
    fn new(meaning: &Meaning) -> Result<Self, Vec<Problem>> {
        let elements = match meaning {
            Meaning::Always(action) => return Ok(Self { conditions: Vec::new(), otherwise: Some(*action) }),
            Meaning::FirstOf(elements) => elements,
        };
        let mut rules = Self::default();
        let mut problems = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            if rules.otherwise.is_some() {
                let problem = Problem::new([index.to_string()], "no answer reaches this rule");
                problems.push(problem.with_help("a word applies to every answer: let it stand at the end"));
            }
            match element {
                RuleConfig::When(rule) => match condition(&rule.when) {
                    Ok(condition) => {
                        // Masked before blanks are changed, which may be part of a secret.
                        let masked = mask(rule.when.as_str());
                        let written = masked.split_whitespace().collect::<Vec<_>>().join(" ");
                        rules.conditions.push(Rule { written, condition, action: rule.is });
                    }
                    Err(problem) => problems.push(problem.under([index.to_string()])),
                },
                RuleConfig::Otherwise(action) => rules.otherwise = rules.otherwise.or(Some(*action)),
            }
        }
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }
}

fn condition(when: &InterpolatedText) -> Result<Condition, Problem> {
    let parsed = jsonpath::with_values(when.as_ref()).and_then(|text| Condition::parse(&text));
    parsed.map_err(|error| {
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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn responses(table: &str) -> Result<Responses, Vec<Problem>> {
        Responses::new(&toml::from_str(table).unwrap())
    }

    fn action(responses: &Responses, status: u16) -> Action {
        responses.decide(status, &AnswerBody::NotAskedFor).action
    }

    #[test]
    fn defaults_follow_http() {
        let responses = Responses::default();
        for (status, expected) in [
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
            assert_eq!(action(&responses, status), expected, "{status}");
            assert!(!responses.ask_for_body(status), "{status}");
        }
    }

    #[test]
    fn a_status_goes_before_its_class() {
        let responses = responses("409 = 'delivered'\n4xx = ['drop']").unwrap();
        assert_eq!(action(&responses, 409), Action::Delivered);
        assert_eq!(action(&responses, 410), Action::Drop);
        assert_eq!(action(&responses, 500), Action::Retry);
        assert!(!responses.ask_for_body(409) && !responses.ask_for_body(410));
    }

    #[test]
    fn strange_keys_are_refused() {
        for key in ["ok", "99", "600", "6xx", "0xx", "+4xx", ""] {
            assert!(responses(&format!("'{key}' = 'drop'")).is_err(), "{key}");
        }
    }

    #[test]
    fn the_body_decides_where_a_rule_holds_for_it() {
        let table = "2xx = [{ when = '$.errors == true', is = 'retry' }, { when = '$.ok == false', is = 'dead-letter' }]\n\
                     400 = [{ when = \"$.code in ['dup', 'old']\", is = 'drop' }, 'retry']\n\
                     4xx = [{ when = '$.code', is = 'delivered' }]";
        let responses = responses(table).unwrap();
        for (status, body, action, basis) in [
            (200, json!({"errors": true, "ok": false}), Action::Retry, Basis::Rule("$.errors == true")),
            (201, json!({"ok": false}), Action::DeadLetter, Basis::Rule("$.ok == false")),
            (200, json!({"ok": true}), Action::Delivered, Basis::Status),
            (400, json!({"code": "dup"}), Action::Drop, Basis::Rule("$.code in ['dup', 'old']")),
            (400, json!(["dup"]), Action::Retry, Basis::Status),
            (410, json!({}), Action::Disable, Basis::Status),
            (500, json!({"errors": true}), Action::Retry, Basis::Status),
        ] {
            let decision = responses.decide(status, &AnswerBody::Json(body.clone()));
            assert_eq!(decision, Decision { action, basis }, "{status} {body}");
        }
        assert!(responses.ask_for_body(204) && responses.ask_for_body(400) && !responses.ask_for_body(500));
    }

    #[test]
    fn people_are_told_what_decided() {
        let rule = Basis::Rule("$.ok == false").reason();
        assert_eq!(rule.as_deref(), Some("the answer matched \"$.ok == false\""));
        assert_eq!(Basis::Status.reason(), None);
        for (why, told) in [
            (Unjudgeable::NotJson, "is not JSON"),
            (Unjudgeable::TooLarge(ByteSize::kib(64)), "larger than `max_response_size`, which is 64"),
            (Unjudgeable::BrokenOff, "broke off"),
        ] {
            let reason = Basis::Unjudged(why).reason().unwrap();
            assert!(reason.contains("could not be applied") && reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn every_rule_at_fault_is_named_by_its_place() {
        let table = "200 = [{ when = '$.a = 1', is = 'retry' }, 'retry', { when = '$.b', is = 'drop' }, 'drop']\n\
                     4xx = [{ when = 'true', is = 'drop' }]";
        let problems = responses(table).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| (problem.path.join("."), problem.part.clone())).collect();
        let expected = [("200.0.when", Some(4..5)), ("200.2", None), ("200.3", None), ("4xx.0.when", None)];
        for (path, part) in expected {
            let is_there = found.iter().any(|(at, of)| at == path && (part.is_none() || *of == part));
            assert!(is_there, "{path} {part:?}: {found:?}");
        }
        assert_eq!(found.len(), 4);
    }

    fn any_action() -> impl Strategy<Value = Action> {
        let actions = [Action::Delivered, Action::Retry, Action::DeadLetter, Action::Drop, Action::Disable];
        proptest::sample::select(actions.to_vec())
    }

    /// The rule that holds for `{"n": number}`.
    fn rule((number, is): (u8, Action)) -> RuleConfig {
        RuleConfig::When(ConditionalAction { when: format!("$.n == {number}").as_str().into(), is })
    }

    fn any_body() -> impl Strategy<Value = (Option<u8>, AnswerBody)> {
        let unjudgeable = vec![Unjudgeable::NotJson, Unjudgeable::TooLarge(ByteSize::kib(1)), Unjudgeable::BrokenOff];
        prop_oneof![
            3 => (0_u8..4).prop_map(|number| (Some(number), AnswerBody::Json(json!({ "n": number })))),
            1 => Just((None, AnswerBody::Json(json!([1, 2])))),
            1 => proptest::sample::select(unjudgeable).prop_map(|why| (None, AnswerBody::Unjudgeable(why))),
        ]
    }

    proptest! {
        /// The first rule that holds decides; without one, the last element, and without that, the default.
        #[test]
        fn an_answer_is_decided_by_the_first_rule_that_holds(
            rules in proptest::collection::vec((0_u8..4, any_action()), 1..4),
            otherwise in proptest::option::of(any_action()),
            by_class in any::<bool>(),
            status in 200_u16..600,
            (number, body) in any_body(),
        ) {
            let elements = rules.iter().copied().map(rule).chain(otherwise.map(RuleConfig::Otherwise)).collect();
            let key = if by_class { format!("{}xx", status / 100) } else { status.to_string() };
            let responses = Responses::new(&[(key, Meaning::FirstOf(elements))].into()).unwrap();
            let first = rules.iter().find(|(of, _)| Some(*of) == number);
            let plain = otherwise.unwrap_or(action(&Responses::default(), status));
            let decision = responses.decide(status, &body);
            prop_assert!(responses.ask_for_body(status));
            prop_assert_eq!(decision.action, first.map_or(plain, |(_, action)| *action));
            prop_assert_eq!(matches!(decision.basis, Basis::Rule(_)), first.is_some());
            let is_unjudged = matches!(decision.basis, Basis::Unjudged(_));
            prop_assert_eq!(is_unjudged, matches!(body, AnswerBody::Unjudgeable(_)));
            // Another status is not concerned.
            let other = if status == 599 { 199 } else { 599 };
            if !by_class || other / 100 != status / 100 {
                prop_assert!(!responses.ask_for_body(other));
                prop_assert_eq!(responses.decide(other, &body).basis, Basis::Status);
            }
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
