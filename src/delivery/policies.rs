//! What the tables of a sink say of its deliveries, checked. Pure.

use super::DeliveryConfig;
use super::breaker::BreakerPolicy;
use super::rate_limit::Rate;
use super::retry::RetryPolicy;
use crate::problem::Problem;
use crate::sink::responses::Responses;
use crate::sink::verdict::AnswerRules;

/// The policies of a sink.
#[derive(Debug, Clone)]
pub struct DeliveryPolicies {
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// The rate limit.
    pub rate: Option<Rate>,
    /// When attempts stop because they fail; `None` for never.
    pub breaker: Option<BreakerPolicy>,
    /// What the receiver's answers mean.
    pub answers: AnswerRules,
}

impl DeliveryPolicies {
    /// Checks the tables.
    ///
    /// # Errors
    /// Every value at fault, with its path below the sink.
    pub fn new(config: &DeliveryConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let retry = keep("retry", RetryPolicy::new(&config.retry), &mut problems);
        let rate = keep("rate_limit", config.rate_limit.as_ref().map(Rate::new).transpose(), &mut problems);
        let breaker = keep("breaker", BreakerPolicy::new(&config.breaker), &mut problems);
        let responses = keep("responses", Responses::new(&config.responses), &mut problems);
        match (retry, rate, breaker, responses) {
            (Some(retry), Some(rate), Some(breaker), Some(responses)) => {
                let answers = AnswerRules { responses, max_retry_after: retry.max_retry_after() };
                Ok(Self { retry, rate, breaker, answers })
            }
            _ => Err(problems),
        }
    }
}

/// The checked form of a table, or else its problems put to the others.
fn keep<T>(table: &str, checked: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    checked.map_err(|found| problems.extend(found.into_iter().map(|problem| problem.under([table])))).ok()
}
