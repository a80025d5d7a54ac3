//! What a receiver would refuse of a body, found before it is sent.

use serde_json::Value;

use super::config::{CheckConfig, WebhookConfig};
use super::rendering::{RequestError, TemplateCompiler};
use crate::jsonpath::{self, Condition, ExpressionError};
use crate::problem::Problem;

/// The checks of a sink, compiled.
#[derive(Debug)]
pub(super) struct Checks {
    max_body_size: Option<usize>,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    condition: Condition,
    config: CheckConfig,
}

impl Checks {
    pub(super) fn compile(config: &WebhookConfig, compiler: &mut TemplateCompiler<'_>) -> Option<Self> {
        let mut checks = Vec::with_capacity(config.checks.len());
        for (index, config) in config.checks.iter().enumerate() {
            let text = jsonpath::with_values(config.when.as_ref());
            match text.and_then(|text| Condition::parse(&text)) {
                Ok(condition) => checks.push(Check { condition, config: config.clone() }),
                Err(error) => compiler.refuse(problem(index, &error)),
            }
        }
        let max_body_size = config.max_body_size.map(|size| size.0);
        (checks.len() == config.checks.len()).then_some(Self { max_body_size, checks })
    }

    /// Refuses a body for which a check holds. A body that is no JSON has nothing that an expression could ask for.
    pub(super) fn pass(&self, body: &[u8]) -> Result<(), RequestError> {
        if let Some(most) = self.max_body_size.filter(|most| body.len() > *most) {
            return Err(RequestError::TooLarge(most));
        }
        if self.checks.is_empty() {
            return Ok(());
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
        match self.checks.iter().find(|check| check.condition.holds(&body)) {
            None => Ok(()),
            Some(Check { config: CheckConfig { when, because }, .. }) => {
                Err(RequestError::Refused { because: because.clone(), when: when.as_str().to_owned() })
            }
        }
    }
}

fn problem(index: usize, error: &ExpressionError) -> Problem {
    let problem = Problem::new(["checks", &index.to_string(), "when"], format!("in the expression: {error}"));
    let problem = error.part.clone().into_iter().fold(problem, Problem::with_part);
    error.help.iter().fold(problem, |problem, help| problem.with_help(help))
}
