//! Where in a program an error arose, which the interpreter does not say. A program that has failed is run once more with a
//! mark before each of its paths and calls: the last one that was passed is the place, or that of an operand of the
//! operator that failed. What such a run gives is never used.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use jaq_core::box_iter::box_once;
use jaq_core::native::{Fun, v};
use jaq_core::{Ctx, Native};
use jaq_json::Num;

use super::natives::Kind;
use super::value::Value;

/// The function that is a mark, and takes its number. No program can write the name.
pub(super) const MARK: &str = "!mark";

/// A place in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line within the program, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// The bytes of the program.
    pub part: Range<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {} of the program", self.line, self.column)
    }
}

thread_local! {
    static LAST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The number of the last mark that a run has passed.
pub(super) fn last_of(run: impl FnOnce()) -> Option<usize> {
    LAST.set(None);
    run();
    LAST.get()
}

/// The function.
pub(super) fn function() -> Fun<Kind> {
    let native = Native::<Kind>::new(|mut cv| {
        pass(&mut cv.0);
        box_once(Ok(cv.1))
    });
    let native = native.with_paths(|mut cv| {
        pass(&mut cv.0);
        box_once(Ok(cv.1))
    });
    let native = native.with_update(|mut cv, f| {
        pass(&mut cv.0);
        f(cv.1)
    });
    (MARK, v(1), native)
}

fn pass(context: &mut Ctx<'_, Kind>) {
    if let Value::Number(Num::Int(number)) = context.pop_var() {
        LAST.set(usize::try_from(number).ok());
    }
}
