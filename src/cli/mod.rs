//! The command line: one file per subcommand.

pub mod json_text;
pub mod listen;
pub mod show;
