//! A value of a request that depends on the event, as a template or a program gives it, and what both are given.
//!
//! Both read the one envelope of the event. This module must not know which part of a request a value is for.

use std::cell::OnceCell;
use std::sync::Arc;

use super::rendering::{RequestError, part, render_unless_empty};
use crate::event::Event;
use crate::jq::{self, Program};
use crate::template::{Context, RenderFailure, Template};

/// A template or a program, compiled.
#[derive(Debug)]
pub enum Expression {
    /// A template.
    Template(Box<Template>),
    /// A program.
    Program(Box<Program>),
}

/// Why an event has no such value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionFailure {
    /// A template failed.
    #[error("{0}")]
    Template(#[from] RenderFailure),
    /// A program failed.
    #[error("{0}")]
    Program(#[from] jq::Failure),
}

/// An event as templates and programs see it.
pub struct Input<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its envelope, for templates.
    pub context: &'a Arc<Context>,
    value: OnceCell<jq::Value>,
}

impl Expression {
    /// What it gives for every event, if that is always the same.
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Template(template) => template.literal(),
            Self::Program(_) => None,
        }
    }

    /// What the part of this name is. With `omit_empty`, `None` when that is empty or null, or the event lacks what a
    /// template needs.
    pub(super) fn render_unless_empty(
        &self,
        name: &str,
        input: &Input<'_>,
        omit_empty: bool,
    ) -> Result<Option<String>, RequestError> {
        if let Self::Template(template) = self {
            return render_unless_empty(name, template, input.context, omit_empty);
        }
        match self.render(input) {
            Ok(text) if omit_empty && text.is_empty() => Ok(None),
            Err(ExpressionFailure::Program(failure)) if omit_empty && failure.is_null() => Ok(None),
            rendered => part(name, rendered).map(Some),
        }
    }

    /// What it gives for an event, as text.
    ///
    /// # Errors
    /// When it fails, or a program gives what is no text.
    pub fn render(&self, input: &Input<'_>) -> Result<String, ExpressionFailure> {
        match self {
            Self::Template(template) => Ok(template.render(input.context)?),
            Self::Program(program) => Ok(program.run_text(input.value())?),
        }
    }
}

impl<'a> Input<'a> {
    /// An event with its envelope.
    pub fn new(event: &'a Event, context: &'a Arc<Context>) -> Self {
        Self { event, context, value: OnceCell::new() }
    }

    /// Its envelope, for programs.
    pub(super) fn value(&self) -> &jq::Value {
        self.value.get_or_init(|| jq::Value::of_json(Arc::clone(self.context)))
    }
}
