//! Programs: jq, by the crate `jaq`, compiled and checked at load.
//!
//! A program is a pure function of one event's envelope. It does no I/O, sees no environment, and its clock and ids are the
//! rendering's. What asks for more is refused at load, each fault with its place and what to write instead (`fault`).
//!
//! **Bounded**: whatever a program is, it ends within [`Limits`] of calls, bytes made, time and stack (`budget`), and no
//! program can catch that. A program that calls itself often runs a second time on a thread with a stack of its own, so
//! that no depth of calls is one of the worker's.
//!
//! **The envelope is not copied** ([`Value::of_json`]): a program reads the JSON that filters and templates read.
//!
//! **Numbers keep their digits** as long as a program does not calculate with them: `1.10` and integers of thirty digits go
//! out as they came, `1e400` as `1e+400`. Calculations are those of jq, with doubles; `fixed` and `round` are decimal.
//!
//! **Ours beside jq's**: `need(.x)` fails when a value is missing or null, and names it; `fixed(n)` is text with n places;
//! `round(n)` a number with at most n; `format_time`, `format_time(format)` and `format_time(format; zone)` as the helper
//! of templates; `sha256`, `hmac_sha256(key)` in hexadecimal digits; `uuid`.
//!
//! **Values that `${…}` put in** are data (`bound`): a program never reads them as its own text.
//!
//! **Other than jq**: object names stay in the order they were written; text is always UTF-8; results that are not
//! numbers are null, as in jq. There are no `input`, `debug`, `env`, `halt` and modules, no local time, no streaming
//! forms and no SQL-like operators but `IN` and `INDEX`.

mod bound;
mod budget;
mod config;
mod fault;
mod json;
mod matching;
mod natives;
mod rewriting;
mod value;

use std::fmt;
use std::sync::Arc;
use std::thread;

use jaq_core::compile::Compiler;
use jaq_core::load::parse::Def;
use jaq_core::load::{Arena, File, Lexer, Loader, Parser};
use jaq_core::{Ctx, Vars};
use jiff::Timestamp;
use uuid::Uuid;

use bound::Bound;
use budget::Stopped;
use fault::Known;
use natives::{Kind, World};
use rewriting::Rewriting;

pub use budget::{Exhausted, Limits};
pub use config::{ProgramText, ValueText};
pub use fault::Fault;
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
    filter: jaq_core::Filter<Kind>,
    options: Options,
    /// How deep its expressions stand in one another.
    depth: usize,
}

/// Why a program has no result. It would have none again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An error of the program, caught by nothing.
    #[error("{0}")]
    Error(String),
    /// No result where there must be one.
    #[error("the program gives nothing; it must give one value")]
    Nothing,
    /// More than one result where there must be one.
    #[error("the program gives more than one value: first {0}, then {1}; `[…]` makes one array of them")]
    Several(&'static str, &'static str),
    /// A result that is no text where text must be.
    #[error("the program gives {}, which cannot stand here; `tojson` makes text of it", .0.kind())]
    NotText(Value),
    /// More results than are allowed.
    #[error("the program gives more than {0} values")]
    TooMany(usize),
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

/// The longest program, in bytes.
const LONGEST: usize = 64 << 10;

/// The most parentheses, brackets and braces in one another.
const MOST_OPEN: usize = 128;

/// Calls that a program may make of itself, the stack it may use and how deep it may be, before it runs on a stack of its
/// own. The stack of a worker has 2 MiB.
const CALLS_AT_ONCE: u64 = 2000;
const STACK_AT_ONCE: usize = 192 << 10;
const DEPTH_AT_ONCE: usize = if cfg!(debug_assertions) { 30 } else { 80 };

/// The stack of a program that needs one of its own. Only what is used becomes memory. To free what calls have put into
/// one another takes a few hundred bytes for each call, beside the stack that the limits allow.
const OWN_STACK: usize = if cfg!(debug_assertions) { 1 << 30 } else { 256 << 20 };

/// The name of the program as a definition.
const MAIN: &str = "bridge_program_";

/// What the standard library has and programs may not have, or have from us.
const NOT_OF_STANDARD: [&str; 7] = ["debug", "stderr", "halt", "halt_error", "nan", "infinite", "input_line_number"];

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
        let compiled = Self::of_text(&bound.text, options);
        compiled.map_err(|faults| faults.into_iter().map(|fault| bound.as_written(fault, text.as_str())).collect())
    }

    fn of_text(text: &str, options: Options) -> Result<Self, Vec<Fault>> {
        if text.len() > LONGEST {
            return Err(vec![Fault::new(text, 0..0, format!("the program is longer than {LONGEST} bytes"))]);
        }
        if let Some(place) = too_deep(text) {
            let message = format!("more than {MOST_OPEN} parentheses, brackets and braces stand in one another");
            return Err(vec![Fault::new(text, place..place + 1, message)]);
        }
        // A long line of operators is a deep tree.
        on_own_stack(|| compile(text, &options)).unwrap_or_else(|| {
            Err(vec![Fault::new(text, 0..0, "the program could not be compiled: no thread could be started")])
        })
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

    /// The one result for an event as text: text as it is, numbers, true and false as their JSON.
    ///
    /// # Errors
    /// When it is something else, or there is not one.
    pub fn run_text(&self, input: &Value) -> Result<String, Failure> {
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

    /// The first results, so many at most.
    fn run(&self, input: &Value, most: usize) -> Result<Vec<Value>, Failure> {
        let limits = self.options.limits;
        if self.depth <= DEPTH_AT_ONCE {
            let calls = limits.calls.min(CALLS_AT_ONCE);
            let at_once = Limits { calls, stack: limits.stack.min(STACK_AT_ONCE), ..limits };
            match self.attempt(input, most, at_once) {
                Err(Failure::Exhausted(Exhausted::Calls(_) | Exhausted::Stack)) => {}
                ended => return ended,
            }
        }
        on_own_stack(|| self.attempt(input, most, limits)).unwrap_or(Err(Failure::Exhausted(Exhausted::Stack)))
    }

    fn attempt(&self, input: &Value, most: usize, limits: Limits) -> Result<Vec<Value>, Failure> {
        let results = budget::within(limits, || self.results(input, most));
        results.unwrap_or_else(|stopped| match stopped {
            Stopped::Exhausted(exhausted) => Err(Failure::Exhausted(exhausted)),
            Stopped::Panicked => Err(Failure::Broken),
        })
    }

    fn results(&self, input: &Value, most: usize) -> Result<Vec<Value>, Failure> {
        let world = World { lut: &self.filter.lut, options: &self.options };
        let variables = Vars::new(self.options.variables.iter().map(|(_, value)| value.clone()));
        let results = self.filter.id.run((Ctx::<Kind>::new(world, variables), input.clone()));
        let results = results.take(most).map(|result| {
            // Other exceptions than errors never leave a program.
            let error = |exception: jaq_core::Exn<'_, Value>| exception.get_err().map_or(Failure::Broken, failure);
            result.map_err(error)
        });
        results.collect()
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

fn compile(text: &str, options: &Options) -> Result<Program, Vec<Fault>> {
    let arena = Arena::default();
    let tokens = Lexer::new(text).lex();
    let tokens =
        tokens.map_err(|faults| faults.iter().map(|fault| Fault::of_lexer(text, fault)).collect::<Vec<_>>())?;
    if let Some(word) =
        tokens.first().map(|token| token.0).filter(|word| matches!(*word, "import" | "include" | "module"))
    {
        let fault = Fault::new(text, 0..0, format!("`{word}` is not for programs of the bridge"));
        return Err(vec![fault.help("a program has no modules: let its definitions stand in it")]);
    }
    let term = Parser::new(&tokens).parse(Parser::term).map_err(|faults| {
        let faults =
            faults.iter().map(|(expected, found)| Fault::of_parser(text, expected, found.map(|token| token.0)));
        faults.collect::<Vec<_>>()
    })?;
    let mut rewriting = Rewriting::new(text, &arena, &options.variables);
    let body = rewriting.term(term);
    let (depth, mut faults) = (rewriting.deepest, rewriting.faults);
    let mut definitions = definitions(&arena);
    let known: Vec<_> = definitions.iter().map(|definition| (definition.name, definition.args.len())).collect();
    definitions.push(Def { name: MAIN, args: Vec::new(), body });
    let linked = linked(text, options, &arena, definitions, known).map_err(|found| faults.extend(found)).ok();
    faults.sort_by_key(|fault| fault.part.start);
    let program = linked.map(|filter| Program { filter, options: options.clone(), depth });
    program.filter(|_| faults.is_empty()).ok_or(faults)
}

/// The definitions that every program has: those of the standard library, and ours behind them. Of two definitions of one
/// name a program calls the one behind.
fn definitions(arena: &Arena) -> Vec<Def<&str>> {
    let ours = jaq_core::load::parse(include_str!("defs.jq"), |parser| parser.defs()).unwrap_or_default();
    let standard = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let standard = standard.filter(|definition| !NOT_OF_STANDARD.contains(&definition.name));
    standard.chain(ours).map(|definition| Rewriting::new("", arena, &[]).definition(definition)).collect()
}

/// Names resolved. `known` are the definitions that the program may call.
fn linked<'s>(
    text: &'s str,
    options: &'s Options,
    arena: &'s Arena,
    definitions: Vec<Def<&'s str>>,
    mut known: Vec<Known<'s>>,
) -> Result<jaq_core::Filter<Kind>, Vec<Fault>> {
    let functions: Vec<_> = natives::all().collect();
    known.extend(functions.iter().map(|(name, arguments, _)| (*name, arguments.len())));
    known.push(("need", 1));
    known.retain(|(name, _)| !name.ends_with('_') && !name.starts_with('!'));
    let variables: Vec<_> = options.variables.iter().map(|(name, _)| name.as_str()).collect();
    // There is nothing to load: a fault here would be one of ours.
    let broken = || vec![Fault::new(text, 0..0, "the program cannot be loaded; this is a fault of the bridge")];
    let main = File { code: MAIN, path: () };
    let modules = Loader::new(definitions).load(arena, main).map_err(|_| broken())?;
    let compiler = Compiler::<_, jaq_core::Native<Kind>>::default();
    let compiler = compiler.with_funs(functions).with_global_vars(variables.iter().copied());
    compiler.compile(modules).map_err(|faults| {
        let faults = faults.into_iter().flat_map(|(_, faults)| faults);
        let faults = faults.map(|(name, undefined)| Fault::of_name(text, name, &undefined, &known, &variables));
        faults.collect::<Vec<_>>()
    })
}

/// The first parenthesis, bracket or brace of too many in one another. Those in text count as well.
fn too_deep(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.char_indices().find_map(|(place, character)| {
        match character {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        (open > MOST_OPEN).then_some(place)
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
        f.debug_struct("Program").field("depth", &self.depth).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod tests;
