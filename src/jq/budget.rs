//! What a program may use up before it is ended: calls, values made, time, stack. It decides nothing else.
//!
//! The interpreter clones values where no error can be returned, and a program may catch every error it can see. So an
//! exhausted budget unwinds the stack to [`within`], which no program can catch, and no panic hook is asked.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// The most that one run of a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls of definitions that call themselves.
    pub calls: u64,
    /// Bytes of values that are made or copied.
    pub made: u64,
    /// The size of one value, in bytes of its JSON text.
    pub size: u64,
    /// Time.
    pub time: Duration,
    /// Bytes of stack.
    pub(super) stack: usize,
}

/// What a program has used up. Nothing of it can be caught by the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Calls of definitions that call themselves.
    #[error("the program calls itself more than {0} times")]
    Calls(u64),
    /// Nested calls.
    #[error("the calls of the program are nested too deeply")]
    Stack,
    /// Values.
    #[error("the program makes more than {0} bytes of values")]
    Made(u64),
    /// One value.
    #[error("the program makes a value of more than {0} bytes")]
    Size(u64),
    /// The depth of one value.
    #[error("the program makes a value that is nested more than {0} levels deep")]
    Depth(u32),
    /// Time.
    #[error("the program runs for more than {} ms", .0.as_millis())]
    Time(Duration),
}

/// Arrays and objects in one another, at most. JSON texts of more than 128 are read by few.
pub(super) const MOST_LEVELS: u32 = 200;

impl Limits {
    /// The defaults with another size of one value.
    pub fn with_size(size: u64) -> Self {
        Self { size, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // What is compiled for tests takes much more of the stack for each call.
        let stack = if cfg!(debug_assertions) { 128 << 20 } else { 16 << 20 };
        Self { calls: 200_000, made: 64 << 20, size: 16 << 20, time: Duration::from_millis(250), stack }
    }
}

/// How many charges pass between two looks at the clock.
const CHARGES_BETWEEN_LOOKS: u32 = 128;

struct Meter {
    limits: Cell<Option<Limits>>,
    calls: Cell<u64>,
    made: Cell<u64>,
    charges: Cell<u32>,
    started: Cell<Option<Instant>>,
    /// The address of the stack at the start.
    stack: Cell<usize>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            limits: Cell::new(None),
            calls: Cell::new(0),
            made: Cell::new(0),
            charges: Cell::new(0),
            started: Cell::new(None),
            stack: Cell::new(0),
        }
    };
}

/// Why a run came to no end of its own.
pub(super) enum Stopped {
    /// It used up what it may use.
    Exhausted(Exhausted),
    /// The interpreter panicked, which is a fault of its own.
    Panicked,
}

/// Runs within limits.
pub(super) fn within<T>(limits: Limits, run: impl FnOnce() -> T) -> Result<T, Stopped> {
    METER.with(|meter| meter.start(limits));
    let result = catch_unwind(AssertUnwindSafe(run));
    METER.with(|meter| meter.limits.set(None));
    result.map_err(|payload| match payload.downcast::<Exhausted>() {
        Ok(exhausted) => Stopped::Exhausted(*exhausted),
        Err(_) => Stopped::Panicked,
    })
}

/// Counts one call of a definition that calls itself.
pub(super) fn call() {
    METER.with(|meter| {
        let Some(limits) = meter.limits.get() else { return };
        let calls = meter.calls.get() + 1;
        meter.calls.set(calls);
        if calls > limits.calls {
            end(Exhausted::Calls(limits.calls));
        }
    });
    charge(16);
}

/// Counts bytes that are made, copied or looked at.
pub(super) fn charge(bytes: u64) {
    METER.with(|meter| {
        let Some(limits) = meter.limits.get() else { return };
        let made = meter.made.get().saturating_add(bytes);
        meter.made.set(made);
        if made > limits.made {
            end(Exhausted::Made(limits.made));
        }
        if meter.stack.get().abs_diff(here()) > limits.stack {
            end(Exhausted::Stack);
        }
        let charges = meter.charges.get() + 1;
        if charges < CHARGES_BETWEEN_LOOKS && bytes < 1 << 16 {
            return meter.charges.set(charges);
        }
        meter.charges.set(0);
        if meter.started.get().is_some_and(|started| started.elapsed() > limits.time) {
            end(Exhausted::Time(limits.time));
        }
    });
}

/// Refuses a value that is too large or nested too deeply.
pub(super) fn admit(size: u64, levels: u32) {
    METER.with(|meter| {
        let Some(limits) = meter.limits.get() else { return };
        if size > limits.size {
            end(Exhausted::Size(limits.size));
        }
        if levels > MOST_LEVELS {
            end(Exhausted::Depth(MOST_LEVELS));
        }
    });
}

impl Meter {
    fn start(&self, limits: Limits) {
        self.calls.set(0);
        self.made.set(0);
        self.charges.set(0);
        self.started.set(Some(Instant::now()));
        self.stack.set(here());
        self.limits.set(Some(limits));
    }
}

fn end(exhausted: Exhausted) -> ! {
    resume_unwind(Box::new(exhausted))
}

/// About where the stack is.
#[inline(never)]
fn here() -> usize {
    let marker = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&marker)).addr()
}
