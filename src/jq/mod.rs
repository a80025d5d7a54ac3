//! Programs: jq, by the crate `jaq`, compiled and checked at load.
//!
//! A program is a pure function of one event's envelope. It does no I/O, sees no environment, and its clock and ids are the
//! rendering's. What asks for more is refused at load, each fault with its place and what to write instead (`fault`).
//!
//! Programs that only put members of the event into objects, arrays and text are written without the interpreter (`direct`).
//!
//! **Bounded**: whatever a program is, it ends within [`Limits`] of calls, bytes made, time and stack (`budget`), and no
//! program can catch that. A program that calls itself often runs a second time on a thread with a stack of its own, so
//! that no depth of calls is one of the worker's.
//!
//! **The envelope is not copied** ([`Value::of_json`]): a program reads the JSON that filters and templates read.
//!
//! **Numbers keep their digits** as long as a program does not calculate with them: `1.10` and integers of thirty digits go
//! out as they came, `1e400` as `1e+400`. Calculations are those of jq, with doubles, but for
//! integers, which are exact; `fixed` and `round` are decimal.
//!
//! **Ours beside jq's**: `need(.x)` fails when a value is missing or null, and names it; `fixed(n)` is text with n places;
//! `round(n)` a number with at most n; `format_time`, `format_time(format)` and `format_time(format; zone)` as the helper
//! of templates; `sha256`, `hmac_sha256(key)` in hexadecimal digits; `uuid`.
//!
//! **Values that `${…}` put in** are data (`bound`): a program never reads them as its own text.
//!
//! **Other than jq**: integers are calculated with exactly; text is always UTF-8. README.md lists all differences that a
//! program can meet.

mod bound;
mod budget;
mod compiled;
mod config;
mod direct;
mod fault;
mod json;
mod marks;
mod matching;
mod natives;
mod rewriting;
mod value;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread;

use jaq_core::{Ctx, Vars};
use jiff::Timestamp;
use uuid::Uuid;

use bound::Bound;
use budget::Stopped;
use compiled::Compiled;
use direct::Direct;
use natives::{Kind, World};

pub use budget::{Exhausted, Limits};
pub use config::{ProgramText, ValueText};
pub use fault::Fault;
pub use marks::Place;
pub use value::{HoldsJson, Value};

use crate::interpolated::TextRef;

/// What a program may use besides the event.
#[derive(Clone)]
pub struct Options {
    /// The time that `now` gives.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The ids that `uuid` gives.
    pub ids: Arc<dyn Fn() -> Uuid + Send + Sync>,
    /// The most that one run may use.
    pub limits: Limits,
    /// Variables, by their names with `$`.
    pub variables: Vec<(String, Value)>,
}

/// A program that is ready to run.
pub struct Program {
    compiled: Compiled,
    options: Options,
    /// What is compiled, and what of it is written where.
    bound: Bound,
    /// As it is written.
    written: String,
    /// The same with marks, once it has failed; `None` within when it could not be compiled so.
    marked: OnceLock<Option<Compiled>>,
}

/// Why a program has no result. It would have none again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An error of the program, caught by nothing.
    #[error("{0}")]
    Error(String),
    /// The same, where it is known at what place in the program it arose.
    #[error("{0} ({1})")]
    ErrorAt(String, Place),
    /// No result where there must be one.
    #[error("the program gives nothing; it must give one value")]
    Nothing,
    /// More than one result where there must be one.
    #[error("the program gives more than one value: first {0}, then {1}; `[…]` makes one array of them")]
    Several(&'static str, &'static str),
    /// A result that is no text where text must be.
    #[error("the program gives {}, which cannot stand here; {}", .0.kind(), to_text(.0))]
    NotText(Value),
    /// More results than are allowed.
    #[error("the program gives more than {0} values")]
    TooMany(usize),
    /// Results that are larger than is allowed.
    #[error("the program gives more than {0} bytes together")]
    TooManyBytes(usize),
    /// The program has used up what it may use.
    #[error("{0}")]
    Exhausted(#[from] Exhausted),
    /// The interpreter failed.
    #[error("the interpreter of programs failed; this is a fault of the bridge")]
    Broken,
}

impl Failure {
    /// Whether it is null where text must be.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::NotText(Value::Null))
    }
}

/// Calls that a program may make of itself, the stack it may use and how deep it may be, before it runs on a stack of its
/// own. The stack of a worker has 2 MiB.
const CALLS_AT_ONCE: u64 = 2000;
const STACK_AT_ONCE: usize = 192 << 10;
const DEPTH_AT_ONCE: usize = if cfg!(debug_assertions) { 30 } else { 80 };

/// The stack of a program that needs one of its own. Only what is used becomes memory. To free what calls have put into
/// one another takes a few hundred bytes for each call, beside the stack that the limits allow.
const OWN_STACK: usize = if cfg!(debug_assertions) { 1 << 30 } else { 256 << 20 };

impl Program {
    /// Compiles a program. Values that `${…}` put in are data.
    ///
    /// # Errors
    /// All its faults, in the order of the text.
    pub fn compile<'a>(text: impl Into<TextRef<'a>>, options: &Options) -> Result<Self, Vec<Fault>> {
        let text = text.into();
        let bound = Bound::new(text);
        let variables = options.variables.iter().chain(&bound.variables).cloned().collect();
        let options = Options { variables, ..options.clone() };
        let written = text.as_str().to_owned();
        match Compiled::of_text(&bound.text, &options) {
            Ok(compiled) => Ok(Self { compiled, options, bound, written, marked: OnceLock::new() }),
            Err(faults) => Err(faults.into_iter().map(|fault| bound.as_written(fault, &written)).collect()),
        }
    }

    /// The one result for an event.
    ///
    /// # Errors
    /// When it has none, more than one, or fails.
    pub fn run_one(&self, input: &Value) -> Result<Value, Failure> {
        let mut results = self.run(input, 2)?.into_iter();
        match (results.next(), results.next()) {
            (Some(result), None) => Ok(result),
            (None, _) => Err(Failure::Nothing),
            (Some(first), Some(second)) => Err(Failure::Several(first.kind(), second.kind())),
        }
    }

    /// The JSON of the one result for an event.
    ///
    /// # Errors
    /// When it has none, more than one, or fails.
    pub fn run_json(&self, input: &Value) -> Result<String, Failure> {
        let direct = self.direct(input, Direct::json);
        direct.map_or_else(|| self.run_one(input).map(|result| result.to_json()), Ok)
    }

    /// The one result for an event as text: text as it is, numbers, true and false as their JSON.
    ///
    /// # Errors
    /// When it is something else, or there is not one.
    pub fn run_text(&self, input: &Value) -> Result<String, Failure> {
        if let Some(text) = self.direct(input, Direct::text) {
            return Ok(text);
        }
        match self.run_one(input)? {
            Value::Text(text) => Ok(Arc::unwrap_or_clone(text)),
            result @ (Value::Number(_) | Value::Bool(_)) => Ok(result.to_json()),
            other => Err(Failure::NotText(other)),
        }
    }

    /// All results for an event.
    ///
    /// # Errors
    /// When there are more than `most`, or one of them fails.
    pub fn run_all(&self, input: &Value, most: usize) -> Result<Vec<Value>, Failure> {
        let results = self.run(input, most + 1)?;
        if results.len() > most { Err(Failure::TooMany(most)) } else { Ok(results) }
    }

    /// All results for an event as JSON texts. Results share what they have in common, and texts do not: so these are
    /// bounded in bytes, too.
    ///
    /// # Errors
    /// When there are more than `most`, their texts have more than `most_bytes` together, or one of them fails.
    pub fn run_all_json(&self, input: &Value, most: usize, most_bytes: usize) -> Result<Vec<String>, Failure> {
        if let Some(json) = self.direct(input, Direct::json).filter(|json| json.len() <= most_bytes) {
            return Ok(vec![json]);
        }
        let mut left = most_bytes;
        let text = |result: &Value| {
            let json = result.to_json();
            left = left.checked_sub(json.len()).ok_or(Failure::TooManyBytes(most_bytes))?;
            Ok(json)
        };
        self.run_all(input, most)?.iter().map(text).collect()
    }

    /// What the program writes of an event without the interpreter, if it can.
    fn direct(&self, input: &Value, write: fn(&Direct, &serde_json::Value, u64) -> Option<String>) -> Option<String> {
        write(self.compiled.direct.as_ref()?, input.json()?, self.options.limits.size)
    }

    /// The first results, so many at most.
    fn run(&self, input: &Value, most: usize) -> Result<Vec<Value>, Failure> {
        self.run_bounded(input, most).map_err(|failure| match failure {
            Failure::Error(message) => match self.place_of_failure(input, most) {
                Some(place) => Failure::ErrorAt(message, place),
                None => Failure::Error(message),
            },
            other => other,
        })
    }

    fn run_bounded(&self, input: &Value, most: usize) -> Result<Vec<Value>, Failure> {
        let limits = self.options.limits;
        if self.compiled.depth <= DEPTH_AT_ONCE {
            let calls = limits.calls.min(CALLS_AT_ONCE);
            let at_once = Limits { calls, stack: limits.stack.min(STACK_AT_ONCE), ..limits };
            match self.attempt(&self.compiled, input, most, at_once) {
                Err(Failure::Exhausted(Exhausted::Calls(_) | Exhausted::Stack)) => {}
                ended => return ended,
            }
        }
        let run = on_own_stack(|| self.attempt(&self.compiled, input, most, limits));
        run.unwrap_or(Err(Failure::Exhausted(Exhausted::Stack)))
    }

    /// Where it has failed with an error.
    fn place_of_failure(&self, input: &Value, most: usize) -> Option<Place> {
        let part = on_own_stack(|| {
            let compiled = || Compiled::with_marks(&self.bound.text, &self.options);
            let marked = self.marked.get_or_init(compiled).as_ref()?;
            let number = marks::last_of(|| drop(self.attempt(marked, input, most, self.options.limits)));
            marked.marks.get(number?).cloned()
        });
        let Fault { line, column, part, .. } =
            self.bound.as_written(Fault::new(&self.bound.text, part??, ""), &self.written);
        Some(Place { line, column, part })
    }

    fn attempt(&self, compiled: &Compiled, input: &Value, most: usize, limits: Limits) -> Result<Vec<Value>, Failure> {
        let results = budget::within(limits, || self.results(&compiled.filter, input, most));
        results.unwrap_or_else(|stopped| match stopped {
            Stopped::Exhausted(exhausted) => Err(Failure::Exhausted(exhausted)),
            Stopped::Panicked => Err(Failure::Broken),
        })
    }

    fn results(&self, filter: &jaq_core::Filter<Kind>, input: &Value, most: usize) -> Result<Vec<Value>, Failure> {
        let world = World { lut: &filter.lut, options: &self.options };
        let variables = Vars::new(self.options.variables.iter().map(|(_, value)| value.clone()));
        let results = filter.id.run((Ctx::<Kind>::new(world, variables), input.clone()));
        let results = results.take(most).map(|result| {
            // Other exceptions than errors never leave a program.
            let error = |exception: jaq_core::Exn<'_, Value>| exception.get_err().map_or(Failure::Broken, failure);
            result.map_err(error)
        });
        results.collect()
    }
}

/// How what is no text becomes some.
fn to_text(value: &Value) -> &'static str {
    match value {
        Value::Null => "`// \"…\"` behind it gives another value, and `need(…)` says what is missing",
        _ => "`tojson` makes text of it",
    }
}

/// The longest message of an error, in characters.
const LONGEST_MESSAGE: usize = 500;

/// An error as the program gives it: the beginning of a text, of anything else what it is. It goes to the log, where an
/// event has no place.
fn failure(error: jaq_core::Error<Value>) -> Failure {
    Failure::Error(match error.into_val() {
        Value::Text(message) if message.len() <= LONGEST_MESSAGE => Arc::unwrap_or_clone(message),
        Value::Text(message) => message.chars().take(LONGEST_MESSAGE).chain(['…']).collect(),
        other => format!("the program ends with an error that is {}", other.kind()),
    })
}

/// What a function gives on a thread that has much stack; `None` when none can be started, or the function panics.
fn on_own_stack<T: Send>(function: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("jq".to_owned()).stack_size(OWN_STACK);
        builder.spawn_scoped(scope, function).ok()?.join().ok()
    })
}

impl Value {
    /// Its JSON text.
    pub fn to_json(&self) -> String {
        json::write(self)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(Timestamp::now),
            ids: Arc::new(Uuid::new_v4),
            limits: Limits::default(),
            variables: Vec::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("depth", &self.compiled.depth).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod tests;
