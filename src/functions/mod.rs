//! Pure functions on values that more than one language of a pipeline file calls: decimal numbers, digests, times.
//!
//! They know no template and no program, read no clock and do no I/O. What they refuse they give as `None`; the caller
//! names the expression.

pub(crate) mod decimal;
pub(crate) mod digest;
pub(crate) mod time;
