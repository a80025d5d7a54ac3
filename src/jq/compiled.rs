//! Compiles the text of a program: read, rewritten, and its names resolved. It must not run anything.

use std::ops::Range;

use jaq_core::compile::Compiler;
use jaq_core::load::parse::Def;
use jaq_core::load::{Arena, File, Lexer, Loader, Parser};

use super::direct::Direct;
use super::fault::{Fault, Known};
use super::natives::{self, Kind};
use super::rewriting::Rewriting;
use super::{Options, on_own_stack};

/// A program whose names are resolved.
pub(super) struct Compiled {
    pub(super) filter: jaq_core::Filter<Kind>,
    /// The same without the interpreter, if that is possible.
    pub(super) direct: Option<Direct>,
    /// How deep its expressions stand in one another.
    pub(super) depth: usize,
    /// The places of its marks, by their numbers.
    pub(super) marks: Vec<Range<usize>>,
}

/// The longest program, in bytes.
const LONGEST: usize = 64 << 10;

/// The most parentheses, brackets and braces in one another.
const MOST_OPEN: usize = 128;

/// The name of the program as a definition.
const MAIN: &str = "bridge_program_";

/// What the standard library has and programs may not have, or have from us.
const NOT_OF_STANDARD: [&str; 7] = ["debug", "stderr", "halt", "halt_error", "nan", "infinite", "input_line_number"];

impl Compiled {
    /// Compiles a program.
    pub(super) fn of_text(text: &str, options: &Options) -> Result<Self, Vec<Fault>> {
        if text.len() > LONGEST {
            return Err(vec![Fault::new(text, 0..0, format!("the program is longer than {LONGEST} bytes"))]);
        }
        if let Some(place) = too_deep(text) {
            let message = format!("more than {MOST_OPEN} parentheses, brackets and braces stand in one another");
            return Err(vec![Fault::new(text, place..place + 1, message)]);
        }
        // A long line of operators is a deep tree.
        on_own_stack(|| compile(text, options, false)).unwrap_or_else(|| {
            Err(vec![Fault::new(text, 0..0, "the program could not be compiled: no thread could be started")])
        })
    }

    /// The program of a text that has been compiled, with marks.
    pub(super) fn with_marks(text: &str, options: &Options) -> Option<Self> {
        compile(text, options, true).ok()
    }
}

fn compile(text: &str, options: &Options, with_marks: bool) -> Result<Compiled, Vec<Fault>> {
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
    let direct = Direct::of(&term);
    let mut rewriting = Rewriting::new(text, &arena, &options.variables);
    rewriting.marks = with_marks.then(Vec::new);
    let body = rewriting.term(term);
    let (depth, mut faults, marks) = (rewriting.deepest, rewriting.faults, rewriting.marks.unwrap_or_default());
    let mut definitions = definitions(&arena);
    let known: Vec<_> = definitions.iter().map(|definition| (definition.name, definition.args.len())).collect();
    definitions.push(Def { name: MAIN, args: Vec::new(), body });
    let linked = linked(text, options, &arena, definitions, known).map_err(|found| faults.extend(found)).ok();
    faults.sort_by_key(|fault| fault.part.start);
    let compiled = linked.map(|filter| Compiled { filter, direct, depth, marks });
    compiled.filter(|_| faults.is_empty()).ok_or(faults)
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
